"""State that was spoilt, lost or put back: every command says so in one line, and none goes on."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.adapters.state.db import State
from tests.acceptance.program import Project, here

EARLIER = Path(__file__).parents[1] / "adapters" / "earlier_state"
COMMANDS = (
    ("run", "--mode", "auto", "--once"),
    ("status",),
    ("verify",),
    ("explain", "T-1"),
)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A wave whose task was submitted; `older` is the state folder before that."""
    project = Project.whole(tmp_path_factory.mktemp("state"))
    project.push_a_first_commit()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        assert here("submit", "w.toml").returncode == 0
        assert here("run", "--mode", "observe", "--once").returncode == 0
        shutil.copytree(project.state, project.folder / "older")
        assert here("run", "--mode", "auto", "--once").returncode == 0
        for command in COMMANDS:
            assert here(*command).returncode == 0
    return project


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    copied = template.copy(tmp_path)
    monkeypatch.chdir(copied.folder)
    return copied


def edited(*statements):
    def spoil(project):
        with closing(sqlite3.connect(project.state / "state.db", isolation_level=None)) as db:
            query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for (name,) in db.execute(query).fetchall():
                db.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                db.execute(statement)

    return spoil


def put_back(project):
    shutil.copy(project.folder / "older" / "state.db", project.state / "state.db")


def begun_anew(project):
    """Deleted with its seal, and the same wave submitted again."""
    for name in ("state.db", "state.seal"):
        (project.state / name).unlink()
    assert here("submit", "w.toml").returncode == 0


def of_another(project):
    (project.state / "state.db").unlink()
    with State(project.state / "state.db", sealed=False):
        pass


def a_newer_earlier_file(project):
    (project.state / "state.db").unlink()
    (project.state / "state.seal").unlink()
    with closing(sqlite3.connect(project.state / "waves.db")) as db:
        db.executescript((EARLIER / "waves.sql").read_text(encoding="utf-8"))
        db.execute("PRAGMA user_version = 2")


SPOILT = [
    pytest.param(
        lambda project: (project.state / "state.db").unlink(),
        "state.db: it is gone; restore it from a backup, or delete state.seal to begin anew",
        id="deleted",
    ),
    pytest.param(
        lambda project: (project.state / "state.db").write_bytes(b""),
        "state.db: it is empty; restore it from a backup, or delete state.seal to begin anew",
        id="emptied",
    ),
    pytest.param(put_back, "state.db: it is older than state.seal, which knows ", id="put back"),
    pytest.param(of_another, "state.db: it is of another installation than", id="another"),
    pytest.param(
        lambda project: (project.state / "state.seal").write_text("{}"),
        "state.seal: it cannot be read: restore it together with state.db, or delete it",
        id="seal spoilt",
    ),
    pytest.param(
        edited("DELETE FROM head"), "state.db: the journal's head is missing", id="no head"
    ),
    pytest.param(
        edited("DELETE FROM entry WHERE sequence = (SELECT count FROM head)"),
        "were written and the end is cut off; restore the file from a backup",
        id="end cut off",
    ),
    pytest.param(
        edited("UPDATE task SET status = 'accepted', settled = 1"),
        "state.db: task 'T-1' is accepted, and the journal has no record of how it became so",
        id="accepted by hand",
    ),
    pytest.param(
        edited("DELETE FROM task"),
        "state.db: the journal says what was done with task 'T-1', which is not there",
        id="tasks emptied",
    ),
    pytest.param(
        edited(
            "INSERT INTO open_intent SELECT key, sequence FROM entry WHERE kind = 'intent' LIMIT 1"
        ),
        "/submit/T-1/0' is listed as under way, and the journal says otherwise",
        id="an intent opened again",
    ),
    pytest.param(
        a_newer_earlier_file,
        "waves.db: it was written by a newer wavekeeper (format 2, this one knows 1)",
        id="an earlier file that is newer",
    ),
]


@pytest.mark.parametrize(("spoil", "line"), SPOILT)
def test_what_was_spoilt_is_said_in_one_line_by_every_command(project, spoil, line):
    spoil(project)
    for command in COMMANDS:
        ended = here(*command)
        assert (ended.returncode, ended.stdout) == (2, ""), command
        [said] = ended.stderr.splitlines()
        assert line in said
    with closing(sqlite3.connect(project.state / "queue.db")) as db:
        assert db.execute("SELECT count(*) FROM task").fetchone() == (1,)


