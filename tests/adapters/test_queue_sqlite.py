"""The embedded queue keeps the contract, in memory and in a file, and what only a file can."""

import shutil
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.common import sqlite
from agent.adapters.common.sqlite import MEMORY
from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.nouns import AttemptFailure, Status
from agent.core.model.queueing import Cursor, NewEvent, QueueSpec, Report
from agent.errors import QueueUnavailableError, UnreadableAnswerError
from tests.adapters.queue_contract import QueueContract
from tests.adapters.queue_world import LEASE, Clock, World

EARLIER = Path(__file__).parent / "earlier_state"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "queue.db"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def empty_queue(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "queue.db"
    SqliteQueue(path, wall).close()
    return path


@pytest.fixture
def world(path, clock, empty_queue):
    # Nothing here cuts the power, and waiting for the disk is most of what a call costs.
    path.parent.mkdir()
    shutil.copyfile(empty_queue, path)
    with SqliteQueue(path, clock.now) as queue:
        queue._db.execute("PRAGMA synchronous = OFF")
        yield World(queue, clock.now, clock.advance)


def wall():
    return datetime.now(UTC)


class TestSqliteQueue(QueueContract):
    """All of it."""


class TestQueueInMemory(QueueContract):
    @pytest.fixture
    def world(self, clock):
        with SqliteQueue(MEMORY, clock.now) as queue:
            yield World(queue, clock.now, clock.advance)


def test_everything_is_still_there_after_closing(path, clock):
    with SqliteQueue(path, clock.now) as queue:
        world = World(queue, clock.now, clock.advance)
        queue.configure(QueueSpec(id="main", max_running=2))
        receipt = world.submit(key="k")
        lease = world.claimed()
        world.beat(lease, "one")
        view, cursor = world.view(), queue.changed_since(None).cursor
    with SqliteQueue(path, clock.now) as queue:
        assert queue.get("t1") == view
        assert queue.changed_since(cursor).tasks == ()
        assert queue.receipt("k") == receipt
        assert [found.max_running for found in queue.queues()] == [2]
        assert queue.beat(lease, [], extend=LEASE) == "ok"


def test_threads_share_one_queue_and_a_reader_misses_nothing(world):
    world.queue.configure(QueueSpec(id="main", max_running=3))
    names = [f"t{number}" for number in range(24)]
    for name in names:
        world.submit(name)
    ran, cursor, seen = [], None, Counter()

    def read_on():
        nonlocal cursor
        changes = world.queue.changed_since(cursor)
        cursor = changes.cursor
        seen.update(task.state.value for task in changes.tasks)

    def host():
        while counts().get("queued"):
            if lease := world.claim():
                ran.append(lease.task)
                world.finish(lease)

    def counts():
        (queue,) = world.queue.queues()
        assert queue.counts["running"] <= 3
        return queue.counts

    threads = [threading.Thread(target=host) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        read_on()
    read_on()
    assert sorted(ran) == sorted(names)
    assert seen["succeeded"] == len(names)


def test_what_is_configured_already_is_not_written_again(world):
    world.queue.configure(QueueSpec(id="main", max_running=2))
    world.queue._db.execute("PRAGMA query_only = ON")
    world.queue.configure(QueueSpec(id="main", max_running=2))
    with pytest.raises(QueueUnavailableError):
        world.queue.configure(QueueSpec(id="main", max_running=3))


def test_a_file_is_told_from_every_other_and_from_its_older_copy(tmp_path, path, clock):
    with SqliteQueue(path, clock.now) as queue:
        World(queue, clock.now, clock.advance).submit("t1")
        name, read = queue.identity(), queue.changed_since(None).cursor
    older = shutil.copyfile(path, tmp_path / "older.db")
    with SqliteQueue(path, clock.now) as queue:
        World(queue, clock.now, clock.advance).submit("t2", key="k2")
        latest = queue.changed_since(None).cursor
        assert (queue.identity(), queue.knows(read), queue.knows(latest)) == (name, True, True)
        assert queue.missing(["t2", "t1", "t3"]) == ["t3"]
    with SqliteQueue(older, clock.now) as queue:
        assert (queue.identity(), queue.knows(read), queue.knows(latest)) == (name, True, False)
        assert queue.missing(["t2", "t1"]) == ["t2"]
    with SqliteQueue(tmp_path / "other.db", clock.now) as queue:
        assert queue.identity() != name
        assert not queue.knows(read)
        assert not queue.knows(Cursor(position="nonsense"))


def test_who_slept_as_long_as_everybody_else_goes_on(world):
    world.submit()
    lease = world.claimed()
    for _ in range(3):
        world.advance(100 * LEASE)
        assert world.view().state is Status.RUNNING
        world.advance(LEASE / 3)
        assert world.view().state is Status.RUNNING
        assert world.beat(lease) == "ok"


def test_what_was_done_while_the_lease_ran_out_counts(world):
    world.submit()
    lease = world.claimed()
    world.advance(100 * LEASE)
    assert world.finish(lease, final_response="done") == "taken"
    assert world.view().state is Status.SUCCEEDED


@pytest.mark.parametrize("after", [0.49, 0.5])
def test_a_silent_host_has_half_a_lease_from_the_first_look(world, after):
    world.submit()
    world.claimed()
    world.advance(2 * LEASE)
    assert world.claim() is None
    world.advance(after * LEASE)
    assert world.view().state is (Status.LOST if after == 0.5 else Status.RUNNING)
    assert world.view().heartbeat.expires_at < world.now()


def test_a_second_look_that_is_too_early_writes_nothing(world):
    world.submit()
    world.claimed()
    world.advance(2 * LEASE)
    cursor = world.queue.changed_since(None).cursor
    world.view()
    assert world.queue.changed_since(cursor).cursor == cursor


def test_a_lost_attempt_is_known_to_be_gone_once_its_host_says_so(world):
    lease = world.to("lost")
    assert world.view().tree_gone is None
    cursor = world.queue.changed_since(None).cursor
    assert world.finish(lease, "stopped", tree_gone=True) == "late"
    (view,) = world.queue.changed_since(cursor).tasks
    assert (view.state, view.tree_gone, view.late_reports) == ("lost", True, ())
    cursor = world.queue.changed_since(None).cursor
    assert world.finish(lease, "stopped", tree_gone=True) == "late"
    assert world.queue.changed_since(cursor).tasks == ()


@pytest.mark.parametrize("gone", [True, None])
def test_a_report_says_whether_the_tree_is_gone(world, gone):
    world.submit()
    world.finish(world.claimed(), tree_gone=gone)
    assert world.view().tree_gone is gone
    world.retry(2)
    assert world.view().tree_gone is None


QUOTA = AttemptFailure(
    class_="quota", status=429, retry_at=datetime(2026, 11, 28, 3, 55, 7, tzinfo=UTC)
)


@pytest.mark.parametrize("failure", [None, AttemptFailure(class_="killed"), QUOTA])
def test_a_typed_failure_stays_with_its_attempt(world, failure):
    world.submit()
    report = {"state": "failed", "failure": failure}
    assert world.queue.finish(world.claimed(), Report(**report)) == "taken"
    assert world.view().failure == failure
    (view,) = world.queue.changed_since(None).tasks
    assert view.failure == failure
    world.retry(2)
    assert world.view().failure is None


@pytest.mark.parametrize("stop", ["interrupt", "cancel"])
def test_a_stop_that_was_asked_for_is_no_failure(world, stop):
    world.submit()
    lease = world.claimed()
    getattr(world.queue, stop)("t1", attempt=1, reason="why", key="stop")
    world.queue.finish(lease, Report(state="stopped", failure=AttemptFailure(class_="killed")))
    assert world.view().failure is None


@pytest.mark.parametrize("words", ["interrupted: silent", "cancelled: a person", "no luck"])
def test_nobody_but_the_queue_says_that_it_stopped_an_attempt(world, words):
    world.submit()
    world.queue.finish(world.claimed(), Report(state="failed", last_error=words))
    said = world.view().last_error
    assert said == (words if words == "no luck" else f"the agent: {words}")


@pytest.mark.parametrize("odd", ["{}", '{"class": "bad luck"}', "no JSON", "7"])
def test_a_failure_that_cannot_be_read_makes_its_task_unreadable(world, odd):
    world.submit()
    world.queue.finish(world.claimed(), Report(state="failed", failure=QUOTA))
    world.queue._db.execute("UPDATE attempt SET failure = ?", (odd,))
    changes = world.queue.changed_since(None)
    assert (changes.tasks, list(changes.unreadable)) == ((), ["t1"])


def test_a_file_of_the_first_format_is_taken_over(tmp_path, clock):
    """Worker hosts judged then: one task was being judged, and one had been."""
    path = tmp_path / "queue.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((EARLIER / "queue.sql").read_text())
        db.execute(f"PRAGMA application_id = {SqliteQueue.APPLICATION}")
        db.execute("PRAGMA user_version = 1")
        db.execute("PRAGMA journal_mode = WAL")
    with SqliteQueue(path, clock.now) as queue:
        clock.advance(3600)
        queue.queues()
        clock.advance(3600)
    for _ in range(2):
        with SqliteQueue(path, clock.now) as queue:
            views = {view.id: view for view in queue.changed_since(None).tasks}
            assert {name: str(view.state) for name, view in views.items()} == {
                "t1": "succeeded",
                "t2": "lost",
                "t3": "queued",
            }
            assert (views["t1"].final_response, views["t1"].judge) == ("done", None)
            (main,) = queue.queues()
            assert {state: count for state, count in main.counts.items() if count} == {
                "succeeded": 1,
                "lost": 1,
                "queued": 1,
            }
            clock.advance(1)


STEPS = st.sampled_from([0, 0, 1, 7, LEASE, LEASE + 1, 3600, -1, -2, -LEASE, -3600, -86_400])
"""Seconds by which a clock is moved, or set, before the next thing happens."""
THINGS = st.sampled_from(["claim", "beat", "event", "finish", "late", "retry", "interrupt", "read"])


@settings(max_examples=150, deadline=None)
@given(story=st.lists(st.tuples(STEPS, STEPS, THINGS), max_size=25))
def test_however_clocks_are_set_the_times_of_an_attempt_are_in_order(story):
    clock, hosts = Clock(), Clock()
    ends: dict[int, datetime] = {}
    with SqliteQueue(MEMORY, clock.now) as queue:
        world, lease = World(queue, clock.now, clock.advance), None
        world.submit()
        for step, host_step, thing in story:
            clock.advance(step)
            hosts.advance(step + host_step)
            if thing == "claim":
                lease = world.claim() or lease
            elif thing == "retry":
                world.retry(world.view().attempt + 1)
            elif thing == "interrupt":
                world.halt("interrupt", world.view().attempt)
            elif lease and thing in ("beat", "event"):
                said = [NewEvent(at=hosts.now(), kind="message", text="m")] * (thing == "event")
                queue.beat(lease, said, extend=LEASE)
            elif lease and thing in ("finish", "late"):
                world.finish(lease, final_response=thing)
            view = world.view()
            in_order(view, ends)


def in_order(view, ends):
    """Each attempt from submission to end, and what came late after it."""
    beat, trace = view.heartbeat, view.trace
    marks = [view.started_at, *([beat.at] if beat else []), view.finished_at]
    known = [at for at in (view.created_at, *marks) if at is not None]
    assert known == sorted(known)
    if trace:
        end = view.finished_at or beat.at
        assert view.started_at <= trace.last_event_at <= end
    if view.finished_at:
        ends[view.attempt] = view.finished_at
    for late in view.late_reports:
        assert late.at >= ends.get(late.attempt, late.at)
    assert view.updated_at >= known[-1]


def locked(_, other):
    other._db.execute("BEGIN IMMEDIATE")


def full(queue, _):
    queue._db.execute("PRAGMA max_page_count = 1")


def read_only(queue, _):
    queue._db.execute("PRAGMA query_only = ON")


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        pytest.param(locked, "another process kept it locked", id="locked"),
        pytest.param(full, "free some space", id="disk full"),
        pytest.param(read_only, "cannot be written: check the rights", id="read-only"),
    ],
)
def test_a_call_that_cannot_write_says_so_and_changes_nothing(
    path, clock, monkeypatch, fault, advice
):
    monkeypatch.setattr(sqlite, "_LOOK_AFTER", 0.05)
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.05)
    with SqliteQueue(path, clock.now) as queue, SqliteQueue(path, clock.now) as other:
        world = World(queue, clock.now, clock.advance)
        world.submit("t1")
        fault(queue, other)
        with pytest.raises(QueueUnavailableError, match=advice) as refusal:
            world.submit("t2", prompt="x" * 100_000, key="k")
        assert "\n" not in str(refusal.value)
        assert not queue._db.in_transaction
        assert [task.id for task in queue.changed_since(None).tasks] == ["t1"]
        assert queue.receipt("k") is None


