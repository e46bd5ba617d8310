"""What is counted out by boxes is what is found state by state."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.guard.check import rest, words
from agent.core.guard.facts import FACTS

SOME = ("consent", "result", "lanes", "budget")
SPACE = list(itertools.product(*(FACTS[fact] for fact in SOME)))
SIDES = {
    fact: st.frozensets(st.sampled_from(FACTS[fact]), min_size=1, max_size=len(FACTS[fact]))
    for fact in SOME
}
BOXES = st.fixed_dictionaries({}, optional=SIDES)


def states(box):
    known = {fact: box.get(fact, frozenset(FACTS[fact])) for fact in SOME}
    return {one for one in SPACE if all(v in known[f] for f, v in zip(SOME, one, strict=True))}


@settings(max_examples=80, deadline=None)
@given(BOXES, st.lists(BOXES, max_size=4))
def test_the_rest_is_what_no_other_box_holds(box, others):
    left = rest(box, others)
    expected = states(box) - set().union(*map(states, others))
    assert set().union(*map(states, left)) == expected
    assert sum(len(states(one)) for one in left) == len(expected), "no state is told twice"


def test_words_leave_out_what_does_not_matter():
    box = {"result": frozenset({"none", "read"}), "lanes": frozenset(FACTS["lanes"])}
    assert words(box, FACTS) == "result=read|none"
    assert words({}, FACTS) == ""
