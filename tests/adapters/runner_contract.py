"""The one suite every `Runner` must pass: `class TestMyRunner(RunnerContract)`, and its agents.

Its fixture `runner` gives, for the name of a behaviour, a runner whose agent behaves like that in
its working folder:

* `answers`: writes `working`, then says `all done` and ends well;
* `fails`: complains with `no luck` and ends with code 3;
* `repeats`: its final response is its prompt;
* `waits`: writes its process id into `pids` and `ready`, and ends well when the file `go` is there,
  with the words `gone on`;
* `deaf`: as `waits`, but it and a child in a session of its own, whose id it writes down too,
  ignore SIGTERM;
* `leaves`: ends well, but leaves a child in a session of its own behind that holds its output open.
"""

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent.core.model.queueing import NewEvent
from agent.ports import Exit, Run, Runner, RunSpec
from tests.adapters.processes import pids, running, until

GRACE = 0.2
AGENTS = ("answers", "fails", "repeats", "waits", "deaf", "leaves")

Behaviour = Callable[[str], Runner]


def spec_in(place: Path, prompt: str = "do it", task: str = "t1", attempt: int = 1) -> RunSpec:
    cwd = place / f"{task}-{attempt}"
    cwd.mkdir(parents=True, exist_ok=True)
    mark = f"{task}/{attempt}/{uuid.uuid4().hex}"
    return RunSpec(mark=mark, folder=place / f"run-{task}-{attempt}", cwd=cwd, prompt=prompt)


def ended(run: Run) -> Exit:
    return until(run.poll)


def ready(spec: RunSpec, number: int = 1) -> list[int]:
    """The process ids of an agent that waits, once `number` of them are there."""
    return until(lambda: found if len(found := pids(spec.cwd / "pids")) >= number else [])


def texts(events: Sequence[NewEvent]) -> list[str]:
    return [event.text for event in events]


def never() -> bool:
    return False


