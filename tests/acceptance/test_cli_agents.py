"""A person's answer is a person's: what agents may not do, and what is said where they could."""

import json
import shlex
import subprocess

import pytest

from agent.adapters.agents import isolation
from tests.acceptance.program import COMMAND, SCRIPTED, SETTINGS, Project, environment, here

WORKER = '[worker]\ncommand = ["true"]\nisolation = "{}"\n'
MARK = "T-1/1/0123abcd"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """One task, and the question whether to submit it."""
    project = Project.whole(tmp_path_factory.mktemp("agents"))
    project.write("wavekeeper.toml", SETTINGS + SCRIPTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        assert here("submit", "w.toml").returncode == 0
        assert here("run", "--mode", "approve", "--once").returncode == 0
    return project


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    copied = template.copy(tmp_path)
    monkeypatch.chdir(copied.folder)
    return copied


ACTS = (
    "approve", "approve A-1 --digest 0123", "reject A-1 -m no", "defer A-1", "submit w.toml",
    "run --once", "work", "judge", "policy lock --policies .", "policy rules --revoke R-1",
)  # fmt: skip


@pytest.mark.parametrize("command", ACTS)
def test_an_agent_may_not_act_or_answer(project, monkeypatch, command):
    monkeypatch.setenv("WAVEKEEPER_MARK", MARK)
    ended = here(*command.split())
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "came from an agent, and only a person may give it; nothing was done" in ended.stderr
    (record,) = project.records("refused")
    assert (record.task, record.body["mark"]) == ("T-1", MARK)


def test_an_agent_may_look(project, monkeypatch):
    monkeypatch.setenv("WAVEKEEPER_MARK", MARK)
    for command in ("status", "log", "explain T-1", "approve --list", "submit --check w.toml"):
        assert here(*command.split()).returncode == 0, command
    assert project.records("refused") == []


@pytest.mark.parametrize(
    "front",
    [
        pytest.param("env -u WAVEKEEPER_MARK", id="out of its environment"),
        pytest.param("env -i PATH=$PATH setsid", id="out of its session"),
    ],
)
def test_who_takes_its_mark_off_still_comes_from_an_agent(project, front):
    argv = shlex.join([*COMMAND, "defer", "A-1"])
    ended = subprocess.run(
        ["sh", "-c", f"{front} {argv}; exit $?"],
        env=environment(WAVEKEEPER_MARK=MARK),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, "came from an agent" in ended.stderr) == (3, True)
    assert len(project.records("refused")) == 1


def test_what_was_refused_needs_a_person(project, monkeypatch):
    assert json.loads(here("status", "--json").stdout)["refused"] == []
    with monkeypatch.context() as patch:
        patch.setenv("WAVEKEEPER_MARK", MARK)
        for _ in range(3):
            here("approve", "A-1", "--digest", "0")
    here("run", "--once")
    seen = json.loads(here("status", "--json").stdout)
    assert (seen["needsYou"], seen["tasks"][0]["refused"]) == (["T-1"], "approve")
    assert [(one["task"], one["command"]) for one in seen["refused"]] == [("T-1", "approve")]
    page = here("status").stdout
    assert "refused: `wavekeeper approve` came from an agent of T-1 at " in page
    assert "its agent ran `wavekeeper approve`, which was refused" in page
    assert (
        "  refused  `wavekeeper approve` came from its agent at " in here("explain", "T-1").stdout
    )
    assert len(project.records("refused")) == 1
    assert "refused T-1: `wavekeeper approve` came from the agent T-1/1/0123abcd" in (
        here("log").stdout
    )


@pytest.mark.parametrize("mark", ["", "no-task/1/x", "T-1\x1b[2J\n" * 99])
def test_a_mark_that_names_no_task_is_reported_all_the_same(project, monkeypatch, mark):
    monkeypatch.setenv("WAVEKEEPER_MARK", mark)
    assert here("defer", "A-1").returncode == 3
    monkeypatch.delenv("WAVEKEEPER_MARK")
    (record,) = project.records("refused")
    assert record.task is None
    assert "\x1b" not in record.body["mark"]
    assert len(record.body["mark"]) <= 120
    assert "`wavekeeper defer` came from an agent at " in here("status").stdout


def test_a_state_that_cannot_be_written_is_no_reason_to_obey(project, monkeypatch):
    (project.state / "state.db").write_bytes(b"no database" * 100)
    monkeypatch.setenv("WAVEKEEPER_MARK", MARK)
    assert here("defer", "A-1").returncode == 3


def test_where_nothing_protects_the_judge_that_is_said(project):
    project.write("wavekeeper.toml", WORKER.format("none"))
    sentence = "the agent runs as you and can write what judges it"
    assert json.loads(here("status", "--json").stdout)["agents"] == sentence
    assert f"agents: {sentence}\n" in here("status").stdout
    assert f"  agents   {sentence}\n" in here("explain", "T-1").stdout
    assert json.loads(here("explain", "T-1", "--json").stdout)["agents"] == sentence
    found = {one["name"]: one for one in json.loads(here("doctor", "--json").stdout)["checks"]}
    assert found["isolation"]["state"] == "warn"
    assert found["isolation"]["said"].startswith(sentence)


@pytest.mark.parametrize("works", [True, False])
def test_bubblewrap_is_tried(project, monkeypatch, works):
    project.write("wavekeeper.toml", WORKER.format("bubblewrap"))
    if works and isolation.fault() is not None:
        pytest.skip(f"no boundary here: {isolation.fault()}")
    if not works:
        monkeypatch.setenv("PATH", "/nowhere")
    isolation.fault.cache_clear()
    try:
        found = {one["name"]: one for one in json.loads(here("doctor", "--json").stdout)["checks"]}
        assert found["isolation"]["state"] == ("ok" if works else "fail")
        assert json.loads(here("status", "--json").stdout)["agents"] is None
        if not works:
            ended = here("work")
            assert (ended.returncode, "install the package bubblewrap" in ended.stderr) == (2, True)
    finally:
        isolation.fault.cache_clear()


@pytest.mark.skipif(isolation.fault() is not None, reason=f"no boundary here: {isolation.fault()}")
@pytest.mark.parametrize(
    ("remote", "more", "state"),
    [
        pytest.param("../origin.git", "", "ok", id="a remote of this machine"),
        pytest.param("https://127.0.0.1:9/x.git", "", "warn", id="no credentials"),
        pytest.param(
            "https://127.0.0.1:9/x.git", 'variables = ["SSH_AUTH_SOCK"]\n', "ok", id="a variable"
        ),
        pytest.param(
            "https://127.0.0.1:9/x.git", 'readable = ["w.toml"]\n', "ok", id="a file with keys"
        ),
        pytest.param(
            "../origin.git", 'writable = ["absent"]\n', "warn", id="a folder that is not there"
        ),
    ],
)
def test_doctor_asks_what_an_agent_could_push_with(project, remote, more, state):
    project.write("wavekeeper.toml", f'remote = "{remote}"\n{WORKER.format("bubblewrap")}{more}')
    found = {one["name"]: one for one in json.loads(here("doctor", "--json").stdout)["checks"]}
    assert found["isolation"]["state"] == state
