"""What an adapter brings to be chosen by name in `wavekeeper.toml`, and how it is found.

A queue, a kind of agent, a source of evidence and an issue tracker are each one object, a
`QueueBackend`, `AgentBackend`, `EvidenceBackend` or `IssuesBackend`. A package names it as an entry
point of the group in `GROUP`, and the name of the entry point is what a person writes. The ones
that are built in are declared in the same way, in `pyproject.toml`. docs/backends.md has examples.
"""

import hashlib
import os
import shutil
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel

from agent.core.model.nouns import Noun, ProofKind
from agent.core.model.queueing import QueueSpec, TaskSpec, TaskView
from agent.core.model.text import one_line
from agent.errors import ConfigurationError, WavekeeperError
from agent.ports import EvidenceProbe, Issues, Runner, TaskQueue, WorkSource

Known = Callable[[TaskSpec, TaskView, datetime], str | None]
"""What another source says this delivery is: its commit, or its digest. None: not known."""
State = Literal["ok", "warn", "fail"]


class Check(Noun):
    """One thing that `wavekeeper doctor` looked at."""

    name: str
    state: State
    said: str
    fix: str | None = None
    """What to do about it; None: nothing, or `said` tells."""


def tried(name: str, look: Callable[[], str | Check]) -> Check:
    """What `look` says; an error's message says what is wrong and what to do."""
    try:
        said = look()
    except WavekeeperError as error:
        return Check(name=name, state="fail", said=str(error))
    return said if isinstance(said, Check) else Check(name=name, state="ok", said=said)


def program_check(name: str, argv: Sequence[str], variables: Iterable[str], verb: str) -> Check:
    """Whether the program is found and its variables are set; it is not run."""
    if shutil.which(argv[0]) is None:
        fix = "install it, or write its full path into wavekeeper.toml"
        return Check(name=name, state="fail", said=f"{argv[0]} is not on PATH", fix=fix)
    for variable in variables:
        if not os.environ.get(variable):
            fix = f"set {variable} where `wavekeeper run` is started"
            return Check(name=name, state="fail", said=f"{variable} is not set", fix=fix)
    return Check(name=name, state="ok", said=f"{verb} {' '.join(argv)}")


def _unknown(_spec: TaskSpec, _view: TaskView, _now: datetime) -> None:
    """Nothing is known of any delivery."""


Isolation = Literal["bubblewrap", "user", "none"]
"""How an agent is kept apart; `user`: it runs as another user of this machine."""


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """What an agent on this machine may touch, for a backend that runs agents."""

    isolation: Isolation = "none"
    clones: Path | None = None
    """The folder of the clones that worktrees and checkouts hang on."""
    hidden: Sequence[Path] = ()
    """Folders and files that no agent may see, wherever they lie."""
    readable: Sequence[Path] = ()
    """What a person lets it read beside the system and its own program."""
    writable: Sequence[Path] = ()
    remotes: Sequence[Path] = ()
    """Repositories of this machine that it pushes to."""
    network: bool = False
    """For the commands that check its work; an agent has it. Without bubblewrap both do."""
    users: Sequence[str | int] = ()
    """Names or numbers of the users that agents and checks run as, each of one run at a time."""
    workspace: Path | None = None
    """The folder of the worktrees, and of all else that these users are given."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a backend is given besides its own settings."""

    @property
    def scope(self) -> str:
        """The same for every process of this state, and it does not say where that lies."""
        return hashlib.sha256(os.fsencode(self.state)).hexdigest()[:16]

    state: Path
    """The state folder. What a backend keeps lies in it, under the backend's own name."""
    now: Callable[[], datetime]
    """The time, as an aware datetime; there is no other clock."""
    reading: bool = False
    """Nothing may be made, changed or waited for: somebody only looks."""
    low_memory: Callable[[], bool | None] = lambda: None
    """For queues: whether this host is short of memory; None: nobody knows."""
    cursor: str | None = None
    """For queues: how far the supervisor has read; a queue that was never there is another one."""
    submitted: Sequence[str] = ()
    """For queues: open tasks that were submitted, so the queue must hold them."""
    pushed: Known = _unknown
    """For evidence: the commit that is on the task's branch."""
    recorded: Known = _unknown
    """For evidence: the digest that the service's registry has."""
    boundary: Boundary = Boundary()
    """For agents: what they are kept from."""


Own = TypeVar("Own", bound=BaseModel)
Service = TypeVar("Service")


def _nothing_to_check(_own: object, _context: Context) -> Iterable[Check]:
    return ()


def _no_queues(_own: object) -> Sequence[QueueSpec]:
    return ()


class Stored(NamedTuple):
    """What is in the file of a queue."""

    tasks: int
    said: str
    """`doctor`'s line about it."""


@dataclass(frozen=True, kw_only=True)
class QueueBackend(Generic[Own]):
    """A queue: `[queue]` with its `kind`."""

    GROUP: ClassVar = "wavekeeper.queues"

    settings: type[Own]
    """The rest of the table."""
    open: Callable[[Own, Context], AbstractContextManager[TaskQueue]]
    """UnusableStoreError: it is not the queue that `cursor` and `submitted` are about."""
    check: Callable[[Own, Context], Iterable[Check]] = _nothing_to_check
    queues: Callable[[Own], Sequence[QueueSpec]] = _no_queues
    """Those that waves may name. None: the queue itself knows, when a task is submitted."""
    work: Callable[[Own, Context], AbstractContextManager[WorkSource]] | None = None
    """For `wavekeeper work`. None: it has workers of its own."""
    file: str | None = None
    """The file of the state folder without which its tasks are lost, if there is one."""
    stored: Callable[[Path], Stored] | None = None
    """What is in that file; it is only read."""


