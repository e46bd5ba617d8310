"""No rule table may leave a task without a way to its end."""

import pytest

from agent.core.guard.check import LEADS_TO, MODES, stuck, survey
from agent.core.model.actions import Action
from agent.core.model.policy import GuardPolicy
from tests.core import worlds as w

SHIPPED = w.policy().guard.rule
STATES = [(cell.action, cell.box) for cell in survey(w.policy().guard).permitted]


def tightened(rule_id, **when):
    """The shipped table, in which one permit asks for more."""
    wanted = {fact: tuple(values.split("|")) for fact, values in when.items()}
    rules = (
        rule.model_copy(update={"when": rule.when | wanted}) if rule.id == rule_id else rule
        for rule in SHIPPED
    )
    return GuardPolicy(rule=tuple(rules))


def without(*actions):
    return [(action, box) for action, box in STATES if action not in actions]


def narrowed(action, **sides):
    more = {fact: frozenset(values.split("|")) for fact, values in sides.items()}
    return [(one, {**box, **more} if one is action else box) for one, box in STATES]


def test_the_shipped_table_leaves_no_task_stuck():
    assert stuck(STATES) == []


def test_a_person_can_be_told_of_whatever_rests():
    """Handing over covers all of it; nothing else does."""
    for action in set(LEADS_TO) - {Action.HAND_OVER}:
        assert stuck(without(action)) == [], action
    assert len(stuck(without(Action.HAND_OVER))) == 3 * len(MODES)


@pytest.mark.parametrize(
    ("permitted", "says"),
    [
        pytest.param(
            narrowed(Action.HAND_OVER, result="none"),
            ("status=finished", "result=read"),
            id="a read result that nothing accepts, sends back or hands over",
        ),
        pytest.param(
            narrowed(Action.HAND_OVER, result="read"),
            ("status=planned", "prompt=unknown|leans-on-context"),
            id="a planned task whose prompt never stands on its own",
        ),
        pytest.param(
            narrowed(Action.HAND_OVER, suspended="yes"),
            ("status=finished",),
            id="handing over only when suspended",
        ),
        pytest.param(
            narrowed(Action.HAND_OVER, mode="auto"),
            ("mode approve",),
            id="handing over in one mode only",
        ),
        pytest.param(
            without(Action.INSPECT), ("an unread result could stay unread",), id="reading forbidden"
        ),
        pytest.param(
            narrowed(Action.INSPECT, result="none"),
            ("an unread result could stay unread",),
            id="reading only what is no result",
        ),
    ],
)
def test_where_a_task_would_be_stuck_is_said(permitted, says):
    told = "\n".join(stuck(permitted))
    for one in says:
        assert one in told


def test_a_spent_budget_without_a_person_is_the_hole():
    """May go on under its own identity, and may not be sent back: found by nobody's unit test."""
    asks_first = tightened("hand_over_to_a_person", result="none")
    (found,) = {one.partition("from ")[2] for one in survey(asks_first).problems}
    assert found.startswith("status=finished, result=read")
    covered = [
        *narrowed(Action.HAND_OVER, result="none"),
        (Action.RETRY, {"continuable": frozenset({"yes"}), "budget": frozenset({"left"})}),
        (Action.REPLACE, {"continuable": frozenset({"no", "unknown"})}),
    ]
    left = [one for one in stuck(covered) if "status=finished" in one]
    assert len(left) == len(MODES)
    assert all("continuable=yes, budget=unknown|spent" in one for one in left)


def test_what_leads_only_to_where_nothing_ends_is_no_way_out():
    """Parking would do, if anything led on from there."""
    only = [(Action.INSPECT, {}), (Action.PARK, {}), (Action.SUBMIT, {})]
    assert any("status=parked" in one for one in stuck(only))
    assert any("status=finished" in one for one in stuck(only))
    assert not any("status=finished" in one for one in stuck([*only, (Action.RELEASE, {}),
                                                             (Action.ACCEPT, {})]))  # fmt: skip
