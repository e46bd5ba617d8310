"""SIGINT and SIGTERM: the first asks for a clean stop, the second one ends the command at once."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
SIGNALLED: Final = 128
"""Added to a signal's number, it is the exit code of a command that the signal ended."""


class AtOnce(BaseException):
    """The second signal. Nothing is tidied up on the way out but what `finally` does."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Stop(threading.Event):
    """An event that a signal handler may set.

    The lock of an ordinary event may be held by the very code that the signal interrupts; this
    one is a flag and a pipe. Only one thread may wait. While it waits, `idle` is called in it about
    once a second, and it waits no longer when `wake` says so. `noticed` is called once when it is
    first seen that a signal has come, and `at_once` by the handler of the second one.
    """

    def __init__(
        self,
        *,
        idle: Callable[[], None] | None = None,
        wake: Callable[[], bool] | None = None,
        every: float = 1.0,
        noticed: Callable[[], None] | None = None,
        at_once: Callable[[int], NoReturn] | None = None,
    ) -> None:
        super().__init__()
        self._asked = False
        self._idle = idle
        self._wake = wake
        self._every = every
        self._noticed = noticed
        self._at_once = at_once or _raise_at_once
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self.signal: int | None = None
        """The number of the signal that set it."""

    def close(self) -> None:
        """Free the pipe; the event must not be used afterwards."""
        os.close(self._reading)
        os.close(self._writing)

    def set(self) -> None:
        """Wake the waiting thread; safe in a signal handler."""
        if not self._asked:
            self._asked = True
            os.write(self._writing, b"!")

    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        if self._asked and self.signal is not None and self._noticed is not None:
            tell, self._noticed = self._noticed, None
            tell()
        return self._asked

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, `timeout` seconds are over or `wake` says so; whether it is set."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = self._every if end is None else end - time.monotonic()
            if left <= 0:
                break
            select.select([self._reading], [], [], min(left, self._every))
            if self._idle is not None and not self._asked:
                self._idle()
            if self._wake is not None and self._wake():
                break
        return self.is_set()

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.signal is not None:
            self._at_once(SIGNALLED + number)
        self.signal = number
        self.set()

    @property
    def exit_code(self) -> int | None:
        """The exit code for the signal that set it; None: no signal did."""
        return None if self.signal is None else SIGNALLED + self.signal


def _raise_at_once(exit_code: int) -> NoReturn:
    raise AtOnce(exit_code)


@contextmanager
def signals(stop: Stop) -> Iterator[Stop]:
    """While this lasts, both signals set `stop`; one that is ignored stays ignored."""
    before = {one: signal.getsignal(one) for one in SIGNALS}
    try:
        for one, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(one, stop.handle)
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        stop.close()
