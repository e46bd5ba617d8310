"""The typed view of `policies/`. Unknown keys are refused; every number has its reason in its file.

A policy is read by an adapter and handed in; nothing here knows where it came from.
"""

import re
from functools import cached_property
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agent.core.model.actions import READING, Action
from agent.core.model.nouns import FailureClass, ProofKind, TaskKind

Seconds = Annotated[float, Field(ge=0, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Flag = Annotated[bool, Field(strict=True)]


class Table(BaseModel):
    """One table of a policy file: frozen, snake_case, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LivenessPolicy(Table):
    """`policies/liveness.toml`."""

    show_after: Seconds
    act_after: Seconds
    polls: Count
    poll_spacing: Seconds
    cooldown: Seconds
    cadence: Annotated[float, Field(gt=0, strict=True)]
    away_intervals: Annotated[float, Field(gt=0, strict=True)]
    away_floor: Seconds
    shared_at_risk: Annotated[int, Field(ge=2, strict=True)]
    shared_share: Annotated[float, Field(gt=0, le=1, strict=True)]

    @model_validator(mode="after")
    def _act_late(self) -> Self:
        if self.act_after <= self.show_after:
            raise ValueError("act_after must be greater than show_after: show early, act late")
        return self


class LadderPolicy(Table):
    """What proves one kind of task; each rung is a list of alternatives."""

    rungs: Annotated[tuple[tuple[ProofKind, ...], ...], Field(min_length=1)]


class CompletionPolicy(Table):
    """`policies/completion.toml`."""

    ladder: dict[TaskKind, LadderPolicy]
    documents: tuple[str, ...]
    """Glob patterns of what counts as a document."""
    heavy: tuple[str, ...]
    """Words that make a command heavy when they stand in it one after the other."""
    claims_count: Flag = False
    """Whether a worker's own words can prove a criterion of judgement."""
    ask_after: Annotated[float, Field(gt=0, strict=True)] = 14_400.0
    """Seconds for which evidence may stay unknown; then a person is asked."""

    @model_validator(mode="after")
    def _every_kind(self) -> Self:
        if absent := sorted(set(TaskKind) - set(self.ladder)):
            raise ValueError(f"no ladder for the kind {absent[0]!r}")
        return self


RetryRule = Literal["same-session", "fresh-session", "wait", "split", "narrower", "hand-over"]


class ReasonPolicy(Table):
    """One reason why an attempt failed, how it is recognised and what follows."""

    id: str
    why: str
    source: str
    rule: RetryRule
    contract: str | None = None
    """What must hold in the long run, in one sentence; every shared cause has one."""
    charged: Flag
    """It counts against the task's attempts."""
    infrastructure: Flag
    most_free: Count | None = None
    """It costs a task nothing so many times; then a person is asked. None: whenever it comes."""
    classes: tuple[FailureClass, ...] = ()
    """The classes of typed failures that it is the reason of; they come before any text."""
    party: str | None = None
    """What is at fault, whatever words name it; None: a pattern's `subject` names it."""
    patterns: tuple[str, ...] = ()
    """Regular expressions over observed output; a group `subject` names what is at fault."""
    words: tuple[Annotated[str, Field(pattern=r"^[^A-Z]+$")], ...] = ()
    """In lower case: a text with none of them cannot match and need not be searched."""
    needs: tuple[ProofKind, ...] = ()
    """What must have been observed before the patterns count."""
    proof: tuple[str, ...] = ()
    """An argument list that ends with 0 once the cause is gone; `{subject}` is filled in."""

    @field_validator("patterns")
    @classmethod
    def _compilable(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return patterns

    @model_validator(mode="after")
    def _infrastructure_is_free(self) -> Self:
        if self.infrastructure and self.charged:
            raise ValueError(f"{self.id}: infrastructure reasons never use up a task's attempts")
        if self.most_free is not None and (self.charged or not self.classes):
            raise ValueError(f"{self.id}: most_free is for typed failures that are not charged")
        if self.rule == "split" and not (self.contract and self.infrastructure):
            raise ValueError(f"{self.id}: a shared cause is infrastructure and needs a contract")
        return self

    @cached_property
    def compiled(self) -> tuple[re.Pattern[str], ...]:
        """The patterns, ready to search with."""
        return tuple(re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in self.patterns)


UNTYPED: Final = frozenset({"none", "unknown"})
"""The classes that say nothing: the text is searched then."""
NAMED: Final = ("stale-cancel", "truncated-session", "lost", "task-fault", "unknown")
"""The reasons that the code names itself, without a pattern."""


class FailuresPolicy(Table):
    """`policies/failures.toml`, in the order in which reasons are tried."""

    reason: tuple[ReasonPolicy, ...]
    default_wait: Seconds
    """For a provider's limit that names no reset time."""
    longest_wait: Seconds
    """A reset time that a worker host typed and that lies further away is not believed."""
    longest_told_wait: Seconds
    """The same for a reset time that was only printed."""
    most_freed_by_text: Count
    """So many attempts of a task may cost nothing because of what was printed."""
    stale_cancel_within: Seconds
    """A retry that is cancelled so soon fell over a flag of an earlier attempt."""
    durable_after: Count
    """Tasks that one cause must have stopped before a reference document is written."""
    most_attempts: Count
    """After this many attempts a person takes over, whatever the reasons were."""

    @cached_property
    def by_id(self) -> dict[str, ReasonPolicy]:
        """The reasons by their ids."""
        return {reason.id: reason for reason in self.reason}

    @cached_property
    def by_class(self) -> dict[str, ReasonPolicy]:
        """The reason of each class of typed failures."""
        return {name: reason for reason in self.reason for name in reason.classes}

    @model_validator(mode="after")
    def _every_class_has_one_reason(self) -> Self:
        named = [name for reason in self.reason for name in reason.classes]
        for name in get_args(FailureClass):
            wanted = 0 if name in UNTYPED else 1
            if named.count(name) != wanted:
                where = "exactly one reason" if wanted else "no reason"
                raise ValueError(f"the class {name!r} must stand in `classes` of {where}")
        return self

    @model_validator(mode="after")
    def _named_reasons(self) -> Self:
        if len(self.by_id) != len(self.reason):
            raise ValueError("two reasons have the same id")
        for needed in NAMED:
            if needed not in self.by_id:
                raise ValueError(f"the reason {needed!r} is missing")
        return self


class WindowPolicy(Table):
    """`policies/window.toml`."""

    start: Count
    maximum: Count
    minimum: Count
    least_outcomes: Count
    widen_at: Share
    narrow_at: Share
    confidence: Annotated[float, Field(gt=0, strict=True)]
    settle: Seconds
    """Time between two changes of the window."""

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.narrow_at >= self.widen_at:
            raise ValueError("narrow_at must be less than widen_at, or the window swings")
        if not self.minimum <= self.start <= self.maximum:
            raise ValueError("minimum <= start <= maximum must hold")
        return self


class SubmitPolicy(Table):
    """`policies/submit.toml`."""

    per_tick: Count
    per_tick_low_memory: Count
    low_memory: Count
    """MiB; with less than this free the host is short of memory."""
    clearance_seconds: Annotated[float, Field(gt=0, strict=True)]

    @model_validator(mode="after")
    def _careful_when_low(self) -> Self:
        if self.per_tick_low_memory > self.per_tick:
            raise ValueError("per_tick_low_memory must not be greater than per_tick")
        return self

    def is_low(self, free: int | None) -> bool | None:
        """Whether a host with so many free bytes is short of memory; None: unknown."""
        return None if free is None else free < self.low_memory * 2**20


class Rule(Table):
    """One rule of the guard. It matches when all of `when` holds and not all of `unless` does."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    effect: Literal["permit", "forbid"]
    actions: Annotated[tuple[Action, ...], Field(min_length=1)]
    when: dict[str, tuple[str, ...]] = {}
    unless: dict[str, tuple[str, ...]] = {}
    why: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    """The policy sentence it comes from."""
    match: tuple[dict[str, str], ...] = ()
    no_match: tuple[dict[str, str], ...] = ()

    def matches(self, facts: dict[str, str]) -> bool:
        """Whether the rule applies to these facts."""
        for fact, values in self.when.items():
            if facts[fact] not in values:
                return False
        for fact, values in self.unless.items():
            if facts[fact] not in values:
                return True
        return not self.unless


class GuardPolicy(Table):
    """`policies/guard.toml`."""

    rule: tuple[Rule, ...]

    @cached_property
    def about(self) -> dict[Action, tuple[Rule, ...]]:
        """The rules that name each action, in their order."""
        return {
            action: tuple(rule for rule in self.rule if action in rule.actions) for action in Action
        }


Tier = Literal["told", "low", "medium", "high"]
TIERS: Final[tuple[Tier, ...]] = ("told", "low", "medium", "high")
"""The least strict first. What is `told` is done and reported; a person is asked about the rest."""
NEVER_ASKED: Final = READING | {
    Action.RUN_HEAVY_CHECK,
    Action.PATCH_DATABASE,
    Action.REVERT_CHANGES,
}
"""Actions that need no consent, or are refused in any case."""


class ExpiresPolicy(Table):
    """Seconds that a question of each tier waits for its answer."""

    low: Annotated[float, Field(gt=0, strict=True)]
    medium: Annotated[float, Field(gt=0, strict=True)]
    high: Annotated[float, Field(gt=0, strict=True)]


class RulesPolicy(Table):
    """What a rule that a person makes may cover at most."""

    longest: Seconds
    most_uses: Count


class ApprovalPolicy(Table):
    """`policies/approval.toml`."""

    expires: ExpiresPolicy
    rules: RulesPolicy
    tier: dict[Action, Tier]

    @model_validator(mode="after")
    def _every_action(self) -> Self:
        asked = set(Action) - NEVER_ASKED
        if absent := sorted(asked - set(self.tier)):
            raise ValueError(f"no tier for {absent[0].value!r}")
        if strange := sorted(set(self.tier) - asked):
            raise ValueError(f"nobody is ever asked about {strange[0].value!r}; remove it")
        return self

    def loosened(self, shipped: Self) -> tuple[tuple[str, ...], str] | None:
        """Where this is less strict than `shipped`, and how; None: nowhere."""
        for action, tier in self.tier.items():
            least = shipped.tier[action]
            if TIERS.index(tier) < TIERS.index(least):
                return ("tier", action), f"{tier!r} loosens {least!r}"
        for part in ("expires", "rules"):
            mine, its = getattr(self, part), getattr(shipped, part)
            for name in type(mine).model_fields:
                if getattr(mine, name) > getattr(its, name):
                    return (part, name), f"more than {getattr(its, name):g}"
        return None


class Policy(Table):
    """Everything in `policies/`, and the hash that names it."""

    liveness: LivenessPolicy
    completion: CompletionPolicy
    failures: FailuresPolicy
    window: WindowPolicy
    submit: SubmitPolicy
    guard: GuardPolicy
    approval: ApprovalPolicy
    hash: str
    """The sha256 over all policy files."""
