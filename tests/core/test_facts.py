from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.assess.assessment import assess
from agent.core.guard import facts
from agent.core.guard.facts import FACTS, FOOTPRINT, Situation, derive
from agent.core.model.actions import Action, Proposal, Refused
from agent.core.model.nouns import Snapshot, Status, Task
from agent.core.plan.planner import ask, clear, decide
from tests.core import worlds as w
from tests.core.random_worlds import random_world

READERS = {
    fact: next(action for action, facts in FOOTPRINT.items() if fact in facts) for fact in FACTS
}


def asked_about(
    action: Action, snapshot: Snapshot, task: Task | None = None, **proposed: Any
) -> Situation:
    """Nothing but this action, in this world, with one send left."""
    named = task.id if task else None
    proposal = Proposal(action=action, task=named, reason="asked", **proposed)
    return Situation(assess(snapshot, w.policy()), proposal, lanes=None, sends=1)


def fact(
    name: str,
    task: Task | None = None,
    snapshot: Snapshot | None = None,
    proposed: dict[str, Any] | None = None,
    **over: Any,
) -> str:
    """What one fact says of a world, by default one with nothing but this task in it."""
    world = snapshot or w.world(*(one for one in [task] if one))
    situation = asked_about(READERS[name], world, task, **proposed or {})
    found, failed = derive(replace(situation, **over))
    assert failed == ()
    return found[name]


def known(task: Task, action: Action, **world: Any) -> dict[str, str]:
    """What the guard is told of one task in its world."""
    assessment = assess(w.world(task, **world), w.policy())
    proposal, _ = ask(assessment, action, task.id)
    return clear(assessment, proposal)[0]


def test_unknown_comes_first_everywhere():
    assert {values[0] for values in FACTS.values()} == {"unknown"}


def test_every_action_has_a_footprint_of_known_facts():
    assert set(FOOTPRINT) == set(Action)
    read = {name for facts in FOOTPRINT.values() for name in facts}
    assert read == set(FACTS)


def test_derive_gives_exactly_the_footprint():
    found = {action: derive(asked_about(action, w.world()))[0] for action in Action}
    assert {action: tuple(facts) for action, facts in found.items()} == FOOTPRINT


@pytest.mark.parametrize(
    ("task", "known"),
    [
        pytest.param(None,
                     {"approval": "none", "suspended": "no", "budget": "left",
                      "scopes": "distinct", "backlog": "read"}, id="no task"),
        pytest.param(Task(id="T-1"),
                     {"approval": "none", "suspended": "no", "budget": "left", "tokens": "left",
                      "takeover": "no", "failure": "none", "defect": "none", "backlog": "read",
                      "load": "light", "shown": "no"},
                     id="a task"),
    ],
)  # fmt: skip
def test_of_a_world_of_which_nothing_is_known_nothing_is_said(task, known):
    """What is absent is known all the same; and no fact fails for want of a task."""
    snapshot = Snapshot(now=w.NOW, tasks=(task,) if task else ())
    said = {}
    for action in Action:
        found, failed = derive(asked_about(action, snapshot, task))
        assert failed == ()
        said |= {fact: value for fact, value in found.items() if value != "unknown"}
    assert said == known


def test_random_worlds_speak_only_the_vocabulary():
    for seed in range(30):
        assessment = assess(random_world(seed), w.policy())
        for task in assessment.tasks:
            for action in Action:
                found = clear(assessment, ask(assessment, action, task)[0])[0]
                assert not [one for one, said in found.items() if said not in FACTS[one]]


