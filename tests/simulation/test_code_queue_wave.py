"""A whole wave through the stand-in Code Queue: submitted, run, sent back, accepted, marked."""

from dataclasses import replace

import pytest

from agent.runtime.effects import order_of
from tests.adapters.code_queue_world import BothSides, Fault, bench
from tests.simulation.small_world import HONEST, QUEUES, SmallWorld, Turn, spec
from tests.standins.code_queue import serving

JQ = "check.sh: line 2: jq: command not found"
SCRIPT = {
    ("T-1", 1): HONEST,
    ("T-2", 1): replace(HONEST, checks="assert 1 == 2"),
    ("T-3", 1): Turn(),
}
ENDED = {"T-1": ("accepted", 1), "T-2": ("accepted", 2), "T-3": ("accepted", 2)}


@pytest.fixture(scope="module")
def server():
    with serving() as here:
        yield here


class CodeQueueWorld(SmallWorld):
    """The small world, with a Code Queue as its queue."""

    def over(self, found):
        found.clock.move = found.clock.advance
        self.clock = found.clock
        self.queue = BothSides(found, self._told)
        self.world = replace(self.world, queue=found.queue, clock=found.clock)
        return self

    def outcome_of(self, task):
        return self.world.store.task_record(task).status

    def _told(self, prompt):
        (one,) = (one for one in self.world.store.task_records() if one.prompt == prompt)
        return one.spec.id, order_of(one.spec, one.wave)


@pytest.fixture
def start(tmp_path, server):
    opened = []

    def open_ports(script, **how):
        opened.append(bench(tmp_path, server, queues=QUEUES, **how))
        found = opened[-1].__enter__()
        return found, CodeQueueWorld(tmp_path, script).over(found)

    yield open_ports
    for one in opened:
        one.__exit__(None, None, None)


def attempts(found):
    """Tasks and attempts that the stand-in has, and what is unread there."""
    tasks = found.service.queue.changed_since(None).tasks
    found.mend()
    return sorted(one.attempt for one in tasks), sum(one.unread for one in found.queue.queues())


FAULTS = {
    "nothing": [],
    "lost acknowledgements": [
        Fault("lost-answer", call="submit"),
        Fault("lost-answer", call="retry"),
    ],
    "lost, and nothing to read back": [
        Fault("lost-answer", call="submit", times=1),
        Fault("html", call="queues", skip=3, times=2),
        Fault("lost-answer", call="retry", times=1),
    ],
    "HTML now and then": [Fault("html", skip=number, times=1) for number in (2, 5, 9, 14, 20, 27)],
    "half answers now and then": [Fault("truncated", skip=n, times=1) for n in (3, 7, 8, 13, 21)],
    "a split brain": [Fault("split-brain")],
    "no idempotency keys": [Fault("no-keys"), Fault("lost-answer", call="submit", times=2)],
}


LONG = {"lost acknowledgements", "half answers now and then", "a split brain"}
"""Of which the adapter's own tests show the parts."""


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.long] * (one in LONG)) for one in FAULTS]
)
def test_a_wave_ends_as_it_should_whatever_the_queue_answers(start, name):
    found, world = start(SCRIPT, keys=name != "no idempotency keys")
    found.service.faults += [replace(one) for one in FAULTS[name]]
    world.submit(spec("T-1"), spec("T-2"), spec("T-3"))
    world.run()
    assert world.outcome() == ENDED
    assert attempts(found) == ([1, 2, 2], 0)


def test_a_shared_defect_is_fixed_through_the_code_queue(start):
    found, world = start({("T-1", 1): replace(HONEST, checks=JQ)})
    world.submit(spec("T-1"))
    world.run()
    ended = world.outcome()
    (fix,) = set(ended) - {"T-1"}
    # The agent had done its part: it is judged again after the fix, and not sent back.
    assert (ended["T-1"], ended[fix]) == (("accepted", 1), ("accepted", 1))
    assert world.actions("T-1").count(("judge", "T-1")) == 2
    queues = {one.id: one.counts["succeeded"] for one in found.queue.queues()}
    assert queues == {"main": 1, "infra": 1}


