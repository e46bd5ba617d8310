"""Does a prompt stand on its own? The linter, and what a draft is made from."""

from typing import Literal

from agent.core.model import Evidence, Noun
from agent.core.queueing import TaskSpec

DraftKind = Literal["initial", "continuation", "defect", "release", "narrower"]


class DraftRequest(Noun):
    """The facts a prompt is worded from."""

    kind: DraftKind
    spec: TaskSpec
    goal: str
    """The wave's goal, in one sentence."""
    attempt: int
    """The attempt the prompt is for."""
    evidence: tuple[Evidence, ...] = ()
    missing: tuple[str, ...] = ()
    """What is not proven yet, one sentence each."""
    unmet: tuple[str, ...] = ()
    """Ids of criteria that are not met."""
    failed: str | None = None
    """What exactly failed, in one sentence."""
    output: str | None = None
    """The failing output: untrusted text, fenced in the prompt."""
    last_error: str | None = None
    commit: str | None = None
    """The last commit that was seen on the remote branch."""
    previous: str | None = None
    """The prompt of the last attempt."""
    fixed: str | None = None
    """For `release`: which defect was fixed, and how that was proven."""


class Finding(Noun):
    """One reason why a prompt does not stand on its own."""

    rule: str
    message: str
    line: int | None = None
