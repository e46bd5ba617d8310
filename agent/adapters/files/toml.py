"""TOML that a person wrote: every complaint about it names a line and says what to do.

`tomllib` forgets where a key stood, so the text is walked a second time, only to note lines; it
is known to be valid by then. Pure: an adapter reads the file and puts its name in front.
"""

import difflib
import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from agent.backends import Chosen
from agent.core.model.text import one_line

Where = tuple[str | int, ...]
"""The way to a value: keys of tables, indices of lists."""


class TomlFaultError(ValueError):
    """What is wrong, on one line, and in which line of the text it is."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class TomlModel(BaseModel):
    """A table of a TOML file: frozen, without conversions, unknown keys refused with a hint."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: object) -> object:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data if isinstance(data, dict) else ():
            if key not in known:
                hint = did_you_mean(key, known) or f"; known here: {', '.join(known)}"
                raise fault_at((key,), f"unknown key {key!r:.80}{hint}")
        return data


Model = TypeVar("Model", bound=TomlModel)


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    if found := re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", value):
        raise ValueError(f"holds the control character U+{ord(found[0]):04X}; remove it")
    return value.strip()


Text = Annotated[str, AfterValidator(_text)]
"""Words: not blank, without control characters, white space at both ends removed."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint to be put after a message: the closest of `choices`, or nothing."""
    plain = {choice.lower().replace("-", "_"): choice for choice in choices}
    close = difflib.get_close_matches(word[:64].lower().replace("-", "_"), plain, n=1)
    return f"; did you mean {plain[close[0]]!r}?" if close else ""


def fault_at(where: Where, message: str) -> PydanticCustomError:
    """For a validator: an error about the value at `where` below the table it looks at."""
    return PydanticCustomError("fault_at", "{message}", {"message": message, "where": where})


class TomlDocument:
    """A parsed text that knows where each of its values stands."""

    def __init__(self, data: dict[str, Any], lines: Mapping[Where, int]) -> None:
        self.data = data
        self._lines = lines

    def line(self, where: Where) -> int:
        """The line (from 1) of the value at `where`, or of the closest table around it."""
        while where and where not in self._lines:
            where = where[:-1]
        return self._lines.get(where, 1)

    def fault(self, where: Where, message: str) -> TomlFaultError:
        """The complaint `message` about the value at `where`."""
        return TomlFaultError(self.line(where), one_line(message))

    def read(
        self,
        model: type[Model],
        data: object,
        at: Where = (),
        context: Mapping[str, Any] | None = None,
    ) -> Model:
        """`data`, which stands at `at`, as a `model`. TomlFaultError for what fits worst.

        A misspelt key often looks like a missing one too, so unknown keys come first; after them
        the topmost line counts.
        """
        try:
            return model.model_validate(data, context=context)
        except ValidationError as error:
            where, detail = min(
                ((_where(detail), detail) for detail in error.errors(include_url=False)),
                key=lambda one: (_rank(one[1]), self.line(at + one[0])),
            )
            raise self.fault(at + where, _message(where, detail)) from error


def _rank(detail: ErrorDetails) -> int:
    """Lower is reported first; a list with a bad item, which is too short to pydantic too, last."""
    if detail["type"] == "too_short" and detail["input"]:
        return 2
    return 0 if detail["type"] == "fault_at" else 1


def _where(detail: ErrorDetails) -> Where:
    # `[key]` is pydantic's word and `[list]` a model's own; neither stands in the file.
    loc = [part for part in detail["loc"] if not str(part).startswith("[")]
    return (*loc, *detail.get("ctx", {}).get("where", ()))


_TYPES: Final = {
    "string_type": 'text in quotes, like "this"',
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": 'a list, like ["this"]',
    "dict_type": "a table",
    "model_type": "a table",
}


def _as_written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value!r:.80}"


def _message(where: Where, detail: ErrorDetails) -> str:
    """What pydantic says, in words for the person who wrote the file."""
    name = next((str(part) for part in reversed(where) if isinstance(part, str)), "the file")
    context, given = detail.get("ctx", {}), _as_written(detail["input"])
    match detail["type"]:
        case "fault_at":
            return detail["msg"]
        case "missing":
            return f"{name!r} is missing; add it"
        case "value_error":
            return f"{name!r}: {context['error']}"
        case "literal_error" | "enum":
            choices = re.findall(r"'([^']*)'", context["expected"])
            hint = did_you_mean(str(detail["input"]), choices)
            return f"{name!r} is {given}, not one of {', '.join(choices)}{hint}"
        case "greater_than_equal":
            return f"{name!r} is {given}; it must be at least {context['ge']}"
        case "less_than_equal":
            return f"{name!r} is {given}; it must be at most {context['le']}"
        case "tuple_type" if isinstance(detail["input"], dict):
            return f"{name!r} is a list of tables; write [[{name}]] with two brackets"
        case "too_short":
            return f"{name!r} must not be empty"
        case kind if kind in _TYPES:
            return f"{name!r} must be {_TYPES[kind]}, not {given}"
        case _:
            return f"{name!r}: {detail['msg']}"


_POSITION: Final = re.compile(
    r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL
)


