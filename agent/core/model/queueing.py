"""What a task queue takes and shows: the values of the `TaskQueue` and `WorkSource` ports.

Nothing here may promise what only one queue can keep (no transactions, no row order).
"""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from agent.core.model.nouns import (
    AgentUsage,
    AttemptFailure,
    Command,
    ControlPlane,
    Criterion,
    Heartbeat,
    JudgeRecord,
    LateReport,
    Noun,
    Reported,
    Status,
    TaskId,
    TaskKind,
    Trace,
)

ATTEMPTS: Final = 3
"""How many attempts a task's own faults may use up, where its wave file says nothing."""


class TaskSpec(Noun):
    """One task of a wave, as a person wrote it. The prompt is rendered from it."""

    id: TaskId
    queue: Annotated[str, Field(min_length=1)]
    kind: TaskKind
    title: Annotated[str, Field(min_length=1)]
    ownership: Annotated[str, Field(min_length=1)]
    """The one service, module or defect it owns."""
    background: Annotated[str, Field(min_length=1)]
    """All the context it needs; an issue link is a reference, never the context."""
    write_scope: Annotated[tuple[str, ...], Field(min_length=1)]
    """Glob patterns of the paths it may change; `**` crosses folders."""
    validation_scope: Annotated[str, Field(min_length=1)]
    """Which checks it runs, and where."""
    branch: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
    """The branch of `origin` it must push to."""
    commit: Literal["required", "none"] = "required"
    """`none`: the task is not asked to push anything."""
    forbidden: Annotated[tuple[str, ...], Field(min_length=1)]
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    acceptance_commands: tuple[Command, ...] = ()
    protected: tuple[str, ...] = ()
    """Glob patterns of paths that are put back to the base before the commands run."""
    shown_by: Literal["check", "push"] = "check"
    """`push`: a pushed commit is enough; no check, reviewer or person has to show the change."""
    continues: str | None = None
    """A branch that is on the remote already and that this task goes on from."""
    depends_on: tuple[TaskId, ...] = ()
    production_adjacent: bool = False
    service: str | None = None
    """The configured service that it delivers; its registry, CI and environments are asked."""
    attempts: Annotated[int, Field(ge=1, le=10)] = ATTEMPTS
    """How many attempts its own faults may use up."""
    fixes: str | None = None
    """The id of the defect it fixes, when the supervisor split it off."""
    context: tuple[str, ...] = ()
    """Further facts the prompt carries: the observed failure, the contract, what waits for it."""


class Order(Noun):
    """What a worker host needs to run a task, beside the prompt."""

    kind: TaskKind
    branch: str
    continues: str | None = None
    """The branch to start from where `branch` is not on the remote; None: the default branch."""
    commit: Literal["required", "none"] = "required"
    acceptance_commands: tuple[Command, ...] = ()
    labels: dict[str, str] = {}


class QueueSpec(Noun):
    """One queue of the configuration."""

    id: Annotated[str, Field(min_length=1)]
    kind: Literal["delivery", "infrastructure", "documentation"] = "delivery"
    risk: Literal["low", "normal", "high"] = "normal"
    max_running: Annotated[int, Field(ge=1)] = 5


class QueueView(QueueSpec):
    """One queue and how many tasks it holds in each state."""

    counts: dict[str, int] = {}
    unread: int | None = None
    """Terminal tasks that nobody has read, whoever's they are; None: the queue does not count."""


CommitId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]


class Pushed(Noun):
    """What a task's branch had on the remote beyond the default branch when an attempt ended.

    A worker host reads it from the remote once no process of the attempt is left.
    """

    commit: CommitId
    change: CommitId | None = None
    """Git's patch id of all that it brought. None: no file differs, or nothing is in common."""


class TaskView(Noun):
    """A task as the queue shows it: the current attempt, and what late ones left behind."""

    id: TaskId
    queue: str
    state: Status
    attempt: int
    prompt: str
    order: Order
    created_at: AwareDatetime
    updated_at: AwareDatetime
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    worker: str | None = None
    stop_requested: Literal["interrupt", "cancel", "unknown"] | None = None
    """`unknown`: the queue does not say whether a stop was asked for."""
    control_plane: Reported | None = None
    scheduler: Reported | None = None
    """The task's status on each plane; they may differ. None: not reported."""
    heartbeat: Heartbeat | None = None
    trace: Trace | None = None
    last_message: str | None = None
    """The text of the latest trace event, at most 400 characters."""
    last_error: str | None = None
    failure: AttemptFailure | None = None
    """How the attempt ended badly, as its worker host typed it; None: nobody typed it."""
    used: AgentUsage | None = None
    """What its agent used, as the program counts it; None: nobody knows."""
    final_response: str | None = None
    final_response_truncated: bool = False
    """True also when the queue does not say: what may be cut is never taken for whole."""
    judge: JudgeRecord | None = None
    session: str | None = None
    """The agent's own session id, when it has one."""
    tree_gone: bool | None = None
    """Whether the attempt's process tree is known to be gone; None: the queue does not know."""
    pushed: Pushed | None = None
    """What the worker host saw on the remote at its end; None: the queue does not know."""
    late_reports: tuple[LateReport, ...] = ()


