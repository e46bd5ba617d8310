"""The guard's rules in another language: Cedar policies and a schema, for a second opinion.

Each fact is an enumerated entity type and each action has a context of exactly the facts it may
read, so Cedar's validator refuses what `lint` refuses. There are no action groups: membership in
one hangs on how the entities were built. The floor is not written out; no table loads in which it
alone holds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.model.actions import Action
from agent.core.model.policy import GuardPolicy, Rule


def schema() -> str:
    """Facts, and for each action the facts it may read."""
    lines = ["entity Supervisor;", "entity Task;"]
    for fact, values in FACTS.items():
        lines.append(f"entity {type_of(fact)} enum [{', '.join(map(_text, values))}];")
    for action in Action:
        context = ", ".join(f"{fact}: {type_of(fact)}" for fact in FOOTPRINT[action])
        lines.append(
            f"action {_text(action)} appliesTo {{"
            f" principal: [Supervisor], resource: [Task], context: {{ {context} }} }};"
        )
    return "".join(f"{line}\n" for line in lines)


def policies(guard: GuardPolicy) -> str:
    """One Cedar policy for each rule, in the order of the table; `@rule` is the rule's own id."""
    times: Counter[str] = Counter()
    found = []
    for rule in guard.rule:
        times[rule.id] += 1
        again = times[rule.id]
        found.append(_policy(rule, rule.id if again == 1 else f"{rule.id}_{again}"))
    return "\n".join(found)


def _policy(rule: Rule, name: str) -> str:
    actions = ", ".join(f"Action::{_text(action)}" for action in rule.actions)
    lines = [
        f"@id({_text(name)})",
        f"@rule({_text(rule.id)})",
        f"@why({_text(rule.why)})",
        f"@source({_text(rule.source)})",
        f"{rule.effect} (principal, action in [{actions}], resource)",
        *(f"{word} {{ {_all_of(side)} }}" for word, side in _sides(rule)),
    ]
    return "\n".join(lines) + ";\n"


def _sides(rule: Rule) -> Iterable[tuple[str, Mapping[str, tuple[str, ...]]]]:
    return [(word, side) for word, side in (("when", rule.when), ("unless", rule.unless)) if side]


def _all_of(side: Mapping[str, tuple[str, ...]]) -> str:
    return " && ".join(
        f"[{', '.join(entity(fact, value) for value in values)}].contains(context.{fact})"
        for fact, values in side.items()
    )


def type_of(fact: str) -> str:
    """`submit_slot` has the type `SubmitSlot`."""
    return "".join(part.capitalize() for part in fact.split("_"))


def entity(fact: str, value: str) -> str:
    """One value of a fact, as Cedar names it."""
    return f"{type_of(fact)}::{_text(value)}"


def _text(text: str) -> str:
    """Quoted for Cedar; whatever is no plain character is written by its number."""
    return f'"{"".join(map(_character, text))}"'


def _character(one: str) -> str:
    if one in '"\\':
        return f"\\{one}"
    if " " <= one <= "~":
        return one
    return "\\u{fffd}" if "\ud800" <= one <= "\udfff" else f"\\u{{{ord(one):x}}}"