@dataclass(frozen=True, kw_only=True)
class AgentBackend(Generic[Own]):
    """A kind of coding agent: `[[agents]]` with its `kind`; `[worker] command` is `command`."""

    GROUP: ClassVar = "wavekeeper.agents"

    settings: type[Own]
    """The table without `name`, and without `kind` unless the model has that field."""
    open: Callable[[Own, Context], Runner]
    check: Callable[[Own, Context], Iterable[Check]] = _nothing_to_check
    stall_limit: float | None = None
    """Seconds without progress after which such an agent has stalled, unless a person configures
    others. The events of its runs are then those of `core.model.agent_events`. None: they are not,
    and nobody can tell."""


@dataclass(frozen=True, kw_only=True)
class EvidenceBackend(Generic[Service]):
    """A source of evidence: the section of its name in `[services.NAME]`.

    What it is given is the whole service: `timeout`, `patience`, `authority`, and its own section
    as the attribute of its own name.
    """

    GROUP: ClassVar = "wavekeeper.evidence"

    settings: type[BaseModel]
    """One table of its section."""
    many: bool = False
    """Its section is a list of tables, `[[services.NAME.section]]`."""
    proofs: Callable[[Service], Iterable[ProofKind]]
    """What it can find evidence of."""
    open: Callable[[Mapping[str, Service], Context], EvidenceProbe]
    """One probe for all services; those without its section are none of its business."""
    check: Callable[[Service, Context], Iterable[Check]] = _nothing_to_check
    """The names of the checks are put after the service's."""


@dataclass(frozen=True, kw_only=True)
class IssuesBackend(Generic[Own]):
    """An issue tracker: `[issues]` with its `home`."""

    GROUP: ClassVar = "wavekeeper.issues"

    settings: type[Own]
    """The rest of the table, with `home` if the model has that field."""
    open: Callable[[Own, Context], Issues]
    check: Callable[[Own, Context], Iterable[Check]] = _nothing_to_check


Backend = QueueBackend[Any] | AgentBackend[Any] | EvidenceBackend[Any] | IssuesBackend[Any]
Kind = TypeVar(
    "Kind", QueueBackend[Any], AgentBackend[Any], EvidenceBackend[Any], IssuesBackend[Any]
)


@dataclass(frozen=True)
class Chosen(Generic[Kind]):
    """A backend that a settings file names, and what the file says to it."""

    kind: str
    backend: Kind
    settings: Any
    name: str = ""
    """What the file calls it, where it may name several."""


_PACKAGE: Final = "wavekeeper"


@cache
def _own() -> Mapping[str, Mapping[str, str]] | None:
    """The table of `pyproject.toml` in a checkout, where an installation may be an older one."""
    path = Path(__file__).parents[1] / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return None
    if project.get("name") != _PACKAGE:
        return None
    found: Mapping[str, Mapping[str, str]] = project["entry-points"]
    return found


@cache
def _declared(group: str) -> Mapping[str, Mapping[str, metadata.EntryPoint]]:
    """By name and package: the built-in ones first."""
    found: dict[str, dict[str, metadata.EntryPoint]] = {}
    own = _own()
    for name, value in own[group].items() if own else ():
        found[name] = {_PACKAGE: metadata.EntryPoint(name, value, group)}
    installed = metadata.entry_points(group=group)
    for one in sorted(installed, key=lambda one: (_package(one) != _PACKAGE, one.name)):
        if own is None or _package(one) != _PACKAGE:
            found.setdefault(one.name, {})[_package(one)] = one
    return found


def _package(one: metadata.EntryPoint) -> str:
    return one.dist.name if one.dist else "an unnamed package"


def names(group: type[Backend]) -> tuple[str, ...]:
    """What can be chosen in this group, the built-in ones first."""
    return tuple(_declared(group.GROUP))


def find(group: type[Kind], name: str) -> Kind:
    """The backend of this name, which is one of `names`. It is imported only now.

    ConfigurationError, one line that names the package: it cannot be imported, is no such backend,
    or two packages bring one of this name.
    """
    declared = _declared(group.GROUP)[name]
    what = f"{group.GROUP}: {name!r:.80}"
    if len(declared) > 1:
        packages = " and ".join(sorted(declared))
        raise ConfigurationError(f"{what} comes from {packages}; remove one of the two packages")
    ((package, entry_point),) = declared.items()
    try:
        found = entry_point.load()
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ConfigurationError(
            f"{what} of the package {package} cannot be imported ({reason:.300}); "
            "repair the package, or remove it",
        ) from error
    if not isinstance(found, group) or not _is_model(found.settings):
        raise ConfigurationError(
            f"{what} of the package {package} ({entry_point.value}) is no {group.__name__} with "
            "a settings model; see docs/backends.md",
        )
    return found


def _is_model(settings: object) -> bool:
    return isinstance(settings, type) and issubclass(settings, BaseModel)
