"""How a Code Queue's JSON is read. Pure; commands, paths and field names are data.

The output of a Code Queue is not published, so nothing here is taken for granted: what is absent,
unknown or of another type is None, and an answer that lacks what every answer must have is an
`UnreadableAnswerError`. Times are aware; a time without a zone is unknown.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from pydantic import ValidationError

from agent.core.model.nouns import Heartbeat, JudgeRecord, Status, Trace
from agent.core.model.queueing import TraceEvent
from agent.core.model.text import one_line
from agent.core.queue.rules import MESSAGE_TEXT, TRACE_KIND, TRACE_TEXT, clean
from agent.core.queue.states import LEASED, QUEUE_STATES
from agent.errors import UnreadableAnswerError, UserError

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "queues": ("codex", "queues", "--json"),
    "task": ("codex", "task", "{task}", "--json"),
    "trace": ("codex", "task", "{task}", "--trace", "--limit", "{limit}", "--json"),
    "output": ("codex", "output", "{task}", "--json"),
    "submit": (
        "codex", "submit", "--queue", "{queue}", "--idempotency-key", "{key}",
        "--prompt-file", "-", "--json",
    ),
    "retry": (
        "codex", "retry", "{task}", "--idempotency-key", "{key}", "--prompt-file", "-", "--json",
    ),
    "interrupt": ("codex", "interrupt", "{task}", "--idempotency-key", "{key}", "--json"),
    "cancel": ("codex", "cancel", "{task}", "--idempotency-key", "{key}", "--json"),
    "move": (
        "codex", "move", "{task}", "--queue", "{queue}", "--idempotency-key", "{key}", "--json",
    ),
    "read": ("codex", "read", "{task}", "--json"),
}  # fmt: skip
"""What is appended to the program, by call; `{task}`, `{limit}`, `{queue}`, `{key}` are filled."""

PATHS: Final[Mapping[str, str]] = {
    "queues": "/codex/queues",
    "task": "/codex/tasks/{task}",
    "trace": "/codex/tasks/{task}/trace?limit={limit}",
    "output": "/codex/tasks/{task}/output",
    "submit": "/codex/tasks",
    "retry": "/codex/tasks/{task}/retry",
    "interrupt": "/codex/tasks/{task}/interrupt",
    "cancel": "/codex/tasks/{task}/cancel",
    "move": "/codex/tasks/{task}/move",
    "read": "/codex/tasks/{task}/read",
}
"""Below the address of the proxy, by call."""

READING: Final = frozenset({"queues", "task", "trace", "output"})
"""The calls that change nothing; over HTTP they are GET and all others POST."""

FIELDS: Final = frozenset(
    {
        "queues.queues", "queues.controlPlane.reachable", "queues.controlPlane.diagnostics",
        "queues.controlPlane.effectiveLiveness", "queues.controlPlane.splitBrainLive",
        "queues.controlPlane.recommendedAction",
        "queue.id", "queue.kind", "queue.risk", "queue.counts", "queue.activeTaskIds",
        "queue.unreadTerminalTaskIds", "queue.recentTaskIds",
        "task.id", "task.queue", "task.status", "task.attempt", "task.prompt",
        "task.lastAssistantMessage", "task.lastError", "task.cancelRequested", "task.createdAt",
        "task.startedAt", "task.finishedAt", "task.updatedAt", "task.controlPlane.status",
        "task.scheduler.status", "task.scheduler.heartbeat.at",
        "task.scheduler.heartbeat.expiresAt", "task.scheduler.heartbeat.attempt",
        "task.scheduler.heartbeat.origin", "task.trace.lastEventAt", "task.trace.lastSequence",
        "task.trace.attempt", "task.finalResponse", "task.finalResponseTruncated", "task.judge",
        "task.labels.task", "task.idempotencyKey",
        "trace.events", "event.sequence", "event.at", "event.attempt", "event.kind", "event.text",
        "output.text", "output.truncated", "answer.ok", "answer.task",
    },
)  # fmt: skip
"""Each field that is read, as `answer.path`; the path is its name unless the user gives another."""

REMOTE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}")
"""A task id that is safe as an argument and as a part of a path."""
_WORD: Final = 120
"""Characters of a diagnostic that are kept."""
_YEARS: Final = range(1970, 2200)
"""In which things happen; a time outside is a mistake."""

Kind = Literal["delivery", "infrastructure", "documentation"]
Risk = Literal["low", "normal", "high"]


class Names:
    """The path of each field; `other` maps a field of `FIELDS` to the dotted path it has here."""

    def __init__(self, other: Mapping[str, str] | None = None) -> None:
        self._paths = {name: tuple(name.split(".")[1:]) for name in FIELDS}
        self._paths |= {name: tuple(path.split(".")) for name, path in (other or {}).items()}

    def value(self, source: object, name: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """The value of the field in `source`; None when it is not there."""
        for part in self._paths[name]:
            if not isinstance(source, dict):
                return None
            source = source.get(part)
        return source

    def text(self, source: object, name: str) -> str | None:
        """A text that is not empty."""
        value = self.value(source, name)
        return clean(value) if isinstance(value, str) and value else None

    def number(self, source: object, name: str) -> int | None:
        """A whole number from 0."""
        value = self.value(source, name)
        fine = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
        return value if fine else None

    def flag(self, source: object, name: str) -> bool | None:
        """True or false, and nothing that only looks like it."""
        value = self.value(source, name)
        return value if isinstance(value, bool) else None

    def when(self, source: object, name: str) -> datetime | None:
        """An ISO 8601 time with its zone."""
        value = self.value(source, name)
        try:
            at = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            return None
        if at is None or at.tzinfo is None or at.year not in _YEARS:
            return None
        return at.astimezone(UTC)

    def ids(self, source: object, name: str) -> tuple[str, ...] | None:
        """A list of task ids; None when it is no list, or one of them is no id."""
        value = self.value(source, name)
        if not isinstance(value, list):
            return None
        fine = all(isinstance(one, str) and REMOTE_ID.fullmatch(one) for one in value)
        return tuple(value) if fine else None


@dataclass(frozen=True, slots=True)
class Lane:
    """One queue of the listing; None: not stated."""

    id: str
    kind: Kind | None
    risk: Risk | None
    counts: Mapping[str, int]
    active: tuple[str, ...] | None
    unread: tuple[str, ...] | None
    recent: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer of `queues`: queue-level evidence, and the control plane's state."""

    lanes: tuple[Lane, ...]
    reachable: bool | None
    diagnostics: tuple[str, ...]

    @property
    def mentioned(self) -> frozenset[str]:
        """Every task id that is listed anywhere."""
        lists = (one for lane in self.lanes for one in (lane.active, lane.unread, lane.recent))
        return frozenset(task for one in lists for task in one or ())

    @property
    def essence(self) -> tuple[object, ...]:
        """What two ways to the same queue must agree on."""
        lanes = (
            (lane.id, frozenset(lane.active or ()), frozenset(lane.unread or ()))
            for lane in self.lanes
        )
        return (self.reachable, frozenset(lanes))


