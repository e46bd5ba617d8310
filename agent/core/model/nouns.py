"""The nouns. One frozen model each; a field that is absent or None is *unknown*.

A **wave** is one delivery goal, split into tasks. A **task** runs as numbered **attempts**, one at
a time; an attempt that is queued or running takes one **lane** of the window. **Evidence** is what
was seen, or claimed, of an attempt's result. A **defect** is one fault that several tasks share.

JSON is camelCase, Python is snake_case. `Snapshot` is the contract `wavekeeper.snapshot/1`: what
one tick observed, which can be written to a file and read back.
"""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel


class Noun(BaseModel):
    """A frozen value; unknown keys are refused, because a misspelt key would lose a fact."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class CriterionVerdict(Noun):
    """A reviewer's verdict on one criterion."""

    id: str
    verdict: Literal["met", "unmet", "cannot-tell"]
    quote: str | None = None
    evidence: str | None = None
    """An evidence id, or `final-response`."""


class Usage(Noun):
    """Tokens that calls of a model used, as its provider counted them."""

    requests: int = 0
    input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0

    @property
    def total(self) -> int:
        """All tokens; cached ones count in full."""
        return (
            self.input_tokens
            + self.cache_write_tokens
            + self.cache_read_tokens
            + self.output_tokens
        )

    def plus(self, other: "Usage") -> "Usage":
        """The sum of both."""
        mine, others = self.model_dump(by_alias=False), other.model_dump(by_alias=False)
        return Usage(**{name: count + others[name] for name, count in mine.items()})


class Review(Noun):
    """A witness, not a judge: it can only lower what the evidence allows."""

    criteria: tuple[CriterionVerdict, ...] = ()
    attempt: int | None = None
    digest: str | None = None
    """Digest of everything the reviewer was shown: one review per (task, attempt, content)."""
    seen: str | None = None
    """Digest of the result and the evidence; the review is void once they have changed."""
    by: str | None = None
    """The reviewer: its model and the digest of its instructions."""
    model: str | None = None
    """The model that answered, as its provider names it."""
    abstained: str | None = None
    """One sentence: why there is no verdict; None: there is one."""
    code: str | None = None
    """The same as one of the codes in `core/review/review.py`."""
    pending: bool = False
    """There is no verdict yet, and the reviewer is asked again, not before `retry_at` if given."""
    retry_at: AwareDatetime | None = None
    tries: int = 0
    """Unusable answers about this attempt; an outage does not count."""
    outages: int = 0
    """Calls in a row that the provider did not answer."""
    notes: tuple[str, ...] = ()
    """Why code lowered a verdict of the reviewer, one sentence each."""
    usage: Usage | None = None


SNAPSHOT_SCHEMA: Final = "wavekeeper.snapshot/1"

TaskId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Safe as a file name, a branch component and a command argument: it never starts with a dash."""


class Status(StrEnum):
    """A task's status in its queue; `planned` until it has been submitted to one."""

    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    JUDGING = "judging"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """The lease ran out, and the queue lets the attempt do nothing more."""


Held = Literal["parked", "accepted", "replaced", "handed-over"]
"""What the supervisor adds beside the queue's status. `parked`: the task waits for a defect to be
fixed, under its own identity; the others: the supervisor is done with it."""


ACTIVE: Final = frozenset({Status.QUEUED, Status.RUNNING, Status.JUDGING})
"""Holds a lane: submitted and not yet terminal."""
TERMINAL: Final = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.LOST})
"""The attempt is over and its result waits to be read."""
SETTLED: Final = frozenset({"accepted", "replaced", "handed-over"})
"""The values with which the supervisor is done with a task."""


class TaskKind(StrEnum):
    """What a task delivers; `policies/completion.toml` says what each kind must prove."""

    ARTIFACT_DELIVERY = "artifact-delivery"
    INFRASTRUCTURE = "infrastructure"
    CODE_CHANGE = "code-change"
    DOCUMENTATION = "documentation"


