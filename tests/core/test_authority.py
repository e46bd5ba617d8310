"""The lock lists all that a policy allows, and tells exactly what another one allows more."""

from typing import Any

import pytest
from pydantic import BaseModel

from agent.core.guard.baseline import (
    AT_LEAST,
    AT_MOST,
    NEEDS,
    WITHIN,
    Authority,
    Limit,
    authority_of,
)
from agent.core.guard.baseline import read_lock as read
from agent.core.guard.check import survey
from agent.core.model.actions import Action
from tests.core import worlds as w

SHIPPED = authority_of(w.policy(), survey(w.policy().guard))
NUMBERS = [one for one in SHIPPED.limits if one.relation in (AT_MOST, AT_LEAST)]


def changed(table: str, **update: Any) -> Authority:
    """The authority of the shipped policy with these values in one of its files."""
    policy = w.policy()
    edited = getattr(policy, table).model_copy(update=update)
    policy = policy.model_copy(update={table: edited})
    return authority_of(policy, survey(policy.guard))


def test_what_is_written_is_read_back():
    again = read("# a comment\n\n" + "\n".join(SHIPPED.lines()))
    assert again == SHIPPED
    assert SHIPPED.beyond(again) == again.beyond(SHIPPED) == []


def test_every_number_of_every_file_has_its_strict_side():
    """One that is added, a flag too, says on which side of it more would be allowed."""
    tables: dict[str, BaseModel] = {
        name: getattr(w.policy(), name)
        for name, field in type(w.policy()).model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    numbers = {
        f"{table}.{name}"
        for table, model in tables.items()
        for name, value in model
        if isinstance(value, int | float)
    }
    assert numbers == {one.name for one in NUMBERS}


@pytest.mark.parametrize("limit", NUMBERS, ids=lambda one: one.name)
@pytest.mark.parametrize("step", [1, -1])
def test_a_number_is_looser_on_one_side_only(limit, step):
    table, _, key = limit.name.partition(".")
    value = float(limit.values[0])
    more = changed(table, **{key: value + step * 0.125}).beyond(SHIPPED)
    loosens = step > 0 if limit.relation == AT_MOST else step < 0
    assert bool(more) is loosens, more
    if loosens:
        loose = f"{limit.name} {limit.relation} {value + step * 0.125:.15g}"
        assert more == [f"{loose}; reviewed was {limit.values[0]}"]


LISTS = [
    pytest.param((WITHIN, "a", "b"), ("a",), True, id="a shorter list"),
    pytest.param((WITHIN, "a", "b"), ("b", "a"), True, id="another order"),
    pytest.param((WITHIN, "a", "b"), ("a", "c"), False, id="another word"),
    pytest.param((WITHIN, "a", "b"), (), True, id="none of them"),
    pytest.param((WITHIN,), ("a",), False, id="one where there was none"),
    pytest.param((NEEDS, "a", "b|c"), ("a", "b|c"), True, id="the same rungs"),
    pytest.param((NEEDS, "a", "b|c"), ("c", "a", "d"), True, id="one rung more, one way less"),
    pytest.param((NEEDS, "a", "b|c"), ("a",), False, id="a rung less"),
    pytest.param((NEEDS, "a", "b|c"), ("a", "b|c|d"), False, id="another way for a rung"),
    pytest.param((NEEDS, "a"), ("a|b", "c"), False, id="another way, and a rung more"),
]


@pytest.mark.parametrize(("held", "own", "allowed"), LISTS)
def test_a_list_is_looser_when_it_lets_more_pass(held, own, allowed):
    relation, *values = held
    line = Limit("completion.x", relation, tuple(values)).line()
    (reviewed,) = read(line).limits
    assert reviewed.allows(Limit("completion.x", relation, own)) is allowed


def test_a_limit_that_nobody_reviewed_is_one_too_many():
    fewer = Authority(SHIPPED.states, SHIPPED.limits[1:])
    assert SHIPPED.beyond(fewer) == [SHIPPED.limits[0].line()]
    assert fewer.beyond(SHIPPED) == []


def test_a_difference_is_told_as_the_very_states():
    wider = {
        **dict(SHIPPED.states)[Action.MOVE],
        "status": frozenset({"queued", "planned", "working"}),
    }
    states = tuple((one, wider if one is Action.MOVE else box) for one, box in SHIPPED.states)
    loose = Authority(states, SHIPPED.limits)
    (more,) = loose.beyond(SHIPPED)
    assert more.startswith("move: mode=approve|auto")
    assert "status=planned|working" in more
    assert SHIPPED.beyond(loose) == []


@pytest.mark.parametrize(
    "line",
    ["nonsense", "jump: always", "move: colour=red", "move: status=quEued", "move: proof=proven",
     "submit.per_tick at most many", "submit.per_tick at least", "move"],
)  # fmt: skip
def test_a_line_that_is_none_is_told_with_its_number(line):
    with pytest.raises(ValueError, match=r"^3: "):
        read(f"# head\n\n{line}\nmove: always")
