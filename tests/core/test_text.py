import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.model.text import code, fenced, lines_with_quoting, nested, one_line, tail, visible

HOSTILE = st.text(
    alphabet="ab`~# \n\t\r\x1b\x07\x9b\x9d]m[0;P\\\u202e\u200b\u2028\ud800é", max_size=60
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("tab\tok\n", "tab\tok\n", id="tab and newline stay"),
        pytest.param("grüße ✓ 漢字", "grüße ✓ 漢字", id="letters of any script stay"),
        pytest.param("a\r\nb", "a\nb", id="Windows newline"),
        pytest.param("a\rb\x08", "a<U+000D>b<U+0008>", id="carriage return and backspace"),
        pytest.param("a\x1b[2Jb", "a␛b", id="clear screen"),
        pytest.param("a\x1b[8mb", "a␛b", id="hidden text"),
        pytest.param("a\x1b]52;c;QQ==\x07b", "a␛b", id="clipboard, ended by a bell"),
        pytest.param("a\x1b]52;c;QQ==\x1b\\b", "a␛b", id="clipboard, ended by a string terminator"),
        pytest.param("a\x1b]0;title\nb", "a␛\nb", id="a title without an end hides one line only"),
        pytest.param("\x1bPq#0\x1b\\z", "␛z", id="device control"),
        pytest.param("a\x9b2Jb", "a␛b", id="the one-byte form"),
        pytest.param("trail \x1b", "trail ␛", id="a lone escape"),
        pytest.param("x\u202eevil\u2066", "x<U+202E>evil<U+2066>", id="text direction"),
        pytest.param("zero\u200bwidth", "zero<U+200B>width", id="zero width"),
        pytest.param("a\u2028b", "a<U+2028>b", id="a line separator"),
        pytest.param("\ud800", "<U+D800>", id="a lone surrogate"),
    ],
)
def test_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


@given(HOSTILE)
@settings(max_examples=100, deadline=None)
def test_nothing_hidden_is_left(text: str) -> None:
    shown = visible(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u202e\ud800-\udfff]", shown)
    assert visible(shown) == shown
    assert shown.count("\n") == text.count("\n")
    shown.encode()


@given(HOSTILE)
@settings(max_examples=100, deadline=None)
def test_data_cannot_leave_its_fence(text: str) -> None:
    quoting = list(lines_with_quoting(f"before\n{fenced(text)}\nafter"))
    assert [line for line, quoted in quoting if not quoted] == ["before", "after"]


@given(HOSTILE)
@settings(max_examples=100, deadline=None)
def test_nested_text_neither_swallows_nor_replaces_what_follows(text: str) -> None:
    quoting = list(lines_with_quoting(f"{nested(text)}\n## After"))
    assert quoting[-1] == ("## After", False)
    assert not [line for line, quoted in quoting[:-1] if not quoted and re.match(r"##? ", line)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("# A\n## B\n###### F\n#no", "### A\n#### B\n###### F\n#no", id="headings"),
        pytest.param("```sh\n# comment\n```\n", "```sh\n# comment\n```", id="a comment in a fence"),
        pytest.param("~~~\n```\n# x", "~~~\n```\n# x\n~~~", id="an open fence is closed"),
        pytest.param(
            "````\n```\n# x\n````\n# y", "````\n```\n# x\n````\n### y", id="a longer fence"
        ),
        pytest.param("```a`b\n# x", "```a`b\n### x", id="what only looks like a fence"),
    ],
)
def test_nested(text: str, expected: str) -> None:
    assert nested(text) == expected


@given(st.text(alphabet="a` \n", max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_code_span_ends_where_the_text_ends(text: str) -> None:
    span = code(text)
    mark = re.match("`+", span)
    assert mark is not None
    assert "\n" not in span
    inside = span[len(mark[0]) : -len(mark[0])]
    assert mark[0] not in re.findall("`+", inside)


def test_one_line_and_tail() -> None:
    assert one_line(" a\n\n b\tc\x1b[0m ") == "a b c␛"
    assert tail("abcdef", 4) == ("cdef", 2)
    assert tail("abc", 4) == ("abc", 0)
