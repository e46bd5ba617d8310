"""What the commands say and do when nothing is wrong."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from agent import __version__
from agent.adapters.common.lock import FileLock
from agent.adapters.files.config import SAMPLE, read_settings
from agent.adapters.queue.embedded import SqliteQueue
from agent.adapters.queue.judgements import SqliteJudgements
from agent.adapters.state.db import State
from agent.cli.doctor import examine, reach
from agent.core.journal.records import Record
from agent.core.model.nouns import Command
from agent.core.model.queueing import JudgementOrder
from tests.acceptance.program import GOOD, SETTINGS, Project, here
from tests.adapters.processes import running, until

COMMANDS = ("init", "submit", "run", "work", "judge", "status", "doctor", "demo", "decide", "logs")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    project = Project.whole(tmp_path_factory.mktemp("sound"))
    project.push_a_first_commit()
    return project


@pytest.fixture
def project(sound, tmp_path, monkeypatch):
    """A whole project, and this process in its folder."""
    project = sound.copy(tmp_path)
    monkeypatch.chdir(project.folder)
    return project


def content(state):
    """All that the stores hold; files that SQLite makes and removes by itself do not count."""
    kept = {}
    for path in sorted(one for one in state.rglob("*") if one.is_file()):
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as db:
                kept[path.name] = list(db.iterdump())
        elif not path.name.endswith(("-wal", "-shm")):
            kept[path.name] = path.read_bytes()
    return kept


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(command, capsys):
    assert here(command, "--help").returncode == 0
    said = capsys.readouterr().out
    assert said == (here(command, "-h"), capsys.readouterr().out)[1]
    assert f"Example: wavekeeper {command}" in said
    assert max(map(len, said.splitlines())) <= 80


def test_without_a_command_there_is_help(capsys):
    assert here().returncode == 0
    said = capsys.readouterr().out
    assert all(f"  {command} " in said for command in COMMANDS)


def test_the_version():
    assert here("--version").stdout == f"wavekeeper {__version__}\n"


def test_help_and_version_load_none_of_the_program():
    """They answer at once, however much the commands need."""
    program = (
        "import sys; from agent.cli.app import call; call(['--help']);"
        "sys.exit(any(name.startswith(('pydantic', 'jinja2', 'sqlite3')) for name in sys.modules))"
    )
    assert subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.DEVNULL, timeout=60, check=False
    ).returncode == 0  # fmt: skip


def test_init_writes_the_sample_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = here("init")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["wavekeeper.toml"]
    assert (tmp_path / "wavekeeper.toml").read_text() == SAMPLE
    read_settings(tmp_path / "wavekeeper.toml")
    assert "is in no git repository; name one" in ended.stdout
    assert "wavekeeper doctor" in ended.stdout
    assert "wavekeeper submit WAVE.toml" in ended.stdout


def test_init_in_a_repository_finds_it_from_a_folder_below(project, monkeypatch):
    (project.folder / "below").mkdir()
    monkeypatch.chdir(project.folder / "below")
    ended = here("init")
    assert ended.returncode == 0
    assert "no git repository" not in ended.stdout


def test_submit_plans_once(project):
    first, again = here("submit", "w.toml"), here("submit", "w.toml")
    assert first.stdout == (
        "wave w1: 1 task planned; `wavekeeper run` submits them as the window allows\n"
    )
    assert again.stdout == "wave w1: already there, nothing changed\n"
    assert (first.returncode, again.returncode) == (0, 0)
    assert (project.state / ".gitignore").read_text() == "*\n"


def test_submit_check_stores_nothing(project):
    ended = here("submit", "--check", "w.toml")
    assert ended.stdout == "wave w1: 1 task, no errors; nothing was stored\n"
    assert not project.state.exists()


def test_the_states_own_gitignore_replaces_no_other(project):
    project.write(".gitignore", "mine\n")
    project.write("wavekeeper.toml", 'state = "."\n')
    assert here("submit", "w.toml").returncode == 0
    assert (project.folder / ".gitignore").read_text() == "mine\n"


def test_status_without_a_wave_is_friendly_and_makes_nothing(project):
    ended = here("status")
    assert ended.stdout == "no wave here yet; `wavekeeper submit WAVE.toml` plans one\n"
    assert json.loads(here("status", "--json").stdout)["tasks"] == []
    assert not project.state.exists()


def test_status_changes_nothing_and_needs_no_lock(project):
    here("submit", "w.toml")
    here("run", "--once")
    before = content(project.state)
    lock = FileLock(project.state / "supervisor.lock")
    with closing(sqlite3.connect(project.state / "queue.db")) as db:
        db.execute("UPDATE attempt SET state = 'running', lease_until = 1")  # it ran out long ago
        db.commit()
        before = content(project.state)
        lock.acquire("the supervisor", datetime.now(UTC))
        held = (project.state / "supervisor.lock").read_bytes()
        try:
            ended = here("status")
        finally:
            lock.release()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "supervisor: the supervisor (process" in ended.stdout
    after = content(project.state)
    assert after == {**before, "supervisor.lock": held}
    assert len(after) >= 4


@pytest.mark.usefixtures("project")
def test_status_tells_the_wave_the_lanes_and_what_comes_next():
    here("submit", "w.toml")
    assert here("run", "--once").returncode == 0
    said = here("status").stdout
    assert "wave w1: Callers of the mailer see a clear error. (0 of 1 accepted)" in said
    assert "lanes: 1 of 5 busy" in said
    assert "queues: infra empty; main 1 queued" in said
    assert "supervisor: nobody; start `wavekeeper run` (last tick " in said
    assert re.search(r"^WAITING \(1\)$", said, re.MULTILINE)
    assert re.search(r"^  T-1 +queued +1 .* queued, waiting for a worker host$", said, re.MULTILINE)


def test_status_says_what_the_supervisor_at_work_would_do_whatever_the_settings_say(project):
    """`run --mode auto` over `mode = "observe"`: what comes next is cleared, not refused."""
    project.write("wavekeeper.toml", '[supervisor]\nmode = "observe"\n')
    assert here("run", "--once", "--mode", "auto", "--interval", "1h").returncode == 0
    here("submit", "w.toml")
    assert "would submit: planned" in here("status").stdout
    lock = FileLock(project.state / "supervisor.lock")
    lock.acquire("the supervisor", datetime.now(UTC))
    try:
        assert "submit (cleared)" in here("status").stdout
    finally:
        lock.release()


def deleted(file, _):
    file.unlink()


def emptied(file, _):
    file.write_bytes(b"")


def made_anew(file, _):
    """As a worker host does that is started after the file is gone."""
    file.unlink()
    SqliteQueue(file, lambda: datetime.now(UTC)).close()


def rolled_back(file, older):
    older.replace(file)


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        pytest.param(deleted, "queue.db is gone; restore it", id="gone"),
        pytest.param(emptied, "queue.db is empty; restore it", id="empty"),
        pytest.param(made_anew, "queue.db is another queue than the one", id="another"),
        pytest.param(rolled_back, "or an older copy of it; restore the latest", id="older"),
    ],
)
def test_a_queue_that_is_lost_is_no_empty_queue(project, lose, said):
    file, older = project.state / "queue.db", project.state / "older.db"
    here("run", "--once")
    shutil.copyfile(file, older)
    here("submit", "w.toml")
    here("run", "--once")
    here("run", "--once")
    lose(file, older)
    for command in (["status"], ["run", "--once"], ["run", "--once"]):
        ended = here(*command)
        assert ended.returncode == 2
        assert said in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_a_queue_without_a_task_that_was_submitted_is_no_queue_to_go_on_with(project):
    here("submit", "w.toml")
    here("run", "--once")
    with closing(sqlite3.connect(project.state / "queue.db", isolation_level=None)) as db:
        for table in ("attempt", "task"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own words
    ended = here("run", "--once")
    assert ended.returncode == 2
    assert "queue.db does not hold T-1, which was submitted" in ended.stderr


def test_run_once_without_a_wave_ends_well(project):
    ended = here("run", "--until-done")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("no wave here yet; `wavekeeper submit WAVE.toml` plans one\n")
    assert [one.kind for one in project.records("start", "stop")] == ["start", "stop"]


def test_a_wave_that_is_not_wholly_accepted_ends_with_1(project):
    here("submit", "w.toml")
    with State(project.state / "state.db") as state:
        (task_record,) = state.waves.task_records()
        over = {"status": "handed-over", "why": "no attempts are left: \x1b[2Jnothing pushed"}
        state.waves.save(task_record.model_copy(update=over))
        body = {"action": "hand-over", "result": "done", "said": "by hand"}
        at = task_record.changed_at
        state.journal.append([Record(kind="outcome", at=at, tick=1, task="T-1", body=body)])
    ended = here("run", "--until-done")
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1] == (
        "T-1 is not accepted: handed-over, no attempts are left: ␛nothing pushed"
    )
    said = here("status").stdout
    assert "NEEDS YOU (1)" in said
    assert "? T-1  handed-over" in said


def checks(folder):
    return {one.name: one for one in examine(folder)}


def test_doctor_finds_nothing_wrong_with_a_whole_project(project):
    project.write("wavekeeper.toml", f'{SETTINGS}[worker]\ncommand = ["git"]\n')
    here("submit", "w.toml")
    here("run", "--once")
    ended = here("doctor")
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    assert {line[:5] for line in lines} == {"ok   "}
    assert lines[2].startswith("ok   settings: ")
    assert "ok   journal: its chain holds; ticks: 1" in lines
    assert any(re.fullmatch("ok   remote: .* answers, 1 branch", line) for line in lines)


def settings(text):
    return lambda project: project.write("wavekeeper.toml", text)


def gone(project):
    (project.folder / "wavekeeper.toml").unlink()


def wrong_settings(project):
    project.write("wavekeeper.toml", "[supervisor]\nintervall = '5m'\n")


def no_remote(project):
    project.git("remote", "remove", "origin")


def no_answer(project):
    project.git("remote", "set-url", "origin", "ssh://nobody:secret@127.0.0.1:1/x")


def empty_remote(project):
    project.git("init", "-q", "--bare", "../empty.git")
    project.git("remote", "set-url", "origin", "../empty.git")


def edited_journal(project):
    here("run", "--once")
    with closing(sqlite3.connect(project.state / "state.db")) as db:
        db.execute("DROP TRIGGER entry_keeps")
        db.execute("UPDATE entry SET body = '{}' WHERE sequence = 2")
        db.commit()


def garbage(project):
    project.write(".wavekeeper/state.db", "garbage" * 100)


def from_the_future(project):
    here("submit", "w.toml")
    with State(project.state / "state.db") as state:
        state.waves.note({"last_tick_at": (datetime.now(UTC) + timedelta(hours=2)).isoformat()})


FINDINGS = [
    pytest.param(gone, "settings", "fail", "no wavekeeper.toml", "wavekeeper init", id="settings"),
    pytest.param(wrong_settings, "settings", "fail", "wavekeeper.toml:2: unknown", "", id="wrong"),
    pytest.param(no_remote, "remote", "fail", "has no remote 'origin'; add it", "", id="remote"),
    pytest.param(no_answer, "remote", "fail", "ssh://127.0.0.1:1/x: ", "ls-remote", id="silent"),
    pytest.param(empty_remote, "remote", "warn", "has no branch", "first commit", id="empty"),
    pytest.param(
        settings('[[queue]]\nid = "main"\n'),
        "queues",
        "warn",
        "none of kind infrastructure",
        'kind = "infrastructure"',
        id="no infrastructure queue",
    ),
    pytest.param(settings(""), "worker", "warn", "no command", "[worker]", id="no command"),
    pytest.param(
        settings('[worker]\ncommand = ["no-such-agent"]\n'),
        "worker",
        "fail",
        "no-such-agent is not on PATH",
        "install it",
        id="no agent",
    ),
    pytest.param(
        settings('[worker]\ncommand = ["./agent.py"]\n'),
        "worker",
        "ok",
        "./agent.py is looked for in each task's worktree",
        "",
        id="agent in the worktree",
    ),
    pytest.param(
        settings('policies = "."\n'), "policy", "fail", "not a policy file", "", id="policy"
    ),
    pytest.param(
        settings('state = "w.toml"\n'), "state", "fail", "(Not a directory)", "rights", id="state"
    ),
    pytest.param(garbage, "waves", "fail", "is not a SQLite database", "", id="garbage"),
    pytest.param(edited_journal, "journal", "fail", "record 2 was edited", "keep", id="journal"),
    pytest.param(from_the_future, "clock", "fail", "UTC here", "clock right", id="clock"),
]


@pytest.mark.parametrize(("arrange", "name", "state", "said", "fix"), FINDINGS)
def test_doctor_says_what_is_missing_and_how_to_fix_it(project, arrange, name, state, said, fix):
    arrange(project)
    ended = here("doctor", "--json")
    assert ended.returncode == (1 if state == "fail" else 0)
    assert "secret" not in ended.stdout
    found = {one["name"]: one for one in json.loads(ended.stdout)["checks"]}[name]
    assert found["state"] == state
    assert said in found["said"]
    assert fix in (found["fix"] or "")


@pytest.mark.parametrize(
    ("heavy", "host", "later", "state", "said", "fix"),
    [
        pytest.param(False, None, 0, "warn", "1 judgement waits, and no", "judge`", id="nobody"),
        pytest.param(False, "j1", 600, "warn", "the last one was j1", "judge`", id="gone"),
        pytest.param(True, "j1", 0, "warn", "which no judge host at work", "--heavy", id="heavy"),
        pytest.param(None, "j1", 0, "ok", "at work: j1 (no heavy commands)", "", id="at-work"),
        pytest.param(None, "j1", 600, "ok", "and none is needed", "", id="not-needed"),
    ],
)
def test_doctor_says_who_judges(project, heavy, host, later, state, said, fix):
    assert checks(project.folder)["judge"].said == (
        "no judge host was here yet; `wavekeeper work` starts one beside itself"
    )
    here("submit", "w.toml")
    then = datetime.now(UTC) - timedelta(seconds=later)
    with SqliteJudgements(project.folder / ".wavekeeper/judgements.db", lambda: then) as kept:
        if host:
            kept.claim(host, lease=60, heavy=False)
        if heavy is not None:
            command = Command(argv=("true",), heavy=heavy)
            order = {"task": "T-1", "attempt": 1, "wave": "w1", "branch": "b"}
            kept.order(JudgementOrder(commands=(command,), **order), key="k")
    found = checks(project.folder)["judge"]
    assert found.state == state
    assert said in found.said
    assert fix in (found.fix or "")


def test_doctor_finds_an_agent_on_the_configured_path(project):
    project.write("tools/my-agent", "#!/bin/sh\n")
    (project.folder / "tools" / "my-agent").chmod(0o755)
    project.write("wavekeeper.toml", '[worker]\ncommand = ["my-agent"]\npath = ["tools"]\n')
    assert checks(project.folder)["worker"].said == "my-agent is found"


def test_doctor_without_git_says_so(project, monkeypatch):
    monkeypatch.setenv("PATH", str(project.folder))
    found = checks(project.folder)
    assert found["git"].state == "fail"
    assert found["remote"].said == "git is not on PATH; install it"


def test_doctor_makes_nothing(project):
    before = sorted(project.folder.rglob("*"))
    assert here("doctor").returncode == 0
    assert sorted(project.folder.rglob("*")) == before


def test_doctor_as_json_needs_no_settings(tmp_path):
    """As the program, in an empty folder of a fresh machine."""
    project = Project(tmp_path)
    project.folder.mkdir()
    ended = project.run("doctor", "--json", HOME=str(tmp_path))
    assert ended.returncode == 1
    found = json.loads(ended.stdout)
    assert list(found) == ["schema", "ok", "checks"]
    assert (found["schema"], found["ok"]) == ("wavekeeper.doctor/1", False)
    assert [one["name"] for one in found["checks"]] == ["python", "git", "settings"]


def test_a_remote_that_never_answers_is_given_up(tmp_path, monkeypatch):
    """Its ssh goes on and keeps every pipe open; neither it nor we are left behind."""
    mark = tmp_path / "pid"
    silent = tmp_path / "ssh"
    silent.write_text(f'#!/bin/sh\necho $$ > "{mark}"\nexec sleep 60\n')
    silent.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(silent))
    problem, branches = reach("ssh://example.invalid/x", 0.7)
    assert (problem, branches) == ("git ls-remote took longer than 0.7 s and was stopped", 0)
    until(lambda: not running(mark))


LATIN = GOOD.replace("Callers of the mailer", "Die Käufer … 日本").replace(
    "Name the address", "Größe nennen"
)


def test_an_output_that_lacks_characters_gets_stand_ins(project):
    project.write("w.toml", LATIN)
    here("submit", "w.toml")
    ended = project.run("status", PYTHONIOENCODING="ascii", PYTHONUTF8="0", COLUMNS="60")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "wave w1: Die K<U+00E4>ufer ~ <U+65E5><U+672C> see a clear error." in ended.stdout
