"""The Code Queue's HTTP from recorded answers, without a server."""

import re

import pytest
import yaml

from tests.adapters.code_queue_cassettes import FOLDER, HEADERS, SCRIPTS, played


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_recorded_exchange_is_understood(tmp_path, name):
    with played(name, tmp_path) as queue:
        SCRIPTS[name](queue, lambda _: None)


def test_every_cassette_is_played():
    assert {path.stem for path in FOLDER.glob("*")} == set(SCRIPTS)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_cassette_says_where_it_comes_from_and_names_no_machine(path):
    text = path.read_text(encoding="utf-8")
    tape = yaml.safe_load(text)
    assert "stand-in" in tape["provenance"]["source"]
    assert tape["provenance"]["recorded_by"]
    assert not re.search(r"127\.0\.0\.1|localhost|authorization|bearer|cookie", text, re.IGNORECASE)
    for one in tape["interactions"]:
        assert one["request"]["headers"] == {}
        assert set(one["response"]["headers"]) <= HEADERS
