"""Opens the state for the product: earlier files are taken over once, and all must fit together.

Before there was one file, there were three: `waves.db`, `journal.db` and `approvals.db`. Their rows
go into a new file, which gets its name when it is whole; whoever is killed before that begins anew.
"""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import filelock

from agent.adapters.common.sqlite import MEMORY
from agent.adapters.state import check
from agent.adapters.state.db import State
from agent.adapters.state.journal import SqliteJournal
from agent.adapters.state.seal import beside
from agent.adapters.state.shared import SharedFile
from agent.errors import UnusableStoreError

_ALL: Final = -1
"""No limit, in SQLite."""
ASIDE: Final = ".before-state-db"
"""What is put behind the name of an earlier file once its rows are taken over."""


def open_state(path: Path, *, make: bool = True) -> State:
    """The state at `path`, checked. Not `make`: one in memory if there is none yet.

    Raises:
        UnusableStoreError: it cannot be opened, is not whole, or says otherwise than its journal.

    """
    _take_over(path)
    if not make and not path.exists() and not beside(path).exists():
        return State(MEMORY)
    with ExitStack() as stack:
        state = stack.enter_context(State(path))
        _refuse(path, state.check())
        for file in earlier_files(path.parent):
            _refuse(file, None if state.took_over else f"it lies beside {path.name}; move it away")
            _put_aside(file)
        if state.took_over and not beside(path).exists():
            state.seal()
        stack.pop_all()  # the caller closes it
    return state


def _refuse(path: Path, fault: str | None) -> None:
    if fault is not None:
        raise UnusableStoreError(f"{path}: {fault}")


def earlier_files(folder: Path) -> list[Path]:
    """The files of the earlier format in the state folder, which are not taken over yet."""
    return [folder / one.NAME for one in _EARLIER if (folder / one.NAME).exists()]


class _Earlier(SharedFile):
    """One of the three; it is read, and never made."""

    NAME: str
    VERSION = 1
    SCHEMA = ()

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._using() as db:
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            self.close()
            raise UnusableStoreError(f"{path}: it is empty; restore it from a backup")

    def hold(self) -> None:
        """Leave nothing of it in a second file.

        Raises:
            UnusableStoreError: somebody else has it open.

        """
        with self._using() as db:
            try:
                db.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError as error:
                raise UnusableStoreError(
                    f"{self._path}: it is to be taken over into one file, and another process has "
                    "it open: end that process",
                ) from error

    def rows(self, query: str) -> Iterable[tuple[object, ...]]:
        """One after the other: a journal with its snapshots may be larger than memory."""
        return self._db.execute(query)

    def copy(self, into: sqlite3.Connection, follows: int) -> None:
        """Put all rows into the new file; `follows`: how many records its journal has."""
        raise NotImplementedError


class _EarlierJournal(_Earlier):
    NAME = "journal.db"
    APPLICATION = 0x574B4A4C  # WKJL

    def copy(self, into: sqlite3.Connection, follows: int) -> None:  # noqa: ARG002 - it is the journal
        if (broken := SqliteJournal(self).verify()) is not None:
            raise UnusableStoreError(f"{self._path}: {broken}; restore it from a backup")
        columns = "sequence, previous, digest, kind, at, tick, task, key, body"
        _insert(into, "entry", columns, self.rows(f"SELECT {columns} FROM entry ORDER BY sequence"))  # noqa: S608
        _insert(into, "snapshot", "digest, body", self.rows("SELECT digest, body FROM snapshot"))


class _EarlierWaves(_Earlier):
    NAME = "waves.db"
    APPLICATION = 0x574B5753  # WKWS

    def copy(self, into: sqlite3.Connection, follows: int) -> None:
        for table, columns, earlier in (
            ("wave", "place, id, content, body", "* FROM wave"),
            (
                "task",
                "place, id, wave, settled, body, status",
                "place, task, wave, settled, body, json_extract(body, '$.status') FROM standing",
            ),
            ("defect", "place, id, body", "* FROM defect"),
            ("outcome", "place, key, body", "* FROM outcome"),
            ("note", "name, value", "* FROM note"),
        ):
            rows = self.rows(f"SELECT {follows}, {earlier}")
            _insert(into, table, f"sequence, {columns}", rows)


class _EarlierApprovals(_Earlier):
    NAME = "approvals.db"
    APPLICATION = 0x574B4150  # WKAP

    def copy(self, into: sqlite3.Connection, follows: int) -> None:
        rows = self.rows(
            f"""SELECT {follows}, place, task, action, digest, state, live, body,
                json_extract(body, '$.seen'), json_extract(body, '$.recorded') FROM card""",  # noqa: S608
        )
        columns = "sequence, place, task, action, digest, state, live, body, seen, recorded"
        _insert(into, "request", columns, rows)
        _insert(into, "rule", "sequence, place, body", self.rows(f"SELECT {follows}, * FROM rule"))  # noqa: S608


