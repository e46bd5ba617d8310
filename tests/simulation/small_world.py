"""A whole world in memory: a clock moved by hand, a remote, and hosts that play a script."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.adapters.common.sqlite import MEMORY
from agent.adapters.evidence.judge import JudgeEvidence
from agent.adapters.files.policy import read_policy
from agent.adapters.issues.local import LocalIssues
from agent.adapters.model.evidence_reviewer import EvidenceReviewer
from agent.adapters.model.templates import TemplateDrafter
from agent.adapters.queue.embedded import SqliteQueue
from agent.adapters.queue.judgements import SqliteJudgements
from agent.adapters.state.db import State
from agent.core.journal.records import TaskRecord, WaveRecord
from agent.core.model.nouns import (
    AttemptFailure,
    Baseline,
    Command,
    CommandResult,
    Criterion,
    Evidence,
    Grants,
    JudgeRecord,
    ProofKind,
)
from agent.core.model.queueing import (
    JudgementOrder,
    Lease,
    QueueSpec,
    Report,
    TaskSpec,
    TaskView,
)
from agent.ports import BranchFate, Heads
from agent.runtime.context import Ports, Supervision
from agent.runtime.submit_wave import plan
from agent.runtime.tick import Ticker, TickResult

ROOT = Path(__file__).parents[2]
POLICY = read_policy(ROOT / "policies")
BASE = "b" * 40
"""The commit of the default branch."""
START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
QUEUES = (QueueSpec(id="main"), QueueSpec(id="infra", kind="infrastructure", risk="low"))


@dataclass
class HandClock:
    """Stands still until it is moved."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Turn:
    """What the host makes of one attempt."""

    commit: str | None = None
    """What is on the remote afterwards."""
    checks: str | None = "pass"
    """`pass`, or what the failing acceptance command printed."""
    again: str = "pass"
    """The same of a judgement that is made again, after a fix."""
    error: str | None = None
    """The agent itself failed with this."""
    failure: AttemptFailure | None = None
    """The same, as its worker host typed it."""
    vanish: bool = False
    """The host dies and never comes back."""


@dataclass
class Remote:
    """Ports `EvidenceProbe` and `Remote` over a table of branches; the default one never moves."""

    noted: Callable[[str], Baseline | None]
    """What was noted of a task's branch before its attempt."""
    branches: dict[str, str] = field(default_factory=dict)
    kinds: frozenset[ProofKind] = frozenset({ProofKind.COMMIT_PUSHED, ProofKind.SCOPE_RESPECTED})

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        head, before = self.branches.get(spec.branch), self.noted(spec.id)
        detail = f"origin has {spec.branch}" if head else f"origin has no branch {spec.branch}"
        if head and before is not None and before.branch == head:
            head, detail = None, f"{spec.branch} was there before this attempt: nothing was added"
        return [
            Evidence(
                id=f"{kind}@{view.attempt}",
                kind=kind,
                origin="observed",
                holds=head is not None,
                value=head,
                observed_at=now,
                detail=detail,
                attempt=view.attempt,
            )
            for kind in sorted(self.kinds)
        ]

    def heads(self, now: datetime) -> Heads:
        return Heads(now, "main", BASE, {"main": BASE, **self.branches})

    def baseline(self, branch: str, now: datetime) -> Baseline:
        return Baseline(branch=self.heads(now).branches.get(branch), default=BASE)

    def fate(self, branch: str, commit: str, heads: Heads) -> BranchFate | None:
        head = heads.branches.get(branch)
        if head is None:
            return "deleted"
        return "there" if head == commit else "rewritten"

    def foreign(self, since: str, heads: Heads, _accepted: Sequence[str]) -> Sequence[str] | None:
        return () if since == heads.default else None


Script = Mapping[tuple[str, int], Turn]
HONEST = Turn(commit="c" * 40)


def _honest(attempt: int) -> Turn:
    """It adds a commit of its own: one that was there before is no work of this attempt."""
    return HONEST if attempt == 1 else replace(HONEST, commit=f"{attempt:02d}" * 20)


