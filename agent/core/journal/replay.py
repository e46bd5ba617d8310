"""Replay: decide again on recorded snapshots, and report each decision that differs.

Some inputs of a decision are not in the snapshot: the drafted prompt, the linter's verdict on it,
and who consented. The journal keeps them, and a replay takes them from there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from agent.core.assess.assessment import Assessment
from agent.core.journal.records import Entry, request_in
from agent.core.model.actions import (
    DRAFTED,
    SENDS_PROMPT,
    Action,
    Cleared,
    NeedsApproval,
    Proposal,
    word,
)
from agent.core.model.nouns import Noun, Snapshot
from agent.core.model.policy import Policy
from agent.core.plan import planner
from agent.core.plan.planner import Decision

_DRAFTED: Final = ("prompt", "spec", "queue")
"""What drafting adds to a proposal; in a replay it is taken from the record."""


class Consent(Noun):
    """Who consented to one proposal."""

    by: Literal["policy", "rule", "person"]
    """`policy`: its tier needs no question; `rule`: a person made a rule that covers it."""
    name: str
    """The tier, the rule's id or the request's id."""
    ground: str | None = None
    """What the person's answer rests on, as a digest; see `decision_basis.derive`."""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision with all that its journal record needs."""

    decision: Decision
    prompt_ok: bool = True
    """The linter found nothing wrong with the prompt."""
    consent: Consent | None = None
    request: str | None = None
    """The id of the approval request about it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One recorded decision that is different now."""

    record: int
    tick: int
    task: str | None
    recorded: str
    now: str
    where: tuple[str, ...]
    """Which parts differ: action, reason, clearance, rules, facts ..."""


def clear_prompt(
    assessment: Assessment, decision: Decision, proposal: Proposal, *, prompt_ok: bool
) -> Decision:
    """The decision with the drafted prompt, cleared again with it."""
    if proposal.action not in DRAFTED:
        return decision
    facts, answer = planner.clear(assessment, proposal, prompt_ok=prompt_ok)
    if isinstance(decision.clearance, Cleared) or not isinstance(answer, Cleared):
        return replace(decision, proposal=proposal, clearance=answer, facts=facts)
    # A prompt can only lose a permission: what was refused for another reason stays refused.
    return decision


def clear_with_consent(
    assessment: Assessment, decision: Decision, consent: Consent | None, *, prompt_ok: bool
) -> Decision:
    """The decision cleared again with a consent. No consent can change a refusal."""
    if consent is None or not isinstance(decision.clearance, NeedsApproval):
        return decision
    person = consent.by == "person"
    facts, answer = planner.clear(
        assessment, decision.proposal, prompt_ok=prompt_ok, approved=person, consented=not person
    )
    return replace(decision, clearance=answer, facts=facts)


def record_body(record: DecisionRecord, snapshot: str) -> dict[str, Any]:
    """The body of the decision's record: everything that deciding it again needs."""
    decision = record.decision
    answer, questions = decision.clearance, decision.questions
    body: dict[str, Any] = {
        "snapshot": snapshot,
        "facts": dict(decision.facts),
        "proposal": decision.proposal.model_dump(mode="json", exclude_none=True),
        "clearance": word(answer),
        "rules": list(answer.rules),
    }
    if decision.proposal.action in SENDS_PROMPT:
        body["stands"] = record.prompt_ok
    if record.consent is not None:
        body["consent"] = record.consent.model_dump(mode="json", exclude_none=True)
    if record.request is not None:
        body["request"] = record.request
    if questions is not None:
        body["questions"] = questions.named()
    return body


def differences(
    snapshot: Snapshot, policy: Policy, recorded: Sequence[Entry]
) -> Iterable[Difference]:
    """Each of one tick's recorded decisions that `policy` decides otherwise on `snapshot`."""
    decisions = planner.decide(snapshot, policy)
    by_task = {one.proposal.task: one for one in decisions.tasks}
    if decisions.window is not None:
        by_task[None] = decisions.window
    for entry in recorded:
        task = entry.record.task
        decision = by_task.pop(task, None)
        now = None if decision is None else _again(decisions.assessment, decision, entry)
        if (found := _difference(entry, now)) is not None:
            yield found
    tick = recorded[0].record.tick if recorded else 0
    at = recorded[0].sequence if recorded else 0
    for task, decision in by_task.items():
        summary = _summary(record_body(DecisionRecord(decision), ""))
        yield Difference(at, tick, task, "no decision", summary, ("action",))


def _again(assessment: Assessment, decision: Decision, entry: Entry) -> dict[str, Any]:
    """The body the record would have now."""
    body = entry.record.body
    before = Proposal.model_validate(body["proposal"])
    prompt_ok = bool(body.get("stands", True))
    consent = Consent.model_validate(body["consent"]) if "consent" in body else None
    proposal = decision.proposal
    if proposal.action is before.action:
        taken = {name: getattr(before, name) for name in _DRAFTED}
        proposal = proposal.model_copy(update=taken)
    decision = clear_prompt(assessment, decision, proposal, prompt_ok=prompt_ok)
    decision = clear_with_consent(assessment, decision, consent, prompt_ok=prompt_ok)
    return record_body(
        DecisionRecord(decision, prompt_ok, consent, request_in(body)), body["snapshot"]
    )


def _difference(entry: Entry, now: Mapping[str, Any] | None) -> Difference | None:
    record, before = entry.record, entry.record.body
    if now is None:
        summary = _summary(before)
        return Difference(
            entry.sequence, record.tick, record.task, summary, "no decision", ("action",)
        )
    where = tuple(
        part
        for part in ("facts", "clearance", "rules", "questions")
        if before.get(part) != now.get(part)
    )
    mine, its = before["proposal"], now["proposal"]
    parts = tuple(name for name in sorted({*mine, *its}) if mine.get(name) != its.get(name))
    if not where and not parts:
        return None
    return Difference(
        entry.sequence, record.tick, record.task, _summary(before), _summary(now), (*parts, *where)
    )


def _summary(body: Mapping[str, Any]) -> str:
    """`retry (refused: never_submit_in_a_burst)`."""
    action = Action(body["proposal"]["action"])
    if body["clearance"] == "cleared":
        return f"{action} (cleared)"
    return f"{action} ({body['clearance']}: {', '.join(body['rules'])})"
