"""What we need from the world, on one screen. Each port has a contract suite in tests/adapters.

Times are aware UTC datetimes, durations are seconds. Whatever cannot be known is None.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from agent.core.approval.requests import ApprovalRequest, StandingRule
from agent.core.journal.records import Damaged, Entry, Record, TaskRecord, WaveRecord
from agent.core.model.actions import Action
from agent.core.model.nouns import (
    AgentUsage,
    AttemptFailure,
    Baseline,
    CommandResult,
    ControlPlane,
    Defect,
    Evidence,
    JudgeRecord,
    Outcome,
    ProofKind,
    Remedy,
    Review,
    Snapshot,
    Usage,
)
from agent.core.model.policy import Policy
from agent.core.model.queueing import (
    Beat,
    Changes,
    Cursor,
    JudgeLease,
    Judgement,
    JudgementOrder,
    Lease,
    NewEvent,
    Order,
    Pushed,
    QueueSpec,
    QueueView,
    Receipt,
    Report,
    TaskSpec,
    TaskView,
    TraceEvent,
)
from agent.core.prompts.linter import DraftRequest, Slots
from agent.core.review.brief import Brief


class Clock(Protocol):
    """The only thing that knows what time it is."""

    def now(self) -> datetime: ...


class Machine(Protocol):
    """What the supervisor runs on."""

    def free_memory(self) -> int | None:
        """Bytes that new work could use; None: this system does not tell."""


class TaskQueue(Protocol):
    """The supervisor's side of a queue. Each acting call takes an idempotency key."""

    def configure(self, queue: QueueSpec) -> None: ...
    def queues(self) -> Sequence[QueueView]: ...
    def control_plane(self) -> ControlPlane:
        """What was last seen of the service as a whole; it asks nobody."""

    def submit(self, task: str, *, queue: str, prompt: str, order: Order, key: str) -> Receipt: ...
    def retry(
        self, task: str, *, attempt: int, prompt: str, fresh_session: bool, key: str
    ) -> Receipt:
        """Create `attempt`, which must be the current one plus 1 and the current one terminal."""

    def interrupt(self, task: str, *, attempt: int, reason: str, key: str) -> Receipt:
        """Stop this attempt; it ends `failed` once its process tree is gone."""

    def cancel(self, task: str, *, attempt: int, reason: str, key: str) -> Receipt:
        """End the task; `cancelled` once its process tree is gone, at once if it was queued."""

    def move(self, task: str, *, queue: str, key: str) -> Receipt:
        """Put a queued task into another queue."""

    def mark_read(self, task: str, *, attempt: int) -> None:
        """Show in the queue that this attempt's result is dealt with; again changes nothing."""

    def get(self, task: str) -> TaskView | None: ...
    def changed_since(self, cursor: Cursor | None) -> Changes:
        """All tasks for None; afterwards only those that changed, heartbeats included."""

    def trace(self, task: str, *, attempt: int, after: int, limit: int) -> Sequence[TraceEvent]: ...
    def receipt(self, key: str) -> Receipt | None:
        """What the call with this key did; None: it never took effect."""


class WorkSource(Protocol):
    """The worker host's side of the same queue."""

    def claim(self, worker: str, queues: Sequence[str], *, lease: float) -> Lease | None: ...
    def beat(self, lease: Lease, events: Sequence[NewEvent], *, extend: float) -> Beat: ...
    def finish(self, lease: Lease, report: Report) -> Literal["taken", "late"]:
        """`late`: the attempt was superseded; the report is kept as that attempt's own.

        Of a late `stopped` only `tree_gone` and `pushed` are kept: it brings no result.
        """


class Judgements(Protocol):
    """The supervisor's side of the judge hosts. It serves the tasks of any queue."""

    def order(self, order: JudgementOrder, *, key: str) -> None:
        """Ask for it, once per key; again with the same key and order changes nothing.

        KeyReusedError: the key belongs to another order.
        """

    def ordered(self, key: str) -> bool:
        """Whether a judgement was ordered with this key."""

    def latest(self, task: str, attempt: int) -> Judgement | None:
        """The one that was ordered last for this attempt; None: none was.

        UnreadableAnswerError: it is damaged. Others are not, so another order helps.
        """

    def waiting(self) -> Sequence[Judgement]:
        """Those that are not finished, oldest first."""


