"""What fails in the same way again and again waits longer each time, and a person is shown it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from agent.errors import IssuesUnavailableError, NothingDoneError
from agent.runtime.context import Supervision
from agent.runtime.status import StatusReader
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

HOW = Supervision(policy=POLICY, mode="auto", interval=300.0)
MISSING = "sh: 1: demo-lint: command not found"


class Refusing:
    """An issue tracker in which nothing can be opened."""

    def __init__(self, issues, error: Callable[[int], Exception | None]):
        self._issues, self._error, self.asked = issues, error, []

    def __getattr__(self, name):
        return getattr(self._issues, name)

    def open(self, *arguments):
        self.asked.append(self._clock.now())
        if (error := self._error(len(self.asked))) is not None:
            raise error
        return self._issues.open(*arguments)


@pytest.fixture
def world(tmp_path):
    return SmallWorld(tmp_path, {("T-1", 1): Turn(commit="d" * 40, checks=MISSING)})


def supervise(world, error, ticks) -> list[float]:
    """At which minutes an issue was to be opened."""
    issues = Refusing(world.world.issues, error)
    issues._clock, begun = world.clock, world.clock.now()
    world.wrap = lambda ports: replace(ports, issues=issues)
    world.submit(spec(), spec("T-2"))
    world.run(ticks=ticks)
    return [round((at - begun).total_seconds() / 60) for at in issues.asked]


def outage(number):
    return IssuesUnavailableError(f"the tracker answered 503 (request {number})")


def refusal(number):
    return NothingDoneError(f"the tracker refuses it (request {number})")


@pytest.mark.parametrize("error", [outage, refusal], ids=["an outage", "a refusal"])
def test_the_same_failure_is_met_less_and_less_often_and_is_shown(world, error):
    tries = supervise(world, error, 60)
    pauses = [later - before for before, later in pairwise(tries)]
    # Three in a row, a tick apart; then five minutes that double, seen at the next tick.
    assert pauses[:2] == [1, 1]
    assert all(
        wait <= seen <= wait + 2 for wait, seen in zip((5, 10, 20), pauses[2:], strict=False)
    )
    assert len(tries) == 6
    assert world.outcome()["T-2"] == ("accepted", 1)
    here = StatusReader(world.world, HOW).look("me")
    assert here.needs_you == ("T-1",)
    (mapped,) = (one for one in here.tasks if one.id == "T-1")
    assert mapped.next.action == "leave-alone"
    assert mapped.next.reason.startswith("open-issue failed 6 times in the same way, and is tried")
    assert mapped.next.reason.endswith(f": {error(6)}")


def test_what_fails_differently_each_time_is_tried_each_time(world):
    words = ["no route", "no name", "no answer", "no key", "no right", "no luck"]
    tries = supervise(world, lambda number: IssuesUnavailableError(words[number % 6]), 13)
    assert len(tries) >= 10


def test_what_succeeds_after_a_pause_goes_on_and_is_forgotten(world):
    tries = supervise(world, lambda number: outage(number) if number <= 4 else None, 60)
    assert len(tries) >= 5
    record = world.world.store.task_record("T-1")
    assert (record.status, record.failing) == ("accepted", None)


def test_on_another_basis_it_is_tried_at_once(world):
    tries = supervise(world, outage, 7)
    assert len(tries) == 3
    world.script = {**world.script, ("T-1", 2): Turn(commit="e" * 40, checks=MISSING)}
    world.queue.retry("T-1", attempt=2, prompt="by hand", fresh_session=False, key="person")
    results = world.run(ticks=5)
    said = [
        one.said for result in results for one in result.done if one.proposal.action == "open-issue"
    ]
    assert len(said) == 3
