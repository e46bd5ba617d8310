"""The real Codex CLI with a scripted model on loopback: what the kind `codex` rests on still holds.

It runs where Codex is installed: `pip install 'wavekeeper[agents]'`, or `codex` on PATH.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from tests.adapters import git_person
from tests.adapters.loopback import Reply, served
from tests.adapters.processes import until
from tests.adapters.real_agents import MODES, PUSH, World
from tests.standins.responses_api import follow, prompts, refuse, say


def installed() -> str | None:
    try:
        return str(import_module("codex_cli_bin").bundled_codex_path())
    except ImportError:
        return shutil.which("codex")


CODEX = installed()
pytestmark = pytest.mark.skipif(
    CODEX is None, reason="Codex is not installed: pip install 'wavekeeper[agents]'"
)
COMMIT = "git add f1.txt && git commit -qm work"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with served() as model:
        provider = (
            f'{{name="scripted",base_url="{model.url}/v1",env_key="MODEL_KEY",'
            'wire_api="responses",request_max_retries=0,stream_max_retries=0}'
        )
        table = {
            "program": CODEX,
            "model": "gpt-5.5",
            "arguments": [
                "-c", "model_provider=scripted", "-c", f"model_providers.scripted={provider}",
            ],
            "environment": {"MODEL_KEY": "k", **git_person.IDENTITY},
        }  # fmt: skip
        yield World(tmp_path, model, "codex", table, follow)


@pytest.mark.parametrize("mode", MODES)
def test_it_edits_commits_and_pushes_and_writes_nowhere_else(world: World, mode: str) -> None:
    outside = world.place / "origin.git" / "hooks"
    outside.mkdir(exist_ok=True)
    script = [
        say("I write the file.", f"echo hello > f1.txt && {COMMIT}"),
        say("I push.", f"{PUSH}; echo > {outside}/evil; echo > {world.place}/evil"),
        say("FINAL: pushed."),
    ]
    run, end = world.ended(mode, script)
    assert (end.final_response, end.failure) == ("FINAL: pushed.", None)
    assert end.session
    assert end.succeeded
    events = run.events()
    kinds = [event.kind for event in events if event.kind != "stderr"]
    assert kinds == [
        "started", "message", "tool_started", "tool_finished", "message", "tool_started",
        "tool_finished", "message", "usage", "final",
    ]  # fmt: skip
    assert world.pushed() == "hello"
    assert not (outside / "evil").exists()
    assert not (world.place / "evil").exists()
    assert [text.splitlines()[-1] for text in prompts(world.model.asked[-1])] == [
        "Do the work, attempt 1."
    ]


RESETS = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
USAGE_LIMIT = {
    "plan_type": "plus", "resets_at": int(RESETS.timestamp()), "resets_in_seconds": 18_000,
}  # fmt: skip
FAULTS = [
    ("throttled", refuse(429, "rate_limit_exceeded", "slow down"), "rate-limit", 429),
    ("an account's limit", refuse(429, "usage_limit_reached", "no more", **USAGE_LIMIT), "quota",
     None),
    ("no more money", refuse(429, "insufficient_quota", "pay"), "quota", None),
    ("a wrong key", refuse(401, "invalid_api_key", "Incorrect API key provided"), "auth", 401),
    ("a server's fault", refuse(500, "server_error", "oops"), "overloaded", None),
    ("a full context", refuse(400, "context_length_exceeded", "too long"), "context-overflow",
     None),
    ("a page of a proxy", Reply(b"<html>", headers={"Content-Type": "text/html"}), "malformed",
     None),
    ("an answer that breaks off",
     Reply(b'event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}\n\n',
           headers={"Content-Type": "text/event-stream"}), "malformed", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "class_", "status"), [pytest.param(*row[1:], id=row[0]) for row in FAULTS]
)
def test_a_provider_s_fault_has_its_class(world: World, reply, class_, status) -> None:
    script = [say("429 Too Many Requests, I say.", "echo rate_limit_exceeded; exit 7"), reply]
    _, end = world.ended("none", script)
    assert end.failure is not None
    assert (end.failure.class_, end.failure.status) == (class_, status), end.last_error
    assert not end.succeeded
    assert end.final_response is None


def test_an_account_s_limit_says_until_when(world: World) -> None:
    _, end = world.ended("none", [refuse(429, "usage_limit_reached", "no more", **USAGE_LIMIT)])
    assert end.failure is not None
    assert end.failure.retry_at is not None, end.last_error
    assert timedelta() <= end.failure.retry_at - RESETS <= timedelta(minutes=1)


@pytest.mark.parametrize("mode", MODES)
def test_the_next_attempt_goes_on_with_the_session(world: World, mode: str) -> None:
    _, first = world.ended(mode, [refuse(429, "rate_limit_exceeded", "slow down")])
    assert first.session
    command = f"echo hello > f1.txt && {COMMIT} && {PUSH}; echo > {world.place}/evil"
    script = [say("Once more.", command), say("Done.")]
    _, second = world.ended(mode, script, attempt=2, session=first.session)
    assert (second.session, second.final_response) == (first.session, "Done.")
    assert [text.splitlines()[-1] for text in prompts(world.model.asked[-1])] == [
        "Do the work, attempt 1.",
        "Do the work, attempt 2.",
    ]
    assert world.pushed() == "hello"
    assert not (world.place / "evil").exists()


def test_one_that_is_killed_in_a_command_is_known_as_killed(world: World) -> None:
    run = world.start("none", [say("I wait.", "sleep 64"), say("Never said.")])
    folder = world.place / "runs" / "T-1-1"
    until(lambda: [one for one in run.events() if one.kind == "tool_started"], 60)
    os.kill(int((folder / "group").read_text()), signal.SIGKILL)
    end = until(run.poll, 60)
    assert end.failure is not None
    assert (end.failure.class_, end.signal) == ("killed", 9)
    assert end.session
    assert world.runner("none").sweep("T-1", before=2, grace=0) == 0
