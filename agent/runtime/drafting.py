"""Prompts for a proposal: gather the facts, let the drafter render them, lint the result."""

from itertools import chain, count
from typing import Final

from agent.core.assess.assessment import Assessment, TaskAssessment
from agent.core.assess.proof import commit_of
from agent.core.assess.remote_watch import pushed_to_default
from agent.core.journal.records import TaskRecord
from agent.core.model.actions import SENDS_PROMPT, Action, Proposal
from agent.core.model.nouns import CommandResult, Usage
from agent.core.model.queueing import TaskSpec
from agent.core.plan.defects import narrower_of, queue_for, task_for
from agent.core.plan.lessons import document
from agent.core.prompts.linter import DraftKind, DraftRequest, lint
from agent.ports import Drafter, WaveStore, Writer
from agent.runtime.reviewing import charge

_STEM: Final = 58
"""Characters of a task's id that its successor keeps, so that a number still fits."""

_KIND: dict[Action, DraftKind] = {
    Action.RETRY: "continuation",
    Action.RELEASE: "release",
    Action.SPLIT_DEFECT: "defect",
    Action.REPLACE: "narrower",
}


def draft(
    assessment: Assessment,
    proposal: Proposal,
    store: WaveStore,
    drafter: Drafter,
    writer: Writer | None = None,
) -> Proposal:
    """The proposal with what would be sent, word for word; as it was if nothing is sent.

    With a `writer`, and tokens left for it, a model reads the facts; without one they must do.
    """
    task_record = store.task_record(proposal.task) if proposal.task else None
    if proposal.action is Action.WRITE_REFERENCE and task_record is not None:
        defect = assessment.tasks[task_record.spec.id].lesson
        text = document(defect, assessment.policy.failures) if defect is not None else None
        return proposal.model_copy(update={"prompt": text})
    if proposal.action not in SENDS_PROMPT or task_record is None:
        return proposal
    if proposal.action is Action.SUBMIT:
        return proposal.model_copy(update={"prompt": task_record.prompt})
    assessed = assessment.tasks[task_record.spec.id]
    if proposal.action is Action.SPLIT_DEFECT:
        proposal = _split(assessment, assessed, proposal, task_record, store)
        if proposal.spec is None:
            return proposal
    if proposal.action is Action.REPLACE:
        left = narrower_of(task_record.spec, assessed.proof.unmet)
        proposal = proposal.model_copy(update={"spec": _named(left, store)})
    request = _request(assessment, assessed, proposal, task_record)
    if writer is None or assessed.task.tokens_left is None or assessed.task.tokens_left <= 0:
        return proposal.model_copy(update={"prompt": drafter.draft(request)})
    prompt, usage = fill_slots(request, drafter, writer)
    if usage.total:
        charge(store, task_record, usage.total, {})
    return proposal.model_copy(update={"prompt": prompt})


def fill_slots(request: DraftRequest, drafter: Drafter, writer: Writer) -> tuple[str, Usage]:
    """The prompt with slots filled by a model, and the tokens used; the linter decides.

    The model gets one more try with the linter's findings; after that the facts alone must do.
    """
    findings: tuple[str, ...] = ()
    usage = Usage()
    for _ in range(2):
        slots, used = writer.slots(request, findings)
        usage = usage.plus(used)
        if slots is None:
            break
        prompt = drafter.draft(request.model_copy(update={"slots": slots}))
        found = lint(prompt, request.spec, previous=request.previous)
        if not found:
            return prompt, usage
        findings = tuple(one.message for one in found)
    return drafter.draft(request), usage


def is_self_contained(assessment: Assessment, proposal: Proposal, store: WaveStore) -> bool:
    """Whether the linter passes the prompt that would be sent; True if none would be."""
    if proposal.action not in SENDS_PROMPT or not proposal.prompt:
        return True
    task_record = store.task_record(proposal.task) if proposal.task else None
    if task_record is None:
        return False
    spec = proposal.spec or task_record.spec
    previous = None
    if proposal.action in (Action.RETRY, Action.RELEASE):
        previous = assessment.tasks[task_record.spec.id].task.prompt
    # Every attempt that ended left new evidence: its own result, read before this was drafted.
    return not lint(proposal.prompt, spec, previous=previous)


