"""The demonstration: its recording answers what was recorded, and its map is looked at."""

import http.client
import json

import pytest

from agent.adapters.model.cassettes import play_back
from agent.cli.demo import map_fault, model
from agent.errors import ConfigurationError
from tests.acceptance.test_readme import ROOT

CASSETTE = ROOT / "cassettes" / "demo.json"


def asked(address, body):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    connection.request("POST", "/v1/messages", body.encode())
    answer = connection.getresponse()
    told = answer.status, json.loads(answer.read())
    connection.close()
    return told


def test_only_hashes_may_differ_from_what_was_recorded():
    told = json.loads(CASSETTE.read_text(encoding="utf-8"))["interactions"]
    assert len(told) == 2
    with play_back(CASSETTE) as address:
        for one in told:
            body = one["request"]["body"]
            recorded = json.loads(one["response"]["body"]["string"])
            assert asked(address, body) == (200, recorded)
            commit = body[body.index("commit-pushed holds; ") + 21 :][:40]
            assert len(set(commit) - set("0123456789abcdef")) == 0
            assert asked(address, body.replace(commit, "a" * 40)) == (200, recorded)
            assert asked(address, body.replace("price", "cost"))[0] == 404


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"interactions": [{}]}'])
def test_a_broken_recording_is_told_in_one_line(tmp_path, text):
    path = tmp_path / "demo.json"
    if text is not None:
        path.write_text(text)
    says = "no recording of a model; name one"
    with pytest.raises(ConfigurationError, match=says), play_back(path):
        pass


def test_with_a_key_the_real_api_is_asked(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
    with model() as answering:
        assert (answering.address, answering.key) == ("https://api.anthropic.com", "a-key")
        assert "the real API is asked" in answering.said
        assert "a-key" not in answering.said
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with model() as answering:
        assert answering.address.startswith("http://127.0.0.1:")


def test_a_map_that_cannot_be_drawn_is_a_fault_of_the_demonstration():
    class Odd:
        def look(self, _supervised_by):
            raise KeyError("T-3")

    assert map_fault(Odd()) == "the map cannot be drawn: KeyError: 'T-3'"
