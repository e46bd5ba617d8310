"""The guard's vocabulary: each fact, its few values (`unknown` first), who may read which.

A fact is derived from a `Situation`: the snapshot, one task of it, and what the assessments said of
that task. Facts come from systems of record only; no text of a worker can move one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.core.model.actions import Action
from agent.core.model.nouns import SETTLED, ProofKind, Snapshot, Status, Task

FACTS: Final[dict[str, tuple[str, ...]]] = {
    "mode": ("unknown", "observe", "approve", "auto"),
    "consent": ("unknown", "missing", "given"),
    "approval": ("unknown", "none", "granted"),
    "suspended": ("unknown", "yes", "no"),
    "api": ("unknown", "unreachable", "reachable"),
    "submit_slot": ("unknown", "taken", "free"),
    "lanes": ("unknown", "full", "free"),
    "status": (
        "unknown", "planned", "queued", "working", "finished", "cancelled", "parked", "settled",
    ),
    "result": ("unknown", "unread", "read", "none"),
    "liveness": ("unknown", "live", "at-risk", "dead", "not-running"),
    "proof": ("unknown", "missing", "claimed", "contradicted", "stale", "proven"),
    "criteria": ("unknown", "none", "unmet", "met"),
    "truth": ("unknown", "local", "remote"),
    "failure": ("unknown", "none", "own", "infrastructure"),
    "defect": ("unknown", "none", "unrecorded", "recorded", "bridged", "fixed"),
    "continuable": ("unknown", "yes", "no"),
    "budget": ("unknown", "spent", "left"),
    "tokens": ("unknown", "spent", "left"),
    "prompt": ("unknown", "leans-on-context", "self-contained"),
    "quality": ("unknown", "slipping", "steady"),
    "scopes": ("unknown", "overlapping", "distinct"),
    "ceiling": ("unknown", "reached", "below"),
    "host": ("unknown", "master", "worker"),
    "takeover": ("unknown", "no", "asked"),
    "grant": ("unknown", "no", "given"),
    "path": ("unknown", "no", "established"),
    "persistence": ("unknown", "none", "planned"),
}  # fmt: skip

_ACTING: Final = ("mode", "consent", "approval", "suspended")
_SENDING: Final = (*_ACTING, "api", "submit_slot", "lanes", "status", "prompt", "defect")

FOOTPRINT: Final[dict[Action, tuple[str, ...]]] = {
    Action.LEAVE_ALONE: (),
    Action.INSPECT: (),
    Action.REVIEW: ("result", "tokens"),
    Action.ACCEPT: (*_ACTING, "status", "result", "proof", "criteria", "truth"),
    Action.SUBMIT: _SENDING,
    Action.RETRY: (*_SENDING, "result", "continuable", "budget"),
    Action.RELEASE: (*_SENDING, "result", "continuable"),
    Action.REPLACE: (*_SENDING, "result", "continuable"),
    Action.SPLIT_DEFECT: (*_SENDING, "result", "failure"),
    Action.OPEN_ISSUE: (*_ACTING, "result", "failure"),
    Action.PARK: (*_ACTING, "result", "defect"),
    Action.GUIDE: (*_ACTING, "api", "status", "result", "prompt"),
    Action.INTERRUPT: (*_ACTING, "api", "status", "result", "liveness"),
    Action.CANCEL: (*_ACTING, "api", "status", "result", "liveness"),
    Action.MOVE: (*_ACTING, "api", "status", "result"),
    Action.WIDEN_WINDOW: (*_ACTING, "quality", "scopes", "ceiling"),
    Action.NARROW_WINDOW: _ACTING,
    Action.LIVE_REMEDY: (*_ACTING, "result", "failure", "defect", "persistence"),
    Action.DEPLOY: (*_ACTING, "result", "failure", "defect", "truth", "grant", "path"),
    Action.WRITE_REFERENCE: (*_ACTING, "result"),
    Action.HAND_OVER: (*_ACTING, "result"),
    Action.TAKE_OVER: (*_ACTING, "result", "takeover"),
    Action.PATCH_DATABASE: (),
    Action.RUN_HEAVY_CHECK: ("mode", "suspended", "host"),
    Action.REVERT_CHANGES: (),
}
"""The facts each action may read; the guard sees no others."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One task in its snapshot, with the assessments reduced to the vocabulary's words."""

    snapshot: Snapshot
    task: Task | None
    suspended: str = "unknown"
    liveness: str = "unknown"
    proof: str = "unknown"
    criteria: str = "unknown"
    failure: str = "unknown"
    charged: bool = True
    """The failed attempt would count against the budget."""
    defect: str = "unknown"
    persistence: str = "unknown"
    prompt: str = "unknown"
    quality: str = "unknown"
    scopes: str = "unknown"
    ceiling: str = "unknown"
    lanes_free: int | None = None
    sends_left: int | None = None
    """New attempts that may still be created in this tick."""
    approved: bool = False
    """A person has said yes to exactly this."""
    consented: bool = False
    """`policies/approval.toml` or a rule a person made speaks for this; it stands for consent,
    never for a person's own word."""


def derive(action: Action, situation: Situation) -> dict[str, str]:
    """The facts this action may read, in the vocabulary's words."""
    return told(action, situation)[0]


