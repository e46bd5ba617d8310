"""Approval requests made from decisions: who is asked about what, and what they are shown."""

from datetime import timedelta
from typing import Final

from agent.core.approval.requests import ApprovalRequest, StandingRule, Warned, digest_of
from agent.core.assess import judgement
from agent.core.assess.assessment import Assessment, TaskAssessment
from agent.core.guard import guard
from agent.core.journal.replay import Consent
from agent.core.model.actions import Action, NeedsApproval, word
from agent.core.model.nouns import Status
from agent.core.model.policy import Policy, Tier
from agent.core.plan import decision_basis, planner
from agent.core.plan.planner import Decision

_CLAIM: Final = 600
"""Characters of a worker's final response that a request keeps."""
_ELSE: Final[dict[str, tuple[Action, ...]]] = {
    Status.SUCCEEDED: (Action.ACCEPT, Action.RETRY, Action.REPLACE),
    Status.FAILED: (Action.ACCEPT, Action.RETRY, Action.REPLACE),
    Status.LOST: (Action.RETRY, Action.REPLACE),
    Status.RUNNING: (Action.GUIDE, Action.INTERRUPT),
    Status.JUDGING: (Action.INTERRUPT,),
    "parked": (Action.RELEASE,),
}
"""The alternatives for a task with that status."""


def tier_of(action: Action, policy: Policy) -> Tier:
    """How much of a person's attention this action needs."""
    return policy.approval.tier.get(action, "high")


def consent_without_asking(
    assessment: Assessment, decision: Decision, rules: list[StandingRule]
) -> Consent | None:
    """The consent of a tier or of a rule that a person made. None: a person is asked.

    Where the guard requires approval by a person, neither counts.
    """
    proposal = decision.proposal
    facts = {**decision.facts, "consent": "given"}
    if not guard.judge(proposal.action, facts, assessment.policy.guard)[0]:
        return None
    tier = tier_of(proposal.action, assessment.policy)
    if tier == "told":
        return Consent(by="policy", name=tier)
    for rule in rules:
        if tier != "high" and rule.covers(proposal.action, proposal.task, assessment.snapshot.now):
            return Consent(by="rule", name=rule.id)
    return None


def build_request(
    assessment: Assessment,
    decision: Decision,
    tick: int,
    snapshot: str,
    before: ApprovalRequest | None,
) -> ApprovalRequest:
    """The request for one decision; `before` is the last request about the same thing."""
    proposal, policy, now = decision.proposal, assessment.policy, assessment.snapshot.now
    assessed = assessment.tasks.get(proposal.task) if proposal.task else None
    tier = tier_of(proposal.action, policy)
    tier = "low" if tier == "told" else tier
    evidence = assessed.task.evidence if assessed else ()
    rests_on, facts = decision_basis.derive(assessed, proposal), dict(decision.facts)
    return ApprovalRequest(
        tier=tier,
        proposal=proposal,
        facts=facts,
        rules=decision.clearance.rules,
        grounds=rests_on,
        digest=digest_of(proposal, facts, rests_on),
        asked_at=now,
        expires_at=now + timedelta(seconds=getattr(policy.approval.expires, tier)),
        tick=tick,
        snapshot=snapshot,
        bundle=_bundle(assessed, decision),
        warnings=_warnings(assessed, decision),
        evidence=tuple(item for item in evidence if item.origin == "observed"),
        claim=_claim(assessed),
        instead=list_alternatives(assessment, decision),
        follows=before.id if before else None,
        changes=list_changes(before, decision, rests_on) if before else (),
    )


def list_changes(
    before: ApprovalRequest, decision: Decision, rests_on: dict[str, str]
) -> tuple[str, ...]:
    """What is different now from what `before` asked about."""
    if before.state == "expired":
        return (f"{before.id} expired without an answer",)
    found = list(decision_basis.list_changes(before.grounds, rests_on))
    found += decision_basis.list_changes(before.facts, dict(decision.facts))
    if before.proposal.prompt != decision.proposal.prompt:
        found.append("the prompt was drafted anew")
    return tuple(found)


def list_alternatives(assessment: Assessment, decision: Decision) -> tuple[str, ...]:
    """What was not chosen: each alternative with the guard's answer."""
    proposal = decision.proposal
    assessed = assessment.tasks.get(proposal.task) if proposal.task else None
    if assessed is None or assessed.task.word is None:
        return ()
    found = []
    for action in _ELSE.get(assessed.task.word, ()):
        if action is not proposal.action:
            answer = planner.ask(assessment, action, proposal.task)[1]
            rules = "" if word(answer) == "cleared" else f": {answer.rules[0]}"
            found.append(f"{action} ({word(answer)}{rules})")
    return tuple(found)


def _bundle(assessed: TaskAssessment | None, decision: Decision) -> str | None:
    """What has one cause is one question: the same defect, or the same failure reason."""
    proposal = decision.proposal
    if proposal.defect is not None:
        return f"{proposal.action} {proposal.defect}"
    if assessed is not None and assessed.failure is not None and assessed.failure.infrastructure:
        cause = assessed.failure.fingerprint or assessed.failure.reason
        return f"{proposal.action} {cause}"
    return None


def _warnings(assessed: TaskAssessment | None, decision: Decision) -> tuple[Warned, ...]:
    if assessed is None:
        return ()
    task, action, found = assessed.task, decision.proposal.action, []
    if assessed.proof.state == "contradicted" and task.final_response:
        found.append(("claim-contradicted", "what was observed contradicts what the worker says"))
    if task.final_response_truncated:
        found.append(("cut-off", "the worker's final response was cut off"))
    if action is Action.RETRY and task.attempts_left == 1 and decision.proposal.charged:
        found.append(("last-attempt", "no attempt is left after this one"))
    if action in (Action.INTERRUPT, Action.CANCEL):
        found.append(("work-may-be-lost", "work that was not pushed may be lost"))
    if task.production_adjacent:
        found.append(("production-adjacent", "the task works close to production"))
    if action is Action.REPLACE:
        found.append(("second-identity", "the work continues under another task id"))
    if action is Action.ACCEPT and assessed.judged.shown == "no":
        found.append(("nothing-shows-it", "nothing shows that it works: look at the change"))
    if action is Action.ACCEPT:
        found += [("judgement", said) for said in judgement.notes(task)]
    return tuple(Warned(rule=rule, said=said) for rule, said in found)


def _claim(assessed: TaskAssessment | None) -> str | None:
    response = assessed.task.final_response if assessed else None
    return response[-_CLAIM:] if response else None


def needs_a_person(decision: Decision) -> bool:
    """Whether only a person's approval is missing."""
    return isinstance(decision.clearance, NeedsApproval)
