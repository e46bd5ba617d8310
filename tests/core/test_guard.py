"""The floor by hand, the rule table exhaustively, and what a clearance is bound to."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from itertools import product
from typing import Any

import pytest

from agent.core.guard import guard
from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.model.actions import (
    READING,
    SENDS_PROMPT,
    Action,
    Clearance,
    Cleared,
    NeedsApproval,
    Proposal,
    Refused,
)
from agent.core.model.policy import GuardPolicy, Policy, Rule
from tests.core import worlds as w

Facts = dict[str, str]

NEVER = {Action.PATCH_DATABASE, Action.REVERT_CHANGES}
FREE = {*READING}
"""What needs nobody's mode, word or suspension."""
ACTING = set(Action) - NEVER - FREE
ON_A_TASK = ACTING - {
    Action.SUBMIT, Action.WIDEN_WINDOW, Action.NARROW_WINDOW, Action.RUN_HEAVY_CHECK,
}  # fmt: skip
RULES = w.policy().guard.rule
PERMITS = tuple(rule for rule in RULES if rule.effect == "permit")
FORBIDS = tuple(rule for rule in RULES if rule.effect == "forbid")
ANYTHING = Rule(
    id="anything", effect="permit", actions=tuple(Action), why="a rule table gone wrong", source="-"
)

_CLEAN = {
    "mode": "auto", "consent": "given", "approval": "granted", "suspended": "no",
    "api": "reachable", "submit_slot": "free", "lanes": "free", "status": "finished",
    "result": "read", "liveness": "dead", "proof": "proven", "criteria": "met", "truth": "remote",
    "failure": "infrastructure", "defect": "none", "continuable": "yes", "budget": "left",
    "prompt": "self-contained", "quality": "steady", "scopes": "distinct", "ceiling": "below",
    "host": "worker", "takeover": "asked", "grant": "given", "path": "established",
    "persistence": "planned", "tokens": "left", "judge": "passed", "shown": "yes",
    "agent": "gone", "load": "light", "backlog": "read",
}  # fmt: skip
_WORKING = {"status": "working", "result": "none"}
_RECORDED = {"defect": "recorded"}
_OWN = {
    Action.SUBMIT: {"status": "planned"},
    Action.RELEASE: {"status": "parked", "defect": "fixed"},
    Action.REPLACE: {"continuable": "no"},
    Action.MOVE: {"status": "queued", "result": "none"},
    **dict.fromkeys((Action.GUIDE, Action.INTERRUPT, Action.CANCEL), _WORKING),
    **dict.fromkeys(
        (Action.SPLIT_DEFECT, Action.PARK, Action.LIVE_REMEDY, Action.DEPLOY), _RECORDED
    ),
}


def cell(action: Action, **over: str) -> Facts:
    """The facts with which this action is cleared, less what is said otherwise."""
    known = _CLEAN | _OWN.get(action, {}) | over
    return {fact: known[fact] for fact in FOOTPRINT[action]}


def judge(action: Action, facts: Facts, *rules: Rule) -> tuple[bool, tuple[str, ...]]:
    """By these rules; without any, by the shipped ones."""
    return guard.judge(action, facts, GuardPolicy(rule=rules) if rules else w.policy().guard)


def clear(action: Action, facts: Facts, policy: Policy | None = None, **over: Any) -> Clearance:
    proposal = Proposal(**{"action": action, "task": "T-1", "reason": "because"} | over)
    return guard.clear(proposal, facts, policy or w.policy(), w.NOW)


