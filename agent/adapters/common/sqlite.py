"""What adapters on a SQLite file of their own share: opening it, its locks, its one-line errors.

This module implements no port.
"""

import os
import re
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import ClassVar, Final, Self, TypeVar

import psutil
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random

from agent.errors import UnusableStoreError, WavekeeperError

T = TypeVar("T")

MEMORY: Final = Path(":memory:")
"""Instead of a file: a database that belongs to one object and is gone with it."""
OLDEST_SQLITE: Final = (3, 37)
"""The first with STRICT tables."""

_PATIENCE: Final = 30.0
"""Seconds to wait for another process's transaction."""
_LOOK_AFTER: Final = 2.0
"""Seconds of waiting after which the processes that hold the file are looked at."""
_LOCKS: Final = Path("/proc/locks")
"""Linux's table of all locks. Elsewhere nobody knows who holds a file, and waiting is all."""
_WRITE_LOCK: Final = re.compile(r"^\d+: POSIX +\S+ +WRITE (\d+) \S+:(\d+) ", re.MULTILINE)
"""A lock that is held, with its process and the file's inode."""

_PASSING: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space and start again",
    sqlite3.SQLITE_READONLY: "it cannot be written: check the rights of the file and its folder",
    sqlite3.SQLITE_IOERR: "it cannot be read or written: check the path, the rights and the disk",
    sqlite3.SQLITE_BUSY: "another process kept it locked for {patience:.0f} s: {holders}",
    sqlite3.SQLITE_PROTOCOL: "too many processes open it at once: try again",
}
"""What may be over when it is tried again, by SQLite's primary result code."""
_LASTING: Final = {
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the rights of the file and its folder",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database: name another state folder, or restore it",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup",
}
_BUGS: Final = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
}
"""What is wrong with a statement, and no fault of the file."""


