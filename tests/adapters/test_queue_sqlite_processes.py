"""The embedded queue between real processes: one limit, one effect, a kill at the worst time."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime

import pytest

from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.queueing import QueueSpec
from tests.adapters.queue_world import World

PREAMBLE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.nouns import TaskKind
from agent.core.model.queueing import Order, Report

def say(*words):
    print(*words, flush=True)

def opened():
    return SqliteQueue(Path(sys.argv[1]), lambda: datetime.now(UTC))
"""

OPENER = """
say("ready"); sys.stdin.readline()
with opened() as queue:
    say("opened", queue.changed_since(None).cursor.position)
"""

SUBMITTER = """
with opened() as queue:
    say("ready"); sys.stdin.readline()
    order = Order(kind=TaskKind.CODE_CHANGE, branch="b")
    receipt = queue.submit("t1", queue="main", prompt="do it", order=order, key="k")
    say(receipt.model_dump_json())
"""

HOST = """
with opened() as queue:
    say("ready"); sys.stdin.readline()
    lease = queue.claim(sys.argv[2], ["main"], lease=60)
    say("claimed" if lease else "nothing"); sys.stdin.readline()
    log = open(sys.argv[3], "a", buffering=1)
    while lease or queue.queues()[0].counts["queued"]:
        if lease:
            log.write(f"start {lease.task}\\n")
            assert queue.beat(lease, [], extend=60) == "ok"
            log.write(f"end {lease.task}\\n")
            assert queue.finish(lease, Report(state="succeeded")) == "taken"
        lease = queue.claim(sys.argv[2], ["main"], lease=60)
    log.close()
    say("done")
"""

CUT_OFF = """
with opened() as queue:
    def stop_at(statement):
        if statement == "COMMIT":
            say("all is written, nothing is committed"); sys.stdin.readline()
    queue._db.set_trace_callback(stop_at)
    queue.claim("host-1", ["main"], lease=60)
"""


def wall():
    return datetime.now(UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.db"


@pytest.fixture
def world(path):
    with SqliteQueue(path, wall) as queue:
        yield World(queue, wall, lambda _: None)


@pytest.fixture
def spawn(path):
    """Starts a program on the queue's file; whatever is left of it is killed in the end."""
    started = []

    def start(program, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + program, str(path), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()


def told(process):
    return process.stdout.readline().strip()


def go_on(processes):
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def test_a_new_file_that_another_process_holds_is_waited_for(path):
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        release.start()
        with SqliteQueue(path, wall) as queue:
            assert queue.changed_since(None).tasks == ()
        release.join()


def test_processes_that_open_a_new_file_at_once_share_one_queue(spawn):
    openers = [spawn(OPENER) for _ in range(4)]
    assert [told(process) for process in openers] == ["ready"] * 4
    go_on(openers)
    answers = {told(process) for process in openers}
    assert len(answers) == 1
    assert answers.pop().startswith("opened ")


def test_two_processes_with_one_key_are_one_effect(world, spawn):
    submitters = [spawn(SUBMITTER) for _ in range(2)]
    assert [told(process) for process in submitters] == ["ready"] * 2
    go_on(submitters)
    receipts = [told(process) for process in submitters]
    kept = world.queue.receipt("k")
    assert kept is not None
    assert (kept.effect, kept.attempt) == ("done", 1)
    assert receipts == [kept.model_dump_json()] * 2
    assert [task.id for task in world.queue.changed_since(None).tasks] == ["t1"]


def test_hosts_keep_one_limit_and_run_each_task_once(path, spawn, tmp_path):
    log, names = tmp_path / "log", [f"t{number}" for number in range(30)]
    with SqliteQueue(path, wall) as queue:
        world = World(queue, wall, lambda _: None)
        queue.configure(QueueSpec(id="main", max_running=3))
        for name in names:
            world.submit(name)
        hosts = [spawn(HOST, f"host-{number}", log) for number in range(4)]
        assert [told(process) for process in hosts] == ["ready"] * 4
        go_on(hosts)
        first = sorted(told(process) for process in hosts)
        assert first == ["claimed", "claimed", "claimed", "nothing"]
        go_on(hosts)
        assert [told(process) for process in hosts] == ["done"] * 4
        (main,) = queue.queues()
        assert main.counts["succeeded"] == len(names)
    running = peak = 0
    started = []
    for line in log.read_text().splitlines():
        event, task = line.split()
        running += 1 if event == "start" else -1
        peak = max(peak, running)
        started += [task] if event == "start" else []
    assert peak <= 3
    assert sorted(started) == sorted(names)


def test_a_host_killed_before_it_commits_leaves_a_whole_file(path, world, spawn):
    world.submit()
    before = world.view()
    host = spawn(CUT_OFF)
    assert told(host) == "all is written, nothing is committed"
    host.kill()
    assert host.wait(10) == -9
    assert world.view() == before
    lease = world.claimed()
    assert world.finish(lease, final_response="done") == "taken"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchone() is None
