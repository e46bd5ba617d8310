"""The load gate: a rule table takes effect only after every state of it has been looked at.

The facts are finite, so the guard can be enumerated whole. Two values of a fact that no rule and no
invariant distinguishes lead to the same decision; one of them represents its class. The product of
these classes, action by action, is the exact quotient of the state space. Sets of states are boxes:
per fact the values that are meant, a fact not named having all of them, so that they need not be
listed.

No task may get stuck either: from every state there is a permitted way to an end, which is
accepted, replaced, handed over or cancelled. The check assumes little: a queued task is run, an
attempt ends by itself, an unknown status is looked at again, and the conditions of acting (mode, an
approval, a free lane, a reachable queue) come about. It assumes nothing about the task: whatever
its failure, its evidence, its defect, its prompt or its session may be, known or unknown, some
permitted action leads on.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.guard.guard import FLOOR
from agent.core.model.actions import VERBS, Action, digest
from agent.core.model.policy import GuardPolicy, Rule

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


LEADS_TO: Final = {action: verb.leads_to for action, verb in VERBS.items() if verb.leads_to}
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
            where = words(left[0], FACTS)
            yield f"a task would be stuck in mode {mode}: nothing leads on from {where}"


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


NEVER_PERMITTED: Final = frozenset({Action.PATCH_DATABASE, Action.REVERT_CHANGES})
"""Actions that exist only so that they can be refused by name."""

Cell = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Permitted:
    """One permitted state of one action: each fact with all the values that decide alike."""

    action: Action
    facts: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def box(self) -> Box:
        """The same as a box."""
        return {fact: frozenset(values) for fact, values in self.facts}

    def line(self) -> str:
        """One line of the authority table."""
        return line_of(self.action, self.box)


def line_of(action: Action, box: Box) -> str:
    """One action and the states meant, for a person."""
    return f"{action}: {words(box, FOOTPRINT[action]) or 'always'}"


@dataclass(frozen=True, slots=True)
class Survey:
    """What the enumeration found."""

    states: int
    permitted: tuple[Permitted, ...]
    problems: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of the authority: every permitted state, in the table's order."""
        return digest([one.line() for one in self.permitted])


def survey(policy: GuardPolicy, actions: Collection[Action] = tuple(Action)) -> Survey:
    """Look at every state of these actions, by default of all.

    A rule that never applies is reported if all its actions are among these; whether a task could
    get stuck is checked only when all actions are.
    """
    seen = [_Action(action, policy) for action in actions]
    for one in seen:
        one.walk(0, one.everything, one.everything, one.whole_floor, ())
    permitted = tuple(cell for one in seen for cell in one.permitted)
    spoke = [rule for one in seen for rule in one.spoke()]
    problems = [line for one in seen for line in one.problems()]
    problems += [
        f"{rule.id}: never applies to any state; a rule that does nothing is a mistake"
        for rule in policy.rule
        if set(rule.actions) <= set(actions) and not any(rule is one for one in spoke)
    ]
    if set(actions) == set(Action):
        problems += stuck((cell.action, cell.box) for cell in permitted)
    return Survey(sum(one.states for one in seen), permitted, tuple(dict.fromkeys(problems)))


def nearest(
    action: Action, facts: Mapping[str, str], policy: GuardPolicy
) -> dict[str, tuple[str, ...]]:
    """What would have to change for the action to be permitted.

    As few facts as possible, each with the values that will do; empty if it is permitted, or never.
    """
    wanted = (
        {fact: values for fact, values in cell.facts if facts[fact] not in values}
        for cell in survey(policy, (action,)).permitted
    )
    return min(wanted, key=len, default={})


