"""What a proposal names, looked up; whatever it should name and does not is `NothingDoneError`."""

from datetime import datetime

from agent.core.journal.records import Standing
from agent.core.model.actions import Proposal
from agent.core.model.nouns import Defect
from agent.core.model.queueing import TaskSpec
from agent.errors import NothingDoneError
from agent.runtime.context import World


def task_of(proposal: Proposal) -> str:
    """The task's id."""
    if proposal.task is None:
        raise NothingDoneError(f"{proposal.action} names no task")
    return proposal.task


def attempt_of(proposal: Proposal) -> int:
    """The attempt it was decided on."""
    if proposal.attempt is None:
        raise NothingDoneError(f"{proposal.action} names no attempt")
    return proposal.attempt


def words_of(proposal: Proposal) -> str:
    """The prompt, or the document, word for word."""
    if not proposal.prompt:
        raise NothingDoneError(f"{proposal.action} has no words to send")
    return proposal.prompt


def spec_of(proposal: Proposal) -> TaskSpec:
    """The new task."""
    if proposal.spec is None:
        raise NothingDoneError(f"{proposal.action} has no task to create: no queue can take it")
    return proposal.spec


def cause_of(proposal: Proposal) -> Defect:
    """The shared cause that is written down."""
    if proposal.cause is None:
        raise NothingDoneError(f"{proposal.action} names no cause")
    return proposal.cause


def standing_of(world: World, proposal: Proposal) -> Standing:
    """What is remembered of the task."""
    standing = world.store.standing(task_of(proposal))
    if standing is None:
        raise NothingDoneError(f"task {proposal.task} is not of this wave")
    return standing


def defect_of(world: World, defect: str | None) -> Defect | None:
    """The defect with this id."""
    return next((one for one in world.store.defects() if one.id == defect), None)


def save(world: World, proposal: Proposal, at: datetime, **update: object) -> None:
    """Change what is remembered of the task."""
    standing = standing_of(world, proposal)
    world.store.save(standing.model_copy(update={**update, "changed_at": at}))
