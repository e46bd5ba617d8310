"""A person's side of the approval queue: look once more, then approve, reject or defer.

Nothing is done here. An approval is kept for the supervisor, which observes and clears again and
acts only if everything is still as it was shown.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.core.approval.requests import (
    OPEN,
    Answer,
    ApprovalRequest,
    StandingRule,
    close,
    defer,
    describe_state,
    edit_prompt,
    record_answer,
)
from agent.core.assess.assessment import Assessment, assess
from agent.core.journal.records import Damaged
from agent.core.model.actions import Action, NeedsApproval, Proposal, Refused
from agent.core.model.nouns import Mode, Supervisor
from agent.core.model.policy import Policy
from agent.core.plan import decision_basis, planner
from agent.core.prompts.linter import Finding, lint
from agent.errors import ChangedMeanwhileError, GuardRefusesError, UserError
from agent.runtime.approval_queue import record
from agent.runtime.context import Ports, Supervision
from agent.runtime.drafting import is_self_contained
from agent.runtime.observe import Observer


@dataclass(frozen=True, slots=True)
class Edited:
    """The result of replacing the drafted prompt by a person's."""

    request: ApprovalRequest
    findings: tuple[Finding, ...]
    """Why the prompt is not complete in itself; empty: the request has the new words."""
    difference: tuple[str, ...]
    """Lines that were taken out and put in."""


