"""What the supervisor remembers between ticks, in one SQLite file.

Every noun is kept as its JSON beside the few columns that are searched. A settled task is never
read again unless it is asked for, so a tick costs what is open, not what was ever done.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from agent.core.actions import canonical, digest
from agent.core.model import Defect, Noun, Outcome
from agent.core.records import SETTLED_STANDINGS, Standing, WaveRecord
from agent.errors import UnusableStoreError, WaveFileError

_APPLICATION: Final = 0x574B5753
"""`WKWS`: SQLite's application id, so that another program's database is never written to."""
_VERSION: Final = 1
_PATIENCE: Final = 30.0
"""Seconds to wait for another process's transaction."""
_PAUSE: Final = 0.01

_SCHEMA: Final = (
    """CREATE TABLE wave(
        place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content TEXT NOT NULL,
        body TEXT NOT NULL)""",
    """CREATE TABLE standing(
        place INTEGER PRIMARY KEY, task TEXT NOT NULL UNIQUE, wave TEXT NOT NULL,
        settled INTEGER NOT NULL, body TEXT NOT NULL)""",
    "CREATE INDEX standing_settled ON standing(settled, place)",
    "CREATE TABLE defect(place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL)",
    "CREATE TABLE outcome(place INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body TEXT NOT NULL)",
    "CREATE TABLE note(name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)

_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space and start again",
    sqlite3.SQLITE_READONLY: "it cannot be written: check the rights of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the rights of the file and its folder",
    sqlite3.SQLITE_BUSY: f"another process kept it locked for {_PATIENCE:.0f} s: end that process",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database: name another state folder",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup",
}

_N = TypeVar("_N", bound=Noun)


class SqliteWaves(AbstractContextManager["SqliteWaves"]):
    """The wave store in the file `path`, which is made when it is not there.

    An object may be used from several threads, and the file by several processes.

    Raises:
        UnusableStoreError: the file cannot be opened, read or written, by any method.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._open: dict[str, Standing] = {}
        self._open_version: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = _open(path)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from error

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        with self._lock:
            self._db.close()

    def __exit__(self, *_: object) -> None:
        """Close the file, whatever happened."""
        self.close()

    def add_wave(self, wave: WaveRecord, standings: Sequence[Standing]) -> bool:
        """All or nothing. A wave's content is its goal, its grants and its tasks as written.

        Raises:
            WaveFileError: the wave's id stands for other content, or a task's id is taken.

        """
        content = _content(wave, standings)
        with self._transaction() as db:
            row = db.execute("SELECT content FROM wave WHERE id = ?", (wave.id,)).fetchone()
            if row is not None:
                if row[0] == content:
                    return False
                raise WaveFileError(
                    f"wave {wave.id!r} was submitted before with other content: "
                    "give the changed wave an id of its own",
                )
            for standing in standings:
                self._refuse_taken(db, standing)
                _save(db, standing)
            db.execute(
                "INSERT INTO wave(id, content, body) VALUES (?, ?, ?)",
                (wave.id, content, _json(wave)),
            )
            self._open_version = None
        return True

    @staticmethod
    def _refuse_taken(db: sqlite3.Connection, standing: Standing) -> None:
        task = standing.spec.id
        row = db.execute("SELECT wave FROM standing WHERE task = ?", (task,)).fetchone()
        if row is not None:
            raise WaveFileError(
                f"task {task!r} is there already, in wave {row[0]!r}: give it another id",
            )

    def waves(self) -> Sequence[WaveRecord]:
        """In the order they were submitted."""
        return self._all(WaveRecord, "SELECT body FROM wave ORDER BY place")

    def standings(self, *, settled: bool | None = None) -> Sequence[Standing]:
        """In the order they were added; `settled=False` does not read the settled ones."""
        if settled is None:
            return self._all(Standing, "SELECT body FROM standing ORDER BY place")
        query = "SELECT body FROM standing WHERE settled = ? ORDER BY place"
        if settled:
            return self._all(Standing, query, 1)
        # Ten thousand open tasks take a second to parse, and hardly any of them changes between
        # two ticks; `data_version` changes with every commit of another connection.
        with self._using() as db:
            version = db.execute("PRAGMA data_version").fetchone()[0]
            if version != self._open_version:
                self._open = {one.spec.id: one for one in self._all(Standing, query, 0)}
                self._open_version = version
            return list(self._open.values())

    def standing(self, task: str) -> Standing | None:
        """One task; None: no wave has it."""
        found = self._all(Standing, "SELECT body FROM standing WHERE task = ?", task)
        return found[0] if found else None

    def save(self, standing: Standing) -> None:
        """Overwrite what is known of the task, or add it behind the others."""
        with self._lock:
            with self._transaction() as db:
                _save(db, standing)
            if standing.spec.id not in self._open:
                self._open_version = None  # where it stands among the others, the file knows
            elif standing.status in SETTLED_STANDINGS:
                del self._open[standing.spec.id]
            else:
                self._open[standing.spec.id] = standing

    def defects(self) -> Sequence[Defect]:
        """In the order they were first saved."""
        return self._all(Defect, "SELECT body FROM defect ORDER BY place")

    def save_defect(self, defect: Defect) -> None:
        """Overwrite what is known of the defect, or add it."""
        with self._transaction() as db:
            db.execute(
                """INSERT INTO defect(id, body) VALUES (?, ?)
                    ON CONFLICT(id) DO UPDATE SET body = excluded.body""",
                (defect.id, _json(defect)),
            )

    def outcomes(self, limit: int) -> Sequence[Outcome]:
        """The `limit` that were added last, oldest first."""
        query = "SELECT body FROM outcome ORDER BY place DESC LIMIT ?"
        return self._all(Outcome, query, max(limit, 0))[::-1]

    def add_outcome(self, outcome: Outcome, *, key: str) -> None:
        """The first outcome with a key stays."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO outcome(key, body) VALUES (?, ?) ON CONFLICT(key) DO NOTHING",
                (key, _json(outcome)),
            )

    def notes(self) -> Mapping[str, str]:
        """All of them; the mapping is the caller's own."""
        with self._using() as db:
            return dict(db.execute("SELECT name, value FROM note").fetchall())

    def note(self, values: Mapping[str, str]) -> None:
        """Overwrite these and leave the others, all or nothing."""
        with self._transaction() as db:
            db.executemany(
                """INSERT INTO note VALUES (?, ?)
                    ON CONFLICT(name) DO UPDATE SET value = excluded.value""",
                values.items(),
            )

    def _all(self, noun: type[_N], query: str, *values: object) -> list[_N]:
        with self._using() as db:
            rows = db.execute(query, values).fetchall()
        try:
            return [noun.model_validate_json(row[0]) for row in rows]
        except ValidationError as error:
            raise UnusableStoreError(
                f"{self._path}: a stored {noun.__name__} cannot be read: it was edited or written "
                "by another version; restore the file from a backup",
            ) from error

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.ProgrammingError:
                raise  # a bug of the caller, such as a closed store; no file is at fault
            except sqlite3.Error as error:
                raise _unusable(self._path, error) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._using() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


