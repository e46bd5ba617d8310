"""What the judge host is tested in: a real remote, real commands, and orders in memory."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from agent.adapters.agents.command import CommandRunner
from agent.adapters.common.sqlite import MEMORY
from agent.adapters.git.checkouts import GitCheckouts
from agent.adapters.queue.judgements import SqliteJudgements
from agent.core.model.nouns import Command, JudgeRecord
from agent.core.model.queueing import JudgementOrder
from agent.runtime.judging import JudgeHost, JudgeSettings
from tests.adapters.git_origin import BRANCH, Origin
from tests.adapters.processes import pids, running, until
from tests.runtime.worker_world import Clock

LEASE = 30.0
"""Seconds: long enough for the busiest machine. Tests that want it to run out move the clock."""


def shell(script: str, **changed: Any) -> Command:
    return Command(argv=("sh", "-c", script), **{"timeout": 20, **changed})


@dataclass
class World:
    origin: Origin
    place: Path
    clock: Clock = field(default_factory=Clock)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kept: Any = SqliteJudgements(MEMORY, self.clock.now)
        self.checkouts: Any = GitCheckouts(str(self.origin.bare), self.place / "judge")
        self.runner: Any = CommandRunner(
            ["true"], prompt="stdin", output="text", env={}, now=self.clock.now,
            scope=str(self.place),
        )  # fmt: skip
        self.settings = JudgeSettings(
            name="judge-1",
            lease=LEASE,
            beat_every=0.05,
            poll_every=0.02,
            grace=0.2,
            pause=4.0,
            folder=self.place / "judge",
        )
        self.base = self.origin.git("rev-parse", "main")

    def order(self, *commands: Command, key: str = "k", **changed: Any) -> None:
        told = {
            "task": "t1", "attempt": 1, "wave": "w1", "branch": BRANCH, "base": self.base,
            "commit": self.origin.git("rev-parse", BRANCH), "commands": commands,
        }  # fmt: skip
        self.kept.order(JudgementOrder(**{**told, **changed}), key=key)

    def judge(self, **changed: Any) -> JudgeHost:
        same = changed.pop("same", lambda _, __: False)
        settings = replace(self.settings, **changed)
        return JudgeHost(
            self.kept, self.checkouts, self.runner, self.clock, settings, self.told.append, same
        )

    @contextmanager
    def host(self, **changed: Any) -> Iterator[threading.Event]:
        """A host at work in a thread; at the end it is stopped, and its error is raised."""
        stop, judge = threading.Event(), self.judge(**changed)
        faults: list[Exception] = []

        def run() -> None:
            try:
                judge.run(stop)
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

    def record(self, attempt: int = 1, **changed: Any) -> JudgeRecord:
        """What a host finds of the attempt that was ordered."""
        with self.host(**changed):
            return until(lambda: self.found(attempt))

    def found(self, attempt: int = 1) -> JudgeRecord | None:
        judgement = self.kept.latest("t1", attempt)
        return judgement.record if judgement else None

    def holder(self, attempt: int = 1) -> str | None:
        judgement = self.kept.latest("t1", attempt)
        return judgement.host if judgement else None

    def lapse(self) -> None:
        """No lease is good any more."""
        self.clock.ahead += timedelta(seconds=2 * LEASE)

    def judged(self, *commands: Command, **changed: Any) -> JudgeRecord:
        self.order(*commands, **changed)
        return self.record()

    def pushed(self, *, base: bool = False, **contents: str) -> None:
        """Commit files (`a__b_py` is `a/b.py`) and push them, to the base or to the branch."""
        self.origin.branch("main" if base else BRANCH, "main" if base else "HEAD")
        for name, text in contents.items():
            self.origin.write(name.replace("__", "/").replace("_py", ".py"), text)
        self.origin.commit()
        self.origin.push("main" if base else BRANCH)
        if base:
            self.base = self.origin.git("rev-parse", "main")
            self.origin.branch()

    def left(self) -> float:
        """Seconds until the lease of the only judgement runs out."""
        (until_,) = self.kept._db.execute("SELECT lease_until FROM judgement").fetchone()
        return until_ / 1e6 - self.clock.now().timestamp()

    def ready(self, number: int = 1) -> Sequence[int]:
        """The process ids that commands wrote down, once there are so many."""
        file = self.place / "pids"
        return until(lambda: found if len(found := pids(file)) >= number else [])

    def running(self) -> list[int]:
        return running(self.place / "pids")

    def waits(self, then: str = "true") -> Command:
        """Writes down who it is, and waits for `go`."""
        place = self.place
        return shell(
            f"echo $$ >>{place}/pids; while [ ! -e {place}/go ]; do sleep .02; done; {then}"
        )

    def go(self) -> None:
        (self.place / "go").touch()

    def tidy(self) -> None:
        self.go()
        for pid in self.running():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