class Answering:
    """Answers for one person; `who` is how the record names them."""

    def __init__(self, ports: Ports, policy: Policy, who: str) -> None:
        self._ports = ports
        self._policy = policy
        self.who = who

    def waiting(self) -> list[ApprovalRequest]:
        """The questions nobody has answered, the deferred ones last; expired ones are left out."""
        now = self._ports.clock.now()
        found = [one for one in self._ports.approvals.requests(live=True) if one.state in OPEN]
        fresh = [one for one in found if now < one.expires_at]
        return sorted(fresh, key=lambda one: one.state == "deferred")

    def damaged(self) -> list[Damaged]:
        """The questions, and rules, that cannot be read; nobody can answer them."""
        odd = self._ports.state.damaged(0)
        return [one for one in odd if one.kind in ("request", "rule")]

    def request(self, name: str, digest: str | None = None) -> ApprovalRequest:
        """The request `name`. UserError: there is none; ChangedMeanwhileError: it changed."""
        if digest is not None:
            return self._ports.approvals.change(name, digest, lambda one: one)
        request = self._ports.approvals.request(name)
        if request is None:
            for one in self.damaged():
                if one.id == name:
                    raise UserError(f"{name} cannot be read, so nobody can answer it: {one.why}")
            raise UserError(
                f"there is no request {name!r:.40}; `wavekeeper approve --list` shows them"
            )
        return request

    def approve(
        self, request: ApprovalRequest, *, via: str, looked: float | None
    ) -> ApprovalRequest:
        """Approve it, if it is still what was shown.

        Raises:
            ChangedMeanwhileError: it is not, or somebody answered before; nothing will be done.
            GuardRefusesError: the guard refuses it now.

        """
        if request.state not in OPEN:
            raise ChangedMeanwhileError(f"{request.id} {describe_state(request)}; nothing was done")
        self._look_again(request)
        return self._answer(request, "approved", via=via, looked=looked, reason=None)

    def reject(
        self, request: ApprovalRequest, reason: str, *, via: str, looked: float | None
    ) -> ApprovalRequest:
        """Reject it, and say why; it is asked again only when something changes."""
        return self._answer(request, "rejected", via=via, looked=looked, reason=reason)

    def defer(self, request: ApprovalRequest, until: datetime | None) -> ApprovalRequest:
        """Put it off until a time, or until something changes."""
        return self._ports.approvals.change(
            request.id, request.digest, lambda one: defer(one, self.who, until)
        )

    def edit(self, request: ApprovalRequest, words: str) -> Edited:
        """Replace the prompt of the request, if linter and guard permit the new one."""
        before, words = request.proposal.prompt or "", self._ports.secrets.text(words)
        compared = difflib.unified_diff(before.split("\n"), words.split("\n"), n=0, lineterm="")
        changed = tuple(line for line in list(compared)[2:] if not line.startswith("@@"))
        if not changed:
            return Edited(request, (), ())
        proposal = request.proposal.model_copy(update={"prompt": words})
        assessment = self._assessment(request)
        findings = self._findings(assessment, proposal)
        if findings:
            return Edited(request, findings, changed)
        facts, answer = planner.clear(assessment, proposal)
        if isinstance(answer, Refused):
            raise GuardRefusesError(
                f"{request.id}: the guard refuses it: {', '.join(answer.rules)}"
            )
        new = self._ports.approvals.change(
            request.id, request.digest, lambda one: edit_prompt(one, words, facts)
        )
        return Edited(new, (), changed)

    def rules(self) -> Sequence[StandingRule]:
        """Every rule a person made."""
        return self._ports.approvals.rules()

    def add_rule(self, rule: StandingRule) -> StandingRule:
        """Keep a rule; the supervisor heeds it from its next look on."""
        return self._ports.approvals.add_rule(rule)

    def revoke(self, name: str) -> None:
        """End a rule."""
        self._ports.approvals.change_rule(
            name, lambda one: one.model_copy(update={"revoked": True})
        )

    def _answer(
        self,
        request: ApprovalRequest,
        verdict: str,
        *,
        via: str,
        looked: float | None,
        reason: str | None,
    ) -> ApprovalRequest:
        now = self._ports.clock.now()
        answer = Answer.model_validate(
            {
                "verdict": verdict, "who": self.who, "at": now, "via": via, "reason": reason,
                "looked": looked,
            }
        )  # fmt: skip
        with self._ports.state.transaction():  # an answer and its record, or neither
            said = self._ports.approvals.change(
                request.id, request.digest, lambda one: record_answer(one, answer)
            )
            record(self._ports.approvals, self._ports.journal, self._ports.journal.last_tick(), now)
        return said

    def _look_again(self, request: ApprovalRequest) -> None:
        """Observe the task and clear the action again; a change closes the request."""
        assessment = self._assessment(request)
        proposal = request.proposal
        assessed = assessment.tasks.get(proposal.task) if proposal.task else None
        found = list(
            decision_basis.list_changes(request.grounds, decision_basis.derive(assessed, proposal))
        )
        prompt_ok = is_self_contained(assessment, proposal, self._ports.store)
        facts, answer = planner.clear(assessment, proposal, prompt_ok=prompt_ok)
        found += decision_basis.list_changes(request.facts, facts)
        if not found and isinstance(answer, NeedsApproval):
            return
        why = "; ".join(found) or "it needs no approval any more"
        self._ports.approvals.change(
            request.id, request.digest, lambda one: close(one, "stale", why, seen=False)
        )
        if isinstance(answer, Refused):
            rules = ", ".join(answer.rules)
            raise GuardRefusesError(f"{request.id}: the guard refuses it now: {rules} ({why})")
        raise ChangedMeanwhileError(f"{request.id} changed: {why}; nothing was done")

    def _assessment(self, request: ApprovalRequest) -> Assessment:
        """The assessment of this moment, in the mode in which the question was asked."""
        known: dict[str, Mode] = {"approve": "approve", "auto": "auto"}
        mode = known.get(request.facts.get("mode", ""), "approve")
        how = Supervision(policy=self._policy, mode=mode, interval=1.0)
        snapshot = Observer(self._ports, how, probing=False).observe()
        # Whether a supervisor runs has nothing to do with this question.
        absent = Supervisor(interval=None, host=snapshot.supervisor.host)
        snapshot = snapshot.model_copy(update={"supervisor": absent})
        return assess(snapshot, self._policy)

    def _findings(self, assessment: Assessment, proposal: Proposal) -> tuple[Finding, ...]:
        task_record = self._ports.store.task_record(proposal.task) if proposal.task else None
        if not proposal.prompt or task_record is None:
            return ()
        previous = None
        assessed = assessment.tasks.get(task_record.spec.id)
        if proposal.action in (Action.RETRY, Action.RELEASE) and assessed is not None:
            previous = assessed.task.prompt
        return lint(proposal.prompt, proposal.spec or task_record.spec, previous=previous)


def similar_to(
    request: ApprovalRequest, requests: Sequence[ApprovalRequest]
) -> list[ApprovalRequest]:
    """The requests that `a` answers together: same action and tier, never a high one."""
    if request.tier == "high":
        return []
    return [
        one
        for one in requests
        if one.state == "pending"
        and (one.proposal.action, one.tier) == (request.proposal.action, request.tier)
    ]


def bundle_of(
    request: ApprovalRequest, requests: Sequence[ApprovalRequest]
) -> list[ApprovalRequest]:
    """The requests that are one question with this one, itself included."""
    if request.bundle is None:
        return [request]
    mates = [one for one in requests if one.bundle == request.bundle and one.tier == request.tier]
    return [one for one in mates if one.state == "pending"] or [request]
