"""Nothing that a worker, a model or a repository wrote can command the terminal."""

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Group
from rich.table import Table
from rich.text import Text

from agent.cli.console import Console, OutputLostError
from agent.core.model.secrets import Redactor
from tests.core.secret_samples import KEYS, VALUE, pem

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def stream(kind=io.TextIOWrapper, encoding="utf-8"):
    return kind(io.BytesIO(), encoding=encoding, newline="")


def written(out):
    out.flush()
    return out.buffer.getvalue().decode(out.encoding)


def console(out, **environ):
    return Console(out, io.StringIO(), environ)


HOSTILE = [
    pytest.param("\x1b]52;c;ZXZpbA==\x07", "␛", id="writes the clipboard"),
    pytest.param("a\x1b[8mhidden\x1b[0mb", "a␛hidden␛b", id="hides text"),
    pytest.param("\x1b]0;title\x1b\\x", "␛x", id="sets the title"),
    pytest.param("one\rtwo\x08\x7f", "one<U+000D>two<U+0008><U+007F>", id="overwrites"),
    pytest.param("abc\u202edef", "abc<U+202E>def", id="turns the direction"),
    pytest.param("\x9b31mred", "␛red", id="C1"),
    pytest.param("[red]not markup[/red]", "[red]not markup[/red]", id="markup"),
    pytest.param(":smile: http://x 42", ":smile: http://x 42", id="emoji, links and numbers"),
    pytest.param("two\nlines\tand a tab", "two lines and a tab", id="breaks the line"),
    pytest.param("\udc80", "<U+DC80>", id="no character at all"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
@pytest.mark.parametrize("kind", [io.TextIOWrapper, Terminal])
def test_hostile_text_is_shown_and_not_obeyed(kind, text, shown):
    out = stream(kind)
    console(out, TERM="xterm").line(text)
    assert written(out) == f"{shown}\n"


@given(st.text())
def test_no_control_character_of_any_text_reaches_the_output(text):
    out = stream()
    tool = console(out)
    table = Table(box=None, show_header=False)
    table.add_row(tool.text(text), tool.text(text))
    tool.line(text)
    tool.show(Group(tool.text(text), table))
    tool.json({"text": text})
    assert not CONTROLS.search(written(out))


def styled(tool):
    return Group(tool.text("red", "bold red"), tool.text("green", "green"))


PLAIN = [
    pytest.param(io.TextIOWrapper, {"TERM": "xterm-256color"}, True, id="no terminal"),
    pytest.param(Terminal, {"TERM": "dumb"}, True, id="TERM=dumb"),
    pytest.param(Terminal, {"TERM": "xterm-256color", "NO_COLOR": "1"}, True, id="NO_COLOR"),
    pytest.param(Terminal, {"TERM": "xterm-256color", "NO_COLOR": ""}, False, id="NO_COLOR empty"),
    pytest.param(Terminal, {"TERM": "xterm-256color"}, False, id="terminal"),
]


@pytest.mark.parametrize(("kind", "environ", "plain"), PLAIN)
def test_plain_means_no_escape_sequence_at_all(kind, environ, plain, monkeypatch):
    for name, value in {"TERM": "xterm", "NO_COLOR": "", **environ}.items():
        monkeypatch.setenv(name, value)
    out = stream(kind)
    tool = console(out, **environ)
    tool.show(styled(tool))
    with tool.live():
        tool.draw(styled(tool))
    assert tool.plain is plain
    assert ("\x1b" not in written(out)) is plain
    assert "red" in written(out)


ENCODINGS = [
    pytest.param("latin-1", "café … ␛ 日本", "café ~ <ESC> <U+65E5><U+672C>", id="latin-1"),
    pytest.param("ascii", "café …", "caf<U+00E9> ~", id="ascii"),
    pytest.param("utf-8", "café … 日本", "café … 日本", id="utf-8"),
]


@pytest.mark.parametrize(("encoding", "text", "shown"), ENCODINGS)
def test_what_the_encoding_lacks_has_a_stand_in(encoding, text, shown):
    out = stream(encoding=encoding)
    console(out).line(text)
    assert written(out) == f"{shown}\n"


def test_a_cut_off_text_has_a_stand_in_for_the_dots_too():
    out = stream(encoding="latin-1")
    tool = console(out, COLUMNS="20")
    table = Table.grid()
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_row(tool.text("x" * 50))
    tool.show(table)
    assert written(out) == f"{'x' * 19}~\n"


WIDTHS = [
    pytest.param(io.TextIOWrapper, {}, None, id="no terminal: no limit"),
    pytest.param(io.TextIOWrapper, {"COLUMNS": "60"}, 60, id="COLUMNS without a terminal"),
    pytest.param(Terminal, {"COLUMNS": "60"}, 60, id="COLUMNS"),
    pytest.param(Terminal, {"COLUMNS": "wide"}, 80, id="COLUMNS is no number"),
    pytest.param(Terminal, {"COLUMNS": "3"}, 20, id="COLUMNS is too small to show anything"),
]


@pytest.mark.parametrize(("kind", "environ", "width"), WIDTHS)
def test_the_width_is_that_of_columns_else_of_the_terminal(kind, environ, width, monkeypatch):
    monkeypatch.setattr("os.get_terminal_size", lambda _: (0, 0))  # a terminal that does not know
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console(stream(kind), **environ).width == width


def test_a_long_line_is_never_cut_off():
    out = stream()
    console(out, COLUMNS="40").line("word " * 50)
    assert written(out) == "word " * 49 + "word\n"


def test_json_is_ascii_and_in_the_order_given():
    out = stream(encoding="latin-1")
    console(out).json({"z": "日本 \x9b", "a": None})
    assert written(out).isascii()
    assert list(json.loads(written(out)).items()) == [("z", "日本 \x9b"), ("a", None)]


def test_an_error_is_one_line_on_standard_error():
    out, err = stream(), stream()
    Console(out, err, {}).error("two\nlines\x1b[2J")
    assert (written(out), written(err)) == ("", "wavekeeper: two lines␛\n")


def test_live_puts_each_picture_in_the_place_of_the_last(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    out = stream(Terminal)
    tool = console(out, TERM="xterm-256color")
    with tool.live():
        tool.draw(Text("first"))
        tool.line("a line above")
        tool.draw(Text("second"))
    tool.draw(Text("too late"))
    said = written(out)
    assert said.index("first") < said.index("a line above") < said.index("second")
    assert "\x1b[2K" in said
    assert said.index("\x1b[?25l") < said.index("\x1b[?25h")  # the cursor is back
    assert "too late" not in said


class Lost(io.StringIO):
    """Nobody reads it."""

    def write(self, _):
        raise BrokenPipeError


def test_a_reader_that_went_away_is_told_apart():
    with pytest.raises(OutputLostError) as lost:
        console(Lost()).line("x")
    assert lost.value.quiet


WAYS = {
    "a line": lambda tool, text: tool.line(text),
    "a line as it is": lambda tool, text: tool.line_as_it_is(text),
    "a cell": lambda tool, text: tool.show(Group(tool.text(text))),
    "several lines": lambda tool, text: [tool.line(one) for one in tool.lines(text)],
    "a question": lambda tool, text: tool.ask(text),
    "JSON": lambda tool, text: tool.json({"a": [text]}),
    "a line of JSON": lambda tool, text: tool.json_line({"a": {"b": text}}),
    "an error": lambda tool, text: tool.error(text),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("secret", "mark"),
    [
        pytest.param(KEYS["github-token"], "[removed: github-token]", id="a key"),
        pytest.param(VALUE, "[removed: SHOP_TOKEN]", id="a configured value"),
        pytest.param(pem(), "[removed: private-key]", id="a private key"),
    ],
)
def test_no_secret_is_shown(secret, mark, way):
    out, err = stream(), stream()
    tool = Console(out, err, {})
    tool.hide(Redactor({"SHOP_TOKEN": VALUE}))
    WAYS[way](tool, f"it printed {secret}")
    said = written(out) + written(err)
    assert mark in said
    assert not [one for one in secret.split("\n") if one in said]
