"""A coding agent's program that we know: how it is called, and how a run of it ended.

What it printed is understood by a reader of its own. Its standard error is diagnostics, and counts
only where the program did not close by itself.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from agent.adapters.agents import output as agent_output
from agent.adapters.agents.settings import ProgramSettings
from agent.adapters.agents.streams import StreamReader
from agent.adapters.files.toml import Argument, Folder, Text
from agent.backends import Check
from agent.core.model.agent_events import AgentEvent, Completed, Failed, Transcript
from agent.core.model.nouns import AgentUsage, AttemptFailure, FailureClass
from agent.core.model.queueing import NewEvent
from agent.ports import Exit

STALL_LIMIT: Final = 1200.0
"""Seconds. Of 858 turns of real sessions none was silent for longer than 1,074 s and went on."""
_SIGNALLED: Final = 128
"""A program that a signal n ended, and that says so by its exit code, adds n to this."""
_SESSION: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""What both programs call a session by. It becomes an argument and a part of a path."""
_LONGEST_NAME: Final = 200
"""Characters of a session's or a model's name that are kept."""
_NAMED: Final = 5
"""Tools that are named, of those that were denied."""
_NO_END: Final = "the agent ended without its closing event"


@dataclass(frozen=True, slots=True)
class AgentProgram:
    """One kind of program, with what a person configured of it."""

    reader: Callable[[datetime], StreamReader]
    """For output that was printed at about this time."""
    arguments: Callable[[str, str | None], Sequence[str]]
    """What follows the program's name, for this task and the session that it goes on with. The
    prompt comes on standard input."""
    home: Path | None
    """The folder of its settings, sessions and login; None: every task has one of its own."""
    home_variable: str
    """Names that folder to the program."""
    home_name: str
    """What the folder is called in a home."""
    session_file: str
    """Glob pattern of the file below `home` that holds a session, with {session} for its id."""


class KnownAgentSettings(ProgramSettings):
    """What is common to the kinds of agents whose program we know."""

    model: Text | None = None
    """None: the program's own choice."""
    arguments: Annotated[tuple[Argument, ...], Field(strict=False)] = ()
    """Put after the arguments that the kind needs."""
    home: Folder | None = None
    """The folder of its settings and its login, which all runs share and may write. None: every
    task has one of its own, empty at first, so the login is a key in `variables`."""


def check_program(own: KnownAgentSettings, name: str, login: Path) -> Iterator[Check]:
    """Whether the program is found, and has something to log in with. It is not run.

    `login`: the file below `home` that a login leaves.
    """
    where = shutil.which(name, path=own.search_path)
    if where is None:
        fix = "install it, or add its folder to `path` of this agent in wavekeeper.toml"
        yield Check(name="worker", state="fail", said=f"{name} is not on PATH", fix=fix)
        return
    yield Check(name="worker", state="ok", said=f"{where} is found")
    missing = [one for one in own.variables if not os.environ.get(one)]
    if missing:
        fix = f"set {missing[0]} where `wavekeeper work` is started"
        yield Check(name="worker", state="fail", said=f"{missing[0]} is not set", fix=fix)
    elif own.home is not None and not (own.home / login).exists() and not own.variables:
        said = f"{own.home} has no login: {login} is not in it"
        yield Check(name="worker", state="warn", said=said, fix=f"log {name} in with that folder")
    elif own.home is None and not own.variables and not own.environment:
        said = f"{name} has no login: its settings are empty, and no key is passed on"
        fix = "name the variable with its key in `variables` of this agent, or its folder as `home`"
        yield Check(name="worker", state="warn", said=said, fix=fix)


def warn_of_full_access(setting: str) -> Check:
    """What `doctor` says where a person configured that nothing holds the agent back."""
    return Check(
        name="worker",
        state="warn",
        said=f"{setting}: the program itself lets the agent do whatever its account may do",
        fix="leave that key out, unless something else keeps the agent apart",
    )


def home_of(program: AgentProgram, own: Path) -> Path:
    """The folder of the program's settings, made if it is the task's own. It lies in `own` then."""
    if program.home is not None:
        return program.home
    home = own / program.home_name
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home


def known_session(program: AgentProgram, home: Path, session: str | None) -> str | None:
    """The session, if it can be continued here; None: a new one begins."""
    if session is None or _SESSION.fullmatch(session) is None:
        return None
    pattern = program.session_file.replace("{session}", session)
    return session if any(home.glob(pattern)) else None


def trace(events: Sequence[AgentEvent], skipped: int, at: datetime) -> list[NewEvent]:
    """The events for the trace, the newest of them. `skipped`: bytes that were not read."""
    found = []
    left_out = max(0, len(events) - agent_output.EVENTS)
    if skipped or left_out:
        note = f"[{left_out:,} events and {skipped:,} bytes of output left out here]"
        found.append(NewEvent(at=at, kind="unknown", text=note))
    kept = ((event.kind, agent_output.capped(event.words)) for event in events[left_out:])
    return [*found, *(NewEvent(at=at, kind=kind, text=text) for kind, text in kept)]


def conclude(
    code: int | None, killed_by: int | None, run: Transcript, errors: bytes, *, resumed: bool
) -> Exit:
    """How a run ended. `killed_by`: the number of a signal; neither: nobody saw the end.

    `errors`: the end of its standard error. `resumed`: it was to go on with a session.
    """
    final: str | None = None
    failure: AttemptFailure | None = None
    match run.end:
        case Completed(text) if code == 0:
            final, said = text, _denied(run.denied)
            failure = AttemptFailure(class_="denied") if said else None
        case Failed(own, text) if killed_by is None:
            failure, said = own, text or f"it closed with a failure: {own.class_}"
        case _:
            failure = AttemptFailure(class_=_class(code, killed_by, run, resumed=resumed))
            said = agent_output.last_error(code, killed_by, errors, b"") or _NO_END
    return Exit(
        code,
        killed_by,
        final[-agent_output.FINAL_LIMIT :] if final else None,
        truncated=final is not None and len(final) > agent_output.FINAL_LIMIT,
        last_error=agent_output.end_of(said) if said else None,
        session=_name(run.session),
        failure=failure,
        used=_used(run, resumed=resumed),
    )


def _name(found: str | None) -> str | None:
    """A name as it is kept: a program that is led astray may print megabytes in its place."""
    return found and found[:_LONGEST_NAME]


def _used(run: Transcript, *, resumed: bool) -> AgentUsage | None:
    """None: the program said nothing about it. Both programs count a continued session whole."""
    used = run.used
    if used is None and run.model is None and run.session is None:
        return None
    return AgentUsage(
        session=_name(run.session),
        model=_name(run.model),
        tokens=used.tokens if used else None,
        cost=used.cost if used else None,
        whole_session=used is not None and (used.whole_session or resumed),
    )


def _class(
    code: int | None, killed_by: int | None, run: Transcript, *, resumed: bool
) -> FailureClass:
    """Of a run that did not close by itself, or that closed well and failed all the same."""
    if killed_by is not None or (code is not None and code > _SIGNALLED):
        return "killed"
    if code and run.end is None and run.session is None:
        # A session that cannot be read again is no fault of the program, or of this host.
        return "context-overflow" if resumed else "spawn-failed"
    return "unknown"


def _denied(tools: Sequence[str]) -> str | None:
    """One line about the calls that were denied; None: there were none."""
    if not tools:
        return None
    names = sorted(set(tools))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    calls = "1 tool call was" if len(tools) == 1 else f"{len(tools)} tool calls were"
    return f"{calls} denied: {', '.join(names[:_NAMED])}{more}"
