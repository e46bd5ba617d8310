"""The supervisor's side of the approval queue: it asks, reads answers, closes requests.

An approval whose outcome is in the journal is never used again, and what the journal lacks about a
request is written at the next look: after a kill anywhere in between nothing is lost or done twice.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from agent.core.approval import asking
from agent.core.approval.requests import (
    ENDS,
    OPEN,
    ApprovalRequest,
    RequestState,
    StandingRule,
    change_state,
    close,
    digest_of,
)
from agent.core.assess.assessment import Assessment
from agent.core.assess.proof import newest
from agent.core.journal.records import Record, TaskRecord, request_in
from agent.core.journal.replay import Consent, DecisionRecord, clear_prompt, clear_with_consent
from agent.core.model.actions import DRAFTED, Action, NeedsApproval, Proposal, Refused, digest
from agent.core.model.nouns import ProofKind
from agent.core.plan import decision_basis, planner
from agent.core.plan.planner import Decision
from agent.errors import ChangedMeanwhileError, UserError
from agent.ports import Approvals, Journal
from agent.runtime.context import Ports
from agent.runtime.drafting import draft, is_self_contained
from agent.runtime.executor import Done

_ENDED: dict[str, RequestState] = {"done": "done", "failed": "failed", "void": "stale"}
"""The end of a request by the result of its action."""
_DIFF: Final = 20_000
"""Characters of a change that a question keeps."""


class ApprovalQueue:
    """One tick at a time: `begin`, `rule` each decision, `end`, and `carried_out` for each act."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._approvals = ports.approvals
        self._tick = 0
        self._kept: set[str] = set()
        self._rules: list[StandingRule] = []

    def begin(self, tick: int, now: datetime) -> None:
        """Take up what happened since the last tick, before anything is observed."""
        self._tick, self._kept = tick, set()
        self._rules = list(self._approvals.rules())
        for request in self._approvals.requests(live=True):
            if request.state == "approved" and (ended := self._outcome(request)) is not None:
                self._close(request, _ENDED[ended["result"]], str(ended["said"]))
            elif request.state == "approved" and self._is_under_way(request):
                self._kept.add(request.id)
            elif now >= request.expires_at:
                self._close(request, "expired", "nobody answered in time" if request.state in OPEN
                            else "it could not be carried out in time")  # fmt: skip
            elif request.deferred_until is not None and now >= request.deferred_until:
                self._change(request, lambda one: change_state(one, "pending", deferred_until=None))
        record(self._approvals, self._ports.journal, tick, now)

    def rule(self, assessment: Assessment, decision: Decision, snapshot: str) -> DecisionRecord:
        """The decision with its prompt and its approval; asks for one where it is missing."""
        proposal = decision.proposal
        assessed = assessment.tasks.get(proposal.task) if proposal.task else None
        request = None
        if proposal.action in DRAFTED or asking.needs_a_person(decision):
            request = self._approvals.last(proposal.task, proposal.action)
        fits = request is not None and request.grounds == decision_basis.derive(assessed, proposal)
        if request is not None and fits and request.state in ("pending", "approved"):
            # What was shown is what is sent: nothing is drafted anew while a person looks at it.
            kept = {name: getattr(request.proposal, name) for name in ("prompt", "spec", "queue")}
            proposal = proposal.model_copy(update=kept)
        else:
            # A model is not paid for a prompt that is refused anyway.
            writer = None if isinstance(decision.clearance, Refused) else self._ports.writer
            proposal = draft(assessment, proposal, self._ports.store, self._ports.drafter, writer)
        prompt_ok = is_self_contained(assessment, proposal, self._ports.store)
        decision = clear_prompt(assessment, decision, proposal, prompt_ok=prompt_ok)
        if not asking.needs_a_person(decision):
            return DecisionRecord(decision, prompt_ok)
        consent = asking.consent_without_asking(assessment, decision, self._rules)
        if consent is None:
            request = self._asked(assessment, decision, request, snapshot)
            self._kept.add(request.id)
            if request.state == "approved":
                ground = digest(request.grounds)
                consent = Consent(by="person", name=request.id, ground=ground)
        decision = clear_with_consent(assessment, decision, consent, prompt_ok=prompt_ok)
        return DecisionRecord(
            decision, prompt_ok, consent, request.id if request and consent is None else None
        )

    def end(self, assessment: Assessment, decisions: Sequence[DecisionRecord]) -> None:
        """Close what is no longer proposed, and what was asked on another basis."""
        now = assessment.snapshot.now
        coming = {one.decision.proposal.task: one.decision.proposal for one in decisions}
        for request in self._approvals.requests(live=True):
            if request.id not in self._kept and not self._still_holds(assessment, request):
                new = coming.get(request.proposal.task)
                why = f"now {new.action}: {new.reason}" if new else "there is nothing left to do"
                self._close(request, "stale", why)
        record(self._approvals, self._ports.journal, self._tick, now)
        for request in self._approvals.unseen():
            self._change(request, lambda one: one.model_copy(update={"seen": True}))

    def _still_holds(self, assessment: Assessment, request: ApprovalRequest) -> bool:
        """Whether a request that is not proposed just now has the same basis, so it may wait."""
        proposal = request.proposal
        assessed = assessment.tasks.get(proposal.task) if proposal.task else None
        prompt_ok = is_self_contained(assessment, proposal, self._ports.store)
        facts, answer = planner.clear(assessment, proposal, prompt_ok=prompt_ok)
        same = facts == request.facts and request.grounds == decision_basis.derive(
            assessed, proposal
        )
        return same and isinstance(answer, NeedsApproval)

    def may(self, consent: Consent | None, now: datetime, proposal: Proposal) -> bool:
        """Take one use of a rule, directly before acting; False: it has no use left."""
        if consent is None or consent.by != "rule":
            return True

        def use(rule: StandingRule) -> StandingRule:
            if not rule.covers(proposal.action, proposal.task, now):
                raise UserError(f"{rule.id} no longer covers {proposal.action}")
            return rule.model_copy(update={"used": rule.used + 1})

        try:
            self._approvals.change_rule(consent.name, use)
        except UserError:
            return False
        return True

    def carried_out(self, consent: Consent | None, done: Done) -> None:
        """Close the request of an approved action with its result; an open one stays."""
        if consent is None or consent.by != "person" or done.result not in _ENDED:
            return
        request = self._approvals.request(consent.name)
        if request is not None:
            self._close(request, _ENDED[done.result], done.said)

    def _asked(
        self,
        assessment: Assessment,
        decision: Decision,
        before: ApprovalRequest | None,
        snapshot: str,
    ) -> ApprovalRequest:
        """The live request about exactly this, or a new one that replaces the last."""
        proposal, facts = decision.proposal, dict(decision.facts)
        assessed = assessment.tasks.get(proposal.task) if proposal.task else None
        seal = digest_of(proposal, facts, decision_basis.derive(assessed, proposal))
        if before is not None and before.digest == seal and before.state in ("pending", "approved"):
            return before
        if before is not None and before.state in ("pending", "approved", "deferred"):
            changed = asking.list_changes(
                before, decision, decision_basis.derive(assessed, proposal)
            )
            self._close(before, "stale", "; ".join(changed) or "it changed")
        task_record = self._ports.store.task_record(proposal.task) if proposal.task else None
        request = asking.build_request(assessment, decision, self._tick, snapshot, before)
        title = task_record.spec.title if task_record else ""
        diff = self._diff(task_record) if proposal.action is Action.ACCEPT else None
        return self._approvals.ask(request.model_copy(update={"title": title, "diff": diff}))

    def _diff(self, task_record: TaskRecord | None) -> str | None:
        """What is to be accepted, as the remote shows it."""
        evidence = task_record.evidence if task_record is not None else ()
        pushed = newest(ProofKind.COMMIT_PUSHED, evidence)
        if self._ports.diffs is None or pushed is None or pushed.value is None:
            return None
        diff = self._ports.diffs.diff(pushed.base, pushed.value)
        if diff is None or len(diff) <= _DIFF:
            return diff
        left_out = len(diff) - _DIFF
        return f"{diff[:_DIFF]}\n[{left_out} characters are not shown: read {pushed.value}]"

    def _outcome(self, request: ApprovalRequest) -> dict[str, Any] | None:
        """The outcome of an approved request in the journal; None: there is none yet."""
        entries = self._ports.journal.entries(
            task=request.proposal.task, kinds=("outcome", "settled")
        )
        for entry in entries:
            if entry.record.body.get("consent", {}).get("name") == request.id:
                return dict(entry.record.body)
        return None

    def _is_under_way(self, request: ApprovalRequest) -> bool:
        """Whether its intent is written and nobody knows yet what came of it."""
        return any(
            record.body.get("consent", {}).get("name") == request.id
            for record in self._ports.journal.unresolved()
        )

    def _close(self, request: ApprovalRequest, state: RequestState, why: str) -> None:
        self._change(request, lambda one: close(one, state, why))

    def _change(
        self, request: ApprovalRequest, how: Callable[[ApprovalRequest], ApprovalRequest]
    ) -> None:
        # If somebody was faster, the next tick sees what they said.
        with suppress(ChangedMeanwhileError):
            self._approvals.change(request.id, request.digest, how)


