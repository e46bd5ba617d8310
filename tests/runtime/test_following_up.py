"""What follows a failure: issues, one task in the place of another, lessons, careful submits."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.assess.assessment import assess
from agent.core.model.actions import Action, Proposal
from agent.core.model.nouns import AttemptFailure, Defect
from agent.core.plan.defects import narrower_of
from agent.runtime.context import Supervision
from agent.runtime.drafting import draft, is_self_contained
from agent.runtime.effects import EFFECTS, Happened
from agent.runtime.observe import Observer
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

PUSHED = "d" * 40
MISSING = "make: demo-lint: command not found"


def wrong(number: int) -> Turn:
    """Another wrong answer each time."""
    return Turn(commit=PUSHED, checks=f"AssertionError: 3 != {number + 3}")


def issues(folder: Path) -> dict[str, str]:
    return {one.name: one.read_text(encoding="utf-8") for one in folder.glob("issues/*.md")}


def test_a_task_that_is_handed_over_says_in_an_issue_what_blocks_it_and_who_waits(tmp_path):
    world = SmallWorld(tmp_path, {("T-1", n): wrong(n) for n in (1, 2, 3)})
    world.submit(spec(), spec("T-2", depends_on=("T-1",)))
    world.run(ticks=12)
    assert world.outcome()["T-1"] == ("handed-over", 3)
    (text,) = issues(tmp_path).values()
    assert "Task T-1 needs a person" in text
    assert "Blocked by: no attempts are left" in text
    assert "Waits for it: T-2." in text
    assert "wavekeeper/T-1" in text


@pytest.mark.parametrize(
    "said",
    [
        lambda _: "rate_limit_exceeded",
        lambda number: f"sh: tool-{number}: command not found",
    ],
    ids=["a limit", "another tool each time"],
)
def test_a_worker_that_prints_a_cause_each_time_is_heard_three_times(tmp_path, said):
    """Then it costs attempts of its own, of which it has three."""
    world = SmallWorld(tmp_path, {("T-1", n): Turn(error=said(n)) for n in range(1, 12)})
    world.submit(spec())
    world.run(ticks=60)
    assert world.outcome()["T-1"] == ("handed-over", 6)
    assert len(issues(tmp_path)) <= 4


def test_an_agent_that_stalls_twice_is_a_persons_and_costs_no_other_attempt(tmp_path):
    stalled = Turn(error="no progress for 1200 s", failure=AttemptFailure(class_="stalled"))
    world = SmallWorld(tmp_path, {("T-1", 1): stalled, ("T-1", 2): stalled, ("T-2", 1): stalled})
    world.submit(spec(), spec("T-2"))
    world.run(ticks=20)
    assert world.outcome() == {"T-1": ("handed-over", 2), "T-2": ("accepted", 2)}
    assert [one.charged for one in world.world.store.task_records()] == [(), ()]


def test_a_fixing_task_that_is_handed_over_says_so_in_the_issue_of_its_defect(tmp_path):
    never = {("fix-d-1", n): wrong(n) for n in (1, 2, 3)}
    world = SmallWorld(tmp_path, {("T-1", 1): Turn(commit=PUSHED, checks=MISSING)} | never)
    world.submit(spec())
    world.run(ticks=20)
    assert world.outcome()["fix-d-1"] == ("handed-over", 3)
    (text,) = issues(tmp_path).values()
    assert "missing-tool:demo-lint" in text
    assert "Task fix-d-1 (" in text
    assert "Waits for it: T-1." in text


def test_whoever_mends_a_defect_by_hand_closes_its_issue_and_the_wave_goes_on(tmp_path):
    stopped = {
        ("T-1", 1): Turn(error=MISSING),
        ("T-2", 1): Turn(error=MISSING),
        ("T-3", 1): Turn(commit=PUSHED, checks=MISSING),
    }
    never = {("fix-d-1", n): wrong(n) for n in (1, 2, 3)}
    world = SmallWorld(tmp_path, stopped | never)
    world.submit(spec(), spec("T-2"), spec("T-3"))
    world.run(ticks=20)
    waiting = dict.fromkeys(("T-1", "T-2", "T-3"), ("parked", 1))
    ends = waiting | {"fix-d-1": ("handed-over", 3)}
    assert world.outcome() == ends
    (path,) = tmp_path.glob("issues/*.md")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Status: open", "Status: closed"), encoding="utf-8")
    world.run(ticks=20)
    # T-3 was stopped only in its judgement: it needs no other attempt, and is judged again.
    again = {"T-1": ("accepted", 2), "T-2": ("accepted", 2), "T-3": ("accepted", 1)}
    assert world.outcome() == ends | again
    released = [task for action, task in world.actions() if action == "release"]
    assert released == ["T-1", "T-2"]
    assert world.actions("T-3").count(("judge", "T-3")) == 2


def test_a_fix_that_was_proven_before_it_was_accepted_stays_proven(tmp_path):
    """Accepting it closes the issue first; if that fails on the way, the issue may be closed."""
    world = SmallWorld(tmp_path, {})
    defect = Defect(id="D-1", fingerprint="f", status="fixed", issue="0001", proven_by="T-9")
    world.world.store.save_defect(defect)
    world.submit(spec(fixes="D-1"))
    accepted = EFFECTS[Action.ACCEPT]
    proposal = Proposal(action=Action.ACCEPT, task="T-1", attempt=1, reason="it is done")
    happened = Happened("accepted")
    with world.world.state.transaction():
        accepted.remember(world.world, proposal, "key", world.clock.now(), happened)
    assert world.world.store.defects() == [defect]


def proposed(world: SmallWorld, **over: object) -> Proposal:
    """To replace T-1, worded and linted as the supervisor would."""
    how = Supervision(policy=POLICY, mode="auto", interval=300)
    assessment = assess(Observer(world.world, how).observe(), POLICY)
    wanted = Proposal(
        action=Action.REPLACE, task="T-1", attempt=1, reason="it cannot go on", **over
    )
    worded = draft(assessment, wanted, world.world.store, world.world.drafter)
    assert is_self_contained(assessment, worded, world.world.store)
    return worded


def test_a_task_that_cannot_go_on_is_replaced_by_what_is_left_of_it(tmp_path):
    world = SmallWorld(tmp_path, {("T-1", 1): wrong(1)})
    world.submit(spec(), spec("T-2", depends_on=("T-1",)))
    ticker = world.ticker()
    ticker.tick()
    world.host()
    proposal, store = proposed(world, charged=True), world.world.store
    replaced = EFFECTS[Action.REPLACE]
    assert proposal.spec is not None
    assert (proposal.spec.id, proposal.spec.branch) == ("T-1-2", "wavekeeper/T-1")
    for _ in range(2):  # the second time as after a crash between effect and outcome
        happened = replaced.do(world.world, proposal, "key")
        assert "T-1-2" in happened.said
        assert replaced.find(world.world, proposal, "key") is not None
        replaced.remember(world.world, proposal, "key", world.clock.now(), happened)
    old, new, waiting = (store.task_record(one) for one in ("T-1", "T-1-2", "T-2"))
    assert (old.status, new.status, waiting.spec.depends_on) == (
        "replaced",
        "submitted",
        ("T-1-2",),
    )
    assert [one.result for one in store.outcomes(9)] == ["replaced"]
    world.run(ticker)
    assert world.outcome() == {
        "T-1": ("replaced", 1),
        "T-1-2": ("accepted", 1),
        "T-2": ("accepted", 1),
    }


def test_what_is_left_is_held_to_what_is_not_met():
    wide = spec(criteria=[{"id": one, "text": one, "proof": "judgement"} for one in ("C1", "C2")])
    assert [one.id for one in narrower_of(wide, ("C2",)).criteria] == ["C2"]
    assert [one.id for one in narrower_of(wide, ()).criteria] == ["C1", "C2"]
    assert "task T-1" in narrower_of(wide, ()).background


@pytest.mark.parametrize(
    ("megabytes", "queued"),
    [pytest.param(500, 1, id="short of memory"), pytest.param(9000, 3, id="room enough"),
     pytest.param(None, 3, id="nobody can tell")],
)  # fmt: skip
def test_submits_are_fewer_from_a_host_that_is_short_of_memory(tmp_path, megabytes, queued):
    class Host:
        def free_memory(self) -> int | None:
            return None if megabytes is None else megabytes * 2**20

    world = SmallWorld(tmp_path, {}, wrap=lambda one: replace(one, machine=Host()))
    world.submit(*(spec(f"T-{n}") for n in range(1, 6)))
    world.ticker().tick()
    assert sum(one.counts["queued"] for one in world.queue.queues()) == queued


def test_every_task_that_a_defect_has_stopped_is_known_with_it(tmp_path):
    stopped = {(one, 1): Turn(commit=PUSHED, checks=MISSING) for one in ("T-1", "T-2")}
    world = SmallWorld(tmp_path, stopped)
    world.submit(spec(), spec("T-2"))
    world.run()
    (defect,) = world.world.store.defects()
    assert defect.seen_in == ("T-1", "T-2")
    assert defect.expected == POLICY.failures.by_id["missing-tool"].contract
    (text,) = issues(tmp_path).values()
    assert f"Expected: {defect.expected}" in text


def test_who_fixed_a_defect_is_seen_until_its_lesson_is_written_down(tmp_path):
    stopped = {(one, 1): Turn(commit=PUSHED, checks=MISSING) for one in ("T-1", "T-2")}
    world = SmallWorld(tmp_path, stopped)
    world.submit(spec(), spec("T-2"))
    world.run()
    how = Supervision(policy=POLICY, mode="auto", interval=300)

    def seen() -> list[str]:
        return [one.id for one in Observer(world.world, how).observe().tasks]

    assert seen() == ["fix-d-1"]
    (defect,) = world.world.store.defects()
    written = Defect.model_validate({**defect.model_dump(), "reference": "docs/reference/a.md"})
    world.world.store.save_defect(written)
    assert seen() == []
