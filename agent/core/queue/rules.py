"""What a queue stores of an attempt, what each call changes in it, and what the queue shows.

Values in and values out; a queue adapter only stores them, so that no two adapters can disagree.
The clock of a call is the wall clock, which may be set back: no time of an attempt is written
before one that is already there (`_at`). Leases are the exception, because they must expire.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from agent.core.model.actions import digest
from agent.core.model.nouns import (
    AgentUsage,
    AttemptFailure,
    Heartbeat,
    LateReport,
    Noun,
    Reported,
    Status,
    TaskId,
    Trace,
)
from agent.core.model.queueing import (
    Beat,
    Cursor,
    Lease,
    NewEvent,
    Order,
    Pushed,
    QueueSpec,
    QueueView,
    Receipt,
    Report,
    TaskView,
    TraceEvent,
)
from agent.core.queue.states import ENDINGS, LEASED, QUEUE_STATES, STOPS, Event, Stop, allows, step
from agent.errors import KeyReusedError, UserError

Effect = Literal["done", "stale", "nothing-to-do", "unknown-task"]

TRACE_TEXT: Final = 4_000
"""Characters of one trace event that are kept."""
TRACE_KIND: Final = 64
"""Characters of an event's kind that are kept: the agent chooses it, so it may be long."""
TRACE_KEPT: Final = 2_000
"""The latest events of an attempt that are kept; their numbers go on."""
MESSAGE_TEXT: Final = 400
"""Characters of `TaskView.last_message`."""
_INTERRUPTED: Final = "interrupted: "
_CANCELLED: Final = "cancelled: "
"""How the queue begins what it says itself; from these words it follows that nobody is charged."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a task: all that a queue stores of it beside trace and late reports."""

    task: str
    number: int
    queue: str
    state: Status
    prompt: str
    order: Order
    """The task's; the same for all its attempts."""
    created_at: datetime
    """When the task was submitted; the same for all its attempts."""
    worker: str | None = None
    token: str | None = None
    lease_until: datetime | None = None
    lost_at: datetime | None = None
    """Set by the first look that found the lease run out: lost from then on, unless its worker host
    speaks up before."""
    heartbeat_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stop: Stop | None = None
    stop_reason: str | None = None
    traced_at: datetime | None = None
    last_sequence: int = 0
    last_message: str | None = None
    last_error: str | None = None
    failure: AttemptFailure | None = None
    used: AgentUsage | None = None
    final_response: str | None = None
    final_response_truncated: bool = False
    session: str | None = None
    tree_gone: bool | None = None
    pushed: Pushed | None = None
    report: str | None = None
    """The digest of the report that ended it; the same report again is recognised by it."""


COLUMNS: Final = tuple(field.name for field in fields(Attempt))


class Submit(Noun):
    """The request to create a task."""

    verb: Literal["submit"] = "submit"
    task: str
    queue: str
    prompt: str
    order: Order


class Retry(Noun):
    """The request for attempt number `attempt` of a task."""

    verb: Literal["retry"] = "retry"
    task: str
    attempt: int
    prompt: str
    fresh_session: bool


class Halt(Noun):
    """The request to interrupt or cancel one attempt."""

    verb: Stop
    task: str
    attempt: int
    reason: str


class Move(Noun):
    """The request to put a queued task into another queue."""

    verb: Literal["move"] = "move"
    task: str
    queue: str


Request = Submit | Retry | Halt | Move


