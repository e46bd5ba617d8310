"""The kinds of agents whose program we know, with a stand-in that speaks as the real ones do."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.adapters.agents import command
from agent.adapters.agents.program import conclude
from agent.adapters.common.git import AGENTS
from agent.adapters.files.config import read_settings
from agent.backends import AgentBackend, Boundary, Context, find
from agent.core.model.agent_events import Completed, Failed, Transcript
from agent.core.model.nouns import AttemptFailure
from agent.errors import ConfigurationError
from agent.ports import Runner
from tests.adapters.known_agents import opened
from tests.adapters.runner_contract import GRACE, Behaviour, RunnerContract, ended, spec_in

STREAMS = Path(__file__).parent / "agent_streams"
NAMES = ("codex", "claude")

Make = Callable[..., Runner]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runners with a table of settings; whether they share a scope depends on the folder alone."""

    def made(kind: str, behaviour: str = "answers", **table: object) -> Runner:
        boundary = table.pop("boundary", Boundary())
        return opened(tmp_path, kind, behaviour, boundary, **table)

    return made


class TestKnownRunner(RunnerContract):
    """The process is looked after as every other is, so one kind stands for all."""

    @pytest.fixture
    def runner(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> Behaviour:
        monkeypatch.setattr(command, "_CHECK_GRACE", GRACE)
        return lambda behaviour: make("codex", behaviour)


@pytest.mark.parametrize("kind", NAMES)
def test_its_words_become_events_and_its_last_message_the_response(kind, make, tmp_path) -> None:
    run = make(kind).start(spec_in(tmp_path))
    end = ended(run)
    assert (end.final_response, end.session, end.failure) == ("all done", "s-1", None)
    assert end.succeeded
    assert end.used is not None
    assert (end.used.session, end.used.tokens is not None) == ("s-1", True)
    events = run.events()
    assert [event.kind for event in events] == ["started", "message", "message", "usage", "final"]
    assert events[1].text == "working"


@pytest.mark.parametrize("kind", NAMES)
def test_what_it_says_before_it_fails_is_no_cause(kind, make, tmp_path) -> None:
    end = ended(make(kind, "fails").start(spec_in(tmp_path)))
    assert end.failure == AttemptFailure(class_="unknown")
    assert end.last_error == "no luck"
    assert (end.succeeded, end.final_response) == (False, None)


@pytest.mark.parametrize(
    ("kind", "stream", "class_", "status"),
    [
        ("codex", "f_429inf_codex", "rate-limit", 429),
        ("claude", "f_529inf_claude", "overloaded", 529),
    ],
)
def test_a_provider_s_fault_comes_with_its_class(
    kind, stream, class_, status, make, tmp_path
) -> None:
    run = make(kind, str(STREAMS / f"{stream}.jsonl")).start(spec_in(tmp_path))
    end = ended(run)
    assert end.failure == AttemptFailure(class_=class_, status=status)
    assert not end.succeeded
    later = make(kind).adopt(spec_in(tmp_path))
    assert later is not None
    assert later.poll() == end


def test_a_time_of_day_is_meant_as_of_when_it_was_printed(make, tmp_path) -> None:
    """A later host that reads the end must not take yesterday's time for tomorrow's."""
    spec = spec_in(tmp_path)
    ended(make("claude", str(STREAMS / "f_usage_claude.jsonl")).start(spec))
    printed = datetime(2026, 3, 1, 12, tzinfo=UTC)
    os.utime(spec.folder / "output", (printed.timestamp(),) * 2)
    later = make("claude").adopt(spec)
    assert later is not None
    end = later.poll()
    assert end is not None
    assert end.failure is not None
    assert end.failure.retry_at is not None
    assert abs((end.failure.retry_at - printed).total_seconds()) <= 86_400


def called(
    make: Make, place: Path, kind: str, session: str | None = None, **table: object
) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment with which the program was called."""
    file = place / "called.json"
    runner = make(kind, environment={"CALLED": str(file)}, **table)
    ended(runner.start(replace(spec_in(place, task="T-1"), session=session)))
    found = json.loads(file.read_text())
    return found["arguments"], found["environment"]


CODEX = ["exec", "--json", "--sandbox"]
QUIET = ["-c", "check_for_update_on_startup=false", "-c", "analytics.enabled=false"]


def sandbox(*, network: bool, roots: list[str]) -> list[str]:
    return [
        "-c", f"sandbox_workspace_write.network_access={str(network).lower()}",
        "-c", "sandbox_workspace_write.exclude_slash_tmp=true",
        "-c", f"sandbox_workspace_write.writable_roots={json.dumps(roots)}",
    ]  # fmt: skip


ARGUMENTS = [
    pytest.param(
        "codex", {},
        [*CODEX, "workspace-write", *QUIET, *sandbox(network=True, roots=[]), "-"],
        id="codex, nothing configured",
    ),
    pytest.param(
        "codex", {"model": "m", "network": False, "arguments": ["--strict-config"]},
        [*CODEX, "workspace-write", *QUIET, *sandbox(network=False, roots=[]), "-m", "m",
         "--strict-config", "-"],
        id="codex, a model, no network, more arguments",
    ),
    pytest.param(
        "codex", {"sandbox": "danger-full-access"},
        [*CODEX, "danger-full-access", *QUIET, "-"],
        id="codex, full access",
    ),
    pytest.param(
        "claude", {},
        ["-p", "--output-format", "stream-json", "--verbose", "--permission-mode", "dontAsk",
         "--allowedTools", "Read", "Glob", "Grep", "Write", "Edit", "Bash(git *)"],
        id="claude, nothing configured",
    ),
    pytest.param(
        "claude",
        {"model": "m", "permission": "bypassPermissions", "allowed": [],
         "arguments": ["--max-turns", "9"]},
        ["-p", "--output-format", "stream-json", "--verbose", "--permission-mode",
         "bypassPermissions", "--model", "m", "--max-turns", "9"],
        id="claude, full access",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "table", "arguments"), ARGUMENTS)
def test_what_it_is_called_with(kind, table, arguments, make, tmp_path) -> None:
    assert called(make, tmp_path, kind, **table)[0] == arguments


def test_codex_may_write_where_a_push_has_to_and_nowhere_else(make, tmp_path) -> None:
    clones, origin = tmp_path / "clones", tmp_path / "origin.git"
    own = clones / AGENTS / "T-1.git"
    for folder in (own / "worktrees" / "T-1", own / "hooks", clones / AGENTS / "T-2.git",
                   origin / "objects", origin / "refs", origin / "hooks"):  # fmt: skip
        folder.mkdir(parents=True)
    (own / "worktrees" / "evil").symlink_to(tmp_path)
    boundary = Boundary(clones=clones, remotes=(origin,))
    found = called(make, tmp_path, "codex", boundary=boundary)[0]
    roots = [own, own / "worktrees" / "T-1", origin / "objects", origin / "refs"]
    expected = sandbox(network=False, roots=[str(one) for one in roots])
    assert all(one in found for one in expected)


@pytest.mark.parametrize(
    ("kind", "variable", "name"),
    [("codex", "CODEX_HOME", ".codex"), ("claude", "CLAUDE_CONFIG_DIR", ".claude")],
)
@pytest.mark.parametrize("shared", [False, True], ids=["its own", "a shared one"])
def test_every_task_has_a_home_of_its_own_unless_one_is_configured(
    kind, variable, name, shared, make, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv(variable, "/nowhere")
    table = {"home": "login"} if shared else {}
    environment = called(make, tmp_path, kind, **table)[1]
    given = environment[variable]
    assert environment["TMPDIR"] == str(tmp_path / "run-T-1-1" / "tmp")
    expected = tmp_path / ("login" if shared else f"agent-homes/T-1/{name}")
    assert Path(given) == expected
    assert shared or list(expected.iterdir()) == []


SESSION = "01a221fc-8e22-72e1-9355-93b09475f0a8"
FILES = {
    "codex": f".codex/sessions/2026/11/28/rollout-2026-11-28T11-48-40-{SESSION}.jsonl",
    "claude": f".claude/projects/-w-repo/{SESSION}.jsonl",
}
SESSIONS = [
    pytest.param(SESSION, True, True, id="kept here"),
    pytest.param(SESSION, False, False, id="kept on another host"),
    pytest.param(None, True, False, id="a new one is wanted"),
    pytest.param("--last", True, False, id="no session's id"),
    pytest.param("../../x", True, False, id="a path"),
    pytest.param("*", True, False, id="a pattern"),
]


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(("session", "kept", "resumed"), SESSIONS)
def test_a_session_is_continued_where_it_was_kept(
    kind, session, kept, resumed, make, tmp_path
) -> None:
    if kept:
        file = tmp_path / "agent-homes" / "T-1" / FILES[kind]
        file.parent.mkdir(parents=True)
        file.touch()
    found, _ = called(make, tmp_path, kind, session=session)
    words = {"codex": ["resume", SESSION, "-"], "claude": ["--resume", SESSION]}[kind]
    assert any(found[place:][: len(words)] == words for place in range(len(found))) == resumed
    assert resumed or session not in found


def closing(class_: str, text: str = "its words") -> Transcript:
    return Transcript("s", end=Failed(AttemptFailure(class_=class_), text))


WELL = Transcript("s", end=Completed("done"))
DENIED = Transcript("s", denied=("Write", "Bash", "Bash"), end=Completed("done"))
ENDS = [
    # name, exit code, signal, run, standard error; succeeded, class, final response, last error
    ("well", 0, None, WELL, b"a warning", True, None, "done", None),
    ("with tools denied", 0, None, DENIED, b"", True, "denied", "done",
     "3 tool calls were denied: Bash, Write"),
    ("a provider's fault", 1, None, closing("quota"), b"x", False, "quota", None, "its words"),
    ("a fault with code 0", 0, None, closing("server"), b"", False, "server", None, "its words"),
    ("a fault without words", 1, None, closing("auth", ""), b"", False, "auth", None,
     "it closed with a failure: auth"),
    ("well, and then a code", 2, None, WELL, b"oops", False, "unknown", None, "oops"),
    ("no end and code 0", 0, None, Transcript("s"), b"oops", False, "unknown", None,
     "the agent ended without its closing event"),
    ("no end", 1, None, Transcript("s"), b"oops", False, "unknown", None, "oops"),
    ("no beginning", 1, None, Transcript(), b"bad option", False, "spawn-failed", None,
     "bad option"),
    ("killed", None, 9, Transcript("s"), b"", False, "killed", None, "killed by signal 9"),
    ("killed after a fault", None, 9, closing("quota"), b"", False, "killed", None,
     "killed by signal 9"),
    ("terminated, with a code", 143, None, Transcript("s"), b"", False, "killed", None,
     "exit code 143, and no output"),
    ("not seen", None, None, Transcript("s"), b"", False, "unknown", None,
     "the agent's end was not seen"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "found"), [pytest.param(row[1:5], row[5:], id=row[0]) for row in ENDS]
)
def test_how_a_run_ended(given, found) -> None:
    end = conclude(*given, resumed=False)
    class_ = end.failure and end.failure.class_
    assert (end.succeeded, class_, end.final_response, end.last_error) == found


def test_a_session_that_cannot_be_continued_is_begun_anew() -> None:
    end = conclude(1, None, Transcript(), b"no such session", resumed=True)
    assert end.failure == AttemptFailure(class_="context-overflow")


def test_of_a_response_that_is_too_long_the_end_is_kept() -> None:
    long = Transcript("s", end=Completed("x" * 300_000 + "end"))
    end = conclude(0, None, long, b"", resumed=False)
    assert end.truncated
    assert end.final_response is not None
    assert end.final_response.endswith("xend")
    assert len(end.final_response) == 256 * 1024


KEY = {"variables": ["AGENT_KEY"]}
CHECKS = [
    pytest.param({"program": "sh", **KEY}, ["ok"], "is found", id="ready"),
    pytest.param({"program": "no-such-program"}, ["fail"], "is not on PATH", id="not installed"),
    pytest.param({"program": "sh"}, ["ok", "warn"], "has no login", id="no login"),
    pytest.param({"program": "sh", "variables": ["NO_SUCH_KEY"]}, ["ok", "fail"],
                 "NO_SUCH_KEY is not set", id="a key that is not set"),
    pytest.param({"program": "sh", "home": "empty"}, ["ok", "warn"], "has no login: ",
                 id="a home without a login"),
]  # fmt: skip
FULL = [
    pytest.param("codex", {"sandbox": "danger-full-access"}, id="codex"),
    pytest.param("claude", {"permission": "bypassPermissions"}, id="claude"),
]


def checked(place: Path, kind: str, table: dict) -> list:
    backend = find(AgentBackend, kind)
    own = backend.settings.model_validate(table, context={"folder": place})
    context = Context(state=place, now=lambda: datetime.now(UTC), reading=True)
    return list(backend.check(own, context))


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(("table", "states", "said"), CHECKS)
def test_doctor_says_what_is_missing(kind, table, states, said, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AGENT_KEY", "k")
    found = checked(tmp_path, kind, table)
    assert [one.state for one in found] == states
    assert said in found[-1].said
    assert all(one.fix for one in found if one.state != "ok")


@pytest.mark.parametrize(("kind", "table"), FULL)
def test_doctor_warns_of_full_access(kind, table, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AGENT_KEY", "k")
    *_, last = checked(tmp_path, kind, {"program": "sh", **KEY, **table})
    assert last.state == "warn"
    assert "whatever its account may do" in last.said


FAULTY = [
    pytest.param("codex", 'sandbox = "off"', "'sandbox'", id="codex, a sandbox that is none"),
    pytest.param("claude", 'permission = "yolo"', "'permission'", id="claude, no such permission"),
    pytest.param("claude", 'alowed = ["Read"]', "allowed", id="claude, a misspelt key"),
    pytest.param("codex", 'variables = "KEY"', "'variables'", id="codex, a text for a list"),
    pytest.param("codex", 'home = ".wavekeeper"', "is not for agents", id="codex, the state"),
    pytest.param("claude", 'home = "/"', "is not for agents", id="claude, everything"),
]


@pytest.mark.parametrize(("kind", "line", "said"), FAULTY)
def test_a_faulty_table_is_one_clear_line(kind, line, said, tmp_path) -> None:
    file = tmp_path / "wavekeeper.toml"
    file.write_text(f'[[agents]]\nname = "a"\nkind = "{kind}"\n{line}\n')
    with pytest.raises(ConfigurationError) as caught:
        read_settings(file)
    assert str(caught.value).startswith(f"{file}:4: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
