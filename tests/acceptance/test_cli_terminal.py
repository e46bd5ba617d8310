"""The supervisor on a real terminal of 80 columns and 24 lines."""

import re

import pexpect
import pytest

from tests.acceptance.program import COMMAND, Project, environment, heeding_signals, here

SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@pytest.fixture
def project(tmp_path, monkeypatch):
    project = Project.whole(tmp_path)
    monkeypatch.chdir(project.folder)
    assert here("submit", "w.toml").returncode == 0
    return project


@pytest.fixture
def terminal(project):
    """Starts the program on a terminal, and ends it."""
    started = []

    def start(*arguments, **more):
        with heeding_signals():
            child = pexpect.spawn(
                COMMAND[0],
                [*COMMAND[1:], *arguments],
                cwd=str(project.folder),
                env=environment(**more),
                dimensions=(24, 80),
                encoding="utf-8",
                timeout=30,
            )
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


def test_a_live_table_that_survives_a_smaller_window_and_ends_with_ctrl_c(project, terminal):
    child = terminal("run", "--interval", "0.2s")
    child.expect("T-1 submit: planned, and nothing blocks it -> submitted to main")
    child.expect("Callers of the mailer see a clear error.")
    child.expect("lanes 1 of 5 busy, 0 need you, 0 working, 1 waiting, 0 done, mode auto")
    child.expect(r"TASK.*STATUS.*AGE")
    child.expect(r"T-1  queued .*queued, waiting for a worker host")
    child.expect(r"tick \d+ at \d\d:\d\d:\d\dZ: Nothing to do\.")
    for size in ((8, 30), (3, 5), (24, 80)):
        child.setwinsize(*size)
        child.expect("Cal")
        child.expect("Cal")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.wait()
    assert (child.exitstatus, child.signalstatus) == (130, None)
    assert "Traceback" not in child.before
    assert child.before.rindex("\x1b[?25h") > child.before.find("\x1b[?25l")  # the cursor is back
    assert [one.kind for one in project.records("start", "stop")] == ["start", "stop"]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"TERM": "dumb"}, id="TERM=dumb"),
        pytest.param({"NO_COLOR": "1"}, id="NO_COLOR"),
    ],
)
def test_a_plain_terminal_gets_lines_and_no_escape_sequence(terminal, more):
    child = terminal("run", "--once", **more)
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    assert "\x1b" not in child.before
    assert re.search(r"Z tick 1 T-1 submit: planned, .* -> submitted to main", child.before)


def test_status_is_coloured_and_fits_the_terminal(terminal):
    child = terminal("status")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    assert "\x1b[1m" in child.before
    table = [line for line in SEQUENCE.sub("", child.before).splitlines() if line.startswith("  ")]
    assert table[0].split()[:2] == ["TASK", "STATUS"]
    assert max(map(len, table)) <= 80
