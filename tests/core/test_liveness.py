from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.assess import liveness
from agent.core.assess.liveness import Liveness
from agent.core.model.nouns import Heartbeat, Reported, Snapshot, Status, Supervisor, Task
from tests.core import worlds as w


def assess(task: Task, later: float = 0) -> Liveness:
    return liveness.assess(task, w.NOW + timedelta(seconds=later), w.policy().liveness)


def word(said: Liveness) -> str:
    return "dead" if said.actionable else said.effective


def badness(task: Task, later: float = 0) -> int:
    return ("live", "at-risk", "dead").index(word(assess(task, later)))


THE_OTHER_PLANE = Reported(status="expired")

STATES = [
    pytest.param(w.running(), "live", id="heartbeat fresh, trace advancing"),
    pytest.param(w.running(control_plane=THE_OTHER_PLANE), "live", id="split brain"),
    pytest.param(w.running(heartbeat=None), "at-risk", id="heartbeat missing"),
    pytest.param(w.running(heartbeat=w.beat(attempt=2)), "at-risk", id="another attempt's beat"),
    pytest.param(w.running(heartbeat=w.beat(attempt=None)), "at-risk", id="nobody's beat"),
    pytest.param(w.running(heartbeat=w.beat(origin="recovery")), "at-risk", id="a recovery's beat"),
    pytest.param(w.running(heartbeat=w.beat(origin=None)), "at-risk", id="a beat of no origin"),
    pytest.param(w.running(heartbeat=w.beat(expires_at=None)), "at-risk", id="a beat without end"),
    pytest.param(w.running(heartbeat=w.beat(expires_in=1)), "live", id="beat expires in 1 s"),
    pytest.param(w.running(heartbeat=w.beat(expires_in=0)), "at-risk", id="beat expires now"),
    pytest.param(w.running(heartbeat=w.beat(expires_in=-1)), "at-risk", id="beat expired 1 s ago"),
    pytest.param(w.running(trace=w.trace(359)), "live", id="trace silent for 359 s"),
    pytest.param(w.running(trace=w.trace(360)), "at-risk", id="trace silent for 360 s"),
    pytest.param(w.running(trace=w.trace(361)), "at-risk", id="trace silent for 361 s"),
    pytest.param(w.running(trace=w.trace(5, attempt=2)), "at-risk", id="another attempt's trace"),
    pytest.param(w.running(trace=None), "at-risk", id="no trace for long"),
    pytest.param(w.running(trace=None, started_at=w.ago(9)), "live", id="no trace, just started"),
    pytest.param(w.running(trace=None, started_at=None), "at-risk", id="no trace, no start"),
    pytest.param(w.running(trace=w.trace(9e4), waiting_for="permission"), "live",
                 id="waits for a permission"),
    pytest.param(w.running(trace=w.trace(9e4), waiting_for="provider-reset"), "live",
                 id="waits for a provider"),
    pytest.param(w.running(status="judging", trace=w.trace(9e4)), "live", id="the judge step"),
    pytest.param(w.silent(1199), "at-risk", id="silent for 1,199 s"),
    pytest.param(w.silent(1200), "dead", id="silent for 1,200 s"),
    pytest.param(w.silent(1201), "dead", id="silent for 1,201 s"),
    pytest.param(w.silent(1300, status="judging"), "dead", id="the judge step, and no beat"),
    pytest.param(w.silent(1300, heartbeat=w.beat(1300, 1)), "at-risk", id="beat still good"),
    pytest.param(w.silent(1300, heartbeat=w.beat(1199, -1)), "at-risk", id="beat 1,199 s ago"),
    pytest.param(w.silent(1300, trace=w.trace(1199)), "at-risk", id="trace 1,199 s ago"),
    pytest.param(w.silent(1300, started_at=w.ago(1199), trace=None, heartbeat=None), "at-risk",
                 id="started 1,199 s ago"),
    pytest.param(w.silent(1300, at_risk_polls=0), "at-risk", id="the first poll to see it"),
    pytest.param(w.silent(1300, at_risk_polls=None), "at-risk", id="polls unknown"),
    pytest.param(w.silent(1300, at_risk_polls=1), "dead", id="the second poll to see it"),
    pytest.param(w.silent(1300, probe="failed"), "at-risk", id="a probe that failed"),
    pytest.param(w.silent(1300, probe="timeout"), "at-risk", id="a probe that timed out"),
    pytest.param(w.silent(1300, probe=None), "at-risk", id="no probe"),
    pytest.param(w.silent(1300, waiting_for="permission"), "at-risk", id="waits, without a beat"),
    pytest.param(w.silent(1300, last_interrupt_at=w.ago(1799)), "at-risk", id="a stop 1,799 s ago"),
    pytest.param(w.silent(1300, last_interrupt_at=w.ago(1800)), "dead", id="a stop 1,800 s ago"),
    pytest.param(w.silent(1300, last_interrupt_at=w.ago(1801)), "dead", id="a stop 1,801 s ago"),
    pytest.param(w.silent(1300, scheduler=THE_OTHER_PLANE), "dead", id="split brain does not save"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "expected"), STATES)
def test_two_clocks_tell_whether_it_lives(task, expected):
    assert word(assess(task)) == expected


@pytest.mark.parametrize(
    "status", [one for one in Status if one not in (Status.RUNNING, Status.JUDGING)]
)
def test_only_a_working_task_can_be_alive(status):
    said = assess(w.task(status))
    assert (said.effective, said.recommended_action) == ("not-running", "none")


