"""Another engine decides every state from the exported rules, and says the same."""

import re
import sys
import time
from itertools import islice, product

import pytest

from agent.core.guard.check import classes_of, survey
from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.guard.guard import DEFAULT_DENY, judge
from agent.core.model.actions import Action
from agent.core.model.policy import GuardPolicy
from tests.core import cedar_export as cedar
from tests.core import worlds as w

cedarpy = pytest.importorskip("cedarpy", reason="cedarpy is not installed; pip install '.[verify]'")

GUARD = w.policy().guard
POLICIES = cedar.policies(GUARD)
SCHEMA = cedar.schema()
WHO = {"principal": 'Supervisor::"wavekeeper"', "resource": 'Task::"T-1"'}


def request(action, facts):
    context = {
        fact: {"__entity": {"type": cedar.type_of(fact), "id": value}}
        for fact, value in facts.items()
    }
    return {**WHO, "action": f'Action::"{action}"', "context": context}


class Engine:
    """cedarpy as it must be used: the schema always, the entities built with it, no error taken."""

    def __init__(self, policies=POLICIES):
        self.schema = cedarpy.Schema.from_str(SCHEMA)
        self.policies = cedarpy.PolicySet.from_str(policies)
        self.entities = cedarpy.Entities.from_json_str("[]", self.schema)

    def decide(self, asked):
        answers = cedarpy.is_authorized_batch(asked, self.policies, self.entities, self.schema)
        return [self._read(answer) for answer in answers]

    def _read(self, answer):
        assert answer.diagnostics.errors == []
        ids = answer.diagnostics.id_annotations_by_reason
        reasons = answer.diagnostics.reasons
        return answer.allowed, {ids[one] for one in reasons}


def states(action):
    """One state for each that the rules and the floor can tell apart."""
    sides = [[values[0] for values in cells] for cells in classes_of(action, GUARD).values()]
    for values in product(*sides):
        yield dict(zip(FOOTPRINT[action], values, strict=True))


def own_id(name):
    """The rule's id, of the policy's: the same id may head several rules."""
    stem, _, number = name.rpartition("_")
    return stem if number.isdecimal() else name


def test_cedars_own_validator_takes_the_export():
    found = cedarpy.validate_policies(POLICIES, SCHEMA)
    assert found.validation_passed, found.errors
    assert len(cedarpy.policies_to_pst(POLICIES).static_policies) == len(GUARD.rule)


def review_table(*actions):
    """Every permitted state and all that are one fact away from it."""
    for action in actions or Action:
        for facts in states(action):
            if judge(action, facts, GUARD)[0]:
                for fact, value in [("", ""), *((one, v) for one in facts for v in FACTS[one])]:
                    yield action, facts | ({fact: value} if fact else {})


def compare(engine, table):
    """The counts of states and of permitted ones, once all were decided alike."""
    known = list(table)
    answers = engine.decide([request(action, facts) for action, facts in known])
    for (action, facts), (allowed, ids) in zip(known, answers, strict=True):
        expected, rules = judge(action, facts, GUARD)
        assert allowed is expected, (action, facts)
        assert {own_id(one) for one in ids} == set(rules) - {DEFAULT_DENY}, (action, facts)
    return len(known), sum(allowed for allowed, _ in answers)


@pytest.mark.long
def test_every_state_is_decided_alike_and_for_the_same_reasons():
    begun = time.process_time()
    counted, permitted = compare(
        Engine(), ((action, facts) for action in Action for facts in states(action))
    )
    took = time.process_time() - begun
    sys.stdout.write(f"{counted:,} states, {permitted} permitted, decided alike in {took:.1f} s\n")
    assert counted == survey(GUARD).states
    assert permitted == len(survey(GUARD).permitted)


def test_permitted_states_and_their_neighbours_are_decided_alike():
    """A part of them; all states are the long test's business."""
    counted, permitted = compare(Engine(), islice(review_table(), 0, None, 4))
    assert counted > 150
    assert permitted > 20


def test_without_action_groups_it_does_not_matter_how_the_entities_were_built():
    """An engine whose entities were built without the schema passes over a forbid on a group."""
    engine = Engine()
    engine.entities = cedarpy.Entities.from_json_str("[]")
    assert compare(engine, review_table(Action.INTERRUPT, Action.PATCH_DATABASE))[1] > 0


def test_a_difference_would_be_seen():
    without = POLICIES.replace("forbid (principal", "permit (principal", 1)
    with pytest.raises(AssertionError):
        compare(Engine(without), review_table(Action.ACCEPT))


@pytest.mark.parametrize("fact", FOOTPRINT[Action.ACCEPT])
def test_a_fact_that_is_not_said_is_no_permission(fact):
    """Without the schema an erring forbid would be passed over; with it nothing is decided."""
    engine = Engine()
    facts = next(one for one in states(Action.ACCEPT) if judge(Action.ACCEPT, one, GUARD)[0])
    asked = request(Action.ACCEPT, {one: said for one, said in facts.items() if one != fact})
    answer = cedarpy.is_authorized(asked, engine.policies, engine.entities, engine.schema)
    assert not answer.allowed
    assert answer.diagnostics.errors


def test_every_policy_has_an_id_of_its_own_and_names_its_rule():
    """Cedar takes the same id twice without a word."""
    ids = re.findall(r'^@id\("(.*)"\)$', POLICIES, re.MULTILINE)
    assert len(set(ids)) == len(ids) == len(GUARD.rule)
    rules = re.findall(r'^@rule\("(.*)"\)$', POLICIES, re.MULTILINE)
    assert rules == [rule.id for rule in GUARD.rule]


@pytest.mark.parametrize(
    "why",
    ['say "no"', "back\\slash", "two\nlines", "\x1b[31mred", "größer 🚦", "\\u{41}", "\ud800"],
)
def test_whatever_a_rule_says_is_only_text(why):
    rule = GUARD.rule[0].model_copy(update={"why": why})
    text = cedar.policies(GuardPolicy(rule=(rule,)))
    assert text.count("\n") == 5
    assert cedarpy.validate_policies(text, SCHEMA).validation_passed
    (found,) = cedarpy.policies_to_pst(text).static_policies.values()
    assert found.annotations["why"] == why.encode("utf-8", "replace").decode().replace(
        "?", "\ufffd"
    )
