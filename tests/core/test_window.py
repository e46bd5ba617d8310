from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.assess import liveness, window
from agent.core.assess.window import Lanes
from agent.core.model.nouns import Outcome, Snapshot, Status, Task
from agent.core.plan.planner import decide
from tests.core import worlds as w


def assess(snapshot: Snapshot) -> Lanes:
    policy = w.policy()
    verdicts = {one.id: liveness.assess(one, w.NOW, policy.liveness) for one in snapshot.tasks}
    return window.assess(snapshot, verdicts, policy.window)


def lanes(number: int, **over: Any) -> list[Task]:
    """So many healthy tasks with distinct write scopes."""
    return [
        w.running(**{"id": f"T-{n}", "write_scope": (f"services/{n}/**",)} | over)
        for n in range(number)
    ]


def earned(*tasks: Task, limit: int | None = 2, **over: Any) -> Snapshot:
    """A world in which everything speaks for another lane, when two tasks are at work."""
    known = {"limit": limit, "outcomes": w.outcomes(10, 0)}
    return w.world(*tasks, window=known | over)


MOVES = [
    pytest.param(earned(*lanes(2)), "widen", "earned", id="all is well"),
    pytest.param(earned(*lanes(2), outcomes=w.outcomes(9, 0)), "hold", "too few", id="9 outcomes"),
    pytest.param(earned(*lanes(2), outcomes=()), "hold", "too few", id="no outcomes"),
    pytest.param(earned(*lanes(2), outcomes=w.outcomes(17, 3)), "hold", "",
                 id="17 of 20 is good and not good enough"),
    pytest.param(earned(*lanes(2), outcomes=w.outcomes(19, 1)), "widen", "earned", id="19 of 20"),
    pytest.param(earned(*lanes(2), outcomes=w.outcomes(6, 4)), "hold", "", id="6 of 10"),
    pytest.param(earned(*lanes(2), outcomes=w.outcomes(5, 5)), "narrow", "slipping", id="5 of 10"),
    pytest.param(earned(*lanes(2), outcomes=w.outcomes(0, 20, attributable=False)), "hold",
                 "too few", id="infrastructure's faults are nobody's"),
    pytest.param(earned(*lanes(2), outcomes=w.outcomes(12, 0)
                        + w.outcomes(0, 20, attributable=False)), "widen", "earned",
                 id="infrastructure's faults beside good work"),
    pytest.param(earned(*lanes(2), outcomes=w.outcomes(0, 10, result="replaced")), "narrow",
                 "slipping", id="a replacement is no success"),
    pytest.param(earned(*lanes(1), limit=1, outcomes=w.outcomes(0, 10)), "hold", "",
                 id="one lane always stays"),
    pytest.param(earned(outcomes=w.outcomes(0, 10)), "narrow", "slipping",
                 id="backing off needs no busy lanes"),
    pytest.param(earned(*lanes(10), limit=10), "hold", "maximum", id="the hard maximum"),
    pytest.param(earned(*lanes(10), limit=99), "hold", "maximum", id="a limit over the maximum"),
    pytest.param(earned(*lanes(9), limit=9), "widen", "earned", id="one below the maximum"),
    pytest.param(earned(*lanes(5), limit=None), "hold", "not known", id="no limit is known"),
    pytest.param(earned(*lanes(1)), "hold", "free lanes", id="a lane is free"),
    pytest.param(earned(*lanes(1), w.ended(inspected=False)), "hold", "unread", id="unread"),
    pytest.param(earned(*lanes(1), w.silent(400, id="T-9")), "hold", "at risk", id="at risk"),
    pytest.param(earned(*lanes(2, write_scope=("a/**",))), "hold", "overlap", id="one scope"),
    pytest.param(earned(*lanes(2, write_scope=None)), "hold", "unknown", id="scopes unknown"),
    pytest.param(earned(*lanes(2, write_scope=())), "hold", "unknown", id="scopes empty"),
    pytest.param(earned(*lanes(2), changed_at=w.ago(899), outcomes=w.outcomes(10, 0)), "hold",
                 "too recent", id="changed 899 s ago"),
    pytest.param(earned(*lanes(2), changed_at=w.ago(900), outcomes=w.outcomes(10, 0)), "widen",
                 "earned", id="changed 900 s ago"),
    pytest.param(earned(*lanes(2), changed_at=w.ago(899), outcomes=w.outcomes(0, 10)), "hold",
                 "changed just now", id="nor is it narrowed again at once"),
    pytest.param(earned(*lanes(2), changed_at=w.ago(1000), outcomes=w.outcomes(10, 0, 1001)),
                 "hold", "too few", id="outcomes before the change"),
    pytest.param(earned(*lanes(2), changed_at=w.ago(1000), outcomes=w.outcomes(10, 0, 1000)),
                 "widen", "earned", id="outcomes at the change"),
]  # fmt: skip


