"""Reads a Code Queue, by one way or by two that must agree, and maps its answers to our tasks.

Policy: "The supervisor must monitor Code Queue with task-level and queue-level evidence, not with a
single status field."
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from agent.adapters.code_queue import words as shape
from agent.adapters.code_queue.ledger import Ledger, Tracked
from agent.adapters.code_queue.words import Listing, Names, Seen
from agent.core.model.actions import digest
from agent.core.model.nouns import TERMINAL, Reported, Status, Trace
from agent.core.model.queueing import TaskView, TraceEvent
from agent.core.queue.states import LEASED
from agent.errors import NoAnswerError, QueueUnavailableError, UnreadableAnswerError

_RESPONSE: Final = 1_000_000
"""Characters of a final response that are kept; a longer one counts as cut."""
_EVENTS: Final = 20
"""Trace events that are asked for when the summary does not give the time of the last one."""

_ENDED_BY: Final = {"interrupt": Status.FAILED, "cancel": Status.CANCELLED}
_SAID_OF: Final = {"interrupt": "interrupted", "cancel": "cancelled"}

Read = TypeVar("Read", Listing, Seen)


class Way(Protocol):
    """One way to the queue: `CommandLine` or `Proxy`."""

    name: str

    def ask(self, call: str, fills: Mapping[str, str], body: str | None = None) -> dict[str, Any]:
        """The object it answers; QueueUnavailableError."""


class Reader:
    """Asks the first of `ways`; a second one is compared with it, and never acted through.

    NoAnswerError: the queue cannot be seen. UnreadableAnswerError: this answer cannot be relied
    on, or the two ways disagree, which is a reason to do nothing.
    """

    def __init__(
        self, ways: Sequence[Way], names: Names, ledger: Ledger, now: Callable[[], datetime]
    ) -> None:
        self._ways = ways
        self._names = names
        self._ledger = ledger
        self._now = now
        self._silent: set[str] = set()
        """Ways that gave no answer in this round, so that each costs one time-out only."""
        self.notices: dict[str, str] = {}
        """Faults that the control plane does not report itself, by what they are about."""
        self.listing: Listing | None = None
        """As it was last read; None after a failure."""

    def begin(self) -> None:
        """A new round of reading: a way that was silent is asked again."""
        self._silent.clear()

    def list(self) -> Listing:
        """Queue-level evidence."""
        self.listing = None
        self.listing = self._both(
            "queues", {}, "queues", lambda answer: shape.listing(answer, self._names)
        )
        return self.listing

    def task(self, remote: str) -> Seen:
        """Task-level evidence: the summary alone."""
        return self._both(
            "task",
            {"task": remote},
            remote,
            lambda answer: shape.task(answer, remote, self._names),
        )

    def _both(
        self, call: str, fills: Mapping[str, str], about: str, read: Callable[[object], Read]
    ) -> Read:
        """The first way's answer, if no other contradicts it twice."""
        first = read(self._ways[0].ask(call, fills))
        for way in self._ways[1:]:
            if way.name in self._silent:
                continue
            try:
                second = read(way.ask(call, fills))
            except QueueUnavailableError as error:
                if isinstance(error, NoAnswerError):
                    self._silent.add(way.name)
                self.notices[way.name] = f"{way.name}-unavailable: {error}"
                continue
            self.notices.pop(way.name, None)
            if first.essence != second.essence:
                # Something may have happened between the two; then the first shows it now as well.
                first = read(self._ways[0].ask(call, fills))
            if first.essence != second.essence:
                self.notices[f"diverged {about}"] = f"proxy-divergence: {about}"
                raise UnreadableAnswerError(
                    f"{about}: {self._ways[0].name} and {way.name} disagree; nothing is done",
                )
        self.notices.pop(f"diverged {about}", None)
        return first

    def look(self, known: Tracked) -> TaskView:
        """One task of ours as it is now, kept in the ledger."""
        seen = self.task(known.remote)
        if seen.label is not None and seen.label != known.task:
            raise UnreadableAnswerError(
                f"task {known.remote} is labelled {seen.label!r:.80}, and {known.task} was expected"
            )
        return self.keep(known, seen)

    def keep(self, known: Tracked, seen: Seen) -> TaskView:
        """The view of what was seen; only here the trace and the output are asked for."""
        response, whole, source = self._response(known, seen)
        trace = seen.trace
        if seen.status in LEASED and (trace is None or trace.attempt is None):
            trace = self._last_event(known.remote, seen.attempt) or trace
        if seen.cancel_requested and seen.status is Status.QUEUED and seen.attempt > 1:
            self._ledger.flag(known.task, seen.attempt)
        view = self._view(known, seen, trace, response, whole=whole)
        self._ledger.save(view, source)
        return view

    def _view(
        self, known: Tracked, seen: Seen, trace: Trace | None, response: str | None, *, whole: bool
    ) -> TaskView:
        created = seen.created_at or known.submitted_at
        ended = seen.finished_at
        if ended is not None and seen.started_at is not None and ended < seen.started_at:
            ended = None  # one of the two is wrong, and nobody knows which
        beat = seen.heartbeat.at if seen.heartbeat else None
        marks = [one for one in (created, seen.started_at, ended, beat) if one is not None]
        state, error = self._state(known.task, seen)
        sent = seen.prompt or self._ledger.prompt(known.task, seen.attempt)
        return TaskView(
            id=known.task,
            queue=seen.queue or (known.view.queue if known.view else ""),
            state=state,
            attempt=seen.attempt,
            prompt=sent or "",
            order=known.order,
            created_at=created,
            updated_at=seen.updated_at or max(marks),
            started_at=seen.started_at,
            finished_at=ended,
            stop_requested=self._stop(known.task, seen),
            control_plane=Reported(status=seen.control_plane),
            scheduler=Reported(status=seen.scheduler),
            heartbeat=seen.heartbeat,
            trace=trace,
            last_message=seen.last_message,
            last_error=error,
            final_response=response,
            final_response_truncated=response is not None and not whole,
            judge=seen.judge if state in TERMINAL else None,
        )

    def _state(self, task: str, seen: Seen) -> tuple[Status, str | None]:
        """Its state and error, in the light of what we asked for and the queue cannot know."""
        asked = self._ledger.asked(task, seen.attempt)
        self._notice_stale_flag(task, seen.attempt, asked)
        if asked is not None and seen.status is _ENDED_BY[asked]:
            why = self._ledger.reason(task, seen.attempt)
            return seen.status, f"{_SAID_OF[asked]}: {why}"
        if f"stale {task}" in self.notices and seen.status is Status.CANCELLED:
            # Nobody asked for this end: it came from an old flag.
            return Status.FAILED, seen.last_error or "cancelled by a flag of an earlier attempt"
        return seen.status, seen.last_error

    def _notice_stale_flag(self, task: str, attempt: int, asked: str | None) -> None:
        """Policy: a defect is "a retry API that leaves stale cancellation state"."""
        if asked is None and self._ledger.flagged(task, attempt):
            self.notices[f"stale {task}"] = f"stale-cancel-flag: {task}, attempt {attempt}"
        else:
            self.notices.pop(f"stale {task}", None)

    def _stop(self, task: str, seen: Seen) -> str | None:
        asked = self._ledger.asked(task, seen.attempt)
        if asked is not None:
            return asked
        return {True: "cancel", False: None, None: "unknown"}[seen.cancel_requested]

    def _response(self, known: Tracked, seen: Seen) -> tuple[str | None, bool, str | None]:
        """The final response, whether it is all of it, and what it was read from.

        The output is asked for when the summary has no response or does not state that it is whole,
        and once for each result. Policy: "only when the summary is insufficient".
        """
        if seen.status not in TERMINAL:
            return None, False, None
        source = digest([seen.attempt, seen.final_response, seen.whole])
        if known.output == source and known.view is not None:
            return known.view.final_response, not known.view.final_response_truncated, source
        response, whole = seen.final_response, seen.whole
        if response is None or whole is None:
            try:
                answer = self._ways[0].ask("output", {"task": known.remote})
            except UnreadableAnswerError:
                return response, False, None
            response, whole = _merged(response, shape.output(answer, self._names))
        if response is not None and len(response) > _RESPONSE:
            response, whole = response[:_RESPONSE], False
        return response, bool(whole), source

    def _last_event(self, remote: str, attempt: int) -> Trace | None:
        try:
            events = self.trace(remote, _EVENTS)
        except UnreadableAnswerError:
            return None
        own = [event for event in events if event.attempt == attempt]
        if not own:
            return None
        last = max(own, key=lambda event: event.sequence)
        return Trace(last_event_at=last.at, attempt=attempt, last_sequence=last.sequence)

    def trace(self, remote: str, limit: int) -> tuple[TraceEvent, ...]:
        """The latest events, as the queue orders them."""
        fills = {"task": remote, "limit": str(limit)}
        return shape.events(self._ways[0].ask("trace", fills), self._names)


def _merged(response: str | None, output: tuple[str, bool] | None) -> tuple[str | None, bool]:
    """The response as summary and output together show it, and whether it is whole."""
    if output is None:
        return response, False
    text, whole = output
    if response is None or text.startswith(response):
        return text, whole
    return response, whole and text.rstrip().endswith(response.rstrip())
