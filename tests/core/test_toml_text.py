"""The walk that remembers lines, against a writer that knows them."""

import tomllib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.adapters.files.toml import TomlFaultError, Where, parse

KEYS = st.sampled_from(["a", "b-c", "D_1", "7", '"q.r"', "'s t'", '"\\u00e9"', '"x\\"]"'])
TEXTS = st.sampled_from(
    [
        '"plain"',
        "'li#t[eral'",
        '"esc \\" ] # \\\\"',
        '"""one\n[two] # \\""" = 3 "" """',
        '"""a quote at the end""""',
        '"""two""" ',
        "'''it's\n''two'''''",
        "''",
        '""',
    ],
)
SCALARS = st.one_of(
    TEXTS,
    st.sampled_from(["1", "-0.5e3", "true", "1979-05-27 07:32:00", "0xff", "inf"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=2),
    ),
    max_leaves=5,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=3)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.one_of(VALUES.map(lambda one: ("value", one)), TABLES.map(lambda one: ("table", one)))
    | st.lists(TABLES, min_size=1, max_size=3).map(lambda many: ("array", many)),
    max_size=4,
)


class Writer:
    """Writes a document and notes where it put each value."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: dict[Where, int] = {}

    def note(self, where: Where) -> Where:
        self.lines[where] = self.text.count("\n") + 1
        return where

    def value(self, where: Where, value: Any, *, inline: bool) -> None:
        if isinstance(value, str):
            self.text += '"flat"' if inline and "\n" in value else value
        elif isinstance(value, list):
            self.text += "[" if inline else "[ # ] comment\n\n"
            for index, one in enumerate(value):
                self.value(self.note((*where, index)), one, inline=inline)
                self.text += "," if inline else " ,\n"
            self.text += "]"
        else:
            self.text += "{"
            for place, (key, one) in enumerate(value.items()):
                self.text += f"{', ' if place else ' '}{key} = "
                self.value(self.note((*where, name(key))), one, inline=True)
            self.text += " }"

    def pairs(self, where: Where, table: dict[str, Any]) -> None:
        for key, one in table.items():
            place = self.note((*where, name(key)))
            self.text += f"{key} = "
            self.value(place, one, inline=False)
            self.text += " # [comment]\n\n"

    def document(self, document: dict[str, Any]) -> None:
        for key, (kind, one) in document.items():
            if kind == "value":
                self.pairs((), {key: one})
        for key, (kind, one) in document.items():
            if kind == "table":
                where = self.note((name(key),))
                self.text += f"[ {key} ]\n"
                self.pairs(where, one)
            if kind == "array":
                where = self.note((name(key),))
                for index, table in enumerate(one):
                    self.note((*where, index))
                    self.text += f"[[{key}]]\n"
                    self.pairs((*where, index), table)


def name(key: str) -> str:
    return next(iter(tomllib.loads(f"{key} = 0")))


@given(DOCUMENTS)
@settings(max_examples=60, deadline=None)
def test_every_value_has_the_line_it_was_written_in(document: dict[str, Any]) -> None:
    writer = Writer()
    writer.document(document)
    parsed = parse(writer.text.encode())
    assert {where: parsed.line(where) for where in writer.lines} == writer.lines


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    parsed = parse(b"\n[a]\nb = 1\n\n[[a.c]]\nd.e = 2\n[[a.c]]\n[a.c.f]\n")
    assert parsed.line(("a", "x", 3)) == 2
    assert parsed.line(("a", "c", 0, "d", "e", "f")) == 6
    assert parsed.line(("a", "c", 1, "z")) == 7
    assert parsed.line(("a", "c", 1, "f")) == 8
    assert parsed.line(()) == 1
    assert parsed.line(("nowhere",)) == 1


@given(
    st.text(alphabet="ab01[]{}=\"'#.,\n \\-é", max_size=40).map(str.encode) | st.binary(max_size=40)
)
@example(b"")
@example(b"a=[1,[2,{b=3}]]")
@example(b"\xef\xbb\xbfa = 1")
@example(b"\r")
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_parsed_or_refused_with_a_line_that_exists(raw: bytes) -> None:
    try:
        assert isinstance(parse(raw).data, dict)
    except TomlFaultError as fault:
        assert 1 <= fault.line <= raw.count(b"\n") + 1  # noqa: PT017 - refusing is as good
        assert "\n" not in str(fault)  # noqa: PT017 - refusing is as good


@pytest.mark.parametrize(
    ("raw", "line", "says"),
    [
        pytest.param(b"a = 1\nb = \n", 2, "Invalid value", id="no value"),
        pytest.param(b"a = 1\na = 2\n", 2, "a value already", id="a key twice"),
        pytest.param(b'a = 1\nb = """\n\n', 2, "Unterminated", id="an open string"),
        pytest.param(b"[a]\n[a]\n", 2, "declare", id="a table twice"),
        pytest.param(b"a = 1\n\xff\n", 2, "not UTF-8", id="not UTF-8"),
    ],
)
def test_broken_text(raw: bytes, line: int, says: str) -> None:
    with pytest.raises(TomlFaultError, match=says) as caught:
        parse(raw)
    assert caught.value.line == line
