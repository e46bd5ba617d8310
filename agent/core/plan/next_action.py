"""What to propose: one proposal per task, by guard clauses in priority order.

This module proposes; the guard forbids elsewhere, and neither imports the other. Policy:
"Intervene only when there is a clear reason"; leaving alone is a proposal like any other, with its
reason.
"""

from datetime import datetime
from typing import Final

from agent.core.assess.assessment import TaskAssessment
from agent.core.assess.failures import Failure
from agent.core.assess.judgement import agent_gone
from agent.core.assess.liveness import WORKING
from agent.core.assess.proof import commit_of, denial, newest, pushed_commit
from agent.core.model.actions import Action, Proposal
from agent.core.model.nouns import SETTLED, TERMINAL, Defect, ProofKind, Remedy, Status, Task
from agent.core.model.text import visible

_SAME: Final = 300
"""Characters at the end of an output that identify it; every prompt quotes at least these."""


def propose(assessed: TaskAssessment, now: datetime, most_attempts: int) -> Proposal:
    """Answer the fourth question of the policy: the next action."""
    task = assessed.task
    if any(not late.inspected for late in task.late_reports):
        return _do(
            assessed,
            Action.INSPECT,
            "a superseded attempt reported late; that report is read first",
        )
    if task.held in SETTLED:
        return _leave(assessed, f"the task is {task.held}")
    if task.unreadable is not None:
        return _leave(assessed, f"the task cannot be read: {task.unreadable}")
    if task.status is Status.PLANNED:
        return _planned(assessed)
    if task.status is Status.QUEUED:
        return _leave(assessed, "queued, waiting for a worker host")
    if task.status in WORKING:
        return _working(assessed)
    if task.held == "parked" and (task.status is None or task.inspected):
        return _parked(assessed)
    if task.status in TERMINAL:
        return _finished(assessed, now, most_attempts)
    return _leave(assessed, "its status is unknown")


def _planned(assessed: TaskAssessment) -> Proposal:
    if assessed.waits_for:
        return _leave(assessed, f"waits for {', '.join(assessed.waits_for)}")
    return _do(assessed, Action.SUBMIT, "planned, and nothing blocks it", prompt=True)


def _working(assessed: TaskAssessment) -> Proposal:
    if assessed.task.cancel_requested:
        return _leave(assessed, "a stop was requested; the worker host carries it out")
    if assessed.liveness.actionable:
        return _do(assessed, Action.INTERRUPT, assessed.liveness.reason)
    return _leave(assessed, assessed.liveness.reason)


def _parked(assessed: TaskAssessment) -> Proposal:
    defect = assessed.defect
    if defect is None:
        return _leave(assessed, "parked for an unknown defect")
    if _out_of_the_way(defect):
        return _release(assessed, defect)
    return _split_or_wait(assessed, defect)


def _out_of_the_way(defect: Defect) -> bool:
    """Fixed, or bridged: "the business task should continue with the bridge in place"."""
    return defect.status == "fixed" or (defect.status == "recorded" and defect.remedied is True)


def _release(assessed: TaskAssessment, defect: Defect) -> Proposal:
    how = "fixed" if defect.status == "fixed" else "bridged"
    again = _was_stopped_in_the_judgement(assessed.task)
    if not again and not assessed.task.session_continuable:
        return _do(
            assessed, Action.HAND_OVER, f"{defect.id} is {how}, but the task cannot continue"
        )
    if not assessed.release_first:
        return _leave(
            assessed, f"{defect.id} is {how}; another task is released first to test that"
        )
    if again:
        # Its work is done and pushed: another attempt would have nothing to add.
        judge = _judge(assessed, f"{defect.id} is {how}; what was pushed is judged again")
        return judge.model_copy(update={"defect": defect.id})
    reason = f"{defect.id} is {how}; the task continues under its own identity"
    released = _do(assessed, Action.RELEASE, reason, defect=defect.id, prompt=True)
    # What stopped another task as well is more than this one's word.
    alone = len(defect.seen_in) <= 1
    return _freed(released, assessed.failure if alone else None)


def _was_stopped_in_the_judgement(task: Task) -> bool:
    """Whether the agent had done its part, and the defect was met by its judgement alone."""
    judge, pushed = task.judge, pushed_commit(task)
    if task.status is not Status.SUCCEEDED or judge is None or judge.verdict != "fail":
        return False
    return judge.commit is not None and pushed in (None, judge.commit)


