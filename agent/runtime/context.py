"""The ports that a supervisor needs, in one value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.core.model.nouns import Mode
from agent.core.model.policy import Policy
from agent.core.model.secrets import SHAPES, Redactor
from agent.core.review.brief import Limits
from agent.core.review.review import RetryPolicy
from agent.ports import (
    Approvals,
    Clock,
    DiffSource,
    Drafter,
    EvidenceProbe,
    Issues,
    Journal,
    Judgements,
    Machine,
    OwnCommits,
    PolicySource,
    References,
    Remedies,
    Remote,
    Reviewer,
    State,
    TaskQueue,
    WaveStore,
    Writer,
)


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside that the supervisor sees or changes."""

    clock: Clock
    queue: TaskQueue
    store: WaveStore
    journal: Journal
    issues: Issues
    reviewer: Reviewer
    drafter: Drafter
    probes: Sequence[EvidenceProbe]
    approvals: Approvals
    state: State
    """What store, journal and approvals are kept in together."""
    judgements: Judgements | None = None
    """None: nobody judges, so what has acceptance commands is never accepted."""
    remote: Remote | None = None
    """None: nobody notes where the branches are before an attempt."""
    own_commits: OwnCommits | None = None
    """None: no worktree of an agent is on this machine."""
    machine: Machine | None = None
    """None: nobody watches it."""
    policies: PolicySource | None = None
    """None: the policy at the start is in force until the end."""
    writer: Writer | None = None
    """None: prompts are made from facts alone."""
    remedies: Remedies | None = None
    """None: nothing may be done to a running system."""
    references: References | None = None
    """None: no document can be proposed."""
    diffs: DiffSource | None = None
    """None: a reviewer is not shown what a branch changed."""
    secrets: Redactor = SHAPES
    """What takes secrets out of text that was not cleaned at its port; see `crossings`."""


@dataclass(frozen=True, slots=True)
class ReviewLimits:
    """How reviews are asked for, and how many tokens models may use."""

    limits: Limits = field(default_factory=Limits)
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    at_once: int = 4
    task_tokens: int = 400_000
    """Over all attempts of one task."""
    wave_tokens: int = 4_000_000
    worst_case: int = 0
    """Tokens that one review can use at most; 0: reviewing is free."""

    def tokens_left(self, spent: int, spent_by_wave: int) -> int:
        """What is left after one more call for the task, and as many for the wave as run at once.

        Above 0, these calls can be paid for even if each costs the most it can.
        """
        of_task = self.task_tokens - spent - self.worst_case
        of_wave = self.wave_tokens - spent_by_wave - self.worst_case * self.at_once
        return min(of_task, of_wave)


@dataclass(frozen=True, slots=True)
class Supervision:
    """How this supervisor works."""

    policy: Policy
    mode: Mode
    interval: float
    """Seconds between two ticks when nothing happened."""
    host: str = "master"
    review_limits: ReviewLimits = field(default_factory=ReviewLimits)


def spent_by(notes: Mapping[str, str], wave: str) -> int:
    """Tokens that models have used on all tasks of the wave."""
    return int(notes.get(f"spent/{wave}", "0"))