FLOOR = [
    ("never_interrupt_a_live_task", {"liveness": "live"}, {Action.INTERRUPT, Action.CANCEL}),
    ("never_interrupt_a_live_task", {"liveness": "at-risk"}, {Action.INTERRUPT, Action.CANCEL}),
    ("never_act_on_an_unread_result", {"result": "unread"}, ON_A_TASK),
    ("never_act_on_an_unread_result", {"backlog": "unread"}, {Action.SUBMIT}),
    ("never_accept_unjudged", {"judge": "failed"}, {Action.ACCEPT}),
    ("never_accept_while_its_agent_may_live", {"agent": "alive"}, {Action.ACCEPT}),
    ("never_accept_what_nothing_shows", {"shown": "no"}, {Action.ACCEPT}),
    ("never_accept_without_verified_evidence", {"proof": "claimed"}, {Action.ACCEPT}),
    ("never_accept_without_verified_evidence", {"proof": "missing"}, {Action.ACCEPT}),
    ("never_accept_without_verified_evidence", {"proof": "stale"}, {Action.ACCEPT}),
    ("never_accept_without_verified_evidence", {"proof": "contradicted"}, {Action.ACCEPT}),
    ("never_accept_an_unmet_criterion", {"criteria": "unmet"}, {Action.ACCEPT}),
    ("never_accept_an_unmet_criterion", {"criteria": "none"}, {Action.ACCEPT}),
    ("never_take_over_a_workers_task", {"takeover": "no"}, {Action.TAKE_OVER}),
    ("never_run_heavy_checks_on_the_master", {"host": "master"}, {Action.RUN_HEAVY_CHECK}),
    ("never_run_heavy_checks_on_the_master", {"load": "heavy"}, {Action.JUDGE}),
    ("never_touch_unrelated_changes", {}, {Action.REVERT_CHANGES}),
    ("never_trust_local_state_over_the_remote", {"truth": "local"},
     {Action.ACCEPT, Action.DEPLOY}),
    ("never_patch_the_database", {}, {Action.PATCH_DATABASE}),
    ("never_bypass_the_queue_api", {"api": "unreachable"},
     SENDS_PROMPT | {Action.INTERRUPT, Action.CANCEL, Action.MOVE, Action.GUIDE}),
    ("never_duplicate_a_continuable_task", {"continuable": "yes"}, {Action.REPLACE}),
    ("never_send_a_prompt_that_leans_on_context", {"prompt": "leans-on-context"},
     SENDS_PROMPT | {Action.GUIDE}),
    ("never_retry_into_a_known_defect", {"defect": "recorded"},
     {Action.SUBMIT, Action.RETRY, Action.REPLACE, Action.RELEASE}),
    ("never_retry_into_a_known_defect", {"defect": "unrecorded"},
     {Action.SUBMIT, Action.RETRY, Action.REPLACE, Action.RELEASE}),
    ("never_retry_into_a_known_defect", {"defect": "none"}, {Action.RELEASE}),
    ("never_fix_infrastructure_before_recording_it", {"defect": "unrecorded"},
     {Action.SPLIT_DEFECT, Action.LIVE_REMEDY, Action.DEPLOY}),
    ("never_deploy_without_grant_and_path", {"grant": "no"}, {Action.DEPLOY}),
    ("never_deploy_without_grant_and_path", {"path": "no"}, {Action.DEPLOY}),
    ("never_leave_a_live_remedy_unpersisted", {"persistence": "none"}, {Action.LIVE_REMEDY}),
    ("never_widen_a_slipping_window", {"quality": "slipping"}, {Action.WIDEN_WINDOW}),
    ("never_widen_over_overlapping_scopes", {"scopes": "overlapping"}, {Action.WIDEN_WINDOW}),
    ("never_exceed_the_window", {"lanes": "full"}, SENDS_PROMPT),
    ("never_exceed_the_window", {"ceiling": "reached"}, {Action.WIDEN_WINDOW}),
    ("never_submit_in_a_burst", {"submit_slot": "taken"}, SENDS_PROMPT),
    ("never_spend_past_the_budget", {"budget": "spent"}, {Action.RETRY}),
    ("never_spend_past_the_budget", {"tokens": "spent"}, {Action.REVIEW}),
    ("never_act_while_suspended", {"suspended": "yes"}, ACTING),
]  # fmt: skip
FLOOR += [
    (name, dict.fromkeys(facts, "unknown"), actions)
    for name, facts, actions in FLOOR
    if facts and facts != {"defect": "none"}
]
BY_NAME = [
    pytest.param(*row, id=f"{row[0]} {' '.join('='.join(pair) for pair in row[1].items())}".strip())
    for row in {(name, *sorted(facts.items())): (name, facts, actions)
                for name, facts, actions in FLOOR}.values()
]  # fmt: skip


@pytest.mark.parametrize("action", sorted(ACTING | FREE))
def test_whatever_may_be_done_is_permitted_when_all_is_well(action):
    permitted, rules = judge(action, cell(action))
    assert permitted, rules


def test_every_invariant_has_a_row_here():
    assert {rule.name for rule in guard.FLOOR} == {name for name, _, _ in FLOOR}


