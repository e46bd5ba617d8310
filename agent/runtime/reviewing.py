"""Reviews: what is shown is gathered, what is known is reused, the rest is asked all at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.assess.proof import commit_of
from agent.core.journal.records import Standing
from agent.core.model.actions import Proposal
from agent.core.model.nouns import Review
from agent.core.review.brief import Brief, brief
from agent.core.review.review import followed_up
from agent.errors import NothingDoneError, WavekeeperError
from agent.ports import WaveStore
from agent.runtime.context import Supervision, World, spent_by


@dataclass(frozen=True, slots=True)
class Read:
    """What came of one review that was asked for."""

    said: str
    """One sentence."""
    review: Review | None = None
    """None: there was nothing to review."""
    reused: bool = False
    tokens: int = 0
    """What asking has used up."""


def read(world: World, how: Supervision, proposals: Sequence[Proposal]) -> list[Read]:
    """Review each result once. Nothing is remembered here, see `remember`."""
    asked: dict[int, tuple[Standing, Brief]] = {}
    found: dict[int, Read] = {}
    for place, proposal in enumerate(proposals):
        try:
            standing, shown = _shown(world, how, proposal)
        except WavekeeperError as error:
            found[place] = Read(str(error))
            continue
        known = _known(world, standing, shown)
        if known is not None:
            found[place] = Read("read before: the same review counts", known, reused=True)
        else:
            asked[place] = (standing, shown)
    given = world.reviewer.review([shown for _, shown in asked.values()]) if asked else []
    for (place, (standing, _)), review in zip(asked.items(), given, strict=True):
        found[place] = _answered(world, how, standing, review)
    return [found[place] for place in range(len(proposals))]


def remember(world: World, task: str, found: Read) -> None:
    """Keep the review and what it took; called in the transaction of the outcome's record."""
    standing = world.store.standing(task)
    if standing is None or found.review is None:
        return
    charge(world.store, standing, found.tokens, {"review": found.review})


def _shown(world: World, how: Supervision, proposal: Proposal) -> tuple[Standing, Brief]:
    standing = world.store.standing(proposal.task or "")
    view = world.queue.get(proposal.task or "")
    if standing is None or view is None or view.attempt != proposal.attempt:
        raise NothingDoneError("the attempt to be reviewed is not the current one")
    shown = brief(
        standing.spec,
        view,
        standing.evidence,
        _diff(world, standing),
        how.reading.limits,
        claims_count=how.policy.completion.claims_count,
    )
    return standing, shown


def _diff(world: World, standing: Standing) -> str | None:
    """What was changed up to the very commit that the evidence is about; None: there is none."""
    commit = commit_of(standing.evidence)
    if world.diffs is None or commit is None:
        return None
    diff = world.diffs.diff(standing.spec, commit)
    if diff is None:
        raise NothingDoneError("what the branch changed cannot be read now; tried again")
    return diff


def _known(world: World, standing: Standing, shown: Brief) -> Review | None:
    """The verdict of the same reviewer on the same content, from the journal."""
    wanted = shown.digest()
    for entry in world.journal.entries(task=standing.spec.id, kinds=("outcome",)):
        told = entry.record.body.get("review")
        if not isinstance(told, dict):
            continue
        review = Review.model_validate(told)
        if (
            (review.digest, review.attempt, review.by)
            == (wanted, shown.attempt, world.reviewer.name)
            and review.abstained is None
        ):  # fmt: skip
            return review.model_copy(update={"seen": shown.seen})
    return None


def _answered(world: World, how: Supervision, standing: Standing, review: Review) -> Read:
    now = world.clock.now()
    review = followed_up(review, standing.review, how.reading.patience, now)
    tokens = review.usage.total if review.usage else 0
    if review.abstained is None:
        counted = ", ".join(f"{one.id} {one.verdict}" for one in review.criteria)
        return Read(f"reviewed: {counted}", review, tokens=tokens)
    what = "is asked again" if review.pending else "a person is needed"
    return Read(f"abstained: {review.abstained}; {what}", review, tokens=tokens)


def charge(store: WaveStore, standing: Standing, tokens: int, update: dict[str, object]) -> None:
    """Save the standing with `update`, and count the tokens to its task and its wave."""
    store.save(
        standing.model_copy(update={**update, "spent": standing.spent + tokens}),
    )
    if tokens:
        total = spent_by(store.notes(), standing.wave) + tokens
        store.note({f"spent/{standing.wave}": str(total)})
