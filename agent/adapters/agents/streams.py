"""Reading the output of a coding agent's program: bytes to lines, lines to JSON, JSON to events.

Nothing in the output is trusted: it comes in pieces of any size, and may be no UTF-8, no JSON, of
another shape than expected, or endless. A reader makes the same events however it is cut.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from agent.core.model.agent_events import AgentEvent, Unknown

LINE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one line that are read. Lines of 400 KB are usual: a tool's whole output is one."""
HEAD: Final = 2000
"""Characters of a text that is not understood, or that only illustrates an event."""
_MOST: Final = 10**15
"""A greater number counts nothing, and is left out."""


class StreamReader(ABC):
    """Incremental: `feed` gives the events of all lines that are whole by then, `close` the rest.

    It does no I/O. A program has a reader of its own, which makes the events of one JSON object.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[AgentEvent]:
        """The events of the lines that end in `data`."""
        *whole, rest = data.split(b"\n")
        found: list[AgentEvent] = []
        for piece in whole:
            self._keep(piece)
            found += self._line()
        self._keep(rest)
        return found

    def close(self) -> list[AgentEvent]:
        """The events of what is left, a last line without its end."""
        return list(self._line())

    def _keep(self, piece: bytes) -> None:
        if room := max(0, LINE_LIMIT - self._size):
            self._pieces.append(piece[:room])
        self._size += len(piece)

    def _line(self) -> Iterator[AgentEvent]:
        line, size = b"".join(self._pieces), self._size
        self._pieces, self._size = [], 0
        if not line.strip():
            return
        # Cut characters and halves of them become U+FFFD: the rest of the line is still true.
        text = line.decode("utf-8", "replace")
        found = _parsed(text) if size <= LINE_LIMIT else None
        events = None
        with suppress(RecursionError):  # nested just so far that only reading it worked
            events = None if found is None else self._events(found)
        yield from (Unknown(head(text.rstrip("\r"))),) if events is None else events

    @abstractmethod
    def _events(self, found: dict[str, Any]) -> Iterable[AgentEvent] | None:
        """The events of one line, which may be none. None: it is not understood."""


def _parsed(text: str) -> dict[str, Any] | None:
    """A line nested too deeply for the parser, or with too long a number, is no JSON either."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def at(found: object, *path: str) -> object:
    """The value at this path of keys; None: there is none."""
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def text_at(found: object, *path: str) -> str | None:
    """The text there, always valid Unicode. None: no text, or an empty one."""
    value = at(found, *path)
    return clean(value) if isinstance(value, str) and value else None


def items_at(found: object, *path: str) -> Sequence[object]:
    """The list there; empty: there is none."""
    value = at(found, *path)
    return value if isinstance(value, list) else ()


def count_at(found: object, *path: str) -> int:
    """The number there that counts something; 0: there is none."""
    value = at(found, *path)
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST
    return value if isinstance(value, int) and good else 0


def number_at(found: object, *path: str) -> float | None:
    """The number there, finite and not negative; None: there is none."""
    value = at(found, *path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MOST else None


def status_at(found: object, *path: str) -> int | None:
    """The HTTP status there; None: there is none."""
    value = count_at(found, *path)
    return value if 100 <= value <= 599 else None  # noqa: PLR2004 - the range of them


def clean(text: str) -> str:
    """JSON can spell half a character (a lone surrogate), which no UTF-8 text can hold."""
    return text.encode("utf-8", "replace").decode()


def head(text: str) -> str:
    """The beginning of a text."""
    return clean(text[:HEAD])


def tail(text: str) -> str:
    """The end of a text."""
    return clean(text[-HEAD:])