@pytest.mark.parametrize(("snapshot", "action", "reason"), MOVES)
def test_how_the_window_moves(snapshot, action, reason):
    said = assess(snapshot)
    assert said.action == action
    assert reason in said.reason


@pytest.mark.parametrize(
    ("task", "holds"),
    [
        *(pytest.param(w.task(one), one in ("queued", "running", "judging"), id=one)
          for one in Status if one not in ("succeeded", "failed", "lost", "cancelled")),
        *(pytest.param(w.ended(one, inspected=read), not read, id=f"{one}, {said}")
          for one in ("succeeded", "failed", "lost", "cancelled")
          for read, said in ((True, "read"), (False, "unread"), (None, "perhaps unread"))),
    ],
)  # fmt: skip
def test_which_tasks_hold_a_lane(task, holds):
    assert window.holds_a_lane(task) is holds


@pytest.mark.parametrize(("busy", "free"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_free_lanes_are_never_fewer_than_none(busy, free):
    assert assess(earned(*lanes(busy))).free == free


@pytest.mark.parametrize(
    ("held", "waits"),
    [
        pytest.param({"T-1": "accepted", "T-2": "accepted"}, (), id="all accepted"),
        pytest.param({"T-1": "accepted", "T-2": None}, ("T-2",), id="one only succeeded"),
        pytest.param({"T-1": "accepted"}, ("T-2",), id="one is not known"),
        pytest.param({"T-1": None, "T-2": "handed-over"}, ("T-1", "T-2"), id="neither"),
    ],
)
def test_a_dependency_is_done_when_it_is_accepted(held, waits):
    assert window.waits_for_dependencies(w.planned(depends_on=("T-1", "T-2")), held) == waits


@pytest.mark.parametrize(
    ("good", "total", "expected"),
    [(0, 0, 0.0), (0, 10, 0.0), (10, 10, 0.722), (17, 20, 0.640), (19, 20, 0.764)],
)
def test_the_wilson_bound_of_known_cases(good, total, expected):
    assert window.wilson_lower_bound(good, total, 1.96) == pytest.approx(expected, abs=0.0005)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_wilson_bound_is_a_lower_bound_that_success_raises(good, bad):
    bound = window.wilson_lower_bound(good, good + bad, 1.96)
    assert -1e-9 <= bound <= good / max(1, good + bad) + 1e-9
    assert window.wilson_lower_bound(good + 1, good + bad + 1, 1.96) >= bound


RANK = {"narrow": 0, "hold": 1, "widen": 2}


@settings(max_examples=50)
@given(st.integers(0, 25), st.integers(0, 25), st.integers(1, 10))
def test_another_failure_never_widens_and_another_success_never_narrows(good, bad, limit):
    def rank(*extra: Outcome) -> int:
        return RANK[
            assess(
                earned(*lanes(limit), limit=limit, outcomes=w.outcomes(good, bad) + extra)
            ).action
        ]

    failed, accepted = (
        Outcome(task="T-x", result=result, at=w.ago(1)) for result in ("failed", "accepted")
    )
    if good + bad >= w.policy().window.least_outcomes:
        assert rank(failed) <= rank() <= rank(accepted)


THROTTLED = [
    pytest.param({"limit": 5}, 2, id="half of five, rounded down"),
    pytest.param({"limit": 10, "changed_at": w.ago(60)}, 5, id="at once after another change"),
    pytest.param({"limit": 5, "changed_at": w.ago(10)}, None, id="answered already"),
    pytest.param({"limit": 1}, None, id="never below the least"),
]


@pytest.mark.parametrize(("known", "limit"), THROTTLED)
def test_a_providers_rate_limit_halves_the_window_once(known, limit):
    limited = w.ended(last_error='{"type": "rate_limit_error"}')
    said = decide(w.world(limited, window=known), w.policy())
    assert (said.window.proposal.limit if said.window else None) == limit
    if said.window:
        assert said.window.proposal.action == "narrow-window"


def test_a_limit_of_which_nobody_has_read_halves_nothing():
    unread = w.ended(last_error='{"type": "rate_limit_error"}', inspected=False)
    assert decide(w.world(unread, window={"limit": 5}), w.policy()).window is None
