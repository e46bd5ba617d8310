"""Healthy turns of real sessions are never stopped, and turns that hang are found in time.

The definitions are those of tests/core/test_liveness_evaldata.py, whose helpers are used here; what
is polled once there is polled at three phases here.
Ends with 1 if a target is missed, and with 2 if a collection is not there.

    python benchmarks/liveness.py [FOLDER]
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases import Row, report
from tests.core import test_liveness_evaldata as living

NEEDED = ("session_timelines",)
PHASES = (1.0, 120.0, 299.0)
"""Seconds from the begin of a turn to its first poll: soon after, later, just before the next."""
PATIENCE = 3000
"""Seconds for which a turn that hangs is polled on."""
SHOWN_AT_MOST = 0.005
RECOVERED_WITHIN = 1500


def liveness(_folder: Path) -> Iterator[Row]:
    turns = living.unattended()
    yield from healthy(turns)
    yield from hanging(turns)


def healthy(turns: list[list[float]]) -> Iterator[Row]:
    """Healthy turns polled to their end, at every phase of the cadence."""
    shown = interrupted = 0
    for events in turns:
        said = [one for phase in PHASES for _, one in living.replay(events, events[-1], phase)]
        shown += any(one.effective == "at-risk" for one in said)
        interrupted += any(one.actionable for one in said)
    share = shown / len(turns)
    what = f"of {len(turns)} healthy turns"
    yield f"interrupted {what}", f"{interrupted}", "0", interrupted == 0
    yield f"shown at risk {what}", f"{shown} = {share:.2%}", "< 0.50%", share < SHOWN_AT_MOST


def hanging(turns: list[list[float]]) -> Iterator[Row]:
    """Turns cut in their middle: seconds from the last event to the stop that is proposed."""
    waits: list[float] = []
    for events in turns:
        cut = events[: len(events) // 2 + 1]
        for phase in PHASES:
            acted = (
                at for at, one in living.replay(cut, cut[-1] + PATIENCE, phase) if one.actionable
            )
            waits.append(next(acted, float("inf")) - cut[-1])
    what = f"of {len(waits)} truncated copies"
    early = sum(wait < living.LIVENESS.act_after for wait in waits)
    yield f"stopped too early {what}", f"{early}", "0", early == 0
    yield f"recovered after, median {what}", f"{statistics.median(waits):,.1f} s", "", True
    longest = max(waits)
    met = longest <= RECOVERED_WITHIN
    yield f"recovered after, longest {what}", f"{longest:,.1f} s", "<= 1,500 s", met


if __name__ == "__main__":
    report(__doc__, NEEDED, liveness)
