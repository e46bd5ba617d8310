"""What is wrong with a rule table is told with its place, and what decided in a fixed order."""

import pytest

from agent.core.guard.guard import clear, judge, lint
from agent.core.model.actions import Action, Proposal, Refused
from agent.core.model.policy import GuardPolicy, Rule
from tests.core import worlds as w

KNOWN = {
    "id": "read_it", "effect": "permit", "actions": ("review",), "why": "why", "source": "source",
    "when": {"result": ("read",)},
}  # fmt: skip


def faults(**over):
    """Of one rule; that the floor's forbids are not in so small a table is left out."""
    told = lint(GuardPolicy(rule=(Rule(**KNOWN | over),)))
    return [(way, what) for way, what in told if len(way) > 1]


@pytest.mark.parametrize(
    ("over", "way", "says"),
    [
        pytest.param({"when": {"mood": ("good",)}}, ("when", "mood"), "there is no fact 'mood'",
                     id="a fact of when"),
        pytest.param({"unless": {"result": ("red",)}}, ("unless", "result"), "no value 'red'",
                     id="a value of unless"),
        pytest.param({"when": {"proof": ("proven",)}}, ("when", "proof"), "review may not read",
                     id="a fact that the action may not read"),
        pytest.param({"match": ({"mood": "good"},)}, ("match", 0, "mood"), "there is no fact",
                     id="a fact of an example"),
        pytest.param({"no_match": ({"result": "none"}, {"result": "red"})},
                     ("no_match", 1, "result"), "no value 'red'", id="a value of another example"),
        pytest.param({"match": ({"result": "none"},)}, ("match", 0), "does not match",
                     id="an example that does not match"),
        pytest.param({"no_match": ({"result": "read"},)}, ("no_match", 0), "does match",
                     id="an example that must not match"),
        pytest.param({"id": "never_read"}, ("id",), "a forbid, and only a forbid", id="its name"),
        pytest.param({"effect": "forbid"}, ("id",), "a forbid, and only a forbid", id="its effect"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_the_way_to_it(over, way, says):
    ((where, what),) = faults(**over)
    assert where == ("rule", 0, *way)
    assert what.startswith(f"{over.get('id', 'read_it')}: ")
    assert says in what


def test_what_an_example_does_not_name_is_unknown():
    unknown = {"when": {"result": ("unknown",)}}
    assert faults(**unknown, match=({},)) == []
    assert faults(**unknown, no_match=({"result": "read"},)) == []
    assert len(faults(**unknown, no_match=({},))) == 1


def test_no_example_is_looked_at_before_its_words_are_right():
    assert len(faults(when={"mood": ("good",)}, match=({"result": "read"},))) == 1


NAMES = [f"{letter}_rule" for letter in "hdbgafec"]
"""In no order, and enough of them that a set does not happen to be sorted."""


def test_the_rules_that_decided_are_told_in_order():
    rules = tuple(Rule(**KNOWN | {"id": name}) for name in NAMES)
    facts = {"result": "read", "tokens": "left"}
    assert judge(Action.REVIEW, facts, GuardPolicy(rule=rules)) == (True, tuple(sorted(NAMES)))


def test_the_facts_that_failed_are_told_in_order():
    asked = Proposal(action=Action.REVIEW, task="T-1", reason="asked")
    facts = {"result": "unknown", "tokens": "unknown"}
    said = clear(asked, facts, w.policy(), w.NOW, failed=NAMES)
    assert isinstance(said, Refused)
    failed = [rule for rule in said.rules if rule.startswith("fact_failed_")]
    assert failed == [f"fact_failed_{name}" for name in sorted(NAMES)]
