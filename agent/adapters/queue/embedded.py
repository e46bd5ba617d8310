"""The embedded queue: one SQLite file, safe for several processes and for threads."""

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Final, Literal, Self

from agent.adapters.common.sqlite import when_free
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
from agent.core.queue.rows import COLUMNS, TASK_COLUMNS, attempt_of, row_of, stamp, time_of
from agent.core.queue.rules import Attempt, Halt, Move, Request, Retry, Submit, clean, written
from agent.core.queue.states import LEASED
from agent.core.queue.views import cursor_at, has_room, lease_of, queue_views, revision_of, view
from agent.errors import QueueUnavailableError, UnusableStoreError

BUSY_SECONDS = 30.0
"""How long a call waits for another process that is writing."""
VERSION: Final = 1
APPLICATION: Final = 0x574B5155
"""`WKQU`: tells a queue from another SQLite file that happens to have the same version."""
OLDEST_SQLITE: Final = (3, 37)
"""The first with STRICT tables."""

_REMEDIES: Final = {
    sqlite3.SQLITE_NOTADB: (UnusableStoreError, "it is not a queue; name another file"),
    sqlite3.SQLITE_CORRUPT: (UnusableStoreError, "move it away and submit the wave again"),
    sqlite3.SQLITE_CANTOPEN: (UnusableStoreError, "check that its folder can be written"),
    sqlite3.SQLITE_BUSY: (QueueUnavailableError, "another process keeps it locked; see which"),
    sqlite3.SQLITE_PROTOCOL: (QueueUnavailableError, "too many processes open it; try again"),
    sqlite3.SQLITE_FULL: (QueueUnavailableError, "free some disk space and try again"),
    sqlite3.SQLITE_IOERR: (QueueUnavailableError, "check the disk and its free space"),
    sqlite3.SQLITE_READONLY: (QueueUnavailableError, "check that it can be written"),
}
"""What is no bug, by SQLite's primary result code."""

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
_TOUCH: Final = "UPDATE task SET updated_at = :now, revision = :revision WHERE id = :task"
_PUT: Final = (
    "INSERT INTO task VALUES (:task, :number, :order, :created_at, :now, :revision)"
    " ON CONFLICT (id) DO UPDATE SET attempt = :number, updated_at = :now, revision = :revision"
)