class ProofKind(StrEnum):
    """What a piece of evidence proves."""

    COMMIT_PUSHED = "commit-pushed"
    SCOPE_RESPECTED = "scope-respected"
    CHECKS_PASSED = "checks-passed"
    ARTIFACT_BUILT = "artifact-built"
    DIGEST_RECORDED = "digest-recorded"
    DEV_DIGEST = "dev-digest"
    PROD_DIGEST = "prod-digest"
    NO_SOURCE_REBUILD = "no-source-rebuild"
    LIVE_HEALTH = "live-health"
    LIVE_VERSION = "live-version"
    BLOCKED_WORKFLOW_PROCEEDS = "blocked-workflow-proceeds"
    REMAINING_STEP_NAMED = "remaining-step-named"
    CHANGE_SHOWN = "change-shown"
    LANDED = "landed"


class Heartbeat(Noun):
    """The last heartbeat the scheduler received. It belongs to one attempt."""

    at: AwareDatetime
    expires_at: AwareDatetime | None = None
    attempt: int | None = None
    origin: Literal["worker", "recovery"] | None = None
    """`recovery`: written by a restart, which proves nothing about the worker."""


class Trace(Noun):
    """When the worker's output last advanced. It belongs to one attempt."""

    last_event_at: AwareDatetime
    attempt: int | None = None
    last_sequence: int | None = None


class Reported(Noun):
    """The status that one plane of the queue service reports; any word, for comparison only."""

    status: str | None = None


class Command(Noun):
    """One acceptance command: an argument list, never a shell line."""

    argv: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds."""
    expect: Literal["passes", "proceeds"] = "passes"
    """`proceeds`: it may end in any way except with the failure of the given `fingerprint`."""
    fingerprint: str | None = None
    heavy: bool = False
    """It may exhaust the memory of the machine it runs on, so it never runs on the master."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_an_argument_list(cls, data: object) -> object:
        """`wavekeeper.snapshot/1` has a command without further settings as its argument list."""
        return {"argv": data} if isinstance(data, (list, tuple)) else data


class CommandResult(Noun):
    """The result of one acceptance command in the judge step."""

    argv: tuple[str, ...]
    exit_code: int | None = None
    """None: it did not start or ran out of time; `output` says which."""
    seconds: float | None = None
    output: str = ""
    """The end of what it printed, at most 4,000 characters."""
    ok: bool = False
    ran: int | None = None
    """How many tests its runner says it ran. None: the runner is not one whose closing line is
    known, or it closed without that line."""


class JudgeRecord(Noun):
    """A judgement: the acceptance commands on a clean checkout of what was pushed."""

    verdict: Literal["pass", "fail", "unknown"]
    """`unknown`: nothing failed, and nothing shows that anything was checked."""
    at: AwareDatetime
    commit: str | None = None
    """The commit the commands ran on, as fetched from the remote."""
    commands: tuple[CommandResult, ...] = ()
    reason: str | None = None
    base: str | None = None
    """The commit that the work started from; the same commands ran on it for comparison."""
    base_commands: tuple[CommandResult, ...] = ()
    shown: bool | None = None
    """Whether some command failed on the base and passes now. None: nobody knows, because there was
    no base, or a command could not be run on it to its end."""
    changed_judges: tuple[str, ...] = ()
    """Paths that the commands run or read by name and that differ from the base, sorted."""
    restored: tuple[str, ...] = ()
    """Protected paths that were put back to the base before the commands ran, sorted."""
    host: str | None = None
    """The judge host that made it. None: the queue's own judge did."""

    @property
    def failing(self) -> CommandResult | None:
        """The first command that failed."""
        return next((one for one in self.commands if not one.ok), None)


FailureClass = Literal[
    "rate-limit", "quota", "overloaded", "server", "network", "auth", "spawn-failed", "killed",
    "out-of-memory", "time-limit", "stalled", "denied", "context-overflow", "malformed",
    "host-stopped", "lease-lost", "out-of-reach", "none", "unknown",
]  # fmt: skip
"""What ended an attempt badly, as its worker host or the agent's own program reports it.

`server`: the model's provider failed; `network`: it could not be reached; `malformed`: its answer
was none. `denied`: the agent was not allowed to use its tools. `killed`: by a signal that the host
did not send. `out-of-reach`: the queue did not answer the host for so long that the lease ran out.
`none`: nothing typed is wrong; `unknown`: something is, and nobody typed what."""


class AttemptFailure(Noun):
    """How an attempt ended badly, as a type and not as text."""

    class_: FailureClass = Field(alias="class")
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    """The provider's HTTP status."""
    retry_at: AwareDatetime | None = None
    """When the provider's limit ends, as it says itself."""


