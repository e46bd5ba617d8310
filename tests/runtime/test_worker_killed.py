"""Hosts that are killed, and what the next one makes of what they left."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.nouns import Status
from tests.adapters import git_person
from tests.adapters.processes import until
from tests.runtime.worker_world import DEAF, PUSH, WAIT, World

PROGRAM = Path(__file__).with_name("host_program.py")
COUNTED = "echo begun >>{place}/begun\n"

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied: that is faster than to make it anew."""
    place = tmp_path_factory.mktemp("model")
    git_person.found(place)
    return place / "origin.git"


@pytest.fixture
def world(model: Path, tmp_path: Path) -> Iterator[World]:
    """Its queue is a file, which a host of another process can share."""
    shutil.copytree(model, tmp_path / "origin.git")
    world = World(tmp_path)
    with SqliteQueue(tmp_path / "queue.db", world.clock.now) as queue:
        world.queue = world.source = queue
        yield world
        world.runner.sweep("t1", before=1_000_000, grace=0)


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    """Starts a host in a process of its own."""
    hosts: list[subprocess.Popen[bytes]] = []

    def started(name: str = "host-1", word: str = "") -> "subprocess.Popen[bytes]":
        place = str(world.place)
        argv = [sys.executable, str(PROGRAM), f"{place}/queue.db", str(world.remote), place, name]
        with (world.place / "told").open("ab") as told:
            host = subprocess.Popen(
                [*argv, word],
                stdout=told,
                stderr=told,
                env={**os.environ, **git_person.IDENTITY},
            )
        hosts.append(host)
        return host

    yield started
    for host in hosts:
        host.kill()
        host.wait()


def told(world: World) -> list[str]:
    return (world.place / "told").read_text().splitlines()


def lose(world: World) -> None:
    """Let the lease of a host of another process run out at once."""
    world.lose()
    world.clock.ahead = timedelta()


def begun(world: World) -> int:
    return (world.place / "begun").read_text().count("begun")


def test_a_restarted_host_adopts_an_agent_that_runs(world: World, start: Start) -> None:
    world.submit(COUNTED + WAIT + PUSH)
    host = start()
    (agent,) = world.ready()
    until(lambda: world.texts() == ["ready"])
    host.kill()
    host.wait()
    assert world.running() == [agent]
    start()
    until(lambda: "t1 attempt 1: adopted" in told(world))
    world.go()
    view = world.over()
    assert view.state is Status.SUCCEEDED
    assert (begun(world), view.attempt) == (1, 1)
    assert world.texts() == ["ready", "pushed"]


def test_a_restarted_host_reports_what_ended_meanwhile(world: World, start: Start) -> None:
    world.submit(COUNTED + WAIT + PUSH)
    host = start()
    world.ready()
    host.kill()
    host.wait()
    world.go()
    until((world.run_folder() / "exit").exists)
    start()
    assert world.over().state is Status.SUCCEEDED
    assert begun(world) == 1


@pytest.mark.parametrize("word", ["claimed", "started", "finished"])
def test_a_host_killed_at_any_change_loses_and_repeats_nothing(
    world: World, start: Start, word: str
) -> None:
    world.submit(COUNTED + PUSH)
    assert start(word=word).wait(20) == -signal.SIGKILL
    start()
    view = world.over()
    assert view.state is Status.SUCCEEDED
    assert (begun(world), view.attempt, view.late_reports) == (1, 1, ())
    until((world.run_folder() / "finished").exists)


def test_a_stop_that_was_asked_for_meanwhile_is_obeyed(world: World, start: Start) -> None:
    world.submit(DEAF)
    host = start()
    world.ready(2)
    host.kill()
    host.wait()
    world.queue.cancel("t1", attempt=1, reason="why", key="stop")
    start()
    assert world.over().state is Status.CANCELLED
    assert world.running() == []


def test_a_host_that_comes_back_too_late_stops_its_agent(world: World, start: Start) -> None:
    world.submit(DEAF)
    host = start()
    world.ready(2)
    host.kill()
    host.wait()
    lose(world)
    start()
    until(lambda: not world.running())
    until(lambda: "t1 attempt 1: finished, stopped (late)" in told(world))
    view = world.view()
    assert (view.state, view.tree_gone, view.late_reports) == (Status.LOST, True, ())


def test_a_host_of_another_name_adopts_nothing_but_recovers_what_is_lost(
    world: World, start: Start
) -> None:
    world.submit(COUNTED + DEAF)
    host = start()
    world.ready(2)
    host.kill()
    host.wait()
    start("host-2")
    lose(world)
    assert len(world.running()) == 2
    world.retry(COUNTED + PUSH)
    view = world.over(attempt=2)
    assert view.state is Status.SUCCEEDED
    assert view.worker == "host-2"
    assert (begun(world), world.running()) == (2, [])


def test_a_frozen_host_that_thaws_does_not_hit_its_successor(world: World, start: Start) -> None:
    world.submit(DEAF)
    zombie = start()
    world.ready(2)
    zombie.send_signal(signal.SIGSTOP)
    lose(world)
    world.retry(WAIT + PUSH)
    start("host-2")
    world.ready(3)
    (successor,) = world.running()
    zombie.send_signal(signal.SIGCONT)
    until(lambda: any(line.startswith("t1 attempt 1: finished") for line in told(world)))
    assert world.running() == [successor]
    world.go()
    assert world.over(attempt=2).state is Status.SUCCEEDED


def test_a_host_that_is_asked_to_stop_reports_and_ends(world: World, start: Start) -> None:
    world.submit(DEAF)
    host = start()
    world.ready(2)
    host.send_signal(signal.SIGTERM)
    assert host.wait(20) == 0
    assert world.running() == []
    assert world.view().last_error == "the worker host was stopped"