class SqliteFile:
    """The file `path`, made when it is not there: WAL, synchronous=FULL, one format.

    An object may be used from several threads, and the file by several processes.

    Raises:
        UnusableStoreError: the file cannot be opened, read or written, by any method.
        UNAVAILABLE: the same, where it may be over when it is tried again.
        sqlite3.Error: a bug of the caller, such as the use of a closed file.

    """

    APPLICATION: ClassVar[int]
    """SQLite's application id, so that another program's database is never written to."""
    VERSION: ClassVar[int]
    """The format of `SCHEMA`, from 1; a newer file is refused."""
    SCHEMA: ClassVar[Sequence[str]]
    STEPS: ClassVar[Mapping[int, Sequence[str]]] = {}
    """For each version, the statements that make it of the version before.

    All that a file needs run in one transaction, so it has the old format or the new one. A file
    that is older than the first step is refused.
    """
    UNAVAILABLE: ClassVar[type[WavekeeperError]] = UnusableStoreError

    def __init__(self, path: Path) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            advice = f"use a Python with {'.'.join(map(str, OLDEST_SQLITE))} or later"
            raise UnusableStoreError(f"SQLite {sqlite3.sqlite_version} is too old: {advice}")
        self._path = path
        self._lock = threading.RLock()
        try:
            if path != MEMORY:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._when_free(self._opened)
            self._file = self._identified()
        except OSError as error:
            raise self._explained(error) from error
        except sqlite3.Error as error:
            if _is_bug(error):
                raise
            raise self._explained(error) from error

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        """Use it until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, whatever happened."""
        self.close()

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._identified() != self._file:
                    raise UnusableStoreError(
                        f"{self._path}: it was replaced while it was in use: restore it",
                    )
                yield self._db
            except sqlite3.Error as error:
                if _is_bug(error):
                    raise
                raise self._explained(error) from error

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """One write transaction, or with BEGIN one that only reads; nothing read in it moves."""
        with self._using() as db:
            self._when_free(lambda: db.execute(begin))
            try:
                yield db
                db.execute("COMMIT")
            finally:
                # A full disk makes SQLite roll back by itself.
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, isolation_level=None, timeout=_LOOK_AFTER, check_same_thread=False
        )
        try:
            if self._version(db) != self.VERSION:
                self._bring_up(db)
            db.execute("PRAGMA synchronous = FULL")
            # After the steps, which may have to rebuild a table that others refer to.
            db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
        # Whoever drops it without closing it must not keep the file, nor a database in memory.
        weakref.finalize(self, db.close)
        return db

    def _bring_up(self, db: sqlite3.Connection) -> None:
        """Make an empty file ours, or an older one of this version."""
        if self._path != MEMORY:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise UnusableStoreError(
                    f"{self._path}: cannot use WAL here: keep it on a local disk"
                )
        db.execute("BEGIN IMMEDIATE")
        version = self._version(db)  # another process may have been faster
        steps = [self.STEPS[number] for number in range(version + 1, self.VERSION + 1) if version]
        for statements in steps or [() if version else self._schema()]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {self.APPLICATION}")
        db.execute(f"PRAGMA user_version = {self.VERSION}")
        db.execute("COMMIT")

    def _schema(self) -> Sequence[str]:
        return self.SCHEMA

    def _version(self, db: sqlite3.Connection) -> int:
        """0: it is empty; else the version of our file. UnusableStoreError: it is not for us."""
        # In one statement: another process may be making the file in this very moment.
        tables, application, version = db.execute(
            """SELECT (SELECT count(*) FROM sqlite_master), application_id, user_version
                FROM pragma_application_id, pragma_user_version""",
        ).fetchone()
        if not (tables or application or version):
            return 0
        if application != self.APPLICATION:
            raise UnusableStoreError(
                f"{self._path}: it is another program's database: name another state folder",
            )
        if version > self.VERSION:
            raise UnusableStoreError(
                f"{self._path}: it was written by a newer wavekeeper (format {version}, this one "
                f"knows {self.VERSION}): update wavekeeper",
            )
        if any(number not in self.STEPS for number in range(version + 1, self.VERSION + 1)):
            raise UnusableStoreError(
                f"{self._path}: it was written by an older wavekeeper (format {version}), whose "
                "files this one cannot read: finish with that one, or move the file away",
            )
        return int(version)

    def _identified(self) -> tuple[int, int] | None:
        """Which file is at the path now: SQLite goes on with one that was moved or deleted."""
        if self._path == MEMORY:
            return None
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_dev, seen.st_ino

    def _explained(self, error: Exception) -> WavekeeperError:
        code = _code(error)
        if code in _PASSING:
            remedy = _PASSING[code].format(patience=_PATIENCE, holders=_advice(self._path))
            return self.UNAVAILABLE(f"{self._path}: {remedy}")
        remedy = _LASTING.get(code, f"{error}: check the path, the rights and the disk")
        return UnusableStoreError(f"{self._path}: {remedy}")

    def _when_free(self, begin: Callable[[], T]) -> T:
        """What `begin` gives, done anew while another process keeps the file locked.

        SQLite does not wait its turn to change a file to WAL, however long its timeout is, so
        several processes that open a new file at once need this. Raises what `begin` raised last.

        A process that is stopped (Ctrl-Z, SIGSTOP) inside a transaction keeps its lock. It is
        woken up, so that it ends the transaction, and stopped again; `begin` has the lock then,
        so it is not stopped inside the next one.
        """
        try:
            return begin()
        except sqlite3.Error as error:
            if not _is_busy(error):
                raise
        woken: list[psutil.Process] = []

        def look(state: RetryCallState) -> None:
            if (state.seconds_since_start or 0) >= _LOOK_AFTER:
                woken.extend(_awakened(self._path))

        try:
            return Retrying(
                retry=retry_if_exception(_is_busy),
                wait=wait_random(0.005, 0.05),
                stop=stop_after_delay(_PATIENCE),
                before_sleep=look,
                reraise=True,
            )(begin)
        finally:
            for process in woken:
                with suppress(psutil.Error):
                    process.suspend()


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and _code(error) == sqlite3.SQLITE_BUSY


@cache
def statements_of(package: str, name: str) -> tuple[str, ...]:
    """The statements of a `.sql` file of ours; some hold semicolons inside."""
    statements, part = [], ""
    for line in (resources.files(package) / name).read_text("utf-8").splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            statements.append(part)
            part = ""
    return tuple(statements)


def _is_bug(error: sqlite3.Error) -> bool:
    by_module = isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError)
    return by_module or _code(error) in _BUGS


def _code(error: BaseException) -> int:
    """The primary code is the low byte; the rest only tells variants apart."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _holders(path: Path) -> Iterator[psutil.Process]:
    """The processes that hold a write lock on the file or on its index in shared memory.

    The file must not be opened to find out: closing it again would drop our own locks.
    """
    with suppress(OSError):
        files = [path.resolve(), path.resolve().with_name(f"{path.name}-shm")]
        inodes = {str(one.stat().st_ino): str(one) for one in files if one.exists()}
        for pid, inode in _WRITE_LOCK.findall(_LOCKS.read_text(encoding="ascii")):
            with suppress(psutil.Error):
                process = psutil.Process(int(pid))
                # The number alone may be that of a file on another disk.
                if inodes.get(inode) in {one.path for one in process.open_files()}:
                    yield process


def _awakened(path: Path) -> Iterator[psutil.Process]:
    """Those of the holders that were stopped, and run again now."""
    for process in _holders(path):
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_STOPPED:
                process.resume()
                yield process


def _advice(path: Path) -> str:
    """Who keeps the file locked, as far as it can be seen."""
    pids = ", ".join(str(one.pid) for one in _holders(path) if one.pid != os.getpid())
    return f"end process {pids}" if pids else "end that process"
