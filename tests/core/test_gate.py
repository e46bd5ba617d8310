"""The rule table is enumerated whole, and no single edit of it goes unnoticed."""

import itertools

import pytest

from agent.adapters.policy_files import lock_of, read_policy
from agent.core.actions import Action
from agent.core.facts import FACTS, FOOTPRINT
from agent.core.gate import NEVER_PERMITTED, survey
from agent.core.guard import judge, lint
from agent.core.policy import GuardPolicy
from agent.errors import PolicyError
from tests.simulation.small_world import POLICY, ROOT

SHIPPED = survey(POLICY.guard)
TABLE = {one.line() for one in SHIPPED.permitted}


def test_the_shipped_table_has_no_problem_and_is_the_reviewed_one():
    assert SHIPPED.problems == ()
    assert (ROOT / "policies" / "authority.lock").read_text() == lock_of(POLICY)
    assert {one.action for one in SHIPPED.permitted} == set(Action) - NEVER_PERMITTED


@pytest.mark.parametrize("action", [one for one in Action if len(FOOTPRINT[one]) <= 6])
def test_the_enumeration_agrees_with_the_guard_on_the_whole_space(action):
    """Not the quotient but every value of every fact, where that can be afforded."""
    facts = FOOTPRINT[action]
    cells = [dict(one.facts) for one in SHIPPED.permitted if one.action is action]
    for values in itertools.product(*(FACTS[fact] for fact in facts)):
        state = dict(zip(facts, values, strict=True))
        expected = any(
            all(state[fact] in allowed for fact, allowed in cell.items()) for cell in cells
        )
        assert judge(action, state, POLICY.guard)[0] is expected, state


@pytest.mark.parametrize("action", list(Action))
def test_the_enumeration_agrees_with_the_guard_around_each_permitted_state(action):
    for cell in (one for one in SHIPPED.permitted if one.action is action):
        inside = dict.fromkeys(FOOTPRINT[action], "unknown")
        inside |= {fact: values[0] for fact, values in cell.facts}
        assert judge(action, inside, POLICY.guard)[0]
        for fact, values in cell.facts:
            for value in FACTS[fact]:
                state = inside | {fact: value}
                assert judge(action, state, POLICY.guard)[0] is (value in values), state


def _edits():
    """Every single edit of a kind a tired person makes."""
    rules = POLICY.guard.rule
    for place, rule in enumerate(rules):
        name = f"{rule.id}[{place}]"
        yield f"{name} deleted", place, None
        other = "forbid" if rule.effect == "permit" else "permit"
        yield f"{name} flipped", place, rule.model_copy(update={"effect": other})
        for side in ("when", "unless"):
            table = getattr(rule, side)
            for fact, values in table.items():
                rest = {key: kept for key, kept in table.items() if key != fact}
                yield f"{name} {side}.{fact} dropped", place, rule.model_copy(update={side: rest})
                for value in FACTS[fact]:
                    kept = tuple(one for one in values if one != value)
                    changed = kept if value in values else (*values, value)
                    update = {side: table | {fact: changed}}
                    yield f"{name} {side}.{fact} ^ {value}", place, rule.model_copy(update=update)
        for action in Action:
            actions = tuple(one for one in rule.actions if one != action)
            actions = actions if action in rule.actions else (*rule.actions, action)
            yield f"{name} actions ^ {action}", place, rule.model_copy(update={"actions": actions})


@pytest.mark.parametrize(
    "step", [pytest.param(11, id="a sample"), pytest.param(1, id="all", marks=pytest.mark.long)]
)
def test_every_edit_that_changes_what_is_permitted_is_refused(step):
    counts = {"lint": 0, "enumeration": 0, "lock": 0, "same authority": 0}
    for name, place, edited in itertools.islice(_edits(), 0, None, step):
        rules = list(POLICY.guard.rule)
        rules[place : place + 1] = [] if edited is None else [edited]
        policy = GuardPolicy.model_construct(rule=tuple(rules))
        if lint(policy):
            counts["lint"] += 1
            continue
        found = survey(policy)
        if found.problems:
            counts["enumeration"] += 1
        elif {one.line() for one in found.permitted} != TABLE:
            counts["lock"] += 1
        else:
            counts["same authority"] += 1
            assert found.permitted == SHIPPED.permitted, name
    assert counts["lint"] > 500 / step, counts
    assert counts["lock"] + counts["enumeration"] > 100 / step, counts


def test_a_policy_that_is_not_the_reviewed_one_is_refused_with_the_cell(tmp_path):
    guard = (ROOT / "policies" / "guard.toml").read_text()
    (tmp_path / "guard.toml").write_text(
        guard.replace('status = ["queued"]', 'status = ["working"]')
    )
    says = r"move: .*status=.*authority\.lock; `wavekeeper policy lock`"
    with pytest.raises(PolicyError, match=says):
        read_policy(ROOT / "policies", tmp_path)
