"""The ports that a supervisor needs, in one value."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.model import Mode
from agent.core.policy import Policy
from agent.ports import (
    Clock,
    Drafter,
    EvidenceProbe,
    Issues,
    Journal,
    Machine,
    PolicySource,
    Reviewer,
    TaskQueue,
    WaveStore,
)


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside that the supervisor sees or changes."""

    clock: Clock
    queue: TaskQueue
    store: WaveStore
    journal: Journal
    issues: Issues
    reviewer: Reviewer
    drafter: Drafter
    probes: Sequence[EvidenceProbe]
    machine: Machine | None = None
    """None: nobody watches it."""
    policies: PolicySource | None = None
    """None: the policy at the start is in force until the end."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """How this supervisor works."""

    policy: Policy
    mode: Mode
    interval: float
    """Seconds between two ticks when nothing happened."""
    host: str = "master"