class ActingQueue(ABC):
    """The acting calls of a `TaskQueue`; the queue carries out the request that each makes."""

    @abstractmethod
    def _act(self, request: Request, key: str) -> Receipt:
        """Carry it out once per key."""

    def submit(self, task: str, *, queue: str, prompt: str, order: Order, key: str) -> Receipt:
        """Create a task with its attempt 1."""
        return self._act(Submit(task=task, queue=queue, prompt=prompt, order=order), key)

    def retry(
        self, task: str, *, attempt: int, prompt: str, fresh_session: bool, key: str
    ) -> Receipt:
        """Create `attempt` of a task whose attempt before it is over."""
        request = Retry(task=task, attempt=attempt, prompt=prompt, fresh_session=fresh_session)
        return self._act(request, key)

    def interrupt(self, task: str, *, attempt: int, reason: str, key: str) -> Receipt:
        """Stop this attempt."""
        return self._act(Halt(verb="interrupt", task=task, attempt=attempt, reason=reason), key)

    def cancel(self, task: str, *, attempt: int, reason: str, key: str) -> Receipt:
        """End the task."""
        return self._act(Halt(verb="cancel", task=task, attempt=attempt, reason=reason), key)

    def move(self, task: str, *, queue: str, key: str) -> Receipt:
        """Put a queued task into another queue."""
        return self._act(Move(task=task, queue=queue), key)


AnyNoun = TypeVar("AnyNoun", bound=Noun)
_TASK_ID: Final = TypeAdapter(TaskId)
_UNCONFIGURED: Final = QueueSpec(id="unconfigured")


def clean(text: str) -> str:
    """`text` with each lone surrogate as `?`: what a worker prints need not be valid Unicode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def to_json(noun: Noun) -> str:
    """The JSON of `noun`, cleaned, which its `model_validate_json` reads back."""
    return clean(json.dumps(noun.model_dump(mode="json"), ensure_ascii=False))


def clean_noun(noun: AnyNoun) -> AnyNoun:
    """`noun` with every text in it cleaned."""
    return type(noun).model_validate_json(to_json(noun))


def act(current: Attempt | None, request: Request, now: datetime) -> tuple[Effect, Attempt | None]:
    """What `request` does to the task whose current attempt is `current` (None: no such task).

    The attempt returned is the changed one, or a new one with the next number; None: no change.
    UserError for a task id or queue name that no queue can hold.
    """
    if isinstance(request, Submit | Move):
        _refuse_unusable_names(request)
    if isinstance(request, Submit):
        return ("done", _submitted(request, now)) if current is None else ("stale", None)
    if current is None:
        return "unknown-task", None
    if isinstance(request, Retry):
        return _retried(current, request)
    if isinstance(request, Halt):
        return _halted(current, request, now)
    if not allows(current.state, Event.MOVE) or current.queue == request.queue:
        return "nothing-to-do", None
    state = step(current.state, Event.MOVE)
    return "done", replace(current, state=state, queue=request.queue)


def _refuse_unusable_names(request: Submit | Move) -> None:
    if not request.queue:
        raise UserError(f"task {request.task!r} names no queue; give it the id of one")
    try:
        _TASK_ID.validate_python(request.task)
    except ValidationError as problem:
        raise UserError(
            f"task id {request.task!r}: use at most 64 letters, digits, dots, dashes and "
            "underscores, beginning with a letter or digit",
        ) from problem


def _submitted(request: Submit, now: datetime) -> Attempt:
    return Attempt(
        task=request.task,
        number=1,
        queue=request.queue,
        state=Status.QUEUED,
        prompt=request.prompt,
        order=request.order,
        created_at=now,
    )


def _retried(current: Attempt, request: Retry) -> tuple[Effect, Attempt | None]:
    """A new attempt takes over identity and session, and nothing else.

    Policy: no "retry API that leaves stale cancellation state".
    """
    if request.attempt != current.number + 1 or not allows(current.state, Event.RETRY):
        return "stale", None
    return "done", Attempt(
        task=current.task,
        number=request.attempt,
        queue=current.queue,
        state=step(current.state, Event.RETRY),
        prompt=request.prompt,
        order=current.order,
        created_at=current.created_at,
        session=None if request.fresh_session else current.session,
    )


def _halted(current: Attempt, request: Halt, now: datetime) -> tuple[Effect, Attempt | None]:
    if request.attempt != current.number:
        return "stale", None
    if current.state is Status.QUEUED and request.verb == "cancel":
        return "done", replace(
            current,
            state=step(current.state, Event.CANCEL),
            finished_at=_at(current, now),
            last_error=f"{_CANCELLED}{request.reason}",
        )
    stop = STOPS.get((current.stop, request.verb))
    if current.state not in LEASED or stop is None:
        return "nothing-to-do", None
    return "done", replace(current, stop=stop, stop_reason=request.reason)


def receipt(key: str, request: Request, effect: Effect, after: Attempt | None) -> Receipt:
    """The receipt of a call that `act` answered with `effect` and `after`."""
    attempt = after.number if after and not isinstance(request, Move) else None
    return Receipt(key=key, effect=effect, task=request.task, attempt=attempt)


def receipt_again(kept: Receipt, kept_digest: str, request: Request) -> Receipt:
    """The receipt of a key that was used before. KeyReusedError if for another request."""
    if digest(request) != kept_digest:
        raise KeyReusedError(
            f"key {kept.key!r} was used for another request on task {kept.task!r}; "
            "give each request a key of its own",
        )
    return kept


def claim(current: Attempt, *, worker: str, token: str, now: datetime, lease: float) -> Attempt:
    """The attempt, leased to `worker` for `lease` seconds."""
    return replace(
        current,
        state=step(current.state, Event.CLAIM),
        worker=clean(worker),
        token=token,
        lease_until=now + timedelta(seconds=lease),
        heartbeat_at=_at(current, now),
        started_at=_at(current, now),
    )


def _at(current: Attempt, now: datetime | None) -> datetime:
    """The time to record for what happens `now`: never before an earlier time of the attempt."""
    known = (
        now,
        current.created_at,
        current.started_at,
        current.heartbeat_at,
        current.traced_at,
        current.finished_at,
    )
    return max(at for at in known if at is not None)


def _within(current: Attempt, at: datetime, end: datetime) -> datetime:
    """A time that a worker host gave, moved into its attempt: its clock may differ from ours."""
    return min(at if current.started_at is None else max(at, current.started_at), end)


def holds(current: Attempt | None, lease: Lease) -> bool:
    """Whether `lease` still gives the right to act for the attempt it was made for."""
    return current is not None and current.token == lease.token and current.state in LEASED


def answer(current: Attempt) -> Beat:
    """The queue's answer to a heartbeat."""
    return "ok" if current.stop is None else "cancel"


