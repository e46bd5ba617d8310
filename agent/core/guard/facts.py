"""The guard's vocabulary: each fact, its few values (`unknown` first), who may read which.

A fact is derived from what was assessed of the snapshot and from the proposal it is asked about.
Facts come from systems of record only; no text of a worker can move one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.core.assess import judgement
from agent.core.assess.assessment import Assessment, TaskAssessment
from agent.core.model.actions import VERBS, Action, Proposal
from agent.core.model.nouns import SETTLED, ProofKind, Snapshot, Status, Task
from agent.core.prompts.linter import leans_on_context

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
    "judge": ("unknown", "none", "failed", "passed"),
    "shown": ("unknown", "no", "person", "waived", "yes"),
    "agent": ("unknown", "alive", "gone"),
    "load": ("unknown", "heavy", "light"),
    "backlog": ("unknown", "unread", "read"),
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

FOOTPRINT: Final = {action: verb.reads for action, verb in VERBS.items()}
"""The facts each action may read; the guard sees no others."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the guard is asked about: one proposal, the assessment, and who consented."""

    assessment: Assessment
    proposal: Proposal
    lanes: int | None
    """Free lanes, once the earlier proposals of the tick are carried out."""
    sends: int
    """New attempts that may still be created in this tick."""
    prompt_ok: bool = True
    """The linter found nothing wrong with the drafted prompt."""
    approved: bool = False
    """A person approved exactly this."""
    consented: bool = False
    """`policies/approval.toml` or a rule that a person made consents; this counts as consent, never
    as approval by a person."""

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that was assessed."""
        return self.assessment.snapshot

    @property
    def assessed(self) -> TaskAssessment | None:
        """What was assessed of the task; None: it is not there, or the proposal names none."""
        return self.assessment.tasks.get(self.proposal.task or "")

    @property
    def task(self) -> Task | None:
        """The task."""
        return self.assessed.task if self.assessed else None


def derive(situation: Situation) -> tuple[dict[str, str], tuple[str, ...]]:
    """The facts that the proposal's action may read.

    And the names of facts that could not be derived: these are `unknown`, and a bug.
    """
    found: dict[str, str] = {}
    failed = []
    for name in FOOTPRINT[situation.proposal.action]:
        found[name] = "unknown"
        try:
            value = _DERIVE[name](situation)
        except Exception:  # noqa: BLE001 - named to the guard, which refuses whatever needs it
            failed.append(name)
            continue
        if value in FACTS[name]:
            found[name] = value
        else:
            failed.append(name)
    return found, tuple(failed)


def _mode(situation: Situation) -> str:
    return situation.snapshot.mode or "unknown"


def _consent(situation: Situation) -> str:
    """In `auto` the user consented in advance; in `approve` a person consents each time."""
    if situation.snapshot.mode is None:
        return "unknown"
    given = situation.snapshot.mode == "auto" or situation.approved or situation.consented
    return "given" if given else "missing"


def _approval(situation: Situation) -> str:
    return "granted" if situation.approved else "none"


def _suspended(situation: Situation) -> str:
    return "yes" if situation.assessment.suspended else "no"


def _api(situation: Situation) -> str:
    reachable = situation.snapshot.control_plane.reachable
    return {None: "unknown", True: "reachable", False: "unreachable"}[reachable]


def _submit_slot(situation: Situation) -> str:
    lock = situation.snapshot.control_plane.submit_lock
    if lock is None or lock == "unknown":
        return "unknown"
    return "free" if lock == "free" and situation.sends > 0 else "taken"


def _lanes(situation: Situation) -> str:
    if situation.lanes is None:
        return "unknown"
    return "free" if situation.lanes > 0 else "full"


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
    """Whether there is a result that nobody has read, the late ones included.

    What was pushed and could be judged is read in full only once it is judged.
    """
    task, assessed = situation.task, situation.assessed
    if task is None or assessed is None or task.word is None:
        return "unknown"
    if any(not late.inspected for late in task.late_reports):
        return "unread"
    if task.status is not None and _STATUS[task.status] in ("finished", "cancelled"):
        is_judged = (
            assessed.judged.state not in ("unjudged", "missing", "ordered")
            or situation.proposal.action in _BEFORE_IT_IS_JUDGED
        )
        return "read" if task.inspected and is_judged else "unread"
    return "none"


_BEFORE_IT_IS_JUDGED: Final = frozenset({Action.INSPECT, Action.JUDGE, Action.HAND_OVER})


def _liveness(situation: Situation) -> str:
    assessed = situation.assessed
    if assessed is None or assessed.task.word is None:
        return "unknown"
    return "dead" if assessed.liveness.actionable else assessed.liveness.effective


def _proof(situation: Situation) -> str:
    return situation.assessed.proof.state if situation.assessed else "unknown"


def _criteria(situation: Situation) -> str:
    word = situation.assessed.proof.criteria if situation.assessed else "unknown"
    return "unknown" if word in ("needs-review", "cannot-tell") else word


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


def _judge(situation: Situation) -> str:
    """What a judge host found of exactly what was pushed; `none`: there is nothing to run."""
    judged = situation.assessed.judged.state if situation.assessed else "unknown"
    return judged if judged in FACTS["judge"] else "unknown"


def _shown(situation: Situation) -> str:
    """Whether something shows the change. Who approves has looked at it: a person's word."""
    if situation.assessed is None:
        return "unknown"
    shown = situation.assessed.judged.shown
    return "person" if shown == "no" and situation.approved else shown


