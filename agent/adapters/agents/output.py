"""What an agent printed, made fit for the trace and the report: pure functions on bytes.

Nothing an agent prints is trusted: it may be no UTF-8, no JSON, or endless, and what leaves here
is always valid Unicode of bounded length.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from agent.core.assess.closing_lines import closing
from agent.core.model.nouns import CommandResult
from agent.core.model.queueing import NewEvent

Format = Literal["text", "jsonl"]

LINE_LIMIT: Final = 1024 * 1024
"""Bytes of one line that are read; of a longer one only the beginning is kept."""
FINAL_LIMIT: Final = 256 * 1024
"""Bytes of plain output, or characters of a final JSON line, that make a final response."""
READ_LIMIT: Final = 1024 * 1024
"""Bytes of a command's output that are read: the end."""
OUTPUT_LIMIT: Final = 4000
"""Characters of a command's output that a judge record keeps: the end."""
EVENTS: Final = 1000
"""Of what was printed since the last look, the newest that are kept."""
_EVENT_LIMIT: Final = 4000
_KIND_LIMIT: Final = 64
_ERROR_LIMIT: Final = 1960
"""With the text put before it, a last error stays under 2,000 characters."""


def decode(data: bytes) -> str:
    """Invalid UTF-8 becomes U+FFFD."""
    return data.decode("utf-8", "replace")


def events(
    data: bytes,
    skipped: int,
    *,
    ended: bool,
    at: datetime,
    form: Format = "text",
    plain: str = "text",
) -> tuple[list[NewEvent], int]:
    """The trace events in `data`, one per line, and how many of its bytes they used up.

    An unfinished last line is used up only when `ended`. `skipped` bytes in front of `data` were
    not read. Of more than 1,000 lines the newest are kept, and one event reports what was left out.
    """
    used = len(data) if ended else data.rfind(b"\n") + 1
    if not used:
        return [], 0
    lines = data[:used].removesuffix(b"\n").rsplit(b"\n", EVENTS)
    found = []
    if skipped or len(lines) > EVENTS:
        # The first piece is then the rest of a line, or many lines.
        left_out = skipped + len(lines.pop(0)) + 1
        note = f"[{left_out:,} bytes of output left out here]"
        found.append(NewEvent(at=at, kind=plain, text=note))
    found += [_event(line, at, form, plain) for line in lines if line.strip()]
    return found, used


def _event(line: bytes, at: datetime, form: Format, plain: str) -> NewEvent:
    """A JSON object speaks for itself (`type`, then `text` or `message` or all of it)."""
    cut = max(0, len(line) - LINE_LIMIT)
    found = _parsed(line) if form == "jsonl" and not cut else None
    if found is None:
        text = capped(decode(line[:LINE_LIMIT]).rstrip("\r"), cut)
        return NewEvent(at=at, kind=plain, text=text)
    kind = found.get("type")
    texts = [one for one in (found.get("text"), found.get("message")) if isinstance(one, str)]
    text = texts[0] if texts else json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return NewEvent(
        at=at,
        kind=_clean(kind)[:_KIND_LIMIT] if isinstance(kind, str) and kind else "text",
        text=capped(_clean(text)),
    )


def final_of_text(tail: bytes, size: int) -> tuple[str | None, bool]:
    """The final response of plain output, and whether it is cut.

    `tail` is the end of the output (at most `FINAL_LIMIT` bytes), `size` the length of it all.
    """
    return decode(tail).strip() or None, size > len(tail)


def final_of_lines(lines: Iterable[bytes], kind: str, key: str) -> tuple[str | None, bool]:
    """The `key` of the last object of type `kind`, and whether its beginning had to be cut."""
    needle = kind.encode()
    final: str | None = None
    for line in lines:
        found = _parsed(line) if needle in line else None
        if found and found.get("type") == kind and isinstance(found.get(key), str):
            final = _clean(found[key])
    return (None, False) if final is None else (final[-FINAL_LIMIT:], len(final) > FINAL_LIMIT)


def last_error(code: int | None, killed_by: int | None, errors: bytes, output: bytes) -> str | None:
    """Why an agent failed, by the end of its own output; None for exit code 0.

    `killed_by` is the number of a signal; with neither code nor signal nobody saw the end.
    """
    if code == 0:
        return None
    if code is None and killed_by is None:
        return "the agent's end was not seen"
    printed = end_of(decode(errors)) or end_of(decode(output))
    if killed_by:
        return f"killed by signal {killed_by}\n{printed}".rstrip()
    return printed or f"exit code {code}, and no output"


def command_result(
    argv: Sequence[str],
    code: int | None,
    note: str | None,
    tail: bytes,
    seconds: float,
) -> CommandResult:
    """What one acceptance command did; `note` is added to what it printed, and survives the cut.

    What its test runner closed with is looked for in all of `tail`: more may be printed after it.
    """
    printed = decode(tail).rstrip()
    closed = closing(argv, printed)
    if note is not None:
        printed = f"{printed}\n{note}".lstrip()
    return CommandResult(
        argv=tuple(argv),
        exit_code=code,
        seconds=round(seconds, 3),
        output=printed[-OUTPUT_LIMIT:],
        ok=code == 0,
        ran=closed.ran if closed else None,
    )


def end_of(text: str) -> str:
    """The end of what was said about an error, in whole lines where that is possible."""
    text = text.strip()
    if len(text) <= _ERROR_LIMIT:
        return text
    end = text[-_ERROR_LIMIT:]
    return end.partition("\n")[2].strip() or end


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line nested too deeply for the parser is no JSON either."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _clean(text: str) -> str:
    """JSON can spell half a character (a lone surrogate), which no UTF-8 text can hold."""
    return text.encode("utf-8", "replace").decode()


def capped(text: str, cut: int = 0) -> str:
    """The text as it stands in the trace. `cut`: bytes of it that were not read."""
    if not cut and len(text) <= _EVENT_LIMIT:
        return text
    mark = f" … [{cut:,} more bytes cut]" if cut else f" … [{len(text):,} characters in all]"
    return text[: _EVENT_LIMIT - len(mark)] + mark
