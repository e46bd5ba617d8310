"""Reads `wavekeeper.toml`. Every complaint is one line: FILE:LINE: what is wrong; what to do."""

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticKnownError

from agent.adapters.agents.settings import CommandSettings
from agent.adapters.evidence.settings import ServiceName, ServiceSettings
from agent.adapters.files.toml import (
    Folder,
    Text,
    TomlFaultError,
    TomlModel,
    Variable,
    Where,
    did_you_mean,
    fault_at,
    parse,
    variable_fields,
)
from agent.adapters.remedies.settings import RemedyName, RemedySettings, one_environment_each
from agent.backends import (
    AgentBackend,
    Chosen,
    Isolation,
    IssuesBackend,
    Kind,
    QueueBackend,
    find,
    names,
)
from agent.core.model.durations import Seconds
from agent.core.model.nouns import Mode
from agent.core.model.queueing import QueueSpec
from agent.errors import ConfigurationError

NAME: Final = "wavekeeper.toml"

SAMPLE: Final = """\
# Wavekeeper's settings for this repository. Paths are relative to this file.

repository = "."              # the git repository the tasks change
remote = "origin"             # where work must arrive: a remote's name, or a URL
state = ".wavekeeper"         # queue, journal and worktrees; keep it out of git

[supervisor]
mode = "observe"              # observe: propose; approve: ask you; auto: do what the guard clears
interval = "5m"               # between two looks at the queues

[[queue]]
id = "main"
kind = "delivery"             # delivery, infrastructure or documentation
max_running = 5

[[queue]]
id = "infra"                  # defects of the infrastructure are fixed here
kind = "infrastructure"
risk = "low"

[model]
# A model that reads what only reading can tell; the key is taken from ANTHROPIC_API_KEY.
# reviewer = "anthropic"

[worker]
# Your coding agent, as a list; it gets the prompt on standard input. `wavekeeper work` needs it.
# command = ["my-agent", "--non-interactive"]
# Codex and Claude Code are kinds of their own, whose events are understood: docs/agents.md.
slots = 2                     # agents at a time on this machine
time_limit = "2h"             # for one attempt
"""
"""What `wavekeeper init` writes. It works as it is; only `wavekeeper work` asks for more."""

EMBEDDED: Final = "embedded"
"""The queue that `[[queue]]` is about."""
_LEAST_BEATS: Final = 3
"""Heartbeats that fit into a lease: one may be late and one lost before a host is fenced."""


def _remote(value: str) -> str:
    if value.startswith("-"):
        raise ValueError(f"{value!r:.80} would be an option of git; write a remote's name or a URL")
    return value


def _address(value: str) -> str:
    if not re.fullmatch(r"https://[^\s/?#@]+(/[^\s?#]*)?|http://127\.0\.0\.1:\d+", value):
        raise ValueError(f"{value!r:.80} is no address that starts with https:// and names no user")
    return value


def _agent_user(value: object) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError("is no user: write a name in quotes, or a number")
    return value


AgentUser = Annotated[str | int, PlainValidator(_agent_user)]
"""The name or the number of a user of this machine."""


class SupervisorSettings(TomlModel):
    """How `wavekeeper run` supervises."""

    interval: Seconds = 300.0
    """Seconds between ticks. Policy: "A five-minute poll loop is the default"."""
    mode: Mode = "observe"
    host: Literal["master", "worker"] = "master"
    """Where the supervisor runs; heavy checks are never run on the master."""


def _refuse_late_beats(lease: float, heartbeat: float) -> None:
    if lease < _LEAST_BEATS * heartbeat:
        message = (
            f"lease ({lease:g}s) must be at least {_LEAST_BEATS} heartbeats"
            f" ({heartbeat:g}s each); make it longer, or beat more often"
        )
        raise fault_at(("lease",), message)