@pytest.mark.parametrize(
    ("name", "world", "expected"),
    [
        pytest.param("mode", {"mode": None}, "unknown", id="mode unknown"),
        pytest.param("mode", {"mode": "observe"}, "observe", id="observe"),
        pytest.param("consent", {"mode": None}, "unknown", id="consent unknown"),
        pytest.param("consent", {"mode": "auto"}, "given", id="auto has consented"),
        pytest.param("consent", {"mode": "approve"}, "missing", id="approve asks each time"),
        pytest.param("consent", {"mode": "observe"}, "missing", id="observe has not"),
        pytest.param("api", {"control_plane": {}}, "unknown", id="queue unknown"),
        pytest.param("api", {"control_plane": {"reachable": True}}, "reachable", id="queue there"),
        pytest.param("api", {"control_plane": {"reachable": False}}, "unreachable", id="no queue"),
        pytest.param("host", {"supervisor": {}}, "unknown", id="host unknown"),
        pytest.param("host", {"supervisor": {"host": "worker"}}, "worker", id="a worker host"),
        pytest.param("grant", {"wave": {}}, "unknown", id="grant unknown"),
        pytest.param("grant", {"wave": {"grants": {"production_repair": True}}}, "given",
                     id="granted"),
        pytest.param("grant", {"wave": {"grants": {"production_repair": False}}}, "no",
                     id="not granted"),
        pytest.param("path", {"wave": {"grants": {"established_deploy_path": True}}}, "established",
                     id="path established"),
        pytest.param("path", {"wave": {"grants": {"established_deploy_path": False}}}, "no",
                     id="no path"),
    ],
)  # fmt: skip
def test_facts_of_the_world(name, world, expected):
    assert fact(name, snapshot=w.world(**world)) == expected


@pytest.mark.parametrize(
    ("lock", "sends", "expected"),
    [
        ("free", 1, "free"), ("free", 0, "taken"), ("held", 1, "taken"), ("unknown", 1, "unknown"),
        (None, 1, "unknown"),
    ],
)  # fmt: skip
def test_a_submit_slot_needs_the_lock_and_a_send_left(lock, sends, expected):
    snapshot = w.world(control_plane={"submit_lock": lock})
    assert fact("submit_slot", snapshot=snapshot, sends=sends) == expected


@pytest.mark.parametrize(("free", "expected"), [(None, "unknown"), (0, "full"), (1, "free")])
def test_lanes(free, expected):
    assert fact("lanes", lanes=free) == expected


MOST = w.policy().window.maximum
BRIDGED = w.world(w.parked(), defects=(w.defect(remedied=True),))


@pytest.mark.parametrize(
    ("name", "task", "snapshot", "proposed", "expected"),
    [
        pytest.param("liveness", w.running(), None, {}, "live", id="it is heard of"),
        pytest.param("liveness", w.silent(400), None, {}, "at-risk", id="silent for a while"),
        pytest.param("liveness", w.silent(1300), None, {}, "dead", id="silent for long"),
        pytest.param("liveness", w.ended(), None, {}, "not-running", id="it is over"),
        pytest.param("liveness", w.task(None), None, {}, "unknown", id="its status is unknown"),
        pytest.param("proof", w.proven(), None, {}, "proven", id="every rung"),
        pytest.param("proof", w.ended(evidence=()), None, {}, "missing", id="no rung"),
        pytest.param("proof", w.ended(evidence=(w.seen("commit-pushed", origin="claimed"),)), None,
                     {}, "claimed", id="only claimed"),
        pytest.param("proof", w.ended(evidence=(w.seen("commit-pushed", holds=False),)), None, {},
                     "contradicted", id="seen not to be there"),
        pytest.param("proof", w.ended(evidence=w.climbed(observed_at=w.ago(9000))), None, {},
                     "stale", id="seen long ago"),
        pytest.param("failure", w.running(), None, {}, "none", id="nothing has failed"),
        pytest.param("failure", w.ended(), None, {}, "own", id="its own fault"),
        pytest.param("failure", w.without_jq(), None, {}, "infrastructure", id="no jq"),
        pytest.param("defect", w.parked(), BRIDGED, {}, "bridged", id="a bridge is in place"),
        pytest.param("persistence", w.parked(), BRIDGED, {}, "none", id="no fix that lasts"),
        pytest.param("persistence", w.parked(),
                     w.world(w.parked(), defects=(w.defect(fixed_by="T-0"),)), {}, "planned",
                     id="the fix is a task"),
        pytest.param("persistence", w.running(), None, {}, "unknown", id="no defect to fix"),
        pytest.param("suspended", w.running(), None, {}, "no", id="never away"),
        pytest.param("suspended", w.running(),
                     w.world(w.running(), supervisor={"last_tick_at": w.ago(5000)}), {}, "yes",
                     id="away for long"),
        pytest.param("quality", None, w.world(window={"limit": 5, "outcomes": w.outcomes(12, 0)}),
                     {}, "steady", id="all accepted"),
        pytest.param("quality", None, w.world(window={"limit": 5, "outcomes": w.outcomes(6, 6)}),
                     {}, "slipping", id="half of them failed"),
        pytest.param("scopes", None, w.world(w.running(), w.running(id="T-2")), {}, "overlapping",
                     id="two in one place"),
        pytest.param("ceiling", None, w.world(), {}, "below", id="five lanes"),
        pytest.param("ceiling", None, w.world(), {"limit": MOST}, "below", id="as many as may be"),
        pytest.param("ceiling", None, w.world(), {"limit": MOST + 1}, "reached", id="one too many"),
    ],
)  # fmt: skip
def test_what_was_assessed_is_told_in_its_own_word(name, task, snapshot, proposed, expected):
    assert fact(name, task, snapshot, proposed) == expected


