"""The closed set of things that may be done, and what a decision about one of them looks like."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from agent.core.model.nouns import Baseline, Defect, Noun
from agent.core.model.queueing import TaskSpec


class Action(StrEnum):
    """Every verb the supervisor has. Whatever is not here cannot be done."""

    LEAVE_ALONE = "leave-alone"
    INSPECT = "inspect"
    REVIEW = "review"
    JUDGE = "judge"
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


_ACTING: Final = ("mode", "consent", "approval", "suspended")
_SENDING: Final = (*_ACTING, "api", "submit_slot", "lanes", "status", "prompt", "defect")
_QUEUE: Final = (*_ACTING, "api", "status", "result")


@dataclass(frozen=True, slots=True)
class Verb:
    """The properties of one action. Its effect is one row of `runtime/effects`."""

    reads: tuple[str, ...] = ()
    """The facts the guard may read for it; it sees no others."""
    leads_to: str | None = None
    """The `status` of a task afterwards; None: unchanged."""
    settles: str | None = None
    """The `status` of the task's record once this act, or what it read, has ended the task."""
    once: bool = False
    """Never done twice to one attempt: its idempotency key is the same for ever."""
    acts: bool = True
    """It changes something outside the supervisor's own notes."""
    on_a_result: bool = True
    """It is about a task that may have a result; such a result is read first."""
    sends: bool = False
    """It puts an attempt into a queue, so it carries a prompt and takes a lane."""
    drafted: bool = False
    """It carries text that is drafted, and it is cleared again with that text."""
    by_queue: bool = False
    """It goes through the queue's own interface, and needs it within reach."""
    by_hand: bool = False
    """Only a person can carry it out: there is no effect of it here."""

    @property
    def goes_on(self) -> bool:
        """The task is in a queue again afterwards, also if it was settled before."""
        return self.leads_to == "queued"


def _sends(*reads: str, leads_to: str | None = None, settles: str | None = None) -> Verb:
    return Verb(
        (*_SENDING, *reads), leads_to, settles, once=True, sends=True, drafted=True, by_queue=True
    )  # fmt: skip


def _window(*reads: str) -> Verb:
    return Verb((*_ACTING, *reads), on_a_result=False)


VERBS: Final[dict[Action, Verb]] = {
    Action.LEAVE_ALONE: Verb(acts=False),
    Action.INSPECT: Verb(settles="cancelled", acts=False),
    Action.REVIEW: Verb(("result", "tokens"), acts=False),
    # Again once a defect that it met is fixed, or the branch is at another commit.
    Action.JUDGE: Verb((*_ACTING, "status", "result", "load")),
    Action.ACCEPT: Verb(
        (
            *(*_ACTING, "status", "result", "proof", "criteria", "truth"),
            *("judge", "shown", "agent"),
        ),
        "settled",
        "accepted",
        once=True,
    ),
    Action.SUBMIT: replace(_sends("backlog", leads_to="queued"), on_a_result=False),
    Action.RETRY: _sends("result", "continuable", "budget", leads_to="queued"),
    Action.RELEASE: _sends("result", "continuable", leads_to="queued"),
    Action.REPLACE: _sends("result", "continuable", leads_to="settled", settles="replaced"),
    Action.SPLIT_DEFECT: _sends("result", "failure"),
    Action.OPEN_ISSUE: Verb((*_ACTING, "result", "failure")),
    Action.PARK: Verb((*_ACTING, "result", "defect"), "parked", once=True),
    Action.GUIDE: Verb((*_QUEUE, "prompt"), by_queue=True, by_hand=True),
    Action.INTERRUPT: Verb((*_QUEUE, "liveness"), "finished", once=True, by_queue=True),
    Action.CANCEL: Verb((*_QUEUE, "liveness"), "cancelled", "cancelled", once=True, by_queue=True),
    Action.MOVE: Verb(_QUEUE, by_queue=True),
    Action.WIDEN_WINDOW: _window("quality", "scopes", "ceiling"),
    Action.NARROW_WINDOW: _window(),
    Action.LIVE_REMEDY: Verb((*_ACTING, "result", "failure", "defect", "persistence"), once=True),
    Action.DEPLOY: Verb(
        (*_ACTING, "result", "failure", "defect", "truth", "grant", "path"), once=True
    ),
    Action.WRITE_REFERENCE: Verb((*_ACTING, "result"), once=True, drafted=True),
    Action.HAND_OVER: Verb((*_ACTING, "result"), "settled", "handed-over", once=True),
    Action.TAKE_OVER: Verb((*_ACTING, "result", "takeover"), by_hand=True),
    Action.RUN_HEAVY_CHECK: Verb(("mode", "suspended", "host"), on_a_result=False, by_hand=True),
    # Never permitted: an invariant of their own refuses them whatever the facts are.
    Action.PATCH_DATABASE: Verb(acts=False),
    Action.REVERT_CHANGES: Verb(acts=False),
}
"""One row per action. The defaults are the careful side: it acts, on a result that is read first,
and may be done again under another key. `policies/approval.toml` says who is asked about it (tier
high by default), `policies/guard.toml` what permits it."""

READING: Final = frozenset({Action.LEAVE_ALONE, Action.INSPECT, Action.REVIEW})
"""Actions that change nothing outside the supervisor's own notes."""
WINDOW_ACTIONS: Final = frozenset({Action.WIDEN_WINDOW, Action.NARROW_WINDOW})
"""Actions that concern no single task."""
SENDS_PROMPT: Final = frozenset(action for action, verb in VERBS.items() if verb.sends)
DRAFTED: Final = frozenset(action for action, verb in VERBS.items() if verb.drafted)


class Proposal(Noun):
    """What the planner wants to do about one task, and why; `leave-alone` is a proposal too."""

    action: Action
    task: str | None = None
    """None for the window's actions."""
    attempt: int | None = None
    """The attempt it was decided on; if the task has moved on, the proposal is stale."""
    reason: str
    prompt: str | None = None
    """The exact text that is sent, once it has been drafted."""
    defect: str | None = None
    """The id of the defect that is split off, waited for, released from or found again."""
    cause: Defect | None = None
    """What `open-issue` records: the shared cause, as it was observed."""
    spec: TaskSpec | None = None
    """The new task, when one is created."""
    queue: str | None = None
    """Where the task goes, for `move`, `submit` and `split-defect`."""
    remedy: str | None = None
    """The configured remedy or deploy that is carried out."""
    baseline: Baseline | None = None
    """Where the branches of the attempt that is sent are just before it."""
    commit: str | None = None
    """What `judge` has checked; None: the head of the default branch."""
    base: str | None = None
    """The commit that the work started from, on which `judge` has the same checked."""
    heavy: bool = False
    """What `judge` has to run is heavy."""
    limit: int | None = None
    """The new window, for the window's actions."""
    charged: bool = False
    """The attempt that ended counts against the task's budget."""
    freed_by: str | None = None
    """Why it does not, where that is so only a few times: `text`, or a reason."""
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
    """The guard permits one proposal, for these facts, under this policy, until a deadline."""

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
    """Only a person may approve it."""

    proposal: Proposal
    rules: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Refused; nobody can approve it."""

    proposal: Proposal
    rules: tuple[str, ...]
    """The ids of the rules that refused it, sorted; never empty."""


Clearance = Cleared | NeedsApproval | Refused

ClearanceWord = Literal["cleared", "needs-approval", "refused"]


def word(clearance: Clearance) -> ClearanceWord:
    """The clearance in JSON and in the journal."""
    match clearance:
        case Cleared():
            return "cleared"
        case NeedsApproval():
            return "needs-approval"
        case Refused():
            return "refused"
