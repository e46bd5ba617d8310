"""A wave whose agents and checks run as other users of this machine, through the commands."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.acceptance.program import Project, here
from tests.adapters.other_users import NAMED, let_push, open_folder, works

AGENT = """
[ "$(id -u)" -ge {first} ] && ! ls {state} >/dev/null 2>&1 || exit 9
branch=$(grep -o 'wavekeeper/T-[0-9]*' | head -n 1)
mkdir -p services/mailer && echo "print('checked')" >services/mailer/check.py
git add . && git commit -qm 'Name the address' && git push -q origin HEAD:refs/heads/$branch
"""
SETTINGS = """
[supervisor]
mode = "auto"
interval = "5m"

[worker]
command = ["sh", "{agent}"]
isolation = "user"
agent_users = {named}
workspace = "../work"
path = ["/usr/bin"]
heartbeat = "0.2s"
lease = "10s"
"""


@pytest.fixture
def project(monkeypatch):
    with open_folder() as place:
        project = Project.whole(place)
        project.push_a_first_commit()
        let_push(project.origin)
        agent = place / "agent.sh"
        agent.write_text(AGENT.format(first=NAMED[0], state=project.state))
        project.write("wavekeeper.toml", SETTINGS.format(agent=agent, named=list(NAMED)))
        monkeypatch.chdir(project.folder)
        yield project


def found():
    checks = json.loads(here("doctor", "--json").stdout)["checks"]
    return next(one for one in checks if one["name"] == "isolation")


@works
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no python for all users")
@pytest.mark.long
def test_a_task_is_worked_on_proven_and_accepted(project):
    assert project.run("submit", "w.toml").returncode == 0
    log = project.folder.parent / "work.log"
    with log.open("wb") as out:
        host = project.start("work", "--name", "host-1", stdout=out)
    try:
        ended = project.run("run", "--until-done", "--interval", "0.2s")
        host.send_signal(signal.SIGTERM)
        assert host.wait(30) == 143
    finally:
        host.kill()
        host.wait()
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert ended.stdout.splitlines()[-1] == "every task is accepted, 1 of 1"
    assert project.state.stat().st_mode & 0o777 == 0o700
    sentence = "agents run as other users of this machine: they cannot reach what judges them"
    assert f"agents: {sentence}" in here("status").stdout
    assert f"  agents   {sentence}" in here("explain", "T-1").stdout
    assert (found()["state"], found()["said"].startswith(sentence)) == ("ok", True)


@works
def test_doctor_and_work_name_the_hole(project):
    here("submit", "w.toml")
    project.state.chmod(0o755)
    words = f"can reach the state folder {project.state}; make it root's, and run `chmod 700`"
    assert (found()["state"], words in found()["said"]) == ("fail", True)
    for host in ("work", "judge"):
        ended = here(host)
        assert (ended.returncode, words in ended.stderr, len(ended.stderr.splitlines())) == (
            2, True, 1,
        )  # fmt: skip


@works
def test_doctor_names_a_program_that_a_user_may_not_run(project):
    closed = project.folder.parent / "closed"
    closed.mkdir(mode=0o700)
    shutil.copy(shutil.which("true"), closed / "my-agent")
    settings = SETTINGS.format(agent="x", named=list(NAMED))
    settings = settings.replace('["sh", "x"]', f'["{closed / "my-agent"}"]')
    project.write("wavekeeper.toml", settings)
    assert found()["state"] == "fail"
    assert found()["said"] == f"{NAMED[0]} may not run {closed / 'my-agent'}"
