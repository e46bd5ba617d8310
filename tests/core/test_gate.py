"""The rule table is enumerated whole, and no single edit of it goes unnoticed."""

import itertools
import sys
import time

import pytest

from agent.adapters.files.policy import lock_of, read_policy
from agent.core.guard.check import NEVER_PERMITTED, nearest, survey
from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.guard.guard import DEFAULT_DENY, judge
from agent.core.model.actions import Action
from agent.core.model.policy import GuardPolicy
from agent.errors import PolicyError
from tests.core.policy_edits import Report, decides_otherwise, edits
from tests.simulation.small_world import POLICY, ROOT

SHIPPED = survey(POLICY.guard)


def test_the_whole_enumeration_is_done_at_every_load():
    begun = time.process_time()
    found = survey(POLICY.guard)
    took = (time.process_time() - begun) * 1000
    sys.stdout.write(f"{found.states:,} states, {len(found.permitted)} permitted, {took:.0f} ms\n")
    assert found == SHIPPED
    assert found.states > 19_000


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


@pytest.mark.parametrize("action", list(Action))
def test_what_is_nearest_turns_a_refusal_into_a_permission(action):
    """Of every state one or two facts away from a permitted one; and no fewer facts would do."""
    for cell in (one for one in SHIPPED.permitted if one.action is action):
        good = {fact: values[0] for fact, values in cell.facts}
        inside = dict.fromkeys(FOOTPRINT[action], "unknown") | good
        assert nearest(action, inside, POLICY.guard) == {}
        for pair in itertools.islice(itertools.combinations(good, 2), 12):
            away = inside | {fact: beside(fact, cell) for fact in pair}
            found = nearest(action, away, POLICY.guard)
            assert set(found) == set(pair)
            for values in itertools.product(*found.values()):
                there = away | dict(zip(found, values, strict=True))
                assert judge(action, there, POLICY.guard)[0], there
            for fact, value in ((one, value) for one in pair for value in FACTS[one]):
                assert not judge(action, away | {fact: value}, POLICY.guard)[0]
    if action in NEVER_PERMITTED:
        assert nearest(action, dict.fromkeys(FOOTPRINT[action], "unknown"), POLICY.guard) == {}


def beside(fact, cell):
    """A value with which this cell is left."""
    return next(value for value in FACTS[fact] if value not in dict(cell.facts)[fact])


def test_every_refusal_has_a_rule_or_the_nearest_permitted_state():
    """Every state of the actions whose whole space can be afforded."""
    explained = {"a rule": 0, "the nearest state": 0}
    for action in (one for one in Action if len(FOOTPRINT[one]) <= 6):
        for values in itertools.product(*(FACTS[fact] for fact in FOOTPRINT[action])):
            state = dict(zip(FOOTPRINT[action], values, strict=True))
            permitted, rules = judge(action, state, POLICY.guard)
            assert rules
            if not permitted and rules == (DEFAULT_DENY,):
                explained["the nearest state"] += 1
                assert explained["the nearest state"] > 20 or nearest(action, state, POLICY.guard)
            explained["a rule"] += not permitted and rules != (DEFAULT_DENY,)
    assert all(explained.values()), explained


@pytest.mark.parametrize(
    "step", [pytest.param(41, id="a sample"), pytest.param(1, id="all", marks=pytest.mark.long)]
)
def test_every_edit_that_changes_a_decision_is_refused(step):
    """Deleted, flipped, a condition dropped, a value or a fact changed, a scope widened."""
    report = Report()
    for edit in itertools.islice(edits(POLICY.guard.rule), 0, None, step):
        report.count(edit)
    sys.stdout.write(f"{report}\n")
    assert report.edits > 5700 // step
    assert report.unnoticed == []
    assert report.loosening > 400 / step, report
    assert report.tightening > 600 / step, report


def test_an_edit_that_changes_a_decision_is_seen_by_asking_the_guard():
    """What the test above relies on to find one that the gate would have let through."""
    assert not decides_otherwise(GuardPolicy(rule=POLICY.guard.rule), list(Action))
    rules = [
        rule.model_copy(update={"when": {}}) if rule.id == "move_a_queued_task" else rule
        for rule in POLICY.guard.rule
    ]
    assert decides_otherwise(GuardPolicy(rule=tuple(rules)), [Action.MOVE])


def test_a_policy_that_is_not_the_reviewed_one_is_refused_with_the_cell(tmp_path):
    guard = (ROOT / "policies" / "guard.toml").read_text()
    (tmp_path / "guard.toml").write_text(
        guard.replace('status = ["queued"]', 'status = ["working"]')
    )
    says = r"move: .*status=working.*authority\.lock; `wavekeeper policy lock`"
    with pytest.raises(PolicyError, match=says):
        read_policy(ROOT / "policies", tmp_path)
