"""Sets of states as boxes: per fact the values that are meant; a fact not named has all of them.

A box stands for the product of its sides, so states can be counted out without being listed.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from agent.core.guard.facts import FACTS

Box: TypeAlias = Mapping[str, frozenset[str]]


def side(box: Box, fact: str) -> frozenset[str]:
    """The values that one fact may have inside the box."""
    return box.get(fact, frozenset(FACTS[fact]))


def rest(box: Box, others: Iterable[Box]) -> list[Box]:
    """The states of `box` that lie in none of `others`, as boxes that do not overlap."""
    left = [box]
    for other in others:
        left = [piece for one in left for piece in _without(one, other)]
    return left


def _without(box: Box, other: Box) -> list[Box]:
    if any(not side(box, fact) & values for fact, values in other.items()):
        return [box]
    pieces: list[Box] = []
    inside = dict(box)
    for fact, values in other.items():
        if beyond := side(inside, fact) - values:
            pieces.append({**inside, fact: beyond})
        inside[fact] = side(inside, fact) & values
    return pieces


def words(box: Box, order: Iterable[str]) -> str:
    """The box for a person; facts in `order`, those that have all their values left out."""
    return ", ".join(
        f"{fact}={'|'.join(value for value in FACTS[fact] if value in box[fact])}"
        for fact in order
        if fact in box and box[fact] != frozenset(FACTS[fact])
    )
