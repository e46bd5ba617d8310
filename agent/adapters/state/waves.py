"""What the supervisor remembers between ticks, as tables of the state's file.

Every noun is kept as its JSON beside the few columns that are searched. A settled task is never
read again unless it is asked for, so a tick costs what is open, not what was ever done.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from agent.adapters.state.shared import SharedFile, sequence
from agent.core.journal.records import SETTLED_RECORDS, Damaged, TaskRecord, WaveRecord
from agent.core.model.actions import canonical, digest
from agent.core.model.nouns import Defect, Noun, Outcome
from agent.errors import WaveFileError

# `sequence`: how many records the journal had when the row was written.
SCHEMA: Final = (
    """CREATE TABLE wave(
        place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content TEXT NOT NULL,
        sequence INTEGER NOT NULL, body TEXT NOT NULL)""",
    """CREATE TABLE task(
        place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, wave TEXT NOT NULL,
        status TEXT NOT NULL, settled INTEGER NOT NULL, sequence INTEGER NOT NULL,
        body TEXT NOT NULL)""",
    "CREATE INDEX task_settled ON task(settled, place)",
    "CREATE INDEX task_sequence ON task(sequence)",
    """CREATE TABLE defect(
        place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sequence INTEGER NOT NULL,
        body TEXT NOT NULL)""",
    """CREATE TABLE outcome(
        place INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, sequence INTEGER NOT NULL,
        body TEXT NOT NULL)""",
    "CREATE INDEX outcome_sequence ON outcome(sequence)",
    "CREATE TABLE note(name TEXT PRIMARY KEY, value TEXT NOT NULL, sequence INTEGER NOT NULL)",
)

_N = TypeVar("_N", bound=Noun)


class SqliteWaves:
    """The wave store in `file`.

    Raises:
        UnusableStoreError: the file cannot be read or written, by any method.

    """

    def __init__(self, file: SharedFile) -> None:
        self._file = file
        self._open: dict[str, TaskRecord] = {}
        self._unreadable: dict[str, str] = {}
        self._open_version: int | None = None
        """The file's `data_version` for which `_open` holds all open tasks; None: for none.

        Ten thousand open tasks take a second to parse, and hardly any of them changes between two
        ticks. What this object writes it puts into `_open` as well.
        """

    def forget(self) -> None:
        """Read again what is open: a change was undone."""
        self._open_version = None

    def add_wave(self, wave: WaveRecord, task_records: Sequence[TaskRecord]) -> bool:
        """All or nothing. A wave's content is its goal, its grants and its tasks as written.

        Raises:
            WaveFileError: the wave's id stands for other content, or a task's id is taken.

        """
        content = _content(wave, task_records)
        with self._file.transaction() as db:
            row = db.execute("SELECT content FROM wave WHERE id = ?", (wave.id,)).fetchone()
            if row is not None:
                if row[0] == content:
                    return False
                raise WaveFileError(
                    f"wave {wave.id!r} was submitted before with other content: "
                    "give the changed wave an id of its own",
                )
            for task_record in task_records:
                self._refuse_taken(db, task_record)
                _save(db, task_record)
            db.execute(
                "INSERT INTO wave(id, content, sequence, body) VALUES (?, ?, ?, ?)",
                (wave.id, content, sequence(db), _json(wave)),
            )
            self.forget()
        return True

    @staticmethod
    def _refuse_taken(db: sqlite3.Connection, task_record: TaskRecord) -> None:
        task = task_record.spec.id
        row = db.execute("SELECT wave FROM task WHERE id = ?", (task,)).fetchone()
        if row is not None:
            raise WaveFileError(
                f"task {task!r} is there already, in wave {row[0]!r}: give it another id",
            )

    def waves(self) -> Sequence[WaveRecord]:
        """In the order they were submitted."""
        return self._all(WaveRecord, "SELECT CAST(body AS BLOB) FROM wave ORDER BY place")

    def task_records(self, *, settled: bool | None = None) -> Sequence[TaskRecord]:
        """In the order they were added; `settled=False` does not read the settled ones."""
        if settled is None:
            return self._tasks("SELECT id, CAST(body AS BLOB) FROM task ORDER BY place")
        query = "SELECT id, CAST(body AS BLOB) FROM task WHERE settled = ? ORDER BY place"
        if settled:
            return self._tasks(query, 1)
        with self._file.using() as db:
            version = _data_version(db)  # first: what is committed meanwhile is read again
            if version != self._open_version:
                self._unreadable.clear()
                self._open = {one.spec.id: one for one in self._tasks(query, 0)}
                self._open_version = version
            return list(self._open.values())

    def unreadable(self) -> Mapping[str, str]:
        """Open tasks whose row cannot be read, and why; the others go on without them."""
        self.task_records(settled=False)
        return dict(self._unreadable)

    def task_record(self, task: str) -> TaskRecord | None:
        """One task; None: no wave has it."""
        with self._file.using() as db:
            if task in self._open and _data_version(db) == self._open_version:
                return self._open[task]
            found = self._tasks("SELECT id, CAST(body AS BLOB) FROM task WHERE id = ?", task)
        return found[0] if found else None

    def save(self, task_record: TaskRecord) -> None:
        """Overwrite what is known of the task, or add it behind the others."""
        with self._file.transaction() as db:
            _save(db, task_record)
            if task_record.spec.id not in self._open:
                self.forget()  # where it stands among the others, the file knows
            elif task_record.status in SETTLED_RECORDS:
                del self._open[task_record.spec.id]
            else:
                self._open[task_record.spec.id] = task_record

    def defects(self) -> Sequence[Defect]:
        """In the order they were first saved."""
        return self._all(Defect, "SELECT CAST(body AS BLOB) FROM defect ORDER BY place")

    def save_defect(self, defect: Defect) -> None:
        """Overwrite what is known of the defect, or add it."""
        with self._file.transaction() as db:
            db.execute(
                """INSERT INTO defect(id, sequence, body) VALUES (?, ?, ?) ON CONFLICT(id)
                    DO UPDATE SET sequence = excluded.sequence, body = excluded.body""",
                (defect.id, sequence(db), _json(defect)),
            )

    def outcomes(self, limit: int) -> Sequence[Outcome]:
        """The `limit` that were added last, oldest first.

        One that cannot be read counts as a failure, at the time of the record it follows from: the
        window must not grow because a failure was damaged.
        """
        query = """SELECT key, CAST(body AS BLOB),
                (SELECT at FROM entry WHERE sequence = outcome.sequence)
            FROM outcome ORDER BY place DESC LIMIT ?"""
        found = []
        for key, body, at in self._rows(query, max(limit, 0)):
            read = self._file.parse(Outcome, body)
            if isinstance(read, Outcome):
                found.append(read)
            elif at is not None:
                when = datetime.fromisoformat(at)
                found.append(Outcome(task=key, result="failed", attributable=True, at=when))
        return found[::-1]

    def add_outcome(self, outcome: Outcome, *, key: str) -> None:
        """The first outcome with a key stays."""
        with self._file.transaction() as db:
            db.execute(
                """INSERT INTO outcome(key, sequence, body) VALUES (?, ?, ?)
                    ON CONFLICT(key) DO NOTHING""",
                (key, sequence(db), _json(outcome)),
            )

    def notes(self) -> Mapping[str, str]:
        """All of them; the mapping is the caller's own."""
        with self._file.using() as db:
            return dict(db.execute("SELECT name, value FROM note").fetchall())

    def note(self, values: Mapping[str, str]) -> None:
        """Overwrite these and leave the others, all or nothing."""
        with self._file.transaction() as db:
            follows = sequence(db)
            db.executemany(
                """INSERT INTO note(name, value, sequence) VALUES (?, ?, ?) ON CONFLICT(name)
                    DO UPDATE SET value = excluded.value, sequence = excluded.sequence""",
                [(name, value, follows) for name, value in values.items()],
            )

    def damaged(self, outcomes: int) -> list[Damaged]:
        """Waves, defects and the latest `outcomes` that cannot be read."""
        nouns: dict[str, tuple[type[Noun], str]] = {
            "wave": (WaveRecord, "SELECT id, CAST(body AS BLOB) FROM wave ORDER BY place"),
            "defect": (Defect, "SELECT id, CAST(body AS BLOB) FROM defect ORDER BY place"),
            "outcome": (
                Outcome,
                "SELECT key, CAST(body AS BLOB) FROM outcome ORDER BY place DESC LIMIT ?",
            ),
        }
        return [
            Damaged.model_validate({"kind": kind, "id": name, "why": why})
            for kind, (noun, query) in nouns.items()
            for name, body in self._rows(query, *[outcomes] * query.count("?"))
            if isinstance(why := self._file.parse(noun, body), str)
        ]

    def _tasks(self, query: str, *values: object) -> list[TaskRecord]:
        found = []
        for task, body in self._rows(query, *values):
            read = self._file.parse(TaskRecord, body)
            if isinstance(read, str):
                self._unreadable[task] = read
            else:
                found.append(read)
        return found

    def _all(self, noun: type[_N], query: str) -> list[_N]:
        parsed = (self._file.parse(noun, row[0]) for row in self._rows(query))
        return [one for one in parsed if not isinstance(one, str)]

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """A body is read as bytes, so that what is no text is the fault of one row."""
        with self._file.using() as db:
            return db.execute(query, values).fetchall()


def _content(wave: WaveRecord, task_records: Sequence[TaskRecord]) -> str:
    """What makes it this very wave: not when it was submitted, nor from which file."""
    tasks = sorted((task_record.spec for task_record in task_records), key=lambda spec: spec.id)
    return digest(
        {
            "goal": wave.goal,
            "grants": wave.grants.model_dump(mode="json", exclude_none=True),
            "tasks": [spec.model_dump(mode="json", exclude_none=True) for spec in tasks],
        },
    )


def _json(noun: Noun) -> str:
    return canonical(noun).decode()


def _data_version(db: sqlite3.Connection) -> int:
    """Another one after every commit of another connection."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def _save(db: sqlite3.Connection, task_record: TaskRecord) -> None:
    db.execute(
        """INSERT INTO task(id, wave, status, settled, sequence, body) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT(id) DO UPDATE
            SET wave = excluded.wave, status = excluded.status, settled = excluded.settled,
                sequence = excluded.sequence, body = excluded.body""",
        (
            task_record.spec.id,
            task_record.wave,
            task_record.status,
            task_record.status in SETTLED_RECORDS,
            sequence(db),
            _json(task_record),
        ),
    )
