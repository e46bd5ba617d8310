"""The guard's whole vocabulary, word for word, and what is said when nothing is known."""

import pytest

from agent.core.guard.facts import FACTS, FOOTPRINT, Situation, told
from agent.core.model.actions import Action
from agent.core.model.nouns import Snapshot
from tests.core import worlds as w

WORDS = {
    "mode": "unknown observe approve auto",
    "consent": "unknown missing given",
    "approval": "unknown none granted",
    "suspended": "unknown yes no",
    "api": "unknown unreachable reachable",
    "submit_slot": "unknown taken free",
    "lanes": "unknown full free",
    "status": "unknown planned queued working finished cancelled parked settled",
    "result": "unknown unread read none",
    "liveness": "unknown live at-risk dead not-running",
    "proof": "unknown missing claimed contradicted stale proven",
    "criteria": "unknown none unmet met",
    "truth": "unknown local remote",
    "failure": "unknown none own infrastructure",
    "defect": "unknown none unrecorded recorded bridged fixed",
    "continuable": "unknown yes no",
    "budget": "unknown spent left",
    "tokens": "unknown spent left",
    "prompt": "unknown leans-on-context self-contained",
    "quality": "unknown slipping steady",
    "scopes": "unknown overlapping distinct",
    "ceiling": "unknown reached below",
    "host": "unknown master worker",
    "takeover": "unknown no asked",
    "grant": "unknown no given",
    "path": "unknown no established",
    "persistence": "unknown none planned",
}
"""Each fact and its words; a word that is added, lost or spelt otherwise changes what rules say."""

NOTHING = Snapshot(now=w.NOW)


def test_the_vocabulary_is_this_one():
    assert {fact: " ".join(values) for fact, values in FACTS.items()} == WORDS


def test_the_word_for_what_is_not_known_comes_first():
    assert {values[0] for values in FACTS.values()} == {"unknown"}


def test_every_fact_is_read_by_some_action():
    assert {fact for facts in FOOTPRINT.values() for fact in facts} == set(FACTS)


@pytest.mark.parametrize("action", list(Action))
def test_of_a_world_of_which_nothing_is_known_nothing_is_said(action):
    """That no person has said yes is known all the same; and no fact fails for want of a task."""
    for task in (None, w.task(None, attempts_left=None, session_continuable=None)):
        facts, failed = told(action, Situation(snapshot=NOTHING, task=task))
        assert failed == ()
        known = {fact for fact, value in facts.items() if value != "unknown"}
        assert known <= {"approval"} | ({"takeover", "tokens"} if task else set())


@pytest.mark.parametrize(
    ("over", "fact", "value"),
    [
        ({"lanes_free": 0}, "lanes", "full"), ({"lanes_free": 1}, "lanes", "free"),
        ({"approved": True}, "approval", "granted"), ({}, "approval", "none"),
        ({"persistence": "planned"}, "persistence", "planned"),
        ({"liveness": "live"}, "liveness", "live"), ({"proof": "stale"}, "proof", "stale"),
        ({"criteria": "none"}, "criteria", "none"), ({"defect": "none"}, "defect", "none"),
        ({"failure": "none"}, "failure", "none"),
    ],
)  # fmt: skip
def test_what_was_assessed_is_told_in_its_own_word(over, fact, value):
    action = next(one for one in Action if fact in FOOTPRINT[one])
    facts, failed = told(action, Situation(snapshot=NOTHING, task=w.running(), **over))
    assert (facts[fact], failed) == (value, ())