@pytest.mark.parametrize(("name", "facts", "actions"), BY_NAME)
def test_exactly_the_right_actions_are_refused_by_this_name(name, facts, actions):
    for action in Action:
        permitted, rules = judge(action, cell(action, **facts))
        assert (name in rules) is (action in actions), action
        if action in actions:
            assert not permitted
            assert rules == (name,), action


@pytest.mark.parametrize(("name", "facts", "actions"), BY_NAME)
def test_the_floor_alone_holds(name, facts, actions):
    """With no forbid at all, and a permit that lets everything pass."""
    for action in actions:
        assert judge(action, cell(action, **facts), *PERMITS) == (False, (name,))
        assert judge(action, cell(action, **facts), ANYTHING) == (False, (name,))


@pytest.mark.parametrize(("name", "facts", "actions"), BY_NAME)
def test_so_does_the_table_alone(name, facts, actions):
    """The forbid of the same name speaks, and no permit does, whatever the floor says."""
    for action in actions:
        known = cell(action, **facts)
        spoken = {
            (one.effect, one.id) for one in RULES if action in one.actions and one.matches(known)
        }
        assert spoken == {("forbid", name)}, action


def test_floor_and_forbids_say_the_same_of_every_state():
    for invariant in guard.FLOOR:
        needs = sorted(invariant.needs or {})
        for action, values in product(invariant.actions, product(*(FACTS[one] for one in needs))):
            known = cell(action) | dict(zip(needs, values, strict=True))
            spoken = {one.id for one in FORBIDS if action in one.actions and one.matches(known)}
            assert (invariant.name in spoken) is invariant.broken_by(action, known)


@cache
def cells() -> tuple[tuple[Action, Facts], ...]:
    """Every state in which something is permitted: all lie inside some permit."""
    found: dict[tuple[Any, ...], tuple[Action, Facts]] = {}
    for action, when in ((action, rule.when) for rule in PERMITS for action in rule.actions):
        footprint = FOOTPRINT[action]
        for values in product(*(when.get(fact, FACTS[fact]) for fact in footprint)):
            facts = dict(zip(footprint, values, strict=True))
            if judge(action, facts)[0]:
                found[action, values] = (action, facts)
    return tuple(found.values())


def neighbours(facts: Facts) -> Iterator[Facts]:
    """Every state that differs in one fact."""
    for fact, value in facts.items():
        yield from (facts | {fact: other} for other in FACTS[fact] if other != value)


def test_everything_but_two_things_can_be_right_somewhere():
    assert set(Action) - {action for action, _ in cells()} == NEVER


def test_in_every_permitted_state_the_basic_conditions_hold():
    for action, facts in cells():
        if action in ACTING:
            assert facts["mode"] in ("approve", "auto")
            assert facts["suspended"] == "no"
        assert not [one.name for one in guard.FLOOR if one.broken_by(action, facts)]


def test_ignorance_never_helps():
    """A state permitted with a fact unknown is permitted with every value of that fact.

    So no refusal turns into a clearance by forgetting one: the contrapositive, over all states.
    """
    for action, facts in cells():
        for fact in (fact for fact, value in facts.items() if value == "unknown"):
            for value in FACTS[fact]:
                assert judge(action, facts | {fact: value})[0], (action, facts, fact, value)


def test_ignorance_never_helps_beside_a_permitted_state():
    """The same said directly, of every refused state that is one fact away from a permitted one."""
    for action, facts in cells():
        for beside in neighbours(facts):
            if not judge(action, beside)[0]:
                for fact in beside:
                    assert not judge(action, beside | {fact: "unknown"})[0], (action, beside, fact)


def test_what_the_floor_forbids_is_never_offered_for_approval():
    """But for what nothing shows: whoever approves it has looked, and a person's word shows it."""
    for action, facts in cells():
        for beside in neighbours(facts):
            looked_at = {"shown": "person"} if beside.get("shown") == "no" else {}
            if any(one.broken_by(action, beside | looked_at) for one in guard.FLOOR):
                assert isinstance(clear(action, beside), Refused)
                assert isinstance(clear(action, beside, w.guarded_by(ANYTHING)), Refused)


def test_a_refusal_always_says_why():
    for action, facts in cells():
        for beside in neighbours(facts):
            rules = clear(action, beside).rules
            assert rules
            assert list(rules) == sorted(set(rules))


def test_what_nothing_permits_is_denied_by_that_name():
    facts = cell(Action.RETRY, status="working")
    assert judge(Action.RETRY, facts) == (False, ("default_deny",))


