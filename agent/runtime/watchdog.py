"""Whether an agent that runs still gets on. Its host beats for it, so heartbeats do not tell.

Progress is a message, the end of a tool, a changed file, a usage count. That a program tries its
provider again is none, and neither are bytes. Whoever runs a tool is waiting for that tool, which
has a limit of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError

from agent.core.model.agent_events import PROGRESS, Retrying, ToolFinished, ToolStarted
from agent.core.model.nouns import FailureClass
from agent.core.model.queueing import NewEvent

_CLASS: Final[TypeAdapter[FailureClass]] = TypeAdapter(FailureClass)


@dataclass(frozen=True, slots=True)
class StallLimits:
    """When an agent has stalled. Durations are seconds."""

    quiet: float | None = None
    """Without progress; None: whatever it does, it has not stalled."""
    tool: float = 3600.0
    """Of one tool."""
    understood: bool = False
    """Its events are those of `core.model.agent_events`; else each line it prints is progress."""


NEVER: Final = StallLimits()


@dataclass(frozen=True, slots=True)
class Stall:
    """Why an agent does not get on."""

    why: str
    """A few words for a person."""
    class_: FailureClass
    """The provider's fault where it only tried again, which is nearer than the silence."""


class Watchdog:
    """Watches one run from `now` on. `adopted`: it may be in a tool that nobody here saw begin."""

    def __init__(self, limits: StallLimits, now: datetime, *, adopted: bool) -> None:
        self._limits = limits
        self._since = now
        self._tools = 1 if adopted and limits.understood else 0
        self._fault: FailureClass | None = None

    def hear(self, events: Iterable[NewEvent], now: datetime) -> None:
        """Take what the run printed since the last call, at the latest `now`."""
        for event in events:
            if not self._limits.understood:
                self._since = now
            elif event.kind == ToolStarted.kind:
                self._tools, self._since, self._fault = self._tools + 1, now, None
            elif event.kind in PROGRESS:
                self._since, self._fault = now, None
                if event.kind == ToolFinished.kind:
                    self._tools = max(0, self._tools - 1)
            elif event.kind == Retrying.kind:
                self._fault = _class_of(event)

    def leave_out(self, away: timedelta) -> None:
        """Do not count this time: the whole machine slept."""
        self._since += away

    def bite(self, now: datetime) -> Stall | None:
        """Why the agent has stalled at `now`; None: it has not."""
        limits, quiet = self._limits, (now - self._since).total_seconds()
        if limits.quiet is None or quiet < limits.quiet:
            return None
        if not self._tools:
            return Stall(f"no progress for {limits.quiet:g} s", self._fault or "stalled")
        if quiet < limits.tool:
            return None
        return Stall(f"a tool ran for {limits.tool:g} s without an end", "stalled")


def _class_of(retry: NewEvent) -> FailureClass | None:
    """What the provider failed with, as the words of the event begin."""
    try:
        return _CLASS.validate_python(retry.text.partition(",")[0])
    except ValidationError:
        return None
