"""What each action does, how it is read back whether it happened, and what is remembered of it.

One row per action. `do` acts, at most once per key; `find` reads back what became of it, so that
after a crash or an error nothing is lost or repeated; `remember` writes what follows into the state
file. The executor calls `remember` in the transaction of the outcome's record, so it reaches
nothing outside that file: whatever else it needs, `do` and `find` bring along.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agent.core.assess.proof import commit_of
from agent.core.journal.records import TaskRecord
from agent.core.model.actions import Action, Proposal
from agent.core.model.nouns import TERMINAL, Defect, Outcome, Status
from agent.core.model.queueing import JudgementOrder, Order, Receipt, TaskSpec, TaskView
from agent.core.plan.defects import blocked_issue, issue_of
from agent.core.plan.lessons import document_of
from agent.errors import IssuesUnavailableError, NothingDoneError
from agent.ports import Issue, Remedied
from agent.runtime.context import Ports


@dataclass(frozen=True, slots=True)
class Happened:
    """What an action did: a sentence for the journal, and what remembering it needs."""

    said: str
    issue: Issue | None = None
    remedied: Remedied | None = None
    view: TaskView | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """One action's row."""

    do: Callable[[Ports, Proposal, str], Happened]
    """Raises NothingDoneError if it did nothing. After any other error nobody knows."""
    find: Callable[[Ports, Proposal, str], Happened | None]
    """None: it did not happen, or only in parts that are safe to do again with the same key."""
    remember: Callable[[Ports, Proposal, str, datetime, Happened], None]


def order_of(spec: TaskSpec, wave: str) -> Order:
    """What the worker host needs beside the prompt."""
    return Order(
        kind=spec.kind,
        branch=spec.branch,
        continues=spec.continues,
        commit=spec.commit,
        acceptance_commands=spec.acceptance_commands,
        labels={"wave": wave, "task": spec.id},
    )


# What a proposal names; whatever it should name and does not is NothingDoneError.


def _task(proposal: Proposal) -> str:
    if proposal.task is None:
        raise NothingDoneError(f"{proposal.action} names no task")
    return proposal.task


def _attempt(proposal: Proposal) -> int:
    if proposal.attempt is None:
        raise NothingDoneError(f"{proposal.action} names no attempt")
    return proposal.attempt


def _text(proposal: Proposal) -> str:
    if not proposal.prompt:
        raise NothingDoneError(f"{proposal.action} has no text to send")
    return proposal.prompt


def _spec(proposal: Proposal) -> TaskSpec:
    if proposal.spec is None:
        raise NothingDoneError(f"{proposal.action} has no task to create: no queue can take it")
    return proposal.spec


def _cause(proposal: Proposal) -> Defect:
    if proposal.cause is None:
        raise NothingDoneError(f"{proposal.action} names no cause")
    return proposal.cause


def _task_record(ports: Ports, proposal: Proposal) -> TaskRecord:
    task_record = ports.store.task_record(_task(proposal))
    if task_record is None:
        raise NothingDoneError(f"task {proposal.task} is not of this wave")
    return task_record


def _defect(ports: Ports, defect: str | None) -> Defect | None:
    return next((one for one in ports.store.defects() if one.id == defect), None)


def _save(ports: Ports, proposal: Proposal, at: datetime, **update: object) -> None:
    task_record = _task_record(ports, proposal)
    ports.store.save(task_record.model_copy(update={**update, "changed_at": at}))


def _with(tasks: tuple[str, ...], task: str) -> tuple[str, ...]:
    return tasks if task in tasks else (*tasks, task)


# What the queue does. It keeps a receipt per key, so reading back is the same for all of these.


def _taken(receipt: Receipt, sentence: str) -> Happened:
    if receipt.effect != "done":
        raise NothingDoneError(f"the queue answered {receipt.effect}")
    return Happened(sentence)


def _receipt(ports: Ports, _proposal: Proposal, key: str) -> Happened | None:
    receipt = ports.queue.receipt(key)
    if receipt is None or receipt.effect != "done":
        return None
    return Happened("it had taken effect")


