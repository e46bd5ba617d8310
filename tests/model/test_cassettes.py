"""Replay is strict, recording is honest, and no cassette holds what it must not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.model.cassettes import (
    API,
    FOLDER,
    LABEL,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    SECRET,
    DriftError,
    recorder,
    replayed,
)
from tests.model.record import WHOLE, provenance, record
from tests.model.scenarios import SCENARIOS, play, reviewer, told
from tests.model.standin import MARK, StandIn, check_message, message

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
    def leaks(request, _):
        return message(request, "Bearer abcdefghijkl")

    tape = recorder(tmp_path, "all", provenance("standin"))
    with (
        StandIn(leaks) as standin,
        pytest.raises(RuntimeError, match="not saved"),
        tape.use_cassette("leak"),
    ):
        reviewer(standin.url).review([SCENARIOS["accept"].brief])
    assert not list(tmp_path.iterdir())
    record("accept", "standin", tmp_path, "sk-ant-a-key-that-must-not-be-saved")
    assert "must-not-be-saved" not in (tmp_path / "accept.json").read_text(encoding="utf-8")


def test_there_is_no_cassette_that_nobody_plays():
    names = {path.relative_to(FOLDER.parent).with_suffix("").as_posix() for path in ALL}
    assert names == {f"model/{name}" for name in SCENARIOS} | set(WHOLE)


def unclean(told: Any) -> Iterator[str]:
    """What a cassette must not hold, and what it must say of itself and does not."""
    label = told["metadata"]["provenance"]
    if label["label"] != LABEL[label["source"]]:
        yield "the label is not that of its source"
    if not told["interactions"]:
        yield "nothing was recorded"
    for one in told["interactions"]:
        request, response = one["request"], one["response"]
        if request["uri"] != f"{API}/v1/messages":
            yield f"another address: {request['uri']}"
        yield from sorted(set(request["headers"]) - REQUEST_HEADERS)
        yield from sorted(set(response["headers"]) - RESPONSE_HEADERS)
        body = json.dumps(json.loads(request["body"]), sort_keys=True, ensure_ascii=False)
        if request["body"] != body:
            yield "the body is not in its one form"
        # The mark of the stand-in is in the answer itself: no label alone can be changed.
        synthetic = label["source"] == "standin"
        if (response["headers"].get("x-standin") == [MARK]) is not synthetic:
            yield "the mark and the source disagree"
        if response["status"]["code"] == 200:
            answer = response["body"]["string"]
            check_message(answer)
            if ("_standin_" in json.loads(answer)["id"]) is not synthetic:
                yield "the answer's id and the source disagree"


def test_every_cassette_is_clean_and_says_where_it_came_from():
    found = []
    for path in ALL:
        text = path.read_text(encoding="utf-8")
        secret = ["it holds a secret"] if SECRET.search(text) else []
        found += [f"{path.name}: {one}" for one in [*secret, *unclean(json.loads(text))]]
    assert ALL
    assert not found, "\n".join(["", *found])