@dataclass(frozen=True, slots=True)
class Seen:
    """One task as `task` shows it, before anything of our own is added."""

    id: str
    queue: str | None
    status: Status
    """Its state, with all planes taken into account; see `_status`."""
    attempt: int
    prompt: str | None
    last_message: str | None
    last_error: str | None
    cancel_requested: bool | None
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime | None
    control_plane: str | None
    scheduler: str | None
    heartbeat: Heartbeat | None
    trace: Trace | None
    final_response: str | None
    whole: bool | None
    """Whether `final_response` is all of it; None: not stated."""
    judge: JudgeRecord | None
    label: str | None
    key: str | None

    @property
    def essence(self) -> tuple[object, ...]:
        """What two ways to the same task must agree on."""
        return (
            self.id, self.queue, self.status, self.attempt, self.cancel_requested,
            self.control_plane, self.scheduler, self.final_response,
        )  # fmt: skip


def listing(answer: object, names: Names) -> Listing:
    """Read an answer to `queues`."""
    found = names.value(answer, "queues.queues")
    if not isinstance(found, list):
        raise UnreadableAnswerError("queues: the answer holds no list of queues")
    lanes = tuple(_lane(one, names) for one in found)
    if len({lane.id for lane in lanes}) < len(lanes):
        raise UnreadableAnswerError("queues: a queue is listed twice")
    listed = names.value(answer, "queues.controlPlane.diagnostics")
    words = [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
    for name in ("effectiveLiveness", "splitBrainLive", "recommendedAction"):
        value = names.value(answer, f"queues.controlPlane.{name}")
        if isinstance(value, str | bool):
            words.append(f"{name}={str(value).lower()}")
    return Listing(
        lanes=lanes,
        reachable=names.flag(answer, "queues.controlPlane.reachable"),
        diagnostics=tuple(one_line(word)[:_WORD] for word in words),
    )


def _lane(found: object, names: Names) -> Lane:
    name = names.text(found, "queue.id")
    if name is None:
        raise UnreadableAnswerError("queues: a queue has no id")
    counts = names.value(found, "queue.counts")
    known = {state.value for state in QUEUE_STATES}
    kind, risk = names.text(found, "queue.kind"), names.text(found, "queue.risk")
    return Lane(
        id=name,
        kind=next((one for one in get_args(Kind) if one == kind), None),
        risk=next((one for one in get_args(Risk) if one == risk), None),
        counts={
            word: number
            for word, number in (counts.items() if isinstance(counts, dict) else ())
            if word in known and isinstance(number, int) and not isinstance(number, bool)
        },
        active=names.ids(found, "queue.activeTaskIds"),
        unread=names.ids(found, "queue.unreadTerminalTaskIds"),
        recent=names.ids(found, "queue.recentTaskIds"),
    )


def task(answer: object, asked: str | None, names: Names) -> Seen:
    """Read an answer to `task`; `asked` is the id that was asked for, None for a new task."""
    name = names.text(answer, "task.id")
    if name is None or not REMOTE_ID.fullmatch(name):
        raise UnreadableAnswerError("a task has no usable id")
    if asked is not None and name != asked:
        raise UnreadableAnswerError(f"asked for task {asked}, and the answer is about {name:.80}")
    attempt = names.number(answer, "task.attempt")
    if not attempt:
        raise UnreadableAnswerError(f"task {name}: the answer names no attempt")
    control = names.text(answer, "task.controlPlane.status")
    scheduler = names.text(answer, "task.scheduler.status")
    cut = names.flag(answer, "task.finalResponseTruncated")
    message = names.text(answer, "task.lastAssistantMessage")
    return Seen(
        id=name,
        queue=names.text(answer, "task.queue"),
        status=_status(name, names.text(answer, "task.status"), control, scheduler),
        attempt=attempt,
        prompt=names.text(answer, "task.prompt"),
        last_message=message[:MESSAGE_TEXT] if message else None,
        last_error=names.text(answer, "task.lastError"),
        cancel_requested=names.flag(answer, "task.cancelRequested"),
        created_at=names.when(answer, "task.createdAt"),
        started_at=names.when(answer, "task.startedAt"),
        finished_at=names.when(answer, "task.finishedAt"),
        updated_at=names.when(answer, "task.updatedAt"),
        control_plane=control,
        scheduler=scheduler,
        heartbeat=_heartbeat(answer, names),
        trace=_trace(answer, names),
        final_response=names.text(answer, "task.finalResponse"),
        whole=None if cut is None else not cut,
        judge=_judge(names.value(answer, "task.judge")),
        label=names.text(answer, "task.labels.task"),
        key=names.text(answer, "task.idempotencyKey"),
    )


def _status(name: str, own: str | None, control: str | None, scheduler: str | None) -> Status:
    """The task's state, though its planes need not agree.

    Two planes that agree, the one that runs it among them, are believed. As long as any of them
    shows that it works it may be alive: it is supervised, not retried. Policy: split-brain is "not
    automatic evidence that the work is dead". Other disagreements are no evidence of anything.
    """
    known = {state.value: state for state in QUEUE_STATES}
    top = known.get(own or "")
    if top is None:
        raise UnreadableAnswerError(f"task {name}: its status {own!r:.80} is not known here")
    words = [one for one in (own, control, scheduler) if one is not None]
    if scheduler == own or len(set(words)) == 1:
        return top
    for word in (scheduler, own, control):
        if word is not None and known.get(word) in LEASED:
            return known[word]
    raise UnreadableAnswerError(
        f"task {name}: its planes disagree about what is over"
        f" ({', '.join(f'{one:.40}' for one in words)})",
    )


def _heartbeat(answer: object, names: Names) -> Heartbeat | None:
    at = names.when(answer, "task.scheduler.heartbeat.at")
    if at is None:
        return None
    origin = names.text(answer, "task.scheduler.heartbeat.origin")
    return Heartbeat.model_validate(
        {
            "at": at,
            "expires_at": names.when(answer, "task.scheduler.heartbeat.expiresAt"),
            "attempt": names.number(answer, "task.scheduler.heartbeat.attempt"),
            "origin": origin if origin in ("worker", "recovery") else None,
        },
    )


def _trace(answer: object, names: Names) -> Trace | None:
    at = names.when(answer, "task.trace.lastEventAt")
    if at is None:
        return None
    return Trace(
        last_event_at=at,
        attempt=names.number(answer, "task.trace.attempt"),
        last_sequence=names.number(answer, "task.trace.lastSequence"),
    )


def _judge(found: object) -> JudgeRecord | None:
    """The judge record, if it has a verdict and a time; keys that are not known are left out."""
    if not isinstance(found, dict):
        return None
    known = {field.alias or name for name, field in JudgeRecord.model_fields.items()}
    try:
        return JudgeRecord.model_validate({key: found[key] for key in found if key in known})
    except ValidationError:
        return None


def events(answer: object, names: Names) -> tuple[TraceEvent, ...]:
    """Read an answer to `trace`: the events that have a number, a time and an attempt."""
    found = names.value(answer, "trace.events")
    if not isinstance(found, list):
        raise UnreadableAnswerError("trace: the answer holds no list of events")
    return tuple(event for one in found if (event := _event(one, names)) is not None)


def _event(found: object, names: Names) -> TraceEvent | None:
    sequence, attempt = names.number(found, "event.sequence"), names.number(found, "event.attempt")
    at = names.when(found, "event.at")
    if sequence is None or attempt is None or at is None:
        return None
    kind, text = names.text(found, "event.kind") or "text", names.text(found, "event.text") or ""
    return TraceEvent(
        sequence=sequence, at=at, attempt=attempt, kind=kind[:TRACE_KIND], text=text[:TRACE_TEXT]
    )


def output(answer: object, names: Names) -> tuple[str, bool] | None:
    """Read an answer to `output`: the text, and whether it is whole. None: one is missing."""
    text = names.text(answer, "output.text")
    cut = names.flag(answer, "output.truncated")
    return None if text is None or cut is None else (text, not cut)


def acted(answer: object, asked: str | None, names: Names) -> Seen:
    """Read the answer of a call that acts: the task as it is now."""
    if names.flag(answer, "answer.ok") is not True:
        raise UnreadableAnswerError("the answer does not say that it was done")
    return task(names.value(answer, "answer.task"), asked, names)


SIZE: Final = 8 * 1024**2
"""Bytes of one answer; a longer one is no answer."""
_SHOWN: Final = 60
"""Characters of an answer that is no JSON, in the message about it."""


def parse(raw: bytes, what: str) -> dict[str, Any]:
    """The one JSON object in `raw`. UnreadableAnswerError, which begins with `what`, for others."""
    if len(raw) > SIZE:
        raise UnreadableAnswerError(f"{what} answered with more than {SIZE} bytes")
    try:
        found = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        start = one_line(raw[: 4 * _SHOWN].decode(errors="replace"))[:_SHOWN]
        raise UnreadableAnswerError(f"{what} answered no JSON but {start!r}") from error
    if not isinstance(found, dict):
        raise UnreadableAnswerError(f"{what} answered JSON, but no object")
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def refuse_option(name: str, value: str) -> None:
    """UserError for a value that a program would take for an option, or that no argument holds."""
    if value.startswith("-") or "\0" in value:
        raise UserError(f"the {name} {value!r:.80} cannot be an argument; give it another name")