def _submit(ports: Ports, proposal: Proposal, key: str) -> Happened:
    task_record = _task_record(ports, proposal)
    receipt = ports.queue.submit(
        task_record.spec.id,
        queue=task_record.spec.queue,
        prompt=_text(proposal),
        order=order_of(task_record.spec, task_record.wave),
        key=key,
    )
    return _taken(receipt, f"submitted to {task_record.spec.queue}")


def _remember_submitted(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, _happened: Happened
) -> None:
    _save(ports, proposal, at, status="submitted", **_noted(ports, proposal))


def _noted(ports: Ports, proposal: Proposal) -> dict[str, object]:
    """Where the branches were before this attempt and, for the first one, before the task."""
    first = _task_record(ports, proposal).started_from or proposal.baseline
    return {"baseline": proposal.baseline, "started_from": first}


def _retry(ports: Ports, proposal: Proposal, key: str) -> Happened:
    attempt = _attempt(proposal) + 1
    receipt = ports.queue.retry(
        _task(proposal),
        attempt=attempt,
        prompt=_text(proposal),
        fresh_session=proposal.fresh_session,
        key=key,
    )
    return _taken(receipt, f"attempt {attempt} queued under the same identity")


def _remember_failed(ports: Ports, proposal: Proposal, at: datetime, *, attributable: bool) -> None:
    """Once for an attempt: a task whose defect is fixed in time is released without a wait."""
    task = _task(proposal)
    ended = Outcome(task=task, result="failed", attributable=attributable, at=at)
    ports.store.add_outcome(ended, key=f"{task}/{_attempt(proposal)}")


def _remember_retry(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, _happened: Happened
) -> None:
    task_record, attempt = _task_record(ports, proposal), _attempt(proposal)
    _remember_failed(ports, proposal, at, attributable=proposal.charged)
    charged = {*task_record.charged, attempt} if proposal.charged else task_record.charged
    _save(
        ports, proposal, at,
        status="submitted", sent_attempt=attempt + 1, charged=tuple(sorted(charged)), review=None,
        at_risk_polls=0, **_freed(ports, proposal), **_noted(ports, proposal),
    )  # fmt: skip


def _freed(ports: Ports, proposal: Proposal) -> dict[str, object]:
    freed, why = _task_record(ports, proposal).freed, proposal.freed_by
    if why is None:
        return {}
    return {"freed": {**freed, why: tuple(sorted({*freed.get(why, ()), _attempt(proposal)}))}}


def _remember_release(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, _happened: Happened
) -> None:
    _remember_failed(ports, proposal, at, attributable=False)
    _save(
        ports, proposal, at,
        status="submitted", sent_attempt=_attempt(proposal) + 1, blocked_by=proposal.defect,
        canary=True, review=None, at_risk_polls=0, **_freed(ports, proposal),
        **_noted(ports, proposal),
    )  # fmt: skip


def _submit_new(ports: Ports, proposal: Proposal, key: str) -> Happened:
    spec = _spec(proposal)
    receipt = ports.queue.submit(
        spec.id,
        queue=spec.queue,
        prompt=_text(proposal),
        order=order_of(spec, _task_record(ports, proposal).wave),
        key=key,
    )
    return _taken(receipt, f"{spec.id} submitted to {spec.queue}")


def _remember_new(ports: Ports, proposal: Proposal, at: datetime) -> None:
    spec, wave = _spec(proposal), _task_record(ports, proposal).wave
    if ports.store.task_record(spec.id) is None:
        prompt = _text(proposal)
        noted = {"baseline": proposal.baseline, "started_from": proposal.baseline}
        ports.store.save(
            TaskRecord(
                spec=spec, wave=wave, status="submitted", prompt=prompt, changed_at=at, **noted
            )
        )


