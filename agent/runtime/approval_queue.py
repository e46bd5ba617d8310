"""The supervisor's side of the queue of questions: it asks, takes up answers, and closes cards.

An approval whose outcome the journal has is never used again, and what the journal has not heard of
a card is written at the next look: killed anywhere in between, nothing is lost or done twice.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from agent.core.approval import asking
from agent.core.approval.requests import (
    ENDS,
    OPEN,
    Card,
    CardState,
    StandingRule,
    bound,
    closed,
    moved,
)
from agent.core.assess.assessment import Board
from agent.core.journal.records import Record
from agent.core.journal.replay import Consent, Ruled, with_consent, worded
from agent.core.model.actions import WORDED, NeedsApproval, Proposal, Refused, digest
from agent.core.plan import decision_basis, planner
from agent.core.plan.planner import Decision
from agent.errors import ChangedMeanwhileError, UserError
from agent.ports import Approvals, Journal
from agent.runtime.context import World
from agent.runtime.drafting import draft, stands_on_its_own
from agent.runtime.executor import Done

_ENDED: dict[str, CardState] = {"done": "done", "failed": "failed", "void": "stale"}
"""How a card ends with what came of the action."""


class Desk:
    """One tick at a time: `begin`, `rule` each decision, `end`, and `carried_out` for each act."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._approvals = world.approvals
        self._tick = 0
        self._kept: set[str] = set()
        self._rules: list[StandingRule] = []

    def begin(self, tick: int, now: datetime) -> None:
        """Take up what happened since the last tick, before anything is observed."""
        self._tick, self._kept = tick, set()
        self._rules = list(self._approvals.rules())
        for card in self._approvals.cards(live=True):
            if card.state == "approved" and (ended := self._outcome(card)) is not None:
                self._close(card, _ENDED[ended["result"]], str(ended["said"]))
            elif card.state == "approved" and self._is_under_way(card):
                self._kept.add(card.id)
            elif now >= card.expires_at:
                self._close(card, "expired", "nobody answered in time" if card.state in OPEN
                            else "it could not be carried out in time")  # fmt: skip
            elif card.deferred_until is not None and now >= card.deferred_until:
                self._change(card, lambda one: moved(one, "pending", deferred_until=None))
        record(self._approvals, self._world.journal, tick, now)

    def rule(self, board: Board, decision: Decision, snapshot: str) -> Ruled:
        """The decision with its words, and the yes there is to it; asks where there is none."""
        proposal = decision.proposal
        case = board.cases.get(proposal.task) if proposal.task else None
        card = None
        if proposal.action in WORDED or asking.is_asked(decision):
            card = self._approvals.last(proposal.task, proposal.action)
        fits = card is not None and card.grounds == decision_basis.of(case, proposal)
        if card is not None and fits and card.state in ("pending", "approved"):
            # What was shown is what is done: nothing is drafted anew while a person looks at it.
            kept = {name: getattr(card.proposal, name) for name in ("prompt", "spec", "queue")}
            proposal = proposal.model_copy(update=kept)
        else:
            # A model is paid for words that may be sent, not for those that are refused anyway.
            writer = None if isinstance(decision.clearance, Refused) else self._world.writer
            proposal = draft(board, proposal, self._world.store, self._world.drafter, writer)
        stands = stands_on_its_own(board, proposal, self._world.store)
        decision = worded(board, decision, proposal, stands=stands)
        if not asking.is_asked(decision):
            return Ruled(decision, stands)
        consent = asking.without_asking(board, decision, self._rules)
        if consent is None:
            card = self._asked(board, decision, card, snapshot)
            self._kept.add(card.id)
            if card.state == "approved":
                ground = digest(card.grounds)
                consent = Consent(by="person", name=card.id, ground=ground)
        decision = with_consent(board, decision, consent, stands=stands)
        return Ruled(decision, stands, consent, card.id if card and consent is None else None)

    def end(self, board: Board, decisions: Sequence[Ruled]) -> None:
        """Close what is no longer proposed, and what was asked on other grounds."""
        now = board.snapshot.now
        coming = {one.decision.proposal.task: one.decision.proposal for one in decisions}
        for card in self._approvals.cards(live=True):
            if card.id not in self._kept and not self._still_stands(board, card):
                new = coming.get(card.proposal.task)
                why = f"now {new.action}: {new.reason}" if new else "there is nothing left to do"
                self._close(card, "stale", why)
        record(self._approvals, self._world.journal, self._tick, now)
        for card in self._approvals.unseen():
            self._change(card, lambda one: one.model_copy(update={"seen": True}))

    def _still_stands(self, board: Board, card: Card) -> bool:
        """Whether a card that is not proposed just now rests on the same, so that it may wait."""
        proposal = card.proposal
        case = board.cases.get(proposal.task) if proposal.task else None
        stands = stands_on_its_own(board, proposal, self._world.store)
        facts, answer = planner.clear(board, proposal, prompt_stands=stands)
        same = facts == card.facts and card.grounds == decision_basis.of(case, proposal)
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
        """Close the card of an approved action with what came of it; an open one stays."""
        if consent is None or consent.by != "person" or done.result not in _ENDED:
            return
        card = self._approvals.card(consent.name)
        if card is not None:
            self._close(card, _ENDED[done.result], done.said)

    def _asked(self, board: Board, decision: Decision, before: Card | None, snapshot: str) -> Card:
        """The live card about exactly this, or a new one in the place of the last."""
        proposal, facts = decision.proposal, dict(decision.facts)
        case = board.cases.get(proposal.task) if proposal.task else None
        seal = bound(proposal, facts, decision_basis.of(case, proposal))
        if before is not None and before.digest == seal and before.state in ("pending", "approved"):
            return before
        if before is not None and before.state in ("pending", "approved", "deferred"):
            changed = asking.what_changed(before, decision, decision_basis.of(case, proposal))
            self._close(before, "stale", "; ".join(changed) or "it changed")
        standing = self._world.store.standing(proposal.task) if proposal.task else None
        card = asking.card_of(board, decision, self._tick, snapshot, before)
        title = standing.spec.title if standing else ""
        return self._approvals.ask(card.model_copy(update={"title": title}))

    def _outcome(self, card: Card) -> dict[str, Any] | None:
        """What the journal says came of an approved card; None: nothing yet."""
        entries = self._world.journal.entries(task=card.proposal.task, kinds=("outcome", "settled"))
        for entry in entries:
            if entry.record.body.get("consent", {}).get("name") == card.id:
                return dict(entry.record.body)
        return None

    def _is_under_way(self, card: Card) -> bool:
        """Whether its intent is written and nobody knows yet what came of it."""
        return any(
            record.body.get("consent", {}).get("name") == card.id
            for record in self._world.journal.unresolved()
        )

    def _close(self, card: Card, state: CardState, why: str) -> None:
        self._change(card, lambda one: closed(one, state, why))

    def _change(self, card: Card, how: Callable[[Card], Card]) -> None:
        # If somebody was faster, the next tick sees what they said.
        with suppress(ChangedMeanwhileError):
            self._approvals.change(card.id, card.digest, how)


