"""Every single edit of a kind a tired person makes in a rule table, and what becomes of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product

from agent.core.guard.baseline import Authority
from agent.core.guard.check import survey
from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.guard.guard import judge, lint
from agent.core.model.actions import Action
from agent.core.model.policy import GuardPolicy, Rule
from tests.core import worlds as w


@dataclass(frozen=True)
class Edit:
    """One rule of the shipped table replaced by another, or by none."""

    kind: str
    name: str
    rules: tuple[Rule, ...]
    actions: frozenset[Action]
    """Those whose states it may change."""


def edits(rules: Sequence[Rule]) -> Iterator[Edit]:
    for place, rule in enumerate(rules):
        for kind, what, edited in _of_one(rule):
            table = (*rules[:place], *([edited] if edited else []), *rules[place + 1 :])
            actions = frozenset(rule.actions)
            if kind == "change the scope" and edited is not None:
                actions ^= frozenset(edited.actions)
            yield Edit(kind, f"{rule.id}[{place}] {what}", table, actions)


def _of_one(rule: Rule) -> Iterator[tuple[str, str, Rule | None]]:
    yield "delete", "deleted", None
    other = "forbid" if rule.effect == "permit" else "permit"
    yield "flip", "flipped", rule.model_copy(update={"effect": other})
    swapped = {"when": rule.unless, "unless": rule.when}
    yield "flip", "when and unless swapped", rule.model_copy(update=swapped)
    for side in ("when", "unless"):
        for kind, what, table in _of_side(getattr(rule, side)):
            yield kind, f"{side}.{what}", rule.model_copy(update={side: table})
    for action in Action:
        had = action in rule.actions
        actions = tuple(one for one in rule.actions if one != action)
        actions = actions if had else (*actions, action)
        what = f"actions {'less' if had else 'and'} {action}"
        yield "change the scope", what, rule.model_copy(update={"actions": actions})


def _of_side(table: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str, dict[str, object]]]:
    for fact, values in table.items():
        kept = {key: one for key, one in table.items() if key != fact}
        yield "drop a condition", f"{fact} dropped", kept
        for value in FACTS[fact]:
            fewer = tuple(one for one in values if one != value)
            changed = fewer if value in values else (*values, value)
            yield "change a value", f"{fact} ^ {value}", table | {fact: changed}
        for one, value in ((one, value) for one in values for value in FACTS[fact]):
            if value not in values:
                instead = tuple(value if known == one else known for known in values)
                yield "change a value", f"{fact}: {one} -> {value}", table | {fact: instead}
        for other in FACTS:
            if other not in table:
                yield "swap a fact", f"{fact} -> {other}", kept | {other: values}


@dataclass
class Report:
    """What the load gate says of edit after edit, and whether a decision changes with it."""

    edits: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    refused_by: Counter[str] = field(default_factory=Counter)
    loosening: int = 0
    """Of those that lint takes: some state is permitted that was not."""
    tightening: int = 0
    equivalent: int = 0
    """Taken, and no decision differs."""
    unnoticed: list[str] = field(default_factory=list)
    """Taken, although a decision differs: must be none."""

    def count(self, edit: Edit) -> None:
        self.edits += 1
        self.by_kind[edit.kind] += 1
        policy = GuardPolicy.model_construct(rule=edit.rules)
        if lint(policy):
            self.refused_by["lint"] += 1
            return
        found = survey(policy, sorted(edit.actions))
        shipped = _shipped(edit.actions)
        edited = Authority(tuple((one.action, one.box) for one in found.permitted), ())
        loosens, tightens = edited.beyond(shipped), shipped.beyond(edited)
        self.loosening += bool(loosens)
        self.tightening += bool(tightens)
        if found.problems:
            self.refused_by["enumeration"] += 1
        elif loosens or tightens:
            self.refused_by["lock"] += 1
        elif decides_otherwise(policy, edit.actions):
            self.unnoticed.append(edit.name)
        else:
            self.equivalent += 1

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.by_kind.items())
        refused = ", ".join(f"by {who} {count}" for who, count in self.refused_by.items())
        return (
            f"{self.edits} single edits ({kinds}); refused: {refused} (of these the table permits"
            f" more in {self.loosening} and less in {self.tightening}); taken and proved"
            f" equivalent: {self.equivalent}; taken although a decision differs:"
            f" {len(self.unnoticed)}"
        )


def decides_otherwise(policy: GuardPolicy, actions: Iterable[Action]) -> bool:
    """Asked of the guard itself, in every permitted state and all that are one fact away."""
    return any(
        judge(action, state, policy)[0] is not permitted
        for action in actions
        for state, permitted in _review_table(action)
    )


@cache
def _review_table(action: Action) -> list[tuple[dict[str, str], bool]]:
    guard, found = w.policy().guard, []
    for cell in survey(guard, (action,)).permitted:
        known = dict(cell.facts)
        for values in product(*known.values()):
            inside = dict.fromkeys(FOOTPRINT[action], "unknown")
            inside |= dict(zip(known, values, strict=True))
            beside = (inside | {fact: value} for fact in inside for value in FACTS[fact])
            found += [(state, judge(action, state, guard)[0]) for state in beside]
    return found


@cache
def _shipped(actions: frozenset[Action]) -> Authority:
    cells = survey(w.policy().guard, sorted(actions)).permitted
    return Authority(tuple((one.action, one.box) for one in cells), ())
