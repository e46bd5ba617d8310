"""The embedded queue: one SQLite file, safe for several processes and for threads."""

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from agent.adapters.common.sqlite import SqliteFile
from agent.core.model.actions import digest
from agent.core.model.nouns import LateReport, Status
from agent.core.model.queueing import (
    Beat,
    Changes,
    Cursor,
    Lease,
    NewEvent,
    Order,
    OwnControlPlane,
    QueueSpec,
    QueueView,
    Receipt,
    Report,
    TaskView,
    TraceEvent,
)
from agent.core.queue import rules
from agent.core.queue.rules import (
    COLUMNS,
    TASK_COLUMNS,
    Attempt,
    Halt,
    Move,
    Request,
    Retry,
    Submit,
    attempt_of,
    clean,
    row_of,
    stamp,
    time_of,
    to_json,
    view,
)
from agent.core.queue.states import LEASED
from agent.errors import QueueUnavailableError

_LAPSED: Final = "attempt.state IN ('running', 'judging') AND attempt.lease_until <= ?"
_ANY_LAPSED: Final = f"SELECT 1 FROM attempt WHERE {_LAPSED} LIMIT 1"  # noqa: S608 - no input in it
_JOINED: Final = "SELECT task.*, attempt.* FROM task JOIN attempt ON attempt.task = task.id"
_NAMED: Final = f"{_JOINED} WHERE attempt.task = ? AND attempt.number = ?"
_CURRENT: Final = f"{_JOINED} AND attempt.number = task.attempt WHERE"
_OLDEST: Final = f"{_CURRENT} attempt.queue = ? AND attempt.state = 'queued' ORDER BY place LIMIT 1"
# CROSS JOIN: without it SQLite reads all late reports to find the few of the changed tasks.
_LATE: Final = "SELECT id, report FROM task CROSS JOIN late_report ON late_report.task = id WHERE"
_OWN: Final = [name for name in COLUMNS if name not in TASK_COLUMNS]
_INSERT: Final = (
    f"INSERT INTO attempt ({', '.join(_OWN)}, place)"  # noqa: S608 - our own column names
    f" VALUES (:{', :'.join(_OWN)}, :revision)"
)
_UPDATE: Final = (
    f"UPDATE attempt SET {', '.join(f'{name} = :{name}' for name in _OWN)}"  # noqa: S608 - as above
    " WHERE task = :task AND number = :number"
)
_TOUCH: Final = (
    "UPDATE task SET updated_at = max(updated_at, :now), revision = :revision WHERE id = :task"
)
_PUT: Final = (
    "INSERT INTO task VALUES (:task, :number, :order, :created_at, :now, :revision)"
    " ON CONFLICT (id) DO UPDATE"
    " SET attempt = :number, updated_at = max(updated_at, :now), revision = :revision"
)