@pytest.mark.parametrize("action", sorted(Action))
def test_observe_mode_only_reads(action):
    said = clear(action, cell(action, mode="observe", consent="missing", approval="granted"))
    assert isinstance(said, Cleared if action in READING else Refused)
    if action in ACTING:
        assert said.rules == ("observe_never_acts",)


@pytest.mark.parametrize("action", sorted(ACTING))
def test_approve_mode_asks_for_what_auto_does(action):
    """Telling a person and backing off need nobody's word."""
    asks = action not in (Action.HAND_OVER, Action.NARROW_WINDOW, Action.RUN_HEAVY_CHECK)
    unasked = cell(action, mode="approve", consent="missing", approval="none")
    assert isinstance(clear(action, unasked), NeedsApproval if asks else Cleared)
    assert isinstance(clear(action, cell(action, mode="approve")), Cleared)


WITH_A_WORD = {Action.REPLACE, Action.CANCEL, Action.LIVE_REMEDY, Action.DEPLOY, Action.TAKE_OVER}


@pytest.mark.parametrize("action", sorted(ACTING))
def test_even_auto_asks_for_what_cannot_be_taken_back(action):
    said = clear(action, cell(action, approval="none"))
    assert isinstance(said, NeedsApproval if action in WITH_A_WORD else Cleared)


@pytest.mark.parametrize("action", sorted(ACTING))
@pytest.mark.parametrize("refused", [{"mode": "unknown"}, {"suspended": "yes"}])
def test_nobody_can_approve_it_away(action, refused):
    assert isinstance(clear(action, cell(action, consent="missing", **refused)), Refused)


def sealed(action: Action = Action.RETRY, **over: Any) -> Cleared:
    said = clear(action, cell(action), **{"prompt": w.PROMPT, "attempt": 1} | over)
    assert isinstance(said, Cleared)
    return said


def test_the_same_proposal_over_the_same_facts_has_the_same_seal():
    assert sealed() == sealed()
    assert sealed().policy == w.policy().hash
    assert sealed().deadline == w.NOW + timedelta(seconds=30)


@pytest.mark.parametrize(
    "change",
    [{"prompt": f"{w.PROMPT} "}, {"task": "T-2"}, {"attempt": 2}, {"queue": "infra"},
     {"charged": True}, {"fresh_session": True}, {"reason": "no reason"}, {"defect": "D-1"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_whatever_is_changed_in_a_proposal_breaks_its_seal(change):
    assert sealed(**change).digest != sealed().digest


def test_whatever_is_changed_in_the_facts_breaks_the_seal():
    proposal = sealed().proposal
    seals = {guard.seal_of(proposal, beside) for beside in neighbours(cell(Action.RETRY))}
    assert len(seals) == len(list(neighbours(cell(Action.RETRY))))
    assert sealed().digest not in seals


def test_a_clearance_is_good_until_its_deadline_and_not_longer():
    said = sealed()
    assert guard.void(said, sealed(), said.deadline) is None
    late = guard.void(said, sealed(), said.deadline + timedelta(microseconds=1))
    assert late is not None
    assert "deadline" in late


ANOTHER = w.policy().model_copy(update={"hash": "another"})


@pytest.mark.parametrize(
    ("again", "why"),
    [
        pytest.param(clear(Action.RETRY, cell(Action.RETRY, lanes="full")),
                     "never_exceed_the_window", id="refused now"),
        pytest.param(clear(Action.RETRY, cell(Action.RETRY, consent="missing")), "approve",
                     id="needs approval now"),
        pytest.param(clear(Action.RETRY, cell(Action.RETRY), ANOTHER, prompt=w.PROMPT, attempt=1),
                     "policy", id="another policy"),
        pytest.param(sealed(prompt="Something else."), "facts have changed", id="another prompt"),
        pytest.param(sealed(task="T-2"), "facts have changed", id="another task"),
        pytest.param(sealed(attempt=2), "facts have changed", id="another attempt"),
        pytest.param(clear(Action.RETRY, cell(Action.RETRY, approval="none"), prompt=w.PROMPT,
                           attempt=1), "facts have changed", id="other facts"),
    ],
)  # fmt: skip
def test_a_stale_clearance_is_void_and_says_why(again, why):
    said = guard.void(sealed(), again, w.NOW)
    assert said is not None
    assert said.startswith("never_act_on_a_stale_clearance: ")
    assert why in said
