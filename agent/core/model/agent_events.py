"""What a coding agent's program reports while it works: one model of events for all programs.

A reader in `adapters/agents` makes these events of a program's own structured output. What a tool
printed, or the model wrote, is only ever text in them: it makes no event of another kind. In the
trace of an attempt an event stands by its `kind` and its `words`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from agent.core.model.nouns import AttemptFailure, FailureClass, Usage


@dataclass(frozen=True, slots=True)
class Started:
    """The program has begun, or goes on with, a session."""

    kind: ClassVar[str] = "started"
    session: str | None = None
    model: str | None = None
    version: str | None = None

    @property
    def words(self) -> str:  # noqa: D102 - see above
        parts = (("session", self.session), ("model", self.model), ("version", self.version))
        return ", ".join(f"{name} {value}" for name, value in parts if value)


@dataclass(frozen=True, slots=True)
class Message:
    """Words of the model to its user."""

    kind: ClassVar[str] = "message"
    text: str

    @property
    def words(self) -> str:  # noqa: D102 - see above
        return self.text


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Words of the model to itself."""

    kind: ClassVar[str] = "reasoning"
    text: str

    @property
    def words(self) -> str:  # noqa: D102 - see above
        return self.text


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool call. `text`: its command or arguments."""

    kind: ClassVar[str] = "tool_started"
    name: str
    text: str = ""

    @property
    def words(self) -> str:  # noqa: D102 - see above
        return f"{self.name}: {self.text}" if self.text else self.name


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """The end of a tool call. `text`: the end of what it printed."""

    kind: ClassVar[str] = "tool_finished"
    name: str
    ok: bool
    code: int | None = None
    text: str = ""

    @property
    def words(self) -> str:  # noqa: D102 - see above
        how = "ok" if self.ok else "failed"
        code = "" if self.code is None else f", exit code {self.code}"
        return f"{self.name}: {how}{code}\n{self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class FileChanged:
    """The program itself wrote a file."""

    kind: ClassVar[str] = "file_changed"
    path: str

    @property
    def words(self) -> str:  # noqa: D102 - see above
        return self.path


@dataclass(frozen=True, slots=True)
class Denied:
    """A tool call that the program's permissions did not allow."""

    kind: ClassVar[str] = "denied"
    tool: str
    text: str = ""

    @property
    def words(self) -> str:  # noqa: D102 - see above
        return f"{self.tool}: {self.text}" if self.text else self.tool


@dataclass(frozen=True, slots=True)
class Retrying:
    """The provider failed, and the program tries again. `delay`: seconds, if it says."""

    kind: ClassVar[str] = "retrying"
    class_: FailureClass
    status: int | None = None
    delay: float | None = None

    @property
    def words(self) -> str:  # noqa: D102 - see above
        status = "" if self.status is None else f", status {self.status}"
        delay = "" if self.delay is None else f", again in {self.delay:.3g} s"
        return f"{self.class_}{status}{delay}"


@dataclass(frozen=True, slots=True)
class Limit:
    """The account has reached a provider's limit."""

    kind: ClassVar[str] = "limit"
    resets_at: datetime | None = None

    @property
    def words(self) -> str:  # noqa: D102 - see above
        return _resets(self.resets_at)


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """What was used so far. `cost`: US dollars, if the program says."""

    kind: ClassVar[str] = "usage"
    tokens: Usage
    cost: float | None = None
    whole_session: bool = False
    """The numbers are of the session with all its attempts, not of this run."""

    @property
    def words(self) -> str:  # noqa: D102 - see above
        cost = "" if self.cost is None else f", {self.cost:.4f} US dollars"
        scope = " in this session" if self.whole_session else ""
        return f"{self.tokens.total:,} tokens{cost}{scope}"


@dataclass(frozen=True, slots=True)
class Completed:
    """The program closed well. `text`: the agent's last message."""

    kind: ClassVar[str] = "final"
    text: str | None

    @property
    def words(self) -> str:  # noqa: D102 - see above
        return self.text or ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The program closed badly. `text`: its own words about it."""

    kind: ClassVar[str] = "failed"
    failure: AttemptFailure
    text: str = ""

    @property
    def words(self) -> str:  # noqa: D102 - see above
        status = "" if self.failure.status is None else f", status {self.failure.status}"
        until = "" if self.failure.retry_at is None else f", {_resets(self.failure.retry_at)}"
        return f"{self.failure.class_}{status}{until}\n{self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Unknown:
    """A line that no reader understands, cut."""

    kind: ClassVar[str] = "unknown"
    text: str

    @property
    def words(self) -> str:  # noqa: D102 - see above
        return self.text


AgentEvent = (
    Started
    | Message
    | Reasoning
    | ToolStarted
    | ToolFinished
    | FileChanged
    | Denied
    | Retrying
    | Limit
    | TokensUsed
    | Completed
    | Failed
    | Unknown
)


PROGRESS: Final = frozenset(
    one.kind
    for one in (
        Started, Message, Reasoning, ToolFinished, FileChanged, Denied, TokensUsed, Completed,
        Failed,
    )
)  # fmt: skip
"""The kinds of events by which an agent gets on. A retry, a limit and what nobody understands are
none; and a tool that has begun is waited for."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a whole run comes to."""

    session: str | None = None
    model: str | None = None
    used: TokensUsed | None = None
    denied: tuple[str, ...] = ()
    """The tools whose use was denied, one for each call."""
    end: Completed | Failed | None = None
    """How the program closed, by the last event that says so; None: it never did."""


def summarize(events: Iterable[AgentEvent]) -> Transcript:
    """The run whose events these are, in their order."""
    session, model, used, end = None, None, None, None
    denied: list[str] = []
    for event in events:
        match event:
            case Started():
                session, model = event.session or session, event.model or model
            case TokensUsed():
                used = event
            case Denied():
                denied.append(event.tool)
            case Completed() | Failed():
                end = event
    return Transcript(session, model, used, tuple(denied), end)


def _resets(at: datetime | None) -> str:
    return "resets at an unknown time" if at is None else f"resets at {at:%Y-%m-%d %H:%M:%SZ}"
