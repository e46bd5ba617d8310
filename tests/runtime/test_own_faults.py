"""A bug of our own: one task cannot be read then, or one tick fails; the others go on."""

import threading
from dataclasses import replace

import pytest

from agent.adapters.common.lock import FileLock
from agent.core.assess import proof
from agent.core.journal.records import Record
from agent.core.plan import next_action
from agent.errors import JournalBrokenError
from agent.runtime.context import Supervision
from agent.runtime.loop import Loop
from agent.runtime.replay import replay, select_sessions
from agent.runtime.status import StatusReader
from tests.simulation.small_world import POLICY, START, SmallWorld, Turn, spec

HOW = Supervision(policy=POLICY, mode="auto", interval=300.0)


def buggy(inner):
    """Raises when it is about T-1, unless that is known to be unreadable."""

    def call(about, *others, **named):
        task = getattr(about, "spec", getattr(about, "task", about))
        if task.id == "T-1" and getattr(task, "unreadable", None) is None:
            raise LookupError("no such colour")
        return inner(about, *others, **named)

    return call


class Buggy:
    """A port with one such method."""

    def __init__(self, inner, method):
        self._inner, self._method = inner, method

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        return buggy(found) if name == self._method else found


def probes(ports):
    return replace(ports, probes=tuple(Buggy(one, "probe") for one in ports.probes))


def drafter(ports):
    return replace(ports, drafter=Buggy(ports.drafter, "draft"))


WHERE = {
    "an evidence probe": ("submitted", probes, None),
    "a drafter": ("submitted", drafter, None),
    "an assessment": ("planned", None, (proof, "assess")),
    "a plan": ("planned", None, (next_action, "_planned")),
}


@pytest.mark.parametrize(("ends", "wrap", "place"), WHERE.values(), ids=WHERE)
def test_a_bug_about_one_task_is_that_tasks_trouble(tmp_path, monkeypatch, ends, wrap, place):
    world = SmallWorld(tmp_path, {("T-1", 1): Turn(commit="d" * 40, checks="AssertionError")})
    world.submit(spec(), spec("T-2"))
    started = {"who": "me", "mode": "auto", "policy": POLICY.hash}
    journal = world.world.journal
    journal.append([Record(kind="start", at=START, tick=0, body=started)])
    with monkeypatch.context() as patch:
        if place is None:
            world.wrap = wrap
        else:
            patch.setattr(*place, buggy(getattr(*place)))
        results = world.run(ticks=6)
        assert len(results) == 6
        assert world.world.store.task_record("T-2").status == "accepted"
        assert world.world.store.task_record("T-1").status == ends
        task = next(one for one in results[-1].snapshot.tasks if one.id == "T-1")
        assert task.unreadable == "a bug: LookupError: no such colour"
        shown = StatusReader(world.wrap(world.world), HOW).look("me")
        if place is not None:  # else it is read, and only what is drawn does not meet the bug
            assert shown.needs_you == ("T-1",)
    # It was unreadable in what was decided from, so without the bug the same is decided.
    assert replay(journal, select_sessions(journal, "all"), POLICY).differing == []
    world.wrap = lambda ports: ports
    world.run(ticks=9)
    assert world.outcome()["T-1"] == ("accepted", 2)


class Breaking:
    """A machine of which nobody can say what has to do with which task."""

    def __init__(self, error, times):
        self.error, self.times = error, times

    def free_memory(self):
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return 2**40


def supervise(folder, machine, give_up_after):
    small, reports, ticks = SmallWorld(folder, {}), [], []
    small.submit(spec())
    loop = Loop(
        replace(small.world, machine=machine),
        Supervision(policy=POLICY, mode="auto", interval=0.001),
        FileLock(folder / "lock"), "me", ticks.append, reports.append,
    )  # fmt: skip
    try:
        stop = threading.Event()
        loop.run(stop, until=lambda _: len(ticks) >= 2, give_up_after=give_up_after)
    finally:
        small.reports = reports
    return small


def test_a_tick_that_fails_with_a_bug_is_reported_and_the_loop_goes_on(tmp_path):
    small = supervise(tmp_path, Breaking(LookupError("no such colour"), 3), 10)
    assert (
        small.reports
        == ["this tick failed and is tried again: a bug: LookupError: no such colour"] * 3
    )
    assert small.queue.get("T-1") is not None


@pytest.mark.parametrize(
    ("error", "give_up_after"),
    [
        pytest.param(LookupError("no such colour"), 4, id="a bug in every tick"),
        pytest.param(JournalBrokenError("record 3 is not"), 99, id="a broken journal, at once"),
    ],
)
def test_a_bug_that_stays_ends_the_loop_as_what_it_is(tmp_path, error, give_up_after):
    machine = Breaking(error, 99)
    with pytest.raises(type(error), match=str(error)):
        supervise(tmp_path, machine, give_up_after)
    assert 99 - machine.times == (4 if give_up_after == 4 else 1)