def told(action: Action, situation: Situation) -> tuple[dict[str, str], tuple[str, ...]]:
    """The same, and the facts that could not be derived: these are `unknown`, and a bug."""
    found: dict[str, str] = {}
    failed = []
    for name in FOOTPRINT[action]:
        value = None
        try:
            value = _DERIVE[name](situation)
        except Exception:  # noqa: BLE001 - named to the guard, which refuses whatever needs it
            failed.append(name)
        if value is not None and value not in FACTS[name]:
            failed.append(name)
            value = None
        found[name] = value or "unknown"
    return found, tuple(failed)


def _mode(situation: Situation) -> str:
    return situation.snapshot.mode or "unknown"


def _consent(situation: Situation) -> str:
    """In `auto` the user has said yes beforehand; in `approve` a person says it each time."""
    if situation.snapshot.mode is None:
        return "unknown"
    given = situation.snapshot.mode == "auto" or situation.approved or situation.consented
    return "given" if given else "missing"


def _approval(situation: Situation) -> str:
    return "granted" if situation.approved else "none"


def _api(situation: Situation) -> str:
    reachable = situation.snapshot.control_plane.reachable
    return {None: "unknown", True: "reachable", False: "unreachable"}[reachable]


def _submit_slot(situation: Situation) -> str:
    lock = situation.snapshot.control_plane.submit_lock
    if lock is None or lock == "unknown" or situation.sends_left is None:
        return "unknown"
    return "free" if lock == "free" and situation.sends_left > 0 else "taken"


def _lanes(situation: Situation) -> str:
    if situation.lanes_free is None:
        return "unknown"
    return "free" if situation.lanes_free > 0 else "full"


def _status(situation: Situation) -> str:
    task = situation.task
    if task is None or task.word is None:
        return "unknown"
    if task.held in SETTLED:
        return "settled"
    return "parked" if task.held == "parked" or task.status is None else _STATUS[task.status]


_STATUS: Final = {
    Status.PLANNED: "planned",
    Status.QUEUED: "queued",
    Status.RUNNING: "working",
    Status.JUDGING: "working",
    Status.SUCCEEDED: "finished",
    Status.FAILED: "finished",
    Status.LOST: "finished",
    Status.CANCELLED: "cancelled",
}


def _result(situation: Situation) -> str:
    """Whether there is a result that nobody has read, the late ones included."""
    task = situation.task
    if task is None or task.word is None:
        return "unknown"
    if any(not late.inspected for late in task.late_reports):
        return "unread"
    if task.status is not None and _STATUS[task.status] in ("finished", "cancelled"):
        return "read" if task.inspected else "unread"
    return "none"


def _truth(situation: Situation) -> str:
    """Whether what was delivered was seen on the remote, not in a local checkout or a claim."""
    task = situation.task
    if task is None:
        return "unknown"
    pushed = [item for item in task.evidence if item.kind is ProofKind.COMMIT_PUSHED]
    if any(item.origin == "observed" and item.holds for item in pushed):
        return "remote"
    if pushed:
        return "local"
    observed = any(item.origin == "observed" and item.holds for item in task.evidence)
    return "remote" if observed else "unknown"


def _continuable(situation: Situation) -> str:
    known = situation.task.session_continuable if situation.task else None
    return {None: "unknown", True: "yes", False: "no"}[known]


def _budget(situation: Situation) -> str:
    """Infrastructure reasons never use up a task's attempts."""
    if not situation.charged:
        return "left"
    left = situation.task.attempts_left if situation.task else None
    if left is None:
        return "unknown"
    return "left" if left > 0 else "spent"


def _tokens(situation: Situation) -> str:
    """What the budgets of task and wave leave for one more call of a model; unset: none is used."""
    if situation.task is None:
        return "unknown"
    left = situation.task.tokens_left
    if left is None:
        return "left"
    return "left" if left > 0 else "spent"


def _host(situation: Situation) -> str:
    return situation.snapshot.supervisor.host or "unknown"


def _takeover(situation: Situation) -> str:
    task = situation.task
    if task is None:
        return "unknown"
    return "asked" if task.id in situation.snapshot.wave.grants.manual_takeover else "no"


def _grant(situation: Situation) -> str:
    known = situation.snapshot.wave.grants.production_repair
    return {None: "unknown", True: "given", False: "no"}[known]


def _path(situation: Situation) -> str:
    known = situation.snapshot.wave.grants.established_deploy_path
    return {None: "unknown", True: "established", False: "no"}[known]


_DERIVE: Final[dict[str, Callable[[Situation], str]]] = {
    "mode": _mode,
    "consent": _consent,
    "approval": _approval,
    "suspended": lambda situation: situation.suspended,
    "api": _api,
    "submit_slot": _submit_slot,
    "lanes": _lanes,
    "status": _status,
    "result": _result,
    "liveness": lambda situation: situation.liveness,
    "proof": lambda situation: situation.proof,
    "criteria": lambda situation: situation.criteria,
    "truth": _truth,
    "failure": lambda situation: situation.failure,
    "defect": lambda situation: situation.defect,
    "continuable": _continuable,
    "budget": _budget,
    "tokens": _tokens,
    "prompt": lambda situation: situation.prompt,
    "quality": lambda situation: situation.quality,
    "scopes": lambda situation: situation.scopes,
    "ceiling": lambda situation: situation.ceiling,
    "host": _host,
    "takeover": _takeover,
    "grant": _grant,
    "path": _path,
    "persistence": lambda situation: situation.persistence,
}
