"""The four questions, in order, and `decide`: the one brain of loop, approval, replay and tests.

Policy: "For each active task, evaluate four things in order: completion quality, completion state,
self-blocking risk, next action." One proposal per task and tick; recovery before refill; the same
task identity before any replacement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic.alias_generators import to_camel

from agent.core.assess.assessment import Assessment, TaskAssessment, assess
from agent.core.assess.liveness import Liveness
from agent.core.assess.write_scopes import overlap
from agent.core.guard import guard
from agent.core.guard.facts import Situation, derive
from agent.core.model.actions import SENDS_PROMPT, Action, Clearance, Proposal, digest, word
from agent.core.model.nouns import ACTIVE, TERMINAL, Defect, Failing, Snapshot, Status
from agent.core.model.policy import Policy
from agent.core.model.text import natural
from agent.core.plan import decision_basis
from agent.core.plan.lessons import Lesson, document_of, lesson_of
from agent.core.plan.next_action import propose

SAME_FAILURES: Final = 3
"""So often in a row an action may fail in the same way before it waits and a person is shown it."""
FIRST_PAUSE: Final = timedelta(minutes=5)
"""The first wait; each further failure doubles it."""
LONGEST_PAUSE: Final = timedelta(hours=1)
_AROUND: Final = {"suspended": "no", "api": "reachable", "submit_slot": "free"}
"""The facts that are about no task, and what they have to be."""
_RECOVERY_FIRST: Final = (
    Action.INSPECT, Action.JUDGE, Action.ACCEPT, Action.INTERRUPT, Action.OPEN_ISSUE, Action.PARK,
    Action.SPLIT_DEFECT, Action.LIVE_REMEDY, Action.DEPLOY, Action.RELEASE, Action.RETRY,
    Action.REPLACE, Action.SUBMIT,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Questions:
    """The policy's four questions, each answered with its reason."""

    completion_quality: str
    completion_state: str
    self_blocking_risk: str
    next_action: str

    def named(self) -> dict[str, str]:
        """The answers by the keys of the journal and of `wavekeeper.decisions/1`."""
        return {to_camel(name): getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about one task, why, and what the guard says."""

    proposal: Proposal
    clearance: Clearance
    facts: Mapping[str, str]
    liveness: Liveness | None = None
    questions: Questions | None = None
    lesson: Lesson | None = None
    """Where its failure feeds back into, if it blocks the delivery or came back."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """The answer to one snapshot."""

    sentence: str
    assessment: Assessment
    window: Decision | None
    """None: the window holds."""
    tasks: tuple[Decision, ...]
    """One per task, in the order of their ids."""
    in_order: tuple[Decision, ...]
    """The same, in the order in which they are carried out."""


def decide(snapshot: Snapshot, policy: Policy) -> Decisions:
    """Assess, plan and clear one snapshot; a pure function of its arguments."""
    assessment = assess(snapshot, policy)
    proposals = {
        task: _unless_held_back(
            assessed, propose(assessed, snapshot.now, policy.failures.most_attempts), snapshot.now
        )
        for task, assessed in assessment.tasks.items()
    }
    if (beside := side_work(assessment, proposals)) is not None:
        assessed = assessment.tasks[beside.task or ""]
        proposals[assessed.task.id] = _unless_held_back(assessed, beside, snapshot.now)
    lanes, sends = assessment.lanes.free or 0, sends_of(assessment)
    ordered = []
    for proposal in sorted(proposals.values(), key=_order):
        waiting = _wait_for_readers(proposal, assessment) or _wait_for_room(proposal, lanes, sends)
        decision = _decision(assessment, waiting or proposal, lanes, sends)
        if (hindered := _wait_for_surroundings(decision, assessment)) is not None:
            decision = _decision(assessment, hindered, lanes, sends)
        ordered.append(decision)
        if _takes_a_lane(decision, policy):
            lanes, sends = lanes - 1, sends - 1
    by_task = sorted(ordered, key=lambda decision: natural(decision.proposal.task or ""))
    window = _window_decision(assessment)
    summary = sentence(assessment, ordered, window)
    return Decisions(summary, assessment, window, tuple(by_task), tuple(ordered))


def sends_of(assessment: Assessment) -> int:
    """How many new attempts may go out in one tick: fewer from a host that is short of memory."""
    submit = assessment.policy.submit
    low = assessment.snapshot.supervisor.low_memory
    return submit.per_tick_low_memory if low else submit.per_tick


def _takes_a_lane(decision: Decision, policy: Policy) -> bool:
    return decision.proposal.action in SENDS_PROMPT and _is_permitted(decision, policy)


def _is_permitted(decision: Decision, policy: Policy, **other: str) -> bool:
    """Whether it would be in `auto`: all modes decide alike, only who agrees differs.

    `other`: facts that are taken to be otherwise.
    """
    facts = {**decision.facts, "mode": "auto", "consent": "given", **other}
    return guard.judge(decision.proposal.action, facts, policy.guard)[0]


def _order(proposal: Proposal) -> tuple[int, tuple[object, ...]]:
    known = {action: place for place, action in enumerate(_RECOVERY_FIRST)}
    return known.get(proposal.action, len(known)), natural(proposal.task or "")


def _unless_held_back(assessed: TaskAssessment, proposal: Proposal, now: datetime) -> Proposal:
    return _unless_failing(assessed, _unless_declined(assessed, proposal), now)


def _unless_declined(assessed: TaskAssessment, proposal: Proposal) -> Proposal:
    """What a person declined is not proposed again, and takes no lane, until its basis changes."""
    if not assessed.task.declined:
        return proposal
    rests_on = decision_basis.derive(assessed, proposal)
    why = assessed.task.declined.get(decision_basis.declined_key(proposal.action, rests_on))
    if why is None:
        return proposal
    return Proposal(
        action=Action.LEAVE_ALONE, task=proposal.task, attempt=proposal.attempt, reason=why
    )


def _wait_for_readers(proposal: Proposal, assessment: Assessment) -> Proposal | None:
    """Policy: "Only then should the supervisor decide whether to refill the concurrency window"."""
    if proposal.action is not Action.SUBMIT or not assessment.unread:
        return None
    named = ", ".join(assessment.unread)
    reason = f"submit waits until the result of {named} has been read"
    return Proposal(
        action=Action.LEAVE_ALONE, task=proposal.task, attempt=proposal.attempt, reason=reason
    )


def _unless_failing(assessed: TaskAssessment, proposal: Proposal, now: datetime) -> Proposal:
    """What fails in the same way again and again waits longer each time, or until it may be other.

    A person sees it meanwhile: whatever hinders it does not go away by trying.
    """
    failing = assessed.task.failing
    if failing is None or failing.action != proposal.action:
        return proposal
    until = _pause_of(failing)
    if until is None or now >= until:
        return proposal
    if failing.basis != digest(decision_basis.derive(assessed, proposal)):
        return proposal
    return Proposal(
        action=Action.LEAVE_ALONE,
        task=proposal.task,
        attempt=proposal.attempt,
        reason=_describe(failing),
    )


def _pause_of(failing: Failing) -> datetime | None:
    """When it is tried again; None: at once."""
    if failing.times < SAME_FAILURES:
        return None
    pause = FIRST_PAUSE
    for _ in range(failing.times - SAME_FAILURES):
        pause = min(2 * pause, LONGEST_PAUSE)
    return failing.at + pause


def waits_after_failures(assessed: TaskAssessment | None, proposal: Proposal) -> bool:
    """Whether this is decided because what would be done keeps failing."""
    failing = assessed.task.failing if assessed is not None else None
    return failing is not None and proposal.reason == _describe(failing)


def _describe(failing: Failing) -> str:
    until = _pause_of(failing) or failing.at
    return (
        f"{failing.action} failed {failing.times} times in the same way, and is tried again after "
        f"{until:%Y-%m-%d %H:%M:%SZ}: {failing.said}"
    )


def _wait_for_surroundings(decision: Decision, assessment: Assessment) -> Proposal | None:
    """What only the surroundings of the task forbid waits for them, and no one has to refuse it."""
    policy, proposal = assessment.policy, decision.proposal
    wrong = [name for name, good in _AROUND.items() if decision.facts.get(name, good) != good]
    if not wrong or _is_permitted(decision, policy):
        return None
    if not _is_permitted(decision, policy, **{name: _AROUND[name] for name in wrong}):
        return None
    control_plane = assessment.snapshot.control_plane
    said = {
        "suspended": assessment.suspended,
        "api": "the queue is out of reach"
        if control_plane.reachable is False
        else "nobody knows whether the queue can be reached",
        "submit_slot": "somebody else holds the submit lock"
        if control_plane.submit_lock == "held"
        else "nobody knows whether the submit lock is free",
    }
    reason = f"{proposal.action} waits: {'; '.join(said[name] or name for name in wrong)}"
    return Proposal(
        action=Action.LEAVE_ALONE, task=proposal.task, attempt=proposal.attempt, reason=reason
    )


def _wait_for_room(proposal: Proposal, lanes: int, sends: int) -> Proposal | None:
    if proposal.action not in SENDS_PROMPT or (lanes > 0 and sends > 0):
        return None
    what = (
        "a free lane" if lanes <= 0 else "the next tick, because only a few attempts start in one"
    )
    reason = f"{proposal.action} waits for {what}: {proposal.reason}"
    return Proposal(
        action=Action.LEAVE_ALONE, task=proposal.task, attempt=proposal.attempt, reason=reason
    )


def _decision(assessment: Assessment, proposal: Proposal, lanes: int, sends: int) -> Decision:
    assessed = assessment.tasks[proposal.task or ""]
    known, answer = clear(assessment, proposal, lanes=lanes, sends=sends)
    lesson = lesson_of(assessed, proposal, assessment.policy.failures)
    return Decision(
        proposal, answer, known, assessed.liveness, _questions(assessed, proposal), lesson
    )


def clear(
    assessment: Assessment,
    proposal: Proposal,
    *,
    lanes: int | None = None,
    sends: int | None = None,
    prompt_ok: bool = True,
    approved: bool = False,
    consented: bool = False,
) -> tuple[dict[str, str], Clearance]:
    """Put one proposal to the guard.

    `lanes` and `sends` are what is left of both when earlier proposals of the tick are carried
    out (None: nothing has been taken yet); the others are those of `Situation`.
    """
    situation = Situation(
        assessment,
        proposal,
        lanes=assessment.lanes.free if lanes is None else lanes,
        sends=sends_of(assessment) if sends is None else sends,
        prompt_ok=prompt_ok,
        approved=approved,
        consented=consented,
    )
    known, failed = derive(situation)
    return known, guard.clear(proposal, known, assessment.policy, assessment.snapshot.now, failed)


def ask(assessment: Assessment, action: Action, task: str | None) -> tuple[Proposal, Clearance]:
    """Put one action to the guard without proposing it; asking changes no decision."""
    assessed = assessment.tasks.get(task) if task else None
    charged = assessed is not None and not (assessed.failure and not assessed.failure.charged)
    proposal = Proposal(
        action=action,
        task=task,
        attempt=assessed.task.attempt if assessed else None,
        reason="asked",
        prompt=assessed.task.prompt
        if assessed and action in (*SENDS_PROMPT, Action.GUIDE)
        else None,
        charged=charged,
    )
    return proposal, clear(assessment, proposal)[1]


def _window_decision(assessment: Assessment) -> Decision | None:
    lanes = assessment.lanes
    if lanes.action == "hold":
        return None
    action = Action.WIDEN_WINDOW if lanes.action == "widen" else Action.NARROW_WINDOW
    proposal = Proposal(action=action, reason=lanes.reason, limit=lanes.target)
    known, answer = clear(assessment, proposal)
    return Decision(proposal, answer, known)


def _questions(assessed: TaskAssessment, proposal: Proposal) -> Questions:
    proof, failure = assessed.proof, assessed.failure
    quality = f"{proof.state}: {proof.gaps[0]}" if proof.gaps else f"{proof.state}"
    if proof.state == "proven":
        quality = f"proven; criteria {proof.criteria}"
    risk = "none seen"
    if failure is not None:
        risk = f"{failure.reason}: {failure.why}"
    if assessed.defect is not None:
        risk = f"blocked by {assessed.defect.id} ({assessed.defect.status})"
    return Questions(
        completion_quality=quality,
        completion_state=f"{assessed.task.word or 'unknown'}: {assessed.liveness.reason}",
        self_blocking_risk=risk,
        next_action=f"{proposal.action}: {proposal.reason}",
    )


def sentence(assessment: Assessment, decisions: Sequence[Decision], window: Decision | None) -> str:
    """The tick in one sentence of English."""
    if assessment.suspended:
        return f"Suspended: {assessment.suspended}."
    words = [decision.liveness.effective for decision in decisions if decision.liveness]
    parts = [
        f"{count} task{'s' if count > 1 else ''} {word.replace('-', ' ')}"
        for word in ("live", "at-risk")
        if (count := words.count(word))
    ]
    grouped: dict[str, list[str]] = {}
    for decision in (*decisions, *([window] if window else [])):
        if decision.proposal.action is not Action.LEAVE_ALONE:
            answer = word(decision.clearance)
            only_observed = decision.clearance.rules == (guard.OBSERVING,)
            front = {"cleared": "", "needs-approval": "needs approval: ", "refused": "refused: "}
            verb = ("would " if only_observed else front[answer]) + decision.proposal.action
            grouped.setdefault(verb, []).append(decision.proposal.task or "")
    parts += [f"{verb} {', '.join(tasks)}".strip() for verb, tasks in grouped.items()]
    summary = ", ".join(parts if grouped else [*parts, "nothing to do"])
    return f"{summary[0].upper()}{summary[1:]}."


def side_work(assessment: Assessment, proposals: Mapping[str, Proposal]) -> Proposal | None:
    """A reference document to write, or None: at most one in a tick.

    Only when nothing else is to be done, no task is at risk, no result is unread, and no worker may
    write where the document goes.
    """
    if assessment.suspended or any(
        one.action is not Action.LEAVE_ALONE for one in proposals.values()
    ):
        return None
    tasks = assessment.tasks.values()
    if any(assessed.liveness.effective == "at-risk" for assessed in tasks):
        return None
    if any(assessed.task.status in TERMINAL and not assessed.task.inspected for assessed in tasks):
        return None
    for task in sorted(assessment.tasks, key=natural):
        assessed = assessment.tasks[task]
        if assessed.lesson is None or assessed.task.held != "accepted":
            continue
        if _nobody_writes(document_of(assessed.lesson), assessment):
            return _write(assessed, assessed.lesson)
    return None


def _nobody_writes(path: str, assessment: Assessment) -> bool:
    """A worker whose write scope is not known may write anywhere."""
    open_tasks = [
        assessed.task
        for assessed in assessment.tasks.values()
        if assessed.task.word is None or assessed.task.word in (*ACTIVE, "parked", Status.PLANNED)
    ]
    if any(not task.write_scope for task in open_tasks):
        return False
    return not any(overlap((path,), task.write_scope or ()) for task in open_tasks)


def _write(assessed: TaskAssessment, defect: Defect) -> Proposal:
    return Proposal(
        action=Action.WRITE_REFERENCE,
        task=assessed.task.id,
        attempt=assessed.task.attempt,
        reason=(f"{defect.id} stopped {len(defect.seen_in)} tasks; its rule becomes a document"),
        defect=defect.id,
    )