@pytest.mark.parametrize("command", [COMMANDS[0], COMMANDS[1]], ids=lambda one: one[0])
def test_a_wave_that_is_planned_anew_over_a_queue_that_has_it_is_refused(project, command):
    """Its tasks would be started again, or hang on what was once done under their names."""
    begun_anew(project)
    ended = here(*command)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        "queue.db: it holds tasks (1), and state.db knows of none that were submitted; restore "
        "state.db from a backup, or name another state folder\n"
    ) in ended.stderr


def test_submitting_again_over_a_state_that_is_gone_is_refused(project):
    (project.state / "state.db").unlink()
    ended = here("submit", "w.toml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "state.db: it is gone; restore it from a backup" in ended.stderr
    assert not (project.state / "state.db").exists()


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroes(path):
    data = bytearray(path.read_bytes())
    data[8192:24576] = bytes(16384)
    path.write_bytes(data)


def head(path):
    path.write_bytes(b"x" * 32 + path.read_bytes()[32:])


def flipped(path):
    data = bytearray(path.read_bytes())
    for place in range(5000, len(data), 12288):
        data[place] ^= 0xFF
    path.write_bytes(data)


def version(number):
    def spoil(path):
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA user_version = {number}")

    return spoil


def logs(path):
    Path(f"{path}-wal").write_bytes(os.urandom(40_000))
    Path(f"{path}-shm").write_bytes(os.urandom(32_768))


@pytest.mark.parametrize("name", ["state.db", "queue.db"])
@pytest.mark.parametrize(
    "spoil",
    [
        half, zeroes, head, flipped, logs,
        pytest.param(version(0), id="version 0"), pytest.param(version(99), id="version 99"),
        pytest.param(lambda path: path.write_bytes(b""), id="emptied"),
        pytest.param(lambda path: path.unlink(), id="gone"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_never_a_bug(project, name, spoil):
    spoil(project.state / name)
    for command in COMMANDS:
        ended = here(*command)
        if ended.returncode:
            assert len(ended.stderr.splitlines()) == 1, ended.stderr
            assert "this is a bug" not in ended.stderr
            assert "Error" not in ended.stderr
            assert ended.returncode in ((2,) if name == "state.db" else (1, 2)), ended.stderr


def test_the_files_of_an_earlier_version_are_taken_over_by_the_first_command(tmp_path, monkeypatch):
    project = Project.whole(tmp_path)
    project.push_a_first_commit()
    monkeypatch.chdir(project.folder)
    project.state.mkdir()
    for dump in EARLIER.glob("*.sql"):
        with closing(sqlite3.connect(project.state / f"{dump.stem}.db")) as db:
            db.executescript(dump.read_text(encoding="utf-8"))
    told = here("doctor").stdout
    assert "waves.db, approvals.db: written by an earlier version" in told
    assert not (project.state / "state.db").exists()
    said = here("verify")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("the journal is whole: 104 records of ")
    assert "outcome T-2: accept done: accepted" in here("log", "--task", "T-2").stdout
    assert sorted(one.name for one in project.state.glob("*state-db")) == [
        f"{name}.db.before-state-db" for name in ("approvals", "journal", "waves")
    ]


def test_a_task_whose_record_cannot_be_read_is_named_and_is_no_success(project):
    """A person has to look; a wave with it never ends as one whose tasks are all accepted."""
    with closing(sqlite3.connect(project.state / "state.db", isolation_level=None)) as db:
        db.execute("UPDATE task SET body = '{}' WHERE id = 'T-1'")
    page = here("status")
    assert page.returncode == 0
    needs_you = page.stdout.split("NEEDS YOU (1)")[1]
    assert "T-1" in needs_you
    assert "its row in" in needs_you
    ended = here("run", "--mode", "auto", "--until-done", "--interval", "1s")
    assert ended.returncode == 1
    assert "T-1 is not accepted: it cannot be read: its row in" in ended.stdout
    assert "every task is accepted" not in ended.stdout
