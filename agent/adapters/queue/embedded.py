"""The embedded queue: one SQLite file, safe for several processes and for threads."""

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, RootModel

from agent.adapters.common.sqlite import SqliteFile, statements_of
from agent.adapters.files.toml import Text, TomlModel
from agent.backends import Check, Context, QueueBackend, Stored
from agent.core.model.actions import digest
from agent.core.model.nouns import LateReport, Status
from agent.core.model.queueing import (
    Beat,
    Changes,
    Cursor,
    Lease,
    NewEvent,
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
    ActingQueue,
    Attempt,
    Request,
    attempt_of,
    clean,
    row_of,
    stamp,
    time_of,
    to_json,
    view,
)
from agent.core.queue.states import LEASED
from agent.errors import QueueUnavailableError, UnreadableAnswerError, UnusableStoreError

_LAPSED: Final = (
    "attempt.state IN ('running', 'judging') AND attempt.lease_until <= :now"
    " AND (attempt.lost_at IS NULL OR attempt.lost_at <= :now)"
)
_ANY_LAPSED: Final = f"SELECT 1 FROM attempt WHERE {_LAPSED} LIMIT 1"  # noqa: S608 - no input in it
_JOINED: Final = "SELECT task.*, attempt.* FROM task JOIN attempt ON attempt.task = task.id"
_NAMED: Final = f"{_JOINED} WHERE attempt.task = ? AND attempt.number = ?"
_CURRENT: Final = f"{_JOINED} AND attempt.number = task.attempt WHERE"
_WAITING: Final = f"{_CURRENT} attempt.queue = ? AND attempt.state = 'queued' ORDER BY place"
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


class SqliteQueue(SqliteFile, ActingQueue, OwnControlPlane):
    """A `TaskQueue` and `WorkSource` in the file `path`, which is made when it is not there.

    `now` gives aware datetimes and is its only clock. UnusableStoreError: the file cannot be a
    queue, or is none any more. QueueUnavailableError: it cannot be read or written just now.
    UserError, KeyReusedError and ValueError (a cursor of another queue) are about what was asked.
    """

    APPLICATION = 0x574B5155  # "WKQU"
    VERSION = 3
    STEPS = {
        2: (
            # Worker hosts judge no more: what one was judging ends as its agent did.
            "UPDATE attempt SET state = 'running' WHERE state = 'judging'",
            "ALTER TABLE attempt DROP COLUMN judge",
            "ALTER TABLE attempt ADD COLUMN tree_gone INTEGER",
        ),
        3: (
            "ALTER TABLE attempt ADD COLUMN lost_at INTEGER",
            "ALTER TABLE attempt ADD COLUMN pushed TEXT",
            "ALTER TABLE attempt ADD COLUMN failure TEXT",
            "ALTER TABLE attempt ADD COLUMN used TEXT",
        ),
    }
    UNAVAILABLE = QueueUnavailableError

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        super().__init__(path)
        self._now = now
        self._db.row_factory = sqlite3.Row
        # What is no text is found where its row is read as an attempt, and spoils no other row.
        self._db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")

    def _schema(self) -> Sequence[str]:
        return statements_of("agent.adapters.queue", "embedded.sql")

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

    def get(self, task: str) -> TaskView | None:
        with self._reading() as db:
            found, odd = _views(db, "task.id = ?", clean(task))
            if task in odd:
                raise UnreadableAnswerError(odd[task])
            return found[0] if found else None

    def changed_since(self, cursor: Cursor | None) -> Changes:
        with self._reading() as db:
            name, newest = _store(db)
            after = rules.revision_of(cursor, name, newest)
            tasks, odd = _views(db, "task.revision > ?", after)
            return Changes(tasks=tuple(tasks), cursor=rules.cursor_at(name, newest), unreadable=odd)

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
                for row in db.execute(_WAITING, (queue,)):
                    token = secrets.token_hex(16)
                    try:
                        taken = rules.claim(
                            attempt_of(row), worker=worker, token=token, now=now, lease=lease
                        )
                        given = rules.lease_of(taken)
                    except ValueError:  # an odd row, which is reported where it is shown
                        continue
                    _save(db, taken, now)
                    return given
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

    def finish(self, lease: Lease, report: Report) -> Literal["taken", "late"]:
        report = rules.clean_noun(report)
        with self._writing() as (db, now):
            current = _attempt(db, lease)
            if current is None:
                return "late"
            result = rules.apply_report(current, lease, report, now)
            if isinstance(result, LateReport):
                _save_late(db, lease.task, result, digest(report))
            changed = rules.note_gone(current, lease, report) or result
            if isinstance(changed, Attempt):
                _save(db, changed, now)
            return "late" if rules.is_late(current, lease, report) else "taken"

    def _act(self, request: Request, key: str) -> Receipt:
        key, request = clean(key), rules.clean_noun(request)
        with self._writing() as (db, now):
            if kept := _kept(db, key):
                return rules.receipt_again(*kept, request)
            row = db.execute(f"{_CURRENT} id = ?", (request.task,)).fetchone()
            effect, after = rules.act(_read(row), request, now)
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
        """A transaction that sees one state of the file, where what ran out of time is marked."""
        with self._using() as db:
            now = self._now()
            if db.execute(_ANY_LAPSED, {"now": stamp(now)}).fetchone():
                with self._transaction():
                    _expire(db, now)
            with self._transaction("BEGIN"):
                yield db