def _agent(situation: Situation) -> str:
    """Whether an agent may still change what was judged."""
    if situation.task is None:
        return "unknown"
    gone = judgement.agent_gone(situation.task)
    return {None: "unknown", True: "gone", False: "alive"}[gone]


def _load(situation: Situation) -> str:
    """Whether the commands are too heavy for this machine. On a worker none is."""
    if situation.assessed is None:
        return "unknown"
    if situation.assessed.judged.heavy and situation.snapshot.supervisor.host is None:
        return "unknown"
    return "heavy" if situation.assessed.judged.too_heavy else "light"


def _backlog(situation: Situation) -> str:
    """Whether any task has a result that can be read and that nobody has read."""
    return "unread" if situation.assessment.unread else "read"


def _failure(situation: Situation) -> str:
    assessed = situation.assessed
    if assessed is None:
        return "unknown"
    if assessed.failure is None:
        return "none"
    return "infrastructure" if assessed.failure.infrastructure else "own"


def _defect(situation: Situation) -> str:
    assessed = situation.assessed
    if assessed is None:
        return "unknown"
    if assessed.defect is not None:
        if assessed.defect.status == "recorded" and assessed.defect.remedied:
            return "bridged"
        return "unrecorded" if assessed.defect.status == "observed" else assessed.defect.status
    if assessed.task.blocked_by:
        return "unknown"
    return "unrecorded" if assessed.failure and assessed.failure.rule == "split" else "none"


def _continuable(situation: Situation) -> str:
    known = situation.task.session_continuable if situation.task else None
    return {None: "unknown", True: "yes", False: "no"}[known]


def _budget(situation: Situation) -> str:
    """Infrastructure reasons never use up a task's attempts."""
    if not situation.proposal.charged:
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


def _prompt(situation: Situation) -> str:
    prompt = situation.proposal.prompt
    if not prompt or not prompt.strip():
        return "unknown"
    leans = not situation.prompt_ok or leans_on_context(prompt)
    return "leans-on-context" if leans else "self-contained"


def _ceiling(situation: Situation) -> str:
    """The hard maximum holds for the limit that is proposed, too."""
    assessment, limit = situation.assessment, situation.proposal.limit
    beyond = limit is not None and limit > assessment.policy.window.maximum
    return "reached" if beyond else assessment.lanes.ceiling


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


def _persistence(situation: Situation) -> str:
    """Whether a task for the lasting fix exists."""
    assessed = situation.assessed
    if assessed is None or assessed.defect is None:
        return "unknown"
    return "planned" if assessed.defect.fixed_by is not None else "none"


_DERIVE: Final[dict[str, Callable[[Situation], str]]] = {
    "mode": _mode,
    "consent": _consent,
    "approval": _approval,
    "suspended": _suspended,
    "api": _api,
    "submit_slot": _submit_slot,
    "lanes": _lanes,
    "status": _status,
    "result": _result,
    "liveness": _liveness,
    "proof": _proof,
    "criteria": _criteria,
    "truth": _truth,
    "judge": _judge,
    "shown": _shown,
    "agent": _agent,
    "load": _load,
    "backlog": _backlog,
    "failure": _failure,
    "defect": _defect,
    "continuable": _continuable,
    "budget": _budget,
    "tokens": _tokens,
    "prompt": _prompt,
    "quality": lambda situation: situation.assessment.lanes.quality,
    "scopes": lambda situation: situation.assessment.lanes.scopes,
    "ceiling": _ceiling,
    "host": _host,
    "takeover": _takeover,
    "grant": _grant,
    "path": _path,
    "persistence": _persistence,
}
