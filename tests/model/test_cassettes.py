"""Replay is strict, recording is honest, and no cassette holds what it must not."""

import json
from pathlib import Path

import pytest

from tests.model.cassettes import (
    API,
    FOLDER,
    LABEL,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    SECRET,
    DriftError,
    refuse_secrets,
    replayed,
)
from tests.model.record import WHOLE, record
from tests.model.scenarios import SCENARIOS, play, reviewer, told
from tests.model.standin import MARK, check_message

ALL = sorted((Path(__file__).parents[2] / "cassettes").rglob("*.json"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_review_ends_as_it_should(name):
    with replayed(name):
        (review,) = play(name)(API, "not-a-key")
    assert told(review) == SCENARIOS[name].expected
    assert review.usage.requests == (2 if name == "overloaded_once" else 1)
    assert review.by.startswith("anthropic claude-opus-5-5 ")
    assert review.model == "claude-opus-5-5"
    assert review.usage.total > 1000


def test_a_changed_prompt_fails_with_a_difference():
    changed = SCENARIOS["accept"].brief.model_copy(update={"title": "Something else"})
    with pytest.raises(DriftError, match="Something else"), replayed("accept"):
        reviewer(API).review([changed])


def test_what_was_recorded_must_be_asked_for():
    with pytest.raises(AssertionError, match="never asked for"), replayed("accept"):
        pass


def test_recording_again_gives_the_same_bytes(tmp_path):
    assert record("overloaded_once", "standin", tmp_path, "not-a-key") == "met met"
    again = (tmp_path / "overloaded_once.json").read_bytes()
    assert again == (FOLDER / "overloaded_once.json").read_bytes()


def test_a_key_is_never_saved(tmp_path):
    class Request:
        body, headers = b"Authorization: Bearer abcdefghijkl", {}

    with pytest.raises(RuntimeError, match="not saved"):
        refuse_secrets(Request(), {})
    record("accept", "standin", tmp_path, "sk-ant-a-key-that-must-not-be-saved")
    assert "must-not-be-saved" not in (tmp_path / "accept.json").read_text(encoding="utf-8")


def test_there_is_no_cassette_that_nobody_plays():
    names = {path.relative_to(FOLDER.parent).with_suffix("").as_posix() for path in ALL}
    assert names == {f"model/{name}" for name in SCENARIOS} | set(WHOLE)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_cassette_is_clean_and_says_where_it_came_from(path):
    text = path.read_text(encoding="utf-8")
    assert not SECRET.search(text)
    told = json.loads(text)
    label = told["metadata"]["provenance"]
    assert label["label"] == LABEL[label["source"]]
    assert told["interactions"]
    for one in told["interactions"]:
        request, response = one["request"], one["response"]
        assert request["uri"] == f"{API}/v1/messages"
        assert set(request["headers"]) <= REQUEST_HEADERS
        assert set(response["headers"]) <= RESPONSE_HEADERS
        body = json.dumps(json.loads(request["body"]), sort_keys=True, ensure_ascii=False)
        assert request["body"] == body
        # The mark of the stand-in is in the answer itself: no label alone can be changed.
        synthetic = response["headers"].get("x-standin") == [MARK]
        assert synthetic is (label["source"] == "standin")
        if response["status"]["code"] == 200:
            check_message(response["body"]["string"])
            assert ("_standin_" in json.loads(response["body"]["string"])["id"]) is synthetic
