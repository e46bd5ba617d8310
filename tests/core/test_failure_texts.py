"""Whether the machine or the task is at fault, by what programs print: `failure_texts.toml`."""

import tomllib
from pathlib import Path

import pytest

from agent.core.assess import failures
from tests.core import worlds as w

TEXTS = tomllib.loads(Path(__file__).with_name("failure_texts.toml").read_text(encoding="utf-8"))
INFRASTRUCTURE = [
    pytest.param(reason, text, id=f"{reason}-{number}")
    for reason, texts in TEXTS["infrastructure"].items()
    for number, text in enumerate(texts)
]
SAME, OTHER = TEXTS["same"], TEXTS["other"]


def assess(text):
    return failures.assess(w.ended(status="failed", last_error=text), w.policy().failures)


@pytest.mark.parametrize(("reason", "text"), INFRASTRUCTURE)
def test_a_fault_of_the_machine_is_known_by_the_words_of_its_program(reason, text):
    assert assess(f"$ make check\n{text}\nmake: *** [check] Error 1").reason == reason


@pytest.mark.parametrize("text", TEXTS["own"]["texts"])
def test_what_only_sounds_like_it_is_the_tasks_own(text):
    found = assess(f"collected 3 items\n{text}\n1 failed in 0.1s")
    assert not found.infrastructure, (found.reason, found.excerpt)


@pytest.mark.parametrize("texts", SAME.values(), ids=SAME)
def test_one_party_is_one_cause(texts):
    found = {assess(text).fingerprint for text in texts}
    assert len(found) == 1
    assert None not in found


@pytest.mark.parametrize("texts", OTHER.values(), ids=OTHER)
def test_two_parties_are_two_causes(texts):
    found = [assess(text) for text in texts]
    assert {one.reason for one in found} == {"control-plane"}
    assert len({one.fingerprint for one in found}) == len(texts)
