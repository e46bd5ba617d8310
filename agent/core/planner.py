"""The four questions, in order, and `decide`: the one brain of loop, approval, replay and tests.

Policy: "For each active task, evaluate four things in order: completion quality, completion state,
self-blocking risk, next action." One proposal per task and tick; recovery before refill; the same
task identity before any replacement.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.core import evidence, failures, guard, liveness, window
from agent.core.actions import SENDS_PROMPT, Action, Clearance, Proposal, word
from agent.core.facts import Situation, derive
from agent.core.failures import Failure
from agent.core.interventions import Case, propose
from agent.core.liveness import Liveness
from agent.core.model import SETTLED, Defect, Snapshot, Status, Task
from agent.core.policy import Policy
from agent.core.prompts import leans_on_context
from agent.core.window import Lanes

_FIXED: Final = ("observed", "recorded", "fixed")
_RELEASABLE: Final = frozenset({Status.PARKED, Status.FAILED, Status.SUCCEEDED})
_RECOVERY_FIRST: Final = (
    Action.INSPECT, Action.ACCEPT, Action.INTERRUPT, Action.OPEN_ISSUE, Action.PARK,
    Action.SPLIT_DEFECT, Action.RELEASE, Action.RETRY, Action.REPLACE, Action.SUBMIT,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Questions:
    """The policy's four questions, each answered with its reason."""

    completion_quality: str
    completion_state: str
    self_blocking_risk: str
    next_action: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about one task, why, and what the guard says."""

    proposal: Proposal
    clearance: Clearance
    facts: Mapping[str, str]
    liveness: Liveness | None = None
    questions: Questions | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """Everything that was assessed of one snapshot."""

    snapshot: Snapshot
    policy: Policy
    cases: Mapping[str, Case]
    lanes: Lanes
    suspended: str | None


@dataclass(frozen=True, slots=True)
class Decisions:
    """The answer to one snapshot."""

    sentence: str
    board: Board
    window: Decision | None
    """None: the window holds."""
    tasks: tuple[Decision, ...]
    """One per task, in the order of their ids."""
    in_order: tuple[Decision, ...]
    """The same, in the order in which they are carried out."""


def decide(snapshot: Snapshot, policy: Policy) -> Decisions:
    """Assess, plan and clear one snapshot; a pure function of its arguments."""
    board = assess(snapshot, policy)
    proposals = {
        task: propose(case, snapshot.now, policy.failures.most_attempts)
        for task, case in board.cases.items()
    }
    lanes, sends = board.lanes.free or 0, policy.submit.per_tick
    ordered = []
    for proposal in sorted(proposals.values(), key=_order):
        waiting = _wait_for_room(proposal, lanes, sends)
        decision = _decision(board, waiting or proposal, lanes, sends)
        ordered.append(decision)
        if _takes_a_lane(decision, policy):
            lanes, sends = lanes - 1, sends - 1
    by_task = sorted(ordered, key=lambda decision: _natural(decision.proposal.task or ""))
    moved = _window_decision(board)
    said = sentence(board, ordered, moved)
    return Decisions(said, board, moved, tuple(by_task), tuple(ordered))


def _takes_a_lane(decision: Decision, policy: Policy) -> bool:
    """Whether it would in `auto`: the same decisions in all modes, only who says yes differs."""
    if decision.proposal.action not in SENDS_PROMPT:
        return False
    as_in_auto = {**decision.facts, "mode": "auto", "consent": "given"}
    return guard.judge(decision.proposal.action, as_in_auto, policy.guard)[0]


def assess(snapshot: Snapshot, policy: Policy) -> Board:
    """Liveness, evidence, failure reason and window of everything in the snapshot."""
    alive = {
        task.id: liveness.assess(task, snapshot.now, policy.liveness) for task in snapshot.tasks
    }
    by_id = {defect.id: defect for defect in snapshot.defects}
    # Of two defects with one fingerprint the one that is further from being fixed counts.
    further = sorted(snapshot.defects, key=lambda one: (_FIXED.index(one.status), one.id))
    by_cause = {defect.fingerprint: defect for defect in reversed(further)}
    status_of = {task.id: task.status for task in snapshot.tasks}
    failed = {task.id: _failure(task, policy, by_id) for task in snapshot.tasks}
    defects = {task.id: _defect(task, failed[task.id], by_id, by_cause) for task in snapshot.tasks}
    causes = {task.id: _cause(task, failed[task.id], defects[task.id]) for task in snapshot.tasks}
    first: dict[str, str] = {}
    for one in sorted((task.id for task in snapshot.tasks), key=_natural):
        if cause := causes[one]:
            first.setdefault(cause, one)
    goes_first = _canaries(snapshot, defects)
    cases = {
        task.id: Case(
            task,
            alive[task.id],
            evidence.assess(task, policy.completion),
            failed[task.id],
            defects[task.id],
            first_of_cause=first.get(causes[task.id] or "") == task.id,
            release_first=task.id in goes_first,
            waits_for=window.waits_for_dependencies(task, status_of),
        )
        for task in snapshot.tasks
    }
    throttled = any(_throttled(task, failed[task.id], snapshot) for task in snapshot.tasks)
    lanes = window.assess(snapshot, alive, policy.window, throttled=throttled)
    suspended = liveness.suspension(snapshot, alive, policy.liveness)
    return Board(snapshot, policy, cases, lanes, suspended)


def _throttled(task: Task, failure: Failure | None, snapshot: Snapshot) -> bool:
    """A provider's limit ended this attempt, and the window has not answered it yet."""
    if failure is None or failure.reason != "rate-limit" or not task.inspected:
        return False
    changed = snapshot.window.changed_at
    return changed is None or task.finished_at is None or task.finished_at >= changed


