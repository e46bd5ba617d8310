"""What a policy allows, as lines that a person reviews: permitted states, and limits of numbers.

`authority.lock` holds these lines. A state is permitted or not; a limit says on which side of a
number, or of a list, more would be allowed. Two authorities are compared state by state, so a
difference is reported as the states that are permitted more or less.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from agent.core.guard.check import Box, Survey, line_of, rest
from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.model.actions import Action
from agent.core.model.policy import Policy

AT_MOST, AT_LEAST, WITHIN, NEEDS = "at most", "at least", "within", "needs"
_NOTHING: Final = "nothing"

_NUMBERS: Final[Mapping[str, str]] = {
    "liveness.show_after": AT_MOST,
    "liveness.act_after": AT_LEAST,
    "liveness.polls": AT_LEAST,
    "liveness.poll_spacing": AT_LEAST,
    "liveness.cooldown": AT_LEAST,
    "liveness.cadence": AT_MOST,
    "liveness.away_intervals": AT_MOST,
    "liveness.away_floor": AT_MOST,
    "liveness.shared_at_risk": AT_MOST,
    "liveness.shared_share": AT_MOST,
    "window.start": AT_MOST,
    "window.maximum": AT_MOST,
    "window.minimum": AT_MOST,
    "window.least_outcomes": AT_LEAST,
    "window.widen_at": AT_LEAST,
    "window.narrow_at": AT_LEAST,
    "window.confidence": AT_LEAST,
    "window.settle": AT_LEAST,
    "submit.per_tick": AT_MOST,
    "submit.per_tick_low_memory": AT_MOST,
    "submit.low_memory": AT_LEAST,
    "submit.clearance_seconds": AT_MOST,
    "completion.claims_count": AT_MOST,
    "completion.ask_after": AT_MOST,
    "failures.default_wait": AT_LEAST,
    "failures.longest_wait": AT_MOST,
    "failures.longest_told_wait": AT_MOST,
    "failures.most_freed_by_text": AT_MOST,
    "failures.stale_cancel_within": AT_MOST,
    "failures.durable_after": AT_LEAST,
    "failures.most_attempts": AT_MOST,
}
"""Each number and flag of the policy files, and the side on which it is the stricter one."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One number or list, and which others would allow no more than it does."""

    name: str
    relation: str
    values: tuple[str, ...]
    """One number; or the words of a list; or rungs, each the words of its alternatives."""

    def line(self) -> str:
        """One line of the lock."""
        return f"{self.name} {self.relation} {', '.join(self.values) or _NOTHING}"

    def allows(self, other: "Limit") -> bool:
        """Whether `other` is as strict or stricter. ValueError: a number that is none."""
        match self.relation:
            case "at most":
                return float(other.values[0]) <= float(self.values[0])
            case "at least":
                return float(other.values[0]) >= float(self.values[0])
            case "within":
                return set(other.values) - {_NOTHING} <= set(self.values)
        asked = [_alternatives(rung) for rung in other.values]
        return all(any(one <= _alternatives(rung) for one in asked) for rung in self.values)


def _alternatives(rung: str) -> frozenset[str]:
    return frozenset(rung.split("|"))


@dataclass(frozen=True, slots=True)
class Authority:
    """All that a policy allows."""

    states: tuple[tuple[Action, Box], ...]
    limits: tuple[Limit, ...]

    def lines(self) -> Iterator[str]:
        """For a person: the permitted states, then the limits."""
        yield from (line_of(action, box) for action, box in self.states)
        yield from (limit.line() for limit in self.limits)

    def beyond(self, other: "Authority") -> list[str]:
        """What this one allows and `other` does not, one line each."""
        found = []
        for action, box in self.states:
            known = [one for its, one in other.states if its is action]
            found += [line_of(action, piece) for piece in rest(box, known)]
        reviewed = {limit.name: limit for limit in other.limits}
        for limit in self.limits:
            held = reviewed.get(limit.name)
            if held is None or not held.allows(limit):
                was = f"; reviewed was {', '.join(held.values)}" if held else ""
                found.append(limit.line() + was)
        return found


def authority_of(policy: Policy, found: Survey) -> Authority:
    """The authority of a policy whose guard was surveyed."""
    return Authority(
        tuple((cell.action, cell.box) for cell in found.permitted), tuple(_limits(policy))
    )


def _limits(policy: Policy) -> Iterator[Limit]:
    for name, relation in _NUMBERS.items():
        table, _, key = name.partition(".")
        yield Limit(name, relation, (f"{getattr(getattr(policy, table), key):.15g}",))
    for kind, ladder in policy.completion.ladder.items():
        rungs = tuple("|".join(rung) for rung in ladder.rungs)
        yield Limit(f"completion.{kind}", NEEDS, rungs)
    yield Limit("completion.documents", WITHIN, policy.completion.documents)
    yield Limit("completion.heavy", NEEDS, policy.completion.heavy)
    reasons = policy.failures.reason
    free = tuple(one.id for one in reasons if not one.charged)
    yield Limit("failures.uncharged", WITHIN, free)
    endless = tuple(one.id for one in reasons if not one.charged and one.most_free is None)
    yield Limit("failures.free_without_end", WITHIN, endless)
    few = tuple(f"{one.id} {one.most_free}" for one in reasons if one.most_free is not None)
    yield Limit("failures.most_free", WITHIN, few)
    typed = tuple(name for one in reasons if not one.charged for name in one.classes)
    yield Limit("failures.uncharged_classes", WITHIN, typed)
    shared = tuple(one.id for one in reasons if one.infrastructure)
    yield Limit("failures.infrastructure", WITHIN, shared)


def read_lock(text: str) -> Authority:
    """The authority that a lock file records. ValueError, `LINE: what`, for a line that is none."""
    states: list[tuple[Action, Box]] = []
    limits: list[Limit] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            limit = _limit_in(line)
            if limit is not None:
                limits.append(limit)
            else:
                states.append(_state_in(line))
        except ValueError as error:
            raise ValueError(f"{number}: {error}") from error
    return Authority(tuple(states), tuple(limits))


def _limit_in(line: str) -> Limit | None:
    for relation in (AT_MOST, AT_LEAST, WITHIN, NEEDS):
        name, found, values = line.partition(f" {relation} ")
        if found and ":" not in name:
            limit = Limit(name, relation, tuple(values.split(", ")))
            limit.allows(limit)
            return limit
    return None


def _state_in(line: str) -> tuple[Action, Box]:
    name, colon, parts = line.partition(": ")
    if not colon or name not in set(Action):
        raise ValueError(f"{line!r:.80} is not a line of a lock")
    action = Action(name)
    box: dict[str, frozenset[str]] = {}
    for part in parts.split(", ") if parts != "always" else ():
        fact, _, values = part.partition("=")
        meant = frozenset(values.split("|"))
        if fact not in FOOTPRINT[action] or not meant <= set(FACTS[fact]):
            raise ValueError(f"{part!r:.80} is not a fact and values that {action} may read")
        box[fact] = meant
    return action, box