@pytest.mark.parametrize(("approved", "expected"), [(True, "granted"), (False, "none")])
def test_a_persons_word_is_known_by_itself(approved, expected):
    assert fact("approval", approved=approved) == expected


STATUS_WORD = {
    "planned": "planned", "queued": "queued", "running": "working", "judging": "working",
    "succeeded": "finished", "failed": "finished", "lost": "finished", "cancelled": "cancelled",
    "parked": "parked", "accepted": "settled", "replaced": "settled", "handed-over": "settled",
}  # fmt: skip


@pytest.mark.parametrize("status", list(Status))
def test_each_status_has_one_word(status):
    assert fact("status", w.task(status)) == STATUS_WORD[status]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        pytest.param(w.task(None), "unknown", id="status unknown"),
        pytest.param(w.running(), "none", id="no result yet"),
        pytest.param(w.ended(inspected=True), "read", id="read"),
        pytest.param(w.ended(inspected=False), "unread", id="unread"),
        pytest.param(w.ended(inspected=None), "unread", id="perhaps unread"),
        pytest.param(w.ended("cancelled", inspected=False), "unread", id="cancelled, unread"),
        pytest.param(w.running(late_reports=(w.late(),)), "unread", id="a late report"),
        pytest.param(w.running(late_reports=(w.late(inspected=True),)), "none",
                     id="a late report that was read"),
    ],
)  # fmt: skip
def test_whether_a_result_has_been_read(task, expected):
    assert fact("result", task) == expected


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param((), "unknown", id="no evidence"),
        pytest.param((w.seen("commit-pushed"),), "remote", id="seen on the remote"),
        pytest.param((w.seen("commit-pushed", origin="claimed"),), "local", id="only claimed"),
        pytest.param((w.seen("commit-pushed", holds=False),), "local", id="not on the remote"),
        pytest.param((w.seen("commit-pushed", holds=None),), "local", id="the remote said nothing"),
        pytest.param((w.seen("live-health"),), "remote", id="observed elsewhere"),
        pytest.param((w.seen("live-health", origin="claimed"),), "unknown", id="claimed elsewhere"),
    ],
)
def test_where_the_truth_was_seen(items, expected):
    assert fact("truth", w.ended(evidence=items)) == expected


@pytest.mark.parametrize(
    ("left", "charged", "expected"),
    [
        (2, True, "left"), (1, True, "left"), (0, True, "spent"), (None, True, "unknown"),
        (0, False, "left"), (None, False, "left"),
    ],
)  # fmt: skip
def test_only_a_charged_failure_uses_up_the_budget(left, charged, expected):
    assert fact("budget", w.ended(attempts_left=left), proposed={"charged": charged}) == expected


@pytest.mark.parametrize(
    ("left", "expected"), [(1, "left"), (0, "spent"), (-5, "spent"), (None, "left")]
)
def test_tokens_are_left_until_the_budget_is_spent(left, expected):
    assert known(w.ended(tokens_left=left), Action.REVIEW)["tokens"] == expected


@pytest.mark.parametrize(
    ("known_of_it", "expected"), [(None, "unknown"), (True, "yes"), (False, "no")]
)
def test_continuable(known_of_it, expected):
    assert fact("continuable", w.ended(session_continuable=known_of_it)) == expected


