"""Single keys of a terminal. What was typed before a question stood there answers nothing."""

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from agent.cli.stopping import SIGNALLED, AtOnce

DEAD: Final = 0.4
"""Seconds after something new was shown in which every key is dropped: nobody has read it yet."""
_END: Final = "\x04"


class Keys:
    """A terminal, by default standard input, as keys or as lines.

    `dead`: seconds for which keys are dropped once something new was shown.
    """

    def __init__(self, fd: int | None = None, dead: float = DEAD) -> None:
        self._fd = sys.stdin.fileno() if fd is None else fd
        self._dead = dead

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While this lasts, keys come one by one and are not echoed; the terminal is given back."""
        before = termios.tcgetattr(self._fd)
        handler = signal.signal(signal.SIGTERM, _at_once)
        try:
            tty.setcbreak(self._fd, termios.TCSANOW)
            yield
        finally:
            termios.tcsetattr(self._fd, termios.TCSANOW, before)
            signal.signal(signal.SIGTERM, handler)

    def drop(self) -> None:
        """Wait until what is shown can have been seen, and drop every key until then."""
        end = time.monotonic() + self._dead
        while (left := end - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0] and not os.read(self._fd, 1024):
                return
        termios.tcflush(self._fd, termios.TCIFLUSH)

    def key(self) -> str:
        """The next key; "" when the terminal is gone or Ctrl-D was pressed.

        What comes as more than one character at once, an arrow or something pasted, is no key of
        ours and comes back as a blank.
        """
        pressed = os.read(self._fd, 64).decode(errors="replace")
        if pressed in ("", _END):
            return ""
        return pressed if len(pressed) == 1 else " "

    def forget(self) -> None:
        """Drop what was typed ahead of a question that takes a line."""
        termios.tcflush(self._fd, termios.TCIFLUSH)

    def line(self) -> str:
        """A line as it was typed, without blanks around it; "" when the terminal is gone."""
        read = bytearray()
        while not read.endswith(b"\n"):
            more = os.read(self._fd, 1)
            if not more:
                break
            read += more
        return read.decode(errors="replace").strip()


def _at_once(number: int, _frame: FrameType | None) -> None:
    raise AtOnce(SIGNALLED + number)
