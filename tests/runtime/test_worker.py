import json
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from agent.adapters.agents.command import CommandRunner
from agent.backends import Boundary
from agent.core.model.nouns import AttemptFailure, Status
from agent.errors import LockHeldError, QueueUnavailableError, UnusableStoreError
from agent.runtime.watchdog import StallLimits
from tests.adapters import git_person
from tests.adapters.known_agents import opened
from tests.adapters.processes import until
from tests.runtime.worker_world import (
    DEAF,
    LEASE,
    PUSH,
    WAIT,
    SlowTrees,
    World,
    order,
)

STREAMS = Path(__file__).parents[1] / "adapters" / "agent_streams"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied: that is faster than to make it anew."""
    place = tmp_path_factory.mktemp("model")
    git_person.found(place)
    return place / "origin.git"


@pytest.fixture
def world(model: Path, tmp_path: Path) -> Iterator[World]:
    shutil.copytree(model, tmp_path / "origin.git")
    world = World(tmp_path)
    yield world
    for task in ("t1", "t2", "t3"):
        world.runner.sweep(task, before=1_000_000, grace=0)


def test_a_task_from_claim_to_report(world: World) -> None:
    world.submit(PUSH)
    with world.host():
        view = world.over()
    assert view.state is Status.SUCCEEDED
    assert (view.final_response, view.last_error) == ("pushed", None)
    assert (view.judge, view.tree_gone) == (None, True)
    assert world.head()
    assert view.worker == "host-1"
    assert world.texts() == ["pushed"]
    assert world.told == [
        "t1 attempt 1: claimed",
        "t1 attempt 1: started",
        "t1 attempt 1: finished, succeeded (taken)",
    ]


def test_a_second_attempt_goes_on_in_the_same_worktree(world: World) -> None:
    world.submit("echo half >half; echo no luck >&2; exit 3")
    with world.host():
        first = world.over()
        assert (first.state, first.tree_gone) == (Status.FAILED, True)
        assert first.last_error == "no luck"
        world.retry(f"test -s half && {PUSH.strip()}")
        second = world.over(attempt=2)
    assert second.state is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("verb", "state"), [("cancel", Status.CANCELLED), ("interrupt", Status.FAILED)]
)
def test_it_is_stopped_only_when_its_tree_is_gone(world: World, verb: str, state: Status) -> None:
    world.submit(DEAF)
    with world.host():
        world.ready(2)
        getattr(world.queue, verb)("t1", attempt=1, reason="why", key="stop")
        view = world.over()
        assert world.running() == []
    assert (view.state, view.tree_gone) == (state, True)
    assert "t1 attempt 1: stopped" in world.told


@pytest.mark.parametrize("who", ["agent", "git"])
def test_whoever_is_silent_is_beaten_for(world: World, who: str) -> None:
    wait = WAIT.replace("echo ready;", "")
    world.submit(wait + PUSH if who == "agent" else PUSH)
    trees = SlowTrees(world) if who == "git" else world.trees
    with world.host(trees=trees):
        world.ready()
        for _ in range(4):
            world.beaten()
        world.go()
        assert world.over().state is Status.SUCCEEDED


def test_who_is_too_slow_is_stopped(world: World) -> None:
    world.submit("echo so far\n" + DEAF)
    with world.host(time_limit=0.5):
        view = world.over()
        assert world.running() == []
    assert (view.state, view.last_error) == (Status.FAILED, "time limit of 0.5 s reached")
    assert view.failure == AttemptFailure(class_="time-limit")
    assert view.final_response == "so far\nready"


def test_an_agent_that_cannot_be_started_is_no_work_of_the_task(world: World) -> None:
    world.submit(PUSH)
    runner = CommandRunner(["no-such-agent"], prompt="stdin", output="text", env={},
                           now=world.clock.now, scope=str(world.place))  # fmt: skip
    with world.host(runner=runner):
        view = world.over()
    assert (view.state, view.failure) == (Status.FAILED, AttemptFailure(class_="spawn-failed"))
    assert view.last_error is not None
    assert "no-such-agent" in view.last_error


REPORTED = [
    ("real_usage_limit_claude", Status.FAILED, "quota", "You've hit your session limit"),
    ("f_ctx_claude", Status.FAILED, "context-overflow", "Prompt is too long"),
    ("deny_claude", Status.SUCCEEDED, "denied", "2 tool calls were denied: Bash"),
]


@pytest.mark.parametrize(
    ("stream", "state", "class_", "said"), [pytest.param(*row, id=row[2]) for row in REPORTED]
)
def test_what_the_agent_s_program_reports_comes_to_the_queue(
    world: World, stream: str, state: Status, class_: str, said: str
) -> None:
    world.submit("do it")
    runner = opened(world.place, "claude", str(STREAMS / f"{stream}.jsonl"), Boundary())
    with world.host(runner=runner):
        view = world.over()
    assert (view.state, view.failure and view.failure.class_) == (state, class_)
    assert view.session
    assert view.last_error is not None
    assert view.last_error.startswith(said)


def test_a_fenced_host_stops_its_agent_and_leaves_the_successor_alone(world: World) -> None:
    world.submit(DEAF)
    with world.host():
        world.ready(2)
        world.lose()
        until(lambda: not world.running())
        until(lambda: "t1 attempt 1: finished, stopped (late)" in world.told)
        lost = world.view()
        assert (lost.state, lost.tree_gone, lost.late_reports) == (Status.LOST, True, ())
        world.retry(WAIT + PUSH)
        world.ready(3)
        assert len(world.running()) == 1
        world.go()
        view = world.over(attempt=2)
    assert view.state is Status.SUCCEEDED
    assert view.late_reports == ()


def test_a_result_that_comes_too_late_is_kept_as_late(world: World) -> None:
    world.submit(WAIT + PUSH)
    with world.host(beat_every=60):
        world.ready()
        world.lose()
        world.go()
        view = until(lambda: seen if (seen := world.view()).late_reports else None)
    assert view is not None
    assert (view.state, view.tree_gone) == (Status.LOST, True)
    assert view.late_reports[0].final_response == "ready\npushed"


def test_what_an_agent_left_running_is_ended_with_it(world: World) -> None:
    world.submit("setsid sleep 60 >/dev/null & echo $! >>{place}/pids; echo done")
    with world.host():
        view = world.over()
        assert world.ready()
        assert world.running() == []
    assert (view.state, view.tree_gone) == (Status.SUCCEEDED, True)


def test_a_task_goes_on_from_the_branch_it_continues(world: World) -> None:
    world.submit(PUSH)
    goes_on = order(branch="work/t2", continues="work/t1")
    lost = order(branch="work/t3", continues="work/gone")
    with world.host():
        world.over()
        world.submit("test -s done", goes_on, task="t2")
        world.submit("true", lost, task="t3")
        assert world.over("t2").state is Status.SUCCEEDED
        failed = world.over("t3")
    assert failed.state is Status.FAILED
    assert failed.last_error is not None
    assert "has no branch 'work/gone', which the task goes on from" in failed.last_error


def test_an_outage_shorter_than_the_lease_is_ridden_out(world: World) -> None:
    world.submit(WAIT + PUSH)
    with world.host():
        world.ready()
        world.source.fault = QueueUnavailableError("away")
        world.go()
        until((world.place / "work" / "t1" / "done").exists)
        until(lambda: list(world.run_folder().glob("exit")))
        assert world.view().state is Status.RUNNING
        world.source.fault = None
        assert world.over().state is Status.SUCCEEDED
    assert world.texts() == ["ready", "pushed"]


def test_an_outage_longer_than_the_lease_stops_the_agent(world: World) -> None:
    world.submit(DEAF)
    with world.host():
        world.ready(2)
        world.source.fault = UnusableStoreError("disk full")
        world.lose()
        until(lambda: not world.running())
        until((world.run_folder() / "report.json").exists)
        world.source.fault = None
        view = until(lambda: seen if (seen := world.view()).late_reports else None)
    assert view is not None
    assert view.state is Status.LOST


def test_an_outage_that_nobody_noticed_is_reported(world: World) -> None:
    world.submit(DEAF)
    with world.host():
        world.ready(2)
        world.source.fault = UnusableStoreError("disk full")
        world.clock.ahead += timedelta(seconds=2 * LEASE)
        until(lambda: not world.running())
        until((world.run_folder() / "report.json").exists)
        world.source.fault = None
        view = world.over()
    assert (view.state, view.tree_gone) == (Status.FAILED, True)
    assert view.last_error == "the queue was out of reach until the lease ran out"


def test_an_agent_that_does_not_get_on_is_stopped_on_a_live_host(world: World) -> None:
    world.submit("echo so far\n" + DEAF)
    with world.host(stall=StallLimits(quiet=LEASE)):
        world.ready(2)
        until(lambda: world.texts() == ["so far", "ready"])
        world.beaten()
        with world.way:
            world.clock.ahead += timedelta(seconds=0.6 * LEASE)
        world.beaten()
        world.clock.ahead += timedelta(seconds=0.6 * LEASE)
        view = world.over()
        assert world.running() == []
    assert view.failure == AttemptFailure(class_="stalled")
    assert view.last_error == f"no progress for {LEASE:g} s"


def test_a_machine_that_slept_goes_on_where_it_was(world: World) -> None:
    world.submit(WAIT + PUSH)
    with world.host(time_limit=2 * LEASE):
        world.ready()
        with world.way:
            world.sleep()
        world.beaten()
        world.go()
        view = world.over()
    assert (view.state, view.attempt) == (Status.SUCCEEDED, 1)
    assert world.texts() == ["ready", "pushed"]


def test_time_that_a_host_was_awake_counts_for_its_limit(world: World) -> None:
    world.submit(WAIT)
    with world.host(time_limit=LEASE):
        world.ready()
        for _ in range(2):
            world.beaten()
            world.clock.ahead += timedelta(seconds=0.6 * LEASE)
        view = world.over()
    assert view.last_error == f"time limit of {LEASE:g} s reached"


def test_a_host_reports_what_the_remote_has_of_an_attempt(world: World) -> None:
    world.submit(PUSH)
    world.submit("true", order(branch="work/t2"), task="t2")
    with world.host():
        seen, nothing = world.over().pushed, world.over("t2").pushed
    assert seen is not None
    assert (seen.commit, nothing) == (world.head(), None)


def test_a_remote_that_is_gone_at_the_end_is_no_reason_to_lose_a_result(world: World) -> None:
    world.submit("mv {place}/origin.git {place}/away; echo done")
    with world.host():
        view = world.over()
    assert (view.state, view.final_response, view.pushed) == (Status.SUCCEEDED, "done", None)
    (told,) = (line for line in world.told if "cannot be seen" in line)
    assert told.startswith("t1 attempt 1: what was pushed cannot be seen: git ls-remote: ")


def test_a_host_that_is_stopped_leaves_nothing_running(world: World) -> None:
    for task in ("t1", "t2", "t3"):
        world.submit(DEAF, task=task)
    with world.host():
        world.ready(4)
    assert world.running() == []
    for task in ("t1", "t2"):
        view = world.view(task)
        assert (view.state, view.last_error) == (Status.FAILED, "the worker host was stopped")
        assert view.failure == AttemptFailure(class_="host-stopped")
    assert world.view("t3").state is Status.QUEUED


def test_no_secret_of_host_and_queue_reaches_an_agent(world: World) -> None:
    world.submit(f"env\n{PUSH}")
    with world.host():
        view = world.over()
    claim = json.loads((world.run_folder() / "lease.json").read_text())
    token = claim["lease"]["token"]
    assert len(token) > 16
    seen = view.final_response or ""
    assert "WAVEKEEPER_MARK=t1/1/" in seen
    assert token not in seen


def test_no_more_agents_run_than_there_are_slots(world: World) -> None:
    for task in ("t1", "t2", "t3"):
        world.submit(WAIT, order(commit="none"), task=task)
    with world.host(slots=2):
        world.ready(2)
        assert world.view("t3").state is Status.QUEUED
        world.go()
        assert world.over("t3").state is Status.SUCCEEDED


def test_what_an_earlier_attempt_left_is_swept(world: World) -> None:
    world.submit("exit 1")
    with world.host():
        world.over()
        environment = {
            "WAVEKEEPER_MARK": f"t1/1/{uuid.uuid4().hex}",
            "WAVEKEEPER_SCOPE": str(world.place),
        }
        with subprocess.Popen([shutil.which("sleep") or "", "60"], env=environment) as stray:
            world.retry(PUSH)
            assert world.over(attempt=2).state is Status.SUCCEEDED
            assert stray.wait(5) == -15


def test_an_attempt_that_cannot_begin_fails_and_the_host_goes_on(world: World) -> None:
    (world.place / "work" / "t1").mkdir(parents=True)
    (world.place / "work" / "t1" / "mine").touch()
    world.submit(PUSH)
    world.submit("echo looked", order(commit="none"), task="t2")
    with world.host():
        view = world.over()
        assert world.over("t2").state is Status.SUCCEEDED
    assert view.state is Status.FAILED
    assert view.last_error is not None
    assert view.last_error.endswith("move it away")
    assert "\n" not in view.last_error
    assert f"t1 attempt 1: {view.last_error}" in world.told


def test_an_agent_that_can_be_watched_no_longer_is_stopped(world: World) -> None:
    world.submit(DEAF)
    with world.host():
        world.ready(2)
        output = world.run_folder() / "output"
        output.rename(output.with_name("away"))
        output.mkdir()
        view = world.over()
        assert world.running() == []
    assert view.state is Status.FAILED
    assert view.last_error is not None
    assert "Is a directory" in view.last_error


def test_a_report_that_cannot_be_delivered_waits_for_the_next_host(world: World) -> None:
    world.submit(PUSH)
    world.source.broken = ("finish",)
    world.source.fault = QueueUnavailableError("away")
    with world.host() as stop:
        until(lambda: world.ended("t1"))
        stop.set()
        kept = "t1 attempt 1: the queue is out of reach, report kept"
        while kept not in world.told:
            # It goes on trying, and beating, for as long as a lease.
            world.beaten(lambda: kept in world.told)
            world.clock.ahead += timedelta(seconds=LEASE * 0.3)
    world.source.fault = None
    with world.host():
        assert world.over().state is Status.SUCCEEDED


@pytest.fixture
def full_disk(world: World) -> Iterator[None]:
    """The run folders are to be on a disk that has no room."""
    disk = world.settings.folder
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(b"x" * 4096):
            pass
    yield
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.usefixtures("full_disk")
def test_an_attempt_on_a_full_disk_fails_and_the_queue_learns_it(world: World) -> None:
    world.submit(PUSH)
    with world.host():
        view = world.over()
    assert view.state is Status.FAILED
    assert view.last_error is not None
    assert "No space left on device" in view.last_error


def test_two_hosts_of_one_name_do_not_share_a_folder(world: World) -> None:
    world.submit(WAIT)
    with world.host():
        world.ready()
        with pytest.raises(
            LockHeldError, match=r"host named 'host-1' is at work in .*another name"
        ):
            world.worker().run(threading.Event())
        with world.host(name="host-2"):
            pass
        assert len(world.running()) == 1


@pytest.mark.parametrize("call", ["claim", "beat", "finish"])
def test_a_bug_stops_the_host_and_the_agents(world: World, call: str) -> None:
    def until_it_breaks() -> None:
        with world.host():
            world.ready()
            world.source.broken = (call,)
            world.source.fault = ZeroDivisionError("a bug")
            if call == "finish":
                world.go()
            until(lambda: not world.running())
            if call != "claim":
                until(lambda: "t1 attempt 1: a bug stops the host: ZeroDivisionError" in world.told)

    world.submit(WAIT + PUSH)
    with pytest.raises(ZeroDivisionError):
        until_it_breaks()
    assert world.running() == []
    assert not (world.run_folder() / "finished").exists() or call == "claim"
