"""What is remembered of each action once it was done: an idempotent overwrite each."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from agent.core.journal.records import Standing
from agent.core.model.actions import Action, Proposal
from agent.core.model.nouns import TERMINAL, Outcome, Status
from agent.core.plan.lessons import document_of
from agent.errors import NothingDoneError
from agent.runtime.context import World
from agent.runtime.named import (
    attempt_of,
    cause_of,
    defect_of,
    save,
    spec_of,
    standing_of,
    task_of,
    words_of,
)

Remember = Callable[[World, Proposal, str, datetime], None]


def _remember_submitted(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    save(world, proposal, at, status="submitted")


def _remember_retry(world: World, proposal: Proposal, key: str, at: datetime) -> None:
    standing, attempt = standing_of(world, proposal), attempt_of(proposal)
    ended = Outcome(task=standing.spec.id, result="failed", attributable=proposal.charged, at=at)
    world.store.add_outcome(ended, key=key)
    charged = {*standing.charged, attempt} if proposal.charged else standing.charged
    save(
        world, proposal, at,
        status="submitted", charged=tuple(sorted(charged)), review=None, at_risk_polls=0,
    )  # fmt: skip


def _remember_release(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    save(
        world, proposal, at,
        status="submitted", blocked_by=proposal.defect, canary=True, review=None, at_risk_polls=0,
    )  # fmt: skip


def _remember_replaced(world: World, proposal: Proposal, key: str, at: datetime) -> None:
    """Whoever waited for the task waits for the one in its place."""
    _remember_new(world, proposal, at)
    new, old = spec_of(proposal).id, task_of(proposal)
    for one in world.store.standings(settled=False):
        if old in one.spec.depends_on:
            after = tuple(new if name == old else name for name in one.spec.depends_on)
            spec = one.spec.model_copy(update={"depends_on": after})
            world.store.save(one.model_copy(update={"spec": spec}))
    for defect in world.store.defects():
        if defect.fixed_by == old:
            world.store.save_defect(defect.model_copy(update={"fixed_by": new}))
    ended = Outcome(task=old, result="replaced", attributable=proposal.charged, at=at)
    world.store.add_outcome(ended, key=key)
    save(world, proposal, at, status="replaced", why=f"replaced by {new}: {proposal.reason}")


def _remember_new(world: World, proposal: Proposal, at: datetime) -> None:
    spec, wave = spec_of(proposal), standing_of(world, proposal).wave
    if world.store.standing(spec.id) is None:
        prompt = words_of(proposal)
        new = Standing(spec=spec, wave=wave, status="submitted", prompt=prompt, changed_at=at)
        world.store.save(new)


def _remember_split(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    _remember_new(world, proposal, at)
    spec = spec_of(proposal)
    defect = defect_of(world, proposal.defect)
    if defect is not None:
        world.store.save_defect(defect.model_copy(update={"fixed_by": spec.id}))


def _remember_issue(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    cause = cause_of(proposal)
    issue = world.issues.find(cause.fingerprint)
    if issue is None:
        raise NothingDoneError("the issue that was opened cannot be found again")
    name = cause.id if cause.id != "new" else f"D-{issue.id.lstrip('#0')}"
    world.store.save_defect(
        cause.model_copy(
            update={
                "id": name,
                "status": "recorded",
                "issue": issue.id,
                "seen_in": _with(cause.seen_in, task_of(proposal)),
            },
        ),
    )
    save(world, proposal, at, canary=False)


def _with(tasks: tuple[str, ...], task: str) -> tuple[str, ...]:
    return tasks if task in tasks else (*tasks, task)


def _remember_park(world: World, proposal: Proposal, key: str, at: datetime) -> None:
    task = task_of(proposal)
    ended = Outcome(task=task, result="failed", attributable=False, at=at)
    world.store.add_outcome(ended, key=key)
    if (defect := defect_of(world, proposal.defect)) is not None:
        seen = defect.model_copy(update={"seen_in": _with(defect.seen_in, task)})
        world.store.save_defect(seen)
    save(world, proposal, at, status="parked", blocked_by=proposal.defect, why=proposal.reason)


def _remember_inspected(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    view = world.queue.get(task_of(proposal))
    standing = standing_of(world, proposal)
    late = {one.attempt for one in view.late_reports} if view else set()
    update: dict[str, object] = {
        "inspected_late": tuple(sorted(late | set(standing.inspected_late))),
        "changed_at": at,
    }
    if view is not None and view.attempt == proposal.attempt and view.state in TERMINAL:
        update["inspected_attempt"] = view.attempt
        # With a cause it was nobody's word to cancel it, and the task goes on.
        by_word = view.state is Status.CANCELLED and proposal.cause is None
        if by_word and standing.status == "submitted":
            update |= {"status": "cancelled", "why": "it was cancelled"}
    world.store.save(standing.model_copy(update=update))


def _remember_accepted(world: World, proposal: Proposal, key: str, at: datetime) -> None:
    standing = standing_of(world, proposal)
    world.store.add_outcome(
        Outcome(task=standing.spec.id, result="accepted", attributable=True, at=at), key=key
    )
    # Whoever went past a bridge has not shown that the fix holds.
    if (fixed := defect_of(world, standing.spec.fixes)) is not None:
        world.store.save_defect(fixed.model_copy(update={"status": "fixed", "proven_by": None}))
    passed = defect_of(world, standing.blocked_by)
    if passed is not None and standing.canary and passed.proven_by is None:
        world.store.save_defect(passed.model_copy(update={"proven_by": standing.spec.id}))
    save(world, proposal, at, status="accepted", why=proposal.reason)


def _remember_handed_over(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    save(world, proposal, at, status="handed-over", why=proposal.reason)


def _remember_interrupt(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    save(world, proposal, at, last_interrupt_at=at)


def _remember_touched(world: World, proposal: Proposal, key: str, _at: datetime) -> None:
    """A remedy whose success was not seen is none; it is not tried again for this defect."""
    defect = defect_of(world, proposal.defect)
    done = world.remedies.done(key) if world.remedies is not None else None
    if defect is not None and done is not None:
        in_place = done.verified is True
        world.store.save_defect(defect.model_copy(update={"remedied": in_place}))


def _remember_reference(world: World, proposal: Proposal, _key: str, _at: datetime) -> None:
    if (defect := defect_of(world, proposal.defect)) is not None:
        written = defect.model_copy(update={"reference": document_of(defect)})
        world.store.save_defect(written)


def _remember_window(world: World, proposal: Proposal, _key: str, at: datetime) -> None:
    world.store.note({"window_limit": str(proposal.limit), "window_changed_at": at.isoformat()})


def _remember_nothing(_world: World, _proposal: Proposal, _key: str, _at: datetime) -> None:
    """The queue itself remembers it."""


REMEMBER: Final[dict[Action, Remember]] = {
    Action.SUBMIT: _remember_submitted,
    Action.RETRY: _remember_retry,
    Action.RELEASE: _remember_release,
    Action.REPLACE: _remember_replaced,
    Action.SPLIT_DEFECT: _remember_split,
    Action.INTERRUPT: _remember_interrupt,
    Action.CANCEL: _remember_nothing,
    Action.MOVE: _remember_nothing,
    Action.OPEN_ISSUE: _remember_issue,
    Action.ACCEPT: _remember_accepted,
    Action.INSPECT: _remember_inspected,
    Action.PARK: _remember_park,
    Action.HAND_OVER: _remember_handed_over,
    Action.LIVE_REMEDY: _remember_touched,
    Action.DEPLOY: _remember_touched,
    Action.WRITE_REFERENCE: _remember_reference,
    Action.WIDEN_WINDOW: _remember_window,
    Action.NARROW_WINDOW: _remember_window,
}