class AgentUsage(Noun):
    """What an attempt used of its provider, as the agent's own program counts it."""

    session: str | None = None
    model: str | None = None
    tokens: Usage | None = None
    """None: the program did not say."""
    cost: Annotated[float, Field(ge=0)] | None = None
    """US dollars, if the program says."""
    whole_session: bool = False
    """The numbers are of the session with all its attempts, not of this one alone."""

    @property
    def words(self) -> str:
        """On one line, for a person."""
        scope = " in this session" if self.whole_session else ""
        said = (
            self.model and f"model {self.model}",
            self.session and f"session {self.session}",
            self.tokens and f"{self.tokens.total:,} tokens{scope}",
            self.cost is not None and f"{self.cost:.2f} US dollars",
        )
        return ", ".join(part for part in said if part)


class Baseline(Noun):
    """Where two branches were on the remote before an attempt was sent."""

    branch: str | None = None
    """The commit of the task's own branch; None: it was not there."""
    default: str | None = None
    """The commit of the default branch; None: it had none."""


class Criterion(Noun):
    """One thing that must be true for the task to be accepted."""

    id: str
    text: str
    proof: ProofKind | Literal["judgement"]


class Evidence(Noun):
    """One observed or claimed item. Only observed evidence proves."""

    id: str
    kind: ProofKind
    origin: Literal["claimed", "observed"]
    holds: bool | None = None
    value: str | None = None
    observed_at: AwareDatetime | None = None
    detail: str | None = None
    """One sentence for a person: what was looked at and what was seen."""
    attempt: int | None = None
    base: str | None = None
    """For `commit-pushed`: the commit that the change is compared with."""
    source: str | None = None  # where it was fetched
    answer: str | None = None  # the sha256 of the raw answer
    unknown_since: AwareDatetime | None = None
    """Since when this source has not known it; None: at the longest since the attempt ended."""
    ask_after: Annotated[float, Field(gt=0)] | None = None
    """Seconds for which it may stay unknown; then a person is asked. None: as the policy says."""
    fault: bool | None = None
    """It is unknown because the installation is not in order: no attempt could change that."""


class LateReport(Noun):
    """The report of an attempt that was already replaced: kept and read, but it decides nothing."""

    attempt: int
    at: AwareDatetime
    final_response: str | None = None
    judge: JudgeRecord | None = None
    inspected: bool = False


class Failing(Noun):
    """An action about a task that failed, and how often in a row it failed in the same way."""

    action: str
    basis: str
    """The digest of what the decision rested on; on another basis it is another action."""
    times: int
    said: str
    at: AwareDatetime
    """When it failed last."""


