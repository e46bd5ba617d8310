"""What each call on a queue does to an attempt, as values in and values out.

Queue adapters keep attempts, as rows or as objects; what becomes of one is decided here, so that
no two adapters can disagree.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from agent.core.model.actions import digest
from agent.core.model.nouns import JudgeRecord, LateReport, Noun, Status, TaskId
from agent.core.model.queueing import Beat, Lease, NewEvent, Order, Receipt, Report, TraceEvent
from agent.core.queue.states import ENDINGS, LEASED, STOPS, Event, Stop, allows, step
from agent.errors import KeyReusedError, UserError

Effect = Literal["done", "stale", "nothing-to-do", "unknown-task"]

TRACE_TEXT: Final = 4_000
"""Characters of one trace event that are kept."""
TRACE_KIND: Final = 64
"""Characters of an event's kind that are kept: it is the agent's word, so it has no limit."""
TRACE_KEPT: Final = 2_000
"""The latest events of an attempt that are kept; their numbers go on."""
MESSAGE_TEXT: Final = 400
"""Characters of `TaskView.last_message`."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a task: all that a queue has to keep of it, beside trace and late reports."""

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
    heartbeat_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stop: Stop | None = None
    stop_reason: str | None = None
    traced_at: datetime | None = None
    last_sequence: int = 0
    last_message: str | None = None
    last_error: str | None = None
    final_response: str | None = None
    final_response_truncated: bool = False
    judge: JudgeRecord | None = None
    session: str | None = None
    report: str | None = None
    """The digest of the report that ended it, by which the same report twice is known."""


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

AnyNoun = TypeVar("AnyNoun", bound=Noun)
_TASK_ID: Final = TypeAdapter(TaskId)


def clean(text: str) -> str:
    """`text` with each lone surrogate as `?`: what a worker prints need not be valid Unicode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def written(noun: Noun) -> str:
    """The JSON of `noun`, cleaned, which its `model_validate_json` reads back."""
    return clean(json.dumps(noun.model_dump(mode="json"), ensure_ascii=False))


def cleaned(noun: AnyNoun) -> AnyNoun:
    """`noun` with every text in it cleaned."""
    return type(noun).model_validate_json(written(noun))


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
            finished_at=now,
            last_error=f"cancelled: {request.reason}",
        )
    stop = STOPS.get((current.stop, request.verb))
    if current.state not in LEASED or stop is None:
        return "nothing-to-do", None
    return "done", replace(current, stop=stop, stop_reason=request.reason)


def receipt(key: str, request: Request, effect: Effect, after: Attempt | None) -> Receipt:
    """The receipt of a call that `act` answered with `effect` and `after`."""
    attempt = after.number if after and not isinstance(request, Move) else None
    return Receipt(key=key, effect=effect, task=request.task, attempt=attempt)


def replayed(kept: Receipt, kept_digest: str, request: Request) -> Receipt:
    """The receipt of a key that was used before. KeyReusedError if for another request."""
    if digest(request) != kept_digest:
        raise KeyReusedError(
            f"key {kept.key!r} was used for another request on task {kept.task!r}; "
            "give each request a key of its own",
        )
    return kept


def claimed(current: Attempt, *, worker: str, token: str, now: datetime, lease: float) -> Attempt:
    """The attempt in the hands of `worker` for `lease` seconds."""
    return replace(
        current,
        state=step(current.state, Event.CLAIM),
        worker=clean(worker),
        token=token,
        lease_until=now + timedelta(seconds=lease),
        heartbeat_at=now,
        started_at=now,
    )


def holds(current: Attempt | None, lease: Lease) -> bool:
    """Whether `lease` still gives the right to act for the attempt it was made for."""
    return current is not None and current.token == lease.token and current.state in LEASED


def answer(current: Attempt) -> Beat:
    """What the holder of the lease is told."""
    return "ok" if current.stop is None else "cancel"


def numbered(current: Attempt, events: Sequence[NewEvent], now: datetime) -> list[TraceEvent]:
    """The events in their place in the attempt's trace, cut to what is kept.

    An event of the future comes from a clock that is ahead: it happened now at the latest.
    """
    return [
        TraceEvent(
            sequence=sequence,
            at=min(event.at, now),
            attempt=current.number,
            kind=clean(event.kind)[:TRACE_KIND],
            text=clean(event.text)[:TRACE_TEXT],
        )
        for sequence, event in enumerate(events, start=current.last_sequence + 1)
    ][-TRACE_KEPT:]


def beaten(
    current: Attempt, traced: Sequence[TraceEvent], *, now: datetime, extend: float
) -> Attempt:
    """The attempt after a heartbeat that brought the events `traced`."""
    beat = replace(current, heartbeat_at=now, lease_until=now + timedelta(seconds=extend))
    if not traced:
        return beat
    marks = [event.at for event in traced]
    return replace(
        beat,
        traced_at=max(marks if current.traced_at is None else [current.traced_at, *marks]),
        last_sequence=traced[-1].sequence,
        last_message=traced[-1].text[:MESSAGE_TEXT],
    )


def judged(current: Attempt) -> Attempt:
    """The attempt as its judge step begins; unchanged when the worker is told to stop instead."""
    if answer(current) == "cancel":
        return current
    return replace(current, state=step(current.state, Event.JUDGE))


def expired(current: Attempt) -> Attempt:
    """The attempt whose lease ran out. Only the supervisor may have it run again."""
    return replace(
        current, state=step(current.state, Event.EXPIRE), finished_at=current.lease_until
    )


def settled(
    current: Attempt, lease: Lease, report: Report, now: datetime
) -> Attempt | LateReport | None:
    """What a report does: it ends the attempt, or is kept as late, or (None) was taken before."""
    if not holds(current, lease):
        if current.token == lease.token and current.report == digest(report):
            return None
        return LateReport(
            attempt=current.number,
            at=now,
            final_response=report.final_response,
            judge=report.judge,
        )
    return replace(
        current,
        state=step(current.state, ENDINGS[report.state, current.stop]),
        finished_at=now,
        last_error=_error(current, report),
        final_response=report.final_response,
        final_response_truncated=report.final_response_truncated,
        judge=report.judge,
        session=report.session or current.session,
        report=digest(report),
    )


def _error(current: Attempt, report: Report) -> str | None:
    if report.state != "stopped":
        return report.last_error
    match current.stop:
        case "interrupt":
            return f"interrupted: {current.stop_reason}"
        case "cancel":
            return report.last_error or f"cancelled: {current.stop_reason}"
        case None:
            return report.last_error or "stopped by the worker host; the queue did not ask for it"
