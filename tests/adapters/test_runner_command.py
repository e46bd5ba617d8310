import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from agent.adapters.agents import command
from agent.adapters.agents.command import CommandRunner
from agent.errors import ConfigurationError, SpawnError
from agent.ports import Run, RunSpec
from tests.adapters.processes import pids, running, until
from tests.adapters.runner_contract import (
    GRACE,
    Behaviour,
    RunnerContract,
    ended,
    never,
    ready,
    spec_in,
    texts,
)

WAITS = "echo $$ >>pids; echo ready; while [ ! -e go ]; do sleep 0.02; done; echo 'gone on'"
SCRIPTS = {
    "answers": "echo working; echo 'all done'",
    "fails": "echo working; echo 'no luck' >&2; exit 3",
    "repeats": "cat",
    "waits": WAITS,
    "deaf": f"trap '' TERM; setsid sleep 60 & echo $! >>pids; {WAITS}",
    "leaves": "setsid sleep 60 & echo $! >>pids; echo 'all done'",
}

Make = Callable[..., CommandRunner]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def make() -> Iterator[Make]:
    """Runners of shell scripts in a scope of their own, where nothing survives the test."""
    scope = uuid.uuid4().hex
    options = {"prompt": "stdin", "output": "text", "env": {}, "now": now, "scope": scope}

    def made(*argv: str, **changed: object) -> CommandRunner:
        return CommandRunner(argv, **{**options, **changed})

    yield made
    made("true").sweep("t1", before=1_000_000, grace=0)


