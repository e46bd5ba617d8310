"""Reviews: gather what is shown, reuse what is known, ask for the rest all at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.assess.proof import newest
from agent.core.journal.records import TaskRecord
from agent.core.model.actions import Proposal
from agent.core.model.nouns import ProofKind, Review
from agent.core.model.queueing import TaskView
from agent.core.review.brief import Brief, brief
from agent.core.review.review import plan_retry
from agent.errors import NothingDoneError, WavekeeperError
from agent.ports import WaveStore
from agent.runtime.context import Ports, Supervision, spent_by


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


def read(ports: Ports, how: Supervision, proposals: Sequence[Proposal]) -> list[Read]:
    """Review each result once. Nothing is remembered here, see `remember`."""
    asked: dict[int, tuple[TaskRecord, Brief]] = {}
    found: dict[int, Read] = {}
    for place, proposal in enumerate(proposals):
        try:
            task_record, shown = _shown(ports, how, proposal)
        except WavekeeperError as error:
            found[place] = Read(str(error))
            continue
        known = _known(ports, task_record, shown)
        if known is not None:
            found[place] = Read("read before: the same review counts", known, reused=True)
        else:
            asked[place] = (task_record, shown)
    given = ports.reviewer.review([shown for _, shown in asked.values()]) if asked else []
    for (place, (task_record, _)), review in zip(asked.items(), given, strict=True):
        found[place] = _answered(ports, how, task_record, review)
    return [found[place] for place in range(len(proposals))]


def remember(ports: Ports, task: str, found: Read) -> None:
    """Keep the review and what it took; called in the transaction of the outcome's record."""
    task_record = ports.store.task_record(task)
    if task_record is None or found.review is None:
        return
    charge(ports.store, task_record, found.tokens, {"review": found.review})


def _shown(ports: Ports, how: Supervision, proposal: Proposal) -> tuple[TaskRecord, Brief]:
    task_record = ports.store.task_record(proposal.task or "")
    view = ports.queue.get(proposal.task or "")
    if task_record is None or view is None or view.attempt != proposal.attempt:
        raise NothingDoneError("the attempt to be reviewed is not the current one")
    shown = brief(
        task_record.spec,
        _with_judgement(ports, view),
        task_record.evidence,
        _diff(ports, task_record),
        how.review_limits.limits,
        claims_count=how.policy.completion.claims_count,
    )
    # Its digest is compared with what a reviewer was shown before, so it is taken after cleaning.
    return task_record, ports.secrets.all(shown)


def _with_judgement(ports: Ports, view: TaskView) -> TaskView:
    """What a judge host found takes the place of what the queue's own judge says."""
    judgements = ports.judgements
    judgement = judgements.latest(view.id, view.attempt) if judgements is not None else None
    return view.model_copy(update={"judge": judgement.record if judgement is not None else None})


def _diff(ports: Ports, task_record: TaskRecord) -> str | None:
    """What was changed up to the very commit that the evidence is about; None: there is none."""
    pushed = newest(ProofKind.COMMIT_PUSHED, task_record.evidence)
    if ports.diffs is None or pushed is None or pushed.value is None:
        return None
    diff = ports.diffs.diff(pushed.base, pushed.value)
    if diff is None:
        raise NothingDoneError("what the branch changed cannot be read now; tried again")
    return diff


def _known(ports: Ports, task_record: TaskRecord, shown: Brief) -> Review | None:
    """The verdict of the same reviewer on the same content, from the journal."""
    wanted = shown.digest()
    for entry in ports.journal.entries(task=task_record.spec.id, kinds=("outcome",)):
        found = entry.record.body.get("review")
        if not isinstance(found, dict):
            continue
        review = Review.model_validate(found)
        if (
            (review.digest, review.attempt, review.by)
            == (wanted, shown.attempt, ports.reviewer.name)
            and review.abstained is None
        ):  # fmt: skip
            return review.model_copy(update={"seen": shown.seen})
    return None


def _answered(ports: Ports, how: Supervision, task_record: TaskRecord, review: Review) -> Read:
    now = ports.clock.now()
    review = plan_retry(review, task_record.review, how.review_limits.retry_policy, now)
    tokens = review.usage.total if review.usage else 0
    if review.abstained is None:
        counted = ", ".join(f"{one.id} {one.verdict}" for one in review.criteria)
        return Read(f"reviewed: {counted}", review, tokens=tokens)
    what = "is asked again" if review.pending else "a person is needed"
    return Read(f"abstained: {review.abstained}; {what}", review, tokens=tokens)


def charge(
    store: WaveStore, task_record: TaskRecord, tokens: int, update: dict[str, object]
) -> None:
    """Save the record with `update`, and count the tokens to its task and its wave."""
    store.save(
        task_record.model_copy(update={**update, "spent": task_record.spent + tokens}),
    )
    if tokens:
        total = spent_by(store.notes(), task_record.wave) + tokens
        store.note({f"spent/{task_record.wave}": str(total)})
