"""How a Code Queue's answers are read: what is not said is unknown, and nothing is made up."""

from contextlib import suppress
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.code_queue import words as shape
from agent.adapters.code_queue.words import SIZE, Names, parse
from agent.core.model.nouns import Status
from agent.errors import QueueUnavailableError, UnreadableAnswerError

AT = "2026-11-22T10:00:00Z"
NAMES = Names()
TASK = {
    "id": "t-17", "queue": "svc-a", "status": "running", "attempt": 1, "maxAttempts": 3,
    "prompt": "do it", "lastAssistantMessage": "at it", "lastError": None,
    "cancelRequested": False, "createdAt": AT, "startedAt": AT, "finishedAt": None,
    "updatedAt": AT, "controlPlane": {"status": "running"},
    "scheduler": {
        "status": "running",
        "heartbeat": {"at": AT, "expiresAt": AT, "attempt": 1, "origin": "worker"},
    },
    "trace": {"lastEventAt": AT, "lastSequence": 412, "attempt": 1},
    "finalResponse": None, "judge": None, "read": False, "worktree": "w",
    "labels": {"wave": "w7", "task": "deliver-a"}, "idempotencyKey": "k",
}  # fmt: skip
QUEUES = {
    "queues": [
        {
            "id": "svc-a", "kind": "delivery", "risk": "normal",
            "counts": {"queued": 1, "running": 1, "judging": 0, "succeeded": 4},
            "activeTaskIds": ["t-17"], "unreadTerminalTaskIds": ["t-12"],
            "recentTaskIds": ["t-12", "t-17", "t-18"],
        },
    ],
    "controlPlane": {
        "reachable": True, "diagnostics": ["split-brain"], "effectiveLiveness": "live",
        "splitBrainLive": True, "recommendedAction": "continue-supervision",
    },
}  # fmt: skip


def changed(source, path, value):
    """The source with one field changed; `...` takes it away."""
    found = deepcopy(source)
    *way, last = path.split(".")
    inner = found
    for part in way:
        inner = inner[int(part)] if isinstance(inner, list) else inner[part]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return found


def test_the_contracts_example_is_read_whole():
    seen = shape.task(TASK, "t-17", NAMES)
    assert (seen.id, seen.queue, seen.status, seen.attempt) == ("t-17", "svc-a", "running", 1)
    assert (seen.control_plane, seen.scheduler, seen.label) == ("running", "running", "deliver-a")
    assert (seen.heartbeat.origin, seen.heartbeat.attempt) == ("worker", 1)
    assert (seen.trace.last_sequence, seen.cancel_requested, seen.whole) == (412, False, None)
    listing = shape.listing(QUEUES, NAMES)
    (lane,) = listing.lanes
    assert (lane.id, lane.kind, lane.risk, lane.unread) == (
        "svc-a",
        "delivery",
        "normal",
        ("t-12",),
    )
    assert listing.mentioned == {"t-12", "t-17", "t-18"}
    assert (listing.reachable, listing.diagnostics[0]) == (True, "split-brain")


MISSING = [
    pytest.param("cancelRequested", lambda seen: seen.cancel_requested, id="cancel flag"),
    pytest.param("startedAt", lambda seen: seen.started_at, id="start"),
    pytest.param("createdAt", lambda seen: seen.created_at, id="creation"),
    pytest.param("queue", lambda seen: seen.queue, id="queue"),
    pytest.param("prompt", lambda seen: seen.prompt, id="prompt"),
    pytest.param("lastError", lambda seen: seen.last_error, id="error"),
    pytest.param("finalResponse", lambda seen: seen.final_response, id="response"),
    pytest.param("judge", lambda seen: seen.judge, id="judge"),
    pytest.param("trace", lambda seen: seen.trace, id="trace"),
    pytest.param("trace.lastSequence", lambda seen: seen.trace.last_sequence, id="sequence"),
    pytest.param("trace.attempt", lambda seen: seen.trace.attempt, id="trace's attempt"),
    pytest.param("scheduler.heartbeat", lambda seen: seen.heartbeat, id="heartbeat"),
    pytest.param("scheduler.heartbeat.at", lambda seen: seen.heartbeat, id="beat's time"),
    pytest.param("scheduler.heartbeat.origin", lambda seen: seen.heartbeat.origin, id="origin"),
    pytest.param("scheduler.heartbeat.attempt", lambda seen: seen.heartbeat.attempt, id="whose"),
    pytest.param("scheduler.heartbeat.expiresAt", lambda s: s.heartbeat.expires_at, id="expiry"),
    pytest.param("controlPlane.status", lambda seen: seen.control_plane, id="control plane"),
    pytest.param("scheduler.status", lambda seen: seen.scheduler, id="scheduler"),
]