class RunnerContract:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path

    def test_an_agent_that_ends_well(self, runner: Behaviour, place: Path) -> None:
        run = runner("answers").start(spec_in(place))
        end = ended(run)
        assert (end.code, end.signal, end.truncated, end.last_error) == (0, None, False, None)
        assert end.final_response is not None
        assert "all done" in end.final_response
        assert run.poll() == end

    def test_what_it_prints_becomes_events_once(self, runner: Behaviour, place: Path) -> None:
        run = runner("answers").start(spec_in(place))
        ended(run)
        events = run.events()
        assert "working" in texts(events)
        assert all(event.at.tzinfo for event in events)
        assert run.events() == []

    def test_an_agent_that_fails_says_why(self, runner: Behaviour, place: Path) -> None:
        end = ended(runner("fails").start(spec_in(place)))
        assert (end.code, end.signal) == (3, None)
        assert end.last_error is not None
        assert "no luck" in end.last_error

    @pytest.mark.parametrize(
        "prompt",
        [
            pytest.param(
                "$(touch owned) `id` ; rm -rf * && \"'\\ | > x %s {} {prompt}", id="shell"
            ),
            pytest.param("-rf --help\n\n  indented\tand tabbed", id="dash-and-blanks"),
            pytest.param("grüße, 終わり, \N{PILE OF POO}, e\u0301, \u202e", id="unicode"),
            pytest.param("x" * 300_000, id="longer-than-an-argument-may-be"),
        ],
    )
    def test_the_prompt_arrives_as_it_is(self, runner: Behaviour, place: Path, prompt: str) -> None:
        spec = spec_in(place, prompt)
        end = ended(runner("repeats").start(spec))
        assert end.final_response is not None
        assert prompt.endswith(end.final_response)
        assert end.truncated == (end.final_response != prompt)
        assert list(spec.cwd.iterdir()) == []

    def test_events_come_while_it_runs(self, runner: Behaviour, place: Path) -> None:
        spec = spec_in(place)
        run = runner("waits").start(spec)
        until(lambda: "ready" in texts(run.events()))
        assert run.poll() is None
        (spec.cwd / "go").touch()
        assert ended(run).code == 0

    def test_a_run_that_was_never_started_is_not_adopted(
        self, runner: Behaviour, place: Path
    ) -> None:
        spec = spec_in(place)
        assert runner("answers").adopt(spec) is None
        spec.folder.mkdir()
        assert runner("answers").adopt(spec) is None

    def test_another_host_goes_on_where_the_first_was(self, runner: Behaviour, place: Path) -> None:
        spec = spec_in(place)
        first = runner("waits").start(spec)
        until(lambda: "ready" in texts(first.events()))
        second = runner("waits").adopt(spec)
        assert second is not None
        assert (second.poll(), second.events()) == (None, [])
        (spec.cwd / "go").touch()
        end = ended(second)
        assert end.final_response is not None
        assert "gone on" in end.final_response
        assert texts(second.events())[-1] == "gone on"
        assert len(pids(spec.cwd / "pids")) == 1

    def test_another_host_reads_an_end_it_did_not_see(self, runner: Behaviour, place: Path) -> None:
        spec = spec_in(place)
        end = ended(runner("fails").start(spec))
        later = runner("fails").adopt(spec)
        assert later is not None
        assert later.poll() == end

    @pytest.mark.parametrize("over", [False, True], ids=["while-it-runs", "after-its-end"])
    def test_a_second_start_starts_nothing(
        self, runner: Behaviour, place: Path, *, over: bool
    ) -> None:
        spec = spec_in(place)
        first = runner("waits").start(spec)
        ready(spec)
        if over:
            (spec.cwd / "go").touch()
            ended(first)
        second = runner("waits").start(spec)
        (spec.cwd / "go").touch()
        assert ended(second) == ended(first)
        assert len(pids(spec.cwd / "pids")) == 1

    def test_stop_returns_when_the_deaf_and_the_hidden_are_gone(
        self, runner: Behaviour, place: Path
    ) -> None:
        spec = spec_in(place)
        run = runner("deaf").start(spec)
        ready(spec, 2)
        began = time.monotonic()
        run.stop(GRACE)
        assert running(spec.cwd / "pids") == []
        assert time.monotonic() - began < 5
        end = run.poll()
        assert end is not None
        assert (end.code, end.signal) == (None, 9)
        run.stop(GRACE)

    def test_stop_never_hits_a_successor(self, runner: Behaviour, place: Path) -> None:
        old, new = spec_in(place / "old"), spec_in(place / "new")
        first, second = runner("deaf").start(old), runner("waits").start(new)
        ready(old, 2)
        ready(new)
        first.stop(GRACE)
        assert running(old.cwd / "pids") == []
        assert running(new.cwd / "pids") == pids(new.cwd / "pids")
        assert second.poll() is None

    def test_nothing_outlives_an_agent_that_ended(self, runner: Behaviour, place: Path) -> None:
        spec = spec_in(place)
        began = time.monotonic()
        run = runner("leaves").start(spec)
        assert ended(run).code == 0
        assert time.monotonic() - began < 5
        assert len(pids(spec.cwd / "pids")) == 1
        assert running(spec.cwd / "pids") == []

    def test_sweep_kills_earlier_attempts_of_this_task_alone(
        self, runner: Behaviour, place: Path
    ) -> None:
        stale = [spec_in(place, attempt=1), spec_in(place, attempt=2)]
        kept = [spec_in(place, attempt=3), spec_in(place, task="t10", attempt=1)]
        for spec in (*stale, *kept):
            runner("waits").start(spec)
        for spec in (*stale, *kept):
            ready(spec)
        assert runner("waits").sweep("t1", before=3, grace=GRACE) >= 2
        assert [running(spec.cwd / "pids") for spec in stale] == [[], []]
        assert all(running(spec.cwd / "pids") for spec in kept)
        assert runner("waits").sweep("t1", before=3, grace=GRACE) == 0
        runner("waits").sweep("t10", before=2, grace=0)

    @pytest.mark.parametrize(
        ("argv", "exit_code", "output"),
        [
            pytest.param(["true"], 0, "", id="passes"),
            pytest.param(["sh", "-c", "echo one; echo two >&2; exit 4"], 4, "one\ntwo", id="fails"),
            pytest.param(["sh", "-c", "kill -11 $$"], 139, "", id="killed-by-a-signal"),
            pytest.param(["no-such-tool", "-v"], 127, "no-such-tool: command not found", id="none"),
            pytest.param(["./plain"], 126, "./plain: permission denied", id="not-executable"),
            pytest.param(["./empty"], 126, "./empty: exec format error", id="no-interpreter"),
            pytest.param(["printf", r"\377\n"], 0, "\N{REPLACEMENT CHARACTER}", id="invalid-utf-8"),
            pytest.param(["cat"], 0, "", id="standard-input-is-empty"),
        ],
    )
    def test_check(
        self, runner: Behaviour, place: Path, argv: list[str], exit_code: int, output: str
    ) -> None:
        (place / "plain").write_text("#!/bin/sh\n")
        (place / "empty").write_text("\0\0\0\0")
        (place / "empty").chmod(0o755)
        result = runner("answers").check(argv, cwd=place, mark="t1/1/x", timeout=20, stop=never)
        assert result.argv == tuple(argv)
        assert (result.exit_code, result.output) == (exit_code, output)
        assert result.ok == (exit_code == 0)
        assert result.seconds is not None

    @pytest.mark.parametrize("reason", ["time limit of 0.3 s reached", "stopped"])
    def test_a_check_that_is_ended_leaves_nothing_behind(
        self, runner: Behaviour, place: Path, reason: str
    ) -> None:
        script = "echo begun; setsid sh -c 'trap \"\" TERM; echo $$ >pids; sleep 60' & sleep 60"
        limit = 0.3 if reason.startswith("time") else 20
        result = runner("answers").check(
            ["sh", "-c", script],
            cwd=place,
            mark="t1/1/y",
            timeout=limit,
            stop=lambda: reason == "stopped" and bool(pids(place / "pids")),
        )
        assert (result.exit_code, result.ok) == (None, False)
        # A shell that sees its child die first says so between the two.
        assert result.output.startswith("begun\n")
        assert result.output.endswith(f"\n{reason}")
        assert running(place / "pids") == []

    def test_a_check_does_not_wait_for_who_holds_its_output(
        self, runner: Behaviour, place: Path
    ) -> None:
        began = time.monotonic()
        argv = ["sh", "-c", "sleep 60 & echo $! >pids; echo said"]
        result = runner("answers").check(argv, cwd=place, mark="t1/1/z", timeout=20, stop=never)
        assert (result.exit_code, result.output) == (0, "said")
        assert time.monotonic() - began < 10
        assert running(place / "pids") == []

    def test_of_a_long_check_the_end_is_kept(self, runner: Behaviour, place: Path) -> None:
        argv = [sys.executable, "-c", "print('é' * 50_000); print('the end')"]
        result = runner("answers").check(argv, cwd=place, mark="t1/1/l", timeout=20, stop=never)
        assert len(result.output) == 4000
        assert result.output.endswith("é\nthe end")