class Cursor(Noun):
    """How far a reader has read. Opaque to everyone but the queue that made it."""

    position: str


class Changes(Noun):
    """What changed since a cursor, each task once, and the cursor to read on from."""

    tasks: tuple[TaskView, ...]
    cursor: Cursor
    unreadable: dict[TaskId, str] = {}
    """Tasks of which the queue said nothing that can be relied on, and why."""


class Receipt(Noun):
    """What an acting call did. The same key gives the same receipt, for ever."""

    key: str
    effect: Literal["done", "stale", "nothing-to-do", "unknown-task"]
    """`stale`: the task has moved on from the attempt the caller named; nothing was done."""
    task: str
    attempt: int | None = None
    """The attempt this call created or stopped."""


class TraceEvent(Noun):
    """One line of the worker's output, normalised."""

    sequence: int
    at: AwareDatetime
    attempt: int
    kind: str
    """The agent's own word (`message`, `tool_call`, ...), or `text` for a plain line."""
    text: str


class NewEvent(Noun):
    """A trace event on its way into the queue, which numbers it."""

    at: AwareDatetime
    kind: str
    text: str


class OwnControlPlane:
    """What a queue that is its own control plane says of it: whoever opens it reaches it."""

    def control_plane(self) -> ControlPlane:
        """Reached, and free to be submitted to: every write waits its turn."""
        return ControlPlane(reachable=True, submit_lock="free")

    def mark_read(self, task: str, *, attempt: int) -> None:
        """Nothing to do: it keeps no such mark, the supervisor's own note counts."""


class Lease(Noun):
    """The right of one worker host to act for one attempt, until it runs out or is fenced."""

    task: TaskId
    attempt: int
    token: str
    """Differs for every claim; a secret of worker host and queue."""
    queue: str
    prompt: str
    order: Order
    session: str | None = None
    """Continue this agent session, if given and if the host still has it."""
    expires_at: AwareDatetime


Beat = Literal["ok", "cancel", "fenced"]
"""The answer to a heartbeat: continue; stop the agent and report; stop, the lease is lost."""


class Report(Noun):
    """How an attempt ended, as its worker host reports it."""

    state: Literal["succeeded", "failed", "stopped"]
    """`stopped`: the process tree is gone, because the queue asked for it or gave the task on."""
    final_response: str | None = None
    final_response_truncated: bool = False
    last_error: str | None = None
    failure: AttemptFailure | None = None
    """What ended it badly, as a type. None: its text is all that is known."""
    used: AgentUsage | None = None
    """What its agent used, as the program counts it; None: the program does not say."""
    session: str | None = None
    tree_gone: bool | None = None
    """Whether the host has seen that no process of the attempt is left; None: it cannot know."""
    pushed: Pushed | None = None
    """None: the branch had nothing of its own, or the remote could not be asked."""


class JudgementOrder(Noun):
    """What a judge host is asked to check. Everything is read from the remote, by commit."""

    task: TaskId
    attempt: int
    wave: str
    branch: str | None
    """The branch on which `commit` is. None: whatever the default branch is at."""
    commit: str | None = None
    """The commit to check, as the supervisor saw it. None: the head of `branch`."""
    base: str | None = None
    """The commit that the work started from. None: there is nothing to compare with."""
    commands: Annotated[tuple[Command, ...], Field(min_length=1)]
    protected: tuple[str, ...] = ()
    """Glob patterns of paths that are put back to the base before the commands run."""

    @property
    def heavy(self) -> bool:
        """Whether one of its commands may exhaust the memory of the machine."""
        return any(one.heavy for one in self.commands)


class Judgement(Noun):
    """One ordered judgement and how far it is."""

    order: JudgementOrder
    ordered_at: AwareDatetime
    host: str | None = None
    """The judge host that has it; None: none has taken it yet."""
    started_at: AwareDatetime | None = None
    record: JudgeRecord | None = None
    """None: it is not finished."""


class JudgeLease(Noun):
    """The right of one judge host to make one judgement, until it runs out."""

    key: str
    """The idempotency key it was ordered with."""
    token: str
    """Differs for every claim."""
    order: JudgementOrder
    expires_at: AwareDatetime
