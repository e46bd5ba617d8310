import json
from datetime import UTC, datetime

import pytest

from agent.adapters.agents import output as agent_output

AT = datetime(2026, 1, 1, tzinfo=UTC)


def read(data: bytes, skipped: int = 0, *, ended: bool = True, form: str = "jsonl"):
    found, used = agent_output.events(data, skipped, ended=ended, at=AT, form=form)
    assert all(event.at == AT for event in found)
    return [(event.kind, event.text) for event in found], used


def line(**values: object) -> bytes:
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        pytest.param(line(type="message", text="hi"), "message", "hi", id="text"),
        pytest.param(line(type="m", message="hi", text=3), "m", "hi", id="message"),
        pytest.param(
            line(type="assistant", message={"a": "é"}),
            "assistant",
            '{"type":"assistant","message":{"a":"é"}}',
            id="neither-so-all-of-it",
        ),
        pytest.param(line(text="hi"), "text", "hi", id="no-type"),
        pytest.param(line(type=["x"], text="hi"), "text", "hi", id="a-type-that-is-no-word"),
        pytest.param(line(type="t" * 99, text="hi"), "t" * 64, "hi", id="a-long-type"),
        pytest.param(b'["a"]', "text", '["a"]', id="no-object"),
        pytest.param(b"{not json", "text", "{not json", id="no-json"),
        pytest.param(b"[" * 100_000, "text", "[" * 3900, id="too-deep"),
        pytest.param(b'{"n": ' + b"9" * 9000 + b"}", "text", '{"n": 999', id="too-big-a-number"),
        pytest.param(rb'{"text": "half \ud83d"}', "text", "half ?", id="half-a-character"),
        pytest.param(b"\xff\xc3", "text", "\ufffd\ufffd", id="no-utf-8"),
        pytest.param(b"done\r", "text", "done", id="carriage-return"),
    ],
)
def test_one_line_is_one_event(data: bytes, kind: str, text: str) -> None:
    ((found_kind, found_text),), used = read(data + b"\n")
    assert found_kind == kind
    assert found_text.startswith(text)
    assert len(found_text) <= 4000
    assert used == len(data) + 1
    found_text.encode()


def test_json_is_no_event_of_its_own_where_plain_text_is_expected() -> None:
    assert read(line(type="final", text="hi"), form="text")[0] == [
        ("text", '{"type": "final", "text": "hi"}')
    ]


@pytest.mark.parametrize(
    ("data", "ended", "texts", "used"),
    [
        pytest.param(b"", True, [], 0, id="nothing"),
        pytest.param(b"one\ntwo\nthr", False, ["one", "two"], 8, id="unfinished"),
        pytest.param(b"one\nthr", True, ["one", "thr"], 7, id="unfinished-at-the-end"),
        pytest.param(b"one", False, [], 0, id="only-unfinished"),
        pytest.param(b"\n\n one\n\n", False, [" one"], 8, id="blank-lines"),
    ],
)
def test_an_unfinished_line_is_left_for_later(
    data: bytes, texts: list[str], used: int, *, ended: bool
) -> None:
    found, took = read(data, ended=ended)
    assert ([text for _, text in found], took) == (texts, used)


def test_of_a_thousand_lines_the_newest_are_kept() -> None:
    data = b"".join(b"%04d\n" % number for number in range(1002))
    found, used = read(data)
    assert used == len(data)
    assert [text for _, text in found[:2]] == ["[10 bytes of output left out here]", "0002"]
    assert len(found) == 1001


def test_what_was_not_read_is_mentioned_and_a_broken_line_is_not_shown() -> None:
    found, used = read(b"ken\nwhole\n", 96)
    assert found == [("text", "[100 bytes of output left out here]"), ("text", "whole")]
    assert used == 10


@pytest.mark.parametrize(
    ("size", "text"),
    [
        pytest.param(4000, "x" * 4000, id="fits"),
        pytest.param(4001, " … [4,001 characters in all]", id="too-long-to-show"),
        pytest.param(1024 * 1024 + 5, " … [5 more bytes cut]", id="too-long-to-read"),
    ],
)
def test_a_cut_says_how_much(size: int, text: str) -> None:
    ((_, found),), _ = read(b"x" * size + b"\n")
    assert found.endswith(text)
    assert len(found) == 4000


@pytest.mark.parametrize(
    ("lines", "final", "truncated"),
    [
        pytest.param([], None, False, id="no-output"),
        pytest.param([line(type="message", text="final")], None, False, id="another-type"),
        pytest.param([line(type="final", text=3)], None, False, id="no-text"),
        pytest.param(
            [line(type="final", text="a"), line(type="final", text="b"), b"after"],
            "b",
            False,
            id="the-last-one",
        ),
        pytest.param([rb'{"type": "final", "text": "\ud83d"}'], "?", False, id="half-a-character"),
        pytest.param([line(type="final", text="y" * 300_000)], "y" * 262_144, True, id="too-long"),
    ],
)
def test_the_final_line(lines: list[bytes], final: str | None, *, truncated: bool) -> None:
    assert agent_output.final_of_lines(lines, "final", "text") == (final, truncated)


@pytest.mark.parametrize(
    ("code", "signal", "errors", "output", "said"),
    [
        pytest.param(0, None, b"warning", b"", None, id="ended-well"),
        pytest.param(2, None, b"no luck\n", b"working", "no luck", id="errors-first"),
        pytest.param(2, None, b" \n", b"working\n", "working", id="else-the-output"),
        pytest.param(2, None, b"", b"", "exit code 2, and no output", id="silent"),
        pytest.param(None, 9, b"", b"", "killed by signal 9", id="killed"),
        pytest.param(None, 9, b"oops", b"", "killed by signal 9\noops", id="killed-with-words"),
        pytest.param(None, None, b"x", b"", "the agent's end was not seen", id="not-seen"),
    ],
)
def test_the_last_error(
    code: int | None, signal: int | None, errors: bytes, output: bytes, said: str | None
) -> None:
    assert agent_output.last_error(code, signal, errors, output) == said


def test_of_many_errors_whole_last_lines_are_kept() -> None:
    errors = b"".join(b"line %04d\n" % number for number in range(1000))
    said = agent_output.last_error(1, None, errors, b"")
    assert said is not None
    assert len(said) <= 2000
    assert said.startswith("line 0")
    assert said.endswith("line 0999")


def test_the_end_of_a_commands_output_and_why_it_ended_are_kept() -> None:
    result = agent_output.command_result(["make"], None, "stopped", b"z" * 9000, 1.23456)
    assert (result.exit_code, result.ok, result.seconds) == (None, False, 1.235)
    assert result.output == "z" * 3992 + "\nstopped"
