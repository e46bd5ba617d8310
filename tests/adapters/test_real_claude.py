"""The real Claude Code with a scripted model on loopback: what the kind `claude` rests on.

It runs where Claude Code is installed: `claude` on PATH, or the one in the package
`claude-agent-sdk`. It is nobody's to pass on, so the extra `agents` does not bring it.
"""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.adapters import git_person
from tests.adapters.loopback import served
from tests.adapters.real_agents import MODES, PUSH, World
from tests.standins.messages_api import follow, prompts, refuse, say


def installed() -> str | None:
    if (spec := find_spec("claude_agent_sdk")) is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "_bundled" / "claude"
        if bundled.exists():
            return str(bundled)
    return shutil.which("claude")


CLAUDE = installed()
pytestmark = pytest.mark.skipif(
    CLAUDE is None, reason="Claude Code is not installed: put `claude` on PATH"
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with served() as model:
        table = {
            "program": CLAUDE,
            "environment": {
                "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "k",
                "CLAUDE_CODE_MAX_RETRIES": "1", **git_person.IDENTITY,
            },
        }  # fmt: skip
        yield World(tmp_path, model, "claude", table, follow)


@pytest.mark.parametrize("mode", MODES)
def test_it_edits_commits_and_pushes_and_is_denied_the_rest(world: World, mode: str) -> None:
    evil = world.place / "evil"
    script = [
        say("I write.", "Write", file_path=str(world.worktree / "f1.txt"), content="hello\n"),
        say("I add.", "Bash", command="git add f1.txt"),
        say("I commit.", "Bash", command="git commit -qm work"),
        say("I push.", "Bash", command=PUSH),
        say("I do evil.", "Bash", command=f"touch {evil}"),
        say("FINAL: pushed."),
    ]
    run, end = world.ended(mode, script)
    assert (end.final_response, end.last_error) == (
        "FINAL: pushed.",
        "1 tool call was denied: Bash",
    )
    assert end.failure is not None
    assert (end.failure.class_, end.succeeded) == ("denied", True)
    kinds = [event.kind for event in run.events()]
    assert (kinds[0], kinds[-2:]) == ("started", ["usage", "final"])
    assert {"tool_started", "tool_finished", "file_changed", "denied"} <= set(kinds)
    assert world.pushed() == "hello"
    assert not evil.exists()


@pytest.mark.parametrize("mode", MODES)
def test_the_next_attempt_goes_on_with_the_session(world: World, mode: str) -> None:
    _, first = world.ended(mode, [say("Half done.")])
    _, second = world.ended(mode, [say("Done.")], attempt=2, session=first.session)
    assert first.session
    assert (second.session, second.final_response) == (first.session, "Done.")
    asked = [one for one in world.model.asked if b"attempt 2" in one.body]
    assert [text for text in prompts(asked[-1]) if "Do the work" in text] == [
        "Do the work, attempt 1.",
        "Do the work, attempt 2.",
    ]


FAULTS = [
    ("throttled", refuse(429, "rate_limit_error", "slow down"), "rate-limit", 429),
    ("no more money", refuse(400, "invalid_request_error", "Your credit balance is too low"),
     "quota", 400),
    ("a wrong key", refuse(401, "authentication_error", "invalid x-api-key"), "auth", 401),
    ("a server's fault", refuse(500, "api_error", "oops"), "server", 500),
    ("overloaded", refuse(529, "overloaded_error", "Overloaded"), "overloaded", 529),
    ("a full context", refuse(400, "invalid_request_error", "prompt is too long: 1 > 0"),
     "context-overflow", 400),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "class_", "status"), [pytest.param(*row[1:], id=row[0]) for row in FAULTS]
)
def test_a_provider_s_fault_has_its_class(world: World, reply, class_, status) -> None:
    _, end = world.ended("none", [reply])
    assert end.failure is not None
    assert (end.failure.class_, end.failure.status) == (class_, status), end.last_error
    assert not end.succeeded
