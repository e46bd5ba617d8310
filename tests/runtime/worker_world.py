"""What the worker host is tested in: a real remote, real processes, and a queue in memory.

Agents run their prompt as a shell script. `{place}` in it is the folder of the test.
"""

import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.adapters.agents.command import CommandRunner
from agent.adapters.common.sqlite import MEMORY
from agent.adapters.git.worktrees import GitWorktrees
from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.nouns import Command, Status, TaskKind
from agent.core.model.queueing import Order, TaskView
from agent.runtime.worker import Worker, WorkerSettings
from tests.adapters.git_person import IDENTITY
from tests.adapters.processes import pids, running, until

PUSH = """
echo work >>done; git add done; git commit --quiet -m work
git push --quiet origin HEAD:refs/heads/work/t1; echo pushed
"""
WAIT = "echo $$ >>{place}/pids; echo ready; while [ ! -e {place}/go ]; do sleep 0.02; done\n"
DEAF = "trap '' TERM; setsid sleep 60 & echo $! >>{place}/pids\n" + WAIT
LEASE = 30.0
"""Seconds: long enough for the busiest machine. Tests that want it to run out move the clock."""


def order(**changed: Any) -> Order:
    """An order for `work/t1`, whose acceptance command no worker host runs."""
    told = {
        "kind": TaskKind.CODE_CHANGE,
        "branch": "work/t1",
        "acceptance_commands": (Command(argv=("false",)),),
    }
    return Order(**{**told, **changed})


class Clock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Unsteady:
    """A work source that a test can break: `fault` is raised by the calls named in `broken`."""

    def __init__(self, queue: SqliteQueue, way: threading.Lock) -> None:
        self._queue = queue
        self.fault: Exception | None = None
        self.broken: tuple[str, ...] = ("claim", "beat", "finish")
        self._way = way

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            with self._way:
                if self.fault and name in self.broken:
                    raise self.fault
                return getattr(self._queue, name)(*arguments, **named)

        return call


@dataclass
class World:
    place: Path
    clock: Clock = field(default_factory=Clock)
    told: list[str] = field(default_factory=list)

    way: threading.Lock = field(default_factory=threading.Lock)
    """Whoever holds it keeps every call of a host of this process waiting."""

    def __post_init__(self) -> None:
        self.queue: Any = SqliteQueue(MEMORY, self.clock.now)
        self.source: Any = Unsteady(self.queue, self.way)
        self.remote = self.place / "origin.git"
        self.trees = GitWorktrees(str(self.remote), self.place / "work", self.place / "clone")
        self.runner = CommandRunner(
            ["sh", "-s"],
            prompt="stdin",
            output="text",
            env=IDENTITY,
            now=self.clock.now,
            scope=str(self.place),
        )
        self.settings = WorkerSettings(
            name="host-1",
            queues=("main",),
            slots=2,
            lease=LEASE,
            beat_every=0.05,
            poll_every=0.02,
            grace=0.2,
            time_limit=600.0,
            folder=self.place / "runs",
        )

    def submit(self, script: str, what: Order | None = None, task: str = "t1") -> None:
        prompt = script.replace("{place}", str(self.place))
        what = what or order()
        self.queue.submit(task, queue="main", prompt=prompt, order=what, key=uuid.uuid4().hex)

    def retry(self, script: str, attempt: int = 2) -> None:
        prompt = script.replace("{place}", str(self.place))
        receipt = self.queue.retry(
            "t1", attempt=attempt, prompt=prompt, fresh_session=False, key=uuid.uuid4().hex
        )
        assert receipt.effect == "done"

    def worker(self, **changed: Any) -> Worker:
        parts = {name: changed.pop(name, getattr(self, name)) for name in ("runner", "trees")}
        settings = replace(self.settings, **changed)
        return Worker(self.source, *parts.values(), self.clock, settings, self.told.append)

    @contextmanager
    def host(self, **changed: Any) -> Iterator[threading.Event]:
        """A host at work in a thread; at the end it is stopped, and its error is raised."""
        stop, worker = threading.Event(), self.worker(**changed)
        faults: list[Exception] = []

        def run() -> None:
            try:
                worker.run(stop)
            except Exception as fault:  # noqa: BLE001 - raised again below
                faults.append(fault)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield stop
        finally:
            stop.set()
            thread.join(20)
            assert not thread.is_alive()
        if faults:
            raise faults[0]

    def view(self, task: str = "t1") -> TaskView:
        found = self.queue.get(task)
        assert found is not None
        return found

    def over(self, task: str = "t1", attempt: int = 1) -> TaskView:
        """The task, once this attempt has ended."""

        def ended() -> TaskView | None:
            view = self.view(task)
            return view if view.attempt == attempt and view.finished_at is not None else None

        found = until(ended)
        assert found is not None
        return found

    def beaten(self, over: Callable[[], bool] = lambda: False) -> None:
        """Wait for the next heartbeat, or until it is `over`."""
        before = self.view().heartbeat
        until(lambda: over() or self.view().heartbeat != before)

    def lose(self) -> None:
        """Let the lease run out at once, by the clock of this process, and no heartbeat come."""
        with self.way:
            self.sleep()
            self.clock.ahead += timedelta(seconds=LEASE)
            assert self.view().state is Status.LOST

    def sleep(self) -> None:
        """Let the machine sleep longer than a lease; whoever looks wakes up before its hosts."""
        self.clock.ahead += timedelta(seconds=2 * LEASE)
        assert self.view().state is Status.RUNNING

    def texts(self, task: str = "t1", attempt: int = 1) -> list[str]:
        events = self.queue.trace(task, attempt=attempt, after=0, limit=100)
        return [event.text for event in events]

    def ready(self, number: int = 1) -> list[int]:
        """The process ids of agents that wait, once there are so many."""
        file = self.place / "pids"
        return until(lambda: found if len(found := pids(file)) >= number else [])

    def running(self) -> list[int]:
        return running(self.place / "pids")

    def go(self) -> None:
        (self.place / "go").touch()

    def head(self, branch: str = "work/t1") -> str:
        """The commit on the remote."""
        argv = ["git", f"--git-dir={self.remote}", "rev-parse", f"refs/heads/{branch}"]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def ended(self, task: str) -> bool:
        """The report is written, and perhaps not delivered."""
        return any((self.place / "runs").glob(f"{task}-*/report.json"))

    def run_folder(self, task: str = "t1") -> Path:
        (folder,) = (self.place / "runs").glob(f"{task}-*")
        return folder


class SlowTrees:
    """git that takes its time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        if name == "prepare":
            (self._world.place / "pids").write_text("0\n")
            until((self._world.place / "go").exists)
        return getattr(self._world.trees, name)
