"""The queue in memory: for tests and simulation, and the plainest reading of what a queue does."""

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from agent.core.model.actions import digest
from agent.core.model.nouns import ACTIVE, LateReport, Status
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
from agent.core.queue.rules import Attempt, Halt, Move, Request, Retry, Submit, clean
from agent.core.queue.states import LEASED
from agent.core.queue.views import cursor_at, has_room, lease_of, queue_views, revision_of, view


@dataclass(slots=True)
class _Task:
    """A task with all its attempts, by number."""

    attempts: dict[int, Attempt]
    place: int
    """The revision at which the current attempt was queued: what is oldest comes first."""
    revision: int
    updated_at: datetime
    events: dict[int, list[TraceEvent]] = field(default_factory=dict)
    late: dict[tuple[int, str], LateReport] = field(default_factory=dict)
    """By attempt and digest of the report, in the order of arrival."""

    @property
    def current(self) -> Attempt:
        return self.attempts[len(self.attempts)]

    def view(self) -> TaskView:
        return view(self.current, updated_at=self.updated_at, late=[*self.late.values()])


class MemoryQueue(OwnControlPlane):
    """A `TaskQueue` and `WorkSource` that forgets when the process ends; safe for threads.

    `now` gives aware datetimes and is its only clock. UserError, KeyReusedError and ValueError
    (a cursor of another queue) are all it raises.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._name = secrets.token_hex(8)
        self._revision = 0
        self._tasks: dict[str, _Task] = {}
        """In the order of their last change."""
        self._active: set[str] = set()
        """Queued or leased, so that a claim need not look at what is over."""
        self._specs: dict[str, QueueSpec] = {}
        self._tally: Counter[tuple[str, Status]] = Counter()
        self._receipts: dict[str, tuple[str, Receipt]] = {}

    def configure(self, queue: QueueSpec) -> None:
        queue = rules.cleaned(queue)
        with self._lock:
            self._specs[queue.id] = queue

    def queues(self) -> Sequence[QueueView]:
        with self._lock:
            self._expire()
            return queue_views(self._specs, self._tally)

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
        with self._lock:
            self._expire()
            found = self._tasks.get(task)
            return found.view() if found else None

    def changed_since(self, cursor: Cursor | None) -> Changes:
        with self._lock:
            self._expire()
            read = revision_of(cursor, self._name, self._revision)
            changed: list[TaskView] = []
            for task in reversed(self._tasks.values()):
                if task.revision <= read:
                    break
                changed.append(task.view())
            return Changes(
                tasks=tuple(reversed(changed)), cursor=cursor_at(self._name, self._revision)
            )

    def trace(self, task: str, *, attempt: int, after: int, limit: int) -> Sequence[TraceEvent]:
        with self._lock:
            found = self._tasks.get(task)
            events = found.events.get(attempt, []) if found else []
            return [event for event in events if event.sequence > after][: max(limit, 0)]

    def receipt(self, key: str) -> Receipt | None:
        with self._lock:
            _, kept = self._receipts.get(clean(key), (None, None))
            return kept

    def claim(self, worker: str, queues: Sequence[str], *, lease: float) -> Lease | None:
        with self._lock:
            now = self._expire()
            for queue in queues:
                waiting = self._next(clean(queue))
                if waiting is not None:
                    token = secrets.token_hex(16)
                    taken = rules.claimed(waiting, worker=worker, token=token, now=now, lease=lease)
                    self._save(taken, now)
                    return lease_of(taken)
            return None

    def beat(self, lease: Lease, events: Sequence[NewEvent], *, extend: float) -> Beat:
        with self._lock:
            now = self._expire()
            current = self._attempt(lease)
            if current is None or not rules.holds(current, lease):
                return "fenced"
            traced = rules.numbered(current, events, now)
            kept = self._tasks[lease.task].events.setdefault(lease.attempt, [])
            kept.extend(traced)
            del kept[: -rules.TRACE_KEPT]
            self._save(rules.beaten(current, traced, now=now, extend=extend), now)
            return rules.answer(current)

    def judging(self, lease: Lease) -> Beat:
        with self._lock:
            now = self._expire()
            current = self._attempt(lease)
            if current is None or not rules.holds(current, lease):
                return "fenced"
            self._save(rules.judged(current), now)
            return rules.answer(current)

    def finish(self, lease: Lease, report: Report) -> Literal["taken", "late"]:
        report = rules.cleaned(report)
        with self._lock:
            now = self._expire()
            current = self._attempt(lease)
            if current is None:
                return "late"
            result = rules.settled(current, lease, report, now)
            if isinstance(result, Attempt):
                self._save(result, now)
            elif isinstance(result, LateReport):
                self._keep_late(lease, result, digest(report))
                return "late"
            return "taken"

    def _act(self, request: Request, key: str) -> Receipt:
        key, request = clean(key), rules.cleaned(request)
        with self._lock:
            now = self._expire()
            if key in self._receipts:
                kept_digest, kept = self._receipts[key]
                return rules.replayed(kept, kept_digest, request)
            found = self._tasks.get(request.task)
            effect, after = rules.act(found.current if found else None, request, now)
            if after is not None:
                self._save(after, now)
            receipt = rules.receipt(key, request, effect, after)
            self._receipts[key] = digest(request), receipt
            return receipt

    def _attempt(self, lease: Lease) -> Attempt | None:
        task = self._tasks.get(lease.task)
        return task.attempts.get(lease.attempt) if task else None

    def _next(self, queue: str) -> Attempt | None:
        """The oldest queued attempt of `queue`, unless the queue is full."""
        leased = sum(self._tally[queue, state] for state in LEASED)
        if not has_room(self._specs.get(queue), leased):
            return None
        active = [self._tasks[name] for name in self._active]
        waiting = [
            task
            for task in active
            if task.current.queue == queue and task.current.state is Status.QUEUED
        ]
        return min(waiting, key=lambda task: task.place).current if waiting else None

    def _save(self, attempt: Attempt, now: datetime) -> None:
        """Keep `attempt`, the current one of its task, and make the task the last changed."""
        task = self._tasks.get(attempt.task)
        if task is None:
            task = _Task(attempts={}, place=0, revision=0, updated_at=now)
            self._tasks[attempt.task] = task
        else:
            self._tally[task.current.queue, task.current.state] -= 1
        is_new = attempt.number not in task.attempts
        task.attempts[attempt.number] = attempt
        self._tally[attempt.queue, attempt.state] += 1
        self._touch(attempt.task, now)
        if is_new:
            task.place = task.revision
        if attempt.state in ACTIVE:
            self._active.add(attempt.task)
        else:
            self._active.discard(attempt.task)

    def _touch(self, name: str, now: datetime) -> None:
        self._revision += 1
        task = self._tasks.pop(name)
        task.revision, task.updated_at = self._revision, now
        self._tasks[name] = task

    def _keep_late(self, lease: Lease, report: LateReport, seal: str) -> None:
        late = self._tasks[lease.task].late
        if (lease.attempt, seal) not in late:
            late[lease.attempt, seal] = report
            self._touch(lease.task, report.at)

    def _expire(self) -> datetime:
        """Mark as lost what ran out of time; the time this call happens at."""
        now = self._now()
        for name in sorted(self._active):
            current = self._tasks[name].current
            if current.lease_until is not None and current.lease_until <= now:
                self._save(rules.expired(current), now)
        return now