@pytest.mark.parametrize(("path", "read"), MISSING)
def test_what_is_absent_or_of_another_type_is_unknown(path, read):
    wrong = [..., None, [], {"a": 1}, -1, 1.5]
    found = [read(shape.task(changed(TASK, path, one), "t-17", NAMES)) for one in wrong]
    assert found == [None] * len(wrong)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("cancelRequested", "false", id="a word for no"),
        pytest.param("startedAt", "2026-11-22T10:00:00", id="a time without a zone"),
        pytest.param("startedAt", "9999-12-31T23:59:59-23:59", id="a time that never comes"),
        pytest.param("scheduler.heartbeat.origin", "Worker", id="an unknown origin"),
        pytest.param("trace.attempt", True, id="yes as a number"),
        pytest.param("judge", {"verdict": "maybe", "at": AT}, id="an unknown verdict"),
    ],
)
def test_what_only_looks_like_a_value_is_unknown(path, value):
    assert shape.task(TASK | {"judge": {"verdict": "pass", "at": AT}}, None, NAMES).judge
    seen = shape.task(changed(TASK, path, value), "t-17", NAMES)
    assert seen == shape.task(changed(TASK, path, ...), "t-17", NAMES)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param("id", ..., "no usable id", id="no id"),
        pytest.param("id", "--all", "no usable id", id="an option as id"),
        pytest.param("id", "t-18", "the answer is about t-18", id="another task"),
        pytest.param("attempt", ..., "names no attempt", id="no attempt"),
        pytest.param("attempt", 0, "names no attempt", id="attempt 0"),
        pytest.param("status", ..., "its status None is not known", id="no status"),
        pytest.param("status", "paused", "'paused' is not known", id="an unknown status"),
    ],
)
def test_without_the_least_there_is_no_view(path, value, said):
    with pytest.raises(UnreadableAnswerError, match=said) as refusal:
        shape.task(changed(TASK, path, value), "t-17", NAMES)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("said", "control", "scheduler", "status"),
    [
        ("running", "running", "running", "running"),
        ("running", None, None, "running"),
        ("failed", None, None, "failed"),
        ("running", "failed", "running", "running"),
        ("failed", "failed", "running", "running"),
        ("failed", "running", "failed", "failed"),
        ("running", "running", "failed", "running"),
        ("failed", "judging", None, "judging"),
        ("failed", "failed", "zombie", None),
        ("queued", "failed", None, None),
        ("succeeded", "failed", None, None),
        ("succeeded", "succeeded", "queued", None),
    ],
)
def test_planes_that_disagree_are_at_most_alive(said, control, scheduler, status):
    answer = changed(TASK, "status", said)
    answer = changed(answer, "controlPlane", {"status": control})
    answer = changed(answer, "scheduler", {"status": scheduler})
    if status is not None:
        assert shape.task(answer, "t-17", NAMES).status is Status(status)
        return
    with pytest.raises(UnreadableAnswerError, match="its planes disagree about what is over"):
        shape.task(answer, "t-17", NAMES)


def test_a_field_may_stand_elsewhere():
    names = Names({"task.lastError": "error.text", "queues.queues": "lanes.all"})
    answer = TASK | {"error": {"text": "out of memory"}}
    assert shape.task(answer, "t-17", names).last_error == "out of memory"
    assert len(shape.listing({"lanes": {"all": QUEUES["queues"]}}, names).lanes) == 1


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param("queues", ..., "no list of queues", id="no queues"),
        pytest.param("queues", {}, "no list of queues", id="no list"),
        pytest.param("queues.0.id", 7, "a queue has no id", id="a queue without a name"),
        pytest.param("queues", QUEUES["queues"] * 2, "listed twice", id="a queue twice"),
    ],
)
def test_a_listing_that_cannot_be_is_none(path, value, said):
    with pytest.raises(UnreadableAnswerError, match=said):
        shape.listing(changed(QUEUES, path, value), NAMES)


@pytest.mark.parametrize("ids", [..., None, "t-17", [7], ["--all"], [["t-17"]]], ids=repr)
def test_lists_of_tasks_that_are_none_are_unknown(ids):
    found = shape.listing(changed(QUEUES, "queues.0.unreadTerminalTaskIds", ids), NAMES)
    assert found.lanes[0].unread is None


def test_a_control_plane_that_says_nothing_is_not_reachable_for_sure():
    found = shape.listing({"queues": []}, NAMES)
    assert (found.reachable, found.diagnostics) == (None, ())


@pytest.mark.parametrize("ok", [..., False, "true", 1, None], ids=repr)
def test_only_a_plain_yes_is_an_acknowledgement(ok):
    answer = changed({"ok": True, "task": TASK}, "ok", ok)
    with pytest.raises(UnreadableAnswerError, match="does not say that it was done"):
        shape.acted(answer, "t-17", NAMES)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<!doctype html><title>502</title>", id="HTML"),
        pytest.param(b'{"id": "t-17", "sta', id="half"),
        pytest.param(b'{"a": 1} {"b": 2}', id="two objects"),
        pytest.param(b'["a"]', id="a list"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"a": ' + b"9" * 5_000 + b"}", id="a huge number"),
        pytest.param(b" " * (SIZE + 1), id="too long"),
        pytest.param(b"\x1b]0;title\x07\n\n", id="terminal sequences"),
    ],
)
def test_what_is_not_one_object_is_no_answer(raw):
    with pytest.raises(UnreadableAnswerError, match=r"^it ") as refusal:
        parse(raw, "it")
    assert str(refusal.value).isprintable()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
JSONS = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.just("status"), SCALARS)
PATHS_OF_TASK = sorted(name.partition(".")[2] for name in shape.FIELDS if name.startswith("task."))
PATHS_OF_QUEUES = ["queues", "queues.0.counts", "queues.0.recentTaskIds", "controlPlane"]


@settings(max_examples=60, deadline=None)
@given(
    path=st.sampled_from(PATHS_OF_TASK), lane=st.sampled_from(PATHS_OF_QUEUES),
    value=JSONS, other=JSONS,
)  # fmt: skip
def test_whatever_stands_in_a_field_the_answer_is_read_or_refused(path, lane, value, other):
    for read in (
        lambda: shape.task(changed(TASK, path, value), "t-17", NAMES),
        lambda: shape.listing(changed(QUEUES, lane, value), NAMES),
        lambda: shape.events({"events": [value, {"at": other}]}, NAMES),
        lambda: shape.output({"text": value, "truncated": other}, NAMES),
        lambda: shape.acted({"ok": True, "task": value}, None, NAMES),
    ):
        with suppress(QueueUnavailableError):
            read()
