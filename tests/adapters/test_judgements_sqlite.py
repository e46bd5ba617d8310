"""The judgements in SQLite keep the contract, and what only a file can do."""

import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from agent.adapters.common.sqlite import MEMORY
from agent.adapters.queue.judgements import SqliteJudgements
from agent.errors import UnreadableAnswerError
from tests.adapters.judgements_contract import HEAVY, LEASE, JudgementsContract, World
from tests.adapters.queue_world import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "judgements.db"


@pytest.fixture
def world(clock):
    with SqliteJudgements(MEMORY, clock.now) as kept:
        yield World(kept, clock.now, clock.advance)


class TestSqliteJudgements(JudgementsContract):
    """All of it."""


def test_everything_is_still_there_after_closing(path, clock):
    with SqliteJudgements(path, clock.now) as kept:
        world = World(kept, clock.now, clock.advance)
        world.order("t1")
        world.order("t2")
        lease = world.claimed()
        waiting = list(kept.waiting())
    with SqliteJudgements(path, clock.now) as kept:
        assert list(kept.waiting()) == waiting
        assert kept.ordered("t2:1")
        assert kept.beat(lease, extend=LEASE)
        assert [one.name for one in kept.hosts()] == ["j1"]


@pytest.mark.parametrize(
    ("column", "value", "claimable"),
    [
        pytest.param("order", "{", False, id="no-json"),
        pytest.param("order", '{"task": "t1"}', False, id="half-of-it"),
        pytest.param("order", b"\xff\xfe", False, id="no-text"),
        pytest.param("ordered_at", 2**62, True, id="a-time-that-never-comes"),
        pytest.param("record", "[]", False, id="a-record-that-is-none"),
    ],
)
def test_a_damaged_row_is_one_judgements_trouble(world, column, value, claimable):
    world.order("t1")
    world.order("t2")
    how = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
    damage = f"UPDATE judgement SET \"{column}\" = {how} WHERE task = 't1'"  # noqa: S608 - ours
    world.kept._db.execute(damage, [value])
    with pytest.raises(UnreadableAnswerError, match="judgement of t1 attempt 1 cannot be read"):
        world.kept.latest("t1", 1)
    assert [one.order.task for one in world.kept.waiting()] == ["t2"]
    assert world.claimed().order.task == ("t1" if claimable else "t2")
    assert world.kept.ordered("t1:1")
    world.order("t1", key="again")
    assert world.kept.latest("t1", 1).record is None


def test_hosts_that_ask_are_seen_and_a_look_that_finds_nothing_writes_seldom(world):
    assert world.kept.hosts() == []
    world.claim("j1")
    before = world.kept._db.total_changes
    world.advance(5)
    world.claim("j1")
    assert world.kept._db.total_changes == before
    world.advance(60)
    world.claim("j2", heavy=True)
    assert [(one.name, one.heavy) for one in world.kept.hosts()] == [("j2", True), ("j1", False)]
    world.claim("j1")
    assert {one.at for one in world.kept.hosts()} == {world.now()}


def test_a_look_that_finds_nothing_does_not_wait_for_a_writer(path, clock):
    with SqliteJudgements(path, clock.now) as kept, SqliteJudgements(path, clock.now) as other:
        world = World(kept, clock.now, clock.advance)
        world.order("t1", 1, HEAVY)
        assert world.claim() is None
        with other._transaction():
            assert world.claim() is None
            assert len(world.kept.waiting()) == 1


def test_threads_judge_each_order_once(path, clock):
    names = [f"t{number}" for number in range(30)]
    judged = []
    with SqliteJudgements(path, clock.now) as kept:
        kept._db.execute("PRAGMA synchronous = OFF")
        world = World(kept, clock.now, clock.advance)
        for name in names:
            world.order(name)

        def host(name):
            while kept.waiting():
                if lease := world.claim(name):
                    judged.append(lease.order.task)
                    assert kept.finish(lease, world.record())

        threads = [threading.Thread(target=host, args=(f"j{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(judged) == sorted(names)


HOST = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from agent.adapters.queue.judgements import SqliteJudgements
from agent.core.model.nouns import JudgeRecord

now = lambda: datetime.now(UTC)
print("ready", flush=True); sys.stdin.readline()
with SqliteJudgements(Path(sys.argv[1]), now) as kept:
    while kept.waiting():
        if lease := kept.claim(sys.argv[2], lease=60, heavy=False):
            print(lease.order.task, flush=True)
            assert kept.beat(lease, extend=60)
            assert kept.finish(lease, JudgeRecord(verdict="pass", at=now()))
"""


def test_processes_judge_each_order_once(path):
    def now():
        return datetime.now(UTC)

    names = sorted(f"t{number}" for number in range(20))
    with SqliteJudgements(path, now) as kept:
        world = World(kept, now, lambda _: None)
        for name in names:
            world.order(name)
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, str(path), f"j{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    try:
        assert [host.stdout.readline() for host in hosts] == ["ready\n"] * 3
        told = []
        for host in hosts:
            host.stdin.write("go\n")
            host.stdin.flush()
        for host in hosts:
            told += host.stdout.read().split()
        assert [host.wait(10) for host in hosts] == [0, 0, 0]
    finally:
        for host in hosts:
            host.kill()
            with suppress(BrokenPipeError):
                host.communicate()
    assert sorted(told) == names
