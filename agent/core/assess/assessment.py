"""The assessment of one snapshot: what the planner decides from and the guard derives facts from.

Each task has a `TaskAssessment`: its liveness, its proof, why it failed, the defect it waits for,
and whether it represents all tasks with the same cause.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.core.assess import failures, judgement, liveness, proof, window
from agent.core.assess.failures import Failure
from agent.core.assess.judgement import Judged
from agent.core.assess.liveness import Liveness
from agent.core.assess.proof import Proof
from agent.core.assess.window import Lanes
from agent.core.model.nouns import SETTLED, TERMINAL, Defect, Remedy, Snapshot, Status, Task
from agent.core.model.policy import FailuresPolicy, Policy
from agent.core.model.text import natural

_FIXED: Final = ("observed", "recorded", "fixed")
_RELEASABLE: Final = frozenset({"parked", Status.FAILED, Status.SUCCEEDED})


@dataclass(frozen=True, slots=True)
class TaskAssessment:
    """One task with everything that was assessed about it."""

    task: Task
    liveness: Liveness
    proof: Proof
    judged: Judged
    failure: Failure | None
    defect: Defect | None
    """The defect it waits for, or whose fingerprint its failure has."""
    first_of_cause: bool
    """No task of a lower id failed for the same cause: this one represents all of them."""
    release_first: bool
    """It may be released now: no other task tests the same fix, or one has proven it."""
    waits_for: tuple[str, ...] = ()
    """Tasks it depends on that are not accepted."""
    remedy: Remedy | None = None
    """A configured remedy for its defect that was not tried yet."""
    lesson: Defect | None = None
    """The defect that it fixed, if a reference document about that defect is due."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything that was assessed about one snapshot."""

    snapshot: Snapshot
    policy: Policy
    tasks: Mapping[str, TaskAssessment]
    lanes: Lanes
    suspended: str | None
    unread: tuple[str, ...] = ()
    """Tasks with a result that can be read and that nobody has read."""
    fixed_by_hand: tuple[Defect, ...] = ()
    """Defects that count as fixed from now on, because somebody closed their issue."""


def assess(snapshot: Snapshot, policy: Policy, before: Assessment | None = None) -> Assessment:
    """Liveness, evidence, failure reason and window of everything in the snapshot.

    `before`: an assessment under the same policy; a task that is the very one it saw is not
    assessed again, so that a look at one task costs one task.
    """
    snapshot, fixed = _with_fixes_by_hand(snapshot)
    known = before.tasks if before is not None and before.policy is policy else {}
    same = {
        task.id: known[task.id]
        for task in snapshot.tasks
        if task.id in known and known[task.id].task is task
    }
    alive = {
        task.id: same[task.id].liveness
        if task.id in same
        else liveness.assess(task, snapshot.now, policy.liveness)
        for task in snapshot.tasks
    }
    by_id = {defect.id: defect for defect in snapshot.defects}
    # Of two defects with one fingerprint the one that is further from being fixed counts.
    further = sorted(snapshot.defects, key=lambda one: (_FIXED.index(one.status), one.id))
    by_cause = {defect.fingerprint: defect for defect in reversed(further)}
    held_as = {task.id: task.held for task in snapshot.tasks}
    unmoved = before is not None and before.snapshot.defects == snapshot.defects
    failed = {
        task.id: same[task.id].failure
        if unmoved and task.id in same
        else _failure(task, policy, by_id)
        for task in snapshot.tasks
    }
    defects = {task.id: _defect(task, failed[task.id], by_id, by_cause) for task in snapshot.tasks}
    causes = {task.id: _cause(task, failed[task.id], defects[task.id]) for task in snapshot.tasks}
    first: dict[str, str] = {}
    for one in sorted((task.id for task in snapshot.tasks), key=natural):
        if cause := causes[one]:
            first.setdefault(cause, one)
    goes_first = _canaries(snapshot, defects)
    lessons = durable(snapshot.defects, policy.failures)
    proofs = {
        task.id: same[task.id].proof if task.id in same else proof.assess(task, policy.completion)
        for task in snapshot.tasks
    }
    tasks = {
        task.id: TaskAssessment(
            task,
            alive[task.id],
            proofs[task.id],
            same[task.id].judged
            if task.id in same
            else judgement.assess(task, proofs[task.id], snapshot, policy.completion),
            failed[task.id],
            defects[task.id],
            first_of_cause=first.get(causes[task.id] or "") == task.id,
            release_first=task.id in goes_first,
            waits_for=window.waits_for_dependencies(task, held_as),
            remedy=_remedy(snapshot, defects[task.id]),
            lesson=lessons.get(task.id),
        )
        for task in snapshot.tasks
    }
    throttled = any(_throttled(task, failed[task.id], snapshot) for task in snapshot.tasks)
    lanes = window.assess(snapshot, alive, policy.window, throttled=throttled)
    suspended = liveness.suspension(snapshot, alive, policy.liveness)
    unread = tuple(
        task.id
        for task in snapshot.tasks
        if task.status in TERMINAL and task.held not in SETTLED and not task.inspected
    )
    return Assessment(snapshot, policy, tasks, lanes, suspended, unread, fixed)


