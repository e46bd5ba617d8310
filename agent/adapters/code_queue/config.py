"""The `[queue]` table of `wavekeeper.toml` that names a Code Queue instead of the embedded one."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.adapters.code_queue.words import COMMANDS, FIELDS, PATHS
from agent.adapters.files.toml import (
    Argument,
    Folder,
    Text,
    TomlModel,
    Variable,
    did_you_mean,
    fault_at,
)
from agent.core.model.durations import Seconds
from agent.core.model.queueing import QueueSpec

_FILLED: Final = frozenset({"task", "limit", "queue", "key"})


def _list_of_arguments(value: object) -> object:
    if isinstance(value, str):
        raise fault_at((), f'it must be a list of arguments; write ["{value:.60}", "..."]')
    return value


Arguments = Annotated[
    tuple[Argument, ...],
    BeforeValidator(_list_of_arguments),
    Field(strict=False, min_length=1),
]


def _known(names: Iterable[str], known: Iterable[str], what: str) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; known here: {', '.join(sorted(known))}"
            raise fault_at((name,), f"there is no {what} {name!r:.80}{hint}")


def _fillable(call: str, texts: Iterable[str]) -> None:
    for found in re.findall(r"\{([^{}]*)\}", " ".join(texts)):
        if found not in _FILLED:
            fault = f"{{{found:.40}}} is never filled in; there are {', '.join(sorted(_FILLED))}"
            raise fault_at((call,), fault)


def _commands(value: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    _known(value, COMMANDS, "command")
    for call, arguments in value.items():
        _fillable(call, arguments)
    return {**COMMANDS, **value}


def _paths(value: Mapping[str, str]) -> dict[str, str]:
    _known(value, PATHS, "path")
    for call, path in value.items():
        if not path.startswith("/") or path.startswith("//"):
            raise fault_at((call,), f"{path!r:.80} must begin with one slash")
        _fillable(call, [path])
    return {**PATHS, **value}


def _fields(value: Mapping[str, str]) -> dict[str, str]:
    _known(value, FIELDS, "field")
    for name, path in value.items():
        if not all(path.split(".")):
            raise fault_at((name,), f"{path!r:.80} is no path; write names with dots between")
    return dict(value)


class HttpSettings(TomlModel):
    """`[queue.http]`: the same queue behind the microservice proxy."""

    url: Text
    """The only address that is asked."""
    paths: Annotated[dict[str, str], AfterValidator(_paths)] = dict(PATHS)
    timeout: Seconds = 30.0
    token_variable: Variable | None = None
    """The environment variable with the bearer token."""
    ca: Folder | None = None
    """A file with certificates to trust instead of the system's."""
    plain: bool = False
    """Plain HTTP to another machine is meant; a token is never sent that way."""

    @model_validator(mode="after")
    def _safe_address(self) -> Self:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise fault_at(("url",), f"it is no address ({error})") from error
        if parts.scheme not in ("http", "https") or not host:
            raise fault_at(("url",), "it must begin with https:// (or http://) and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            message = "it may hold no user, password, query or fragment; see `token_variable`"
            raise fault_at(("url",), message)
        if parts.scheme == "http" and not _is_here(host):
            if self.token_variable:
                raise fault_at(("url",), "a token is never sent over plain HTTP; write https://")
            if not self.plain:
                message = "plain HTTP can be read and changed on its way; write https://"
                raise fault_at(("url",), f"{message}, or add `plain = true` if that is meant")
        return self


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class CodeQueueLane(TomlModel):
    """`[[queue.queues]]`: one queue of the Code Queue that waves may name."""

    id: Annotated[Text, Field(pattern="^[^-]")]
    kind: Literal["delivery", "infrastructure", "documentation"] = "delivery"
    risk: Literal["low", "normal", "high"] = "normal"
    max_running: Annotated[int, Field(ge=1)] = 5


class CodeQueueSettings(TomlModel):
    """`[queue]` with `kind = "code-queue"`."""

    kind: Literal["code-queue"]
    command: Arguments | None = None
    """The program; arguments are appended, never a shell. None: only by HTTP."""
    folder: Annotated[Folder, Field(validate_default=True)] = Path()
    """Where the program runs."""
    timeout: Seconds = 30.0
    keys: bool = True
    """It knows idempotency keys; else every lost answer is cleared up by reading alone."""
    commands: Annotated[
        dict[str, Arguments],
        AfterValidator(_commands),
    ] = dict(COMMANDS)
    fields: Annotated[dict[str, str], AfterValidator(_fields)] = {}
    """Where a field stands that is not where the contract has it: `"task.queue" = "lane.id"`."""
    http: HttpSettings | None = None
    queues: Annotated[tuple[CodeQueueLane, ...], Field(strict=False)] = ()
    """Those that waves may name; empty: the Code Queue itself knows, when a task is submitted."""
    spacing: Seconds = 2.0
    """Between two submits of this machine; five times that where memory is low."""
    fresh: Seconds = 10.0
    """So long what was read is good for the next who reads."""
    lock: Folder | None = None
    """The file that keeps the submits of this machine apart; None: one in the state folder."""

    @property
    def specs(self) -> tuple[QueueSpec, ...]:
        """The queues that waves may name."""
        return tuple(QueueSpec(**dict(lane)) for lane in self.queues)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.command is None and self.http is None:
            message = 'it names neither `command`, like ["bun", "scripts/cli.ts"], nor [queue.http]'
            raise fault_at(("kind",), message)
        ids: set[str] = set()
        for index, lane in enumerate(self.queues):
            if lane.id in ids:
                message = f"the queue {lane.id!r} is there twice; keep one of the two"
                raise fault_at(("queues", index, "id"), message)
            ids.add(lane.id)
        return self