def test_an_unknown_status_is_not_running():
    assert assess(w.running(status=None)).effective == "not-running"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        pytest.param(w.running(), "continue-supervision", id="live"),
        pytest.param(w.silent(400), "watch", id="at risk"),
        pytest.param(w.silent(1300), "recover", id="dead"),
    ],
)
def test_each_state_recommends_one_thing(task, expected):
    assert assess(task).recommended_action == expected


@pytest.mark.parametrize(
    ("task", "split"),
    [
        pytest.param(w.running(scheduler=THE_OTHER_PLANE), True, id="scheduler disagrees"),
        pytest.param(w.running(control_plane=THE_OTHER_PLANE), True, id="control plane disagrees"),
        pytest.param(w.running(scheduler=Reported(status="running")), False, id="they agree"),
        pytest.param(w.running(scheduler=Reported()), False, id="one says nothing"),
        pytest.param(w.silent(400, scheduler=THE_OTHER_PLANE), False, id="not live"),
    ],
)
def test_split_brain_is_a_signal_of_its_own(task, split):
    assert assess(task).split_brain_live is split


@pytest.mark.parametrize(
    ("task", "seconds"),
    [
        pytest.param(w.running(heartbeat=w.beat(7), trace=w.trace(40)), 7, id="the beat is newer"),
        pytest.param(w.running(heartbeat=w.beat(40), trace=w.trace(7)), 7, id="the trace is newer"),
        pytest.param(w.running(heartbeat=None, trace=None), 7200, id="never: since its start"),
        pytest.param(w.running(heartbeat=w.beat(7, origin="recovery"), trace=w.trace(40)), 40,
                     id="a recovery is not heard"),
        pytest.param(w.running(heartbeat=w.beat(7, attempt=2), trace=w.trace(40)), 40,
                     id="nor is another attempt"),
    ],
)  # fmt: skip
def test_silence_is_counted_from_the_last_word_of_this_attempt(task, seconds):
    assert assess(task).silent_for == seconds


ages = st.floats(0, 5000)
working: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["running", "judging"]),
        "waiting_for": st.sampled_from([None, "permission"]),
        "at_risk_polls": st.integers(0, 2),
        "probe": st.sampled_from(["ok", "failed"]),
        "last_interrupt_at": st.none() | ages.map(w.ago),
    }
)


def heard(beat_age: float, trace_age: float, lasts: float, **over: Any) -> Task:
    """Beats and trace of these ages; a beat is good for `lasts` seconds from when it was heard."""
    at = w.ago(beat_age)
    beat = Heartbeat(at=at, expires_at=at + timedelta(seconds=lasts), attempt=1, origin="worker")
    return w.running(heartbeat=beat, trace=w.trace(trace_age), **over)


@settings(max_examples=60)
@given(working, ages, ages, st.floats(0, 600), ages, ages)
def test_more_silence_never_looks_healthier(factors, beat_age, trace_age, lasts, more, later):
    now = badness(heard(beat_age, trace_age, lasts, **factors))
    assert badness(heard(beat_age + more, trace_age, lasts, **factors)) >= now
    assert badness(heard(beat_age, trace_age + more, lasts, **factors)) >= now
    assert badness(heard(beat_age, trace_age, lasts, **factors), later) >= now


@settings(max_examples=60)
@given(working, ages, ages, st.floats(0, 600))
def test_a_word_within_the_last_act_after_protects(factors, beat_age, trace_age, lasts):
    said = assess(heard(beat_age, trace_age, lasts, **factors))
    if min(beat_age, trace_age) < w.policy().liveness.act_after or beat_age < lasts:
        assert not said.actionable


def suspension(snapshot: Snapshot) -> str | None:
    verdicts = {task.id: assess(task) for task in snapshot.tasks}
    return liveness.suspension(snapshot, verdicts, w.policy().liveness)


@pytest.mark.parametrize(
    ("last_tick", "interval", "suspended"),
    [
        pytest.param(None, 300, False, id="the first tick"),
        pytest.param(899, 300, False, id="just under three intervals"),
        pytest.param(900, 300, False, id="three intervals"),
        pytest.param(901, 300, True, id="over three intervals"),
        pytest.param(900, None, False, id="three times the policy's cadence"),
        pytest.param(901, None, True, id="over three times the policy's cadence"),
        pytest.param(60, 1, False, id="a short interval has a floor"),
        pytest.param(61, 1, True, id="over the floor"),
    ],
)
def test_a_supervisor_that_was_away_only_observes(last_tick, interval, suspended):
    at = None if last_tick is None else w.ago(last_tick)
    supervisor = Supervisor(last_tick_at=at, interval=interval)
    assert (suspension(w.world(supervisor=supervisor)) is not None) is suspended


@pytest.mark.parametrize(
    ("turned", "known", "live", "suspended"),
    [
        pytest.param(3, 0, 3, True, id="three, half of the working ones"),
        pytest.param(3, 0, 4, False, id="three, less than half"),
        pytest.param(4, 0, 4, True, id="four of eight"),
        pytest.param(2, 0, 0, False, id="two, though they are all"),
        pytest.param(0, 3, 0, False, id="three that were at risk before"),
        pytest.param(3, 1, 1, True, id="three new ones beside a known one"),
    ],
)
def test_many_at_risk_at_once_is_a_shared_fault(turned, known, live, suspended):
    ages = [(400, 0)] * turned + [(400, 1)] * known
    tasks = [w.silent(age, at_risk_polls=polls) for age, polls in ages] + [w.running()] * live
    tasks = [one.model_copy(update={"id": f"T-{n}"}) for n, one in enumerate(tasks)]
    assert (suspension(w.world(*tasks, w.planned(id="T-p"))) is not None) is suspended
