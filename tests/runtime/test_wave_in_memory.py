"""Whole waves through tick, executor and journal, on the in-memory adapters."""

from collections import Counter
from dataclasses import replace

import pytest

from agent.core.model.nouns import Grants
from agent.core.model.queueing import Report
from tests.simulation.small_world import SmallWorld, Turn, spec

MISSING = "make: demo-lint: command not found"
PUSHED = "d" * 40
READ = ("inspect", "judge")
"""What is done with a result that was pushed, before anything else."""

STORIES = [
    pytest.param({}, ("accepted", 1), ["submit", *READ, "accept"], id="right at once"),
    pytest.param(
        {("T-1", 1): Turn()},
        ("accepted", 2),
        ["submit", "inspect", "retry", *READ, "accept"],
        id="claims all done, never pushed",
    ),
    pytest.param(
        {("T-1", 1): Turn(commit=PUSHED, checks="AssertionError: 3 != 4")},
        ("accepted", 2),
        ["submit", *READ, "retry", *READ, "accept"],
        id="fails its check, right the second time",
    ),
    pytest.param(
        {
            ("T-1", n): Turn(commit=f"{n}" * 40, checks=f"AssertionError: 3 != {n + 3}")
            for n in range(1, 9)
        },
        ("handed-over", 3),
        ["submit", *[*READ, "retry"] * 2, *READ, "hand-over"],
        id="never right: no attempts are left",
    ),
    pytest.param(
        {("T-1", n): Turn(commit=PUSHED, checks="AssertionError: 3 != 4") for n in range(1, 9)},
        ("handed-over", 3),
        ["submit", *READ, "retry", "inspect", "retry", "inspect", "hand-over"],
        id="wrong, and then the same commit again: that is nothing new to judge",
    ),
    pytest.param(
        {("T-1", n): Turn(commit=f"{n}" * 40, checks="AssertionError: 3 != 4") for n in (1, 2)},
        ("accepted", 3),
        ["submit", *[*READ, "retry"] * 2, *READ, "accept"],
        id="wrong in the same words, but with another commit: it goes on",
    ),
    pytest.param(
        {("T-1", 1): Turn(vanish=True)},
        ("accepted", 2),
        ["submit", "inspect", "retry", *READ, "accept"],
        id="lost with its host, recovered under its own identity",
    ),
    pytest.param(
        {("T-1", n): Turn(error="ERROR: You've hit your usage limit.") for n in (1, 2, 3, 4)},
        ("accepted", 5),
        ["submit", *["inspect", "retry"] * 4, *READ, "accept"],
        id="a provider's limit uses up no attempt",
    ),
]


@pytest.mark.parametrize(("script", "ending", "actions"), STORIES)
def test_one_task(tmp_path, script, ending, actions):
    world = SmallWorld(tmp_path, script)
    world.submit(spec())
    world.run(ticks=120)
    assert world.outcome() == {"T-1": ending}
    assert [action for action, _ in world.actions()] == actions
    assert world.world.journal.verify() is None


def test_where_nobody_notes_branches_the_same_words_twice_are_not_sent_a_third_time(tmp_path):
    """Another prompt would say nothing new."""
    same = {("T-1", n): Turn(commit=PUSHED, checks="AssertionError: 3 != 4") for n in range(1, 9)}
    world = SmallWorld(tmp_path, same, wrap=lambda ports: replace(ports, remote=None))
    world.submit(spec())
    world.run()
    assert world.outcome() == {"T-1": ("handed-over", 2)}


def test_a_shared_fault_becomes_one_defect_one_issue_and_one_task(tmp_path):
    script = {
        ("T-1", 1): Turn(commit=PUSHED, checks=MISSING),
        ("T-2", 1): Turn(error=MISSING),
    }
    world = SmallWorld(tmp_path, script)
    world.submit(spec("T-1"), spec("T-2"), spec("T-3"))
    world.run()
    assert world.outcome() == {
        "T-1": ("accepted", 1),
        "T-2": ("accepted", 2),
        "T-3": ("accepted", 1),
        "fix-d-1": ("accepted", 1),
    }
    # T-1 was stopped only in its judgement: that is made again, and its agent is not sent back.
    done = Counter(action for action, _ in world.actions())
    assert {one: done[one] for one in ("open-issue", "split-defect", "park", "release")} == {
        "open-issue": 1,
        "split-defect": 1,
        "park": 2,
        "release": 1,
    }
    assert [one for one, task in world.actions() if task == "T-1"].count("judge") == 2
    (defect,) = world.world.store.defects()
    assert (defect.status, defect.fixed_by, defect.proven_by) == ("fixed", "fix-d-1", "T-1")
    (issue,) = (tmp_path / "issues").glob("*.md")
    told = issue.read_text(encoding="utf-8")
    assert "Status: closed" in told
    assert all(f"Task {one} waits for this" in told for one in ("T-1", "T-2"))
    # The issue comes before the fix, and the second is released only after the first went past.
    steps = world.actions()
    recorded = next(place for place, (action, _) in enumerate(steps) if action == "open-issue")
    assert recorded < steps.index(("split-defect", "T-1"))
    assert steps.index(("accept", "T-1")) < steps.index(("release", "T-2"))


def test_a_shared_fault_that_only_the_agents_saw_can_be_fixed_and_proven(tmp_path):
    script = {("T-1", 1): Turn(error=MISSING), ("T-2", 1): Turn(error=MISSING)}
    world = SmallWorld(tmp_path, script)
    world.submit(spec("T-1"), spec("T-2"))
    world.run()
    assert world.outcome() == {
        "T-1": ("accepted", 2),
        "T-2": ("accepted", 2),
        "fix-d-1": ("accepted", 1),
    }