def test_the_cost_of_a_call_does_not_grow_with_the_tasks_known(world):
    """Counted in steps of SQLite's own machine, which no busy computer can falsify."""
    db = world.queue._db
    world.queue.configure(QueueSpec(id="main", max_running=1_000))

    def grow(first, last):
        for number in range(first, last):
            world.submit(f"t{number}")
            lease = world.claimed()
            world.finish(lease, "failed", final_response="early")
            world.finish(lease, final_response="late")

    def steps(call):
        taken = 0

        def count():
            nonlocal taken
            taken += 1

        db.set_progress_handler(count, 10)
        call()
        db.set_progress_handler(None, 0)
        return taken * 10

    def measure():
        cursor = world.queue.changed_since(None).cursor
        return {
            "submit": steps(world.submit_another),
            "claim": steps(lambda: leases.append(world.claimed())),
            "beat": steps(lambda: world.beat(leases[-1], "one")),
            "finish": steps(lambda: world.finish(leases[-1])),
            "get": steps(lambda: world.view("t1")),
            "queues": steps(world.queue.queues),
            "changed_since": steps(lambda: world.queue.changed_since(cursor)),
        }

    leases = []
    names = iter(range(100_000, 200_000))
    world.submit_another = lambda: world.submit(f"t{next(names)}")
    grow(0, 20)
    few = measure()
    grow(20, 600)
    many = measure()
    assert all(many[call] <= few[call] * 1.5 + 50 for call in few), (few, many)


