"""What the queue contract works with: a queue, a clock that only tests move, and short words."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from agent.core.model.nouns import Command, JudgeRecord, Status, TaskKind
from agent.core.model.queueing import Lease, NewEvent, Order, Receipt, Report, TaskView
from agent.ports import TaskQueue, WorkSource

LEASE = 60.0
ORDER = Order(
    kind=TaskKind.CODE_CHANGE,
    branch="work/t1",
    acceptance_commands=(Command(argv=("make", "test")),),
    labels={"wave": "w1"},
)


class BothSides(TaskQueue, WorkSource, Protocol):
    """Every queue adapter is the supervisor's side and the worker host's side in one."""


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class World:
    """One queue under test. The verbs take a fresh key unless they are given one."""

    queue: BothSides
    now: Callable[[], datetime]
    advance: Callable[[float], None]
    """Moves the queue's time on by seconds."""
    keys: itertools.count = field(default_factory=itertools.count)

    def key(self) -> str:
        return f"key-{next(self.keys)}"

    def submit(
        self, task: str = "t1", *, queue: str = "main", prompt: str = "do it", key: str = ""
    ) -> Receipt:
        return self.queue.submit(
            task, queue=queue, prompt=prompt, order=ORDER, key=key or self.key()
        )

    def retry(self, attempt: int, *, fresh_session: bool = False, key: str = "") -> Receipt:
        return self.queue.retry(
            "t1",
            attempt=attempt,
            prompt=f"again, {attempt}",
            fresh_session=fresh_session,
            key=key or self.key(),
        )

    def halt(self, verb: str, attempt: int = 1, *, reason: str = "why", key: str = "") -> Receipt:
        act = {"interrupt": self.queue.interrupt, "cancel": self.queue.cancel}[verb]
        return act("t1", attempt=attempt, reason=reason, key=key or self.key())

    def move(self, queue: str, *, key: str = "") -> Receipt:
        return self.queue.move("t1", queue=queue, key=key or self.key())

    def claim(self, *queues: str) -> Lease | None:
        return self.queue.claim("host-1", queues or ("main",), lease=LEASE)

    def claimed(self, *queues: str) -> Lease:
        lease = self.claim(*queues)
        assert lease is not None, "there was nothing to claim"
        return lease

    def beat(self, lease: Lease, *texts: str, extend: float = LEASE) -> str:
        return self.queue.beat(lease, self.events(*texts), extend=extend)

    def events(self, *texts: str) -> Sequence[NewEvent]:
        return [NewEvent(at=self.now(), kind="message", text=text) for text in texts]

    def finish(self, lease: Lease, state: str = "succeeded", **said: object) -> str:
        return self.queue.finish(lease, Report.model_validate({"state": state, **said}))

    def view(self, task: str = "t1") -> TaskView:
        found = self.queue.get(task)
        assert found is not None, f"there is no task {task}"
        return found

    def to(self, state: str, *, session: str | None = None) -> Lease | None:
        """Submit t1 and take it to `state`; its lease, if it ever had one."""
        self.submit()
        if state == "queued":
            return None
        lease = self.claimed()
        match state:
            case "succeeded" | "failed":
                self.finish(lease, state, session=session)
            case "cancelled":
                self.halt("cancel")
                self.finish(lease, "stopped", session=session)
            case "lost":
                self.lapse()
        self.wait_until(lambda: self.view().state == Status(state))
        return lease

    def lapse(self, task: str = "t1") -> None:
        """Let a lease run out, with somebody looking, and the worker host silent all the time."""
        for _ in range(2):
            self.advance(LEASE + 1)
            self.view(task)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """An engine may take a while to show what it did; the clock of this is the wall's."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s"
            time.sleep(0.02)


def verdict(world: World) -> JudgeRecord:
    return JudgeRecord(verdict="pass", at=world.now(), commit="c0ffee", reason="all passed")
