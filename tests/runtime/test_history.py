"""Decided again from the journal alone: the same, or the differences."""

import pytest

from agent.core.journal.records import Record
from agent.errors import JournalBrokenError, UserError
from agent.runtime.replay import replay, select_sessions, sessions
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

MISSING = "sh: 1: demo-lint: not found"
TROUBLES = {
    ("T-1", 1): Turn(commit=None),
    ("T-2", 1): Turn(commit="a" * 40, checks=MISSING),
    ("T-3", 1): Turn(commit="b" * 40, checks=MISSING),
    ("T-4", 1): Turn(commit="d" * 40, checks="1 failed"),
    ("T-5", 1): Turn(error="rate_limit_error"),
}
STRICTER = POLICY.model_copy(
    update={
        "hash": "f" * 64,
        "submit": POLICY.submit.model_copy(update={"per_tick": 1}),
    },
)


def started(world, mode="auto"):
    body = {"who": "me", "mode": mode, "policy": POLICY.hash}
    world.world.journal.append([Record(kind="start", at=world.clock.now(), tick=0, body=body)])


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Two runs: one in observe mode, then one in auto mode through every trouble."""
    world = SmallWorld(tmp_path_factory.mktemp("played"), TROUBLES)
    world.submit(*(spec(f"T-{number}") for number in range(1, 6)))
    started(world, "observe")
    world.ticker("observe").tick()
    started(world)
    world.run()
    return world


def test_everything_is_decided_the_same_again(played):
    journal = played.world.journal
    found = replay(journal, select_sessions(journal, "all"), POLICY)
    assert found.differing == []
    assert found.other_policy == set()
    assert found.ticks == journal.last_tick()
    assert found.decisions == len(list(journal.entries(kinds=("decision",)))) > 30


def test_under_another_policy_the_differences_are_named(played):
    journal = played.world.journal
    found = replay(journal, select_sessions(journal, "S-2"), STRICTER)
    assert found.other_policy == {POLICY.hash}
    first = found.differing[0]
    assert (first.task, first.recorded, first.now) == (
        "T-2", "submit (cleared)", "leave-alone (cleared)",
    )  # fmt: skip
    assert {"action", "reason"} <= set(first.where)


def test_a_decision_that_is_not_in_the_record_is_a_difference(played):
    journal = played.world.journal
    (tick,) = [one for one in journal.entries(kinds=("tick",)) if one.record.tick == 2]
    kept = [one for one in journal.entries(kinds=("decision",)) if one.record.tick == 2][1:]
    world = SmallWorld(played.folder, {})
    started(world)
    snapshot = journal.snapshot(tick.record.body["snapshot"])
    world.world.journal.append([tick.record, *(one.record for one in kept)], snapshot)
    (found,) = replay(
        world.world.journal, select_sessions(world.world.journal, "last"), POLICY
    ).differing
    assert (found.task, found.recorded) == ("T-1", "no decision")


def test_a_run_begins_with_its_start_and_ends_before_the_next(played):
    first, second = sessions(played.world.journal)
    assert (first.id, first.mode, second.id, second.mode) == ("S-1", "observe", "S-2", "auto")
    assert first.last == second.first - 1
    assert second.last is None
    one = replay(played.world.journal, [first], POLICY)
    assert (one.ticks, one.decisions) == (1, 5)


@pytest.mark.parametrize("name", ["S-9", "s-1", "", "T-1"])
def test_a_run_that_is_not_there_is_named(played, name):
    with pytest.raises(UserError, match="there are S-1 to S-2, `last` and `all`"):
        select_sessions(played.world.journal, name)


def test_a_missing_snapshot_is_no_difference_but_a_broken_journal(tmp_path):
    world = SmallWorld(tmp_path, {})
    started(world)
    body = {"sentence": "x", "snapshot": "0" * 64, "policy": POLICY.hash}
    world.world.journal.append([Record(kind="tick", at=world.clock.now(), tick=1, body=body)])
    with pytest.raises(JournalBrokenError, match="record 2: its snapshot 000000000000 is missing"):
        replay(world.world.journal, select_sessions(world.world.journal, "last"), POLICY)