class Task(Noun):
    """One task as the supervisor sees it in one tick."""

    id: TaskId
    queue: str | None = None
    kind: TaskKind | None = None
    status: Status | None = None
    """The queue's status."""
    held: Held | None = None
    """What the supervisor adds to it."""
    unreadable: str | None = None
    """Why nothing is decided about the task: it, or what it rests on, could not be read."""
    attempt: int | None = None
    attempts_left: int | None = None
    """Attempts the task may still be given after this one; infrastructure faults use up none."""
    freed: dict[str, Annotated[int, Field(ge=0)]] = {}
    """How many earlier attempts cost nothing, by why: `text`, or the reason of a typed failure that
    may come so only a few times."""
    session_continuable: bool | None = None
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    control_plane: Reported | None = None
    scheduler: Reported | None = None
    heartbeat: Heartbeat | None = None
    trace: Trace | None = None
    probe: Literal["ok", "failed", "timeout"] | None = None
    waiting_for: Literal["permission", "provider-reset"] | None = None
    at_risk_polls: int | None = None
    """How many polls in a row, before this one, found the task at risk."""
    last_interrupt_at: AwareDatetime | None = None
    cancel_requested: bool | None = None
    last_error: str | None = None
    used: AgentUsage | None = None
    """Of this attempt, once it has ended; None: its agent does not tell."""
    failure: AttemptFailure | None = None
    """How the current attempt ended badly, as its worker host typed it."""
    final_response: str | None = None
    final_response_truncated: bool | None = None
    judge: JudgeRecord | None = None
    """What a judge host found of the current attempt."""
    judging: Literal["ordered", "running"] | None = None
    """How far the judgement that was ordered is. None: none is under way."""
    judging_since: AwareDatetime | None = None
    """When it was ordered."""
    queue_judge: JudgeRecord | None = None
    """What the queue's own judge says: a witness that can lower, never proof."""
    tree_gone: bool | None = None
    """Whether no process of the current attempt can be alive any more."""
    baseline: Baseline | None = None
    """Where its branch and the default branch were before the current attempt."""
    pushed_to_default: tuple[str, ...] = ()
    """Commits of the default branch that were made in this task's own worktree, shortened."""
    acceptance_commands: tuple[Command, ...] | None = None
    shown_by: Literal["check", "push"] | None = None
    """`push`: the wave file waives that a check, a reviewer or a person shows the change."""
    inspected: bool | None = None
    """Whether final response and judge record of this attempt have been read."""
    late_reports: tuple[LateReport, ...] = ()
    write_scope: tuple[str, ...] | None = None
    prompt: str | None = None
    """The prompt of the current attempt, or the one that would be submitted."""
    criteria: tuple[Criterion, ...] | None = None
    evidence: tuple[Evidence, ...] = ()
    review: Review | None = None
    tokens_left: int | None = None
    """Tokens that its own and the wave's budget leave after one more call; 0 or less: none."""
    blocked_by: str | None = None
    """The id of the defect it waits for."""
    canary: bool | None = None
    """It was released first after the fix, to test whether the defect is gone."""
    depends_on: tuple[str, ...] = ()
    production_adjacent: bool | None = None
    fixes: str | None = None
    """The id of the defect this infrastructure task fixes."""
    declined: dict[str, str] = {}
    """What a person rejected or put off: action and digest of the basis, to one sentence."""
    failing: Failing | None = None

    @property
    def word(self) -> str | None:
        """The status for a person: the supervisor's where it has one, else the queue's."""
        return self.held or self.status

    @model_validator(mode="before")
    @classmethod
    def _split_status_and_held(cls, data: object) -> object:
        """`wavekeeper.snapshot/1` has both in one field, `status`."""
        if isinstance(data, dict) and data.get("status") in get_args(Held):
            return {**data, "status": None, "held": data["status"]}
        return data


class Queue(Noun):
    """One lane group of the queue service."""

    id: str
    kind: Literal["delivery", "infrastructure", "documentation"] | None = None
    risk: Literal["low", "normal", "high"] | None = None
    counts: dict[str, int] | None = None
    unread: int | None = None
    """Terminal tasks that nobody has read, whoever they belong to."""


class Defect(Noun):
    """One shared cause, found by its fingerprint."""

    id: str
    fingerprint: str
    status: Literal["observed", "recorded", "fixed"]
    issue: str | None = None
    issue_open: bool | None = None
    """Whether its issue was open in this tick. A closed issue means that somebody fixed it."""
    fixed_by: str | None = None
    """The task that fixes it, once it has been split off."""
    reason: str | None = None
    subject: str | None = None
    """What is at fault, as it was printed: untrusted text."""
    summary: str | None = None
    proven_by: str | None = None
    """The first released task that no longer met it; until then one is released at a time."""
    expected: str | None = None
    """What must hold in the long run, so that it does not come back."""
    seen_in: tuple[str, ...] = ()
    """The tasks that it has stopped."""
    remedied: bool | None = None
    """A temporary remedy is in place and was seen to work; False: it was tried and failed."""
    reference: str | None = None
    """The reference document that holds the lesson."""


class Remedy(Noun):
    """A configured change to running infrastructure."""

    id: str
    reasons: tuple[str, ...]
    """The failure reasons it is for."""
    environment: Literal["dev", "production"]


class Outcome(Noun):
    """How one attempt ended, for the window."""

    task: str
    result: Literal["accepted", "failed", "replaced"]
    attributable: bool | None = None
    """False when infrastructure was at fault."""
    at: AwareDatetime


class Window(Noun):
    """How many lanes may be busy, and the record that earned them."""

    limit: Annotated[int, Field(ge=1)] | None = None
    outcomes: tuple[Outcome, ...] = ()
    changed_at: AwareDatetime | None = None


class ControlPlane(Noun):
    """The queue service as a whole."""

    reachable: bool | None = None
    submit_lock: Literal["free", "held", "unknown"] | None = None
    diagnostics: tuple[str, ...] = ()


class Grants(Noun):
    """What the user has allowed for this wave."""

    production_repair: bool | None = None
    established_deploy_path: bool | None = None
    manual_takeover: tuple[str, ...] = ()


