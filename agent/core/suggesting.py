"""What the answers say about the questions: asked for nothing, or answered too fast. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

ENOUGH: Final = 10
"""Answers of one kind before anything is made of them."""
HASTY: Final = 2.0
"""Seconds in which nobody has read a question that cannot be taken back."""
HASTY_TIMES: Final = 3


@dataclass(slots=True)
class Answers:
    """The answers to one kind of question, in the order they were given."""

    action: str
    tier: str
    asked: int = 0
    unchanged: int = 0
    """Approved as it was drafted."""
    edited: int = 0
    rejected: int = 0
    in_a_row: int = 0
    """The latest answers that were all a plain yes."""
    hasty: int = 0
    looked: list[float] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        """Seconds between question and answer; None: nobody answered at a terminal."""
        return sorted(self.looked)[len(self.looked) // 2] if self.looked else None

    @property
    def advice(self) -> Literal["make a rule", "look longer", "keep asking", "too few answers"]:
        """What to do about this kind of question."""
        if self.tier == "high" and self.hasty >= HASTY_TIMES:
            return "look longer"
        if self.asked < ENOUGH:
            return "too few answers"
        if self.tier != "high" and self.in_a_row >= ENOUGH:
            return "make a rule"
        return "keep asking"


def tally(bodies: Iterable[Mapping[str, Any]]) -> list[Answers]:
    """The journal's `answered` bodies by action and tier; those with advice to act on first."""
    found: dict[tuple[str, str], Answers] = {}
    for body in bodies:
        kind = str(body["action"]), str(body["tier"])
        one = found.setdefault(kind, Answers(*kind))
        plain = body["verdict"] == "approved" and not body.get("edited")
        one.asked += 1
        one.unchanged += plain
        one.edited += body["verdict"] == "approved" and not plain
        one.rejected += body["verdict"] == "rejected"
        one.in_a_row = one.in_a_row + 1 if plain else 0
        if body.get("looked") is not None:
            one.looked.append(float(body["looked"]))
            one.hasty += plain and float(body["looked"]) < HASTY
    order = ("look longer", "make a rule", "keep asking", "too few answers")
    return sorted(found.values(), key=lambda one: (order.index(one.advice), -one.asked))