def parse(raw: bytes) -> TomlDocument:
    """The document in `raw`: UTF-8, with or without a byte order mark. TomlFaultError else."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TomlFaultError(line, "not UTF-8 text; save the file as UTF-8") from error
    text = text.replace("\r\n", "\n")
    try:
        return TomlDocument(tomllib.loads(text), _Walk(text).lines())
    except RecursionError as error:
        raise TomlFaultError(1, "nested too deeply; write it flatter") from error
    except ValueError as error:
        raise _syntax_fault(str(error), text) from error


def _syntax_fault(said: str, text: str) -> TomlFaultError:
    found = _POSITION.fullmatch(said)
    problem = one_line(found[1] if found else said)
    if problem == "Cannot overwrite a value":
        problem = "this key has a value already; keep one of the two"
    if found and found[2]:
        return TomlFaultError(int(found[2]), f"not valid TOML: {problem} (column {found[3]})")
    return TomlFaultError(text.rstrip("\n").count("\n") + 1, f"not valid TOML: {problem}")


class _Walk:
    """Notes the line of each value in a valid TOML text."""

    _BLANK: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
    _KEY: Final = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*+\"|'[^']*'")
    _DOT: Final = re.compile(r"[ \t]*\.[ \t]*")
    _STRING: Final = re.compile(
        r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+"{3,5}'
        r"|'''(?:[^']++|'{1,2}(?!'))*+'{3,5}"
        r'|"(?:[^"\\]++|\\.)*+"'
        r"|'[^']*'",
        re.DOTALL,
    )
    _SCALAR: Final = re.compile(r"[^,\]}#\n]+")

    def __init__(self, text: str) -> None:
        self._text = text
        self._here = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._lines: dict[Where, int] = {}
        self._tables: dict[Where, int] = {}
        """How many tables each array of tables has so far."""

    def lines(self) -> dict[Where, int]:
        """The line of each value; a table's line is where it is first named."""
        table: Where = ()
        self._skip(self._BLANK)
        while self._here < len(self._text):
            if self._taken("[["):
                table = self._header(array=True)
                self._here += len("]]")
            elif self._taken("["):
                table = self._header(array=False)
                self._here += len("]")
            else:
                self._pair(table)
            self._skip(self._BLANK)
        return self._lines

    def _header(self, *, array: bool) -> Where:
        self._skip(self._BLANK)
        keys = self._keys()
        self._skip(self._BLANK)
        where: Where = ()
        for place, key in enumerate(keys):
            where = self._noted((*where, key))
            if array and place == len(keys) - 1:
                self._tables[where] = self._tables.get(where, 0) + 1
            if where in self._tables:
                where = self._noted((*where, self._tables[where] - 1))
        return where

    def _pair(self, table: Where) -> None:
        where = table
        for key in self._keys():
            where = self._noted((*where, key))
        self._skip(self._BLANK)
        self._here += len("=")
        self._skip(self._BLANK)
        self._value(where)

    def _value(self, where: Where) -> None:
        if self._taken("["):
            index = 0
            while not self._closed("]"):
                self._value(self._noted((*where, index)))
                index += 1
        elif self._taken("{"):
            while not self._closed("}"):
                self._pair(where)
        elif not self._skip(self._STRING):
            self._skip(self._SCALAR)

    def _closed(self, bracket: str) -> bool:
        """Past white space and commas: whether the list or table ends here."""
        self._skip(self._BLANK)
        while self._taken(","):
            self._skip(self._BLANK)
        return self._taken(bracket)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            found = self._skip(self._KEY)
            keys.append(next(iter(tomllib.loads(f"{found} = 0"))))
            if not self._skip(self._DOT):
                return keys

    def _noted(self, where: Where) -> Where:
        self._lines.setdefault(where, bisect_right(self._starts, self._here))
        return where

    def _taken(self, token: str) -> bool:
        found = self._text.startswith(token, self._here)
        self._here += len(token) if found else 0
        return found

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._here)
        if found is None:
            return ""
        self._here = found.end()
        return found[0]


def _below(value: object, info: ValidationInfo) -> object:
    """A path as written, taken from the folder of the settings file."""
    if not isinstance(value, str | Path):
        return value
    text = str(value)
    if not text.strip() or "\0" in text:
        raise ValueError("must name a folder")
    if text.startswith("~"):
        raise ValueError(f"{text!r:.80}: '~' is not expanded here; write the full path")
    return Path((info.context or {}).get("folder", "."), text)


Folder = Annotated[Path, BeforeValidator(_below)]
"""A folder or file; a relative one is below the folder of the settings file."""


def _argument(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character; remove it")
    return value


Argument = Annotated[str, AfterValidator(_argument)]
"""One argument of a program."""


_SHOWN: Final = 12


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."  # it may be a token
        raise ValueError(
            f"{shown!r} is no name of an environment variable; never write a token here"
        )
    return name


Variable = Annotated[Text, AfterValidator(_variable)]
"""The name of an environment variable, such as the one that holds a token."""


VariableNames = str | tuple[str, ...] | Mapping[str, str] | None
"""A name, several of them, or a table by name."""


def variable_fields(value: object) -> Iterator[VariableNames]:
    """What the fields of type `Variable` hold, of `value` and below."""
    match value:
        case Chosen():
            yield from variable_fields(value.settings)
        case BaseModel():
            for name, field in type(value).model_fields.items():
                own = getattr(value, name)
                if _names_variables(field.annotation, field.metadata):
                    yield own
                else:
                    yield from variable_fields(own)
            yield from variable_fields(value.model_extra or {})
        case Mapping():
            yield from variable_fields(tuple(value.values()))
        case tuple() | list():
            for one in value:
                yield from variable_fields(one)


def _names_variables(kind: object, metadata: Iterable[object]) -> bool:
    """Whether a field of this annotation holds names of variables, alone or in a list or a table.

    `metadata`: what pydantic took out of the annotation and keeps with the field.
    """
    if any(getattr(one, "func", None) is _variable for one in metadata):
        return True
    return any(_names_variables(one, getattr(one, "__metadata__", ())) for one in get_args(kind))
