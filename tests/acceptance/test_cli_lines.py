"""What `run` prints when nobody watches a table: one line per change, nothing twice."""

import re

import pytest

from agent.cli.run import Lines
from agent.cli.views import duration
from tests.simulation.small_world import SmallWorld, Turn, spec

STAMP = re.compile(r"2026-11-22T1\d:\d\d:\d\dZ tick (\d+) (.*)")


def told(results, *, sentences=True):
    """(tick, what was said) of every line."""
    lines = Lines()
    found = [line for one in results for line in lines.of(one, sentences=sentences)]
    return [(int(tick), said) for tick, said in (STAMP.fullmatch(one).groups() for one in found)]


def test_each_action_is_one_line_with_its_reason_and_what_came_of_it(tmp_path):
    world = SmallWorld(tmp_path, {("T-1", 1): Turn()})
    world.submit(spec())
    said = [line for _, line in told(world.run())]
    assert said[0] == "T-1 submit: planned, and nothing blocks it -> submitted to main"
    assert said[2].startswith("T-1 retry: no commit was pushed: origin has no branch")
    assert said[2].endswith("-> attempt 2 queued under the same identity")
    assert said[-1].startswith(
        "T-1 accept: all evidence is observed and every criterion is met -> "
    )


def test_a_tick_in_which_nothing_was_done_is_told_only_if_it_is_news(tmp_path):
    world = SmallWorld(tmp_path, {})
    ticker = world.ticker()
    results = [ticker.tick() for _ in range(3)]
    assert told(results) == [(1, "Nothing to do.")]
    assert told(results, sentences=False) == []
    world.submit(spec())
    results += [ticker.tick() for _ in range(2)]
    ticks = [tick for tick, _ in told(results)]
    assert ticks == [1, 4, 5]  # after a change, the silence is news again


def test_what_observe_proposes_is_told_once(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec("T-1"), spec("T-2"))
    ticker = world.ticker(mode="observe")
    results = [ticker.tick() for _ in range(3)]
    front = "submit proposed: planned, and nothing blocks it (refused: observe_never_acts"
    said = told(results)
    assert [tick for tick, _ in said] == [1, 1]
    assert all(front in line for _, line in said)


def test_a_task_that_cannot_be_read_is_told_once(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec())
    ticker = world.ticker()
    results = [ticker.tick()]
    world.queue._db.execute("UPDATE task SET \"order\" = '{}', revision = revision + 1")
    world.queue._db.execute("UPDATE store SET revision = revision + 1")
    results += [ticker.tick() for _ in range(2)]
    said = [(tick, line) for tick, line in told(results) if "cannot be read" in line]
    assert [tick for tick, _ in said] == [2]
    assert said[0][1].startswith("T-1 cannot be read: its row in the queue: ")


DURATIONS = [
    pytest.param(None, "", id="unknown"),
    pytest.param(0.9, "0s", id="less than a second"),
    pytest.param(59.9, "59s", id="seconds"),
    pytest.param(61, "1m", id="minutes"),
    pytest.param(3600 + 5 * 60, "1h05m", id="hours"),
    pytest.param(50 * 3600, "2d02h", id="days"),
]


@pytest.mark.parametrize(("seconds", "words"), DURATIONS)
def test_durations_are_short(seconds, words):
    assert duration(seconds) == words
