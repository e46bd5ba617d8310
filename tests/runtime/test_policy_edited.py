"""A policy that is edited while a supervisor runs: taken up between ticks, or not at all."""

import shutil
import threading
from dataclasses import replace

import pytest

from agent.adapters.common.lock import FileLock
from agent.adapters.files.policy import LOCK, WatchedPolicy, lock_of, read_policy
from agent.cli.run import Lines
from agent.runtime.context import Supervision
from agent.runtime.loop import Loop
from tests.simulation.small_world import ROOT, SmallWorld, spec


class Queue:
    """The real one; the first submit after `then` was set is the moment in which it happens."""

    def __init__(self, queue):
        self._queue = queue
        self.then = None

    def __getattr__(self, name):
        return getattr(self._queue, name)

    def submit(self, *args, **kwargs):
        if self.then is not None:
            self.then()
            self.then = None
        return self._queue.submit(*args, **kwargs)


class Running:
    """A supervisor of five planned tasks, with policy files of its own."""

    def __init__(self, folder):
        self.own = folder / "own"
        shutil.copytree(ROOT / "policies", self.own)
        self.first = read_policy(self.own)
        self.small = SmallWorld(folder, {})
        self.small.submit(*(spec(f"T-{number}") for number in range(1, 6)))
        self.queue = Queue(self.small.queue)
        watched = WatchedPolicy(lambda: read_policy(self.own), [self.own], self.first.hash)
        self.world = replace(self.small.world, policies=watched, queue=self.queue)
        self.ticks = []

    def edit(self, old, new, name="submit"):
        path = self.own / f"{name}.toml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def run(self, ticks, *, meanwhile=None):
        """So many ticks, in the first of which something happens between deciding and acting."""
        self.queue.then = meanwhile
        how = Supervision(policy=self.first, mode="auto", interval=0.001)
        loop = Loop(
            self.world, how, FileLock(self.small.folder / "lock"), "me", self.ticks.append, print
        )
        loop.run(threading.Event(), until=lambda _: len(self.ticks) >= ticks)
        return [len(one.done) for one in self.ticks]

    def noted(self, kind):
        entries = self.small.world.journal.entries(kinds=(kind,))
        return [entry.record.body for entry in entries]


@pytest.fixture
def running(tmp_path):
    return Running(tmp_path)


def test_a_tick_has_one_policy_from_end_to_end(running):
    done = running.run(2, meanwhile=lambda: running.edit("per_tick = 3", "per_tick = 1"))
    assert done == [3, 1]
    intents = [body["policy"] for body in running.noted("intent")]
    first, second = running.first.hash, read_policy(running.own).hash
    assert intents == [first] * 3 + [second]
    assert [one.policy.hash for one in running.ticks] == [first, second]
    assert [body["policy"] for body in running.noted("policy")] == [second]
    assert running.ticks[0].policy_said is None
    assert running.ticks[1].policy_said == f"policy {second[:12]} is in force now"


def _half(running):
    path = running.own / "submit.toml"
    path.write_text(path.read_text(encoding="utf-8")[:-40], encoding="utf-8")


SPOILT = [
    pytest.param(_half, "submit.toml", id="half written"),
    pytest.param(lambda it: (it.own / "submit.toml").write_bytes(b""), "per_tick", id="emptied"),
    pytest.param(lambda it: (it.own / "guard.toml").unlink(), "cannot be read", id="gone"),
    pytest.param(lambda it: shutil.rmtree(it.own), "cannot be read", id="the folder is gone"),
    pytest.param(lambda it: (it.own / "guard.toml").write_bytes(b"\xff\xfe"), "not UTF-8",
                 id="no text"),
    pytest.param(lambda it: it.edit("per_tick = 3", "per_tick = 99"), "per_tick at most 99",
                 id="loosened"),
    pytest.param(lambda it: it.edit('status = ["queued"]', 'status = ["working"]', "guard"),
                 "move: mode=approve|auto", id="swapped for another rule table"),
    pytest.param(lambda it: (it.own / LOCK).write_bytes(b""), "leave-alone: always",
                 id="a lock that lists nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), SPOILT)
def test_what_may_not_be_used_leaves_the_policy_in_force_and_is_said_once(running, spoil, says):
    done = running.run(4, meanwhile=lambda: spoil(running))
    assert done[:2] == [3, 2]
    assert all(one.policy is running.first for one in running.ticks)
    (refused,) = running.noted("policy")
    assert refused["policy"] == running.first.hash
    assert says in refused["refused"]
    told = [one.policy_said for one in running.ticks]
    assert told[1] == f"policy {running.first.hash[:12]} stays in force: {refused['refused']}"
    assert told[:1] + told[2:] == [None] * 3
    (line, *_) = Lines().of(running.ticks[1], sentences=True)
    assert "stays in force" in line


def test_a_loosened_policy_is_taken_up_once_it_is_reviewed(running):
    def reviewed():
        running.edit("per_tick = 3", "per_tick = 99")
        loose = read_policy(running.own, locked=False)
        (running.own / LOCK).write_text(lock_of(loose), encoding="utf-8")

    running.run(2, meanwhile=reviewed)
    assert running.ticks[1].policy.submit.per_tick == 99