def number_events(current: Attempt, events: Sequence[NewEvent], now: datetime) -> list[TraceEvent]:
    """The events in their place in the attempt's trace, cut to what is kept."""
    end = _at(current, now)
    return [
        TraceEvent(
            sequence=sequence,
            at=_within(current, event.at, end),
            attempt=current.number,
            kind=clean(event.kind)[:TRACE_KIND],
            text=clean(event.text)[:TRACE_TEXT],
        )
        for sequence, event in enumerate(events, start=current.last_sequence + 1)
    ][-TRACE_KEPT:]


def add_heartbeat(
    current: Attempt, traced: Sequence[TraceEvent], *, now: datetime, extend: float
) -> Attempt:
    """The attempt after a heartbeat that brought the events `traced`."""
    until = now + timedelta(seconds=extend)
    beat = replace(current, heartbeat_at=_at(current, now), lease_until=until, lost_at=None)
    if not traced:
        return beat
    marks = [event.at for event in traced]
    return replace(
        beat,
        traced_at=max(marks if current.traced_at is None else [current.traced_at, *marks]),
        last_sequence=traced[-1].sequence,
        last_message=traced[-1].text[:MESSAGE_TEXT],
    )


def expire(current: Attempt, now: datetime) -> Attempt:
    """The attempt, in which a look at `now` found that the lease had run out.

    The first look gives its worker host half a lease more, and only a later one ends it: on a
    machine that slept, all wake up late together, and whoever looks before the host's next
    heartbeat would take a healthy attempt for lost. Only the supervisor may have it run again.
    """
    if current.lost_at is None:
        return replace(current, lost_at=now + _length(current) / 2)
    end = _at(current, current.lease_until)
    return replace(current, state=step(current.state, Event.EXPIRE), finished_at=end, lost_at=None)