ODD_ROWS = [
    pytest.param("UPDATE task SET \"order\" = '{}' WHERE id = 'T-1'", id="no order"),
    pytest.param("UPDATE task SET \"order\" = '{' WHERE id = 'T-1'", id="no JSON"),
    pytest.param(
        "UPDATE attempt SET prompt = CAST(x'ff' AS TEXT) WHERE task = 'T-1'", id="no text"
    ),
    pytest.param("UPDATE attempt SET traced_at = 9e18 WHERE task = 'T-1'", id="no time"),
]


@pytest.mark.parametrize("sql", ODD_ROWS)
def test_a_queued_task_that_cannot_be_read_stays_queued_and_the_next_one_is_claimed(world, sql):
    world.submit("T-1")
    world.submit("T-2")
    world.queue._db.execute(sql)
    assert world.claim().task == "T-2"
    assert world.queue.claim("w", ["main"], lease=LEASE) is None
    assert list(world.queue.changed_since(None).unreadable) == ["T-1"]
    with pytest.raises(UnreadableAnswerError, match="its row in the queue: "):
        world.queue.cancel("T-1", attempt=1, reason="it is damaged", key="c")
    assert world.queue.receipt("c") is None


@pytest.mark.parametrize("sql", ODD_ROWS)
def test_a_host_whose_row_cannot_be_read_asks_again_as_if_the_queue_were_out_of_reach(world, sql):
    world.submit("T-1")
    lease = world.claim()
    world.queue._db.execute(sql)
    calls = [
        lambda: world.queue.beat(lease, [], extend=LEASE),
        lambda: world.queue.finish(lease, Report(state="succeeded", final_response="done")),
    ]
    for call in calls:
        with pytest.raises(QueueUnavailableError, match="its row in the queue: "):
            call()


def test_a_queue_whose_settings_cannot_be_read_is_configured_anew(world):
    world.submit("T-1")
    world.queue._db.execute("UPDATE queue SET spec = '{'")
    (main,) = (one for one in world.queue.queues() if one.id == "main")
    world.queue.configure(QueueSpec(id="main", max_running=1))
    assert main.counts["queued"] == 1
    assert world.claim().task == "T-1"
