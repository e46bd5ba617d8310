"""The Codex CLI (`codex exec --json`): the kind `codex`, and what its events mean.

Seen with 0.163 to 0.171. It gives no status and no reset time of its own: its closing event
`turn.failed` has one sentence, and that alone decides the class of a failure.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from agent.adapters.agents import resets
from agent.adapters.agents.command import CommandRunner
from agent.adapters.agents.faults import classify
from agent.adapters.agents.program import (
    STALL_LIMIT,
    AgentProgram,
    KnownAgentSettings,
    check_program,
    warn_of_full_access,
)
from agent.adapters.agents.streams import (
    StreamReader,
    at,
    count_at,
    head,
    items_at,
    tail,
    text_at,
)
from agent.adapters.common.git import AGENTS
from agent.adapters.files.toml import Argument
from agent.backends import AgentBackend, Boundary, Check, Context
from agent.core.model.agent_events import (
    AgentEvent,
    Completed,
    Denied,
    Failed,
    FileChanged,
    Limit,
    Message,
    Reasoning,
    Retrying,
    Started,
    TokensUsed,
    ToolFinished,
    ToolStarted,
    Unknown,
)
from agent.core.model.nouns import AttemptFailure, Usage

_STATUS: Final = re.compile(r"\b(?:unexpected|last) status:? (?P<status>[1-5]\d\d)\b")
_RETRY: Final = re.compile(r"\AReconnecting\.\.\.")


class CodexReader(StreamReader):
    """The events of `codex exec --json`. `now`: about when they were printed."""

    def __init__(self, now: datetime, zone: tzinfo | None = None) -> None:
        super().__init__()
        self._now = now
        self._zone = zone
        self._last: str | None = None
        """The last message of this turn, which is its answer if the turn is completed."""

    def _events(self, found: dict[str, Any]) -> Iterable[AgentEvent] | None:
        match found.get("type"):
            case "thread.started":
                return [Started(session=text_at(found, "thread_id"))]
            case "turn.started":
                self._last = None
                return []
            case "item.started" | "item.updated" | "item.completed" as kind:
                return self._item(kind, found.get("item"))
            case "error":
                return [self._error(text_at(found, "message") or "")]
            case "turn.completed":
                return [_used(found), Completed(self._last)]
            case "turn.failed":
                return self._failed(text_at(found, "error", "message") or "")
        return None

    def _item(self, kind: str, item: object) -> Iterable[AgentEvent] | None:
        done = kind == "item.completed"
        if kind == "item.updated":
            return []
        match at(item, "type"):
            case "agent_message" | "reasoning" as what:
                return self._talk(what, text_at(item, "text") or "") if done else []
            case "file_change":
                return _changed(item) if done else []
            case "error":
                return [Unknown(head(text_at(item, "message") or ""))]
            case str() as name:
                return [_tool(name, item, done=done)]
        return None

    def _talk(self, what: str, text: str) -> list[AgentEvent]:
        if what == "reasoning":
            return [Reasoning(text)]
        self._last = text or None
        return [Message(text)]

    def _error(self, text: str) -> AgentEvent:
        """Not the end: the program goes on, or closes with `turn.failed`."""
        if _RETRY.match(text):
            status = _status(text)
            return Retrying(classify(status, text), status)
        return Unknown(head(text))

    def _failed(self, text: str) -> list[AgentEvent]:
        status = _status(text)
        class_ = classify(status, text)
        retry_at = resets.find(text, self._now, self._zone)
        failure = AttemptFailure(class_=class_, status=status, retry_at=retry_at)
        closing = Failed(failure, tail(text))
        return [Limit(retry_at), closing] if class_ == "quota" else [closing]


def _status(text: str) -> int | None:
    found = _STATUS.search(text)
    return int(found["status"]) if found else None


def _used(found: object) -> TokensUsed:
    """Codex counts the whole session, and what it read from a cache among the input."""
    cached = count_at(found, "usage", "cached_input_tokens")
    tokens = Usage(
        input_tokens=max(0, count_at(found, "usage", "input_tokens") - cached),
        cache_write_tokens=count_at(found, "usage", "cache_write_input_tokens"),
        cache_read_tokens=cached,
        output_tokens=count_at(found, "usage", "output_tokens"),
    )
    return TokensUsed(tokens, whole_session=True)


def _changed(item: object) -> list[AgentEvent]:
    paths = (text_at(change, "path") for change in items_at(item, "changes"))
    if at(item, "status") == "failed":
        return [ToolFinished("file_change", ok=False)]
    return [FileChanged(head(path)) for path in paths if path]


def _tool(name: str, item: object, *, done: bool) -> AgentEvent:
    what = text_at(item, "command") or text_at(item, "tool") or text_at(item, "query") or ""
    status = at(item, "status")
    if not done:
        return ToolStarted(head(name), head(what))
    if status == "declined":
        return Denied(head(name), head(what))
    code = at(item, "exit_code")
    return ToolFinished(
        head(name),
        ok=status != "failed" and code in (None, 0),
        code=code if isinstance(code, int) and not isinstance(code, bool) else None,
        text=tail(text_at(item, "aggregated_output") or ""),
    )


class CodexSettings(KnownAgentSettings):
    """`[[agents]]` with `kind = "codex"`."""

    program: Argument = "codex"
    """Its name, or the path to it."""
    sandbox: Literal["workspace-write", "danger-full-access"] = "workspace-write"
    """Codex's own: its commands write nowhere but in the worktree and where a push has to."""
    network: bool | None = None
    """Whether its commands have the network. None: only if the remote is none of this machine."""