def _finished(assessed: TaskAssessment, now: datetime, most_attempts: int) -> Proposal:
    task = assessed.task
    if not task.inspected:
        return _read(assessed)
    if task.status is Status.CANCELLED and assessed.failure is None:
        return _leave(assessed, "cancelled")
    if (judging := _judging(assessed, now)) is not None:
        return judging
    if (decided := _by_completion(assessed, now)) is not None:
        return decided
    if task.attempt is not None and task.attempt >= most_attempts:
        return _do(
            assessed, Action.HAND_OVER, f"{task.attempt} attempts, and the task is still not done"
        )
    if assessed.failure is not None and assessed.failure.infrastructure:
        return _infrastructure(assessed, assessed.failure, now)
    return _own_fault(assessed)


def _read(assessed: TaskAssessment) -> Proposal:
    status, failure = assessed.task.status, assessed.failure
    reading = _do(assessed, Action.INSPECT, f"{status}: final response and judge record unread")
    if status is not Status.CANCELLED or failure is None:
        return reading
    # Nobody asked for the cancel, so reading it does not settle it.
    return reading.model_copy(update={"cause": _cause(assessed, failure)})


def _judging(assessed: TaskAssessment, now: datetime) -> Proposal | None:
    """What was pushed is judged before anything else, however its attempt ended.

    A quarter of real attempts that ran out of time had done all that was asked.
    """
    task = assessed.task
    if assessed.judged.state == "ordered" and assessed.judged.overdue:
        since = f"{task.judging_since:%Y-%m-%d %H:%M:%SZ}"
        why = f"no judge host has judged it since {since}: start one with `wavekeeper judge`"
        return _do(assessed, Action.HAND_OVER, why)
    if assessed.judged.state == "ordered":
        how = "is at work on it" if task.judging == "running" else "has not taken it yet"
        return _leave(assessed, f"it is being judged; a judge host {how}")
    if assessed.judged.state == "unjudged":
        if assessed.proof.doubt is not None:
            return _unknown(assessed, now)
        return _leave(assessed, "it is unknown whether anything was pushed")
    if assessed.judged.state != "missing":
        return None
    commit = pushed_commit(task)
    what = f"{commit[:12]} was pushed" if commit else "the attempt ended"
    return _judge(assessed, f"{what}; a judge host runs the acceptance commands")


def _judge(assessed: TaskAssessment, reason: str) -> Proposal:
    if assessed.judged.too_heavy:
        why = "its acceptance commands are too heavy for the master"
        late = Action.HAND_OVER if assessed.judged.overdue else Action.LEAVE_ALONE
        return _do(assessed, late, f"{why}; a judge host elsewhere has to run them")
    pushed = newest(ProofKind.COMMIT_PUSHED, assessed.task.evidence)
    update = {
        "commit": pushed_commit(assessed.task),
        "base": pushed.base if pushed is not None else None,
        "heavy": assessed.judged.heavy,
    }
    return _do(assessed, Action.JUDGE, reason).model_copy(update=update)


def _by_completion(assessed: TaskAssessment, now: datetime) -> Proposal | None:
    """Completion quality comes first: proven work is accepted, however its attempt ended."""
    proof = assessed.proof
    if proof.state == "proven" and assessed.judged.state in ("none", "passed"):
        if agent_gone(assessed.task) is not True:
            return None
        if proof.criteria == "met":
            why = "all evidence is observed and every criterion is met"
            if assessed.judged.shown == "no":
                why = f"{why}, but {denial(ProofKind.CHANGE_SHOWN)}: a person looks at the change"
            return _do(assessed, Action.ACCEPT, why)
        if proof.criteria == "needs-review":
            return _to_be_read(assessed, now)
        if proof.criteria in ("none", "cannot-tell"):
            why = "there are no criteria" if proof.criteria == "none" else _doubt(assessed.task)
            return _do(assessed, Action.HAND_OVER, f"the evidence is complete but {why}")
    good = assessed.task.status is Status.SUCCEEDED or assessed.judged.state == "passed"
    if good and proof.state == "unknown" and assessed.judged.state != "unknown":
        return _unknown(assessed, now)
    return None