class JudgeSource(Protocol):
    """The judge host's side of the same orders."""

    def claim(self, host: str, *, lease: float, heavy: bool) -> JudgeLease | None:
        """The oldest order that nobody has, or whose lease ran out; None: there is none.

        `heavy`: whether this host takes orders with heavy commands.
        """

    def beat(self, lease: JudgeLease, *, extend: float) -> bool:
        """Keep the lease. False: it ran out and another host has it; stop."""

    def finish(self, lease: JudgeLease, record: JudgeRecord) -> bool:
        """Hand in what was found. False: the lease was lost; nothing was kept."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One agent process to start."""

    mark: str
    """`task/attempt/id`: in the environment of the whole process tree, and no secret."""
    folder: Path
    """Where its output, exit status and lock live; one folder per attempt."""
    cwd: Path
    prompt: str
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How an agent process ended, and what it left behind."""

    code: int | None
    """None: it was killed by `signal`, or nobody saw its end."""
    signal: int | None
    final_response: str | None
    truncated: bool
    last_error: str | None
    session: str | None = None
    failure: AttemptFailure | None = None
    """None: nothing is typed; what the exit code and the texts say is all that is known."""
    used: AgentUsage | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the agent says it has done its work. It may have done without some tools."""
        return self.code == 0 and (self.failure is None or self.failure.class_ == "denied")


class Run(Protocol):
    """One started agent process, ours or adopted."""

    def poll(self) -> Exit | None: ...
    def events(self) -> Sequence[NewEvent]:
        """What it printed since the last call."""

    def stop(self, grace: float) -> None:
        """Return when the whole process tree is gone; SIGKILL after `grace` seconds."""


class Runner(Protocol):
    """Starts, adopts and stops agent processes; one runner per kind of agent."""

    def start(self, spec: RunSpec) -> Run: ...
    def adopt(self, spec: RunSpec) -> Run | None:
        """The run of an earlier host with the same folder; None: it was never started."""

    def sweep(self, task: str, *, before: int, grace: float) -> int:
        """Kill what is left of this task's attempts below `before`; how many processes."""

    def check(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        mark: str,
        timeout: float,
        stop: Callable[[], bool],
        readable: Sequence[Path] = (),
    ) -> CommandResult:
        """Run one acceptance command to its end, its time limit, or until `stop()`.

        `readable`: what it may see, besides `cwd`, of what is otherwise kept from it.
        SpawnError: it could not be run at all, which says nothing about the work.
        """


@dataclass(frozen=True, slots=True)
class Checkout:
    """A clean checkout of what is on the remote."""

    path: Path
    commit: str


class Worktrees(Protocol):
    """Detached worktrees under one shared folder; the user's own checkout is never touched."""

    def prepare(self, task: str, branch: str, continues: str | None = None) -> Path:
        """The task's own worktree: kept if it is there, else made from the remote branch.

        Where that is not there, it is made from `continues`; None: from the default branch.
        """

    def pushed(self, branch: str) -> Pushed | None:
        """What this branch of the remote has that the default branch has not; None: nothing.

        WorktreeError: the remote cannot be asked.
        """

    def checkout(self, task: str, branch: str | None) -> Checkout | None:
        """A clean checkout of the remote branch (None: the default branch); None: not there."""

    def discard(self, checkout: Checkout) -> None: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit as it is judged."""

    commit: str
    tree: str
    """The id of what is checked out: the commit's, with protected paths as on the base."""
    changed: tuple[str, ...] = ()
    """The paths that differ between base and commit."""
    restored: tuple[str, ...] = ()
    """Those that are not checked out as they are in the commit, sorted."""
    links: Mapping[str, str] = field(default_factory=dict)
    """The symbolic links of commit and base, each with its target as it is written."""
    before: frozenset[str] = frozenset()
    """All paths of the base."""


class CleanCheckout(Protocol):
    """A folder that holds one tree; its `.git` is of no use to anyone but the commands in it."""

    @property
    def path(self) -> Path: ...
    @property
    def readable(self) -> Sequence[Path]:
        """What commands need to see besides `path`, and never write."""

    def restore(self, unwanted: Callable[[str, bool], bool]) -> Sequence[str]:
        """Put every file of the tree back, and give those that had been changed, sorted.

        Of the other files only those go of which `unwanted` says so; it is given the path, and
        whether files of the tree lie in the same folder.
        """


class Checkouts(Protocol):
    """The judge's own repository, which is filled from the remote alone.

    WorktreeError: git or the disk failed, and it may work later. UnusableCommitError: it never
    will, because the commit itself cannot be checked out.
    """

    def find(self, branch: str | None, commit: str | None) -> str | None:
        """Fetch `commit`, of `branch` if it is there (None: the default branch), by its full id.

        `commit` None: the head of that branch. The answer None: the remote has it no more.
        """

    def prepare(self, commit: str, base: str | None, protected: Sequence[str]) -> Prepared:
        """What to check out; both were found."""

    def checkout(self, prepared: Prepared) -> AbstractContextManager[CleanCheckout]:
        """A fresh one, gone at the end of the block."""


