"""An adversary proposes, the world moves, and nothing that must never happen does."""

import sys
from functools import cache

import pytest

from tests.simulation import closed_loop
from tests.simulation.closed_loop import Lanes, Task, Walk

TASK = {
    "the same work runs twice", "work that was over begins again", "a live worker is stopped",
    "accepted without evidence", "accepted unjudged", "accepted, and nothing shows the change",
    "accepted while its agent may write", "a heavy check runs on the master",
    "acted on a result before it was judged",
    "two submits under way", "replaced although it can go on",
    "sent into a known defect", "a defect is mended that nobody wrote down",
    "sent back without an attempt left", "acted on an unread result", "acted while suspended",
}  # fmt: skip
LANES = {
    "widened while slipping", "widened over overlapping scopes", "widened past the maximum",
    "more lanes busy than there are", "new work goes out beside an unread result",
}  # fmt: skip


@cache
def walked(**how):
    walks = [Walk(first, **how).run() for first in (Task(), Lanes())]
    states = sum(len(walk.after) for walk in walks)
    wrongs = set().union(*(walk.wrongs for walk in walks))
    stuck = set().union(*(walk.stuck() for walk in walks))
    sys.stdout.write(f"{how}: {states} states, {len(wrongs)} wrongs, {len(stuck)} stuck\n")
    return wrongs, stuck, walks


def test_without_a_guard_everything_happens():
    """So each property can be broken in this world, and the walk finds it."""
    for first, wrongs in ((Task(), TASK), (Lanes(), LANES)):
        assert Walk(first, guarded=False).run(enough=wrongs).wrongs == wrongs


def test_the_guard_lets_none_of_it_happen_and_nothing_gets_stuck():
    wrongs, stuck, walks = walked()
    assert wrongs == set()
    assert stuck == set()
    assert len(walks[0].after) > 1000


def test_a_decision_that_is_carried_out_later_would_let_it_happen():
    """Why the executor looks again: the world moves between deciding and acting."""
    of_a_task = {
        "a live worker is stopped", "accepted without evidence", "accepted unjudged",
        "the same work runs twice", "acted while suspended",
    }  # fmt: skip
    of_lanes = {"widened while slipping", "new work goes out beside an unread result"}
    for first, wrongs in ((Task(), of_a_task), (Lanes(), of_lanes)):
        assert Walk(first, meanwhile=True).run(enough=wrongs).wrongs >= wrongs


def test_looking_again_directly_before_the_effect_lets_none_of_it_happen():
    wrongs, stuck, _ = walked(meanwhile=True, looks_again=True)
    assert wrongs == set()
    assert stuck == set()


def test_no_luck_is_needed_to_reach_an_end():
    """Neither proof or a judge that turns up, nor a defect that others mend, nor another's hand."""

    def luck(before, after):
        if not isinstance(before, Task):
            return False
        by_hand = before.status == "finished" and after.status == "queued" and not after.sending
        mended = before.defect == "recorded" and after.defect == "fixed"
        judged = before.judged == "ordered" and after.judged in ("passed", "failed")
        proven = (before.proof, after.proof) == ("claimed", "proven")
        return by_hand or mended or judged or proven

    _, _, (walk, _) = walked()
    assert walk.stuck(luck) == set()


@pytest.mark.parametrize("permitted", [set(), {"inspect"}])
def test_a_guard_that_permits_too_little_leaves_tasks_stuck(monkeypatch, permitted):
    monkeypatch.setattr(closed_loop, "permits", lambda action, _: action in permitted)
    assert Walk(Task()).run().stuck()