class SqliteQueue(SqliteFile, OwnControlPlane):
    """A `TaskQueue` and `WorkSource` in the file `path`, which is made when it is not there.

    `now` gives aware datetimes and is its only clock. UnusableStoreError: the file cannot be a
    queue, or is none any more. QueueUnavailableError: it cannot be read or written just now.
    UserError, KeyReusedError and ValueError (a cursor of another queue) are about what was asked.
    """

    APPLICATION = 0x574B5155  # "WKQU"
    VERSION = 1
    UNAVAILABLE = QueueUnavailableError

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        super().__init__(path)
        self._now = now
        self._db.row_factory = sqlite3.Row

    def _schema(self) -> Sequence[str]:
        return _schema()

    def identity(self) -> str:
        """The name that was drawn for this file when it was made; no other file has it."""
        with self._using() as db:
            return _store(db)[0]

    def knows(self, cursor: Cursor) -> bool:
        """Whether this file has got as far as `cursor`; an older copy of it has not."""
        with self._using() as db:
            try:
                rules.revision_of(cursor, *_store(db))
            except ValueError:
                return False
            return True

    def missing(self, tasks: Iterable[str]) -> list[str]:
        """Those of `tasks` that this file has never held. It waits for nobody."""
        with self._using() as db:
            known = {row["id"] for row in db.execute("SELECT id FROM task")}
        return [task for task in tasks if task not in known]

    def configure(self, queue: QueueSpec) -> None:
        queue = rules.clean_noun(queue)
        with self._reading() as db:
            # Every start configures its queues, also while another process is writing.
            if _specs(db).get(queue.id) == queue:
                return
        with self._writing() as (db, _):
            db.execute("REPLACE INTO queue VALUES (?, ?)", (queue.id, to_json(queue)))

    def queues(self) -> Sequence[QueueView]:
        with self._reading() as db:
            return rules.queue_views(_specs(db), _tally(db))

    def submit(self, task: str, *, queue: str, prompt: str, order: Order, key: str) -> Receipt:
        return self._act(Submit(task=task, queue=queue, prompt=prompt, order=order), key)

    def retry(
        self, task: str, *, attempt: int, prompt: str, fresh_session: bool, key: str
    ) -> Receipt:
        request = Retry(task=task, attempt=attempt, prompt=prompt, fresh_session=fresh_session)
        return self._act(request, key)

    def interrupt(self, task: str, *, attempt: int, reason: str, key: str) -> Receipt:
        return self._act(Halt(verb="interrupt", task=task, attempt=attempt, reason=reason), key)

    def cancel(self, task: str, *, attempt: int, reason: str, key: str) -> Receipt:
        return self._act(Halt(verb="cancel", task=task, attempt=attempt, reason=reason), key)

    def move(self, task: str, *, queue: str, key: str) -> Receipt:
        return self._act(Move(task=task, queue=queue), key)

    def get(self, task: str) -> TaskView | None:
        with self._reading() as db:
            found = _views(db, "task.id = ?", clean(task))
            return found[0] if found else None

    def changed_since(self, cursor: Cursor | None) -> Changes:
        with self._reading() as db:
            name, newest = _store(db)
            tasks = _views(db, "task.revision > ?", rules.revision_of(cursor, name, newest))
            return Changes(tasks=tuple(tasks), cursor=rules.cursor_at(name, newest))

    def trace(self, task: str, *, attempt: int, after: int, limit: int) -> Sequence[TraceEvent]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT sequence, at, attempt, kind, text FROM trace_event"
                " WHERE task = ? AND attempt = ? AND sequence > ? ORDER BY sequence LIMIT ?",
                (clean(task), attempt, after, max(limit, 0)),
            ).fetchall()
        return [TraceEvent(**{**row, "at": time_of(row["at"])}) for row in map(dict, rows)]

    def receipt(self, key: str) -> Receipt | None:
        with self._reading() as db:
            kept = _kept(db, clean(key))
            return kept[0] if kept else None

    def claim(self, worker: str, queues: Sequence[str], *, lease: float) -> Lease | None:
        with self._writing() as (db, now):
            specs, tally = _specs(db), _tally(db)
            for queue in map(clean, queues):
                leased = sum(tally.get((queue, state), 0) for state in LEASED)
                if not rules.has_room(specs.get(queue), leased):
                    continue
                if row := db.execute(_OLDEST, (queue,)).fetchone():
                    token = secrets.token_hex(16)
                    taken = rules.claim(
                        attempt_of(row), worker=worker, token=token, now=now, lease=lease
                    )
                    _save(db, taken, now)
                    return rules.lease_of(taken)
            return None

    def beat(self, lease: Lease, events: Sequence[NewEvent], *, extend: float) -> Beat:
        with self._writing() as (db, now):
            current = _attempt(db, lease)
            if current is None or not rules.holds(current, lease):
                return "fenced"
            traced = rules.number_events(current, events, now)
            after = rules.add_heartbeat(current, traced, now=now, extend=extend)
            _save(db, after, now)
            _save_events(db, after, traced)
            return rules.answer(after)

    def judging(self, lease: Lease) -> Beat:
        with self._writing() as (db, now):
            current = _attempt(db, lease)
            if current is None or not rules.holds(current, lease):
                return "fenced"
            _save(db, rules.begin_judging(current), now)
            return rules.answer(current)

    def finish(self, lease: Lease, report: Report) -> Literal["taken", "late"]:
        report = rules.clean_noun(report)
        with self._writing() as (db, now):
            current = _attempt(db, lease)
            if current is None:
                return "late"
            result = rules.apply_report(current, lease, report, now)
            if isinstance(result, Attempt):
                _save(db, result, now)
            elif isinstance(result, LateReport):
                _save_late(db, lease.task, result, digest(report))
                return "late"
            return "taken"

    def _act(self, request: Request, key: str) -> Receipt:
        key, request = clean(key), rules.clean_noun(request)
        with self._writing() as (db, now):
            if kept := _kept(db, key):
                return rules.receipt_again(*kept, request)
            row = db.execute(f"{_CURRENT} id = ?", (request.task,)).fetchone()
            effect, after = rules.act(attempt_of(row) if row else None, request, now)
            if after is not None:
                _save(db, after, now)
            receipt = rules.receipt(key, request, effect, after)
            values = (key, digest(request), to_json(receipt))
            db.execute("INSERT INTO receipt VALUES (?, ?, ?)", values)
            return receipt

    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, datetime]]:
        """A transaction that holds the write lock, and the time at which it does."""
        with self._transaction() as db:
            now = self._now()
            _expire(db, now)
            yield db, now

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the file, in which no lease has run out."""
        with self._using() as db:
            now = self._now()
            if db.execute(_ANY_LAPSED, (stamp(now),)).fetchone():
                with self._transaction():
                    _expire(db, now)
            with self._transaction("BEGIN"):
                yield db


@cache
def _schema() -> tuple[str, ...]:
    """The statements of `queue_sqlite.sql`; some hold semicolons inside."""
    statements, part = [], ""
    text = (resources.files("agent.adapters") / "queue_sqlite.sql").read_text("utf-8")
    for line in text.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            statements.append(part)
            part = ""
    return tuple(statements)


def _store(db: sqlite3.Connection) -> tuple[str, int]:
    """The file's name and its newest revision."""
    name, revision = db.execute("SELECT name, revision FROM store").fetchone()
    return name, revision