class EvidenceProbe(Protocol):
    """Fetches observed evidence of some kinds. A failed probe is `holds=None`, never an error."""

    kinds: frozenset[ProofKind]

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]: ...


@dataclass(frozen=True, slots=True)
class Issue:
    """A recorded defect."""

    id: str
    where: str
    """A path or an address."""


class Issues(Protocol):
    """Where defects are written down; one issue per fingerprint."""

    def find(self, fingerprint: str) -> Issue | None: ...
    def open(self, fingerprint: str, title: str, body: str) -> Issue:
        """Find or create; a closed one is opened again, because the cause was seen again."""

    def is_open(self, issue: str) -> bool | None:
        """None: it cannot be seen now."""

    def comment(self, issue: str, body: str, *, key: str) -> None: ...
    def close(self, issue: str, body: str, *, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Remedied:
    """What became of an act on infrastructure."""

    said: str
    verified: bool | None
    """Whether the target was then seen to be as it should be. None: that could not be seen."""


class Remedies(Protocol):
    """Live remedies in dev, and deploys in production: a dry run, the act, its verification."""

    def known(self) -> Sequence[Remedy]: ...
    def rehearse(self, remedy: str, names: Mapping[str, str]) -> str:
        """The dry run; NothingDoneError unless it passes. `names` fill the configured command."""

    def carry_out(self, remedy: str, names: Mapping[str, str], *, key: str) -> Remedied:
        """Rehearse, act once per key, verify."""

    def done(self, key: str) -> Remedied | None:
        """What the act with this key did, verified anew if its end was not seen; None: no act."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """A document that was proposed: the branch on the remote, and its commit."""

    branch: str
    """`HEAD`: the default branch says so already."""
    commit: str


class References(Protocol):
    """Reference documents, each proposed on a branch of its own; no checkout is touched."""

    def propose(self, path: str, text: str, *, title: str, key: str) -> Proposed:
        """Add `text` to the end of the document at `path`, or make it; once per key."""

    def proposed(self, key: str) -> Proposed | None: ...


@dataclass(frozen=True, slots=True)
class Heads:
    """Where every branch of the remote was at one moment."""

    at: datetime
    default_name: str
    """`HEAD` where it has no name."""
    default: str | None
    """The commit of the default branch; None: there is none yet."""
    branches: Mapping[str, str]
    """The commit of each branch, the default one included."""


BranchFate = Literal["there", "moved-on", "rewritten", "deleted", "merged"]
"""What became of a commit that was the head of a branch. `moved-on`: more was pushed on top of it;
`merged`: the default branch has it, whatever became of its own."""


class Remote(Protocol):
    """The git remote that the agents push to. The same `now` is answered from one question."""

    def heads(self, now: datetime) -> Heads:
        """RemoteUnavailableError: it cannot be asked."""

    def baseline(self, branch: str, now: datetime) -> Baseline:
        """Where `branch` and the default branch are before an attempt. Raises as `heads` does."""

    def fate(self, branch: str, commit: str, heads: Heads) -> BranchFate | None:
        """What became of `commit` of `branch`; None: that cannot be seen now."""

    def foreign(self, since: str, heads: Heads, accepted: Sequence[str]) -> Sequence[str] | None:
        """Commits of the default branch since `since` that none of `accepted` explains.

        One line each, newest first, at most 20; None: they cannot be seen now.
        """


class OwnCommits(Protocol):
    """What was committed in a task's own worktree on this machine."""

    def made_in(self, task: str) -> frozenset[str]:
        """The commits, by their full names; none where there is no such worktree.

        An agent can write what this is read from: it may hide a commit, so it accuses nobody else.
        """


class DiffSource(Protocol):
    """What a task's branch changed, as the remote shows it."""

    def diff(self, base: str | None, commit: str) -> str | None:
        """A unified diff in git's words: what came to `commit` since it left `base`.

        `base` as evidence of the commit names it. None: it cannot be read now.
        """


class Reviewer(Protocol):
    """Reads final responses against their criteria. It holds no client of anything else."""

    @property
    def name(self) -> str:
        """Which model with which instructions; only its own earlier reviews are reused."""

    def review(self, briefs: Sequence[Brief]) -> Sequence[Review]:
        """One review for each brief, in their order. Never raises: whatever fails abstains."""


class Drafter(Protocol):
    """Words a prompt from facts."""

    def draft(self, request: DraftRequest) -> str: ...


class Writer(Protocol):
    """Reads facts for a drafter. It holds no client of anything else."""

    def slots(
        self, request: DraftRequest, findings: Sequence[str] = ()
    ) -> tuple[Slots | None, Usage]:
        """What fills the slots, and what asking took; None: the facts must do. Never raises.

        `findings`: what the linter said of the prompt that the last answer made.
        """


class Journal(Protocol):
    """Append-only and hash-chained."""

    def append(self, records: Sequence[Record], snapshot: Snapshot | None = None) -> None: ...
    def entries(
        self, *, after: int = 0, task: str | None = None, kinds: Sequence[str] = ()
    ) -> Iterable[Entry]: ...
    def unresolved(self) -> Sequence[Record]:
        """Intents without an outcome, oldest first."""

    def last_tick(self) -> int: ...
    def snapshot(self, digest: str) -> Snapshot | None: ...
    def verify(self) -> str | None:
        """None: the chain holds; else one line naming the first bad record."""


class WaveStore(Protocol):
    """What the supervisor remembers between ticks. Every save is an idempotent overwrite."""

    def add_wave(self, wave: WaveRecord, task_records: Sequence[TaskRecord]) -> bool:
        """False: this very wave is there already. Another wave's task ids are refused."""

    def waves(self) -> Sequence[WaveRecord]: ...
    def task_records(self, *, settled: bool | None = None) -> Sequence[TaskRecord]: ...
    def task_record(self, task: str) -> TaskRecord | None: ...
    def unreadable(self) -> Mapping[str, str]:
        """Open tasks of which nothing but the id can be read, and why."""

    def save(self, task_record: TaskRecord) -> None: ...
    def defects(self) -> Sequence[Defect]: ...
    def save_defect(self, defect: Defect) -> None: ...
    def outcomes(self, limit: int) -> Sequence[Outcome]:
        """The latest, oldest first; one that cannot be read counts as a failure."""

    def add_outcome(self, outcome: Outcome, *, key: str) -> None: ...
    def notes(self) -> Mapping[str, str]:
        """Small values by name: cursor, window limit, when the last tick ended."""

    def note(self, values: Mapping[str, str]) -> None: ...


class Approvals(Protocol):
    """Questions to a person, and rules a person made. Every change is one transaction."""

    def ask(self, request: ApprovalRequest) -> ApprovalRequest:
        """Keep it under an id of its own; a live card of the same digest is given back instead."""

    def request(self, request: str) -> ApprovalRequest | None:
        """None: there is none, or it cannot be read, as in all that follows."""

    def last(self, task: str | None, action: Action) -> ApprovalRequest | None:
        """The latest card about this."""

    def requests(self, *, live: bool) -> Sequence[ApprovalRequest]:
        """Oldest first: those that wait for an answer or its effect, or all there ever were."""

    def declined(self) -> Sequence[ApprovalRequest]:
        """Of each task and action the latest card, if it was rejected or put off."""

    def change(
        self, request: str, digest: str, how: Callable[[ApprovalRequest], ApprovalRequest]
    ) -> ApprovalRequest:
        """Change it if it still has this digest. ChangedMeanwhileError, also from `how`: it stays.

        `how` is a function of `core/approvals.py`; of two at once the second sees the first's work.
        """

    def unseen(self) -> Sequence[ApprovalRequest]:
        """Changed by a person and not looked at by the supervisor, or not in the journal yet."""

    def rules(self) -> Sequence[StandingRule]: ...
    def add_rule(self, rule: StandingRule) -> StandingRule: ...
    def change_rule(self, rule: str, how: Callable[[StandingRule], StandingRule]) -> StandingRule:
        """Change it; a UserError of `how` leaves it as it was, as does an unknown id."""


class State(Protocol):
    """What `Journal`, `WaveStore` and `Approvals` are kept in together."""

    @property
    def installation(self) -> str:
        """16 hexadecimal digits that tell this state from every other."""

    def transaction(self) -> AbstractContextManager[object]:
        """All that is done in it through the three ports, or nothing.

        Those nest: an exception that leaves an inner one undoes what was done in that, one that
        leaves the outermost undoes everything. Other threads wait for the end.
        """

    def damaged(self, outcomes: int) -> Sequence[Damaged]:
        """What cannot be read beside tasks, of outcomes among the latest `outcomes`.

        The three ports leave it out, so that one such row stops nothing that does not rest on it.
        """

    def seal(self) -> None:
        """Remember elsewhere how far the journal is, so that an older state is noticed later."""


class PolicySource(Protocol):
    """Where the policy in force comes from; it may be edited while a supervisor runs."""

    def changed(self) -> Policy | None:
        """The new one; None: as before. PolicyError, once for each change: it may not be used."""


class SupervisorLock(Protocol):
    """One supervisor at a time; the lock says who holds it and since when."""

    def acquire(self, who: str, now: datetime) -> None: ...
    def release(self) -> None: ...
    def holder(self) -> str | None: ...