def _failure(task: Task, policy: Policy, by_id: Mapping[str, Defect]) -> Failure | None:
    found = failures.assess(task, policy.failures)
    fixes = by_id.get(task.fixes or "")
    if found and fixes and found.fingerprint == fixes.fingerprint:
        # The task that is to mend the defect still sees it: that is its own work undone, not a
        # reason to wait for itself.
        own = policy.failures.by_id["task-fault"]
        return Failure(
            own.id, own.why, own.rule, charged=own.charged, infrastructure=own.infrastructure
        )
    return found


def _defect(
    task: Task,
    failure: Failure | None,
    by_id: Mapping[str, Defect],
    by_cause: Mapping[str, Defect],
) -> Defect | None:
    waits_for = by_id.get(task.blocked_by) if task.blocked_by else None
    if task.status is Status.PARKED and waits_for is not None:
        return waits_for
    if failure is not None and failure.fingerprint is not None:
        return by_cause.get(failure.fingerprint)
    return waits_for


def _cause(task: Task, failure: Failure | None, defect: Defect | None) -> str | None:
    """What joins tasks that wait for the same thing; only unread results stand aside."""
    if task.status is Status.PARKED:
        return defect.fingerprint if defect else None
    if failure is None or not task.inspected:
        return None
    return failure.fingerprint


def _canaries(snapshot: Snapshot, defects: Mapping[str, Defect | None]) -> frozenset[str]:
    """Which tasks may be released: all once one has gone past the defect, else only the first."""
    waiting: dict[str, list[str]] = {}
    out: set[str] = set()
    for task in sorted(snapshot.tasks, key=lambda one: _natural(one.id)):
        defect = defects[task.id]
        if defect is None or task.status in (*SETTLED, Status.CANCELLED):
            continue
        if task.canary:
            out.add(defect.id)
        elif task.status in _RELEASABLE and task.session_continuable is not False:
            waiting.setdefault(defect.id, []).append(task.id)
    proven = {defect.id for defect in snapshot.defects if defect.proven_by}
    return frozenset(
        one
        for defect, tasks in waiting.items()
        for one in (tasks if defect in proven else [] if defect in out else tasks[:1])
    )


def _order(proposal: Proposal) -> tuple[int, tuple[object, ...]]:
    known = {action: place for place, action in enumerate(_RECOVERY_FIRST)}
    return known.get(proposal.action, len(known)), _natural(proposal.task or "")