def _remember_replaced(
    ports: Ports, proposal: Proposal, key: str, at: datetime, _happened: Happened
) -> None:
    """Whoever waited for the task waits for the one in its place."""
    _remember_new(ports, proposal, at)
    new, old = _spec(proposal).id, _task(proposal)
    for one in ports.store.task_records(settled=False):
        if old in one.spec.depends_on:
            after = tuple(new if name == old else name for name in one.spec.depends_on)
            spec = one.spec.model_copy(update={"depends_on": after})
            ports.store.save(one.model_copy(update={"spec": spec}))
    for defect in ports.store.defects():
        if defect.fixed_by == old:
            ports.store.save_defect(defect.model_copy(update={"fixed_by": new}))
    ended = Outcome(task=old, result="replaced", attributable=proposal.charged, at=at)
    ports.store.add_outcome(ended, key=key)
    _save(ports, proposal, at, status="replaced", why=f"replaced by {new}: {proposal.reason}")


def _remember_split(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, _happened: Happened
) -> None:
    _remember_new(ports, proposal, at)
    if (defect := _defect(ports, proposal.defect)) is not None:
        ports.store.save_defect(defect.model_copy(update={"fixed_by": _spec(proposal).id}))


def _interrupt(ports: Ports, proposal: Proposal, key: str) -> Happened:
    receipt = ports.queue.interrupt(
        _task(proposal), attempt=_attempt(proposal), reason=proposal.reason, key=key
    )
    return _taken(receipt, "asked to stop")


def _remember_interrupt(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, _happened: Happened
) -> None:
    _save(ports, proposal, at, last_interrupt_at=at)


def _cancel(ports: Ports, proposal: Proposal, key: str) -> Happened:
    receipt = ports.queue.cancel(
        _task(proposal), attempt=_attempt(proposal), reason=proposal.reason, key=key
    )
    return _taken(receipt, "asked to end")


def _move(ports: Ports, proposal: Proposal, key: str) -> Happened:
    if proposal.queue is None:
        raise NothingDoneError("move names no queue")
    receipt = ports.queue.move(_task(proposal), queue=proposal.queue, key=key)
    return _taken(receipt, f"moved to {proposal.queue}")


def _remember_nothing(
    _ports: Ports, _proposal: Proposal, _key: str, _at: datetime, _happened: Happened
) -> None:
    """The queue itself remembers it."""


def _mark_read(ports: Ports, proposal: Proposal) -> None:
    """Whoever looks at the queue sees that this result is dealt with.

    Not when it is read: reading is allowed in every mode, and this changes the queue.
    """
    if proposal.task is not None and proposal.attempt is not None:
        ports.queue.mark_read(proposal.task, attempt=proposal.attempt)


# What a judge host is asked to do. It keeps each order by its key.


def _order_judgement(ports: Ports, proposal: Proposal, key: str) -> Happened:
    if ports.judgements is None:
        raise NothingDoneError("no judge host can be asked here")
    task_record = _task_record(ports, proposal)
    spec, heavy = task_record.spec, {"heavy": True} if proposal.heavy else {}
    if not spec.acceptance_commands:
        raise NothingDoneError("the task has no acceptance commands")
    order = JudgementOrder(
        task=spec.id,
        attempt=_attempt(proposal),
        wave=task_record.wave,
        branch=spec.branch if proposal.commit is not None else None,
        commit=proposal.commit,
        base=proposal.base,
        commands=tuple(one.model_copy(update=heavy) for one in spec.acceptance_commands),
        protected=spec.protected,
    )
    ports.judgements.order(order, key=key)
    return Happened("ordered from the judge hosts")


def _find_judgement(ports: Ports, _proposal: Proposal, key: str) -> Happened | None:
    if ports.judgements is None or not ports.judgements.ordered(key):
        return None
    return Happened("it had been ordered")


def _remember_judgement(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, _happened: Happened
) -> None:
    """Who waited for a defect goes on; the order itself is kept with the judgements."""
    if proposal.defect is not None:
        _save(
            ports, proposal, at,
            status="submitted", blocked_by=proposal.defect, canary=True, review=None,
        )  # fmt: skip


# What is done in the issue tracker. A comment is written once per key.


