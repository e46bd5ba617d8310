"""What each action does to the world, and whether it happened.

Two tables over the closed set of actions. `ACT` may be called once per key; `HAPPENED` reads back,
so that after a crash nothing is lost or repeated. What is remembered is in `remembering`.
"""

from collections.abc import Callable
from typing import Final

from agent.core.assess.proof import commit_of
from agent.core.model.actions import Action, Proposal
from agent.core.model.queueing import Order, Receipt, TaskSpec
from agent.core.plan.defects import blocked_issue, issue_of
from agent.core.plan.lessons import document_of
from agent.errors import NothingDoneError
from agent.runtime.context import World
from agent.runtime.named import (
    attempt_of,
    cause_of,
    defect_of,
    spec_of,
    standing_of,
    task_of,
    words_of,
)

Act = Callable[[World, Proposal, str], str]
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
    standing = standing_of(world, proposal)
    receipt = world.queue.submit(
        standing.spec.id,
        queue=standing.spec.queue,
        prompt=words_of(proposal),
        order=order_of(standing.spec, standing.wave),
        key=key,
    )
    return _done(receipt, f"submitted to {standing.spec.queue}")


def _retry(world: World, proposal: Proposal, key: str) -> str:
    attempt = attempt_of(proposal) + 1
    receipt = world.queue.retry(
        task_of(proposal),
        attempt=attempt,
        prompt=words_of(proposal),
        fresh_session=proposal.fresh_session,
        key=key,
    )
    return _done(receipt, f"attempt {attempt} queued under the same identity")


def _submit_new(world: World, proposal: Proposal, key: str) -> str:
    spec = spec_of(proposal)
    receipt = world.queue.submit(
        spec.id,
        queue=spec.queue,
        prompt=words_of(proposal),
        order=order_of(spec, standing_of(world, proposal).wave),
        key=key,
    )
    return _done(receipt, f"{spec.id} submitted to {spec.queue}")


def _interrupt(world: World, proposal: Proposal, key: str) -> str:
    receipt = world.queue.interrupt(
        task_of(proposal), attempt=attempt_of(proposal), reason=proposal.reason, key=key
    )
    return _done(receipt, "asked to stop")


def _cancel(world: World, proposal: Proposal, key: str) -> str:
    receipt = world.queue.cancel(
        task_of(proposal), attempt=attempt_of(proposal), reason=proposal.reason, key=key
    )
    return _done(receipt, "asked to end")


def _move(world: World, proposal: Proposal, key: str) -> str:
    if proposal.queue is None:
        raise NothingDoneError("move names no queue")
    receipt = world.queue.move(task_of(proposal), queue=proposal.queue, key=key)
    return _done(receipt, f"moved to {proposal.queue}")


def _open_issue(world: World, proposal: Proposal, key: str) -> str:
    cause = cause_of(proposal)
    title, body = issue_of(cause, standing_of(world, proposal).spec)
    issue = world.issues.open(cause.fingerprint, title, body)
    if cause.issue is not None:
        world.issues.comment(issue.id, f"Seen again after its fix.\n\n{body}", key=key)
    return f"recorded as {issue.where}"


def _park(world: World, proposal: Proposal, key: str) -> str:
    defect = defect_of(world, proposal.defect)
    if defect is None:
        raise NothingDoneError("the defect to wait for is not known")
    if defect.issue is not None:
        waits = f"Task {task_of(proposal)} waits for this and goes on under its own identity."
        world.issues.comment(defect.issue, waits, key=key)
    _mark_read(world, proposal)
    return f"parked behind {defect.id}"


def _accept(world: World, proposal: Proposal, key: str) -> str:
    spec = standing_of(world, proposal).spec
    defect = defect_of(world, spec.fixes)
    if defect is not None and defect.issue is not None:
        world.issues.close(defect.issue, f"Fixed by task {spec.id}: {proposal.reason}.", key=key)
    _mark_read(world, proposal)
    return "accepted"


def _hand_over(world: World, proposal: Proposal, key: str) -> str:
    """Policy: an issue "that records the blocking condition and recovery dependency"."""
    spec = standing_of(world, proposal).spec
    waiting = [
        one.spec.id
        for one in world.store.standings(settled=False)
        if spec.id in one.spec.depends_on or (spec.fixes and one.blocked_by == spec.fixes)
    ]
    _mark_read(world, proposal)
    title, body = blocked_issue(spec, proposal.reason, waiting)
    defect = defect_of(world, spec.fixes)
    if defect is not None and defect.issue is not None:
        world.issues.comment(defect.issue, body, key=key)
        return "handed over to a person, in the issue of its defect"
    issue = world.issues.open(f"handed-over:{spec.id}", title, body)
    return f"handed over to a person in {issue.where}"


