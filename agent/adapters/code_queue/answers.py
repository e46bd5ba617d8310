"""What holds for every answer of a Code Queue, by whatever way it came."""

import json
from typing import Any, Final

from agent.core.model.text import one_line
from agent.errors import UnreadableAnswerError, UserError

SIZE: Final = 8 * 1024**2
"""Bytes of one answer; a longer one is no answer."""
_SHOWN: Final = 60
"""Characters of an answer that is no JSON, in the message about it."""


def parsed(raw: bytes, what: str) -> dict[str, Any]:
    """The one JSON object in `raw`. UnreadableAnswerError, which begins with `what`, for others."""
    if len(raw) > SIZE:
        raise UnreadableAnswerError(f"{what} answered with more than {SIZE} bytes")
    try:
        found = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        start = one_line(raw[: 4 * _SHOWN].decode(errors="replace"))[:_SHOWN]
        raise UnreadableAnswerError(f"{what} answered no JSON but {start!r}") from error
    if not isinstance(found, dict):
        raise UnreadableAnswerError(f"{what} answered JSON that is no object")
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def refused_option(name: str, value: str) -> None:
    """UserError for a value that a program would take for an option, or that no argument holds."""
    if value.startswith("-") or "\0" in value:
        raise UserError(f"the {name} {value!r:.80} cannot be an argument; give it another name")
