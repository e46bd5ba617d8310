"""What adapters on a SQLite file of their own share: opening it, its locks, its one-line errors.

No port stands behind this module; it is the only one that adapters may import from beside them.
"""

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, Self, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from agent.errors import UnusableStoreError

T = TypeVar("T")

MEMORY: Final = Path(":memory:")
"""Instead of a file: a database that belongs to one object and is gone with it."""

_PATIENCE: Final = 30.0
"""Seconds to wait for another process's transaction."""

_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space and start again",
    sqlite3.SQLITE_READONLY: "it cannot be written: check the rights of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the rights of the file and its folder",
    sqlite3.SQLITE_BUSY: f"another process kept it locked for {_PATIENCE:.0f} s: end that process",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database: name another state folder",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup",
}


class SqliteFile:
    """The file `path`, made when it is not there: WAL, synchronous=FULL, one format.

    An object may be used from several threads, and the file by several processes.

    Raises:
        UnusableStoreError: the file cannot be opened, read or written, by any method.

    """

    APPLICATION: ClassVar[int]
    """SQLite's application id, so that another program's database is never written to."""
    VERSION: ClassVar[int]
    SCHEMA: ClassVar[Sequence[str]]

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        try:
            if path != MEMORY:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = when_free(self._opened)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

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
                yield self._db
            except sqlite3.ProgrammingError:
                raise  # a bug of the caller, such as a closed file; no file is at fault
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction; BEGIN IMMEDIATE, so that nothing read in it can move."""
        with self._using() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, isolation_level=None, timeout=_PATIENCE, check_same_thread=False
        )
        try:
            if not self._refuse_foreign(db):
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("BEGIN IMMEDIATE")
                if not self._refuse_foreign(db):  # another process may have been faster
                    for statement in self.SCHEMA:
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {self.APPLICATION}")
                    db.execute(f"PRAGMA user_version = {self.VERSION}")
                db.execute("COMMIT")
            db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            db.close()
            raise
        if self._path == MEMORY:
            weakref.finalize(self, db.close)
        return db

    def _refuse_foreign(self, db: sqlite3.Connection) -> bool:
        """True: it is ours, of this version; False: it is empty; else it is not for us."""
        # In one statement: another process may be making the file in this very moment.
        tables, application, version = db.execute(
            """SELECT (SELECT count(*) FROM sqlite_master), application_id, user_version
                FROM pragma_application_id, pragma_user_version""",
        ).fetchone()
        if not (tables or application or version):
            return False
        if application != self.APPLICATION:
            raise UnusableStoreError(
                f"{self._path}: it is another program's database: name another state folder",
            )
        if version > self.VERSION:
            raise UnusableStoreError(
                f"{self._path}: it was written by a newer wavekeeper (format {version}, this one "
                f"knows {self.VERSION}): update wavekeeper",
            )
        return True

    def _unusable(self, error: Exception) -> UnusableStoreError:
        remedy = _REMEDIES.get(_code(error), f"{error}: check the path, the rights and the disk")
        return UnusableStoreError(f"{self._path}: {remedy}")


def when_free(opening: Callable[[], T]) -> T:
    """What `opening` gives, begun anew while another process keeps the file locked.

    SQLite does not wait its turn to change a file to WAL, however long its timeout is, so several
    processes that open a new file at once need this. Raises what `opening` raised last.
    """
    return Retrying(
        retry=retry_if_exception(_is_busy),
        wait=wait_random(0.005, 0.05),
        stop=stop_after_delay(_PATIENCE),
        reraise=True,
    )(opening)


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and _code(error) == sqlite3.SQLITE_BUSY


def _code(error: Exception) -> int:
    """The primary code is the low byte; the rest only tells variants apart."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
