"""The closed set of things that may be done, and what a decision about one of them looks like."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from agent.core.model.nouns import Defect, Noun
from agent.core.model.queueing import TaskSpec


class Action(StrEnum):
    """Every verb the supervisor has. Whatever is not here cannot be done."""

    LEAVE_ALONE = "leave-alone"
    INSPECT = "inspect"
    REVIEW = "review"
    ACCEPT = "accept"
    RETRY = "retry"
    REPLACE = "replace"
    SPLIT_DEFECT = "split-defect"
    OPEN_ISSUE = "open-issue"
    PARK = "park"
    RELEASE = "release"
    GUIDE = "guide"
    INTERRUPT = "interrupt"
    CANCEL = "cancel"
    MOVE = "move"
    SUBMIT = "submit"
    WIDEN_WINDOW = "widen-window"
    NARROW_WINDOW = "narrow-window"
    LIVE_REMEDY = "live-remedy"
    DEPLOY = "deploy"
    WRITE_REFERENCE = "write-reference"
    HAND_OVER = "hand-over"
    TAKE_OVER = "take-over"
    PATCH_DATABASE = "patch-database"
    RUN_HEAVY_CHECK = "run-heavy-check"
    REVERT_CHANGES = "revert-changes"


READING: Final = frozenset({Action.LEAVE_ALONE, Action.INSPECT, Action.REVIEW})
"""Changes nothing outside the supervisor's own notes."""
WINDOW_ACTIONS: Final = frozenset({Action.WIDEN_WINDOW, Action.NARROW_WINDOW})
"""Concerns no single task."""
SENDS_PROMPT: Final = frozenset(
    {Action.SUBMIT, Action.RETRY, Action.RELEASE, Action.REPLACE, Action.SPLIT_DEFECT},
)
"""Puts an attempt into a queue, so it carries a prompt and takes a lane."""
WORDED: Final = SENDS_PROMPT | {Action.WRITE_REFERENCE}
"""Carries words that are drafted, and cleared again with them."""


class Proposal(Noun):
    """What the planner would do about one task, and why. `leave-alone` is one like any other."""

    action: Action
    task: str | None = None
    """None for the window's actions."""
    attempt: int | None = None
    """The attempt it was decided on; if the task has moved on, the proposal is stale."""
    reason: str
    prompt: str | None = None
    """What would be sent, word for word, once it has been drafted."""
    defect: str | None = None
    """The id of the defect that is split off, waited for, released from or found again."""
    cause: Defect | None = None
    """What `open-issue` writes down: the shared cause, as it was observed."""
    spec: TaskSpec | None = None
    """The new task, when one is created."""
    queue: str | None = None
    """Where the task goes, for `move`, `submit` and `split-defect`."""
    remedy: str | None = None
    """The configured remedy or deploy that is carried out."""
    limit: int | None = None
    """The new window, for the window's actions."""
    charged: bool = False
    """The attempt that ended counts against the task's budget."""
    fresh_session: bool = False
    """Start the next attempt without the agent's earlier session."""


def digest(value: object) -> str:
    """The sha256 of the canonical JSON of `value`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def canonical(value: object) -> bytes:
    """Sorted keys, no white space, UTF-8, None left out of models: one value, one sequence."""
    plain: Any = value
    if isinstance(value, Noun):
        plain = value.model_dump(mode="json", exclude_none=True)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace")  # a lone surrogate is no character and has no bytes


@dataclass(frozen=True, slots=True)
class Cleared:
    """The guard's yes, bound to one proposal, these facts, this policy and a deadline."""

    proposal: Proposal
    rules: tuple[str, ...]
    """The ids of the rules that permitted it, sorted."""
    digest: str
    """Of proposal and facts."""
    policy: str
    """The hash of the policy it was cleared under."""
    deadline: datetime
    """After this it is void (`never_act_on_a_stale_clearance`)."""


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """A person may say yes; nobody else can."""

    proposal: Proposal
    rules: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No, and nobody can approve it away."""

    proposal: Proposal
    rules: tuple[str, ...]
    """The ids of the rules that refused it, sorted; never empty."""


Clearance = Cleared | NeedsApproval | Refused

ClearanceWord = Literal["cleared", "needs-approval", "refused"]


def word(clearance: Clearance) -> ClearanceWord:
    """The clearance's word in JSON and in the journal."""
    match clearance:
        case Cleared():
            return "cleared"
        case NeedsApproval():
            return "needs-approval"
        case Refused():
            return "refused"
