"""A person's side of the queue of questions: look once more, then say yes, no or later.

Nothing is done here. A yes is kept for the supervisor, which observes and clears again and acts
only if everything is still as it was shown.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.core.approval.requests import (
    OPEN,
    Answer,
    Card,
    StandingRule,
    answered,
    closed,
    deferred,
    how_it_stands,
    reworded,
)
from agent.core.assess.assessment import Board, assess
from agent.core.model.actions import Action, NeedsApproval, Proposal, Refused
from agent.core.model.nouns import Mode, Supervisor
from agent.core.model.policy import Policy
from agent.core.plan import decision_basis, planner
from agent.core.prompts.linter import Finding, lint
from agent.errors import ChangedMeanwhileError, GuardRefusesError, UserError
from agent.runtime.approval_queue import record
from agent.runtime.context import Supervision, World
from agent.runtime.drafting import stands_on_its_own
from agent.runtime.observe import Observer


@dataclass(frozen=True, slots=True)
class Edited:
    """What came of a person's words in the place of the drafted ones."""

    card: Card
    findings: tuple[Finding, ...]
    """Why they do not stand on their own; empty: the card has them now."""
    difference: tuple[str, ...]
    """Lines that were taken out and put in."""


class Answering:
    """Answers for one person; `who` is how the record names them."""

    def __init__(self, world: World, policy: Policy, who: str) -> None:
        self._world = world
        self._policy = policy
        self.who = who

    def waiting(self) -> list[Card]:
        """The questions nobody has answered, the deferred ones last; expired ones are left out."""
        now = self._world.clock.now()
        found = [one for one in self._world.approvals.cards(live=True) if one.state in OPEN]
        fresh = [one for one in found if now < one.expires_at]
        return sorted(fresh, key=lambda one: one.state == "deferred")

    def card(self, name: str, digest: str | None = None) -> Card:
        """The card called `name`. UserError: there is none; ChangedMeanwhileError: it changed."""
        if digest is not None:
            return self._world.approvals.change(name, digest, lambda one: one)
        card = self._world.approvals.card(name)
        if card is None:
            raise UserError(
                f"there is no card {name!r:.40}; `wavekeeper approve --list` shows them"
            )
        return card

    def approve(self, card: Card, *, via: str, looked: float | None) -> Card:
        """Say yes, if it is still what was shown.

        Raises:
            ChangedMeanwhileError: it is not, or somebody answered before; nothing will be done.
            GuardRefusesError: the guard refuses it now.

        """
        if card.state not in OPEN:
            raise ChangedMeanwhileError(f"{card.id} {how_it_stands(card)}; nothing was done")
        self._look_again(card)
        return self._answer(card, "approved", via=via, looked=looked, reason=None)

    def reject(self, card: Card, reason: str, *, via: str, looked: float | None) -> Card:
        """Say no, and why; it is asked again only when something changes."""
        return self._answer(card, "rejected", via=via, looked=looked, reason=reason)

    def defer(self, card: Card, until: datetime | None) -> Card:
        """Put it off until a time, or until something changes."""
        return self._world.approvals.change(
            card.id, card.digest, lambda one: deferred(one, self.who, until)
        )

    def edit(self, card: Card, words: str) -> Edited:
        """Put other words into the card, if they stand on their own and the guard permits them."""
        before = card.proposal.prompt or ""
        compared = difflib.unified_diff(before.split("\n"), words.split("\n"), n=0, lineterm="")
        changed = tuple(line for line in list(compared)[2:] if not line.startswith("@@"))
        if not changed:
            return Edited(card, (), ())
        proposal = card.proposal.model_copy(update={"prompt": words})
        board = self._board(card)
        findings = self._findings(board, proposal)
        if findings:
            return Edited(card, findings, changed)
        facts, answer = planner.clear(board, proposal)
        if isinstance(answer, Refused):
            raise GuardRefusesError(f"{card.id}: the guard refuses it: {', '.join(answer.rules)}")
        new = self._world.approvals.change(
            card.id, card.digest, lambda one: reworded(one, words, facts)
        )
        return Edited(new, (), changed)

    def rules(self) -> Sequence[StandingRule]:
        """Every rule a person made."""
        return self._world.approvals.rules()

    def add_rule(self, rule: StandingRule) -> StandingRule:
        """Keep a rule; the supervisor heeds it from its next look on."""
        return self._world.approvals.add_rule(rule)

    def revoke(self, name: str) -> None:
        """End a rule."""
        self._world.approvals.change_rule(
            name, lambda one: one.model_copy(update={"revoked": True})
        )

    def _answer(
        self, card: Card, verdict: str, *, via: str, looked: float | None, reason: str | None
    ) -> Card:
        now = self._world.clock.now()
        answer = Answer.model_validate(
            {
                "verdict": verdict, "who": self.who, "at": now, "via": via, "reason": reason,
                "looked": looked,
            }
        )  # fmt: skip
        said = self._world.approvals.change(card.id, card.digest, lambda one: answered(one, answer))
        record(self._world.approvals, self._world.journal, self._world.journal.last_tick(), now)
        return said

    def _look_again(self, card: Card) -> None:
        """Observe the task and clear the action again; what changed closes the card."""
        board = self._board(card)
        proposal = card.proposal
        case = board.cases.get(proposal.task) if proposal.task else None
        found = list(decision_basis.changes(card.grounds, decision_basis.of(case, proposal)))
        stands = stands_on_its_own(board, proposal, self._world.store)
        facts, answer = planner.clear(board, proposal, prompt_stands=stands)
        found += decision_basis.changes(card.facts, facts)
        if not found and isinstance(answer, NeedsApproval):
            return
        why = "; ".join(found) or "it needs nobody's yes any more"
        self._world.approvals.change(
            card.id, card.digest, lambda one: closed(one, "stale", why, seen=False)
        )
        if isinstance(answer, Refused):
            rules = ", ".join(answer.rules)
            raise GuardRefusesError(f"{card.id}: the guard refuses it now: {rules} ({why})")
        raise ChangedMeanwhileError(f"{card.id} changed: {why}; nothing was done")

    def _board(self, card: Card) -> Board:
        """The world as it is now, seen in the mode in which the question was asked."""
        known: dict[str, Mode] = {"approve": "approve", "auto": "auto"}
        mode = known.get(card.facts.get("mode", ""), "approve")
        how = Supervision(policy=self._policy, mode=mode, interval=1.0)
        snapshot = Observer(self._world, how, probing=False).observe()
        # Whether the supervisor is away is no matter of this question.
        absent = Supervisor(interval=None, host=snapshot.supervisor.host)
        snapshot = snapshot.model_copy(update={"supervisor": absent})
        return assess(snapshot, self._policy)

    def _findings(self, board: Board, proposal: Proposal) -> tuple[Finding, ...]:
        standing = self._world.store.standing(proposal.task) if proposal.task else None
        if not proposal.prompt or standing is None:
            return ()
        previous = None
        case = board.cases.get(standing.spec.id)
        if proposal.action in (Action.RETRY, Action.RELEASE) and case is not None:
            previous = case.task.prompt
        return lint(proposal.prompt, proposal.spec or standing.spec, previous=previous)


def kin(card: Card, cards: Sequence[Card]) -> list[Card]:
    """The cards that `a` answers together with this one: same action and tier, never a high one."""
    if card.tier == "high":
        return []
    return [
        one
        for one in cards
        if one.state == "pending"
        and (one.proposal.action, one.tier) == (card.proposal.action, card.tier)
    ]


def bundled(card: Card, cards: Sequence[Card]) -> list[Card]:
    """The cards that are one question with this one, itself included."""
    if card.bundle is None:
        return [card]
    mates = [one for one in cards if one.bundle == card.bundle and one.tier == card.tier]
    return [one for one in mates if one.state == "pending"] or [card]