class WorkerSettings(CommandSettings):
    """How `wavekeeper work` runs agents: those of `command`, or of the `agent` that it names."""

    agent: Text | None = None
    """The `name` of one of the `[[agents]]`."""
    workspace: Annotated[Folder, Field(validate_default=True)] = Path(".wavekeeper/worktrees")
    """The shared folder of the tasks' detached worktrees."""
    slots: Annotated[int, Field(ge=1, le=100)] = 2
    lease: Seconds = 90.0
    """Seconds a claim is good for without a heartbeat."""
    heartbeat: Seconds = 15.0
    grace: Seconds = 10.0
    """Seconds between asking an agent to stop and killing it."""
    time_limit: Seconds = 7200.0
    """For one attempt."""
    stall_limit: Seconds | None = None
    """Without progress; then the agent is stopped. None: 20 minutes for the kinds whose events are
    understood, and never for others, of which each line they print is progress."""
    tool_limit: Seconds = 3600.0
    """For one tool of an agent whose events are understood."""
    queues: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """The queues it takes work from; empty: all."""
    isolation: Isolation | None = None
    """How agents and the commands that check their work are kept apart from all else here. None:
    by bubblewrap where it works, else not at all. `user`: by running them as `agent_users`."""
    readable: Annotated[tuple[Folder, ...], Field(strict=False)] = ()
    """What an agent behind bubblewrap may read beside the system and its own program."""
    writable: Annotated[tuple[Folder, ...], Field(strict=False)] = ()
    """What it may write beside its worktree, such as the folder of its login."""
    agent_users: Annotated[tuple[AgentUser, ...], Field(strict=False)] = ()
    """Names or numbers of the users that agents and checks run as, each of one run at a time."""

    @model_validator(mode="after")
    def _names_users(self) -> Self:
        if self.isolation != "user":
            if self.agent_users:
                message = "'agent_users' is only for isolation = \"user\"; keep both or neither"
                raise fault_at(("agent_users",), message)
            return self
        if not self.agent_users:
            message = (
                "'isolation' is 'user', so name users of this machine that nothing else runs as: "
                'agent_users = ["agent1", "agent2", "agent3"]'
            )
            raise fault_at(("isolation",), message)
        for name in ("readable", "writable"):
            if getattr(self, name):
                message = f"{name!r} is only for bubblewrap; give the `agent_users` the rights"
                raise fault_at((name,), message)
        return self

    @model_validator(mode="after")
    def _survives_a_late_beat(self) -> Self:
        _refuse_late_beats(self.lease, self.heartbeat)
        return self


class JudgeSettings(TomlModel):
    """How `wavekeeper judge` checks what was pushed, and the judge beside `wavekeeper work`."""

    heavy: bool | None = None
    """Whether it takes commands that are marked heavy. None: not where the supervisor's host is
    the master."""
    slots: Annotated[int, Field(ge=1, le=100)] = 1
    """Judgements at a time."""
    lease: Seconds = 90.0
    """Seconds a claim is good for without a heartbeat."""
    heartbeat: Seconds = 15.0
    pause: Seconds = 5.0
    """Seconds before a judgement that could not be made is tried again; twice as long each time."""
    lfs: bool = False
    """Fetch the files of Git LFS from the remote; otherwise their pointers are checked out."""
    submodules: bool = False
    """Fill submodules, from the addresses that the commit names."""
    network: bool = False
    """Whether the commands have a network, where they are kept apart by bubblewrap; elsewhere they
    have it."""

    @model_validator(mode="after")
    def _survives_a_late_beat(self) -> Self:
        _refuse_late_beats(self.lease, self.heartbeat)
        return self


class ApprovalSettings(TomlModel):
    """How a person may answer."""

    scripted: bool = False
    """Whether `approve ID --digest D` works, which needs no terminal and so no person."""


class ModelSettings(TomlModel):
    """Which model reads results and words prompts, and what it may use up."""

    reviewer: Literal["none", "anthropic"] = "none"
    """`none`: what only reading can tell is handed over to a person."""
    drafter: Literal["none", "anthropic"] = "none"
    """`none`: prompts are made from facts alone."""
    review_model: Text = "claude-opus-5-5"
    draft_model: Text = "claude-sonnet-5-5"
    effort: Literal["low", "medium", "high"] = "medium"
    max_tokens: Annotated[int, Field(ge=1000, le=21_333)] = 16_000
    """Of one answer; beyond the upper bound the API wants to stream."""
    evidence_channel: Literal["tool_result", "user_json"] = "tool_result"
    base_url: Annotated[str, AfterValidator(_address)] = "https://api.anthropic.com"
    key_variable: Variable = "ANTHROPIC_API_KEY"
    """The environment variable that holds the key; the key itself stands in no file."""
    use_proxy: bool = False
    deadline: Seconds = 240.0
    at_once: Annotated[int, Field(ge=1, le=32)] = 4
    response_limit: Annotated[int, Field(ge=1000)] = 60_000
    """Characters of a final response that are shown whole."""
    diff_limit: Annotated[int, Field(ge=1000)] = 120_000
    tokens_per_call: Annotated[int, Field(ge=20_000)] = 150_000
    tokens_per_task: Annotated[int, Field(ge=0)] = 400_000
    tokens_per_wave: Annotated[int, Field(ge=0)] = 4_000_000
    price_in: Annotated[float, Field(ge=0, strict=False)] = 4.0
    """US dollars for a million tokens of input, for the estimate that is shown."""
    price_out: Annotated[float, Field(ge=0, strict=False)] = 20.0

    def key(self) -> str:
        """The key, from the environment alone. ConfigurationError: there is none."""
        key = os.environ.get(self.key_variable)
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigurationError(
                f"[model] asks a model, but {self.key_variable} holds no key; set it, or write "
                'reviewer = "none" and drafter = "none"',
            )
        return key


