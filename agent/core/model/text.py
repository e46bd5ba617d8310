"""Text of unknown origin made fit to be shown and quoted. Pure, and linear in its input.

`visible` is for terminals and prompts alike; the rest is about Markdown: what is a fence, what
is outside one, and how data is put inside one so that it cannot get out.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_ESCAPE_SEQUENCE: Final = re.compile(
    r"\x1b(?:\][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # OSC: titles, links, the clipboard
    r"|[PX^_][^\x1b\x9c\n]*(?:\x1b\\|\x9c)?"  # DCS, SOS, PM, APC
    r"|\[[0-?]*[ -/]*[@-~]?"  # CSI: colours, hidden text, cursor moves
    r"|[ -/]*[0-~]?)"
    r"|\x9b[0-?]*[ -/]*[@-~]?"
    r"|[\x90\x98\x9d-\x9f][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?",
)
_SUSPECT: Final = re.compile(r"[^\n\t\x20-\x7e]")
_PLAIN: Final = re.compile(r"[\n\r\t\x20-\x7e]*")
_UNSEEN: Final = re.compile(
    rf"(?:{_ESCAPE_SEQUENCE.pattern})|\u241b|(?P<suspect>[^\n\r\t\x20-\x7e])|<U\+[0-9A-F]{{4,6}}>"
)
_BLANK: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)))),
)
"""Shown as nothing although they count as letters or marks: fillers and variation selectors."""
_PILED: Final = re.compile(r"(?<=[\u0300-\u036f]{4})[\u0300-\u036f]")
"""The fifth accent on one letter, and those above it, which reach into the lines around it."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_OPENING: Final = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_CLOSING: Final = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*")
_HEADING: Final = re.compile(r"( {0,3})(#{1,6})(?=[ \t]|$)")
_DEEPEST: Final = 6
_DEMOTED_BY: Final = 2


def visible(text: str) -> str:
    """`text` with `␛` for each terminal sequence and `<U+202E>` for each hidden character.

    Newlines and tabs stay; a Windows newline becomes a plain one. The result can be encoded, so
    a lone surrogate is shown as well.
    """
    plain = _ESCAPE_SEQUENCE.sub("␛", text.replace("\r\n", "\n"))
    return _SUSPECT.sub(_shown, _PILED.sub(_coded, plain))


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    if unicodedata.category(character) not in _HIDDEN and character not in _BLANK:
        return character
    return _coded(found)


def _coded(found: re.Match[str]) -> str:
    return f"<U+{ord(found[0]):04X}>"


def unseen(text: str) -> Iterator[tuple[int, int]]:
    """Where in `text` there is something that a reader does not see, or sees only as our mark.

    In order and without overlap: terminal sequences, hidden characters, and what `visible` puts in
    their place. Line ends and tabs are no such thing.
    """
    if "<U+" not in text and _PLAIN.fullmatch(text):
        return
    for found in _UNSEEN.finditer(text):
        if found["suspect"] is None or _shown(found) != found[0]:
            yield found.span()


def one_line(text: str) -> str:
    """`text` made visible, each run of white space one space."""
    return " ".join(visible(text).split())


def code(text: str) -> str:
    """`text` as a Markdown code span that ends where the text ends."""
    shown = visible(text).replace("\n", "<U+000A>").replace("\t", "<U+0009>")
    mark = "`" * (_longest_run(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{mark}{pad}{shown}{pad}{mark}"


def fenced(text: str) -> str:
    """`text` made visible, inside a fence longer than any run of backticks in it."""
    shown = visible(text).rstrip("\n")
    mark = "`" * max(3, _longest_run(shown) + 1)
    return f"{mark}text\n{shown}\n{mark}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def tail(text: str, limit: int) -> tuple[str, int]:
    """The last `limit` characters, and how many were cut before them."""
    cut = max(0, len(text) - limit)
    return text[cut:], cut


def nested(text: str) -> str:
    """Free text made fit for a section: its headings two levels down, its fences closed."""
    lines: list[str] = []
    mark = ""
    for line in visible(text).strip().split("\n"):
        before, mark = mark, _fence_after(mark, line)
        heading = None if before or mark else _HEADING.match(line)
        if heading:
            hashes = "#" * min(_DEEPEST, len(heading[2]) + _DEMOTED_BY)
            lines.append(heading[1] + hashes + line[heading.end() :])
        else:
            lines.append(line)
    return "\n".join([*lines, mark] if mark else lines)


def lines_with_quoting(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is quoted: a fence's own line, or one inside a fence."""
    mark = ""
    for line in text.split("\n"):
        before, mark = mark, _fence_after(mark, line)
        yield line, bool(before or mark)


def _fence_after(mark: str, line: str) -> str:
    """The mark of the fence that is open after `line`, given the one open before it; or ""."""
    if mark:
        closing = _CLOSING.fullmatch(line)
        return "" if closing and closing[1].startswith(mark) else mark
    opening = _OPENING.match(line)
    return opening[1] if opening else ""


@lru_cache(maxsize=10_000)  # the same ids are put in order several times in each tick
def natural(name: str) -> tuple[object, ...]:
    """T-2 before T-10, whatever the order in the file."""
    parts = re.split(r"(\d+)", name)
    numbers = ((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
    return (*numbers, (2, 0, name))
