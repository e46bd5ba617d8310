"""Locks between processes: the supervisor's own, and one around a block.

Each is the kernel's (`flock`), so it ends with the process, however that ends; what the file of the
supervisor's lock contains is only for people.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import filelock

from agent.core.model.text import one_line
from agent.errors import LockHeldError, UnusableStoreError

_GLIMPSE: Final = 0.25
"""Seconds for which `acquire` tries again: `holder` takes a shared lock for an instant."""
_PAUSE: Final = 0.01
_READ_AT_MOST: Final = 4_096
"""Bytes of the file that are believed to be its content."""


@contextmanager
def locked(path: Path, seconds: float, busy: Exception) -> Iterator[None]:
    """Hold the lock in `path` during the block; its folder is made when it is not there.

    Raises:
        busy: another process held it for `seconds`.
        OSError: the file cannot be opened.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # A soft lock would outlive its process.
        held = filelock.FileLock(path, timeout=seconds, fallback_to_soft=False).acquire()
    except filelock.Timeout:
        raise busy from None
    with held:
        yield


class FileLock:
    """The supervisor's lock in the file `path`; its folder is made when it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: filelock.BaseFileLock | None = None

    def acquire(self, who: str, now: datetime) -> None:
        """Hold the lock from here to `release`, or to the end of the process.

        Raises:
            LockHeldError: somebody holds it, this very object included.
            UnusableStoreError: the file cannot be opened or written.

        """
        content = json.dumps({"who": who, "pid": os.getpid(), "since": now.isoformat()}).encode()

        def sign(file: int) -> None:
            os.ftruncate(file, 0)
            os.pwrite(file, content, 0)

        # A new one each time: the library's lock may be taken twice by whoever holds it.
        lock = filelock.FileLock(
            self._path,
            mode=0o644,
            timeout=_GLIMPSE,
            poll_interval=_PAUSE,
            thread_local=False,  # whoever releases it may be another thread
            fallback_to_soft=False,  # a soft lock outlives its process
            on_acquired=sign,
        )
        try:
            lock.acquire()
        except filelock.Timeout:
            raise LockHeldError(
                f"{self._signed()} supervises here already ({self._path}); "
                "end it first, or let it go on and only watch it",
            ) from None
        except OSError as error:
            raise self._unusable(error) from error
        self._held = lock

    def release(self) -> None:
        """Let the next one in; nothing happens when it is not held."""
        if self._held is not None:
            held, self._held = self._held, None
            held.release()

    def holder(self) -> str | None:
        """Who holds it, with process and since when; None: nobody does, whatever the file contains.

        Raises:
            UnusableStoreError: the file is there and cannot be read.

        """
        try:
            with self._path.open("rb") as file:
                # Shared, which the library does not have: two who ask at once must not take each
                # other for the holder.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return self._signed()
            raise self._unusable(error) from error
        return None

    def _signed(self) -> str:
        """What the holder wrote. Anybody may have edited it, so it is only ever shown."""
        try:
            with self._path.open("rb") as file:
                content = json.loads(file.read(_READ_AT_MOST))
            who, pid, since = content["who"], content["pid"], content["since"]
        except (OSError, ValueError, TypeError, KeyError):
            return "an unnamed process"
        return one_line(f"{who} (process {pid}, since {since})")

    def _unusable(self, error: OSError) -> UnusableStoreError:
        return UnusableStoreError(
            f"{self._path}: it cannot be used as a lock ({error.strerror}): "
            "check the rights of the file, its folder and the disk",
        )