def _choose(
    group: type[Kind], table: dict[str, Any], key: str, kind: object, info: ValidationInfo
) -> Chosen[Kind]:
    """The backend that `table` names under `key`, with its own settings out of the same table."""
    known = names(group)
    if not isinstance(kind, str) or kind not in known:
        hint = did_you_mean(str(kind), known)
        shown = f"{kind!r:.80}, not one of {', '.join(known)}{hint}"
        raise fault_at((key,), f"{key!r} is {shown}")
    backend = find(group, kind)
    if key not in backend.settings.model_fields:
        table = {name: value for name, value in table.items() if name != key}
    own = backend.settings.model_validate(table, context=info.context)
    return Chosen(kind, backend, own)


def _queue(value: object, info: ValidationInfo) -> Chosen[QueueBackend[Any]]:
    """`[[queue]]` is the embedded queue; one table that names its kind may be another."""
    if isinstance(value, dict) and "kind" in value:
        return _choose(QueueBackend, value, "kind", value["kind"], info)
    embedded = find(QueueBackend, EMBEDDED)
    own = embedded.settings.model_validate(value, context=info.context)
    return Chosen(EMBEDDED, embedded, own)


def _issues(value: object, info: ValidationInfo) -> Chosen[IssuesBackend[Any]]:
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    return _choose(IssuesBackend, value, "home", value.get("home", "local"), info)


class _Named(TomlModel):
    model_config = ConfigDict(extra="allow")

    name: Text
    kind: Text

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: object) -> object:
        return data  # they are the backend's


def _agent(value: object, info: ValidationInfo) -> Chosen[AgentBackend[Any]]:
    named = _Named.model_validate(value)
    table = {"kind": named.kind, **(named.model_extra or {})}
    return replace(_choose(AgentBackend, table, "kind", named.kind, info), name=named.name)