def _unknown(assessed: TaskAssessment, now: datetime) -> Proposal:
    """Look again, but not for ever: what nobody can tell is no fault of the task's either."""
    doubt, first = assessed.proof.doubt, assessed.proof.gaps[0]
    if doubt is None or now < doubt.ask_at:
        until = f" until {doubt.ask_at:%Y-%m-%d %H:%M:%SZ}" if doubt else ""
        return _leave(assessed, f"the proof is not complete: {first}; checked again later{until}")
    source = doubt.rung.unseen.source if doubt.rung.unseen else None
    asked = f"; {source} was asked" if source else ""
    why = f"{doubt.rung.detail}{asked}, since {doubt.since:%Y-%m-%d %H:%M:%SZ}"
    return _do(assessed, Action.HAND_OVER, why)


def _doubt(task: Task) -> str:
    review = task.review
    if review is None or review.abstained is None:
        return "the reviewer cannot tell"
    return f"the reviewer cannot tell: {review.abstained}"


def _to_be_read(assessed: TaskAssessment, now: datetime) -> Proposal:
    """Ask a reviewer. After an outage the review waits: an outage charges no task."""
    review, left = assessed.task.review, assessed.task.tokens_left
    if left is not None and left <= 0:
        why = "the evidence is complete but the token budget for reviews is used up"
        return _do(assessed, Action.HAND_OVER, why)
    if review is not None and review.pending:
        if review.retry_at is not None and now < review.retry_at:
            when = f"next try after {review.retry_at:%Y-%m-%d %H:%M:%SZ}"
            return _leave(assessed, f"the review waits: {review.abstained}; {when}")
        return _do(assessed, Action.REVIEW, f"the review is requested again: {review.abstained}")
    return _do(assessed, Action.REVIEW, "the evidence is complete; the criteria need a review")


def _infrastructure(assessed: TaskAssessment, failure: Failure, now: datetime) -> Proposal:
    if failure.rule == "split":
        return _shared_cause(assessed, failure)
    why = f"{failure.reason}: {failure.why.rstrip('.')}"
    if failure.rule == "wait" and failure.retry_at is None:
        return _leave(assessed, f"{why}; waits, because the end of the attempt is unknown")
    if failure.retry_at is not None and now < failure.retry_at:
        return _leave(assessed, f"{why}; waits until {failure.retry_at:%Y-%m-%d %H:%M:%SZ}")
    return _freed(_retry(assessed, why, charged=False), failure)


def _freed(proposal: Proposal, failure: Failure | None) -> Proposal:
    """The proposal, with why the attempt that ended is free, where that is counted."""
    why = failure.freed_by if failure is not None else None
    return proposal.model_copy(update={"freed_by": why}) if why is not None else proposal


def _shared_cause(assessed: TaskAssessment, failure: Failure) -> Proposal:
    """First the issue, then the fix, and only then does the wave continue."""
    defect = assessed.defect
    cause = f"{failure.reason}: {failure.subject or 'what exactly has no name'}"
    if defect is None or defect.status == "observed":
        if assessed.first_of_cause:
            return _record(assessed, failure, f"{cause}; it is recorded before it is fixed")
        return _leave(assessed, f"{cause}; waits until the shared defect is recorded")
    # What was cancelled cannot be released: it fell over the flag although that was fixed.
    again = assessed.task.canary or assessed.task.status is Status.CANCELLED
    if _out_of_the_way(defect) and again:
        return _record(
            assessed, failure, f"{cause} came back after its fix: {defect.id} is not gone"
        )
    if _out_of_the_way(defect):
        return _release(assessed, defect)
    return _do(assessed, Action.PARK, f"waits for {defect.id} ({cause})", defect=defect.id)


def _record(assessed: TaskAssessment, failure: Failure, reason: str) -> Proposal:
    cause = _cause(assessed, failure)
    return _do(assessed, Action.OPEN_ISSUE, reason).model_copy(update={"cause": cause})


def _cause(assessed: TaskAssessment, failure: Failure) -> Defect:
    known = assessed.defect
    return Defect(
        id=known.id if known else "new",
        fingerprint=failure.fingerprint or failure.reason,
        status="observed",
        issue=known.issue if known else None,
        reason=failure.reason,
        subject=failure.subject,
        summary=failure.excerpt,
        expected=failure.contract,
        # The fix is still under way if only the bridge did not hold.
        fixed_by=known.fixed_by if known and known.status == "recorded" else None,
        remedied=False if known and known.remedied and known.status == "recorded" else None,
        seen_in=known.seen_in if known else (),
    )


