"""Every fault of a user ends in one line that says what to do, exit code 2, and no traceback."""

import io
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.adapters.common.lock import FileLock
from agent.cli.console import Console, standard
from agent.cli.errors import run_command
from tests.acceptance.program import GOOD, SETTINGS, Project, here


def nothing(_project):
    """The project is whole; the command line is at fault."""


def no_settings(project):
    (project.folder / "wavekeeper.toml").unlink()


def settings(text):
    return lambda project: project.write("wavekeeper.toml", text)


def wave(old, new):
    def arrange(project):
        assert old in GOOD
        project.write("w.toml", GOOD.replace(old, new, 1))

    return arrange


def no_remote(project):
    project.git("remote", "remove", "origin")


def state_is_a_file(project):
    project.write(".wavekeeper", "")


def state_is_read_only(project):
    project.state.mkdir()
    project.state.chmod(0o555)


def corrupt_queue(project):
    project.write(".wavekeeper/queue.db", "no queue at all\n" * 100)


def wrong_repository(project):
    project.write("wavekeeper.toml", f"repository = '/'\n{SETTINGS}")


def state_cannot_be(project):
    project.write("wavekeeper.toml", 'state = "/proc/no/such"\n')


NO_SETTINGS = "no wavekeeper.toml here or above; run `wavekeeper init`"

FAULTS = [
    pytest.param(no_settings, ["run"], NO_SETTINGS, id="no settings"),
    pytest.param(
        wave("[wave]", "[wave"), ["submit", "w.toml"], "w.toml:2: not valid TOML", id="bad TOML"
    ),
    pytest.param(
        wrong_repository,
        ["run", "--once"],
        "/ is no git repository; name one as `repository` in wavekeeper.toml",
        id="not a repository",
    ),
    pytest.param(state_is_read_only, ["run"], "name another", id="read-only state"),
    pytest.param(
        corrupt_queue, ["run"], "it is not a SQLite database: name another", id="corrupt queue"
    ),
]