def _arguments(own: CodexSettings, boundary: Boundary, task: str, session: str | None) -> list[str]:
    # A person's arguments come last, so that they can say otherwise.
    settings: dict[str, object] = {"check_for_update_on_startup": False, "analytics.enabled": False}
    if own.sandbox == "workspace-write":
        network = not boundary.remotes if own.network is None else own.network
        settings["sandbox_workspace_write.network_access"] = network
        # Behind bubblewrap it is the run's own. Else it is everybody's, and TMPDIR is its own.
        settings["sandbox_workspace_write.exclude_slash_tmp"] = boundary.isolation != "bubblewrap"
        settings["sandbox_workspace_write.writable_roots"] = _roots(boundary, task)
    given = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()]
    return [
        "exec",
        "--json",
        "--sandbox",
        own.sandbox,
        *(part for one in given for part in ("-c", one)),
        *(("-m", own.model) if own.model else ()),
        *own.arguments,
        *(("resume", session) if session else ()),
        "-",
    ]


def _roots(boundary: Boundary, task: str) -> list[str]:
    """Where a commit and a push write beside the worktree.

    The clone is found by the task's name, because an agent can write the worktree's pointer to it.
    Git's own folder of the worktree is named beside the clone it lies in: Codex makes it read-only
    otherwise. Of a remote on this machine neither hooks nor settings are among them.
    """
    found = []
    if boundary.clones is not None:
        clone = boundary.clones / AGENTS / f"{task}.git"
        found = [clone, *(clone / "worktrees").glob("*")]
    for remote in boundary.remotes:
        folder = remote / ".git" if (remote / ".git").is_dir() else remote
        found += [folder / name for name in ("objects", "refs", "logs")]
    return [str(one) for one in sorted(found) if one.is_dir() and not one.is_symlink()]


def _open(own: CodexSettings, context: Context) -> CommandRunner:
    boundary = context.boundary
    if own.home is not None:
        boundary = replace(boundary, writable=(*boundary.writable, own.home))
    return CommandRunner(
        [own.program],
        prompt="stdin",
        output="jsonl",
        env=own.given,
        now=context.now,
        scope=context.scope,
        boundary=boundary,
        program=AgentProgram(
            reader=CodexReader,
            arguments=partial(_arguments, own, boundary),
            home=own.home,
            home_variable="CODEX_HOME",
            home_name=".codex",
            session_file="sessions/*/*/*/rollout-*-{session}.jsonl",
        ),
    )


def _check(own: CodexSettings, _context: Context) -> Iterator[Check]:
    yield from check_program(own, own.program, Path("auth.json"))
    if own.sandbox == "danger-full-access":
        yield warn_of_full_access(f"sandbox = {own.sandbox!r}")


BACKEND: Final = AgentBackend(
    settings=CodexSettings, open=_open, check=_check, stall_limit=STALL_LIMIT
)
