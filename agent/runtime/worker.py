"""The worker host: claims tasks, runs each agent in its own worktree, reports how it ended.

It judges nothing: an agent that ends with 0 has succeeded, and what it pushed is for a judge host.

Every stage of an attempt is a file in its run folder, so a host that is killed anywhere and
started again under the same name goes on where it was: `lease.json` (claimed, and where the agent
works), what the runner keeps (started, ended), `report.json` (swept), `finished` (reported).
"""

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_fixed

from agent.core.model.nouns import AttemptFailure, FailureClass, Noun
from agent.core.model.queueing import Lease, Pushed, Report
from agent.core.model.text import one_line
from agent.errors import SpawnError, WorktreeError
from agent.ports import Clock, Exit, Run, Runner, RunSpec, WorkSource, Worktrees
from agent.runtime.heartbeat import OUT_OF_REACH, HeartbeatSender
from agent.runtime.host_files import only_one, replace_file
from agent.runtime.watchdog import NEVER, Stall, StallLimits, Watchdog

Ending = Literal["succeeded", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of a worker host. Durations are seconds."""

    name: str
    """A host that is started again under this name adopts what it left."""
    queues: tuple[str, ...]
    slots: int
    lease: float
    beat_every: float
    poll_every: float
    grace: float
    """From SIGTERM to SIGKILL."""
    time_limit: float
    """For the agent of one attempt."""
    folder: Path
    """One run folder per attempt."""
    stall: StallLimits = NEVER


class _Claim(Noun):
    """`lease.json`: what this attempt is, and how far its preparation got."""

    worker: str
    lease: Lease
    """Its `expires_at` is moved on by every heartbeat."""
    cwd: str | None = None
    """None: the agent was never started."""
    started_at: AwareDatetime | None = None
    """Of the agent, moved on by the time that this host slept through."""


class Worker:
    """One worker host. `tell` gets one line per change, from several threads."""

    def __init__(
        self,
        source: WorkSource,
        runner: Runner,
        worktrees: Worktrees,
        clock: Clock,
        settings: WorkerSettings,
        tell: Callable[[str], None],
    ) -> None:
        self.source = source
        self.runner = runner
        self.worktrees = worktrees
        self.clock = clock
        self.settings = settings
        self.tell = tell
        self.stopping = threading.Event()
        self._attempts: list[_Attempt] = []
        self._cut_off = False
        """The last claim found the queue out of reach, and that was reported."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`; then no agent of ours runs any more, and all is reported.

        LockHeldError: a host of this name is at work in this folder. A bug in one attempt stops
        the host, because nobody can tell what else it spoils.
        """
        self.stopping.clear()
        with only_one(self.settings.folder, self.settings.name, "worker"):
            try:
                self._adopt()
                while not stop.is_set() and not any(one.fault for one in self._attempts):
                    self._attempts = [a for a in self._attempts if a.fault or a.thread.is_alive()]
                    if len(self._attempts) >= self.settings.slots or not self._claim():
                        stop.wait(self.settings.poll_every)
            finally:
                self.stopping.set()
                for attempt in self._attempts:
                    attempt.sender.halt("host")
                for attempt in self._attempts:
                    attempt.thread.join()
        for attempt in self._attempts:
            if attempt.fault:
                raise attempt.fault

    def _adopt(self) -> None:
        for path in sorted(self.settings.folder.glob("*/lease.json")):
            if (path.parent / "finished").exists():
                continue
            try:
                claim = _Claim.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                self.tell(f"{path.parent.name}: lease.json cannot be read, so it is left alone")
                continue
            if claim.worker == self.settings.name:
                self._begin(claim, path.parent, "adopted")

    def _claim(self) -> bool:
        settings = self.settings
        try:
            lease = self.source.claim(settings.name, settings.queues, lease=settings.lease)
        except OUT_OF_REACH as error:
            if not self._cut_off:
                self.tell(f"no work for now, the queue is out of reach: {error}")
            self._cut_off = True
            return False
        self._cut_off = False
        if lease is None:
            return False
        token = hashlib.sha256(lease.token.encode()).hexdigest()[:8]
        folder = settings.folder / f"{lease.task}-{lease.attempt}-{token}"
        self._begin(_Claim(worker=settings.name, lease=lease), folder, "claimed")
        return True

    def _begin(self, claim: _Claim, folder: Path, how: str) -> None:
        attempt = _Attempt(self, claim, folder)
        self._attempts.append(attempt)
        attempt.remember()
        self.tell(f"{attempt.title}: {how}")
        attempt.thread.start()


class _Attempt:
    """One attempt, from start to report, on one thread."""

    def __init__(self, host: Worker, claim: _Claim, folder: Path) -> None:
        self.title = f"{claim.lease.task} attempt {claim.lease.attempt}"
        self.fault: Exception | None = None
        seconds, every = host.settings.lease, host.settings.beat_every
        self.sender = HeartbeatSender(
            host.source, host.clock, claim.lease, seconds, every, self._prolong
        )
        self.thread = threading.Thread(target=self._go, name=self.title)
        self._host = host
        self._claim = claim
        self._lease = claim.lease
        # Made of the token, so that every host of this attempt knows it, and it gives none away:
        # the token is what a report is believed by, and the agent sees its mark.
        digest = hashlib.sha256(b"mark " + claim.lease.token.encode()).hexdigest()[:32]
        self._mark = f"{claim.lease.task}/{claim.lease.attempt}/{digest}"
        self._folder = folder
        self._writing = threading.Lock()
        self._run: Run | None = None
        self._exit: Exit | None = None
        self._looked = host.clock.now()
        """When this host last saw that it was awake."""
        self._watchdog = Watchdog(host.settings.stall, self._looked, adopted=True)
        self._stalled: Stall | None = None

    def _go(self) -> None:
        try:
            with self.sender:
                report = self._saved_report() or self._work()
                # On a full disk the report still goes to the queue; only a later host lacks it.
                with suppress(OSError):
                    replace_file(self._folder / "report.json", report.model_dump_json())
                self._deliver(report)
        except Exception as error:  # noqa: BLE001 - recorded; `Worker.run` raises it again
            self.fault = error
            self._host.tell(f"{self.title}: a bug stops the host: {type(error).__name__}")

    def _work(self) -> Report:
        try:
            self._run = self._adopt() or self._start()
            ended = self._watch(self._run) if self._run else None
            if ended is None:
                return self._halted()
            how: Ending = "succeeded" if ended.succeeded else "failed"
            return self._report(how, ended.last_error, ended.failure)
        except (OSError, SpawnError, WorktreeError) as error:
            self._stop()
            line = one_line(str(error))
            self._host.tell(f"{self.title}: {line}")
            # What git or the disk did is told by the text; that no agent ran is a fact.
            spawned = not isinstance(error, SpawnError)
            return self._report("failed", line, None if spawned else _typed("spawn-failed"))
        except Exception:
            self._stop()
            raise

    def _adopt(self) -> Run | None:
        return self._host.runner.adopt(self._spec()) if self._claim.cwd else None

    def _start(self) -> Run | None:
        """None: halted before the agent was started."""
        host, lease = self._host, self._lease
        if self.sender.why:
            return None
        if lease.attempt > 1:
            host.runner.sweep(lease.task, before=lease.attempt, grace=host.settings.grace)
        cwd = host.worktrees.prepare(lease.task, lease.order.branch, lease.order.continues)
        if self.sender.why:
            return None
        self._looked = host.clock.now()
        self._save(cwd=str(cwd), started_at=self._looked)
        self._watchdog = Watchdog(host.settings.stall, self._looked, adopted=False)
        run = host.runner.start(self._spec())
        host.tell(f"{self.title}: started")
        return run

    def _watch(self, run: Run) -> Exit | None:
        """How the agent ended; None: it was halted, and its process tree is gone."""
        while True:
            self._leave_out_sleep()
            self._exit = run.poll()
            events = run.events()
            self.sender.say(events)
            if self._exit is not None:
                return self._exit
            self._watchdog.hear(events, self._looked)
            self._stalled = self._watchdog.bite(self._looked)
            if self._overdue():
                self.sender.halt("time")
            elif self._stalled is not None:
                self.sender.halt("stalled")
            if self.sender.halted.wait(self._host.settings.poll_every):
                self._stop()
                return None

    def _leave_out_sleep(self) -> None:
        """A host that did not look for longer than a lease slept, and its agent with it."""
        since, before, self._looked = self._claim.started_at, self._looked, self._host.clock.now()
        away = self._looked - before
        if since is not None and away > timedelta(seconds=self._host.settings.lease):
            self.remember(started_at=since + away)
            self._watchdog.leave_out(away)

    def _overdue(self) -> bool:
        since = self._claim.started_at
        limit = timedelta(seconds=self._host.settings.time_limit)
        return since is not None and self._looked >= since + limit

    def _stop(self) -> None:
        if self._run is not None and self._exit is None:
            self._run.stop(self._host.settings.grace)
            with suppress(OSError):
                self._exit = self._run.poll()
                self.sender.say(self._run.events())
            self._host.tell(f"{self.title}: stopped")

    def _halted(self) -> Report:
        settings = self._host.settings
        match self.sender.why:
            case "cancel":
                return self._report("stopped", None)
            case "fenced" if self._exit is None or self._exit.code is None:
                why = "the lease was lost, so the agent was stopped"
                return self._report("stopped", why, _typed("lease-lost"))
            case "fenced":
                why = "the lease was lost when the agent ended"
                return self._report("failed", why, _typed("lease-lost"))
            case "time":
                why = f"time limit of {settings.time_limit:g} s reached"
                return self._report("failed", why, _typed("time-limit"))
            case "stalled" if self._stalled is not None:
                return self._report("failed", self._stalled.why, _typed(self._stalled.class_))
            case "cut-off":
                why = "the queue was out of reach until the lease ran out"
                return self._report("failed", why, _typed("out-of-reach"))
            case "host":
                why = "the worker host was stopped"
                return self._report("failed", why, _typed("host-stopped"))
            case _:
                raise self.sender.fault or AssertionError("halted without a reason")

    def _report(
        self, state: Ending, last_error: str | None, failure: AttemptFailure | None = None
    ) -> Report:
        ended = self._exit
        return Report(
            state=state,
            final_response=ended.final_response if ended else None,
            final_response_truncated=ended.truncated if ended else False,
            last_error=last_error,
            failure=failure,
            used=ended.used if ended else None,
            session=ended.session if ended else None,
            tree_gone=self._sweep(),
            # Only now: what the agent left running could have pushed once more.
            pushed=self._pushed(),
        )

    def _sweep(self) -> bool | None:
        """End what is left of this attempt and those before; None: that could not be seen.

        Also after an agent that ended by itself: what it left running could push once more.
        """
        host, lease = self._host, self._lease
        try:
            host.runner.sweep(lease.task, before=lease.attempt + 1, grace=host.settings.grace)
        except OSError:
            return None
        return True

    def _pushed(self) -> Pushed | None:
        """Read it before anybody else looks: until then its branch may be merged and gone."""
        host = self._host
        if self._claim.cwd is None or self.sender.why == "host":
            return None
        try:
            return host.worktrees.pushed(self._lease.order.branch)
        except (OSError, WorktreeError) as error:
            host.tell(f"{self.title}: what was pushed cannot be seen: {one_line(str(error))}")
            return None

    def _deliver(self, report: Report) -> None:
        host, settings = self._host, self._host.settings
        give_up: datetime | None = None

        def is_too_late(_: RetryCallState) -> bool:
            nonlocal give_up
            now = host.clock.now()
            if give_up is None and host.stopping.is_set():
                give_up = now + timedelta(seconds=settings.lease)
            return give_up is not None and now >= give_up

        retrying = Retrying(
            before=lambda _: self.sender.beat(),
            retry=retry_if_exception_type(OUT_OF_REACH),
            wait=wait_fixed(settings.poll_every),
            stop=is_too_late,
            reraise=True,
        )
        try:
            self._end(report.state, retrying(host.source.finish, self._lease, report))
        except OUT_OF_REACH:
            host.tell(f"{self.title}: the queue is out of reach, report kept")

    def _end(self, what: str, how: str) -> None:
        with suppress(OSError):
            replace_file(self._folder / "finished", how)
        self._host.tell(f"{self.title}: finished, {what} ({how})")

    def _spec(self) -> RunSpec:
        cwd = Path(self._claim.cwd or self._folder)
        return RunSpec(self._mark, self._folder, cwd, self._lease.prompt, self._lease.session)

    def _saved_report(self) -> Report | None:
        with suppress(OSError, ValidationError):
            return Report.model_validate_json((self._folder / "report.json").read_bytes())
        return None

    def remember(self, **changes: object) -> None:
        """Write the claim down, for a later host; a full disk is no reason to stop."""
        with suppress(OSError):
            self._save(**changes)

    def _prolong(self, expires: datetime) -> None:
        self.remember(lease=self._lease.model_copy(update={"expires_at": expires}))

    def _save(self, **changes: object) -> None:
        with self._writing:
            self._claim = self._claim.model_copy(update=changes)
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._folder / "lease.json", self._claim.model_dump_json())


def _typed(class_: FailureClass) -> AttemptFailure:
    return AttemptFailure(class_=class_)