class SqliteQueue(OwnControlPlane):
    """A `TaskQueue` and `WorkSource` in the file `path`, which is made when it is not there.

    `now` gives aware datetimes and is its only clock. UnusableStoreError: the file cannot be a
    queue. QueueUnavailableError: it cannot be read or written just now. UserError, KeyReusedError
    and ValueError (a cursor of another queue) are about what was asked.
    """

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._path = path
        self._now = now
        self._connections: dict[int, sqlite3.Connection] = {}
        """One for each thread; a new thread takes over that of a dead one with its number."""
        self._lock = threading.Lock()
        self._closed = False
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            when_free(lambda: _prepare(path))

    def close(self) -> None:
        """Close the connections of all threads. No call may be under way; none may follow."""
        with self._lock:
            self._closed = True
            while self._connections:
                self._connections.popitem()[1].close()

    def __enter__(self) -> Self:
        """The queue itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def configure(self, queue: QueueSpec) -> None:
        queue = rules.cleaned(queue)
        with self._writing() as (db, _):
            db.execute("REPLACE INTO queue VALUES (?, ?)", (queue.id, written(queue)))

    def queues(self) -> Sequence[QueueView]:
        with self._reading() as db:
            return queue_views(_specs(db), _tally(db))

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
            store = db.execute("SELECT name, revision FROM store").fetchone()
            read = revision_of(cursor, store["name"], store["revision"])
            tasks = _views(db, "task.revision > ?", read)
            return Changes(tasks=tuple(tasks), cursor=cursor_at(store["name"], store["revision"]))

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
                if not has_room(specs.get(queue), leased):
                    continue
                if row := db.execute(_OLDEST, (queue,)).fetchone():
                    token = secrets.token_hex(16)
                    taken = rules.claimed(
                        attempt_of(row), worker=worker, token=token, now=now, lease=lease
                    )
                    _save(db, taken, now)
                    return lease_of(taken)
            return None

    def beat(self, lease: Lease, events: Sequence[NewEvent], *, extend: float) -> Beat:
        with self._writing() as (db, now):
            current = _attempt(db, lease)
            if current is None or not rules.holds(current, lease):
                return "fenced"
            traced = rules.numbered(current, events, now)
            after = rules.beaten(current, traced, now=now, extend=extend)
            _save(db, after, now)
            _save_events(db, after, traced)
            return rules.answer(after)

    def judging(self, lease: Lease) -> Beat:
        with self._writing() as (db, now):
            current = _attempt(db, lease)
            if current is None or not rules.holds(current, lease):
                return "fenced"
            _save(db, rules.judged(current), now)
            return rules.answer(current)

    def finish(self, lease: Lease, report: Report) -> Literal["taken", "late"]:
        report = rules.cleaned(report)
        with self._writing() as (db, now):
            current = _attempt(db, lease)
            if current is None:
                return "late"
            result = rules.settled(current, lease, report, now)
            if isinstance(result, Attempt):
                _save(db, result, now)
            elif isinstance(result, LateReport):
                _save_late(db, lease.task, result, digest(report))
                return "late"
            return "taken"

    def _act(self, request: Request, key: str) -> Receipt:
        key, request = clean(key), rules.cleaned(request)
        with self._writing() as (db, now):
            if kept := _kept(db, key):
                return rules.replayed(*kept, request)
            row = db.execute(f"{_CURRENT} id = ?", (request.task,)).fetchone()
            effect, after = rules.act(attempt_of(row) if row else None, request, now)
            if after is not None:
                _save(db, after, now)
            receipt = rules.receipt(key, request, effect, after)
            values = (key, digest(request), written(receipt))
            db.execute("INSERT INTO receipt VALUES (?, ?, ?)", values)
            return receipt

    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, datetime]]:
        """A transaction that holds the write lock, and the time at which it does."""
        with _explained(self._path), _transaction(self._connection(), "BEGIN IMMEDIATE") as db:
            now = self._now()
            for row in db.execute(f"{_CURRENT} {_LAPSED} ORDER BY id", (stamp(now),)).fetchall():
                _save(db, rules.expired(attempt_of(row)), now)
            yield db, now

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the file, in which no lease has run out."""
        with _explained(self._path):
            db = self._connection()
            if db.execute(_ANY_LAPSED, (stamp(self._now()),)).fetchone():
                with self._writing():
                    """Entering it marks them as lost."""
            with _transaction(db, "BEGIN"):
                yield db

    def _connection(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise QueueUnavailableError(f"{self._path}: the queue was closed; open it again")
            thread = threading.get_ident()
            if thread not in self._connections:
                self._connections[thread] = _connect(self._path)
            return self._connections[thread]


def _connect(path: Path) -> sqlite3.Connection:
    # Each thread uses its own connection; only `close` acts for all of them.
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _prepare(path: Path) -> None:
    """Make a new file a queue, and refuse whatever else it is."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        advice = f"use a Python with {'.'.join(map(str, OLDEST_SQLITE))} or later"
        raise UnusableStoreError(f"SQLite {sqlite3.sqlite_version} is too old; {advice}")
    with closing(_connect(path)) as db:
        if not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise UnusableStoreError(f"{path}: cannot use WAL here; keep it on a local disk")
            schema = (resources.files("agent.adapters") / "queue_sqlite.sql").read_text("utf-8")
            marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
            db.executescript(f"BEGIN IMMEDIATE; {schema} {marks} COMMIT;")
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise UnusableStoreError(f"{path}: it belongs to another program; name another file")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != VERSION:
            raise UnusableStoreError(
                f"{path}: a queue of version {version}, and this program reads version {VERSION}; "
                "use the program that made it, or move the file away",
            )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite cannot help into one line that says what to do; a bug stays a bug."""
    try:
        yield
    except OSError as problem:
        raise UnusableStoreError(f"{path}: {problem.strerror}: check its folder") from problem
    except sqlite3.DatabaseError as problem:
        code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
        if code not in _REMEDIES:
            raise
        kind, advice = _REMEDIES[code]
        raise kind(f"{path}: {problem}: {advice}") from problem


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[sqlite3.Connection]:
    db.execute(begin)
    try:
        yield db
        db.execute("COMMIT")
    finally:
        # A full disk makes SQLite roll back by itself.
        if db.in_transaction:
            db.execute("ROLLBACK")


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
    revision: int = db.execute("SELECT revision FROM store").fetchone()["revision"]
    return revision


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
        (task, late.attempt, seal, written(late)),
    )
    if kept.rowcount:
        values = {"revision": _next_revision(db), "now": stamp(late.at), "task": task}
        db.execute(_TOUCH, values)