def _content(wave: WaveRecord, standings: Sequence[Standing]) -> str:
    """What makes it this very wave: not when it was submitted, nor from which file."""
    tasks = sorted((standing.spec for standing in standings), key=lambda spec: spec.id)
    return digest(
        {
            "goal": wave.goal,
            "grants": wave.grants.model_dump(mode="json", exclude_none=True),
            "tasks": [spec.model_dump(mode="json", exclude_none=True) for spec in tasks],
        },
    )


def _json(noun: Noun) -> str:
    return canonical(noun).decode()


def _save(db: sqlite3.Connection, standing: Standing) -> None:
    db.execute(
        """INSERT INTO standing(task, wave, settled, body) VALUES (?, ?, ?, ?)
            ON CONFLICT(task) DO UPDATE
            SET wave = excluded.wave, settled = excluded.settled, body = excluded.body""",
        (
            standing.spec.id,
            standing.wave,
            standing.status in SETTLED_STANDINGS,
            _json(standing),
        ),
    )


def _open(path: Path) -> sqlite3.Connection:
    """Tried again while busy, for SQLite does not wait its turn to change a new file to WAL."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return _opened(path)
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE, check_same_thread=False)
    try:
        if not _refuse_foreign(path, db):
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            if not _refuse_foreign(path, db):  # another process may have been faster
                for statement in _SCHEMA:
                    db.execute(statement)
            db.execute("COMMIT")
        db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


def _refuse_foreign(path: Path, db: sqlite3.Connection) -> bool:
    """True: it is a wave store of this version; False: it is empty; else it is not for us."""
    # In one statement: another process may be making the file in this very moment.
    tables, application, version = db.execute(
        """SELECT (SELECT count(*) FROM sqlite_master), application_id, user_version
            FROM pragma_application_id, pragma_user_version""",
    ).fetchone()
    if not (tables or application or version):
        return False
    if application != _APPLICATION:
        raise UnusableStoreError(
            f"{path}: it is another program's database: name another state folder",
        )
    if version > _VERSION:
        raise UnusableStoreError(
            f"{path}: it was written by a newer wavekeeper (format {version}, this one knows "
            f"{_VERSION}): update wavekeeper",
        )
    return True


def _code(error: Exception) -> int:
    """The primary code is the low byte; the rest only tells variants apart."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _unusable(path: Path, error: Exception) -> UnusableStoreError:
    remedy = _REMEDIES.get(_code(error), f"{error}: check the path, the rights and the disk")
    return UnusableStoreError(f"{path}: {remedy}")