def _store(db: sqlite3.Connection) -> tuple[str, int]:
    """The file's name and its newest revision."""
    name, revision = db.execute("SELECT name, revision FROM store").fetchone()
    return name, revision


def _expire(db: sqlite3.Connection, now: datetime) -> None:
    """Mark what ran out of time."""
    for row in db.execute(f"{_CURRENT} {_LAPSED} ORDER BY id", {"now": stamp(now)}).fetchall():
        with suppress(ValueError):  # an odd row, which is reported where it is shown
            _save(db, rules.expire(attempt_of(row), now), now)


def _specs(db: sqlite3.Connection) -> dict[str, QueueSpec]:
    found = {}
    for row in db.execute("SELECT id, spec FROM queue").fetchall():
        with suppress(ValueError):  # as if it were not there: every start configures its queues
            found[row["id"]] = QueueSpec.model_validate_json(row["spec"])
    return found


def _tally(db: sqlite3.Connection) -> dict[tuple[str, Status], int]:
    rows = db.execute("SELECT queue, state, tasks FROM tally").fetchall()
    known = {state.value for state in Status}  # the row of an odd one is reported as its task's
    return {
        (row["queue"], Status(row["state"])): row["tasks"] for row in rows if row["state"] in known
    }


def _kept(db: sqlite3.Connection, key: str) -> tuple[Receipt, str] | None:
    row = db.execute("SELECT receipt, digest FROM receipt WHERE key = ?", (key,)).fetchone()
    return (Receipt.model_validate_json(row["receipt"]), row["digest"]) if row else None


def _attempt(db: sqlite3.Connection, lease: Lease) -> Attempt | None:
    return _read(db.execute(_NAMED, (lease.task, lease.attempt)).fetchone())


def _read(row: Mapping[str, Any] | None) -> Attempt | None:
    """UnreadableAnswerError: an odd row; whoever calls keeps what they have, and calls again."""
    try:
        return attempt_of(row) if row else None
    except ValueError as error:
        raise UnreadableAnswerError(_why(error)) from error


def _why(error: ValueError) -> str:
    return f"its row in the queue: {' '.join(str(error).split())[:200]}"


def _views(
    db: sqlite3.Connection, which: str, value: str | int
) -> tuple[list[TaskView], dict[str, str]]:
    """The tasks for which `which`, a condition of this module, is true of `value`.

    And those whose rows cannot be read, with the reason: one odd row is one task's trouble.
    """
    late: dict[str, list[str]] = {}
    for row in db.execute(f"{_LATE} {which} ORDER BY arrival", (value,)):
        late.setdefault(row["id"], []).append(row["report"])
    found, odd = [], {}
    for row in db.execute(f"{_CURRENT} {which} ORDER BY task.revision", (value,)).fetchall():
        try:
            reports = [LateReport.model_validate_json(one) for one in late.get(row["id"], ())]
            found.append(view(attempt_of(row), updated_at=time_of(row["updated_at"]), late=reports))
        except ValueError as error:
            odd[row["id"]] = _why(error)
    return found, odd


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


class _Lane(TomlModel):
    id: Text
    kind: Literal["delivery", "infrastructure", "documentation"] = "delivery"
    risk: Literal["low", "normal", "high"] = "normal"
    max_running: Annotated[int, Field(ge=1)] = 5


class EmbeddedSettings(RootModel[Annotated[tuple[_Lane, ...], Field(strict=False, min_length=1)]]):
    """`[[queue]]`: the queues of the embedded kind."""


FILE: Final = "queue.db"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _queues(own: EmbeddedSettings) -> tuple[QueueSpec, ...]:
    return tuple(QueueSpec(**dict(lane)) for lane in own.root)


@contextmanager
def _open(own: EmbeddedSettings, context: Context) -> Iterator[SqliteQueue]:
    """The queue with its lanes, unless it is another one than the one that was read."""
    path = context.state / FILE
    # A clock that does not go lets no lease run out, so reading has nothing to write.
    with SqliteQueue(path, (lambda: _LONG_AGO) if context.reading else context.now) as queue:
        for spec in () if context.reading else _queues(own):
            queue.configure(spec)
        if context.cursor is not None and not queue.knows(Cursor(position=context.cursor)):
            raise UnusableStoreError(
                f"{path} is another queue than the one that was read, or an older copy of it; "
                "restore the latest, the tasks are in it",
            )
        if missing := queue.missing(context.submitted):
            raise UnusableStoreError(
                f"{path} does not hold {missing[0]}, which was submitted; restore the latest copy",
            )
        yield queue


def _check(own: EmbeddedSettings, _context: Context) -> Iterable[Check]:
    kinds = {lane.id: lane.kind for lane in own.root}
    if "infrastructure" in kinds.values():
        yield Check(name="queues", state="ok", said=", ".join(kinds))
        return
    yield Check(
        name="queues",
        state="warn",
        said=f"{', '.join(kinds)}: none of kind infrastructure, so shared defects stay unfixed",
        fix='add a [[queue]] with kind = "infrastructure" to wavekeeper.toml',
    )


def _stored(path: Path) -> Stored:
    with SqliteQueue(path, lambda: _LONG_AGO) as queue:
        tasks = sum(sum(one.counts.values()) for one in queue.queues())
    return Stored(tasks, f"opens; tasks: {tasks}")


BACKEND: Final = QueueBackend(
    settings=EmbeddedSettings,
    open=_open,
    check=_check,
    queues=_queues,
    work=_open,
    file=FILE,
    stored=_stored,
)
