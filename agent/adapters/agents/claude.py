"""Claude Code (`claude -p --output-format stream-json --verbose`): the kind `claude`.

Seen with 2.1.197 to 2.1.332. Its closing event `result` has the provider's status; the limit of
a subscription comes before it as an event of its own, with the time of its end.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

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
    number_at,
    status_at,
    tail,
    text_at,
)
from agent.adapters.files.toml import Argument, Text
from agent.backends import AgentBackend, Check, Context
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
)
from agent.core.model.nouns import AttemptFailure, FailureClass, Usage

_BY_ERROR: Final[dict[str, FailureClass]] = {
    "rate_limit": "rate-limit",
    "overloaded": "overloaded",
    "server_error": "server",
    "authentication_failed": "auth",
    "billing_error": "quota",
}
"""Claude's own words for what its provider answered, where there was no status."""
_WRITES: Final = ("Write", "Edit", "MultiEdit", "NotebookEdit")
_QUIET: Final = ("stream_event", "tool_progress", "control_response")
_QUIET_SYSTEM: Final = (
    "status", "task_started", "task_progress", "task_notification", "task_updated",
    "compact_boundary", "hook_started", "hook_response", "vcs_state_changed",
)  # fmt: skip
_MOST_CALLS: Final = 1000
_QUIET_VARIABLES: Final = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
}


class ClaudeReader(StreamReader):
    """The events of `claude -p`. `now`: about when they were printed."""

    def __init__(self, now: datetime, zone: tzinfo | None = None) -> None:
        super().__init__()
        self._now = now
        self._zone = zone
        self._calls: dict[str, tuple[str, str]] = {}
        """Tool calls that have not ended: name and arguments by id."""
        self._denied: set[str] = set()
        """Calls that were reported as denied; `result` lists them once more."""
        self._limit: Limit | None = None
        """The account's limit, as long as nothing was allowed after it."""
        self._error: str | None = None
        """What Claude itself calls the fault that it closes with."""

    def _events(self, found: dict[str, Any]) -> Iterable[AgentEvent] | None:
        match found.get("type"):
            case "system":
                return self._system(found)
            case "assistant":
                self._error = text_at(found, "error")
                return list(self._said(found))
            case "user":
                return list(self._returned(found))
            case "rate_limit_event":
                return self._limited(at(found, "rate_limit_info"))
            case "result":
                return [*self._denials(found), _used(found), self._closed(found)]
            case str() as kind if kind in _QUIET:
                return []
        return None

    def _system(self, found: object) -> Iterable[AgentEvent] | None:
        match at(found, "subtype"):
            case "init":
                version = text_at(found, "claude_code_version")
                return [Started(text_at(found, "session_id"), text_at(found, "model"), version)]
            case "api_retry":
                status, error = status_at(found, "error_status"), text_at(found, "error") or ""
                delay = number_at(found, "retry_delay_ms")
                seconds = None if delay is None else delay / 1000
                return [Retrying(_class(status, error, ""), status, seconds)]
            case "permission_denied":
                return self._deny(found)
            case str() as kind if kind in _QUIET_SYSTEM:
                return []
        return None

    def _said(self, found: object) -> Iterator[AgentEvent]:
        if self._error is not None:
            return  # Claude's own line about a fault, in the shape of an answer; `result` has it
        for block in items_at(found, "message", "content"):
            match at(block, "type"):
                case "text":
                    yield Message(text_at(block, "text") or "")
                case "thinking":
                    yield Reasoning(text_at(block, "thinking") or "")
                case "tool_use":
                    name, arguments = text_at(block, "name") or "tool", _arguments(block)
                    call = text_at(block, "id")
                    if call is not None and len(self._calls) < _MOST_CALLS:
                        self._calls[call] = (name, text_at(block, "input", "file_path") or "")
                    yield ToolStarted(head(name), head(arguments))

    def _returned(self, found: object) -> Iterator[AgentEvent]:
        for block in items_at(found, "message", "content"):
            if at(block, "type") != "tool_result":
                continue
            name, path = self._calls.pop(text_at(block, "tool_use_id") or "", ("tool", ""))
            ok = at(block, "is_error") is not True
            yield ToolFinished(head(name), ok=ok, text=tail(_printed(block)))
            if ok and path and name in _WRITES:
                yield FileChanged(head(path))

    def _limited(self, info: object) -> Iterable[AgentEvent]:
        if at(info, "status") != "rejected":
            self._limit = None
            return []
        epoch = number_at(info, "resetsAt")
        self._limit = Limit(None if epoch is None else resets.of_epoch(epoch, self._now))
        return [self._limit]

    def _denials(self, found: object) -> Iterator[AgentEvent]:
        for one in items_at(found, "permission_denials"):
            yield from self._deny(one)

    def _deny(self, found: object) -> Iterable[AgentEvent]:
        call = text_at(found, "tool_use_id")
        if call is not None and call in self._denied:
            return ()
        if call is not None and len(self._denied) < _MOST_CALLS:
            self._denied.add(call)
        return (Denied(head(text_at(found, "tool_name") or "tool"), head(_arguments(found))),)

    def _closed(self, found: object) -> AgentEvent:
        """`subtype` alone says nothing: it is `success` for faults of the provider, too."""
        said = text_at(found, "result")
        if at(found, "is_error") is not True and at(found, "subtype") == "success":
            return Completed(said)
        errors = [one for one in items_at(found, "errors") if isinstance(one, str)]
        words = said or "\n".join(errors) or text_at(found, "subtype") or ""
        return Failed(self._failure(found, words), tail(words))

    def _failure(self, found: object, words: str) -> AttemptFailure:
        status, reason = status_at(found, "api_error_status"), at(found, "terminal_reason")
        if reason == "prompt_too_long":
            return AttemptFailure(class_="context-overflow", status=status)
        if status is None and self._error is None and reason != "api_error":
            # Claude stopped, and no provider failed: by a limit of turns, or of money, say.
            return AttemptFailure(class_="unknown")
        class_ = _class(status, self._error or "", words)
        retry_at = resets.find(words, self._now, self._zone)
        if self._limit is not None and class_ in ("rate-limit", "quota"):
            class_, retry_at = "quota", self._limit.resets_at or retry_at
        return AttemptFailure(class_=class_, status=status, retry_at=retry_at)