_EARLIER: Final[Sequence[type[_Earlier]]] = (_EarlierJournal, _EarlierWaves, _EarlierApprovals)
"""The journal first: the others follow from it."""


def _insert(
    into: sqlite3.Connection, table: str, columns: str, rows: Iterable[tuple[object, ...]]
) -> None:
    places = ", ".join("?" * (columns.count(",") + 1))
    into.executemany(f"INSERT INTO {table}({columns}) VALUES ({places})", rows)  # noqa: S608


def _take_over(path: Path) -> None:
    """Make the new file of the earlier ones, unless it is there."""
    if path.exists() or not earlier_files(path.parent):
        return
    lock = path.with_name(f"{path.name}.lock")
    with filelock.FileLock(lock, fallback_to_soft=False):
        if not path.exists():  # else another process has done it
            _take_over_alone(path)
        lock.unlink(missing_ok=True)  # whoever waits for it finds the state there


def _take_over_alone(path: Path) -> None:
    with ExitStack() as stack:
        files = [
            stack.enter_context(one(path.parent / one.NAME))
            for one in _EARLIER
            if (path.parent / one.NAME).exists()
        ]
        for file in files:
            file.hold()
            stack.enter_context(file.transaction())
        _make(path, files)
        for file in files:
            _put_aside(file.path)


def _make(path: Path, files: Sequence[_Earlier]) -> None:
    new = path.with_name(f"{path.name}.new")
    for left in (new, new.with_name(f"{new.name}-wal"), new.with_name(f"{new.name}-shm")):
        left.unlink(missing_ok=True)
    with State(new, sealed=False) as state, state.transaction() as db:
        follows = 0
        for file in files:
            try:
                file.copy(db, follows)
            except sqlite3.Error as error:
                why = f"its rows cannot be taken over ({error}); restore it from a backup"
                raise UnusableStoreError(f"{file.path}: {why}") from error
            (follows,) = db.execute("SELECT count FROM head").fetchone()
        db.execute(_OF_OLD_ERRORS)
        db.execute(_NOT_RECORDED_YET)
        db.execute("UPDATE installation SET took_over = 1")
        if (fault := _torn(db) or check.fault(db)) is not None:
            names = " and ".join(file.path.name for file in files)
            why = f"{names} do not fit together: {fault}; restore all of them from one backup"
            raise UnusableStoreError(f"{path.parent}: {why}")
        for odd in state.damaged(_ALL):
            why = f"{odd.kind} {odd.id} cannot be taken over: {odd.why}; restore it from a backup"
            raise UnusableStoreError(f"{path.parent}: {why}")
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# An answer was recorded after it was kept, then; the supervisor does so at its next look.
_NOT_RECORDED_YET: Final = f"""UPDATE request SET sequence = {check.TAKEN_OVER}
    WHERE live AND state = 'approved' AND NOT recorded"""  # noqa: S608
# An error after an act could leave a task settled whose record says that it failed.
_OF_OLD_ERRORS: Final = f"""UPDATE task SET sequence = {check.TAKEN_OVER}
    WHERE {check.UNEXPLAINED} AND EXISTS (
        SELECT 1 FROM entry WHERE entry.task = task.id AND entry.kind = 'intent')"""  # noqa: S608


def _torn(db: sqlite3.Connection) -> str | None:
    """Whether one of the files is older than another, which had no common count of records."""
    newer = """SELECT id FROM task WHERE status <> 'planned'
        AND julianday(json_extract(body, '$.changedAt')) >
            (SELECT coalesce(max(julianday(at)), 0) FROM entry) + 1.0 / 86400
        AND NOT EXISTS (
            SELECT 1 FROM open_intent JOIN entry USING (sequence) WHERE entry.task = task.id)"""
    if (found := db.execute(newer).fetchone()) is not None:
        return f"the journal ends before task {found[0]!r} was changed last"
    older = """SELECT id FROM task WHERE status = 'planned' AND EXISTS (
        SELECT 1 FROM entry WHERE entry.task = task.id AND entry.kind IN ('outcome', 'settled')
            AND json_extract(entry.body, '$.action') = 'submit'
            AND json_extract(entry.body, '$.result') = 'done')"""
    if (found := db.execute(older).fetchone()) is not None:
        return f"the journal says that task {found[0]!r} was submitted, and it is only planned"
    return None


def _put_aside(file: Path) -> None:
    """Rename an earlier file whose rows are taken over; it may have been done already."""
    aside = file.with_name(file.name + ASIDE)
    if aside.exists() and file.exists():  # in this order: a rename between the two is no conflict
        why = f"it was taken over, and {aside.name} is there already; move one of them away"
        raise UnusableStoreError(f"{file}: {why}")
    with suppress(FileNotFoundError):
        file.replace(aside)