def _with_fixes_by_hand(snapshot: Snapshot) -> tuple[Snapshot, tuple[Defect, ...]]:
    """A person who fixed a defect by hand closes its issue; a released task then tests the fix.

    Policy: "then fix the infrastructure manually if Code Queue cannot move past it, and only then
    resume the delivery wave."
    """
    closed = {
        defect.id: defect.model_copy(update={"status": "fixed", "proven_by": None})
        for defect in snapshot.defects
        if defect.status == "recorded" and defect.issue_open is False
    }
    if not closed:
        return snapshot, ()
    defects = tuple(closed.get(defect.id, defect) for defect in snapshot.defects)
    return snapshot.model_copy(update={"defects": defects}), tuple(closed.values())


def _remedy(snapshot: Snapshot, defect: Defect | None) -> Remedy | None:
    """What may be done to the running system itself: in dev, or in production when granted.

    Policy: "prefer the smallest temporary live remedy first", and "run controlled production
    deploys for infrastructure recovery when the user has allowed production repair and the deploy
    path is already established".
    """
    if defect is None or defect.remedied is not None:
        return None
    grants = snapshot.wave.grants
    deploys = bool(grants.production_repair and grants.established_deploy_path)
    fitting = [one for one in snapshot.remedies if defect.reason in one.reasons]
    fitting = [one for one in fitting if one.environment == "dev" or deploys]
    return min(fitting, key=lambda one: (one.environment != "dev", one.id), default=None)


def _throttled(task: Task, failure: Failure | None, snapshot: Snapshot) -> bool:
    """A provider's rate limit ended this attempt, and the window was not narrowed since."""
    if failure is None or failure.reason != "rate-limit" or not task.inspected:
        return False
    changed = snapshot.window.changed_at
    return changed is None or task.finished_at is None or task.finished_at >= changed


def _failure(task: Task, policy: Policy, by_id: Mapping[str, Defect]) -> Failure | None:
    found = failures.assess(task, policy.failures)
    fixes = by_id.get(task.fixes or "")
    if found and fixes and found.fingerprint == fixes.fingerprint:
        # The task that fixes the defect still sees it: that is its own work undone, not a
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
    if task.held == "parked" and waits_for is not None:
        return waits_for
    if failure is not None and failure.fingerprint is not None:
        return by_cause.get(failure.fingerprint)
    return waits_for


def _cause(task: Task, failure: Failure | None, defect: Defect | None) -> str | None:
    """The cause that a task shares with others; none as long as its result is unread."""
    if task.held == "parked":
        return defect.fingerprint if defect else None
    if failure is None or not task.inspected:
        return None
    return failure.fingerprint


def _canaries(snapshot: Snapshot, defects: Mapping[str, Defect | None]) -> frozenset[str]:
    """Which tasks may be released: all once one has proven the fix, else only the first."""
    waiting: dict[str, list[str]] = {}
    out: set[str] = set()
    for task in sorted(snapshot.tasks, key=lambda one: natural(one.id)):
        defect = defects[task.id]
        if defect is None or task.word in (*SETTLED, Status.CANCELLED):
            continue
        if task.canary:
            out.add(defect.id)
        elif task.word in _RELEASABLE and task.session_continuable:
            waiting.setdefault(defect.id, []).append(task.id)
    proven = {defect.id for defect in snapshot.defects if defect.proven_by}
    return frozenset(
        one
        for defect, tasks in waiting.items()
        for one in (tasks if defect in proven else [] if defect in out else tasks[:1])
    )


def durable(defects: Sequence[Defect], policy: FailuresPolicy) -> Mapping[str, Defect]:
    """The defects that need a reference document, by the task that fixed each.

    The defect came back, a task that no longer met it proved the fix, and no document covers its
    reason yet: one rule, one document.
    """
    written = {defect.reason for defect in defects if defect.reference is not None}
    found: dict[str, Defect] = {}
    for defect in sorted(defects, key=lambda one: natural(one.id)):
        if defect.status != "fixed" or defect.proven_by is None or defect.fixed_by is None:
            continue
        if defect.reason in written or len(defect.seen_in) < policy.durable_after:
            continue
        written.add(defect.reason)
        found[defect.fixed_by] = defect
    return found