def record(approvals: Approvals, journal: Journal, tick: int, now: datetime) -> None:
    """Write into the journal what it lacks about a request, if a process died before that."""
    for request in approvals.unseen():
        if request.recorded:
            continue
        task = request.proposal.task
        recorded = {
            entry.record.kind
            for entry in journal.entries(task=task, kinds=("answered", "closed"))
            if request_in(entry.record.body) == request.id
        }
        about = {
            "request": request.id,
            "digest": request.digest,
            "action": request.proposal.action.value,
        }
        if request.answer is not None and "answered" not in recorded:
            said = request.answer.model_dump(mode="json", exclude_none=True, exclude={"at"})
            body = {**about, "tier": request.tier, "edited": request.drafted is not None, **said}
            at = request.answer.at
            journal.append([Record(kind="answered", at=at, tick=tick, task=task, body=body)])
        if request.state in ENDS and "closed" not in recorded:
            body = {**about, "state": request.state, "why": request.why or ""}
            journal.append([Record(kind="closed", at=now, tick=tick, task=task, body=body)])
        with suppress(ChangedMeanwhileError):
            approvals.change(request.id, request.digest, _as_recorded(request))


def _as_recorded(request: ApprovalRequest) -> Callable[[ApprovalRequest], ApprovalRequest]:
    """Marks it as recorded, unless it went on meanwhile."""

    def how(one: ApprovalRequest) -> ApprovalRequest:
        return one.model_copy(update={"recorded": True}) if one.state == request.state else one

    return how