def _natural(name: str) -> tuple[object, ...]:
    """T-2 before T-10, whatever the order in the file."""
    parts = re.split(r"(\d+)", name)
    numbers = ((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
    return (*numbers, (2, 0, name))


def _wait_for_room(proposal: Proposal, lanes: int, sends: int) -> Proposal | None:
    if proposal.action not in SENDS_PROMPT or (lanes > 0 and sends > 0):
        return None
    what = "a free lane" if lanes <= 0 else "the next tick, so that submits stay few at a time"
    reason = f"{proposal.action} waits for {what}: {proposal.reason}"
    return Proposal(
        action=Action.LEAVE_ALONE, task=proposal.task, attempt=proposal.attempt, reason=reason
    )


def _decision(board: Board, proposal: Proposal, lanes: int, sends: int) -> Decision:
    case = board.cases[proposal.task or ""]
    known, answer = clear(board, proposal, lanes=lanes, sends=sends)
    return Decision(proposal, answer, known, case.liveness, _questions(case, proposal))


def clear(
    board: Board,
    proposal: Proposal,
    *,
    lanes: int | None = None,
    sends: int | None = None,
    prompt_stands: bool = True,
    approved: bool = False,
) -> tuple[dict[str, str], Clearance]:
    """Put one proposal to the guard.

    `lanes` and `sends` are what is left of both when earlier proposals of the tick are carried
    out (None: nothing has been taken yet); `prompt_stands` is the linter's word on a draft.
    """
    case = board.cases.get(proposal.task) if proposal.task else None
    situation = Situation(
        snapshot=board.snapshot,
        task=case.task if case else None,
        suspended="yes" if board.suspended else "no",
        liveness=_liveness_word(case),
        proof=case.proof.state if case else "unknown",
        criteria=_criteria_word(case),
        failure=_failure_word(case),
        charged=proposal.charged,
        defect=_defect_word(case),
        prompt=_prompt_word(proposal, stands=prompt_stands),
        quality=board.lanes.quality,
        scopes=board.lanes.scopes,
        ceiling=board.lanes.ceiling,
        lanes_free=board.lanes.free if lanes is None else lanes,
        sends_left=board.policy.submit.per_tick if sends is None else sends,
        approved=approved,
    )
    known = derive(proposal.action, situation)
    return known, guard.clear(proposal, known, board.policy, board.snapshot.now)


def ask(board: Board, action: Action, task: str | None) -> tuple[Proposal, Clearance]:
    """Put one action to the guard without proposing it; asking changes no decision."""
    case = board.cases.get(task) if task else None
    charged = case is not None and not (case.failure and not case.failure.charged)
    proposal = Proposal(
        action=action,
        task=task,
        attempt=case.task.attempt if case else None,
        reason="asked",
        prompt=case.task.prompt if case and action in (*SENDS_PROMPT, Action.GUIDE) else None,
        charged=charged,
    )
    return proposal, clear(board, proposal)[1]


def _liveness_word(case: Case | None) -> str:
    if case is None or case.task.status is None:
        return "unknown"
    return "dead" if case.liveness.actionable else case.liveness.effective


def _criteria_word(case: Case | None) -> str:
    word = case.proof.criteria if case else "unknown"
    return "unknown" if word in ("needs-review", "cannot-tell") else word


def _failure_word(case: Case | None) -> str:
    if case is None:
        return "unknown"
    if case.failure is None:
        return "none"
    return "infrastructure" if case.failure.infrastructure else "own"


def _defect_word(case: Case | None) -> str:
    if case is None:
        return "unknown"
    if case.defect is not None:
        return "unrecorded" if case.defect.status == "observed" else case.defect.status
    if case.task.blocked_by:
        return "unknown"
    return "unrecorded" if case.failure and case.failure.rule == "split" else "none"


def _prompt_word(proposal: Proposal, *, stands: bool) -> str:
    if not proposal.prompt or not proposal.prompt.strip():
        return "unknown"
    leans = not stands or leans_on_context(proposal.prompt)
    return "leans-on-context" if leans else "self-contained"


def _window_decision(board: Board) -> Decision | None:
    lanes = board.lanes
    if lanes.action == "hold":
        return None
    action = Action.WIDEN_WINDOW if lanes.action == "widen" else Action.NARROW_WINDOW
    proposal = Proposal(action=action, reason=lanes.reason, limit=lanes.target)
    known, answer = clear(board, proposal)
    return Decision(proposal, answer, known)


def _questions(case: Case, proposal: Proposal) -> Questions:
    proof, failure = case.proof, case.failure
    quality = f"{proof.state}: {proof.gaps[0]}" if proof.gaps else f"{proof.state}"
    if proof.state == "proven":
        quality = f"proven; criteria {proof.criteria}"
    risk = "none seen"
    if failure is not None:
        risk = f"{failure.reason}: {failure.why}"
    if case.defect is not None:
        risk = f"blocked by {case.defect.id} ({case.defect.status})"
    return Questions(
        completion_quality=quality,
        completion_state=f"{case.task.status or 'unknown'}: {case.liveness.reason}",
        self_blocking_risk=risk,
        next_action=f"{proposal.action}: {proposal.reason}",
    )


def sentence(board: Board, decisions: Sequence[Decision], moved: Decision | None) -> str:
    """Say the tick in one sentence of English."""
    if board.suspended:
        return f"Suspended: {board.suspended}."
    words = [decision.liveness.effective for decision in decisions if decision.liveness]
    parts = [
        f"{count} task{'s' if count > 1 else ''} {word.replace('-', ' ')}"
        for word in ("live", "at-risk")
        if (count := words.count(word))
    ]
    grouped: dict[str, list[str]] = {}
    for decision in (*decisions, *([moved] if moved else [])):
        if decision.proposal.action is not Action.LEAVE_ALONE:
            answer = word(decision.clearance)
            only_observed = decision.clearance.rules == (guard.OBSERVING,)
            front = {"cleared": "", "needs-approval": "needs approval: ", "refused": "refused: "}
            verb = ("would " if only_observed else front[answer]) + decision.proposal.action
            grouped.setdefault(verb, []).append(decision.proposal.task or "")
    parts += [f"{verb} {', '.join(tasks)}".strip() for verb, tasks in grouped.items()]
    said = ", ".join(parts if grouped else [*parts, "nothing to do"])
    return f"{said[0].upper()}{said[1:]}."