def test_a_queue_that_is_never_right_causes_no_action(start):
    found, world = start({})
    world.submit(spec("T-1"))
    world.run(ticks=1)
    world.submit(spec("T-2"), wave="w2")
    acts = ("submit", "retry", "interrupt", "cancel", "move", "read")
    for fault in ("html", "truncated", "lost-answer", "slow"):
        found.mend()
        found.fault(fault, seconds=0)
        if fault == "slow":  # slow and then wrong
            found.fault("html")
        before = [found.sent(act) for act in acts]
        result = world.ticker().tick()
        assert result.snapshot.control_plane.reachable is False
        assert all(task.probe != "ok" for task in result.snapshot.tasks if task.id == "T-1")
        assert [found.sent(act) for act in acts] == before
        world.clock.move(300)
    found.mend()
    world.run()
    assert set(world.outcome().values()) == {("accepted", 1)}


def test_ways_that_disagree_cause_no_action(start):
    found, world = start(
        {("T-1", 1): replace(HONEST, checks="assert 1 == 2")}, ways=("cli", "http")
    )
    world.submit(spec("T-1"))
    world.run(ticks=1)
    found.fault("disagree", way="cli")
    sent = found.sent("retry")
    result = world.ticker().tick()
    (task,) = result.snapshot.tasks
    assert task.probe == "failed"
    assert any("proxy-divergence" in one for one in result.snapshot.control_plane.diagnostics)
    assert found.sent("retry") == sent


@pytest.mark.parametrize("fault", ["html", "truncated", "lost-answer"])
def test_what_the_queue_no_longer_shows_is_not_accepted(start, fault):
    found, world = start({})
    world.submit(spec("T-1"))
    ticker = world.ticker()
    for _ in range(3):
        ticker.tick()
        world.host()
    assert world.actions("T-1")[-1] == ("judge", "T-1")
    found.fault(fault)
    result = ticker.tick()
    assert [one.result for one in result.done] in ([], ["void"])
    assert world.outcome_of("T-1") == "submitted"
    found.mend()
    ticker.tick()
    assert world.outcome_of("T-1") == "accepted"


def test_a_split_brain_task_that_works_is_left_alone(start):
    found, world = start({("T-1", 1): Turn(vanish=True)})
    world.submit(spec("T-1"))
    world.ticker().tick()
    world.host()
    lease = world.leases["T-1"]
    found.fault("split-brain")
    for _ in range(3):
        world.clock.move(30)
        world.queue.beat(lease, found.world().events("at it"), extend=600)
        result = world.ticker().tick()
        (task,) = result.snapshot.tasks
        (decision,) = (one for one in result.decisions if one.proposal.task == "T-1")
        assert (task.status, task.control_plane.status) == ("running", "failed")
        assert decision.proposal.action == "leave-alone"
    assert "effectiveLiveness=live" in result.snapshot.control_plane.diagnostics


@pytest.mark.long
@pytest.mark.parametrize("ways", [("cli",), ("cli", "http"), ("http", "cli")], ids="+".join)
def test_a_wave_by_the_real_command_line(start, ways):
    found, world = start(SCRIPT, ways=ways)
    world.submit(spec("T-1"), spec("T-2"), spec("T-3"))
    world.run()
    assert world.outcome() == ENDED
    assert attempts(found) == ([1, 2, 2], 0)


def test_one_task_by_command_line_and_proxy(start):
    found, world = start({}, ways=("cli", "http"))
    world.submit(spec("T-1"))
    world.run()
    assert world.outcome() == {"T-1": ("accepted", 1)}
    assert {way for way, _ in found.service.calls} == {"cli", "http"}
    assert {way for way, call in found.service.calls if call in ("submit", "read")} == {"cli"}
