"""No task may get stuck: from every state there is a permitted way to an end.

An end is accepted, replaced, handed over or cancelled. What is counted on is little: a queued task
is run, an attempt ends by itself, a status that is not known is looked at again, and the conditions
of acting (mode, a person's word, a free lane, a reachable queue) come about. Nothing about the task
is counted on: whatever its failure, its evidence, its defect, its prompt or its session may be,
known or unknown, some permitted action leads on.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from agent.core.guard.boxes import Box, rest, side, words
from agent.core.guard.facts import FACTS
from agent.core.model.actions import Action

LEADS_TO: Final[Mapping[Action, str]] = {
    Action.ACCEPT: "settled",
    Action.REPLACE: "settled",
    Action.HAND_OVER: "settled",
    Action.CANCEL: "cancelled",
    Action.SUBMIT: "queued",
    Action.RETRY: "queued",
    Action.RELEASE: "queued",
    Action.PARK: "parked",
    Action.INTERRUPT: "finished",
}
"""The status a task has after an action; whatever is not here leaves it where it is."""

_ENDS: Final = frozenset({"settled", "cancelled"})
_BY_ITSELF: Final[Mapping[str, frozenset[str]]] = {
    "unknown": frozenset(FACTS["status"]) - {"unknown"},
    "queued": frozenset({"working"}),
    "working": frozenset({"finished"}),
}
"""Where a task goes without the supervisor."""
_ONCE_READ: Final[Mapping[str, str]] = {"planned": "none", "parked": "none", "finished": "read"}
"""The statuses in which a task rests, and the word of its result once nothing is unread."""
_CONDITIONS: Final[Mapping[str, str]] = {
    "consent": "given",
    "approval": "granted",
    "suspended": "no",
    "api": "reachable",
    "submit_slot": "free",
    "lanes": "free",
}
MODES: Final = ("approve", "auto")
"""The modes in which the supervisor acts."""


def stuck(permitted: Iterable[tuple[Action, Box]]) -> list[str]:
    """Where a task would stay for ever, one line for each mode and status; empty: nowhere."""
    known = list(permitted)
    found = []
    if not any(action is Action.INSPECT and not box for action, box in known):
        found.append("inspect: an unread result could stay unread for ever")
    for mode in MODES:
        found += _stuck_in(mode, known)
    return found


def _stuck_in(mode: str, permitted: list[tuple[Action, Box]]) -> Iterable[str]:
    conditions = {**_CONDITIONS, "mode": mode}
    ways = [
        (LEADS_TO[action], {fact: box[fact] for fact in box if fact not in conditions})
        for action, box in permitted
        if action in LEADS_TO and _within(box, conditions)
    ]
    good = _leading_to_an_end(ways)
    for status, result in _ONCE_READ.items():
        here = {"status": frozenset({status}), "result": frozenset({result})}
        boxes = [box for target, box in ways if target in good]
        if left := rest(here, boxes):
            said = words(left[0], FACTS)
            yield f"a task would be stuck in mode {mode}: nothing leads on from {said}"


def _leading_to_an_end(ways: Sequence[tuple[str, Box]]) -> frozenset[str]:
    """The statuses from some state of which an end can be reached."""
    good = _ENDS
    while True:
        more = {status for status, moves in _BY_ITSELF.items() if moves & good}
        for status, result in _ONCE_READ.items():
            here = {"status": status, "result": result}
            if any(target in good and _within(box, here) for target, box in ways):
                more.add(status)
        if more <= good:
            return good
        good |= more


def _within(box: Box, facts: Mapping[str, str]) -> bool:
    return all(value in side(box, fact) for fact, value in facts.items())
