"""The documentation loop: where a failure that came back, or that stopped a delivery, feeds into.

Policy: "Every repeated or delivery-blocking failure should feed back into one of: a Code Queue task
that fixes the defect; a GitHub issue or issue comment that records the blocking condition and
recovery dependency; a long-term reference document when the lesson is durable." And: "Reference
docs should capture the reusable rule, not the full incident timeline."
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from agent.core.assess.assessment import TaskAssessment
from agent.core.model.actions import Action, Proposal
from agent.core.model.nouns import Defect
from agent.core.model.policy import FailuresPolicy
from agent.core.model.text import fenced, one_line

Into = Literal["task", "issue", "reference"]

_DIRECTLY: Final[Mapping[Action, Into]] = {
    Action.SPLIT_DEFECT: "task",
    Action.OPEN_ISSUE: "issue",
    Action.PARK: "issue",
    Action.HAND_OVER: "issue",
    Action.WRITE_REFERENCE: "reference",
}
_FOR_A_DEFECT: Final = (Action.SPLIT_DEFECT, Action.OPEN_ISSUE, Action.PARK)

_RECOGNISED: Final = (
    "A failing command, or the agent's own last error, prints a line like this one, and the "
    "supervisor names the reason `{reason}`:"
)
_ENDS: Final = (
    "A change where the environment comes from (the image, the set-up, the configuration), pushed "
    "and proven: the command that failed no longer fails for this reason, and a task that was "
    "stopped goes past it. A change by hand on a running host is lost with its next restart."
)
_NOT: Final = (
    "Do not run the stopped task again before the cause is gone, and do not fix it in the task "
    "that met it. That task waits under its own identity and continues afterwards."
)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one failure feeds back into: exactly one thing at a time."""

    into: Into
    rule: str
    """What holds whatever the incident was, in one sentence."""


def lesson_of(
    assessed: TaskAssessment, proposal: Proposal, policy: FailuresPolicy
) -> Lesson | None:
    """Where this task's failure is recorded; None: it neither blocks the delivery nor came back."""
    if proposal.action is Action.WRITE_REFERENCE and assessed.lesson is not None:
        return Lesson("reference", rule_of(assessed.lesson, policy))
    failure, defect = assessed.failure, assessed.defect
    is_shared = failure is not None and failure.rule == "split"
    if not is_shared and defect is not None and proposal.action in _FOR_A_DEFECT:
        # It waits for a defect of which its own result says nothing any more.
        return Lesson(_DIRECTLY[proposal.action], rule_of(defect, policy))
    if failure is None:
        return None
    if failure.rule == "split":
        if (
            assessed.defect is not None
            and assessed.defect.status == "fixed"
            and not assessed.task.canary
        ):
            return None
        being_fixed = assessed.defect is not None and assessed.defect.fixed_by is not None
        reason = policy.by_id[failure.reason]
        into = _DIRECTLY.get(proposal.action, "task" if being_fixed else "issue")
        return Lesson(into, reason.contract or reason.why)
    if proposal.action is Action.HAND_OVER:
        return Lesson("issue", failure.why)
    return None


def rule_of(defect: Defect, policy: FailuresPolicy) -> str:
    """The reusable rule behind a defect: its contract, not its story."""
    reason = policy.by_id.get(defect.reason or "")
    known = (reason.contract or reason.why) if reason else None
    return defect.expected or known or "This fault does not come back."


def document_of(defect: Defect) -> str:
    """The path of the reference document, from the top of the repository: one for each reason."""
    # Reasons come from a policy file, but a snapshot can name any word.
    slug = re.sub(r"[^a-z0-9]+", "-", (defect.reason or "").lower()).strip("-")
    return f"docs/reference/{slug or 'unknown'}.md"


def document(defect: Defect, policy: FailuresPolicy) -> str:
    """The reference document: the reusable rule, without names, dates or the incident's story.

    What was printed is untrusted text; it is fenced.
    """
    reason = policy.by_id.get(defect.reason or "")
    name = one_line(defect.reason or "unknown").replace("-", " ")
    seen = defect.summary or defect.subject or "nothing was printed"
    shown = [
        f"# {name[:1].upper()}{name[1:]}",
        reason.why if reason else "A shared cause that has stopped several tasks.",
        "## The rule",
        rule_of(defect, policy),
        "## How it is recognised",
        _RECOGNISED.format(reason=one_line(defect.reason or "unknown")),
        fenced(seen),
        "## What ends it for good",
        _ENDS,
        "## What not to do",
        _NOT,
    ]
    return "\n\n".join(shown) + "\n"