class Settings(TomlModel):
    """`wavekeeper.toml`, complete and with absolute paths."""

    repository: Annotated[Folder, Field(validate_default=True)] = Path()
    remote: Annotated[Text, AfterValidator(_remote)] = "origin"
    state: Annotated[Folder, Field(validate_default=True)] = Path(".wavekeeper")
    policies: Folder | None = None
    """None: the policies that are shipped."""
    supervisor: SupervisorSettings = SupervisorSettings()
    queue: Annotated[Chosen[QueueBackend[Any]], PlainValidator(_queue)] = Field(
        default_factory=lambda: [
            {"id": "main"},
            {"id": "infra", "kind": "infrastructure", "risk": "low"},
        ],
        validate_default=True,
    )
    """`[[queue]]`: the queues of the embedded kind; `[queue]`: another queue, by its kind."""
    model: ModelSettings = ModelSettings()
    judge: JudgeSettings = JudgeSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    worker: WorkerSettings = Field(default_factory=dict, validate_default=True)
    agents: Annotated[
        tuple[Annotated[Chosen[AgentBackend[Any]], PlainValidator(_agent)], ...],
        Field(strict=False),
    ] = ()
    services: dict[ServiceName, ServiceSettings] = {}
    remedies: Annotated[dict[RemedyName, RemedySettings], AfterValidator(one_environment_each)] = {}
    issues: Annotated[Chosen[IssuesBackend[Any]], PlainValidator(_issues)] = Field(
        default_factory=dict, validate_default=True
    )

    @property
    def queues(self) -> tuple[QueueSpec, ...]:
        """The queues, in the order of the file."""
        return tuple(self.queue.backend.queues(self.queue.settings))

    @property
    def judges_heavy(self) -> bool:
        """Whether a judge host here takes heavy commands; the master is kept free of them."""
        if self.judge.heavy is not None:
            return self.judge.heavy
        return self.supervisor.host != "master"

    @property
    def agent(self) -> Chosen[AgentBackend[Any]] | None:
        """The agent of this machine's worker; None: it runs none."""
        if self.worker.agent is not None:
            return next(one for one in self.agents if one.name == self.worker.agent)
        if self.worker.command is None:
            return None
        return Chosen("command", find(AgentBackend, "command"), self.worker)

    @model_validator(mode="after")
    def _one_queue_each(self) -> Self:
        ids = [queue.id for queue in self.queues]
        for name, times in Counter(ids).items():
            if times > 1:
                again = len(ids) - 1 - ids[::-1].index(name)
                where = ("queue", again, "id")
                raise fault_at(where, f"the queue {name!r} is there twice; keep one of the two")
        for index, name in enumerate(self.worker.queues):
            if name not in ids:
                hint = did_you_mean(name, ids) or f"; there are {', '.join(ids)}"
                raise fault_at(("worker", "queues", index), f"there is no queue {name!r:.80}{hint}")
        return self

    @model_validator(mode="after")
    def _one_agent_each(self) -> Self:
        known = [one.name for one in self.agents]
        for index, name in enumerate(known):
            if name in known[:index]:
                message = f"the agent {name!r:.80} is there twice; keep one of the two"
                raise fault_at(("agents", index, "name"), message)
        own = self.worker.agent
        if own is None:
            return self
        for name in CommandSettings.model_fields:
            if name in self.worker.model_fields_set:
                message = f"{name!r} is of no use to the agent {own!r:.80}; keep one of the two"
                raise fault_at(("worker", name), message)
        if own not in known:
            hint = did_you_mean(own, known) or "; add it as [[agents]]"
            raise fault_at(("worker", "agent"), f"there is no agent {own!r:.80}{hint}")
        return self

    @model_validator(mode="after")
    def _keeps_its_keys(self) -> Self:
        asks = (self.model.reviewer, self.model.drafter) != ("none", "none")
        own = (self.model if asks else None, self.queue.settings, self.issues.settings)
        keys = {
            name
            for held in variable_fields((*own, self.services))
            for name in ((held,) if isinstance(held, str) else held or ())
        }
        named: list[tuple[Where, object]] = [(("worker",), self.worker)]
        named += [(("agents", place), one.settings) for place, one in enumerate(self.agents)]
        for where, settings in named:
            for index, name in enumerate(getattr(settings, "variables", ())):
                if name in keys:
                    message = (
                        f"{name} holds a key of the supervisor, which no agent gets; keep the "
                        "agent's own in another variable"
                    )
                    raise fault_at((*where, "variables", index), message)
        return self

    @model_validator(mode="after")
    def _has_room_for_users(self) -> Self:
        own = self.worker
        if own.isolation != "user":
            return self
        if own.workspace.resolve().is_relative_to(self.state.resolve()):
            message = (
                "'isolation' is 'user', and no other user may reach the state; name a folder "
                'outside of it, such as workspace = "/srv/wavekeeper"'
            )
            raise fault_at(("worker", "isolation"), message)
        needed = own.slots + self.judge.slots
        if len(own.agent_users) < needed:
            message = (
                f"'agent_users' names {len(own.agent_users)}, and {own.slots} agents and "
                f"{self.judge.slots} checks may run at a time, each as a user of its own; name "
                f"{needed}, or lower `slots`"
            )
            raise fault_at(("worker", "agent_users"), message)
        return self

    @model_validator(mode="after")
    def _keeps_its_state(self) -> Self:
        named: list[tuple[Where, Path]] = [
            (("worker", name, index), folder)
            for name in ("readable", "writable")
            for index, folder in enumerate(getattr(self.worker, name))
        ]
        homes = [getattr(one.settings, "home", None) for one in self.agents]
        named += [
            (("agents", place, "home"), home)
            for place, home in enumerate(homes)
            if isinstance(home, Path)
        ]
        for where, folder in named:
            # A link to it would show it under a name that nothing covers.
            plain = folder.resolve()
            if plain.is_relative_to(self.state.resolve()) or plain == plain.parent:
                message = f"{folder} is not for agents; name a folder that holds what they need"
                raise fault_at(where, message)
        return self


def find_settings(start: Path) -> Path | None:
    """The `wavekeeper.toml` of `start` or of the closest folder above it."""
    folder = start.absolute()
    for candidate in (folder, *folder.parents):
        if (candidate / NAME).is_file():
            return candidate / NAME
    return None


def read_settings(path: Path) -> Settings:
    """The settings in the file at `path`; ConfigurationError, one line, if anything is wrong."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file; run `wavekeeper init`") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"{path}: {reason}; give the path of a readable file") from error
    try:
        document = parse(raw)
        folder = path.absolute().parent
        return document.read(Settings, document.data, context={"folder": folder})
    except TomlFaultError as fault:
        raise ConfigurationError(f"{path}:{fault.line}: {fault}") from fault
    except ConfigurationError as error:  # of a backend, which knows no file
        raise ConfigurationError(f"{path}: {error}") from error