class TestCommandRunner(RunnerContract):
    @pytest.fixture
    def runner(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> Behaviour:
        monkeypatch.setattr(command, "_CHECK_GRACE", GRACE)
        return lambda behaviour: make("sh", "-c", SCRIPTS[behaviour])


def lines(make: Make, place: Path, script: str, **changed: object) -> tuple[Run, list[tuple]]:
    run = make(sys.executable, "-c", script, **changed).start(spec_in(place))
    ended(run)
    return run, [(event.kind, event.text) for event in run.events()]


def test_json_lines_speak_for_themselves(make: Make, tmp_path: Path) -> None:
    script = """
import json, sys
print(json.dumps({"type": "message", "text": "hello"}))
print("plain")
print(json.dumps({"type": "final", "text": "first"}))
print(json.dumps({"type": "final", "text": "last"}))
print("careful", file=sys.stderr)
"""
    run, events = lines(make, tmp_path, script, output="jsonl")
    assert events == [
        ("message", "hello"),
        ("text", "plain"),
        ("final", "first"),
        ("final", "last"),
        ("stderr", "careful"),
    ]
    assert ended(run).final_response == "last"


def test_names_of_the_final_line_can_be_chosen(make: Make, tmp_path: Path) -> None:
    script = """print('{"type": "result", "result": "it is done"}')"""
    run, _ = lines(make, tmp_path, script, output="jsonl", final=("result", "result"))
    assert ended(run).final_response == "it is done"


def test_without_a_final_line_there_is_no_final_response(make: Make, tmp_path: Path) -> None:
    run, _ = lines(make, tmp_path, "print('all done')", output="jsonl")
    assert ended(run).final_response is None


def test_of_a_long_output_the_end_is_the_final_response(make: Make, tmp_path: Path) -> None:
    run, _ = lines(make, tmp_path, "print('x' * 300_000); print('the end')")
    end = ended(run)
    assert end.truncated
    assert end.final_response is not None
    assert len(end.final_response) == 256 * 1024 - 1
    assert end.final_response.endswith("x\nthe end")


def test_lines_of_a_mebibyte_and_invalid_text_are_read(make: Make, tmp_path: Path) -> None:
    script = r"""
import sys
out = sys.stdout.buffer
out.write(b'{"type": "big", "text": "' + b"y" * (1024 * 1024 - 27) + b'"}\n')
out.write(b"z" * 3 * 1024 * 1024 + b"\n")
out.write(b"\xff\xfe ok\n")
"""
    _, events = lines(make, tmp_path, script, output="jsonl")
    kinds, found = zip(*events, strict=True)
    assert kinds == ("big", "text", "text")
    assert all(len(text) <= 4000 for text in found)
    assert found[0].endswith("[1,048,549 characters in all]")
    assert found[1].endswith("[2,097,152 more bytes cut]")
    assert found[2] == "\N{REPLACEMENT CHARACTER}" * 2 + " ok"


def test_an_unfinished_line_waits_for_its_end(make: Make, tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    script = "printf 'one\\ntw'; echo $$ >>pids; while [ ! -e go ]; do sleep 0.02; done; printf o"
    run = make("sh", "-c", script).start(spec)
    ready(spec)
    assert texts(run.events()) == ["one"]
    assert texts(run.events()) == []
    (spec.cwd / "go").touch()
    ended(run)
    assert texts(run.events()) == ["two"]


def test_endless_output_is_read_from_its_end(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_BACKLOG", 64)
    _, events = lines(make, tmp_path, "for i in range(1000): print('line', i)")
    assert events[0] == ("text", "[8,827 bytes of output left out here]")
    assert [text for _, text in events[1:]] == [f"line {i}" for i in range(993, 1000)]


def test_the_prompt_as_a_file(make: Make, tmp_path: Path) -> None:
    runner = make("sh", "-c", 'cat "$1"; cat', "sh", "{prompt_file}", prompt="file")
    assert ended(runner.start(spec_in(tmp_path, "a 'prompt'"))).final_response == "a 'prompt'"


def test_the_environment_names_the_attempt_and_no_other_repository(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Ann")
    spec = spec_in(tmp_path, attempt=2)
    end = ended(make("env", env={"TOKEN": "a=b"}).start(spec))
    assert end.final_response is not None
    told = dict(line.split("=", 1) for line in end.final_response.splitlines() if "=" in line)
    assert told["WAVEKEEPER_MARK"] == spec.mark
    assert (told["WAVEKEEPER_TASK"], told["WAVEKEEPER_ATTEMPT"]) == ("t1", "2")
    assert (told["TOKEN"], told["GIT_AUTHOR_NAME"]) == ("a=b", "Ann")
    assert not {"GIT_DIR", "WAVEKEEPER_SHIM"} & set(told)


def test_relative_folders_are_the_hosts(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    spec = RunSpec(mark="t1/1/rel", folder=Path("runs/one"), cwd=Path("work"), prompt="hi")
    end = ended(make("sh", "-c", "pwd; cat").start(spec))
    assert end.final_response == f"{tmp_path.resolve() / 'work'}\nhi"


def test_an_agent_is_in_nobodys_session(make: Make, tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    make("sh", "-c", WAITS).start(spec)
    (pid,) = ready(spec)
    assert os.getsid(pid) == pid


@pytest.mark.parametrize(
    ("argv", "cwd", "words"),
    [
        pytest.param(
            ["no-such-agent"], "there", "No such file or directory: no-such-agent", id="none"
        ),
        pytest.param(["/dev/null"], "there", "Permission denied: /dev/null", id="not-executable"),
        pytest.param(["true"], "gone", "No such file or directory: .*gone", id="no-folder"),
        pytest.param(["true\0"], "there", "embedded null byte", id="null-byte"),
    ],
)
def test_what_cannot_be_started(
    make: Make, tmp_path: Path, argv: list[str], cwd: str, words: str
) -> None:
    (tmp_path / "there").mkdir()
    runner = make(*argv)
    spec = RunSpec(mark="t1/1/no", folder=tmp_path / "run", cwd=tmp_path / cwd, prompt="")
    with pytest.raises(SpawnError, match=f"cannot start .*: {words}$") as caught:
        runner.start(spec)
    assert "\n" not in str(caught.value)
    assert runner.adopt(spec) is None


def test_a_check_where_there_is_no_folder_is_no_verdict(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SpawnError, match=r"cannot run true: No such file or directory: .*gone$"):
        make("x").check(["true"], cwd=tmp_path / "gone", mark="t1/1/c", timeout=5, stop=never)


@pytest.mark.parametrize(
    ("argv", "prompt", "words"),
    [
        pytest.param([], "stdin", "the agent's command is empty", id="empty"),
        pytest.param(["agent"], "file", r"has no \{prompt_file\}", id="no-place-for-the-prompt"),
    ],
)
def test_a_command_that_cannot_work_is_refused(
    make: Make, argv: list[str], prompt: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make(*argv, prompt=prompt)


def test_a_start_that_nobody_saw_to_its_end_is_not_repeated(make: Make, tmp_path: Path) -> None:
    """The shim was killed between the note that it starts and the start, or later."""
    spec = spec_in(tmp_path)
    spec.folder.mkdir()
    (spec.folder / "lock").touch()
    (spec.folder / "started").touch()
    for run in (make("touch", "twice").adopt(spec), make("touch", "twice").start(spec)):
        assert run is not None
        end = run.poll()
        assert end is not None
        assert (end.code, end.signal, end.last_error) == (
            None,
            None,
            "the agent's end was not seen",
        )
    assert list(spec.cwd.iterdir()) == []


def test_a_killed_shim_takes_its_agent_with_it(make: Make, tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    run = make("sh", "-c", SCRIPTS["deaf"]).start(spec)
    ready(spec, 2)
    agent = pids(spec.cwd / "pids")[-1]
    os.kill(shim_of(agent), signal.SIGKILL)
    end = until(run.poll)
    assert (end.code, end.last_error) == (None, "the agent's end was not seen")
    assert running(spec.cwd / "pids") == []


def shim_of(agent: int) -> int:
    """Its parent."""
    return psutil.Process(agent).ppid()


def test_a_frozen_shim_is_stopped_as_well(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_SHIM_PATIENCE", 0.3)
    spec = spec_in(tmp_path)
    run = make("sh", "-c", WAITS).start(spec)
    (agent,) = ready(spec)
    os.kill(shim_of(agent), signal.SIGSTOP)
    run.stop(GRACE)
    end = run.poll()
    assert end is not None
    assert end.last_error == "the agent's end was not seen"
    assert running(spec.cwd / "pids") == []


def test_a_shim_that_is_asked_to_end_sees_the_agent_to_its_end(make: Make, tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    run = make("sh", "-c", WAITS).start(spec)
    (agent,) = ready(spec)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(shim_of(agent), number)
    (spec.cwd / "go").touch()
    assert ended(run).code == 0


HIDDEN = "env -i PATH=$PATH setsid sh -c 'echo $$ >>pids; sleep 60; true' &"


def test_who_cleaned_its_environment_is_stopped_too(make: Make, tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    run = make("sh", "-c", f"({HIDDEN}) ; {WAITS}").start(spec)
    ready(spec, 2)
    run.stop(GRACE)
    assert len(pids(spec.cwd / "pids")) == 2
    assert running(spec.cwd / "pids") == []


def test_who_cleaned_its_environment_does_not_outlive_the_agent(make: Make, tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    make("sh", "-c", f"({HIDDEN}); until [ -s pids ]; do sleep 0.02; done").start(spec)
    # Nobody polls: the shim alone sees to it.
    until((spec.folder / "exit").exists)
    assert len(pids(spec.cwd / "pids")) == 1
    assert running(spec.cwd / "pids") == []


def test_who_cleaned_its_environment_is_found_below_a_check(make: Make, tmp_path: Path) -> None:
    argv = ["sh", "-c", f"{HIDDEN} wait"]
    file = tmp_path / "pids"
    make("x").check(argv, cwd=tmp_path, mark="t1/1/h", timeout=20, stop=lambda: bool(pids(file)))
    assert len(pids(file)) == 1
    assert running(file) == []


def test_sweep_leaves_other_queues_alone(make: Make, tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    make("sh", "-c", WAITS).start(spec)
    ready(spec)
    assert make("true", scope="another").sweep("t1", before=5, grace=GRACE) == 0
    assert running(spec.cwd / "pids")


def test_descent_is_enough_where_no_environment_can_be_read(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS does for the programs of the system."""
    monkeypatch.setattr(psutil.Process, "environ", lambda _: {})
    spec = spec_in(tmp_path)
    runner = make("sh", "-c", SCRIPTS["deaf"])
    run = runner.start(spec)
    ready(spec, 2)
    assert runner.sweep("t1", before=5, grace=GRACE) == 0
    run.stop(GRACE)
    end = run.poll()
    assert end is not None
    assert end.signal == signal.SIGKILL
    assert running(spec.cwd / "pids") == []


def test_a_process_id_in_new_hands_is_left_alone(make: Make, tmp_path: Path) -> None:
    """The shim was killed, and what its note calls the command is somebody else by now."""
    spec = spec_in(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        spec.folder.mkdir()
        (spec.folder / "lock").touch()
        (spec.folder / "started").touch()
        (spec.folder / "group").write_text(str(stranger.pid))
        run = make("true").adopt(spec)
        assert run is not None
        run.stop(0)
        assert stranger.poll() is None
        stranger.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as handle:
        try:
            while handle.write(b"x" * 4096):
                pass
        except OSError:
            pass


def test_no_start_on_a_full_disk(make: Make, small_disk: Path) -> None:
    spec = spec_in(small_disk)
    fill(small_disk)
    with pytest.raises(SpawnError, match="cannot start sh: No space left on device"):
        make("sh", "-c", WAITS).start(spec)
    assert pids(spec.cwd / "pids") == []


def test_a_disk_that_fills_up_costs_the_output_but_not_the_end(
    make: Make, small_disk: Path, tmp_path: Path
) -> None:
    spec = spec_in(small_disk)
    spec = RunSpec(mark=spec.mark, folder=spec.folder, cwd=tmp_path, prompt="")
    run = make("sh", "-c", f"{WAITS}; head -c 500000 /dev/zero; exit 5").start(spec)
    ready(spec)
    until(lambda: texts(run.events()) == ["ready"])
    fill(small_disk)
    (spec.cwd / "go").touch()
    assert ended(run).code == 5
    run.events()
    assert json.loads((spec.folder / "offsets").read_text())["output"] == len("ready\n")
    assert run.events() == []