class _Action:
    """All states of one action. Rules and invariants are bits, so a state costs a few ands."""

    def __init__(self, action: Action, policy: GuardPolicy) -> None:
        self.action = action
        self.rules = [rule for rule in policy.rule if action in rule.actions]
        self.floor = [floor for floor in FLOOR if action in floor.actions]
        self.classes = list(classes_of(action, policy).items())
        self.everything = (1 << len(self.rules)) - 1
        self.whole_floor = sum(
            1 << place for place, floor in enumerate(self.floor) if floor.needs is not None
        )
        self._all_floor = (1 << len(self.floor)) - 1
        self._forbids = self._bits(lambda rule: rule.effect == "forbid")
        self._exempting = self._bits(lambda rule: bool(rule.unless))
        self._masks = [
            [self._mask(fact, cell[0]) for cell in cells] for fact, cells in self.classes
        ]
        self.states = 0
        self.permitted: list[Permitted] = []
        self._matched = 0
        self._loose: list[str] = []

    def walk(self, depth: int, when: int, unless: int, floor: int, state: tuple[int, ...]) -> None:
        """Go down one fact; at the bottom judge the state that was chosen on the way."""
        if depth < len(self.classes):
            for place, (hold, exempt, keep) in enumerate(self._masks[depth]):
                self.walk(depth + 1, when & hold, unless & exempt, floor & keep, (*state, place))
            return
        self.states += 1
        matched = when & ~(unless & self._exempting)
        self._matched |= matched
        if matched & self._forbids or not matched:
            return
        if floor != self._all_floor:
            self._loose.append(f"{self.action}: only the floor holds in {self._cell(state).line()}")
            return
        self.permitted.append(self._cell(state))

    def spoke(self) -> list[Rule]:
        """The rules that matched some state."""
        return [rule for place, rule in enumerate(self.rules) if self._matched >> place & 1]

    def problems(self) -> list[str]:
        """What is wrong with this action's part of the table, one line each."""
        found = self._loose[:1]
        if bool(self.permitted) is (self.action in NEVER_PERMITTED):
            word = "is permitted" if self.permitted else "is never permitted"
            found.append(f"{self.action}: {word}")
        for cell in self.permitted:
            found += [
                f"{self.action}: permitted although {fact} is unknown ({cell.line()})"
                for fact, values in cell.facts
                if "unknown" in values
            ]
        return found

    def _bits(self, choose: Callable[[Rule], bool]) -> int:
        return sum(1 << place for place, rule in enumerate(self.rules) if choose(rule))

    def _mask(self, fact: str, value: str) -> tuple[int, int, int]:
        """Which rules' `when` holds, which rules' `unless` holds, which invariants are kept."""
        keep = sum(
            1 << place
            for place, floor in enumerate(self.floor)
            if floor.needs is not None and value in floor.needs.get(fact, (value,))
        )
        return (
            self._bits(lambda rule: value in rule.when.get(fact, (value,))),
            self._bits(lambda rule: value in rule.unless.get(fact, (value,))),
            keep,
        )

    def _cell(self, state: tuple[int, ...]) -> Permitted:
        return Permitted(
            self.action,
            tuple(
                (fact, cells[place])
                for (fact, cells), place in zip(self.classes, state, strict=True)
                if len(cells) > 1
            ),
        )


def classes_of(action: Action, policy: GuardPolicy) -> dict[str, list[Cell]]:
    """Per fact: its values, those that no rule and no invariant tells apart together."""
    rules = [rule for rule in policy.rule if action in rule.actions]
    found: dict[str, list[Cell]] = {}
    for fact in FOOTPRINT[action]:
        sets = [side[fact] for rule in rules for side in (rule.when, rule.unless) if fact in side]
        sets += [
            floor.needs[fact]
            for floor in FLOOR
            if action in floor.actions and floor.needs and fact in floor.needs
        ]
        alike: dict[tuple[bool, ...], list[str]] = {}
        for value in FACTS[fact]:
            alike.setdefault(tuple(value in one for one in sets), []).append(value)
        found[fact] = [tuple(values) for values in alike.values()]
    return found
