"""The ports that a supervisor needs, in one value."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.model import Mode
from agent.core.policy import Policy
from agent.ports import (
    Approvals,
    Clock,
    Drafter,
    EvidenceProbe,
    Issues,
    Journal,
    Machine,
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
    approvals: Approvals
    machine: Machine | None = None
    """None: nobody watches it."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """How this supervisor works."""

    policy: Policy
    mode: Mode
    interval: float
    """Seconds between two ticks when nothing happened."""
    host: str = "master"
