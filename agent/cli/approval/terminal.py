"""A person's terminal: single keys, and an editor for a short text.

What was typed before a question was shown answers nothing.
"""

import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from agent.cli.stopping import SIGNALLED, AtOnce
from agent.errors import UserError

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


def edit_text(text: str, suffix: str) -> str | None:
    """`text` as it left `$VISUAL`, `$EDITOR` or vi; None: given up, emptied or left as it was.

    UserError: there is no such editor.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise UserError(f"$EDITOR {command!r:.80}: {error}; fix it") from error
    with tempfile.TemporaryDirectory(prefix="wavekeeper-edit-") as folder:
        path = Path(folder, f"edit{suffix}")
        path.write_text(text, encoding="utf-8", errors="replace")
        try:
            with _ours_to_keep():
                ended = subprocess.run([*argv, str(path)], check=False)
        except OSError as error:
            raise UserError(f"{argv[0]!r:.80}: {error.strerror}; set $EDITOR") from error
        if ended.returncode != 0:
            return None
        new = path.read_text(encoding="utf-8", errors="replace")
    return None if not new.strip() or new.strip() == text.strip() else new


@contextmanager
def _ours_to_keep() -> Iterator[None]:
    """Ctrl-C in the editor is the editor's. A handler, because ignoring would be inherited."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
