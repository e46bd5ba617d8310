"""A queue file that another process keeps locked is a queue out of reach: all go on afterwards."""

import sqlite3
from contextlib import ExitStack, closing, contextmanager

import pytest

from agent.adapters.common import sqlite
from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.nouns import Status
from tests.adapters import git_person
from tests.adapters.processes import until
from tests.runtime.worker_world import PUSH, World
from tests.simulation.small_world import SmallWorld, Turn, spec


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_LOOK_AFTER", 0.02)
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.02)
    return tmp_path / "queue.db"


@contextmanager
def locked(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_the_supervisor_ticks_on_and_doubles_nothing(tmp_path, path):
    small = SmallWorld(tmp_path, {}, file=path)
    with small.queue:
        small.submit(spec())
        ticker = small.ticker()
        with locked(path):
            results = [ticker.tick() for _ in range(3)]
            assert small.queue.get("T-1") is None
        assert {one.result for result in results for one in result.done} <= {"open", "void"}
        assert "kept it locked" in results[0].done[0].said
        small.run(ticker)
        assert small.outcome() == {"T-1": ("accepted", 1)}
        assert small.world.journal.unresolved() == []


def test_a_lease_that_runs_out_meanwhile_is_seen_afterwards(tmp_path, path):
    """Marking it as lost is a write, so until then the queue cannot be read either."""
    small = SmallWorld(tmp_path, {("T-1", 1): Turn(vanish=True)}, file=path)
    with small.queue:
        small.submit(spec())
        ticker = small.ticker()
        ticker.tick()
        small.host()
        small.clock.move(61)
        with locked(path):
            result = ticker.tick()
            assert result.snapshot.control_plane.reachable is False
            assert result.done == ()
        small.run(ticker)
        assert small.outcome() == {"T-1": ("accepted", 2)}


def test_a_worker_host_says_so_once_and_works_on(tmp_path, path):
    git_person.found(tmp_path)
    world = World(tmp_path)
    with SqliteQueue(path, world.clock.now) as queue:
        world.queue = world.source = queue
        world.submit(PUSH)
        with ExitStack() as stack:
            with locked(path):
                stack.enter_context(world.host())
                until(lambda: world.told)
            assert world.over().state is Status.SUCCEEDED
    (said,) = [line for line in world.told if "out of reach" in line]
    assert said.startswith("no work for now, the queue is out of reach: ")
    assert "\n" not in said
