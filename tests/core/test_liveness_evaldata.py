"""Real sessions replayed, where the collection is at hand.

A turn counts as unattended when its agent asks nobody (permission modes `never` and
`bypassPermissions`) and it ran to its end; in the others a long gap may be a person at lunch.
"""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise, takewhile

from agent.core.assess.liveness import Liveness, assess
from agent.core.model.nouns import Heartbeat, Trace
from tests.core import worlds as w

LIVENESS = w.policy().liveness
IDLE = "i"
"""What a session that has ended its turn waits with."""


def unattended() -> list[list[float]]:
    """When something was heard in each healthy unattended turn, in seconds from its begin."""
    turns = [
        [at for at, _, _ in takewhile(lambda event: event[2] != IDLE, row["events"])]
        for row in w.collected("session_timelines")
        if row["expected"] == "live_until_done" and row["mode"] in ("never", "bypassPermissions")
    ]
    assert len(turns) > 150
    return [turn for turn in turns if turn]


def polls(events: list[float], until: float, phase: float = 0.0) -> Iterator[tuple[float, float]]:
    """When it is polled, and what was last heard by then.

    At the cadence, and at the end of each silence of ten seconds and more, when it is longest.
    """
    ticks = [phase + LIVENESS.cadence * n for n in range(int(until // LIVENESS.cadence) + 1)]
    ends = [later - 0.001 for before, later in pairwise(events) if later - before >= 10]
    heard = 0
    for at in sorted({*ticks, *ends}):
        while heard + 1 < len(events) and events[heard + 1] <= at:
            heard += 1
        if events[heard] <= at <= until:
            yield at, events[heard]


def replay(
    events: list[float], until: float, phase: float = 0.0
) -> Iterator[tuple[float, Liveness]]:
    """What each poll says of a worker that beats with each event of its trace."""
    at_risk, counted = 0, float("-inf")
    for at, last in polls(events, until, phase):
        now, heard = w.NOW + timedelta(seconds=at), w.NOW + timedelta(seconds=last)
        ends = heard + timedelta(seconds=LIVENESS.show_after)
        task = w.running(
            started_at=w.NOW + timedelta(seconds=events[0]),
            heartbeat=Heartbeat(at=heard, expires_at=ends, attempt=1, origin="worker"),
            trace=Trace(last_event_at=heard, attempt=1),
            at_risk_polls=at_risk,
        )
        said = assess(task, now, LIVENESS)
        yield at, said
        if said.effective == "live":
            at_risk = 0
        elif at - counted >= LIVENESS.poll_spacing:
            at_risk, counted = at_risk + 1, at


def test_a_healthy_turn_is_hardly_ever_shown_and_never_acted_on():
    shown = 0
    turns = unattended()
    for events in turns:
        said = [one for _, one in replay(events, events[-1])]
        assert not any(one.actionable for one in said)
        shown += any(one.effective == "at-risk" for one in said)
    assert shown / len(turns) < 0.005


def test_nor_at_a_third_of_its_pace():
    """The longest healthy gap known anywhere is 1,074 s; the longest here becomes 1,052 s."""
    for events in unattended():
        slow = [3 * at for at in events]
        assert not any(one.actionable for _, one in replay(slow, slow[-1]))


def test_a_turn_that_hangs_is_acted_on_in_time():
    """Every turn is cut in its middle; the poll comes soon after, later, or just before the cut."""
    for number, events in enumerate(unattended()):
        cut = events[: len(events) // 2 + 1]
        phase = (1.0, 120.0, 299.0)[number % 3]
        acted = [at for at, one in replay(cut, cut[-1] + 3000, phase) if one.actionable]
        assert LIVENESS.act_after <= acted[0] - cut[-1] <= 1500
