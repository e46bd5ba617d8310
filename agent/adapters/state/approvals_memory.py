"""Questions to a person in memory, for tests and simulation; it keeps the same contract."""

import threading
from collections.abc import Callable, Sequence

from agent.core.approval.requests import LIVE, Card, StandingRule, same_digest
from agent.core.model.actions import Action
from agent.errors import ChangedMeanwhileError, UserError


class MemoryApprovals:
    """Forgets everything at the end of the process; may be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._cards: dict[str, Card] = {}
        self._rules: dict[str, StandingRule] = {}

    def ask(self, card: Card) -> Card:
        with self._lock:
            for known in self._cards.values():
                if known.digest == card.digest and known.state in LIVE:
                    return known
            kept = card.model_copy(update={"id": f"A-{len(self._cards) + 1}"})
            self._cards[kept.id] = kept
            return kept

    def card(self, card: str) -> Card | None:
        return self._cards.get(card)

    def last(self, task: str | None, action: Action) -> Card | None:
        about = [one for one in self._all() if one.proposal.task == task]
        return next((one for one in reversed(about) if one.proposal.action is action), None)

    def cards(self, *, live: bool) -> Sequence[Card]:
        return [one for one in self._all() if not live or one.state in LIVE]

    def declined(self) -> Sequence[Card]:
        latest = {(one.proposal.task, one.proposal.action): one for one in self._all()}
        found = [one for one in latest.values() if one.state in ("rejected", "deferred")]
        return sorted(found, key=self._all().index)

    def change(self, card: str, digest: str, how: Callable[[Card], Card]) -> Card:
        with self._lock:
            known = self._cards.get(card)
            if known is None:
                raise UserError(
                    f"there is no card {card!r:.40}; `wavekeeper approve --list` shows them"
                )
            if not same_digest(known, digest):
                raise ChangedMeanwhileError(
                    f"{card} is now {known.digest[:12]} and not {digest:.12}; nothing was done"
                )
            self._cards[card] = how(known)
            return self._cards[card]

    def unseen(self) -> Sequence[Card]:
        return [one for one in self._all() if not (one.seen and one.recorded)]

    def rules(self) -> Sequence[StandingRule]:
        with self._lock:
            return list(self._rules.values())

    def add_rule(self, rule: StandingRule) -> StandingRule:
        with self._lock:
            kept = rule.model_copy(update={"id": f"R-{len(self._rules) + 1}"})
            self._rules[kept.id] = kept
            return kept

    def change_rule(self, rule: str, how: Callable[[StandingRule], StandingRule]) -> StandingRule:
        with self._lock:
            known = self._rules.get(rule)
            if known is None:
                raise UserError(
                    f"there is no rule {rule!r:.40}; `wavekeeper policy rules` shows them"
                )
            self._rules[rule] = how(known)
            return self._rules[rule]

    def _all(self) -> list[Card]:
        with self._lock:
            return list(self._cards.values())
