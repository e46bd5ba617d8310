"""What the readers make of recorded output of the real programs, and of output that is odd."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.agents.claude import ClaudeReader
from agent.adapters.agents.codex import CodexReader
from agent.adapters.agents.faults import classify
from agent.adapters.agents.streams import LINE_LIMIT, StreamReader
from agent.core.model.agent_events import (
    AgentEvent,
    Completed,
    Denied,
    Failed,
    FileChanged,
    Limit,
    Message,
    Reasoning,
    Retrying,
    Started,
    ToolFinished,
    ToolStarted,
    Transcript,
    Unknown,
    summarize,
)

STREAMS = Path(__file__).parent / "agent_streams"
NOW = datetime(2026, 11, 28, 2, 30, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")
DONE = "FINAL: pushed f1.txt for T-1; C1 met."


def reader_of(name: str) -> StreamReader:
    return (CodexReader if "codex" in name else ClaudeReader)(NOW, ZONE)


def read(name: str, data: bytes, sizes: tuple[int, ...] = ()) -> list[AgentEvent]:
    """The events of `data`, fed in pieces of these sizes, and then the rest."""
    reader, events = reader_of(name), []
    for size in sizes:
        events += reader.feed(data[:size])
        data = data[size:]
    return [*events, *reader.feed(data), *reader.close()]


def transcript(name: str) -> Transcript:
    return summarize(read(name, (STREAMS / f"{name}.jsonl").read_bytes()))


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in objects)


FAULTS = [
    # name, class, status, reset time: the faults of a provider, as they were recorded
    ("f_401_codex", "auth", 401, None),
    ("f_429inf_codex", "rate-limit", 429, None),
    ("f_429once_codex", "rate-limit", 429, None),
    ("f_429rainf_codex", "rate-limit", 429, None),
    ("f_500inf_codex", "overloaded", None, None),  # the words are all that Codex gives
    ("f_ctx_codex", "context-overflow", None, None),
    ("f_cut_codex", "malformed", None, None),
    ("f_garb_codex", "malformed", None, None),
    ("f_quota_codex", "quota", None, None),
    ("f_sctx_codex", "context-overflow", None, None),
    ("f_serr_codex", "overloaded", None, None),
    ("f_usage_codex", "rate-limit", 429, None),
    ("real_usage_limit_codex", "quota", None, "02:56"),
    ("f_401_claude", "auth", 401, None),
    ("f_429inf_claude", "rate-limit", 429, None),
    ("f_529inf_claude", "overloaded", 529, None),
    ("f_ctx_claude", "context-overflow", 400, None),
    ("f_quota_claude", "quota", 429, None),
    ("f_usage_claude", "quota", 429, "22:05"),
    ("real_usage_limit_claude", "quota", 429, "03:55"),
]


@pytest.mark.parametrize(
    ("name", "class_", "status", "resets"), [pytest.param(*row, id=row[0]) for row in FAULTS]
)
def test_the_fault_of_a_provider_is_recognised(name, class_, status, resets) -> None:
    found = transcript(name)
    assert isinstance(found.end, Failed)
    failure = found.end.failure
    assert (failure.class_, failure.status) == (class_, status)
    assert (failure.retry_at and f"{failure.retry_at:%H:%M}") == resets
    assert found.session
    assert found.end.text


FINE = [
    # name, final response, tokens of input, output and from the cache, cost, denials
    ("happy_codex_jsonl", DONE, 3600, 120, 900, None, 0),
    ("daemon_codex", DONE, 4800, 160, 1200, None, 0),
    ("f_429ra1_codex", DONE, 3600, 120, 900, None, 0),
    ("sandbox_codex", DONE, 3600, 120, 900, None, 0),
    ("happy_claude_jsonl", DONE, 3600, 120, 900, 0.02145, 0),
    ("daemon_claude", DONE, 4800, 160, 1200, 0.0286, 0),
    ("f_429ra1_claude", DONE, 3600, 120, 900, 0.02145, 0),
    ("deny_claude", DONE, 3600, 120, 900, 0.02145, 2),
    # A call that Claude silently made again is missing in the sum that it gives itself.
    ("f_cut_claude", "Never said.", 2400, 80, 600, 0.0143, 0),
    ("f_garb_claude", "Never said.", 2400, 80, 600, 0.0143, 0),
]


@pytest.mark.parametrize(
    ("name", "final", "taken", "given", "cached", "cost", "denied"),
    [pytest.param(*row, id=row[0]) for row in FINE],
)
def test_the_last_message_is_the_final_response_and_what_was_used_is_counted(
    name, final, taken, given, cached, cost, denied
) -> None:
    found = transcript(name)
    assert found.end == Completed(final)
    assert found.used is not None
    tokens = found.used.tokens
    assert (tokens.input_tokens, tokens.output_tokens, tokens.cache_read_tokens) == (
        taken,
        given,
        cached,
    )
    assert found.used.cost == (None if cost is None else pytest.approx(cost))
    assert len(found.denied) == denied
    assert found.session


@pytest.mark.parametrize(
    "name",
    ["kill_codex", "kill_claude", "hoststop_codex", "f_hang0_codex", "f_hang0_claude",
     "f_hang1_claude"],
)  # fmt: skip
def test_a_run_that_was_cut_off_has_a_session_and_no_end(name: str) -> None:
    found = transcript(name)
    assert found.end is None
    assert found.session


def test_every_recorded_stream_is_expected_somewhere() -> None:
    here = {path.stem for path in STREAMS.glob("*.jsonl")}
    rows = {row[0] for row in (*FAULTS, *FINE)}
    assert here - rows == {
        "kill_codex", "kill_claude", "hoststop_codex", "f_hang0_codex", "f_hang0_claude",
        "f_hang1_claude",
    }  # fmt: skip


def test_no_line_of_a_recorded_stream_is_unknown() -> None:
    odd = {
        (path.stem, event.text)
        for path in STREAMS.glob("*.jsonl")
        for event in read(path.stem, path.read_bytes())
        if isinstance(event, Unknown)
    }
    # Codex says its last error twice: once as such, and then as its end.
    assert all("codex" in name for name, _ in odd)


CODEX = {
    "thread": ({"type": "thread.started", "thread_id": "t"}, [Started("t")]),
    "a thread without an id": ({"type": "thread.started", "thread_id": 7}, [Started(None)]),
    "reasoning": (
        {"type": "item.completed", "item": {"type": "reasoning", "text": "hm"}},
        [Reasoning("hm")],
    ),
    "a command begins": (
        {"type": "item.started", "item": {"type": "command_execution", "command": "ls"}},
        [ToolStarted("command_execution", "ls")],
    ),
    "a command fails": (
        {
            "type": "item.completed",
            "item": {
                "type": "command_execution",
                "command": "ls",
                "aggregated_output": "no",
                "exit_code": 128,
                "status": "failed",
            },
        },
        [ToolFinished("command_execution", ok=False, code=128, text="no")],
    ),
    "a command is not allowed": (
        {
            "type": "item.completed",
            "item": {"type": "command_execution", "command": "rm", "status": "declined"},
        },
        [Denied("command_execution", "rm")],
    ),
    "files": (
        {
            "type": "item.completed",
            "item": {"type": "file_change", "changes": [{"path": "a"}, {"path": 1}, "b"]},
        },
        [FileChanged("a")],
    ),
    "another attempt at the provider": (
        {
            "type": "error",
            "message": "Reconnecting... 1/5 (unexpected status 503 Service Unavailable: x)",
        },
        [Retrying("server", 503)],
    ),
    "waiting for the network": (
        {"type": "error", "message": "Reconnecting... waiting for network"},
        [Retrying("network")],
    ),
    "a warning": (
        {"type": "item.completed", "item": {"type": "error", "message": "no metadata"}},
        [Unknown("no metadata")],
    ),
    "a tool it has not had yet": (
        {"type": "item.completed", "item": {"type": "new_tool", "status": "completed"}},
        [ToolFinished("new_tool", ok=True)],
    ),
    "an event it has not had yet": ({"type": "new"}, [Unknown('{"type": "new"}')]),
    "an item that is none": (
        {"type": "item.completed", "item": ["x"]},
        [Unknown('{"type": "item.completed", "item": ["x"]}')],
    ),
}
CLAUDE = {
    "start": (
        {
            "type": "system",
            "subtype": "init",
            "session_id": "s",
            "model": "m",
            "claude_code_version": "2",
        },
        [Started("s", "m", "2")],
    ),
    "another attempt at the provider": (
        {
            "type": "system",
            "subtype": "api_retry",
            "error_status": 529,
            "error": "overloaded",
            "retry_delay_ms": 1500,
        },
        [Retrying("overloaded", 529, 1.5)],
    ),
    "another attempt, without a status": (
        {
            "type": "system",
            "subtype": "api_retry",
            "error_status": None,
            "error": "rate_limit",
            "retry_delay_ms": 1e400,
        },
        [Retrying("rate-limit")],
    ),
    "an answer": (
        {
            "type": "assistant",
            "message": {
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "text", "text": "hello"},
                    {"type": "tool_use", "id": 7, "name": "Bash", "input": {"command": "ls"}},
                    {"type": "new"},
                    "odd",
                ]
            },
        },
        [Reasoning("hm"), Message("hello"), ToolStarted("Bash", "ls")],
    ),
    "not allowed": (
        {
            "type": "system",
            "subtype": "permission_denied",
            "tool_name": "Write",
            "tool_use_id": "1",
            "tool_input": {"file_path": "/etc/x"},
        },
        [Denied("Write", "/etc/x")],
    ),
    "a limit": (
        {
            "type": "rate_limit_event",
            "rate_limit_info": {"status": "rejected", "resetsAt": 1795838107},
        },
        [Limit(datetime(2026, 11, 28, 3, 55, 7, tzinfo=UTC))],
    ),
    "a limit that ends in another century": (
        {
            "type": "rate_limit_event",
            "rate_limit_info": {"status": "rejected", "resetsAt": 9795838107},
        },
        [Limit()],
    ),
    "no limit": (
        {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed"}},
        [],
    ),
    "heard and not worth a word": ({"type": "stream_event", "event": {}}, []),
    "an event it has not had yet": ({"type": "new"}, [Unknown('{"type": "new"}')]),
    "no event": (["x"], [Unknown('["x"]')]),
    "a type that is no word": ({"type": {"a": 1}}, [Unknown('{"type": {"a": 1}}')]),
}


@pytest.mark.parametrize(
    ("program", "line", "events"),
    [
        pytest.param(program, *row, id=f"{program}: {name}")
        for program, table in (("codex", CODEX), ("claude", CLAUDE))
        for name, row in table.items()
    ],
)
def test_one_line_and_its_events(program, line, events) -> None:
    assert read(program, lines(line)) == events


def test_claude_reports_a_denial_and_a_written_file_once() -> None:
    call = {"type": "tool_use", "id": "1", "name": "Write", "input": {"file_path": "/w/a"}}
    events = read(
        "claude",
        lines(
            {"type": "assistant", "message": {"content": [call]}},
            {
                "type": "user",
                "message": {
                    "content": [
                        {"type": "tool_result", "tool_use_id": "1", "content": [{"text": "ok"}]}
                    ]
                },
            },
            {"type": "system", "subtype": "permission_denied", "tool_name": "Bash",
             "tool_use_id": "2"},
            {"type": "result", "subtype": "success", "is_error": False, "result": "done",
             "permission_denials": [{"tool_name": "Bash", "tool_use_id": "2"}]},
        ),
    )  # fmt: skip
    assert events[:4] == [
        ToolStarted("Write", "/w/a"),
        ToolFinished("Write", ok=True, text="ok"),
        FileChanged("/w/a"),
        Denied("Bash"),
    ]
    assert summarize(events).denied == ("Bash",)


WORDS = [
    # status, words of the program, class
    (None, "Not logged in · Please run /login", "auth"),
    (None, "Your session has ended. Please log out and sign in again.", "auth"),
    (None, "Invalid bearer token", "auth"),
    (403, "Your organization has disabled this", "auth"),
    (407, "Proxy Authentication Required", "network"),
    (None, "API Error: Connection error.", "network"),
    (None, "Request timed out", "network"),
    (None, "stream disconnected before completion: error sending request for url (x)", "network"),
    (None, "Reconnecting... waiting for network (Connection failed: no route)", "network"),
    (None, "stream disconnected before completion: We're experiencing high demand", "overloaded"),
    (529, "whatever", "overloaded"),
    (503, "upstream connect error", "server"),
    (None, "API Error (503 upstream connect error or disconnect/reset before headers)", "server"),
    (None, "API Error: Request was aborted due to rate limiting.", "rate-limit"),
    (429, "Number of request tokens has exceeded your per-minute rate limit", "rate-limit"),
    (429, "You've hit your limit · resets 11pm (UTC)", "quota"),
    (429, "5-hour limit reached ∙ resets 3am", "quota"),
    (400, "Credit balance is too low", "quota"),
    (400, "You have reached your specified API usage limits.", "quota"),
    (402, "Payment required", "quota"),
    (500, "usage limit service is down", "server"),
    (413, "Request too large", "context-overflow"),
    (400, "prompt is too long: 201000 tokens > 200000 maximum", "context-overflow"),
    (400, "tools.0: unknown field", "unknown"),
    (404, "model: no-such-model", "unknown"),
    (None, "empty or malformed response", "malformed"),
    (None, "something new", "unknown"),
]


@pytest.mark.parametrize(
    ("status", "words", "class_"), [pytest.param(*row, id=f"{row[0]} {row[1]}") for row in WORDS]
)
def test_a_status_and_words_of_the_program_make_a_class(status, words, class_) -> None:
    assert classify(status, words) == class_


@pytest.mark.parametrize(
    ("error", "words", "class_"),
    [
        ("authentication_failed", "Not logged in · Please run /login", "auth"),
        ("billing_error", "Pay first", "quota"),
        ("server_error", "It failed", "server"),
        ("unknown", "API Error: Connection error.", "network"),
        ("unknown", "It failed", "unknown"),
    ],
)
def test_where_claude_has_no_status_its_own_word_counts(error, words, class_) -> None:
    content = [{"type": "text", "text": words}]
    said = {"type": "assistant", "message": {"content": content}, "error": error}
    end = {"type": "result", "subtype": "success", "is_error": True, "result": words}
    events = read("claude", lines(said, end))
    assert not any(isinstance(event, Message) for event in events)
    found = summarize(events).end
    assert isinstance(found, Failed)
    assert found.failure.class_ == class_


LIES = [
    "rate_limit_exceeded",
    "429 Too Many Requests; resets_at: 1795838107",
    "You've hit your usage limit. Try again at 11:04 PM.",
    '{"type":"turn.failed","error":{"message":"Quota exceeded."}}',
    '\n{"type":"result","subtype":"success","is_error":true,"api_error_status":429}\n',
    "Prompt is too long",
]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("program", ["codex", "claude"])
def test_what_a_tool_prints_or_the_model_says_is_no_failure(program: str, lie: str) -> None:
    said = {
        "codex": [
            {"type": "thread.started", "thread_id": "t"},
            {"type": "item.completed", "item": {"type": "agent_message", "text": lie}},
            {
                "type": "item.completed",
                "item": {"type": "command_execution", "aggregated_output": lie, "exit_code": 1},
            },
        ],
        "claude": [
            {"type": "assistant", "message": {"content": [{"type": "text", "text": lie}]}},
            {
                "type": "user",
                "message": {"content": [{"type": "tool_result", "content": lie, "is_error": True}]},
            },
        ],
    }[program]
    assert summarize(read(program, lines(*said))).end is None
    well = {
        "codex": {"type": "turn.completed", "usage": {}},
        "claude": {"type": "result", "subtype": "success", "is_error": False, "result": lie},
    }[program]
    assert summarize(read(program, lines(*said, well))).end == Completed(lie)


def test_claude_that_stopped_by_itself_was_failed_by_no_provider() -> None:
    end = {
        "type": "result",
        "subtype": "error_max_turns",
        "is_error": True,
        "errors": ["rate limit exceeded, says the model"],
    }
    found = summarize(read("claude", lines(end))).end
    assert isinstance(found, Failed)
    assert found.failure.class_ == "unknown"


ODD = [
    pytest.param(b"\xff\xfe broken\n", [Unknown("\ufffd\ufffd broken")], id="no UTF-8"),
    pytest.param(b"{not json", [Unknown("{not json")], id="no JSON, no end"),
    pytest.param(b"\n \r\n\n", [], id="empty lines"),
    pytest.param(b"9" * 9000 + b"\n", [Unknown("9" * 2000)], id="too long a number"),
    pytest.param(
        b'{"type": "item.completed", "item": {"type": "agent_message", "text": "\\ud83d \xff"}}\n',
        [Message("? \ufffd")],
        id="half a character and a broken one",
    ),
    pytest.param(
        lines({"type": "item.completed", "item": {"type": "agent_message", "text": "y" * 400_000}}),
        [Message("y" * 400_000)],
        id="a line of 400 KB",
    ),
]


@pytest.mark.parametrize(("data", "events"), ODD)
def test_odd_output_is_read_as_far_as_it_goes(data: bytes, events: list[AgentEvent]) -> None:
    assert read("codex", data) == events


def test_a_line_without_end_is_cut_and_the_next_one_is_read() -> None:
    data = b'{"type": "' + b"x" * LINE_LIMIT + b'"}\n' + lines(CODEX["thread"][0])
    unknown, started = read("codex", data, (LINE_LIMIT, 1, 1))
    assert isinstance(unknown, Unknown)
    assert started == Started("t")


@pytest.mark.parametrize("program", ["codex", "claude"])
@settings(deadline=None)
@given(depth=st.integers(1, 3000), field=st.sampled_from(["item", "message", "input", "usage"]))
def test_no_depth_of_nesting_is_too_much(program: str, depth: int, field: str) -> None:
    nested = f'{{"{field}":' * depth + "1" + "}" * depth
    kind = {"codex": "item.completed", "claude": "assistant"}[program]
    for event in read(program, f'{{"type": "{kind}", "{field}": {nested}}}\n'.encode()):
        assert isinstance(event, AgentEvent)


@pytest.mark.parametrize(
    "name", ["happy_codex_jsonl", "f_401_codex", "deny_claude", "real_usage_limit_claude"]
)
@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), max_size=30))
def test_however_it_is_cut_the_events_are_the_same(name: str, sizes: list[int]) -> None:
    data = (STREAMS / f"{name}.jsonl").read_bytes()
    assert read(name, data, tuple(sizes)) == read(name, data)


def paths(found: object, here: tuple = ()) -> Iterator[tuple]:
    """The way to every value inside, itself excluded."""
    inside = found.items() if isinstance(found, dict) else enumerate(found)
    for key, value in inside:
        yield (*here, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*here, key))


def changed(found: object, path: tuple, value: object) -> object:
    if not path:
        return value
    copy = found.copy()
    copy[path[0]] = changed(found[path[0]], path[1:], value)
    return copy


KINDS = {
    (line["type"], line.get("subtype"), str(line.get("item", {}).get("type"))): (path.stem, line)
    for path in sorted(STREAMS.glob("*.jsonl"))
    for line in map(json.loads, path.read_bytes().splitlines())
}
ODD_VALUES = (None, True, 0, -1, 1e400, 10**30, "", "x", [], ["x"], {}, {"text": 1}, [None, {}])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(filter(None, kind)))
def test_a_line_of_another_shape_is_survived(kind: tuple) -> None:
    name, line = KINDS[kind]
    for path in paths(line):
        if path[0] in ("tools", "slash_commands", "agents", "skills", "plugins"):
            continue
        for value in ODD_VALUES:
            for event in read(name, lines(changed(line, path, value))):
                event.words.encode()
