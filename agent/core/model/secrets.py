"""Secrets are taken out of text before it goes anywhere: `[removed: github-token]`.

Four things count as one: the value of a configured variable, a key whose shape its issuer publishes
(`key_shapes`), a private key, and what stands where a credential stands (in an address, in a query,
in a header, behind the name of a variable). Pure: the values are given once, where all is wired.

Removing again changes nothing, so that digests of text agree wherever they are computed. Text is
searched as it is, without what a reader does not see (colours, hidden characters), and without its
line ends, because a terminal wraps long lines. Whatever fails raises: then nothing is sent.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from agent.core.model.key_shapes import KEY_SHAPES
from agent.core.model.text import unseen

LEAST: Final = 6
"""Characters of a configured value; a shorter one would be found in ordinary words."""
_WHOLE_WORD: Final = 12
"""A value shorter than this counts only where it is not a part of a longer word."""
_PASSES: Final = 6
_REMEMBERED: Final = 1024
"""Texts, each with what it became."""
KEPT: Final = frozenset({"argv"})
"""Fields that are compared with what a person configured, and never come from a worker."""

_UNQUOTED: Final = r"[^\s\"'`<>\[\]{}|,;&\\]"
_GIVEN: Final = r"(?![$%*]|xxx|\.\.\.|os\.|process\.|self\.|env\b|None\b|null\b|true\b|false\b)"
"""Not a placeholder, and no expression of a program."""
_NAMED: Final = (
    r"(?:secret(?:[_-]?(?:access[_-]?)?key)?|token|passw(?:or)?d|passphrase|credentials?"
    r"|(?:api|access|private|signing|encryption|master|auth|deploy|account)[_-]?key)"
)
_SECRET_NAME: Final = re.compile(rf"{_NAMED}s?$|^pass$|_(?:pass|pwd|pat|key)$", re.IGNORECASE)
_IN_QUERY: Final = (
    r"(?:access|refresh|id|auth|private|job|session|security)[_-]?token|token|api[_-]?key|apikey"
    r"|client[_-]?secret|secret|passw(?:or)?d|pwd|x-amz-(?:signature|security-token)"
    r"|x-goog-signature|signature|sig"
)
_HEADER: Final = (
    r"(?:x-(?:[a-z0-9]{1,20}-){0,3}(?:api-?key|token|secret|signature)"
    r"|(?:private|job|deploy|auth)-token|api-key)"
)


class _Place(NamedTuple):
    """Where a credential stands; what is replaced is the group `secret`."""

    name: str
    words: tuple[str, ...]
    pattern: str


_PLACES: Final = (
    _Place(
        "password-in-address",
        ("://",),
        r"(?<=://)(?P<secret>[^\s/?#\"'`<>\[\]{}|\\]{1,512})@(?!sha(?:256|512):)",
    ),
    _Place(
        "password-in-address",
        ("%3a%2f%2f",),
        r"(?i)(?<=%3A%2F%2F)(?P<secret>[^\s/?#\"'`<>\[\]{}|\\&=]{1,512}?)%40",
    ),
    _Place(
        "token-in-address",
        ("=",),
        rf"(?i)[?&#;](?:{_IN_QUERY})=(?P<secret>{_GIVEN}{_UNQUOTED}{{1,4000}})",
    ),
    _Place(
        "token-in-address",
        ("%3d",),
        rf"(?i)%(?:3F|26)(?:{_IN_QUERY})%3D(?P<secret>{_GIVEN}[A-Za-z0-9._~+/-]{{1,4000}})",
    ),
    _Place(
        "authorization",
        ("authorization",),
        r"(?i)authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?"
        r"(?:basic|bearer|token|digest|negotiate|apikey)\s{1,4}"
        rf"(?P<secret>{_GIVEN}{_UNQUOTED}{{6,8000}})",
    ),
    _Place(
        "authorization",
        ("bearer ",),
        r"(?i)\bbearer\s{1,4}(?P<secret>(?=[^\s\"']{0,200}?[0-9])[A-Za-z0-9._~+/=-]{20,8000})",
    ),
    _Place(
        "authorization",
        ("api-key", "apikey", "token", "secret", "signature"),
        rf"(?i)(?<![a-z0-9/-]){_HEADER}[\"']?\s{{0,4}}:\s{{0,4}}[\"']?"
        rf"(?P<secret>{_GIVEN}{_UNQUOTED}{{8,4000}})",
    ),
    _Place(
        "cookie",
        ("cookie",),
        r"(?i)(?<![a-z0-9-])(?:set-)?cookie[\"']?\s{0,4}:\s{0,4}[\"']?"
        r"(?P<secret>(?=[\w.-]{1,80}=)[^\n\r\"'\[\]]{8,4000})",
    ),
    _Place(
        "password",
        ("password", "token"),
        rf"(?i)(?<!\S)--(?:password|token|api-key)[ =][\"']?"
        rf"(?P<secret>{_GIVEN}{_UNQUOTED}{{6,400}})",
    ),
    _Place(
        "password",
        ("curl",),
        r"\bcurl\b[^\n]{0,300}?\s(?:-u|--user)[ =]?[\"']?[^\s:\"']{1,100}:"
        rf"(?P<secret>{_GIVEN}{_UNQUOTED}{{3,200}})",
    ),
    _Place(
        "password",
        ("password",),
        r"(?im)^(?:machine\s{1,4}\S{1,200}\s{1,4}login\s{1,4}\S{1,200}\s{1,4}password\s{1,4}|password=)"
        rf"(?P<secret>{_GIVEN}{_UNQUOTED}{{3,400}})",
    ),
    _Place(
        "token",
        ("_auth",),
        rf"(?i)_auth(?:token)?\s{{0,2}}=\s{{0,2}}[\"']?(?P<secret>{_GIVEN}{_UNQUOTED}{{8,2000}})",
    ),
    _Place(
        "password",
        ('"auth"',),
        r"\"auth\"\s{0,4}:\s{0,4}\"(?P<secret>[A-Za-z0-9+/=]{8,2000})\"",
    ),
    _Place(  # NAME=value, as `env` prints it
        "variable",
        ("token", "secret", "passw", "key", "passphrase", "credential", "_pass=", "_pwd="),
        r"(?<![A-Za-z0-9])[A-Z]{0,9}"
        r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|(?<=_)(?:PASS|PWD|PAT)"
        r"|(?:API|ACCESS|PRIVATE|SECRET|SIGNING|ENCRYPTION|MASTER|AUTH|DEPLOY|ACCOUNT)_?KEY)"
        rf"=[\"']?(?P<secret>{_GIVEN}(?!/(?:[\w.-]{{1,60}}/)){_UNQUOTED}{{6,4000}})",
    ),
    _Place(  # "client_secret": "value": only what looks drawn by lot, for code says such things too
        "variable",
        ("token", "secret", "passw", "key", "passphrase", "credential"),
        rf"(?i)(?<![A-Za-z0-9]){_NAMED}[\"']?\s{{0,3}}[:=]{{1,2}}>?"
        r"\s{0,3}[\"']?(?P<secret>(?=[^\s\"']{0,60}?[0-9])(?=[^\s\"']{0,60}?[a-z])"
        r"[A-Za-z0-9+/=_~-]{16,4000})(?![A-Za-z0-9+/=_~.(\[-])",
    ),
)
_PEM: Final = re.compile(
    r"-----(?P<edge>BEGIN|END) (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
)
_PEM_LINE: Final = re.compile(
    r"(?:[ \t>|]{0,8}"
    r"(?:[A-Za-z0-9+/=]{1,80}|(?:Proc-Type|DEK-Info|Version|Comment):[^\n\\]{0,200})?)"
    r"(?:\r?\n|\\r\\n|\\n|$)"
)
_BREAK: Final = re.compile(r"\r?\n[ \t]*")


class _Found(NamedTuple):
    start: int
    end: int
    name: str
    rank: int
    """Of several that overlap, the lowest gives the name."""


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


Thing = TypeVar("Thing")


class Redactor:
    """Takes secrets out of text. `values`: those of the configured variables, by name."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = tuple(
            (form, name)
            for name, value in sorted((values or {}).items())
            if len(value.strip()) >= LEAST
            for form in _forms(value.strip())
        )
        # The same responses, outputs and prompts are looked at in each tick.
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._searched)

    def text(self, text: str) -> str:
        """`text`, each secret in it replaced by what kind of secret it was."""
        return text if len(text) < LEAST else self._remembered(text)

    def _searched(self, text: str) -> str:
        # What is left stands next to other characters than before, and may now be recognised.
        for _ in range(_PASSES):
            before, text = text, self._once(text)
            if text == before:
                break
        return text

    def all(self, thing: Thing) -> Thing:
        """The same with every text in it cleaned: a noun, a dataclass, or what JSON has."""
        cleaned: Any = self._cleaned(thing)
        same: Thing = cleaned
        return same

    def _cleaned(self, thing: Any) -> Any:  # noqa: ANN401 - of any kind, and of the same afterwards
        match thing:
            case str():
                # An enumeration is a word of our own, and has to stay one.
                return self.text(thing) if type(thing) is str else thing
            case dict():
                return {key: self._cleaned(one) for key, one in thing.items()}
            case tuple() | list() if type(thing) in (tuple, list):
                return type(thing)(self._cleaned(one) for one in thing)
            case _ if hasattr(type(thing), "model_fields"):  # a noun; pydantic is slow to import
                changed = self._fields(thing, type(thing).model_fields)
                return thing.model_copy(update=changed) if changed else thing
            case _ if is_dataclass(thing) and not isinstance(thing, type):
                changed = self._fields(thing, [one.name for one in fields(thing)])
                return replace(thing, **changed) if changed else thing
        return thing

    def _fields(self, thing: object, names: Iterable[str]) -> dict[str, Any]:
        given = {name: getattr(thing, name) for name in names if name not in KEPT}
        cleaned = {name: self._cleaned(value) for name, value in given.items()}
        return {name: value for name, value in cleaned.items() if value != given[name]}

    def _once(self, text: str) -> str:
        found = list(self._search(text))
        hidden = list(unseen(text))
        shorter, places = _without(text, hidden) if hidden else (text, [])
        if hidden:
            found += _mapped(self._search(shorter), places)
        if "\n" in shorter and (wrapped := list(self._wrapped(_BREAK.sub("", shorter)))):
            _, kept = _without(shorter, (one.span() for one in _BREAK.finditer(shorter)))
            # A key that is long enough on its first line ends there: more would take the next word.
            whole = {one.start for one in found}
            found += [
                one
                for one in _mapped(wrapped, [places[one] for one in kept] if hidden else kept)
                if "\n" in text[one.start : one.end] and (one.start not in whole or not one.rank)
            ]
        return _replaced(text, found) if found else text

    def _search(self, text: str) -> Iterator[_Found]:
        lower = text.lower()
        yield from self._known(text)
        if "private key" in lower:
            yield from _private_keys(text)
        for name, words, pattern in KEY_SHAPES:
            if any(word in lower for word in words):
                for found in _compiled(pattern).finditer(text):
                    yield _Found(found.start(), found.end(), name, 2)
        for place in _PLACES:
            if any(word in lower for word in place.words):
                for found in _compiled(place.pattern).finditer(text):
                    if _counts(place, found["secret"]):
                        yield _Found(found.start("secret"), found.end("secret"), place.name, 3)

    def _wrapped(self, joined: str) -> Iterator[_Found]:
        """What may have been wrapped: long, and unlike a word at the end of a line."""
        yield from self._known(joined)
        lower = joined.lower()
        for name, words, pattern in KEY_SHAPES:
            if any(len(word) >= 4 and word in lower for word in words):  # noqa: PLR2004
                for found in _compiled(pattern).finditer(joined):
                    yield _Found(found.start(), found.end(), name, 2)

    def _known(self, text: str) -> Iterator[_Found]:
        """Every occurrence of a configured value, whatever stands around a long one."""
        for form, name in self._values:
            start = text.find(form)
            while start >= 0:
                end = start + len(form)
                around = text[max(0, start - 1) : start] + text[end : end + 1]
                if len(form) >= _WHOLE_WORD or not any(map(_in_a_word, around)):
                    yield _Found(start, end, name, 0)
                start = text.find(form, end)


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret, as far as its name says."""
    return _SECRET_NAME.search(name) is not None


def _in_a_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _forms(value: str) -> set[str]:
    """The value as it is, and as it stands in an address, in JSON, in hexadecimal, in base64.

    In base64 the user's name stands in front of it (`user:token`), so that there are three ways to
    write it; the characters that depend on what is around it are left out.
    """
    raw = value.encode("utf-8", "surrogateescape")
    coded = "".join(
        chr(one)
        if chr(one).isascii() and (chr(one).isalnum() or chr(one) in "-._~")
        else f"%{one:02X}"
        for one in raw
    )
    found = {value, coded, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    if len(raw) >= _WHOLE_WORD:
        found.add(raw.hex())
        for before in range(3):
            whole = b64encode(b"\0" * before + raw).decode()
            end = (before + len(raw)) * 8 // 6
            inner = whole[(before * 8 + 5) // 6 : end]
            found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found


def _counts(place: _Place, secret: str) -> bool:
    if place.name == "password-in-address":
        if "%3a" in secret.lower() and ":" not in secret:
            user, _, password = re.sub("%3a", ":", secret, flags=re.IGNORECASE).partition(":")
        else:
            user, _, password = secret.partition(":")
        if password.strip("*x."):
            return not password.startswith(("$", "%"))
        # A token alone, as `https://TOKEN@host` or `https://TOKEN:@host`.
        return len(user) >= 16 and re.search("[0-9]", user) is not None  # noqa: PLR2004
    return not secret.isdecimal() or len(secret) >= _WHOLE_WORD


def _private_keys(text: str) -> Iterator[_Found]:
    """Whole ones, those whose end was cut off, and those whose beginning was."""
    edges = list(_PEM.finditer(text))
    done = 0
    for place, edge in enumerate(edges):
        if edge.start() < done:
            continue
        after = edges[place + 1] if place + 1 < len(edges) else None
        if edge["edge"] == "END":
            yield _Found(_first_line(text, done, edge.start()), edge.end(), "private-key", 1)
            done = edge.end()
        elif after is not None and after["edge"] == "END":
            yield _Found(edge.start(), after.end(), "private-key", 1)
            done = after.end()
        else:
            done = _last_line(text, edge.end(), after.start() if after else len(text))
            yield _Found(edge.start(), done, "private-key", 1)


def _last_line(text: str, here: int, end: int) -> int:
    """Where the lines of a key stop that has no last line."""
    while here < end and (found := _PEM_LINE.match(text, here, end)) and found.end() > here:
        here = found.end()
    while text[here - 1 : here] == "\n":
        here -= 1
    return here


def _first_line(text: str, least: int, here: int) -> int:
    """Where the lines of a key start that has no first line."""
    while here > least:
        mark = "\\n" if text.endswith("\\n", least, here) else "\n"
        end = here - len(mark)
        if end < least or not text.startswith(mark, end):
            break
        start = max(text.rfind(mark, least, end) + len(mark), least)
        if text.rfind(mark, least, end) < 0:
            start = least
        if not re.fullmatch(r"[ \t>|]{0,8}[A-Za-z0-9+/=]{1,80}\r?", text[start:end]):
            # The first of them may have been cut anywhere, or has something of ours before it.
            cut = re.search(r"[A-Za-z0-9+/=]{16,80}\r?$", text[start:end])
            return start + cut.start() if cut else here
        here = start
    return here


def _without(text: str, spans: Iterable[tuple[int, int]]) -> tuple[str, list[int]]:
    """`text` without `spans`, and where each of its characters and its end was before."""
    parts: list[str] = []
    places: list[int] = []
    here = 0
    for start, end in spans:
        parts.append(text[here:start])
        places.extend(range(here, start))
        here = end
    parts.append(text[here:])
    places.extend(range(here, len(text) + 1))
    return "".join(parts), places


def _mapped(found: Iterable[_Found], places: list[int]) -> list[_Found]:
    return [
        one._replace(start=places[one.start], end=places[one.end - 1] + 1)
        for one in found
        if one.end > one.start
    ]


def _replaced(text: str, found: list[_Found]) -> str:
    """`text` with a mark for each group of finds that overlap."""
    parts: list[str] = []
    here = 0
    groups: list[_Found] = []
    for one in sorted(found):
        if groups and one.start < groups[-1].end:
            last = groups.pop()
            name, rank = min((last[2:], one[2:]), key=lambda named: named[1])
            groups.append(_Found(last.start, max(last.end, one.end), name, rank))
        elif one.end > one.start:
            groups.append(one)
    for one in groups:
        parts += [text[here : one.start], f"[removed: {one.name}]"]
        here = one.end
    return "".join([*parts, text[here:]])


SHAPES: Final = Redactor()
"""Without any configured value: where nobody has read the settings yet."""
