"""One supervisor at a time: a file that is locked for as long as its holder lives.

The lock is the kernel's (`flock`), so it ends with the process, however that ends; what the file
says is only for people. A process that is forked, without starting another program, shares it.
"""

import errno
import fcntl
import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Final

from agent.core.model.text import one_line
from agent.errors import LockHeldError, UnusableStoreError

_GLIMPSE: Final = 0.25
"""Seconds for which `acquire` tries again: `holder` takes a shared lock for an instant."""
_PAUSE: Final = 0.01
_READ_AT_MOST: Final = 4_096
"""Bytes of the file that are believed to be its content."""


class FileLock:
    """The supervisor's lock in the file `path`; its folder is made when it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self, who: str, now: datetime) -> None:
        """Hold the lock from here to `release`, or to the end of the process.

        Raises:
            LockHeldError: somebody holds it, this very object included.
            UnusableStoreError: the file cannot be opened or written.

        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._take(file, {"who": who, "pid": os.getpid(), "since": now.isoformat()})
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def _take(self, file: int, content: dict[str, object]) -> None:
        try:
            taken = _locked(file, fcntl.LOCK_EX, _GLIMPSE)
            if taken:
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(content).encode(), 0)
        except OSError as error:
            raise self._unusable(error) from error
        if not taken:
            raise LockHeldError(
                f"{_said(file)} supervises here already ({self._path}); "
                "end it first, or let it go on and only watch it",
            )

    def release(self) -> None:
        """Let the next one in; nothing happens when it is not held."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def holder(self) -> str | None:
        """Who holds it, with process and since when; None: nobody does, whatever the file says.

        Raises:
            UnusableStoreError: the file is there and cannot be read.

        """
        try:
            file = os.open(self._path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            return None if _locked(file, fcntl.LOCK_SH, 0) else _said(file)
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            os.close(file)

    def _unusable(self, error: OSError) -> UnusableStoreError:
        return UnusableStoreError(
            f"{self._path}: it cannot be used as a lock ({error.strerror}): "
            "check the rights of the file, its folder and the disk",
        )


def _locked(file: int, kind: int, patience: float) -> bool:
    """Take the lock; False: somebody else still had it after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE)
        else:
            return True


def _said(file: int) -> str:
    """What the holder wrote. Anybody may have edited it, so it is only ever shown."""
    try:
        content = json.loads(os.pread(file, _READ_AT_MOST, 0))
        who, pid, since = content["who"], content["pid"], content["since"]
    except (ValueError, TypeError, KeyError):
        return "somebody who has not said who"
    return one_line(f"{who} (process {pid}, since {since})")