def test_a_wave_that_is_done_lends_its_grants_to_no_other(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec("T-1"), wave="w1", grants=Grants(production_repair=True))
    first = world.run()
    world.submit(spec("T-2"), wave="w2")
    (second, *_) = world.run()
    assert first[0].snapshot.wave.grants.production_repair is True
    assert second.snapshot.wave.grants.production_repair is False
    assert second.snapshot.wave.id == "w2"


def test_a_clock_that_is_set_back_stops_nothing(tmp_path):
    world = SmallWorld(tmp_path, {("T-1", 1): Turn()})
    world.submit(spec("T-1"))
    ticker = world.ticker()
    world.run(ticker, ticks=2)
    world.clock.move(-3600)
    world.run(ticker)
    assert world.outcome() == {"T-1": ("accepted", 2)}


@pytest.mark.parametrize(
    ("stopped", "ends"),
    [
        pytest.param(
            {("T-1", n): Turn(error=MISSING) for n in (1, 2)} | {("T-2", 1): Turn(error=MISSING)},
            {"T-1": 3, "T-2": 2},
            id="its agent is stopped again",
        ),
        pytest.param(
            {
                ("T-1", 1): Turn(commit=PUSHED, checks=MISSING, again=MISSING),
                ("T-2", 1): Turn(commit=PUSHED, checks=MISSING),
            },
            {"T-1": 1, "T-2": 1},
            id="its judgement is stopped again",
        ),
    ],
)
def test_a_fix_that_does_not_hold_is_found_by_the_canary(tmp_path, stopped, ends):
    world = SmallWorld(tmp_path, stopped)
    world.submit(spec("T-1"), spec("T-2"))
    world.run(ticks=60)
    # The second fix is a task of its own with a branch of its own.
    fixes = {"fix-d-1": 1, "fix-d-1-2": 1}
    assert world.outcome() == {task: ("accepted", n) for task, n in (ends | fixes).items()}
    # T-2 waits until the canary went past the second fix.
    steps = world.actions()
    ways_on = (("release", "T-2"), ("judge", "T-2"))
    gone_on = max(place for place, step in enumerate(steps) if step in ways_on)
    assert steps.index(("accept", "T-1")) < gone_on < steps.index(("accept", "T-2"))


def test_a_late_report_of_a_settled_task_is_read_once_and_changes_nothing(tmp_path):
    world = SmallWorld(tmp_path, {("T-1", 1): Turn(vanish=True)})
    world.submit(spec())
    ticker = world.ticker()
    world.run(ticker)
    assert world.outcome() == {"T-1": ("accepted", 2)}
    late = Report(state="succeeded", final_response="Back again, all done!")
    assert world.queue.finish(world.leases["T-1"], late) == "late"
    read, after = ticker.tick(), ticker.tick()
    assert [one.proposal.action for one in read.done] == ["inspect"]
    assert (after.snapshot.tasks, after.done) == ((), ())
    assert world.outcome() == {"T-1": ("accepted", 2)}


def test_dependencies_wait_for_acceptance(tmp_path):
    world = SmallWorld(tmp_path, {("T-1", 1): Turn()})
    world.submit(spec("T-1"), spec("T-2", depends_on=("T-1",)))
    world.run()
    steps = world.actions()
    assert steps.index(("accept", "T-1")) < steps.index(("submit", "T-2"))
    assert world.outcome()["T-2"] == ("accepted", 1)


def test_what_a_dependency_was_accepted_on_is_kept(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec("T-1"), spec("T-2", depends_on=("T-1",)))
    world.run()
    assert world.outcome() == {"T-1": ("accepted", 1), "T-2": ("accepted", 1)}
    kept = {one.spec.id: {item.kind for item in one.evidence if item.holds}
            for one in world.world.store.task_records()}  # fmt: skip
    assert kept["T-1"] == kept["T-2"] != set()


def test_the_window_bounds_what_is_in_the_queue(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(*[spec(f"T-{n}") for n in range(1, 13)])
    ticker, most = world.ticker(), 0
    while not world.settled():
        before = sum(one.counts.get("queued", 0) for one in world.queue.queues())
        ticker.tick()
        after = sum(one.counts.get("queued", 0) for one in world.queue.queues())
        assert after - before <= 3
        most = max(most, after)
        world.clock.move(61)
        if after in {5, before}:
            world.host()
    assert most == 5


@pytest.mark.parametrize("mode", ["observe", "approve"])
def test_only_auto_submits(tmp_path, mode):
    world = SmallWorld(tmp_path, {})
    world.submit(spec())
    ticker = world.ticker(mode=mode)
    for _ in range(3):
        result = ticker.tick()
        world.clock.move(61)
    assert world.outcome() == {"T-1": ("planned", 0)}
    assert world.actions() == []
    assert result.decisions[0].proposal.action == "submit"


def test_every_tick_leaves_one_record_per_task(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec("T-1"), spec("T-2", depends_on=("T-1",)))
    results = world.run()
    for result in results:
        entries = [
            entry.record
            for entry in world.world.journal.entries(kinds=("decision",))
            if entry.record.tick == result.number
        ]
        assert sorted(one.task for one in entries) == sorted(
            one.id for one in result.snapshot.tasks
        )
        assert all(one.body["clearance"] and one.body["proposal"]["reason"] for one in entries)