def _expire(db: sqlite3.Connection, now: datetime) -> None:
    """Mark as lost what ran out of time."""
    for row in db.execute(f"{_CURRENT} {_LAPSED} ORDER BY id", (stamp(now),)).fetchall():
        _save(db, rules.expire(attempt_of(row)), now)


def _specs(db: sqlite3.Connection) -> dict[str, QueueSpec]:
    rows = db.execute("SELECT id, spec FROM queue").fetchall()
    return {row["id"]: QueueSpec.model_validate_json(row["spec"]) for row in rows}


def _tally(db: sqlite3.Connection) -> dict[tuple[str, Status], int]:
    rows = db.execute("SELECT queue, state, tasks FROM tally").fetchall()
    return {(row["queue"], Status(row["state"])): row["tasks"] for row in rows}


def _kept(db: sqlite3.Connection, key: str) -> tuple[Receipt, str] | None:
    row = db.execute("SELECT receipt, digest FROM receipt WHERE key = ?", (key,)).fetchone()
    return (Receipt.model_validate_json(row["receipt"]), row["digest"]) if row else None


def _attempt(db: sqlite3.Connection, lease: Lease) -> Attempt | None:
    row = db.execute(_NAMED, (lease.task, lease.attempt)).fetchone()
    return attempt_of(row) if row else None


def _views(db: sqlite3.Connection, which: str, value: str | int) -> list[TaskView]:
    """The tasks for which `which`, a condition of this module, is true of `value`."""
    late: dict[str, list[LateReport]] = {}
    for row in db.execute(f"{_LATE} {which} ORDER BY arrival", (value,)):
        late.setdefault(row["id"], []).append(LateReport.model_validate_json(row["report"]))
    rows = db.execute(f"{_CURRENT} {which} ORDER BY task.revision", (value,)).fetchall()
    return [
        view(attempt_of(row), updated_at=time_of(row["updated_at"]), late=late.get(row["id"], ()))
        for row in rows
    ]


def _save(db: sqlite3.Connection, attempt: Attempt, now: datetime) -> None:
    """Write `attempt`, the current one of its task, and make the task the last changed."""
    values = {**row_of(attempt), "now": stamp(now), "revision": _next_revision(db)}
    if db.execute(_UPDATE, values).rowcount:
        db.execute(_TOUCH, values)
    else:
        db.execute(_PUT, values)
        db.execute(_INSERT, values)


def _next_revision(db: sqlite3.Connection) -> int:
    db.execute("UPDATE store SET revision = revision + 1")
    return _store(db)[1]


def _save_events(db: sqlite3.Connection, attempt: Attempt, events: Sequence[TraceEvent]) -> None:
    """Append to the trace of `attempt`, and drop what is too old to be kept."""
    key = (attempt.task, attempt.number)
    db.executemany(
        "INSERT INTO trace_event VALUES (?, ?, ?, ?, ?, ?)",
        [(*key, event.sequence, stamp(event.at), event.kind, event.text) for event in events],
    )
    if events:
        db.execute(
            "DELETE FROM trace_event WHERE task = ? AND attempt = ? AND sequence <= ?",
            (*key, attempt.last_sequence - rules.TRACE_KEPT),
        )


def _save_late(db: sqlite3.Connection, task: str, late: LateReport, seal: str) -> None:
    """Keep a late report; the very same one again changes nothing."""
    kept = db.execute(
        "INSERT INTO late_report (task, attempt, digest, report) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (task, late.attempt, seal, to_json(late)),
    )
    if kept.rowcount:
        values = {"revision": _next_revision(db), "now": stamp(late.at), "task": task}
        db.execute(_TOUCH, values)
