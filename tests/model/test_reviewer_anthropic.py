"""The reviewer against a server on loopback that behaves as badly as servers do."""

import json
import threading

import pytest

from agent.adapters.model.anthropic_api import Asking, Endpoint
from agent.adapters.model.reviewer import AnthropicReviewer
from agent.errors import PolicyError
from tests.core.review_worlds import GOOD, answer
from tests.model.scenarios import ASKING, HOSTILE, PROMPTS, SCENARIOS, reviewer, told
from tests.model.standin import VERSION, Reply, StandIn, fault, message

BRIEF = SCENARIOS["accept"].brief


def good(request, _):
    return message(request, answer(*GOOD))


def once(brain, **over):
    """One review by a server with this brain: the review and the server."""
    with StandIn(brain) as server:
        (review,) = reviewer(server.url, **over).review([BRIEF])
    return review, server


def test_the_request_is_what_the_notes_found_to_work(monkeypatch):
    for name, value in {
        "ANTHROPIC_API_KEY": "another-key", "ANTHROPIC_AUTH_TOKEN": "a-token",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "ANTHROPIC_PROFILE": "nobody",
        "ANTHROPIC_CUSTOM_HEADERS": "anthropic-version: 2023-06-01\nx-spy: yes\n"
        "Authorization: Bearer a-third-one",
        "HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    review, server = once(good)
    assert told(review) == "met met"
    ((headers, sent),) = server.seen
    assert headers["authorization"] == "Bearer not-a-key"
    assert headers["anthropic-version"] == VERSION
    assert not {"x-spy", "x-api-key"} & headers.keys()
    assert sent["tool_choice"] == {"type": "none"}
    assert sent["output_config"]["format"]["type"] == "json_schema"
    assert sent["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert sent["max_tokens"] < 21_333


def test_untrusted_text_stands_only_in_the_tool_result():
    body = reviewer("https://example.invalid").body(SCENARIOS["injection"].brief)
    first, second, third = body["messages"]
    result, last = third["content"]
    for part in (first, second, last, body["system"], body["tools"]):
        assert "void" not in json.dumps(part)
    shown = json.loads(result["content"][0]["text"])
    response = next(one for one in shown["exhibits"] if one["id"] == "final-response")
    assert response["origin"] == "claimed"
    assert response["text"] == HOSTILE.replace("\u202e", "<U+202E>")
    assert "49" not in response["text"]


def test_the_exhibits_can_be_sent_without_a_tool():
    asking = Asking(model="m", channel="user_json", effort=None)
    body = AnthropicReviewer(PROMPTS, Endpoint(key="k"), asking).body(BRIEF)
    assert "tools" not in body
    assert "effort" not in body["output_config"]
    (only,) = body["messages"]
    assert json.loads(only["content"][1]["text"])["exhibits"]


BAD = [
    pytest.param(fault(401, "authentication_error"), "not-permitted", 1, id="a wrong key"),
    pytest.param(fault(403, "permission_error"), "not-permitted", 1, id="no right"),
    pytest.param(fault(400, "invalid_request_error"), "bad-request", 1, id="refused"),
    pytest.param(fault(404, "not_found_error"), "bad-request", 1, id="no such model"),
    pytest.param(fault(402, "billing_error"), "spend-limit", 1, id="unpaid"),
    pytest.param(fault(429, "rate_limit_error", retry_after="0"), "unavailable", 4, id="throttled"),
    pytest.param(fault(429, "rate_limit_error", retry_after="3600"), "unavailable", 1,
                 id="throttled for an hour"),
    pytest.param(fault(500, "api_error", retry_after="0"), "unavailable", 4, id="broken"),
    pytest.param(fault(529, "overloaded_error", x_should_retry="false"), "unavailable", 1,
                 id="told not to retry"),
    pytest.param(Reply(raw=b"<html>proxy</html>"), "bad-answer", 1, id="a page"),
    pytest.param(Reply(raw=b""), "bad-answer", 1, id="nothing"),
    pytest.param(Reply(raw=b"[1]"), "bad-answer", 1, id="a list"),
    pytest.param(Reply(raw=b"{}"), "stop-reason", 1, id="an empty object"),
    pytest.param(Reply(raw=b'{"type":"message","stop_reason":"end_turn","content":null}'),
                 "shape", 1, id="no content"),
    pytest.param(Reply(raw=b'{"stop_reason":"end_turn","content":[{"type":"text"},7]}'),
                 "shape", 1, id="odd blocks"),
    pytest.param(Reply(302, {}, {"location": "http://127.0.0.1:1/"}), "bad-request", 1,
                 id="sent elsewhere"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "code", "requests"), BAD)
def test_a_bad_server_is_an_abstention_with_a_reason(reply, code, requests):
    review, server = once(lambda *_: reply)
    assert (review.code, review.usage.requests, len(server.seen)) == (code, requests, requests)
    assert "html" not in review.abstained


def test_nobody_there_is_an_outage():
    (review,) = reviewer("http://127.0.0.1:1", attempts=1).review([BRIEF])
    assert review.code == "unavailable"


def test_the_deadline_stands_around_everything():
    silent = threading.Event()

    def brain(*_):
        silent.wait(10)
        return fault(500, "api_error")

    with StandIn(brain) as server:
        (review,) = reviewer(server.url, deadline=0.2).review([BRIEF])
        silent.set()
    assert review.code == "deadline"
    assert review.abstained.endswith("0.2 s")


def test_without_a_key_nothing_is_sent():
    with StandIn(good) as server:
        (review,) = reviewer(server.url, key="").review([BRIEF])
    assert (review.code, server.seen) == ("no-key", [])


@pytest.mark.parametrize("at_once", [1, 3])
def test_reviews_are_asked_at_once_within_the_limit(at_once):
    running, most = 0, 0
    lock, all_there = threading.Lock(), threading.Barrier(at_once)

    def brain(request, _):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        all_there.wait(20)
        with lock:
            running -= 1
        return good(request, 0)

    briefs = [BRIEF.model_copy(update={"title": f"task {number}"}) for number in range(3)]
    with StandIn(brain) as server:
        reviews = reviewer(server.url, at_once=at_once).review(briefs)
    assert most == at_once
    assert [one.digest for one in reviews] == [one.digest() for one in briefs]


def test_one_bad_answer_does_not_spoil_the_others():
    def brain(request, _):
        return Reply(raw=b"x") if "task 1" in json.dumps(request) else good(request, 0)

    briefs = [BRIEF.model_copy(update={"title": f"task {number}"}) for number in range(3)]
    with StandIn(brain) as server:
        reviews = reviewer(server.url).review(briefs)
    assert [told(one) for one in reviews] == ["met met", "bad-answer", "met met"]


def test_what_cannot_be_read_whole_or_costs_too_much_is_not_sent():
    cut = BRIEF.model_copy(
        update={"exhibits": tuple(one.model_copy(update={"cut": 1}) for one in BRIEF.exhibits)}
    )
    with StandIn(good) as server:
        asking = Asking(model="m", most_tokens=17_000)
        small = AnthropicReviewer(PROMPTS, Endpoint(key="k", base_url=server.url), asking)
        codes = [one.code for one in reviewer(server.url).review([cut])]
        codes += [one.code for one in small.review([BRIEF])]
    assert (codes, server.seen) == (["unread-response", "too-large"], [])


def test_the_name_changes_with_what_a_verdict_rests_on():
    def name(**over):
        return AnthropicReviewer(PROMPTS, Endpoint(key="k"), Asking(**over)).name

    names = {name(model="a"), name(model="b"), name(model="a", effort="low")}
    assert len(names) == 3
    assert name(model="a") == name(model="a")


def test_a_missing_template_is_told_in_one_line(tmp_path):
    with pytest.raises(PolicyError, match=r"review\.md\.j2.*put the shipped one back") as caught:
        AnthropicReviewer(tmp_path, Endpoint(key="k"), ASKING)
    assert "\n" not in str(caught.value)


def test_a_key_is_never_shown():
    assert "secret" not in repr(Endpoint(key="secret"))