def _open_issue(ports: Ports, proposal: Proposal, key: str) -> Happened:
    cause = _cause(proposal)
    title, body = issue_of(cause, _task_record(ports, proposal).spec)
    _refuse_damaged(ports, cause)
    issue = ports.issues.open(cause.fingerprint, title, body)
    if cause.issue is not None:
        ports.issues.comment(issue.id, f"Seen again after its fix.\n\n{body}", key=key)
    return Happened(f"recorded as {issue.where}", issue=issue)


def _refuse_damaged(ports: Ports, cause: Defect) -> None:
    """A defect that cannot be read may be this very one: it must not be begun anew in its place."""
    odd = {one.id: one.why for one in ports.state.damaged(0) if one.kind == "defect"}
    known = ports.issues.find(cause.fingerprint) if odd else None
    if known is not None and (why := odd.get(_defect_id(known))) is not None:
        raise NothingDoneError(f"{_defect_id(known)} is recorded for this: {why}")


def _defect_id(issue: Issue) -> str:
    return f"D-{issue.id.lstrip('#0')}"


def _find_issue(ports: Ports, proposal: Proposal, _key: str) -> Happened | None:
    """An issue that is closed was not opened again: it is decided anew, and then opened."""
    issue = ports.issues.find(_cause(proposal).fingerprint)
    if issue is None:
        return None
    is_open = ports.issues.is_open(issue.id)
    if is_open is None:
        raise IssuesUnavailableError("whether the issue was opened cannot be seen now")
    return Happened(f"recorded as {issue.where}", issue=issue) if is_open else None


def _remember_issue(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, happened: Happened
) -> None:
    cause = _cause(proposal)
    if happened.issue is None:
        raise NothingDoneError("the issue that was opened cannot be found again")
    name = cause.id if cause.id != "new" else _defect_id(happened.issue)
    recorded = {
        "id": name,
        "status": "recorded",
        "issue": happened.issue.id,
        "seen_in": _with(cause.seen_in, _task(proposal)),
    }
    ports.store.save_defect(cause.model_copy(update=recorded))
    _save(ports, proposal, at, canary=False)


def _park(ports: Ports, proposal: Proposal, key: str) -> Happened:
    defect = _defect(ports, proposal.defect)
    if defect is None:
        raise NothingDoneError("the defect to wait for is not known")
    if defect.issue is not None:
        waits = f"Task {_task(proposal)} waits for this and goes on under its own identity."
        ports.issues.comment(defect.issue, waits, key=key)
    _mark_read(ports, proposal)
    return Happened(f"parked behind {defect.id}")


def _remember_park(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, _happened: Happened
) -> None:
    task = _task(proposal)
    _remember_failed(ports, proposal, at, attributable=False)
    if (defect := _defect(ports, proposal.defect)) is not None:
        seen = defect.model_copy(update={"seen_in": _with(defect.seen_in, task)})
        ports.store.save_defect(seen)
    _save(ports, proposal, at, status="parked", blocked_by=proposal.defect, why=proposal.reason)


def _accept(ports: Ports, proposal: Proposal, key: str) -> Happened:
    spec = _task_record(ports, proposal).spec
    defect = _defect(ports, spec.fixes)
    if defect is not None and defect.issue is not None:
        ports.issues.close(defect.issue, f"Fixed by task {spec.id}: {proposal.reason}.", key=key)
    _mark_read(ports, proposal)
    return Happened("accepted")


def _remember_accepted(
    ports: Ports, proposal: Proposal, key: str, at: datetime, _happened: Happened
) -> None:
    task_record = _task_record(ports, proposal)
    ports.store.add_outcome(
        Outcome(task=task_record.spec.id, result="accepted", attributable=True, at=at), key=key
    )
    # Whoever went past a bridge has not shown that the fix holds. Where its issue was closed
    # before, it counts as fixed already, and whatever has shown that it holds came after that.
    fixed = _defect(ports, task_record.spec.fixes)
    if fixed is not None and fixed.status != "fixed":
        ports.store.save_defect(fixed.model_copy(update={"status": "fixed", "proven_by": None}))
    passed = _defect(ports, task_record.blocked_by)
    if passed is not None and task_record.canary and passed.proven_by is None:
        ports.store.save_defect(passed.model_copy(update={"proven_by": task_record.spec.id}))
    _save(ports, proposal, at, status="accepted", why=proposal.reason)


