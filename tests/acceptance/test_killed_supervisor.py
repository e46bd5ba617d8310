"""`wavekeeper run` is killed with SIGKILL again and again, and the wave ends as if it never was."""

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.program import Project

TASKS = 4
MOST_KILLS = 60

AGENT = """
import os, pathlib, subprocess, sys
sys.stdin.read()
task, attempt = os.environ["WAVEKEEPER_TASK"], int(os.environ["WAVEKEEPER_ATTEMPT"])
with open(os.environ["RUNS"], "a") as runs:
    runs.write(f"{task}/{attempt}\\n")
path = pathlib.Path(f"src/{task}.txt")
path.parent.mkdir(exist_ok=True)
path.write_text("right" if attempt > 1 or task != "T-2" else "wrong")
subprocess.run(["git", "add", "--all"], check=True)
subprocess.run(["git", "commit", "-qm", f"{task} {attempt}"], check=True)
subprocess.run(["git", "push", "-q", "origin", f"HEAD:refs/heads/wavekeeper/{task}"], check=True)
print("All done.")
"""

TASK = """
[[task]]
id = "{task}"
queue = "main"
kind = "code-change"
title = "Write {task}"
ownership = "the file src/{task}.txt"
background = "The file src/{task}.txt is to say: right. Nothing else belongs in it."
write_scope = ["src/{task}.txt"]
validation_scope = "Run the acceptance command in the worktree."
forbidden = ["do not touch other files"]
acceptance_commands = [["grep", "-q", "right", "src/{task}.txt"]]
[[task.criteria]]
id = "C1"
text = "the file says: right"
proof = "checks-passed"
"""


def _project(folder: Path) -> Project:
    project = Project.whole(folder)
    project.push_a_first_commit()
    project.write("worker.py", AGENT)
    (out := folder / "out").mkdir()
    names = [f"T-{number}" for number in range(1, TASKS + 1)]
    wave = '[wave]\nid = "w1"\ngoal = "Four right files"\n'
    project.write("w.toml", wave + "".join(TASK.format(task=name) for name in names))
    project.write(
        "wavekeeper.toml",
        '[supervisor]\nmode = "auto"\n[worker]\nslots = 3\nlease = "9s"\nheartbeat = "0.3s"\n'
        f"command = {json.dumps([sys.executable, str(project.folder / 'worker.py')])}\n"
        f"writable = [{json.dumps(str(out))}]\n"
        f"[worker.environment]\nRUNS = {json.dumps(str(out / 'runs'))}\n",
    )
    return project


def _killed_until_it_ends(project: Project, chance: random.Random) -> int:
    """Start the supervisor and kill it, until one is quick enough: how often it was killed."""
    for kills in range(MOST_KILLS):
        with (project.folder / "log").open("ab") as log:
            running = project.start("run", "--until-done", "--interval", "0.2s", stdout=log)
        try:
            # Long enough for some to get into a tick, and the later ones through it.
            running.wait(timeout=0.7 + chance.random() * (0.6 + 0.5 * kills))
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            continue
        assert running.returncode == 0, (project.folder / "log").read_text()
        return kills
    raise AssertionError((project.folder / "log").read_text())


@pytest.mark.long
def test_a_wave_survives_a_supervisor_that_is_killed_again_and_again(tmp_path):
    project = _project(tmp_path)
    assert project.run("submit", "w.toml").returncode == 0
    with (project.folder / "work.log").open("ab") as log:
        host = project.start("work", "--name", "h", stdout=log)
    try:
        kills = _killed_until_it_ends(project, random.Random(7))
    finally:
        host.terminate()
        host.wait(timeout=30)
    assert kills >= 3
    runs = Counter((tmp_path / "out" / "runs").read_text().split())
    assert runs == Counter(["T-1/1", "T-2/1", "T-2/2", "T-3/1", "T-4/1"])
    done = Counter(
        (record.body["action"], record.task)
        for record in project.records("outcome", "settled")
        if record.body["result"] == "done" and record.body["action"] != "inspect"
    )
    expected = [("submit", f"T-{n}") for n in range(1, 5)]
    expected += [("accept", f"T-{n}") for n in range(1, 5)] + [("retry", "T-2")]
    expected += [("judge", task) for task in ("T-1", "T-2", "T-2", "T-3", "T-4")]
    assert done == Counter(expected)
    status = json.loads(project.run("status", "--json").stdout)
    assert {task["status"] for task in status["tasks"]} == {"accepted"}