def _split(
    assessment: Assessment,
    assessed: TaskAssessment,
    proposal: Proposal,
    task_record: TaskRecord,
    store: WaveStore,
) -> Proposal:
    queue = queue_for(assessment.snapshot.queues)
    defect = assessed.defect
    if queue is None or defect is None:
        return proposal.model_copy(update={"prompt": None})
    reason = assessment.policy.failures.by_id.get(defect.reason or "")
    spec = task_for(
        defect, task_record.spec, assessed.task.judge, queue.id, reason.proof if reason else ()
    )
    # A branch belongs to one task: the second fix of a defect does not push onto that of the first.
    spec = _named(spec, store)
    spec = spec.model_copy(update={"branch": f"wavekeeper/{spec.id}"})
    return proposal.model_copy(update={"spec": spec, "queue": queue.id})


def _named(spec: TaskSpec, store: WaveStore) -> TaskSpec:
    """Under an id that no task has or had."""
    stem = spec.id[:_STEM]
    names = chain([spec.id], (f"{stem}-{number}" for number in count(2)))
    free = next(name for name in names if store.task_record(name) is None)
    return spec.model_copy(update={"id": free})


def _request(
    assessment: Assessment, assessed: TaskAssessment, proposal: Proposal, task_record: TaskRecord
) -> DraftRequest:
    task, judge = assessed.task, assessed.task.judge
    failing = judge.failing if judge else None
    splitting = proposal.action is Action.SPLIT_DEFECT
    first = proposal.spec is not None
    return DraftRequest(
        kind=_KIND[proposal.action],
        spec=proposal.spec or task_record.spec,
        goal=assessment.snapshot.wave.goal or task_record.spec.title,
        attempt=1 if first else (task.attempt or 0) + 1,
        evidence=() if splitting else task.evidence,
        missing=() if splitting else assessed.proof.gaps,
        unmet=() if splitting else assessed.proof.unmet,
        failed=_what_failed(assessed, failing),
        output=failing.output if failing else None,
        last_error=task.last_error,
        commit=None if splitting else commit_of(task.evidence),
        previous=None if first else task.prompt,
        beside=None if first else pushed_to_default(task, assessment.snapshot),
        fixed=_what_was_fixed(assessed, proposal),
        replaces=task_record.spec.id if proposal.action is Action.REPLACE else None,
    )


def _what_failed(assessed: TaskAssessment, failing: CommandResult | None) -> str | None:
    if failing is not None:
        code = "did not end" if failing.exit_code is None else f"ended with {failing.exit_code}"
        return f"The acceptance command `{' '.join(failing.argv)}` {code}."
    if read := _what_was_read(assessed):
        return read
    if assessed.failure is not None:
        return f"{assessed.failure.reason}: {assessed.failure.why}"
    return None


def _what_was_read(assessed: TaskAssessment) -> str | None:
    """What the review found unmet, with the passage that shows it; None: nothing."""
    review = assessed.task.review
    found = [
        f"{one.id} is not met; {one.evidence} says: {one.quote}"
        for one in (review.criteria if review else ())
        if one.verdict == "unmet" and one.id in assessed.proof.unmet
    ]
    return "\n".join(found) or None


def _what_was_fixed(assessed: TaskAssessment, proposal: Proposal) -> str | None:
    defect = assessed.defect
    if proposal.action is not Action.RELEASE or defect is None:
        return None
    by = f" by task {defect.fixed_by}" if defect.fixed_by else ""
    return f"{defect.id} ({defect.fingerprint}) was fixed{by}, and the fix was observed to hold."
