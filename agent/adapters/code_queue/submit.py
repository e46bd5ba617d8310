"""The submit discipline: one after the other, with a distance, on this whole machine.

Policy: "submit calls should default to serial or near-serial behavior. A short local lock or delay
is acceptable if it prevents the control plane from being flooded faster than it can acknowledge
tasks, especially on low-memory hosts."
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from filelock import lock_descriptor

from agent.errors import NothingDoneError, UnusableStoreError

CAREFUL: Final = 5.0
"""So many times the distance on a host that is short of memory, or may be for all we know."""


class SubmitDiscipline:
    """The lock in `path` is held during a submit; the next follows `spacing` seconds after it.

    `low_memory` tells whether this host is short of memory; None: nobody knows.
    The file keeps when the last one was acknowledged, so that the distance holds between
    processes and across restarts.
    """

    def __init__(
        self,
        path: Path,
        *,
        spacing: float,
        now: Callable[[], datetime],
        pause: Callable[[float], None] = time.sleep,
        low_memory: Callable[[], bool | None] = lambda: None,
    ) -> None:
        self._path = path
        self._spacing = spacing
        self._now = now
        self._pause = pause
        self._low_memory = low_memory

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the distance, and keep all others out. NothingDoneError: another submits."""
        with self._opened() as file:
            if not lock_descriptor(file, blocking=False):
                raise NothingDoneError("another process of this machine is submitting; wait")
            last = self._last(file)
            if (rest := self._distance() - (self._now().timestamp() - last)) > 0:
                self._pause(min(rest, self._distance()))
            try:
                yield
            finally:
                os.ftruncate(file, 0)
                os.pwrite(file, f"{self._now().timestamp():.3f}\n".encode(), 0)

    def held(self) -> bool:
        """Whether somebody else is submitting just now."""
        with self._opened() as file:
            return not lock_descriptor(file, blocking=False)

    def _distance(self) -> float:
        return self._spacing * (1.0 if self._low_memory() is False else CAREFUL)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UnusableStoreError(
                f"{self._path}: {error.strerror}; name another `lock` under [queue]",
            ) from error
        try:
            yield file
        finally:
            os.close(file)

    @staticmethod
    def _last(file: int) -> float:
        """When the last one was acknowledged; long ago if nobody knows."""
        try:
            return float(os.pread(file, 64, 0))
        except ValueError:
            return 0.0