def _hand_over(ports: Ports, proposal: Proposal, key: str) -> Happened:
    """Policy: an issue "that records the blocking condition and recovery dependency"."""
    spec = _task_record(ports, proposal).spec
    waiting = [
        one.spec.id
        for one in ports.store.task_records(settled=False)
        if spec.id in one.spec.depends_on or (spec.fixes and one.blocked_by == spec.fixes)
    ]
    _mark_read(ports, proposal)
    title, body = blocked_issue(spec, proposal.reason, waiting)
    defect = _defect(ports, spec.fixes)
    if defect is not None and defect.issue is not None:
        ports.issues.comment(defect.issue, body, key=key)
        return Happened("handed over to a person, in the issue of its defect")
    issue = ports.issues.open(f"handed-over:{spec.id}", title, body)
    return Happened(f"handed over to a person in {issue.where}")


def _remember_handed_over(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, _happened: Happened
) -> None:
    _save(ports, proposal, at, status="handed-over", why=proposal.reason)


# What is done to a running system, and to the documents.


def _touch(ports: Ports, proposal: Proposal, key: str) -> Happened:
    """A remedy in dev or a deploy: rehearsed, done once, verified; its issue gets the result.

    Policy: "apply the smallest controlled deploy needed to restore the queue, then verify".
    """
    if ports.remedies is None or proposal.remedy is None:
        raise NothingDoneError(f"{proposal.action} names no configured remedy")
    defect = _defect(ports, proposal.defect)
    if defect is None or defect.issue is None:
        raise NothingDoneError("the defect that it is for is not recorded")
    names = {"task": _task(proposal), "defect": defect.id}
    if pushed := commit_of(_task_record(ports, proposal).evidence):
        names["commit"] = pushed
    return _reported(
        ports, proposal, key, ports.remedies.carry_out(proposal.remedy, names, key=key)
    )


def _find_touched(ports: Ports, proposal: Proposal, key: str) -> Happened | None:
    done = ports.remedies.done(key) if ports.remedies is not None else None
    return None if done is None else _reported(ports, proposal, key, done)


def _reported(ports: Ports, proposal: Proposal, key: str, done: Remedied) -> Happened:
    defect = _defect(ports, proposal.defect)
    if defect is not None and defect.issue is not None:
        ports.issues.comment(defect.issue, f"{proposal.reason}: {done.said}", key=key)
    return Happened(done.said, remedied=done)


def _remember_touched(
    ports: Ports, proposal: Proposal, _key: str, _at: datetime, happened: Happened
) -> None:
    """A remedy counts only if its success was seen; it is not tried again for this defect."""
    defect, done = _defect(ports, proposal.defect), happened.remedied
    if defect is not None and done is not None:
        in_place = done.verified is True
        ports.store.save_defect(defect.model_copy(update={"remedied": in_place}))


def _write_reference(ports: Ports, proposal: Proposal, key: str) -> Happened:
    defect = _defect(ports, proposal.defect)
    if ports.references is None or defect is None:
        raise NothingDoneError("there is nowhere to propose a document")
    path = document_of(defect)
    title = f"Write down what {defect.id} has taught"
    proposed = ports.references.propose(path, _text(proposal), title=title, key=key)
    return Happened(f"{path} proposed on {proposed.branch} at {proposed.commit[:12]}")


def _find_reference(ports: Ports, _proposal: Proposal, key: str) -> Happened | None:
    proposed = ports.references.proposed(key) if ports.references is not None else None
    return None if proposed is None else Happened(f"proposed on {proposed.branch}")


def _remember_reference(
    ports: Ports, proposal: Proposal, _key: str, _at: datetime, _happened: Happened
) -> None:
    if (defect := _defect(ports, proposal.defect)) is not None:
        written = defect.model_copy(update={"reference": document_of(defect)})
        ports.store.save_defect(written)


