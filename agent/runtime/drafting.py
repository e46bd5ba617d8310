"""Words for a proposal: gather the facts, let the drafter word them, lint what it made."""

from itertools import chain, count
from typing import Final

from agent.core.assess.assessment import Board, Case
from agent.core.assess.proof import commit_of
from agent.core.journal.records import Standing
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
    board: Board,
    proposal: Proposal,
    store: WaveStore,
    drafter: Drafter,
    writer: Writer | None = None,
) -> Proposal:
    """The proposal with what would be sent, word for word; as it was if nothing is sent.

    With a `writer`, and tokens left for it, a model reads the facts; without one they must do.
    """
    standing = store.standing(proposal.task) if proposal.task else None
    if proposal.action is Action.WRITE_REFERENCE and standing is not None:
        defect = board.cases[standing.spec.id].lesson
        text = document(defect, board.policy.failures) if defect is not None else None
        return proposal.model_copy(update={"prompt": text})
    if proposal.action not in SENDS_PROMPT or standing is None:
        return proposal
    if proposal.action is Action.SUBMIT:
        return proposal.model_copy(update={"prompt": standing.prompt})
    case = board.cases[standing.spec.id]
    if proposal.action is Action.SPLIT_DEFECT:
        proposal = _split(board, case, proposal, standing, store)
        if proposal.spec is None:
            return proposal
    if proposal.action is Action.REPLACE:
        left = narrower_of(standing.spec, case.proof.unmet)
        proposal = proposal.model_copy(update={"spec": _named(left, store)})
    request = _request(board, case, proposal, standing)
    if writer is None or case.task.tokens_left is None or case.task.tokens_left <= 0:
        return proposal.model_copy(update={"prompt": drafter.draft(request)})
    prompt, usage = worded(request, drafter, writer)
    if usage.total:
        charge(store, standing, usage.total, {})
    return proposal.model_copy(update={"prompt": prompt})


def worded(request: DraftRequest, drafter: Drafter, writer: Writer) -> tuple[str, Usage]:
    """The prompt with a model's slots, and what they took; the linter decides.

    A draft that fails is mended once, told the linter's findings; else the facts alone must do.
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


def stands_on_its_own(board: Board, proposal: Proposal, store: WaveStore) -> bool:
    """What the linter says of the words that would be sent; True if none would be."""
    if proposal.action not in SENDS_PROMPT or not proposal.prompt:
        return True
    standing = store.standing(proposal.task) if proposal.task else None
    if standing is None:
        return False
    spec = proposal.spec or standing.spec
    previous = None
    if proposal.action in (Action.RETRY, Action.RELEASE):
        previous = board.cases[standing.spec.id].task.prompt
    # Every attempt that ended left new evidence: its own result, read before this was drafted.
    return not lint(proposal.prompt, spec, previous=previous)


def _split(
    board: Board, case: Case, proposal: Proposal, standing: Standing, store: WaveStore
) -> Proposal:
    queue = queue_for(board.snapshot.queues)
    defect = case.defect
    if queue is None or defect is None:
        return proposal.model_copy(update={"prompt": None})
    reason = board.policy.failures.by_id.get(defect.reason or "")
    spec = task_for(
        defect, standing.spec, case.task.judge, queue.id, reason.proof if reason else ()
    )
    return proposal.model_copy(update={"spec": _named(spec, store), "queue": queue.id})


def _named(spec: TaskSpec, store: WaveStore) -> TaskSpec:
    """Under an id that no task has or had."""
    stem = spec.id[:_STEM]
    names = chain([spec.id], (f"{stem}-{number}" for number in count(2)))
    free = next(name for name in names if store.standing(name) is None)
    return spec.model_copy(update={"id": free})


def _request(board: Board, case: Case, proposal: Proposal, standing: Standing) -> DraftRequest:
    task, judge = case.task, case.task.judge
    failing = judge.failing if judge else None
    splitting = proposal.action is Action.SPLIT_DEFECT
    first = proposal.spec is not None
    return DraftRequest(
        kind=_KIND[proposal.action],
        spec=proposal.spec or standing.spec,
        goal=board.snapshot.wave.goal or standing.spec.title,
        attempt=1 if first else (task.attempt or 0) + 1,
        evidence=() if splitting else task.evidence,
        missing=() if splitting else case.proof.gaps,
        unmet=() if splitting else case.proof.unmet,
        failed=_what_failed(case, failing),
        output=failing.output if failing else None,
        last_error=task.last_error,
        commit=None if splitting else commit_of(task.evidence),
        previous=None if first else task.prompt,
        fixed=_what_was_fixed(case, proposal),
        replaces=standing.spec.id if proposal.action is Action.REPLACE else None,
    )


def _what_failed(case: Case, failing: CommandResult | None) -> str | None:
    if failing is not None:
        code = "did not end" if failing.exit_code is None else f"ended with {failing.exit_code}"
        return f"The acceptance command `{' '.join(failing.argv)}` {code}."
    if read := _what_was_read(case):
        return read
    if case.failure is not None:
        return f"{case.failure.reason}: {case.failure.why}"
    return None


def _what_was_read(case: Case) -> str | None:
    """What the review found unmet, with the passage that shows it; None: nothing."""
    review = case.task.review
    found = [
        f"{one.id} is not met; {one.evidence} says: {one.quote}"
        for one in (review.criteria if review else ())
        if one.verdict == "unmet" and one.id in case.proof.unmet
    ]
    return "\n".join(found) or None


def _what_was_fixed(case: Case, proposal: Proposal) -> str | None:
    defect = case.defect
    if proposal.action is not Action.RELEASE or defect is None:
        return None
    by = f" by task {defect.fixed_by}" if defect.fixed_by else ""
    return f"{defect.id} ({defect.fingerprint}) was fixed{by}, and the fix was observed to hold."