def _split_or_wait(assessed: TaskAssessment, defect: Defect) -> Proposal:
    if defect.status == "recorded" and defect.fixed_by is None and assessed.first_of_cause:
        reason = f"{defect.id} is recorded in {defect.issue}; a task to fix it is created"
        return _do(assessed, Action.SPLIT_DEFECT, reason, defect=defect.id, prompt=True)
    if defect.status == "recorded" and assessed.first_of_cause and assessed.remedy is not None:
        return _remedy(assessed, defect, assessed.remedy)
    by = f" by {defect.fixed_by}" if defect.fixed_by else ""
    return _leave(assessed, f"parked until {defect.id} is fixed{by}")


def _remedy(assessed: TaskAssessment, defect: Defect, remedy: Remedy) -> Proposal:
    """Proposed once a task for the lasting fix exists; the guard requires that, and approval."""
    if remedy.environment == "dev":
        what = f"{remedy.id} bridges {defect.id} in dev until {defect.fixed_by} has fixed it"
        touched = _do(assessed, Action.LIVE_REMEDY, what, defect=defect.id)
    else:
        what = f"{remedy.id} recovers production from {defect.id}, which stops the delivery"
        touched = _do(assessed, Action.DEPLOY, what, defect=defect.id)
    return touched.model_copy(update={"remedy": remedy.id})


def _own_fault(assessed: TaskAssessment) -> Proposal:
    task, failure = assessed.task, assessed.failure
    gap = assessed.proof.next_rung
    what = gap.detail if gap else _why_not(assessed)
    if failure is not None and failure.rule == "hand-over":
        return _do(assessed, Action.HAND_OVER, f"{failure.reason}: {failure.why}")
    if task.session_continuable is False:
        # It is replaced, and what replaces it has attempts of its own.
        return _retry(assessed, what, charged=True)
    if task.attempts_left is None:
        return _do(assessed, Action.HAND_OVER, f"the number of attempts left is unknown: {what}")
    if task.attempts_left <= 0:
        return _do(assessed, Action.HAND_OVER, f"no attempts are left: {what}")
    if _learnt_nothing(task):
        why = "the last attempt changed nothing: the same commit fails with the same output"
        return _do(assessed, Action.HAND_OVER, f"{why}: {what}")
    return _retry(assessed, what, charged=True)


def _why_not(assessed: TaskAssessment) -> str:
    """What is missing where every rung of the ladder is proven."""
    if assessed.proof.unmet:
        return f"criteria not met: {', '.join(assessed.proof.unmet)}"
    for record in (assessed.task.judge, assessed.task.queue_judge):
        if record is not None and record.verdict != "pass":
            return f"the judge did not pass it: {record.reason or 'it gave no reason'}"
    return "the attempt was ended, and nobody has seen that its processes are gone"


def _learnt_nothing(task: Task) -> bool:
    """Whether another prompt would only repeat this attempt's prompt.

    The linter refuses a repeated prompt without new evidence, so a person is asked.
    """
    failing = task.judge.failing if task.judge else None
    pushed = commit_of(task.evidence)
    if not task.prompt or failing is None or not pushed:
        return False
    output = " ".join(visible(failing.output).split())[-_SAME:]
    return bool(output) and pushed in task.prompt and output in " ".join(task.prompt.split())


def _retry(assessed: TaskAssessment, reason: str, *, charged: bool) -> Proposal:
    if assessed.task.session_continuable is None:
        return _do(
            assessed, Action.HAND_OVER, f"it is unknown whether the session can continue: {reason}"
        )
    if not assessed.task.session_continuable:
        why = f"the session cannot continue: {reason}"
        return _do(assessed, Action.REPLACE, why, charged=charged, prompt=True)
    fresh = assessed.failure is not None and assessed.failure.rule == "fresh-session"
    return _do(assessed, Action.RETRY, reason, charged=charged, fresh_session=fresh, prompt=True)


def _leave(assessed: TaskAssessment, reason: str) -> Proposal:
    return _do(assessed, Action.LEAVE_ALONE, reason)


def _do(
    assessed: TaskAssessment,
    action: Action,
    reason: str,
    *,
    defect: str | None = None,
    charged: bool = False,
    fresh_session: bool = False,
    prompt: bool = False,
) -> Proposal:
    """Bind the proposal to the attempt it was decided on.

    Until a drafter has written the new prompt, the guard sees the task's current one, which a
    continuation restates.
    """
    return Proposal(
        action=action,
        task=assessed.task.id,
        attempt=assessed.task.attempt,
        reason=reason,
        queue=assessed.task.queue,
        defect=defect,
        charged=charged,
        fresh_session=fresh_session,
        prompt=assessed.task.prompt if prompt else None,
    )