# What is only remembered.


def _read(ports: Ports, proposal: Proposal, _key: str) -> Happened:
    return Happened("read", view=ports.queue.get(_task(proposal)))


def _remember_read(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, happened: Happened
) -> None:
    view, task_record = happened.view, _task_record(ports, proposal)
    late = {one.attempt for one in view.late_reports} if view else set()
    update: dict[str, object] = {
        "inspected_late": tuple(sorted(late | set(task_record.inspected_late))),
        "changed_at": at,
    }
    if view is not None and view.attempt == proposal.attempt and view.state in TERMINAL:
        update["inspected_attempt"] = view.attempt
        if task_record.status == "planned" or task_record.is_started_again(view):
            # Somebody started it in the queue, and this result is judged like any other.
            update |= {"status": "submitted", "blocked_by": None, "canary": False}
        # With a cause nobody decided to cancel it, and the task goes on.
        by_word = view.state is Status.CANCELLED and proposal.cause is None
        if by_word and task_record.status == "submitted":
            update |= {"status": "cancelled", "why": "it was cancelled"}
    ports.store.save(task_record.model_copy(update=update))


def _set_window(ports: Ports, proposal: Proposal, _key: str) -> Happened:
    widen = proposal.action is Action.WIDEN_WINDOW
    if proposal.limit is None:
        raise NothingDoneError(f"{proposal.action} names no limit")
    known = ports.store.notes().get("window_limit")
    if known is not None and (proposal.limit > int(known)) is not widen:
        raise NothingDoneError(f"{proposal.action} to {proposal.limit} is none from {known}")
    return Happened("one lane more" if widen else "one lane less")


def _remember_window(
    ports: Ports, proposal: Proposal, _key: str, at: datetime, _happened: Happened
) -> None:
    ports.store.note({"window_limit": str(proposal.limit), "window_changed_at": at.isoformat()})


def _decide_again(_ports: Ports, _proposal: Proposal, _key: str) -> Happened | None:
    """Nothing was remembered, and what was done outside is safe to do again with the same key."""
    return None


EFFECTS: Final[dict[Action, Effect]] = {
    Action.SUBMIT: Effect(_submit, _receipt, _remember_submitted),
    Action.RETRY: Effect(_retry, _receipt, _remember_retry),
    Action.RELEASE: Effect(_retry, _receipt, _remember_release),
    Action.REPLACE: Effect(_submit_new, _receipt, _remember_replaced),
    Action.SPLIT_DEFECT: Effect(_submit_new, _receipt, _remember_split),
    Action.INTERRUPT: Effect(_interrupt, _receipt, _remember_interrupt),
    Action.CANCEL: Effect(_cancel, _receipt, _remember_nothing),
    Action.MOVE: Effect(_move, _receipt, _remember_nothing),
    Action.JUDGE: Effect(_order_judgement, _find_judgement, _remember_judgement),
    Action.OPEN_ISSUE: Effect(_open_issue, _find_issue, _remember_issue),
    Action.PARK: Effect(_park, _decide_again, _remember_park),
    Action.ACCEPT: Effect(_accept, _decide_again, _remember_accepted),
    Action.HAND_OVER: Effect(_hand_over, _decide_again, _remember_handed_over),
    Action.LIVE_REMEDY: Effect(_touch, _find_touched, _remember_touched),
    Action.DEPLOY: Effect(_touch, _find_touched, _remember_touched),
    Action.WRITE_REFERENCE: Effect(_write_reference, _find_reference, _remember_reference),
    Action.INSPECT: Effect(_read, _decide_again, _remember_read),
    Action.WIDEN_WINDOW: Effect(_set_window, _decide_again, _remember_window),
    Action.NARROW_WINDOW: Effect(_set_window, _decide_again, _remember_window),
}
"""One for each action that acts and is not `by_hand` (see `VERBS`), and for reading a result. There
is none for `review`: it is asked for in batches, see `reviewing`."""
