"""A small wave from end to end through the commands: submit, work, run, status."""

import json
import os
import signal
import sys

import pytest

from tests.acceptance.program import GOOD, Project, here
from tests.adapters.git_hostile import Person
from tests.adapters.processes import pids, running, until

AGENT = """
import pathlib, re, subprocess, sys
branch = re.search(r"wavekeeper/[A-Za-z0-9-]+", sys.stdin.read())[0]
check = pathlib.Path("services/mailer/check.py")
check.parent.mkdir(parents=True, exist_ok=True)
check.write_text("print('checked')")
for arguments in (["add", "."], ["commit", "-qm", "Name the address"],
                  ["push", "-q", "origin", f"HEAD:refs/heads/{branch}"]):
    subprocess.run(["git", *arguments], check=True)
print("I named the address and pushed.")
"""

SETTINGS = f"""
[supervisor]
mode = "auto"
interval = "5m"

[worker]
command = [{json.dumps(sys.executable)}, "{{agent}}"]
writable = ["../out"]
heartbeat = "0.2s"
lease = "10s"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    project = Project.whole(tmp_path)
    project.push_a_first_commit()
    (tmp_path / "out").mkdir()
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)
    project.write("wavekeeper.toml", SETTINGS.replace("{agent}", str(agent)))
    monkeypatch.chdir(project.folder)
    return project


LOOKS_FIRST = """
import os, pathlib, subprocess, sys
own = subprocess.run(["git", "config", "--type=bool", "commit.gpgSign"], stdout=subprocess.PIPE)
pathlib.Path(sys.argv[0]).with_name("out").joinpath("signs").write_bytes(own.stdout)
os.environ.update(GIT_CONFIG_GLOBAL=os.devnull, XDG_CONFIG_HOME=os.devnull)
"""


@pytest.mark.parametrize("hostile", [False, True], ids=["plain git", "hostile git"])
def test_a_task_is_submitted_worked_on_proven_and_accepted(hostile, project, tmp_path):
    """`hostile`: the agent sees that configuration and gets along; the product does not."""
    person = Person(tmp_path / "home", tmp_path)
    theirs = person.at_home() if hostile else {}
    (tmp_path / "agent.py").write_text((LOOKS_FIRST if hostile else "") + AGENT)
    assert project.run("submit", "w.toml", **theirs).returncode == 0
    log = tmp_path / "work.log"
    with log.open("wb") as out:
        host = project.start("work", "--name", "host-1", stdout=out, **theirs)
    try:
        ended = project.run("run", "--until-done", "--interval", "0.2s", **theirs)
        host.send_signal(signal.SIGTERM)
        assert host.wait(30) == 143
    finally:
        host.kill()
        host.wait()
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    done = [line.split()[4].rstrip(":") for line in lines if " T-1 " in line]
    assert done == ["submit", "inspect", "judge", "accept"]
    assert lines[-1] == "every task is accepted, 1 of 1"
    assert log.read_text().splitlines()[:3] == [
        "worker host host-1: main, infra",
        "T-1 attempt 1: claimed",
        "T-1 attempt 1: started",
    ]
    here_now = json.loads(here("status", "--json").stdout)
    (task,) = here_now["tasks"]
    assert (task["group"], task["status"], task["attempt"]) == ("done", "accepted", 1)
    assert [one.kind for one in project.records("start", "stop")] == ["start", "stop"]
    assert not person.asked.exists()
    assert not hostile or (tmp_path / "out" / "signs").read_text() == "true\n"


FIRST = GOOD[GOOD.index("[[task]]") :]
CHAIN = GOOD + FIRST.replace('id = "T-1"', 'id = "T-2"\ndepends_on = ["T-1"]')


def test_a_wave_with_a_dependency_can_be_looked_at_after_every_tick(project, tmp_path):
    """Above all once T-1 is accepted while T-2 is planned, the one depending on the other."""
    project.write("chain.toml", CHAIN)
    assert project.run("submit", "chain.toml").returncode == 0
    with (tmp_path / "work.log").open("wb") as out:
        host = project.start("work", "--name", "host-1", stdout=out)
    seen = []

    def tick_and_look():
        for command in (["run", "--once"], ["status", "--line"], ["status"], ["status", "--json"]):
            ended = here(*command)
            assert (ended.returncode, ended.stderr) == (0, ""), (command, seen)
        seen.append({one["id"]: one["status"] for one in json.loads(ended.stdout)["tasks"]})
        return set(seen[-1].values()) == {"accepted"}

    try:
        until(lambda: tick_and_look() or {"T-1": "accepted", "T-2": "planned"} in seen, 60)
        piped = project.run("run", "--until-done", "--interval", "0.2s")
        assert tick_and_look()
    finally:
        host.terminate()
        host.wait(30)
    assert {"T-1": "accepted", "T-2": "planned"} in seen
    assert (piped.returncode, piped.stderr) == (0, "")
    assert piped.stdout.splitlines()[-1] == "every task is accepted, 2 of 2"


def test_a_supervisor_and_a_host_end_cleanly_on_a_signal(project, tmp_path):
    """The supervisor waits for its next tick in five minutes, the host for work."""
    logs = {name: tmp_path / f"{name}.log" for name in ("run", "work")}
    processes = {}
    for name, log in logs.items():
        with log.open("wb") as out:
            processes[name] = project.start(name, stdout=out)
    try:
        until(lambda: "Nothing to do." in logs["run"].read_text(), 30)
        until(lambda: "worker host" in logs["work"].read_text(), 30)
        processes["run"].send_signal(signal.SIGTERM)
        processes["work"].send_signal(signal.SIGINT)
        assert processes["run"].wait(10) == 143
        assert processes["work"].wait(10) == 130
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    assert [one.kind for one in project.records("start", "stop")] == ["start", "stop"]
    assert "stopping the agents" in logs["work"].read_text()
    assert "Traceback" not in logs["run"].read_text() + logs["work"].read_text()


STUBBORN = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[0]).with_name("pids").write_text(f"{os.getpid()}\\n")
time.sleep(120)
"""


def test_a_host_that_is_asked_twice_leaves_its_agents_alone(project, tmp_path):
    """The first signal stops a stubborn agent, which takes its time; the second does not wait."""
    (tmp_path / "agent.py").write_text(STUBBORN)
    # The test looks for the agent by the process id that the agent itself sees.
    settings = (project.folder / "wavekeeper.toml").read_text()
    project.write("wavekeeper.toml", settings + 'isolation = "none"\n')
    here("submit", "w.toml")
    here("run", "--once")
    agents, log = tmp_path / "pids", tmp_path / "work.log"
    with log.open("wb") as out:
        host = project.start("work", stdout=out)
    try:
        until(lambda: running(agents), 30)
        host.send_signal(signal.SIGINT)
        until(lambda: "stopping the agents; once more leaves them" in log.read_text())
        host.send_signal(signal.SIGINT)
        assert host.wait(8) == 130  # a clean stop would take the agent's grace of 10 s
        assert running(agents)
    finally:
        host.kill()
        host.wait()
        for pid in pids(agents):
            os.kill(pid, signal.SIGKILL)
    assert "Traceback" not in log.read_text()