def _touch(world: World, proposal: Proposal, key: str) -> str:
    """A remedy in dev or a deploy: rehearsed, done once, verified; its issue says what came of it.

    Policy: "apply the smallest controlled deploy needed to restore the queue, then verify".
    """
    if world.remedies is None or proposal.remedy is None:
        raise NothingDoneError(f"{proposal.action} names no configured remedy")
    defect = defect_of(world, proposal.defect)
    if defect is None or defect.issue is None:
        raise NothingDoneError("the defect that it is for is not recorded")
    names = {"task": task_of(proposal), "defect": defect.id}
    if pushed := commit_of(standing_of(world, proposal).evidence):
        names["commit"] = pushed
    done = world.remedies.carry_out(proposal.remedy, names, key=key)
    world.issues.comment(defect.issue, f"{proposal.reason}: {done.said}", key=key)
    return done.said


def _write_reference(world: World, proposal: Proposal, key: str) -> str:
    defect = defect_of(world, proposal.defect)
    if world.references is None or defect is None:
        raise NothingDoneError("there is nowhere to propose a document")
    path = document_of(defect)
    title = f"Write down what {defect.id} has taught"
    proposed = world.references.propose(path, words_of(proposal), title=title, key=key)
    return f"{path} proposed on {proposed.branch} at {proposed.commit[:12]}"


def _mark_read(world: World, proposal: Proposal) -> None:
    """Whoever looks at the queue sees that this result is dealt with.

    Not when it is read: reading is allowed in every mode, and this changes the queue.
    """
    if proposal.task is not None and proposal.attempt is not None:
        world.queue.mark_read(proposal.task, attempt=proposal.attempt)


def _set_window(world: World, proposal: Proposal, _key: str) -> str:
    widen = proposal.action is Action.WIDEN_WINDOW
    if proposal.limit is None:
        raise NothingDoneError(f"{proposal.action} names no limit")
    known = world.store.notes().get("window_limit")
    if known is not None and (proposal.limit > int(known)) is not widen:
        raise NothingDoneError(f"{proposal.action} to {proposal.limit} is none from {known}")
    return "one lane more" if widen else "one lane less"


def _noted(word: str) -> Act:
    """The whole effect is what the supervisor remembers."""

    def act(_world: World, _proposal: Proposal, _key: str) -> str:
        return word

    return act


# Whether it happened.


def _by_receipt(world: World, _proposal: Proposal, key: str) -> bool:
    receipt = world.queue.receipt(key)
    return receipt is not None and receipt.effect == "done"


def _by_issue(world: World, proposal: Proposal, _key: str) -> bool:
    return world.issues.find(cause_of(proposal).fingerprint) is not None


def _by_note(world: World, _proposal: Proposal, key: str) -> bool:
    return world.remedies is not None and world.remedies.done(key) is not None


def _by_branch(world: World, _proposal: Proposal, key: str) -> bool:
    return world.references is not None and world.references.proposed(key) is not None


def _by_status(*words: str) -> Happened:
    def happened(world: World, proposal: Proposal, _key: str) -> bool:
        return standing_of(world, proposal).status in words

    return happened


def _never(_world: World, _proposal: Proposal, _key: str) -> bool:
    """Harmless to decide again: it is planned anew if it is still wanted."""
    return False


ACT: Final[dict[Action, Act]] = {
    Action.SUBMIT: _submit,
    Action.RETRY: _retry,
    Action.RELEASE: _retry,
    Action.REPLACE: _submit_new,
    Action.SPLIT_DEFECT: _submit_new,
    Action.INTERRUPT: _interrupt,
    Action.CANCEL: _cancel,
    Action.MOVE: _move,
    Action.OPEN_ISSUE: _open_issue,
    Action.ACCEPT: _accept,
    Action.INSPECT: _noted("read"),
    Action.PARK: _park,
    Action.HAND_OVER: _hand_over,
    Action.LIVE_REMEDY: _touch,
    Action.DEPLOY: _touch,
    Action.WRITE_REFERENCE: _write_reference,
    Action.WIDEN_WINDOW: _set_window,
    Action.NARROW_WINDOW: _set_window,
}

HAPPENED: Final[dict[Action, Happened]] = {
    Action.SUBMIT: _by_receipt,
    Action.RETRY: _by_receipt,
    Action.RELEASE: _by_receipt,
    Action.REPLACE: _by_receipt,
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
    Action.LIVE_REMEDY: _by_note,
    Action.DEPLOY: _by_note,
    Action.WRITE_REFERENCE: _by_branch,
    Action.WIDEN_WINDOW: _never,
    Action.NARROW_WINDOW: _never,
}


def _done(receipt: Receipt, sentence: str) -> str:
    if receipt.effect != "done":
        raise NothingDoneError(f"the queue answered {receipt.effect}")
    return sentence