@pytest.mark.parametrize(("named", "expected"), [((), "no"), (("T-9",), "no"), (("T-1",), "asked")])
def test_a_takeover_is_asked_for_by_name(named, expected):
    snapshot = w.world(w.running(), wave={"grants": {"manual_takeover": named}})
    assert fact("takeover", w.running(), snapshot) == expected


@pytest.mark.parametrize(
    ("task", "world", "expected"),
    [
        pytest.param(w.ended(), {}, "none", id="its own fault"),
        pytest.param(w.without_jq(), {}, "unrecorded", id="a shared cause nobody wrote down"),
        pytest.param(w.without_jq(), {"defects": (w.defect("observed"),)}, "unrecorded",
                     id="only observed"),
        pytest.param(w.without_jq(), {"defects": (w.defect(),)}, "recorded", id="recorded"),
        pytest.param(w.without_jq(), {"defects": (w.defect("fixed"),)}, "fixed", id="fixed"),
        pytest.param(w.planned(blocked_by="D-1"), {"defects": (w.defect(),)}, "recorded",
                     id="waits for a recorded one"),
        pytest.param(w.planned(blocked_by="D-1"), {}, "unknown", id="waits for one not known here"),
        pytest.param(w.ended(last_error="rate_limit_error"), {}, "none", id="a limit is no defect"),
        pytest.param(w.without_jq(fixes="D-1"), {"defects": (w.defect(),)}, "none",
                     id="the task that fixes it does not wait for itself"),
    ],
)  # fmt: skip
def test_the_defect_it_waits_for(task, world, expected):
    action = Action.SUBMIT if task.status == "planned" else Action.RETRY
    assert known(task, action, **world)["defect"] == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (None, "unknown"), ("", "unknown"), (" \n", "unknown"), (w.PROMPT, "self-contained"),
        ("Continue where you left off.", "leans-on-context"),
    ],
)  # fmt: skip
def test_a_prompt_stands_on_its_own_or_not(prompt, expected):
    assert known(w.planned(prompt=prompt), Action.SUBMIT)["prompt"] == expected


@pytest.mark.parametrize(
    ("criteria", "review", "expected"),
    [
        pytest.param(w.proved_by("judgement"), None, "unknown", id="not read yet"),
        pytest.param(w.proved_by("judgement"), w.reviewed(C1="cannot-tell"), "unknown", id="doubt"),
        pytest.param(w.proved_by("judgement"), w.reviewed(C1="met"), "met", id="met"),
        pytest.param(w.proved_by("judgement"), w.reviewed(C1="unmet"), "unmet", id="unmet"),
        pytest.param((), None, "none", id="no criteria"),
    ],
)
def test_criteria(criteria, review, expected):
    task = w.proven(criteria=criteria, review=review)
    assert known(task, Action.ACCEPT)["criteria"] == expected


@pytest.mark.parametrize("spoilt", list(FACTS))
@pytest.mark.parametrize("how", ["raises", "another word"])
def test_a_fact_that_fails_refuses_whatever_needs_it_and_says_so(monkeypatch, spoilt, how):
    """A fault of the code itself: it cannot be had without putting it there."""

    def fails(_):
        if how == "raises":
            raise ZeroDivisionError
        return "certainly"

    monkeypatch.setitem(facts._DERIVE, spoilt, fails)
    assessment = assess(
        w.world(w.proven(), wave={"grants": {"manual_takeover": ["T-1"]}}), w.policy()
    )
    for action in Action:
        proposal, _ = ask(assessment, action, "T-1")
        found, answer = clear(assessment, proposal, approved=True)
        if spoilt in FOOTPRINT[action]:
            assert isinstance(answer, Refused)
            assert f"fact_failed_{spoilt}" in answer.rules
            assert found[spoilt] == "unknown"
        else:
            assert not any(rule.startswith("fact_failed_") for rule in answer.rules)


@settings(max_examples=15)
@given(st.text(max_size=80))
def test_no_text_of_a_worker_moves_a_fact(said):
    """Its final response, what it prints, and what a late report of it says."""
    before = w.world(w.ended(final_response="done"), w.running(id="T-2"))
    after = w.world(w.ended(final_response=said), w.running(id="T-2"))
    assert [one.facts for one in decide(before, w.policy()).tasks] == [
        one.facts for one in decide(after, w.policy()).tasks
    ]