def record(approvals: Approvals, journal: Journal, tick: int, now: datetime) -> None:
    """Write into the journal what it has not heard of a card, whoever was killed before that."""
    for card in approvals.unseen():
        if card.recorded:
            continue
        task = card.proposal.task
        heard = {
            entry.record.kind
            for entry in journal.entries(task=task, kinds=("answered", "closed"))
            if entry.record.body["card"] == card.id
        }
        about = {"card": card.id, "digest": card.digest, "action": card.proposal.action.value}
        if card.answer is not None and "answered" not in heard:
            said = card.answer.model_dump(mode="json", exclude_none=True, exclude={"at"})
            body = {**about, "tier": card.tier, "edited": card.drafted is not None, **said}
            at = card.answer.at
            journal.append([Record(kind="answered", at=at, tick=tick, task=task, body=body)])
        if card.state in ENDS and "closed" not in heard:
            body = {**about, "state": card.state, "why": card.why or ""}
            journal.append([Record(kind="closed", at=now, tick=tick, task=task, body=body)])
        with suppress(ChangedMeanwhileError):
            approvals.change(card.id, card.digest, _heard(card))


def _heard(card: Card) -> Callable[[Card], Card]:
    """Marks it as recorded, unless it went on meanwhile."""

    def how(one: Card) -> Card:
        return one.model_copy(update={"recorded": True}) if one.state == card.state else one

    return how
