"""What each action does to the world, what is remembered of it, and whether it happened.

Three tables over the closed set of actions. `ACT` may be called once per key; `REMEMBER` is an
idempotent overwrite; `HAPPENED` reads back, so that after a crash nothing is lost or repeated.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from agent.core.actions import Action, Proposal
from agent.core.defects import issue_of
from agent.core.model import TERMINAL, Defect, Outcome, Status
from agent.core.queueing import Order, Receipt, TaskSpec
from agent.core.records import Standing
from agent.errors import NothingDoneError
from agent.runtime.world import World

Act = Callable[[World, Proposal, str], str]
Remember = Callable[[World, Proposal, str, datetime], None]
Happened = Callable[[World, Proposal, str], bool]


def order_of(spec: TaskSpec, wave: str) -> Order:
    """What the worker host needs beside the prompt."""
    return Order(
        kind=spec.kind,
        branch=spec.branch,
        commit=spec.commit,
        acceptance_commands=spec.acceptance_commands,
        labels={"wave": wave, "task": spec.id},
    )


# What is done. The sentence goes into the journal.


def _submit(world: World, proposal: Proposal, key: str) -> str:
    standing = _standing(world, proposal)
    receipt = world.queue.submit(
        standing.spec.id,
        queue=standing.spec.queue,
        prompt=_words(proposal),
        order=order_of(standing.spec, standing.wave),
        key=key,
    )
    return _done(receipt, f"submitted to {standing.spec.queue}")


def _retry(world: World, proposal: Proposal, key: str) -> str:
    attempt = _attempt(proposal) + 1
    receipt = world.queue.retry(
        _task(proposal),
        attempt=attempt,
        prompt=_words(proposal),
        fresh_session=proposal.fresh_session,
        key=key,
    )
    return _done(receipt, f"attempt {attempt} queued under the same identity")


def _split_defect(world: World, proposal: Proposal, key: str) -> str:
    spec = _spec(proposal)
    receipt = world.queue.submit(
        spec.id,
        queue=spec.queue,
        prompt=_words(proposal),
        order=order_of(spec, _standing(world, proposal).wave),
        key=key,
    )
    return _done(receipt, f"{spec.id} submitted to {spec.queue}")


def _interrupt(world: World, proposal: Proposal, key: str) -> str:
    receipt = world.queue.interrupt(
        _task(proposal), attempt=_attempt(proposal), reason=proposal.reason, key=key
    )
    return _done(receipt, "asked to stop")


def _cancel(world: World, proposal: Proposal, key: str) -> str:
    receipt = world.queue.cancel(
        _task(proposal), attempt=_attempt(proposal), reason=proposal.reason, key=key
    )
    return _done(receipt, "asked to end")


def _move(world: World, proposal: Proposal, key: str) -> str:
    if proposal.queue is None:
        raise NothingDoneError("move names no queue")
    receipt = world.queue.move(_task(proposal), queue=proposal.queue, key=key)
    return _done(receipt, f"moved to {proposal.queue}")


def _open_issue(world: World, proposal: Proposal, key: str) -> str:
    cause = _cause(proposal)
    title, body = issue_of(cause, _standing(world, proposal).spec)
    issue = world.issues.open(cause.fingerprint, title, body)
    if cause.issue is not None:
        world.issues.comment(issue.id, f"Seen again after its fix.\n\n{body}", key=key)
    return f"recorded as {issue.where}"


def _park(world: World, proposal: Proposal, key: str) -> str:
    defect = _defect(world, proposal.defect)
    if defect is None:
        raise NothingDoneError("the defect to wait for is not known")
    if defect.issue is not None:
        waits = f"Task {_task(proposal)} waits for this and goes on under its own identity."
        world.issues.comment(defect.issue, waits, key=key)
    return f"parked behind {defect.id}"


def _review(world: World, proposal: Proposal, key: str) -> str:
    standing = _standing(world, proposal)
    view = world.queue.get(standing.spec.id)
    if view is None or view.attempt != proposal.attempt:
        raise NothingDoneError("the attempt to be reviewed is not the current one")
    review = world.reviewer.review(standing.spec, view, standing.evidence)
    world.store.save(standing.model_copy(update={"review": review}))
    return f"reviewed ({key})" if review.abstained is None else f"abstained: {review.abstained}"


def _accept(world: World, proposal: Proposal, key: str) -> str:
    spec = _standing(world, proposal).spec
    defect = _defect(world, spec.fixes)
    if defect is not None and defect.issue is not None:
        world.issues.close(defect.issue, f"Fixed by task {spec.id}: {proposal.reason}.", key=key)
    return "accepted"


def _noted(word: str) -> Act:
    """The whole effect is what the supervisor remembers."""

    def act(_world: World, _proposal: Proposal, _key: str) -> str:
        return word

    return act


# What is remembered.


def _remember_submitted(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    _save(world, proposal, at, status="submitted")


def _remember_retry(world: World, proposal: Proposal, key: str, at: datetime) -> None:
    standing, attempt = _standing(world, proposal), _attempt(proposal)
    ended = Outcome(task=standing.spec.id, result="failed", attributable=proposal.charged, at=at)
    world.store.add_outcome(ended, key=key)
    charged = {*standing.charged, attempt} if proposal.charged else standing.charged
    _save(
        world, proposal, at,
        status="submitted", charged=tuple(sorted(charged)), review=None, at_risk_polls=0,
    )  # fmt: skip


def _remember_release(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    _save(
        world, proposal, at,
        status="submitted", blocked_by=proposal.defect, canary=True, review=None, at_risk_polls=0,
    )  # fmt: skip


def _remember_split(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    spec, blocked = _spec(proposal), _standing(world, proposal)
    if world.store.standing(spec.id) is None:
        world.store.save(
            Standing(
                spec=spec,
                wave=blocked.wave,
                status="submitted",
                prompt=_words(proposal),
                changed_at=at,
            ),
        )
    defect = _defect(world, proposal.defect)
    if defect is not None:
        world.store.save_defect(defect.model_copy(update={"fixed_by": spec.id}))


def _remember_issue(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    cause = _cause(proposal)
    issue = world.issues.find(cause.fingerprint)
    if issue is None:
        raise NothingDoneError("the issue that was opened cannot be found again")
    name = cause.id if cause.id != "new" else f"D-{issue.id.lstrip('#0')}"
    world.store.save_defect(
        cause.model_copy(
            update={"id": name, "status": "recorded", "issue": issue.id, "fixed_by": None},
        ),
    )
    _save(world, proposal, at, canary=False)


def _remember_park(world: World, proposal: Proposal, key: str, at: datetime) -> None:
    task = _task(proposal)
    ended = Outcome(task=task, result="failed", attributable=False, at=at)
    world.store.add_outcome(ended, key=key)
    _save(world, proposal, at, status="parked", blocked_by=proposal.defect, why=proposal.reason)


def _remember_inspected(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    view = world.queue.get(_task(proposal))
    standing = _standing(world, proposal)
    late = {one.attempt for one in view.late_reports} if view else set()
    update: dict[str, object] = {
        "inspected_late": tuple(sorted(late | set(standing.inspected_late))),
        "changed_at": at,
    }
    if view is not None and view.attempt == proposal.attempt and view.state in TERMINAL:
        update["inspected_attempt"] = view.attempt
        if view.state is Status.CANCELLED and standing.status == "submitted":
            update |= {"status": "cancelled", "why": "it was cancelled"}
    world.store.save(standing.model_copy(update=update))


def _remember_accepted(world: World, proposal: Proposal, key: str, at: datetime) -> None:
    standing = _standing(world, proposal)
    world.store.add_outcome(
        Outcome(task=standing.spec.id, result="accepted", attributable=True, at=at), key=key
    )
    if (fixed := _defect(world, standing.spec.fixes)) is not None:
        world.store.save_defect(fixed.model_copy(update={"status": "fixed"}))
    passed = _defect(world, standing.blocked_by)
    if passed is not None and standing.canary and passed.proven_by is None:
        world.store.save_defect(passed.model_copy(update={"proven_by": standing.spec.id}))
    _save(world, proposal, at, status="accepted", why=proposal.reason)


def _remember_handed_over(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    _save(world, proposal, at, status="handed-over", why=proposal.reason)


def _remember_interrupt(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    _save(world, proposal, at, last_interrupt_at=at)


def _remember_window(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    world.store.note({"window_limit": str(proposal.limit), "window_changed_at": at.isoformat()})


def _remember_nothing(_world: World, _proposal: Proposal, _key: str, _at: datetime) -> None:
    """The queue itself remembers it."""


# Whether it happened.


def _by_receipt(world: World, _proposal: Proposal, key: str) -> bool:
    receipt = world.queue.receipt(key)
    return receipt is not None and receipt.effect == "done"


def _by_issue(world: World, proposal: Proposal, _key: str) -> bool:
    return world.issues.find(_cause(proposal).fingerprint) is not None


def _by_status(*words: str) -> Happened:
    def happened(world: World, proposal: Proposal, _key: str) -> bool:
        return _standing(world, proposal).status in words

    return happened


def _never(_world: World, _proposal: Proposal, _key: str) -> bool:
    """Harmless to decide again: it is planned anew if it is still wanted."""
    return False


ACT: Final[dict[Action, Act]] = {
    Action.SUBMIT: _submit,
    Action.RETRY: _retry,
    Action.RELEASE: _retry,
    Action.SPLIT_DEFECT: _split_defect,
    Action.INTERRUPT: _interrupt,
    Action.CANCEL: _cancel,
    Action.MOVE: _move,
    Action.OPEN_ISSUE: _open_issue,
    Action.REVIEW: _review,
    Action.ACCEPT: _accept,
    Action.INSPECT: _noted("read"),
    Action.PARK: _park,
    Action.HAND_OVER: _noted("handed over to a person"),
    Action.WIDEN_WINDOW: _noted("one lane more"),
    Action.NARROW_WINDOW: _noted("one lane less"),
}

REMEMBER: Final[dict[Action, Remember]] = {
    Action.SUBMIT: _remember_submitted,
    Action.RETRY: _remember_retry,
    Action.RELEASE: _remember_release,
    Action.SPLIT_DEFECT: _remember_split,
    Action.INTERRUPT: _remember_interrupt,
    Action.CANCEL: _remember_nothing,
    Action.MOVE: _remember_nothing,
    Action.OPEN_ISSUE: _remember_issue,
    Action.REVIEW: _remember_nothing,
    Action.ACCEPT: _remember_accepted,
    Action.INSPECT: _remember_inspected,
    Action.PARK: _remember_park,
    Action.HAND_OVER: _remember_handed_over,
    Action.WIDEN_WINDOW: _remember_window,
    Action.NARROW_WINDOW: _remember_window,
}

HAPPENED: Final[dict[Action, Happened]] = {
    Action.SUBMIT: _by_receipt,
    Action.RETRY: _by_receipt,
    Action.RELEASE: _by_receipt,
    Action.SPLIT_DEFECT: _by_receipt,
    Action.INTERRUPT: _by_receipt,
    Action.CANCEL: _by_receipt,
    Action.MOVE: _by_receipt,
    Action.OPEN_ISSUE: _by_issue,
    Action.REVIEW: _never,
    Action.ACCEPT: _by_status("accepted"),
    Action.INSPECT: _never,
    Action.PARK: _by_status("parked"),
    Action.HAND_OVER: _by_status("handed-over"),
    Action.WIDEN_WINDOW: _never,
    Action.NARROW_WINDOW: _never,
}


def _done(receipt: Receipt, sentence: str) -> str:
    if receipt.effect != "done":
        raise NothingDoneError(f"the queue answered {receipt.effect}")
    return sentence


def _standing(world: World, proposal: Proposal) -> Standing:
    standing = world.store.standing(_task(proposal))
    if standing is None:
        raise NothingDoneError(f"task {proposal.task} is not of this wave")
    return standing


def _save(world: World, proposal: Proposal, at: datetime, **update: object) -> None:
    standing = _standing(world, proposal)
    world.store.save(standing.model_copy(update={**update, "changed_at": at}))


def _defect(world: World, defect: str | None) -> Defect | None:
    return next((one for one in world.store.defects() if one.id == defect), None)


def _task(proposal: Proposal) -> str:
    if proposal.task is None:
        raise NothingDoneError(f"{proposal.action} names no task")
    return proposal.task


def _attempt(proposal: Proposal) -> int:
    if proposal.attempt is None:
        raise NothingDoneError(f"{proposal.action} names no attempt")
    return proposal.attempt


def _words(proposal: Proposal) -> str:
    if not proposal.prompt:
        raise NothingDoneError(f"{proposal.action} has no prompt to send")
    return proposal.prompt


def _spec(proposal: Proposal) -> TaskSpec:
    if proposal.spec is None:
        raise NothingDoneError("no infrastructure queue is configured for the defect's task")
    return proposal.spec


def _cause(proposal: Proposal) -> Defect:
    if proposal.cause is None:
        raise NothingDoneError("open-issue names no cause")
    return proposal.cause
