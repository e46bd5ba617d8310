"""Two queues, one story: whatever is called in whatever order, both adapters say the same."""

import itertools
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from agent.adapters.queue.embedded import SqliteQueue
from agent.adapters.queue.memory import MemoryQueue
from agent.core.model.queueing import Lease, NewEvent, QueueSpec, Report
from agent.errors import WavekeeperError
from tests.adapters.queue_world import LEASE, ORDER, Clock

TASKS = st.sampled_from(["t1", "t2", "t3"])
QUEUES = st.sampled_from(["a", "b"])
ATTEMPTS = st.integers(1, 3)
KEYS = st.integers(0, 9).map(lambda number: None if number < 7 else f"again-{number}")
"""Mostly a key of its own, sometimes one that was used before."""
TEXTS = st.sampled_from(["", "plain", "é\x00\n", "a\ud800b"])
REPORTS = st.builds(
    Report,
    state=st.sampled_from(["succeeded", "failed", "stopped"]),
    final_response=st.none() | TEXTS,
    last_error=st.none() | TEXTS,
    session=st.none() | st.just("s-1"),
)
PAIR = st.integers(0, 20)


class Agreement(RuleBasedStateMachine):
    """Calls both queues with the same, at the same time, and compares all that can be read."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.clock = Clock()
        self.memory = MemoryQueue(self.clock.now)
        self.sqlite = SqliteQueue(folder / "queue.db", self.clock.now)
        self.sqlite._connection().execute("PRAGMA synchronous = OFF")
        self.keys = (f"own-{number}" for number in itertools.count())
        self.leases: list[tuple[Lease, Lease]] = []
        self.cursors: tuple[Any, Any] = (None, None)

    def teardown(self) -> None:
        self.sqlite.close()

    def both(self, call: str, *args: Any, **said: Any) -> tuple[Any, Any]:
        answers: list[Any] = []
        for queue in (self.memory, self.sqlite):
            try:
                answers.append(getattr(queue, call)(*args, **said))
            except WavekeeperError as error:
                answers.append((type(error), str(error)))
        return answers[0], answers[1]

    def same(self, call: str, *args: Any, **said: Any) -> None:
        first, second = self.both(call, *args, **said)
        assert first == second

    def act(self, call: str, task: str, key: str | None, **said: Any) -> None:
        key = key or next(self.keys)
        self.same(call, task, key=key, **said)
        self.same("receipt", key)

    @rule(task=TASKS, queue=QUEUES, prompt=TEXTS, key=KEYS)
    def submit(self, task, queue, prompt, key):
        self.act("submit", task, key, queue=queue, prompt=prompt, order=ORDER)

    @rule(task=TASKS, attempt=ATTEMPTS, fresh=st.booleans(), key=KEYS)
    def retry(self, task, attempt, fresh, key):
        self.act("retry", task, key, attempt=attempt, prompt="again", fresh_session=fresh)

    @rule(verb=st.sampled_from(["interrupt", "cancel"]), task=TASKS, attempt=ATTEMPTS, key=KEYS)
    def halt(self, verb, task, attempt, key):
        self.act(verb, task, key, attempt=attempt, reason="why")

    @rule(task=TASKS, queue=QUEUES, key=KEYS)
    def move(self, task, queue, key):
        self.act("move", task, key, queue=queue)

    @rule(queue=QUEUES, limit=st.integers(1, 2))
    def configure(self, queue, limit):
        self.same("configure", QueueSpec(id=queue, max_running=limit))

    @rule(queues=st.permutations(["a", "b"]))
    def claim(self, queues):
        first, second = self.both("claim", "host-1", queues, lease=LEASE)
        assert (first is None) == (second is None)
        if first:
            assert first.model_copy(update={"token": second.token}) == second
            self.leases.append((first, second))

    def on_lease(self, which: int, call: str, *args: Any, **said: Any) -> None:
        first, second = self.leases[which % len(self.leases)]
        answers = (
            getattr(self.memory, call)(first, *args, **said),
            getattr(self.sqlite, call)(second, *args, **said),
        )
        assert answers[0] == answers[1]

    @precondition(lambda self: self.leases)
    @rule(which=PAIR, texts=st.lists(TEXTS, max_size=3), ahead=st.integers(-50, 50))
    def beat(self, which, texts, ahead):
        clock = Clock()
        clock.time = self.clock.time
        clock.advance(ahead)
        events = [NewEvent(at=clock.now(), kind="message", text=text) for text in texts]
        self.on_lease(which, "beat", events, extend=LEASE)

    @precondition(lambda self: self.leases)
    @rule(which=PAIR)
    def judging(self, which):
        self.on_lease(which, "judging")

    @precondition(lambda self: self.leases)
    @rule(which=PAIR, report=REPORTS)
    def finish(self, which, report):
        self.on_lease(which, "finish", report)

    @rule(seconds=st.sampled_from([1, 20, LEASE, LEASE + 1]))
    def advance(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def read_on(self):
        first = self.memory.changed_since(self.cursors[0])
        second = self.sqlite.changed_since(self.cursors[1])
        assert first.tasks == second.tasks
        self.cursors = (first.cursor, second.cursor)

    @invariant()
    def they_show_the_same(self):
        tasks = self.memory.changed_since(None).tasks
        assert tasks == self.sqlite.changed_since(None).tasks
        self.same("queues")
        for task in tasks:
            self.same("get", task.id)
            self.same("trace", task.id, attempt=task.attempt, after=0, limit=100)


def test_the_two_queues_agree(tmp_path):
    stories = itertools.count()

    def story() -> Agreement:
        folder = tmp_path / str(next(stories))
        return Agreement(folder)

    run_machine(
        story,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