def _class(status: int | None, error: str, words: str) -> FailureClass:
    found = classify(status, words)
    return _BY_ERROR.get(error, found) if found == "unknown" else found


def _used(found: object) -> TokensUsed:
    """By model: the sum under `usage` leaves out calls that Claude made again on another way."""
    models = at(found, "modelUsage")
    tokens = Usage()
    for one in models.values() if isinstance(models, dict) else ():
        tokens = tokens.plus(
            Usage(
                input_tokens=count_at(one, "inputTokens"),
                cache_write_tokens=count_at(one, "cacheCreationInputTokens"),
                cache_read_tokens=count_at(one, "cacheReadInputTokens"),
                output_tokens=count_at(one, "outputTokens"),
            )
        )
    return TokensUsed(tokens, number_at(found, "total_cost_usd"))


def _arguments(block: object) -> str:
    """Of a tool call: the command or the path, or all of it."""
    given = at(block, "input") or at(block, "tool_input")
    for name in ("command", "file_path", "path", "pattern"):
        if (found := text_at(given, name)) is not None:
            return found
    return json.dumps(given, ensure_ascii=False) if given else ""


def _printed(block: object) -> str:
    parts = (text_at(part, "text") or "" for part in items_at(block, "content"))
    return text_at(block, "content") or "\n".join(parts)


class ClaudeSettings(KnownAgentSettings):
    """`[[agents]]` with `kind = "claude"`."""

    program: Argument = "claude"
    """Its name, or the path to it."""
    permission: Literal["dontAsk", "acceptEdits", "bypassPermissions"] = "dontAsk"
    """`dontAsk`: what `allowed` does not name is denied, and the agent goes on without it."""
    allowed: Annotated[tuple[Text, ...], Field(strict=False)] = (
        "Read", "Glob", "Grep", "Write", "Edit", "Bash(git *)",
    )  # fmt: skip
    """Tools, in Claude's own words; the commands of a task's own checks belong here."""


def _arguments_of(own: ClaudeSettings, _task: str, session: str | None) -> list[str]:
    return [
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--permission-mode",
        own.permission,
        *(("--resume", session) if session else ()),
        *(("--model", own.model) if own.model else ()),
        *own.arguments,
        # Last, because it takes all arguments that follow; the prompt is none of them.
        *(("--allowedTools", *own.allowed) if own.allowed else ()),
    ]


def _open(own: ClaudeSettings, context: Context) -> CommandRunner:
    boundary = context.boundary
    if own.home is not None:
        boundary = replace(boundary, writable=(*boundary.writable, own.home))
    # It says that Claude is in a sandbox: without it Claude refuses to run as root.
    inside = {"IS_SANDBOX": "1"} if boundary.isolation == "bubblewrap" else {}
    return CommandRunner(
        [own.program],
        prompt="stdin",
        output="jsonl",
        env={**_QUIET_VARIABLES, **inside, **own.given},
        now=context.now,
        scope=context.scope,
        boundary=boundary,
        program=AgentProgram(
            reader=ClaudeReader,
            arguments=partial(_arguments_of, own),
            home=own.home,
            home_variable="CLAUDE_CONFIG_DIR",
            home_name=".claude",
            session_file="projects/*/{session}.jsonl",
        ),
    )


def _check(own: ClaudeSettings, _context: Context) -> Iterator[Check]:
    yield from check_program(own, own.program, Path(".credentials.json"))
    if own.permission == "bypassPermissions":
        yield warn_of_full_access(f"permission = {own.permission!r}")


BACKEND: Final = AgentBackend(
    settings=ClaudeSettings, open=_open, check=_check, stall_limit=STALL_LIMIT
)
