"""Any program, however it behaves: bounded, and nothing of it is left behind."""

import os
import sys
from time import monotonic

import pytest

from agent.adapters.common import process
from tests.adapters.processes import pids, running, until

SH = {"PATH": os.environ["PATH"]}


def sh(script, folder, bounds=process.Bounds(20), **how):  # noqa: B008 - it cannot be changed
    return process.run(["sh", "-c", script], bounds, env=SH, cwd=folder, **how)


@pytest.mark.parametrize(
    ("script", "code", "output", "reason"),
    [
        pytest.param("echo one; echo two >&2", 0, b"one\n", "two", id="both streams"),
        pytest.param("cat; exit 3", 3, b"given", "", id="input"),
        pytest.param("kill -9 $$", -9, b"", "", id="a signal"),
        pytest.param(r"printf 'a\n\033[31mb\n\n' >&2", 0, b"", "␛b", id="no colours in a reason"),
        pytest.param("echo $HOME$SECRET", 0, b"\n", "", id="no other variables"),
    ],
)
def test_how_it_ended(script, code, output, reason, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "s")
    ended = sh(script, tmp_path, stdin=b"given")
    assert (ended.code, ended.output, ended.whole, ended.reason) == (code, output, True, reason)


@pytest.mark.parametrize(("size", "whole"), [(99, True), (100, True), (101, False)])
def test_no_more_is_kept_than_is_wanted(size, whole, tmp_path):
    ended = sh(f"head -c {size} /dev/zero", tmp_path, process.Bounds(20, kept=100))
    assert (len(ended.output), ended.whole) == (min(size, 100), whole)


STUBBORN = "trap '' TERM; sleep 600 & echo $! >pids; echo $$ >>pids; {}"
BEYOND = [
    pytest.param("while :; do wait; done", process.Bounds(0.3), process.TooSlowError,
                 "sh took longer than 0.3 s and was stopped", id="too long"),
    pytest.param("yes", process.Bounds(20, flood=10_000), process.TooMuchError,
                 "sh printed more than 10000 bytes and was stopped", id="too much"),
    pytest.param("yes >&2", process.Bounds(20, flood=10_000), process.TooMuchError,
                 "sh printed more than 10000 bytes and was stopped", id="too many errors"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "bounds", "kind", "words"), BEYOND)
def test_what_goes_beyond_its_bounds_is_stopped_with_all_it_started(
    script, bounds, kind, words, tmp_path, monkeypatch
):
    monkeypatch.setattr(process, "_GRACE", 0.2)
    with pytest.raises(kind, match=f"^{words}$"):
        sh(STUBBORN.format(script), tmp_path, bounds)
    until(lambda: not running(tmp_path / "pids"))
    assert len(pids(tmp_path / "pids")) == 2


@pytest.mark.parametrize("spared", [True, False])
def test_what_a_program_leaves_behind(spared, tmp_path):
    began = monotonic()
    ended = sh("sleep 30 & echo $! >pids", tmp_path, spare_daemons=spared)
    assert (ended.code, monotonic() - began < 20) == (0, True)
    if spared:
        (left,) = running(tmp_path / "pids")
        os.kill(left, 9)
    until(lambda: not running(tmp_path / "pids"))


def test_a_program_that_is_asked_to_end_has_time_to_clean_up(tmp_path):
    script = "trap 'touch cleaned; exit' TERM; while :; do sleep 0.02; done"
    with pytest.raises(process.TooSlowError):
        sh(script, tmp_path, process.Bounds(0.3))
    assert (tmp_path / "cleaned").exists()


def test_nothing_is_left_when_we_are_interrupted(tmp_path):
    """As by Ctrl-C, or by a signal whose handler raises."""
    program = (
        "import signal, sys\nfrom pathlib import Path\nfrom agent.adapters.common import process\n"
        "signal.signal(signal.SIGALRM, lambda *_: sys.exit(7))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.5)\n"
        "process.run(['sh', '-c', 'echo $$ >pids; exec sleep 600'], process.Bounds(60), env={})\n"
    )
    ended = process.run(
        [sys.executable, "-c", program], process.Bounds(60), env=dict(os.environ), cwd=tmp_path
    )
    assert ended.code == 7
    until(lambda: not running(tmp_path / "pids"))


@pytest.mark.parametrize(
    ("argv", "place", "words"),
    [
        pytest.param(
            ["no-such\nprogram"], "", "no-such program does not start (No such", id="none"
        ),
        pytest.param(["sh"], "missing", "sh does not start (No such", id="no folder"),
        pytest.param(["sh", "a\0b"], "", "sh does not start (embedded null", id="a null byte"),
        pytest.param(["/"], "", "/ does not start (Permission denied", id="no program"),
    ],
)
def test_what_does_not_start(argv, place, words, tmp_path):
    with pytest.raises(process.NotStartedError) as caught:
        process.run(argv, process.Bounds(5), env=SH, cwd=tmp_path / place)
    assert str(caught.value).startswith(words)
    assert str(caught.value).isprintable()
