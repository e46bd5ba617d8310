"""The embedded queue keeps the contract, and what only a file can: it lasts and is shared."""

import shutil
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime

import pytest

from agent.adapters.queue import embedded
from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.queueing import QueueSpec
from agent.errors import QueueUnavailableError, UnusableStoreError
from tests.adapters.queue_contract import QueueContract
from tests.adapters.queue_world import LEASE, Clock, World


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
        queue._connection().execute("PRAGMA synchronous = OFF")
        yield World(queue, clock.now, clock.advance)


def wall():
    return datetime.now(UTC)


class TestSqliteQueue(QueueContract):
    """All of it."""


def test_each_commit_waits_for_the_disk(path):
    with SqliteQueue(path, wall) as queue:
        settings = {
            name: queue._connection().execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


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


def test_closing_closes_the_connections_of_all_threads(path, clock):
    queue = SqliteQueue(path, clock.now)
    world = World(queue, clock.now, clock.advance)
    both = threading.Barrier(3)

    def visit(name):
        world.submit(name)
        both.wait(10)

    threads = [threading.Thread(target=visit, args=(name,)) for name in ("t1", "t2")]
    for thread in threads:
        thread.start()
    both.wait(10)
    assert len(queue._connections) == 2
    for thread in threads:
        thread.join()
    queue.close()
    # SQLite removes this file when the last connection is closed, and only then.
    assert not path.with_name(path.name + "-wal").exists()
    with pytest.raises(QueueUnavailableError, match="open it again"):
        queue.get("t1")


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


def a_text_file(path):
    path.write_text("these are not the pages of a database\n" * 100)


def a_folder(path):
    path.mkdir()


def another_program(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mine (a)")
        db.execute(f"PRAGMA user_version = {embedded.VERSION}")


def another_version(path):
    SqliteQueue(path, wall).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {embedded.VERSION + 1}")


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        pytest.param(a_text_file, "name another file", id="not a database"),
        pytest.param(a_folder, "check that its folder", id="a folder"),
        pytest.param(another_program, "name another file", id="another program's database"),
        pytest.param(another_version, "move the file away", id="another version"),
    ],
)
def test_a_file_that_cannot_be_a_queue_is_refused_and_left_alone(path, make, advice):
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UnusableStoreError, match=advice) as refusal:
        SqliteQueue(path, wall)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(UnusableStoreError, match="check its folder"):
        SqliteQueue(tmp_path / "state" / "queue.db", wall)


def test_an_old_sqlite_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(UnusableStoreError, match=r"use a Python with 3\.37 or later"):
        SqliteQueue(path, wall)


def test_a_damaged_file_is_named(path, world):
    world.submit()
    world.queue.close()
    header = path.read_bytes()[:100]
    path.write_bytes(header + b"\xff" * 50_000)
    with pytest.raises(UnusableStoreError, match="move it away"):
        SqliteQueue(path, wall)


def locked(_, other):
    other._connection().execute("BEGIN IMMEDIATE")


def full(queue, _):
    queue._connection().execute("PRAGMA max_page_count = 1")


def read_only(queue, _):
    queue._connection().execute("PRAGMA query_only = ON")


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        pytest.param(locked, "another process keeps it locked", id="locked"),
        pytest.param(full, "free some disk space", id="disk full"),
        pytest.param(read_only, "check that it can be written", id="read-only"),
    ],
)
def test_a_call_that_cannot_write_says_so_and_changes_nothing(
    path, clock, monkeypatch, fault, advice
):
    monkeypatch.setattr(embedded, "BUSY_SECONDS", 0.05)
    with SqliteQueue(path, clock.now) as queue, SqliteQueue(path, clock.now) as other:
        world = World(queue, clock.now, clock.advance)
        world.submit("t1")
        fault(queue, other)
        with pytest.raises(QueueUnavailableError, match=advice) as refusal:
            world.submit("t2", prompt="x" * 100_000, key="k")
        assert "\n" not in str(refusal.value)
        assert not queue._connection().in_transaction
        assert [task.id for task in queue.changed_since(None).tasks] == ["t1"]
        assert queue.receipt("k") is None


def test_the_cost_of_a_call_does_not_grow_with_the_tasks_known(world):
    """Counted in steps of SQLite's own machine, which no busy computer can falsify."""
    db = world.queue._connection()
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