def _length(current: Attempt) -> timedelta:
    """How long its lease was; nothing for one whose clock was set back."""
    since, until = current.heartbeat_at, current.lease_until
    return max(until - since, timedelta()) if since and until else timedelta()


def apply_report(
    current: Attempt, lease: Lease, report: Report, now: datetime
) -> Attempt | LateReport | None:
    """What a report does: it ends the attempt, or is kept as late; None: it brings nothing new."""
    at = _at(current, now)
    if is_late(current, lease, report):
        if report.state == "stopped":
            return None
        return LateReport(attempt=current.number, at=at, final_response=report.final_response)
    if not holds(current, lease):
        return None
    return replace(
        current,
        state=step(current.state, ENDINGS[report.state, current.stop]),
        finished_at=at,
        last_error=_error(current, report),
        # A stop that the queue asked for is no failure of anybody.
        failure=report.failure if current.stop is None or report.state != "stopped" else None,
        final_response=report.final_response,
        final_response_truncated=report.final_response_truncated,
        used=report.used,
        session=report.session or current.session,
        tree_gone=report.tree_gone,
        pushed=report.pushed,
        report=digest(report),
    )


def note_gone(current: Attempt, lease: Lease, report: Report) -> Attempt | None:
    """An attempt that ended without a report, once its host has seen its tree gone; None: no."""
    news = report.tree_gone and not current.tree_gone and current.token == lease.token
    if not news or not is_late(current, lease, report):
        return None
    return replace(current, tree_gone=True, pushed=report.pushed)


def is_late(current: Attempt, lease: Lease, report: Report) -> bool:
    """Whether this report comes to an attempt that has ended, and is not the one that ended it."""
    repeated = current.token == lease.token and current.report == digest(report)
    return not holds(current, lease) and not repeated


def _error(current: Attempt, report: Report) -> str | None:
    if report.state != "stopped":
        said = report.last_error
        return (
            f"the agent: {said}" if said and said.startswith((_INTERRUPTED, _CANCELLED)) else said
        )
    match current.stop:
        case "interrupt":
            return f"{_INTERRUPTED}{current.stop_reason}"
        case "cancel":
            return report.last_error or f"{_CANCELLED}{current.stop_reason}"
        case None:
            return report.last_error or "stopped by the worker host; the queue did not ask for it"


# What a queue shows.


def has_room(spec: QueueSpec | None, leased: int) -> bool:
    """Whether a queue with `leased` attempts may start another; None: it is not configured."""
    return leased < (spec or _UNCONFIGURED).max_running


def lease_of(current: Attempt) -> Lease:
    """The lease of an attempt that has just been claimed."""
    same = _common_fields(current, Lease)
    return Lease.model_validate(
        {**same, "attempt": current.number, "expires_at": current.lease_until}
    )


def _common_fields(current: Attempt, shown: type[Noun]) -> dict[str, Any]:
    """The fields of `shown` that an attempt has under the same name."""
    return {name: getattr(current, name) for name in shown.model_fields if name in COLUMNS}


def view(current: Attempt, *, updated_at: datetime, late: Sequence[LateReport]) -> TaskView:
    """The task as the queue shows it; `late` in the order of arrival."""
    heartbeat = current.heartbeat_at and Heartbeat(
        at=current.heartbeat_at,
        expires_at=current.lease_until,
        attempt=current.number,
        origin="worker",
    )
    trace = current.traced_at and Trace(
        last_event_at=current.traced_at,
        attempt=current.number,
        last_sequence=current.last_sequence,
    )
    return TaskView(
        **_common_fields(current, TaskView),
        id=current.task,
        attempt=current.number,
        updated_at=updated_at,
        stop_requested=current.stop,
        control_plane=Reported(status=current.state),
        scheduler=Reported(status=current.state),
        heartbeat=heartbeat,
        trace=trace,
        late_reports=tuple(late),
    )


