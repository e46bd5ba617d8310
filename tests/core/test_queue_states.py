"""The queue's state machine, and what a call makes of an attempt where no adapter shows it."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from agent.core.model.nouns import (
    ACTIVE,
    TERMINAL,
    AgentUsage,
    AttemptFailure,
    Command,
    Status,
    TaskKind,
    Usage,
)
from agent.core.model.queueing import Cursor, NewEvent, Order, Pushed, QueueSpec, Report
from agent.core.queue.rules import (
    COLUMNS,
    MESSAGE_TEXT,
    TRACE_KEPT,
    TRACE_KIND,
    TRACE_TEXT,
    Attempt,
    Halt,
    Submit,
    act,
    add_heartbeat,
    apply_report,
    attempt_of,
    claim,
    clean,
    clean_noun,
    cursor_at,
    expire,
    lease_of,
    note_gone,
    number_events,
    queue_views,
    revision_of,
    row_of,
    stamp,
    time_of,
)
from agent.core.queue.states import ENDINGS, QUEUE_STATES, STOPS, Event, allows, step

NOW = datetime(2026, 1, 1, 12, 30, 15, 123_457, tzinfo=UTC)
ORDER = Order(
    kind=TaskKind.DOCUMENTATION,
    branch="docs",
    acceptance_commands=(Command(argv=("make", "docs"), timeout=5),),
    labels={"wave": "w1"},
)
ATTEMPT = Attempt(
    task="t1",
    number=1,
    queue="main",
    state=Status.RUNNING,
    prompt="do it",
    order=ORDER,
    created_at=NOW,
)

# One row for each event, one column for each state, `.` where it cannot happen.
MACHINE = """
event    queued    running   judging   succeeded failed    cancelled lost
claim    running   .         .         .         .         .         .
move     queued    .         .         .         .         .         .
succeed  .         succeeded .         .         .         .         .
fail     .         failed    .         .         .         .         .
cancel   cancelled cancelled .         .         .         .         .
expire   .         lost      .         .         .         .         .
retry    .         .         .         queued    queued    queued    queued
"""


def machine():
    head, *rows = (line.split() for line in MACHINE.strip().splitlines())
    for event, *after in rows:
        for state, result in zip(head[1:], after, strict=True):
            yield pytest.param(state, event, result, id=f"{state}-{event}")


@pytest.mark.parametrize(("state", "event", "after"), list(machine()))
def test_each_event_in_each_state(state, event, after):
    assert allows(Status(state), Event(event)) == (after != ".")
    if after == ".":
        with pytest.raises(ValueError, match=rf"'{state}'.*'{event}'"):
            step(Status(state), Event(event))
    else:
        assert step(Status(state), Event(event)) is Status(after)


def test_the_machine_knows_every_state_and_event():
    assert len(list(machine())) == len(QUEUE_STATES) * len(Event)
    assert set(QUEUE_STATES) == ACTIVE | TERMINAL


@pytest.mark.parametrize("state", sorted(set(Status) - set(QUEUE_STATES)))
def test_the_supervisors_own_states_are_not_the_queues(state):
    with pytest.raises(ValueError, match=state):
        step(state, Event.RETRY)


@pytest.mark.parametrize(
    ("report", "stop"),
    list(product(("succeeded", "failed", "stopped"), (None, "interrupt", "cancel"))),
)
def test_every_report_ends_an_attempt_whatever_was_asked(report, stop):
    after = step(Status.RUNNING, ENDINGS[report, stop])
    assert after in TERMINAL
    assert (after is Status.CANCELLED) == (stop == "cancel")


def test_a_stop_is_upgraded_and_never_downgraded():
    assert STOPS == {
        (None, "interrupt"): "interrupt",
        (None, "cancel"): "cancel",
        ("interrupt", "cancel"): "cancel",
    }


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("a\ud800b", "a?b", id="a lone surrogate"),
        pytest.param("é\U0001f30a\x00\x1b", "é\U0001f30a\x00\x1b", id="all that is Unicode"),
    ],
)
def test_text_is_cleaned_and_nothing_else(raw, kept):
    order = ORDER.model_copy(update={"labels": {"wave": raw}})
    request = Submit(task="t1", queue=raw, prompt=raw, order=order)
    assert clean(raw) == kept
    assert clean_noun(request).prompt == kept
    assert clean_noun(request).order.labels == {"wave": kept}
    assert clean_noun(clean_noun(request)) == clean_noun(request)


def event(text="", *, at=NOW, kind="message"):
    return NewEvent(at=at, kind=kind, text=text)


def test_events_are_numbered_on_and_cut():
    current = replace(ATTEMPT, last_sequence=7)
    (first, second) = number_events(current, [event("x" * 9_999, kind="k" * 999), event("y")], NOW)
    assert (first.sequence, second.sequence) == (8, 9)
    assert (len(first.text), len(first.kind)) == (TRACE_TEXT, TRACE_KIND)


def test_a_flood_keeps_the_numbers_of_what_it_drops():
    traced = number_events(ATTEMPT, [event(str(n)) for n in range(1, TRACE_KEPT + 11)], NOW)
    assert [one.sequence for one in traced] == list(range(11, TRACE_KEPT + 11))
    assert [one.text for one in traced[:1]] == ["11"]


@pytest.mark.parametrize(
    ("ages", "mark"),
    [
        pytest.param([5, 3], 3, id="the latest"),
        pytest.param([3, 5], 3, id="out of order"),
        pytest.param([-60], 0, id="from the future"),
        pytest.param([90], 10, id="older than the mark"),
    ],
)
def test_the_trace_mark_never_goes_back_nor_into_the_future(ages, mark):
    def at(age):
        return NOW - timedelta(seconds=age)

    current = replace(ATTEMPT, traced_at=at(10))
    traced = number_events(current, [event("m" * 999, at=at(age)) for age in ages], NOW)
    after = add_heartbeat(current, traced, now=NOW, extend=60)
    assert after.traced_at == at(mark)
    assert len(after.last_message) == MESSAGE_TEXT


def test_a_lost_attempt_ended_when_its_lease_did():
    end = NOW + timedelta(seconds=7)
    late = expire(replace(ATTEMPT, lease_until=end, lost_at=AHEAD), AHEAD)
    assert (late.state, late.finished_at, late.lost_at) == (Status.LOST, end, None)


def test_the_first_look_that_is_late_only_notes_until_when_the_host_is_waited_for():
    held = replace(ATTEMPT, heartbeat_at=NOW, lease_until=NOW + timedelta(seconds=60))
    for seconds in (60, 86_400):
        seen = NOW + timedelta(seconds=seconds)
        assert expire(held, seen) == replace(held, lost_at=seen + timedelta(seconds=30))
    set_back = replace(held, heartbeat_at=AHEAD)
    assert expire(set_back, AHEAD).lost_at == AHEAD
    assert add_heartbeat(expire(held, AHEAD), [], now=AHEAD, extend=60).lost_at is None


WAITING = replace(ATTEMPT, state=Status.QUEUED)
BACK = NOW - timedelta(seconds=2)
"""What a clock says that was set back since `NOW`."""
TAKEN = claim(WAITING, worker="host-1", token="abc", now=NOW, lease=60)  # noqa: S106
HELD = lease_of(TAKEN)
AHEAD = NOW + timedelta(hours=1)


def report():
    return Report(state="succeeded")


@pytest.mark.parametrize(
    ("name", "after", "at"),
    [
        pytest.param("started_at", lambda: claim(WAITING, worker="h", token="t",  # noqa: S106
                     now=BACK, lease=60), NOW, id="claimed before it was submitted"),
        pytest.param("heartbeat_at", lambda: add_heartbeat(TAKEN, [], now=BACK, extend=60), NOW,
                     id="a heartbeat before the start"),
        pytest.param("heartbeat_at", lambda: add_heartbeat(TAKEN, [], now=AHEAD, extend=60), AHEAD,
                     id="a heartbeat of a clock set forward"),
        pytest.param("traced_at", lambda: traced(TAKEN, BACK, BACK), NOW,
                     id="an event before the start"),
        pytest.param("traced_at", lambda: traced(TAKEN, AHEAD, BACK), NOW,
                     id="an event after now"),
        pytest.param("finished_at", lambda: apply_report(TAKEN, HELD, report(), BACK), NOW,
                     id="a report before the start"),
        pytest.param("finished_at", lambda: apply_report(traced(TAKEN, AHEAD, AHEAD), HELD,
                     report(), NOW), AHEAD, id="a report before the last heartbeat"),
        pytest.param("finished_at", lambda: expire(replace(TAKEN, lease_until=BACK,
                     lost_at=NOW), NOW), NOW,
                     id="a lease that ran out before the start"),
        pytest.param("finished_at", lambda: act(WAITING, Halt(verb="cancel", task="t1",
                     attempt=1, reason="r"), BACK)[1], NOW, id="cancelled before it was submitted"),
    ],
)  # fmt: skip
def test_a_clock_that_was_set_writes_no_time_before_the_last_one(name, after, at):
    assert getattr(after(), name) == at


def test_a_report_with_a_corrected_time_is_known_again():
    ended = apply_report(TAKEN, HELD, report(), BACK)
    assert ended.finished_at == NOW
    assert apply_report(ended, HELD, report(), NOW) is None


LOST = replace(TAKEN, state=Status.LOST, finished_at=NOW)


@pytest.mark.parametrize(
    ("current", "lease", "said", "noted"),
    [
        pytest.param(LOST, HELD, {"tree_gone": True}, True, id="a-late-result"),
        pytest.param(LOST, HELD, {"state": "stopped", "tree_gone": True}, True, id="no-result"),
        pytest.param(LOST, HELD, {"tree_gone": None}, False, id="nobody-knows"),
        pytest.param(TAKEN, HELD, {"tree_gone": True}, False, id="in-time"),
        pytest.param(
            replace(LOST, tree_gone=True), HELD, {"tree_gone": True}, False, id="known-already"
        ),
        pytest.param(
            LOST, HELD.model_copy(update={"token": "x"}), {"tree_gone": True}, False, id="forged"
        ),
    ],
)
def test_a_tree_that_a_late_report_saw_gone_is_noted(current, lease, said, noted):
    found = note_gone(current, lease, Report(**{"state": "failed", **said}))
    assert found == (replace(current, tree_gone=True) if noted else None)


def test_a_late_stop_brings_no_result():
    assert apply_report(LOST, HELD, Report(state="stopped", tree_gone=True), NOW) is None


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(lambda: claim(WAITING, worker="h", token="t", now=BACK, lease=60),  # noqa: S106
                     id="claimed"),
        pytest.param(lambda: add_heartbeat(TAKEN, [], now=BACK, extend=60), id="beaten"),
    ],
)  # fmt: skip
def test_a_lease_runs_out_by_the_clock_as_it_is(after):
    """It would last longer by the step otherwise, and a host that is dead is found dead later."""
    assert after().lease_until == BACK + timedelta(seconds=60)


def traced(current, at, now):
    return add_heartbeat(
        current, number_events(current, [event("m", at=at)], now), now=now, extend=60
    )


def test_a_cursor_is_read_back():
    assert revision_of(cursor_at("q", 5), "q", 5) == 5
    assert revision_of(None, "q", 5) == 0


@pytest.mark.parametrize(
    "position",
    [
        pytest.param("", id="empty"),
        pytest.param("5", id="no name"),
        pytest.param("r:5", id="another queue"),
        pytest.param("q:6", id="ahead"),
        pytest.param("q:-1", id="negative"),
        pytest.param("q:x", id="no number"),
        pytest.param("q:", id="nothing"),
    ],
)
def test_a_cursor_that_was_never_given_is_refused(position):
    with pytest.raises(ValueError, match="read everything once") as refusal:
        revision_of(Cursor(position=position), "q", 5)
    assert repr(position) in str(refusal.value)


def test_queues_are_listed_by_id_with_every_state():
    views = queue_views(
        {"z": QueueSpec(id="z", max_running=1)},
        {("a", Status.QUEUED): 2, ("gone", Status.QUEUED): 0},
    )
    assert [view.id for view in views] == ["a", "z"]
    assert [view.max_running for view in views] == [QueueSpec(id="a").max_running, 1]
    assert views[0].counts == {state.value: 2 * (state == "queued") for state in QUEUE_STATES}


FULL = Attempt(
    task="t1",
    number=2,
    queue="main",
    state=Status.FAILED,
    prompt="do it",
    order=ORDER,
    created_at=NOW,
    worker="host-1",
    token="abc",  # noqa: S106 - a lease's token, no secret
    lease_until=NOW + timedelta(days=1),
    lost_at=NOW,
    heartbeat_at=NOW - timedelta(days=40_000),
    started_at=NOW,
    finished_at=NOW,
    stop="cancel",
    stop_reason="why",
    traced_at=NOW,
    last_sequence=3,
    last_message="m",
    last_error="e",
    failure=AttemptFailure(class_="quota", status=429, retry_at=NOW),
    final_response="f",
    final_response_truncated=True,
    session="s",
    tree_gone=True,
    used=AgentUsage(session="s", model="m", tokens=Usage(input_tokens=3), cost=0.5),
    pushed=Pushed(commit="c" * 40, change="d" * 40),
    report="d",
)


@pytest.mark.parametrize(
    "attempt", [pytest.param(ATTEMPT, id="new"), pytest.param(FULL, id="full")]
)
def test_a_row_gives_back_the_attempt(attempt):
    row = row_of(attempt)
    assert tuple(row) == COLUMNS
    assert all(value is None or type(value) in (str, int) for value in row.values())
    assert attempt_of({**row, "revision": 9}) == attempt


def test_the_full_attempt_leaves_no_field_out():
    assert [field.name for field in fields(FULL) if not getattr(FULL, field.name)] == []


def test_what_no_column_can_hold_is_refused():
    with pytest.raises(TypeError, match=r"1\.5"):
        row_of(replace(ATTEMPT, last_sequence=1.5))


def test_a_stamp_is_exact_to_the_microsecond():
    assert time_of(stamp(NOW)) == NOW
    assert stamp(NOW + timedelta(microseconds=1)) - stamp(NOW) == 1
