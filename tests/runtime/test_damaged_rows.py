"""A row of the state that cannot be read: what rests on it waits for a person, the rest goes on."""

import io
from datetime import timedelta

import pytest

from agent.cli.console import Console
from agent.cli.views import page
from agent.core.journal.records import TaskRecord
from agent.core.model.actions import Action
from agent.core.model.nouns import Defect, Grants
from agent.errors import UserError
from agent.runtime.approval_answers import Answering
from agent.runtime.context import Supervision
from agent.runtime.observe import Observer
from agent.runtime.status import LiveMap, StatusReader
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

HOW = Supervision(policy=POLICY, mode="auto", interval=300.0)
MISSING = "sh: 1: demo-lint: command not found"
BLOCKED = Turn(commit="d" * 40, checks=MISSING)


def damage(world: SmallWorld, table: str, where: str = "1") -> None:
    with world.world.state.transaction() as db:
        db.execute(f"UPDATE {table} SET body = '{{}}' WHERE {where}")  # noqa: S608 - of this file
    world.world.store.forget()


def look(world: SmallWorld) -> LiveMap:
    return StatusReader(world.world, HOW).look("me")


def shown(world: SmallWorld) -> str:
    """The page of `status`."""
    written = io.StringIO()
    console = Console(written, io.StringIO(), {})
    for part in page(console, look(world)):
        console.show(part)
    return written.getvalue()


def known(world: SmallWorld, task: str) -> TaskRecord:
    found = world.world.store.task_record(task)
    assert found is not None
    return found


def parked(folder) -> SmallWorld:
    """T-1 waits for its defect, and the fix is under way for ever."""
    world = SmallWorld(folder, {("T-1", 1): BLOCKED, ("fix-d-1", 1): Turn(vanish=True)})
    world.submit(spec())
    world.run(ticks=6)
    assert known(world, "T-1").status == "parked"
    return world


def test_the_tasks_of_a_defect_that_cannot_be_read_stay_as_they_are(tmp_path):
    world = parked(tmp_path)
    (defect,) = world.world.store.defects()
    damage(world, "defect")
    world.submit(spec("T-2"), wave="w2")
    world.run(ticks=6)
    assert known(world, "T-2").status == "accepted"
    assert known(world, "T-1").status == "parked"
    here = look(world)
    assert set(here.needs_you) == {"T-1", defect.fixed_by}
    assert [(one.kind, one.id) for one in here.damaged] == [("defect", defect.id)]
    (mapped,) = (one for one in here.tasks if one.id == "T-1")
    assert f"defect {defect.id}: its row in " in mapped.next.reason


def test_a_defect_that_cannot_be_read_is_not_begun_anew_in_its_place(tmp_path):
    """Its issue is found by the cause; a second task to fix it would be made, and its past lost."""
    world = parked(tmp_path)
    damage(world, "defect")
    world.script = {**world.script, ("T-2", 1): BLOCKED}
    world.submit(spec("T-2"), wave="w2")
    results = world.run(ticks=4)
    said = [one.said for result in results for one in result.done if one.result == "failed"]
    assert said
    assert said[0].startswith("D-1 is recorded for this: its row in ")
    assert world.world.store.defects() == []
    assert [action for action, _ in world.actions()].count("split-defect") == 1
    assert len(list((tmp_path / "issues").glob("*.md"))) == 1


def test_the_tasks_of_a_wave_that_cannot_be_read_wait_and_nothing_is_granted(tmp_path):
    world = SmallWorld(tmp_path, {})
    given = Grants(production_repair=True, established_deploy_path=True)
    world.submit(spec(), grants=given)
    world.submit(spec("T-2"), wave="w2", grants=given)
    damage(world, "wave", "id = 'w1'")
    assert Observer(world.world, HOW).observe().wave.grants == Grants()
    world.run(ticks=5)
    assert known(world, "T-2").status == "accepted"
    assert known(world, "T-1").status == "planned"
    here = look(world)
    assert here.needs_you == ("T-1",)
    assert [(one.kind, one.id) for one in here.damaged] == [("wave", "w1")]
    assert "NEEDS YOU (2)\n  wave w1 cannot be read: its row in " in shown(world)


def test_an_outcome_that_cannot_be_read_counts_against_the_window(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec(), spec("T-2"))
    world.run(ticks=4)
    keys = world.world.state._db.execute("SELECT key FROM outcome").fetchall()
    (key,) = (key for (key,) in keys if "/T-1/" in key)
    damage(world, "outcome", f"key = '{key}'")
    world.submit(spec("T-3"), wave="w3")
    world.run(ticks=4)
    assert known(world, "T-3").status == "accepted"
    outcomes = Observer(world.world, HOW).observe().window.outcomes
    results = {one.task: one.result for one in outcomes}
    assert results == {"T-2": "accepted", "T-3": "accepted", key: "failed"}
    assert [(one.kind, one.id) for one in look(world).damaged] == [("outcome", key)]
    assert f"NEEDS YOU (1)\n  outcome {key} cannot be read: its row in " in shown(world)


def asked(folder) -> SmallWorld:
    """T-1 waits for a person's word."""
    world = SmallWorld(folder, {("T-1", 1): Turn(commit="d" * 40, checks="AssertionError")})
    world.submit(spec())
    world.run(world.ticker("approve"), ticks=1)
    assert [one.proposal.action for one in world.world.approvals.requests(live=True)] == [
        Action.SUBMIT
    ]
    return world


def test_a_request_that_cannot_be_read_is_shown_and_nobody_can_answer_it(tmp_path):
    world = asked(tmp_path)
    damage(world, "request")
    world.run(world.ticker("approve"), ticks=3)
    answering = Answering(world.world, POLICY, "ana")
    assert answering.waiting() == []
    with pytest.raises(UserError, match="A-1 cannot be read, so nobody can answer it: its row"):
        answering.request("A-1")
    here = look(world)
    assert here.needs_you == ("T-1",)
    assert [(one.kind, one.id) for one in here.damaged] == [("request", "A-1")]
    assert known(world, "T-1").status == "planned"


def test_what_was_approved_and_cannot_be_read_is_not_carried_out(tmp_path):
    world = asked(tmp_path)
    answering = Answering(world.world, POLICY, "ana")
    (request,) = answering.waiting()
    answering.approve(request, via="command", looked=None)
    damage(world, "request")
    world.clock.move(timedelta(days=30).total_seconds())
    world.run(world.ticker("approve"), ticks=3)
    assert world.actions() == []
    assert look(world).needs_you == ("T-1",)


def test_what_is_repaired_goes_on(tmp_path):
    world = parked(tmp_path)
    (before,) = world.world.store.defects()
    ticker = world.ticker()
    damage(world, "defect")
    ticker.tick()
    assert "T-1" in look(world).needs_you
    fixed = Defect.model_validate({**before.model_dump(by_alias=False), "status": "fixed"})
    world.world.store.save_defect(fixed)
    world.run(ticker, ticks=4)
    assert known(world, "T-1").status == "accepted"
    assert look(world).damaged == ()
