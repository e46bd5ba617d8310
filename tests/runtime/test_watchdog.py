"""When an agent has stalled: pure looks at what it printed and when."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.model.agent_events import (
    Denied,
    FileChanged,
    Limit,
    Message,
    Retrying,
    ToolFinished,
    ToolStarted,
    Unknown,
)
from agent.core.model.queueing import NewEvent
from agent.runtime.watchdog import StallLimits, Watchdog

START = datetime(2026, 11, 28, tzinfo=UTC)
LIMITS = StallLimits(quiet=100.0, tool=1000.0, understood=True)
AGAIN = Retrying("overloaded", 529, 8.0)
BEGIN, END = ToolStarted("Bash", "make"), ToolFinished("Bash", ok=True)


def after(seconds):
    return START + timedelta(seconds=seconds)


def watched(story, limits=LIMITS, *, adopted=False):
    """A watchdog that has heard (second, event) one by one."""
    dog = Watchdog(limits, START, adopted=adopted)
    for at, event in story:
        kind, text = (event, "") if isinstance(event, str) else (event.kind, event.words)
        dog.hear([NewEvent(at=after(at), kind=kind, text=text)], after(at))
    return dog


STORIES = [
    pytest.param([], 100, "stalled", id="nothing at all"),
    pytest.param([(60, Message("hm"))], 160, "stalled", id="a message"),
    pytest.param([(60, FileChanged("a"))], 160, "stalled", id="a file"),
    pytest.param([(60, Denied("Bash"))], 160, "stalled", id="a denied tool"),
    pytest.param([(60, Unknown("..."))], 100, "stalled", id="what nobody understands"),
    pytest.param([(60, Limit())], 100, "stalled", id="a limit"),
    pytest.param([(60, AGAIN), (90, AGAIN)], 100, "overloaded", id="it only tries again"),
    pytest.param([(60, AGAIN), (90, Message("x"))], 190, "stalled", id="it tried and went on"),
    pytest.param([(60, "retrying")], 100, "stalled", id="a retry without a class"),
    pytest.param([(60, BEGIN)], 1060, "stalled", id="in a tool"),
    pytest.param([(60, BEGIN), (500, END)], 600, "stalled", id="a tool that ended"),
    pytest.param([(10, BEGIN), (20, BEGIN), (30, END)], 1030, "stalled", id="one of two tools"),
    pytest.param([(10, END), (20, BEGIN), (30, END)], 130, "stalled", id="an end without a start"),
]


@pytest.mark.parametrize(("story", "at", "class_"), STORIES)
def test_an_agent_has_stalled_from_a_second_on(story, at, class_):
    dog = watched(story)
    assert dog.bite(after(at - 0.1)) is None
    assert dog.bite(after(at)).class_ == class_


def test_sleep_does_not_count():
    dog = watched([])
    dog.leave_out(timedelta(hours=9))
    assert dog.bite(after(9 * 3600 + 99)) is None
    assert dog.bite(after(9 * 3600 + 100)) is not None


def test_an_adopted_agent_may_be_in_a_tool():
    assert watched([], adopted=True).bite(after(999)) is None
    assert watched([], adopted=True).bite(after(1000)).why == "a tool ran for 1000 s without an end"
    assert watched([(5, END)], adopted=True).bite(after(105)).why == "no progress for 100 s"


@pytest.mark.parametrize("kind", ["text", "retrying", "tool_started", "anything"])
def test_each_line_of_other_agents_is_progress_and_never_a_tool(kind):
    limits = StallLimits(quiet=100.0)
    dog = watched([(60, kind)], limits, adopted=True)
    assert dog.bite(after(159)) is None
    assert dog.bite(after(160)).class_ == "stalled"


def test_without_a_limit_nothing_stalls():
    assert watched([], StallLimits(understood=True)).bite(after(10**6)) is None