MORE_FAULTS = [
    pytest.param(
        nothing, ["submit", "x.toml"], "x.toml: no such file; give the path", id="no wave file"
    ),
    pytest.param(
        wave("goal =", "gaol ="),
        ["submit", "--check", "w.toml"],
        "w.toml:4: unknown key 'gaol'; did you mean 'goal'?",
        id="unknown key",
    ),
    pytest.param(
        wave('queue = "main"', 'queue = "mian"'),
        ["submit", "w.toml"],
        "w.toml:6: task T-1 names the queue 'mian', which wavekeeper.toml does not have; its "
        "queues are infra, main",
        id="unknown queue",
    ),
    pytest.param(no_remote, ["run", "--once"], "has no remote 'origin'; add it", id="no remote"),
    pytest.param(
        state_is_a_file, ["submit", "w.toml"], "name another", id="state folder is a file"
    ),
    pytest.param(
        nothing,
        ["run", "--interval", "5"],
        "--interval: '5' is not a duration; write",
        id="interval",
    ),
    pytest.param(no_settings, ["submit", "w.toml"], NO_SETTINGS, id="submit without settings"),
    pytest.param(no_settings, ["work"], NO_SETTINGS, id="work without settings"),
    pytest.param(no_settings, ["status"], NO_SETTINGS, id="status without settings"),
    pytest.param(nothing, ["init"], "wavekeeper.toml is there already; edit it", id="init twice"),
    pytest.param(
        settings("[supervisor]\nmdoe = 'auto'\n"),
        ["status"],
        "wavekeeper.toml:2: unknown key 'mdoe'; did you mean 'mode'?",
        id="unknown key in the settings",
    ),
    pytest.param(state_is_a_file, ["status"], "it is no folder", id="reading a file as state"),
    pytest.param(state_cannot_be, ["submit", "w.toml"], "name another", id="no place for state"),
    pytest.param(
        corrupt_queue,
        ["status"],
        "it is not a SQLite database: name another",
        id="reading no queue",
    ),
    pytest.param(
        nothing, ["run", "--mode", "x"], "there are observe, approve and auto", id="no such mode"
    ),
    pytest.param(
        nothing,
        ["run", "--mode", "observe", "--until-done"],
        "--until-done would never end: observe only proposes; use --mode auto",
        id="until done in observe",
    ),
    pytest.param(
        nothing, ["run", "--once", "--until-done"], "contradict each other", id="once until done"
    ),
    pytest.param(nothing, ["work"], "[worker] names no command; write", id="no worker command"),
    pytest.param(
        nothing, ["work", "--name", "../x"], "--name '../x': use letters", id="worker's name"
    ),
    pytest.param(nothing, ["runn"], "No such command 'runn'", id="no such command"),
    pytest.param(
        nothing, ["run", "--x"], "No such option: --x; see `wavekeeper run --help`", id="no option"
    ),
    pytest.param(nothing, ["submit"], "see `wavekeeper submit --help`", id="no argument"),
    pytest.param(nothing, ["-C", "nowhere", "status"], "-C nowhere: No such file", id="-C"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return Project.whole(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def project(sound, tmp_path):
    return sound.copy(tmp_path)


def refused(ended, message):
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("wavekeeper: ")
    assert message in line


@pytest.mark.parametrize(("arrange", "arguments", "message"), FAULTS)
def test_a_users_fault_is_one_line_that_says_what_to_do(project, arrange, arguments, message):
    arrange(project)
    refused(project.run(*arguments, bound=True), message)


@pytest.mark.parametrize(("arrange", "arguments", "message"), MORE_FAULTS)
def test_so_is_any_other(project, monkeypatch, arrange, arguments, message):
    arrange(project)
    monkeypatch.chdir(project.folder)
    refused(here(*arguments), message)


def test_a_second_supervisor_is_told_who_is_at_work(project):
    lock = FileLock(project.state / "supervisor.lock")
    lock.acquire("somebody else", datetime(2026, 3, 1, 9, 0, tzinfo=UTC))
    try:
        ended = project.run("run", "--once")
    finally:
        lock.release()
    refused(ended, f"somebody else (process {os.getpid()}, since 2026-03-01T09:00:00+00:00)")


def test_nobody_reads_any_more(project, tmp_path):
    assert ends_unread(project, tmp_path, "status", "--json") == (141, b"")


def test_a_supervisor_that_nobody_reads_stops_cleanly(project, tmp_path):
    assert ends_unread(project, tmp_path, "run") == (141, b"")
    assert [one.kind for one in project.records("start", "stop")] == ["start", "stop"]


def ends_unread(project, folder, *arguments):
    """The exit code and what is on standard error, with standard output closed by its reader."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed, (folder / "errors").open("wb") as errors:
        process = project.start(*arguments, stdout=closed, stderr=errors)
    return process.wait(60), (folder / "errors").read_bytes()


@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_bug_is_one_line_that_asks_for_a_report(monkeypatch, capsys, debug):
    monkeypatch.setenv("WAVEKEEPER_DEBUG", debug)

    def broken():
        raise RuntimeError("two\nlines \x1b[31m")

    assert run_command(broken, standard()) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(
        "wavekeeper: RuntimeError: two lines ␛; this is a bug, please report"
    )
    assert ("Traceback" in said) == (debug == "1")
    assert "\x1b" not in said.splitlines()[-1]


def test_a_full_disk_under_the_output_is_said_once():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    err = io.StringIO()
    with full.open("w", encoding="utf-8") as out:
        console = Console(out, err, {})
        code = run_command(lambda: console.line("x"), console)
        console.give_up_output()
    assert code == 1
    assert (
        err.getvalue()
        == "wavekeeper: the output cannot be written: No space left on device; send it elsewhere\n"
    )