def queue_views(
    specs: Mapping[str, QueueSpec], tally: Mapping[tuple[str, Status], int]
) -> list[QueueView]:
    """Every queue that is configured or holds a task, by id; `tally` counts (queue, state)."""
    holding = {queue for (queue, _), count in tally.items() if count}
    return [
        QueueView(
            **(specs.get(name) or QueueSpec(id=name)).model_dump(by_alias=False),
            counts={state.value: tally.get((name, state), 0) for state in QUEUE_STATES},
        )
        for name in sorted({*specs, *holding})
    ]


def cursor_at(store: str, revision: int) -> Cursor:
    """The cursor of a reader who has read `store` up to `revision`."""
    return Cursor(position=f"{store}:{revision}")


def revision_of(cursor: Cursor | None, store: str, newest: int) -> int:
    """The revision a reader has read up to. ValueError for a cursor `store` cannot have made."""
    if cursor is None:
        return 0
    name, _, revision = cursor.position.partition(":")
    if name != store or not (revision.isdecimal() and int(revision) <= newest):
        raise ValueError(
            f"cursor {cursor.position!r} is not of this queue; read everything once, with None",
        )
    return int(revision)


# An attempt as flat texts and numbers, for a queue that keeps its tasks in a table.

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def stamp(at: datetime) -> int:
    """Microseconds since 1970; whole ones, so that `time_of` gives back exactly what was stored."""
    return (at - _EPOCH) // _MICROSECOND


def time_of(microseconds: int) -> datetime:
    """The time that was stored as `stamp`. ValueError: there is no such time."""
    try:
        return _EPOCH + microseconds * _MICROSECOND
    except OverflowError as error:
        raise ValueError(f"{microseconds} is no time") from error


TASK_COLUMNS: Final = frozenset({"order", "created_at"})
"""Those that are the same for all attempts of a task."""

_READ: Final[Mapping[str, Callable[[Any], object]]] = {
    "state": Status,
    "order": Order.model_validate_json,
    "failure": AttemptFailure.model_validate_json,
    "used": AgentUsage.model_validate_json,
    "final_response_truncated": bool,
    "tree_gone": bool,
    "pushed": Pushed.model_validate_json,
    "created_at": time_of,
    "lease_until": time_of,
    "lost_at": time_of,
    "heartbeat_at": time_of,
    "started_at": time_of,
    "finished_at": time_of,
    "traced_at": time_of,
}


def row_of(attempt: Attempt) -> dict[str, str | int | None]:
    """The attempt by column: times as stamps, models as JSON, yes and no as 1 and 0."""
    return {name: _flat(getattr(attempt, name)) for name in COLUMNS}


def _flat(value: Any) -> str | int | None:  # noqa: ANN401 - any field of an attempt
    match value:
        case datetime():
            return stamp(value)
        case Noun():
            return to_json(value)
        case bool():
            return int(value)
        case Status():
            return value.value
        case None | str() | int():
            return value
        case _:
            raise TypeError(f"no column can hold {value!r}")


def attempt_of(row: Mapping[str, Any]) -> Attempt:
    """The attempt that was stored as `row_of`; other columns of the row are left out.

    ValueError: the row is none; a text may hold what is no text as lone surrogates.
    """
    values: dict[str, Any] = {name: row[name] for name in COLUMNS}
    for value in values.values():
        if isinstance(value, str):
            value.encode()
    for name, read in _READ.items():
        if values[name] is not None:
            values[name] = read(values[name])
    return Attempt(**values)