class Wave(Noun):
    """One delivery goal."""

    goal: str | None = None
    grants: Grants = Grants()
    id: str | None = None


class BranchMoved(Noun):
    """A branch that is not as it was when its task was accepted."""

    task: TaskId
    branch: str
    commit: str
    """What was accepted."""
    fate: Literal["moved-on", "rewritten", "deleted"]


class RemoteSeen(Noun):
    """What happened on the git remote beside the tasks' own work."""

    default_name: str
    foreign: tuple[str, ...] = ()
    """Commits of the default branch, since the first attempt, that no accepted task explains."""
    moved: tuple[BranchMoved, ...] = ()


class Supervisor(Noun):
    """The supervisor's own condition."""

    last_tick_at: AwareDatetime | None = None
    """When the last tick ended. None: this is the first one."""
    interval: Annotated[float, Field(gt=0)] | None = None
    """Seconds between polls; None: the policy's cadence."""
    host: Literal["master", "worker"] | None = None
    low_memory: bool | None = None
    """The host is short of memory; then new attempts go out one at a time."""


Mode = Literal["observe", "approve", "auto"]


class Snapshot(Noun):
    """Everything one tick observed; `wavekeeper.snapshot/1`."""

    schema_: Annotated[Literal["wavekeeper.snapshot/1"], Field(alias="schema")] = SNAPSHOT_SCHEMA
    now: AwareDatetime
    mode: Mode | None = None
    supervisor: Supervisor = Supervisor()
    wave: Wave = Wave()
    window: Window = Window()
    control_plane: ControlPlane = ControlPlane()
    queues: tuple[Queue, ...] = ()
    defects: tuple[Defect, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    remote: RemoteSeen | None = None
    """None: nobody has looked, or it cannot be seen now."""
    tasks: tuple[Task, ...] = ()

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        """A snapshot that contradicts itself is a broken report: nothing is decided from it."""
        for name, ids in (
            ("tasks", [task.id for task in self.tasks]),
            ("queues", [queue.id for queue in self.queues]),
            ("defects", [defect.id for defect in self.defects]),
            ("remedies", [remedy.id for remedy in self.remedies]),
        ):
            if twice := sorted(one for one, times in Counter(ids).items() if times > 1):
                raise ValueError(f"{name}: the id {twice[0]!r} is there twice")
        for task in self.tasks:
            if (why := contradiction(task, self.now)) is not None:
                raise ValueError(f"tasks: {task.id}: {why}")
        for where, at in (
            ("supervisor: lastTickAt", self.supervisor.last_tick_at),
            ("window: changedAt", self.window.changed_at),
            *((f"window: outcome of {one.task}", one.at) for one in self.window.outcomes),
        ):
            if (why := _future(where, at, self.now)) is not None:
                raise ValueError(why)
        return self


def contradiction(task: Task, now: AwareDatetime) -> str | None:
    """How this task contradicts itself, so that nothing may be decided from it; None: it does not.

    A snapshot file with such a task is refused. If a queue shows one, only that task is unreadable,
    and the supervisor continues with the others.
    """
    for name, at in (
        ("heartbeat.at", task.heartbeat.at if task.heartbeat else None),
        ("trace.lastEventAt", task.trace.last_event_at if task.trace else None),
        ("startedAt", task.started_at),
        ("finishedAt", task.finished_at),
        ("lastInterruptAt", task.last_interrupt_at),
        ("judge.at", task.judge.at if task.judge else None),
        *((f"evidence {item.id}: observedAt", item.observed_at) for item in task.evidence),
        *((f"evidence {item.id}: unknownSince", item.unknown_since) for item in task.evidence),
    ):
        if (why := _future(name, at, now)) is not None:
            return why
    if task.status in (Status.PLANNED, Status.QUEUED, Status.RUNNING) and task.final_response:
        return f"a {task.status} task has a final response"
    if task.status in (Status.PLANNED, Status.QUEUED, Status.RUNNING) and task.failure:
        return f"a {task.status} task has a failure"
    if task.started_at and task.finished_at and task.finished_at < task.started_at:
        return "finishedAt lies before startedAt"
    return None


def _future(where: str, at: AwareDatetime | None, now: AwareDatetime) -> str | None:
    return f"{where} lies in the future ({at.isoformat()})" if at and at > now else None