@dataclass
class SmallWorld:
    """The world and what moves in it; `ticker()` is a supervisor that was just started."""

    folder: Path
    script: Script
    clock: HandClock = field(default_factory=HandClock)
    wrap: Callable[[Ports], Ports] = lambda world: world
    file: Path = MEMORY
    """The queue's."""

    def __post_init__(self) -> None:
        self.queue = SqliteQueue(self.file, self.clock.now)
        for spec in QUEUES:
            self.queue.configure(spec)
        state = State(MEMORY)
        self.remote = Remote(lambda task: _baseline_of(state.waves.task_record(task)))
        self.judgements = SqliteJudgements(MEMORY, self.clock.now)
        self.world = Ports(
            clock=self.clock,
            queue=self.queue,
            store=state.waves,
            journal=state.journal,
            issues=LocalIssues(self.folder / "issues"),
            reviewer=EvidenceReviewer(),
            drafter=TemplateDrafter(ROOT / "prompts"),
            probes=(self.remote, JudgeEvidence(self.judgements)),
            judgements=self.judgements,
            remote=self.remote,
            approvals=state.approvals,
            state=state,
        )
        self.judged: Counter[tuple[str, int]] = Counter()
        self.leases: dict[str, Lease] = {}
        """What a host that vanished still holds in its hand."""

    def submit(self, *specs: TaskSpec, wave: str = "w1", grants: Grants | None = None) -> None:
        record = WaveRecord(
            id=wave,
            goal="the goal",
            grants=grants or Grants(),
            submitted_at=self.clock.now(),
            source="wave.toml",
        )
        task_records, refusals = plan(record, specs, self.world.drafter, POLICY.completion)
        assert refusals == []
        self.world.store.add_wave(record, task_records)

    def ticker(self, mode: str = "auto", interval: float = 300.0) -> Ticker:
        how = Supervision(policy=POLICY, mode=mode, interval=interval)
        return Ticker(self.wrap(self.world), how)

    def host(self) -> None:
        """Claim all there is, play each attempt to its end, and judge what was ordered."""
        while lease := self.queue.claim("h", [one.id for one in QUEUES], lease=60):
            turn = self.script.get((lease.task, lease.attempt)) or _honest(lease.attempt)
            if turn.vanish:
                self.leases[lease.task] = lease
                continue
            if turn.commit:
                self.remote.branches[lease.order.branch] = turn.commit
            self.queue.finish(lease, _report(turn))
        self.judge()

    def judge(self) -> None:
        """Make every judgement that was ordered, as the script has it."""
        while lease := self.judgements.claim("j", lease=60, heavy=False):
            asked = (lease.order.task, lease.order.attempt)
            turn = self.script.get(asked, HONEST)
            if self.judged[asked] == 1:
                turn = replace(turn, checks=turn.again)
            elif self.judged[asked]:
                turn = replace(turn, checks="pass")
            self.judged[asked] += 1
            self.judgements.finish(lease, _judged(lease.order, turn, self.clock.now()))

    def settled(self) -> bool:
        return not self.world.store.task_records(settled=False)

    def run(self, ticker: Ticker | None = None, *, ticks: int = 40) -> list[TickResult]:
        """Tick and play in turns until everything is settled."""
        ticker = ticker or self.ticker()
        results = []
        for _ in range(ticks):
            results.append(ticker.tick())
            self.clock.move(61)
            self.host()
            if self.settled():
                return results
        return results

    def outcome(self) -> dict[str, tuple[str, int]]:
        """Per task: how it ended and after how many attempts."""
        found = {}
        for task_record in self.world.store.task_records():
            view = self.queue.get(task_record.spec.id)
            found[task_record.spec.id] = (task_record.status, view.attempt if view else 0)
        return found

    def actions(self, task: str | None = None) -> list[tuple[str, str]]:
        """What was carried out, in order: (action, task)."""
        return [
            (str(entry.record.body["action"]), entry.record.task or "")
            for entry in self.world.journal.entries(task=task, kinds=("outcome", "settled"))
            if entry.record.body["result"] == "done"
        ]


def _baseline_of(record: TaskRecord | None) -> Baseline | None:
    return record.baseline if record is not None else None


def _report(turn: Turn) -> Report:
    if turn.error is not None:
        return Report(
            state="failed", final_response="I am stuck.", last_error=turn.error,
            failure=turn.failure,
        )  # fmt: skip
    said = "All done." if turn.commit else "All done, tests pass!"
    return Report(state="succeeded", final_response=said)


def _judged(order: JudgementOrder, turn: Turn, now: datetime) -> JudgeRecord:
    ok = turn.checks == "pass"
    output = "" if ok else str(turn.checks)
    ran = tuple(
        CommandResult(argv=one.argv, exit_code=0 if ok else 1, seconds=0.1, output=output, ok=ok)
        for one in order.commands
    )
    return JudgeRecord(
        verdict="pass" if ok else "fail",
        at=now,
        commit=order.commit or "d" * 40,
        commands=ran,
        base=BASE,
        shown=ok,
        host="j",
    )


def spec(name: str = "T-1", **changes: object) -> TaskSpec:
    """A task that stands on its own."""
    base = TaskSpec(
        id=name,
        queue="main",
        kind="code-change",
        title=f"Do the work of {name}",
        ownership=f"the module src/{name}",
        background="The module lacks a function that the callers need; it is described here.",
        write_scope=(f"src/{name}/**",),
        validation_scope="Run the acceptance commands in your own worktree.",
        branch=f"wavekeeper/{name}",
        forbidden=("do not touch other modules",),
        criteria=(Criterion(id="C1", text="the check passes", proof="checks-passed"),),
        acceptance_commands=(Command(argv=("make", "check")),),
    )
    return replace_spec(base, **changes)


def replace_spec(base: TaskSpec, **changes: object) -> TaskSpec:
    return TaskSpec.model_validate({**base.model_dump(by_alias=False), **changes})


__all__ = ["HONEST", "HandClock", "Remote", "SmallWorld", "Turn", "replace", "spec"]
