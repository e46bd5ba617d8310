"""What must never happen. Default deny, a forbid wins, and no file can relax the floor.

The guard sees an action and a handful of facts. A permit of `policies/guard.toml` must match, no
forbid may match, and no invariant of the floor may be broken. This module proposes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.model.actions import (
    SENDS_PROMPT,
    VERBS,
    Action,
    Clearance,
    Cleared,
    NeedsApproval,
    Proposal,
    Refused,
    digest,
)
from agent.core.model.policy import GuardPolicy, Policy, Rule

DEFAULT_DENY: Final = "default_deny"
"""The rule id of a refusal without a forbid: no rule permits the action."""

FACT_FAILED: Final = "fact_failed_"
"""Begins the rule id of a refusal because the fact named after it could not be derived."""

OBSERVING: Final = "observe_never_acts"
"""The rule that refuses in observe mode what another mode would do."""

STALE_CLEARANCE: Final = "never_act_on_a_stale_clearance"

_QUEUE: Final = frozenset(action for action, verb in VERBS.items() if verb.by_queue)
_ACTING: Final = frozenset(action for action, verb in VERBS.items() if verb.acts)
_ON_A_TASK: Final = frozenset(action for action in _ACTING if VERBS[action].on_a_result)


@dataclass(frozen=True, slots=True)
class Invariant:
    """Each of `actions` needs every fact of `needs` to have one of the values named."""

    name: str
    actions: frozenset[Action]
    needs: Mapping[str, tuple[str, ...]] | None
    """None: no facts permit it."""

    def broken_by(self, action: Action, facts: Mapping[str, str]) -> bool:
        """Whether this action with these facts must never happen."""
        if action not in self.actions:
            return False
        return self.needs is None or any(
            facts[fact] not in values for fact, values in self.needs.items()
        )


def _must(
    name: str, actions: set[Action] | frozenset[Action], **needs: tuple[str, ...]
) -> Invariant:
    return Invariant(name, frozenset(actions), needs)


FLOOR: Final = (
    _must(
        "never_interrupt_a_live_task",
        {Action.INTERRUPT, Action.CANCEL},
        liveness=("dead", "not-running"),
    ),
    _must("never_act_on_an_unread_result", _ON_A_TASK, result=("read", "none")),
    _must("never_accept_without_verified_evidence", {Action.ACCEPT}, proof=("proven",)),
    _must("never_act_on_an_unread_result", {Action.SUBMIT}, backlog=("read",)),
    _must("never_accept_an_unmet_criterion", {Action.ACCEPT}, criteria=("met",)),
    _must("never_accept_unjudged", {Action.ACCEPT}, judge=("none", "passed")),
    _must("never_accept_while_its_agent_may_live", {Action.ACCEPT}, agent=("gone",)),
    _must("never_accept_what_nothing_shows", {Action.ACCEPT}, shown=("person", "waived", "yes")),
    _must("never_take_over_a_workers_task", {Action.TAKE_OVER}, takeover=("asked",)),
    _must("never_run_heavy_checks_on_the_master", {Action.RUN_HEAVY_CHECK}, host=("worker",)),
    _must("never_run_heavy_checks_on_the_master", {Action.JUDGE}, load=("light",)),
    Invariant("never_touch_unrelated_changes", frozenset({Action.REVERT_CHANGES}), None),
    _must(
        "never_trust_local_state_over_the_remote",
        {Action.ACCEPT, Action.DEPLOY},
        truth=("remote",),
    ),
    Invariant("never_patch_the_database", frozenset({Action.PATCH_DATABASE}), None),
    _must("never_bypass_the_queue_api", _QUEUE, api=("reachable",)),
    _must("never_duplicate_a_continuable_task", {Action.REPLACE}, continuable=("no",)),
    _must(
        "never_send_a_prompt_that_leans_on_context",
        SENDS_PROMPT | {Action.GUIDE},
        prompt=("self-contained",),
    ),
    _must(
        "never_retry_into_a_known_defect",
        {Action.SUBMIT, Action.RETRY, Action.REPLACE},
        defect=("none", "fixed"),
    ),
    _must("never_retry_into_a_known_defect", {Action.RELEASE}, defect=("bridged", "fixed")),
    _must(
        "never_fix_infrastructure_before_recording_it",
        {Action.SPLIT_DEFECT, Action.LIVE_REMEDY, Action.DEPLOY},
        defect=("recorded",),
    ),
    _must(
        "never_deploy_without_grant_and_path",
        {Action.DEPLOY},
        grant=("given",),
        path=("established",),
    ),
    _must(
        "never_leave_a_live_remedy_unpersisted",
        {Action.LIVE_REMEDY},
        persistence=("planned",),
    ),
    _must("never_widen_a_slipping_window", {Action.WIDEN_WINDOW}, quality=("steady",)),
    _must("never_widen_over_overlapping_scopes", {Action.WIDEN_WINDOW}, scopes=("distinct",)),
    _must("never_exceed_the_window", SENDS_PROMPT, lanes=("free",)),
    _must("never_exceed_the_window", {Action.WIDEN_WINDOW}, ceiling=("below",)),
    _must("never_submit_in_a_burst", SENDS_PROMPT, submit_slot=("free",)),
    _must("never_spend_past_the_budget", {Action.RETRY}, budget=("left",)),
    _must("never_spend_past_the_budget", {Action.REVIEW}, tokens=("left",)),
    _must("never_act_while_suspended", _ACTING, suspended=("no",)),
)
"""One name each, the same in guard, policy, test and journal. `never_act_on_a_stale_clearance` is
the last of them; it concerns the moment of acting, see `void`."""

_FLOOR_OF: Final = {
    action: tuple(one for one in FLOOR if action in one.actions) for action in Action
}

Fault = tuple[tuple[str | int, ...], str]
"""The path to a place in the table, and what is wrong there."""


def lint(policy: GuardPolicy) -> tuple[Fault, ...]:
    """What is wrong with a rule table, place by place; empty: it may be used."""
    found: list[Fault] = []
    for place, rule in enumerate(policy.rule):
        found += [(("rule", place, *where), f"{rule.id}: {what}") for where, what in _faults(rule)]
    forbidden = {rule.id for rule in policy.rule if rule.effect == "forbid"}
    found += [
        (("rule",), f"{invariant.name}: the floor's invariant has no forbid of its name")
        for invariant in FLOOR
        if invariant.name not in forbidden
    ]
    return tuple(found)


def _faults(rule: Rule) -> list[Fault]:
    found = _misspelt(rule)
    if (rule.effect == "forbid") != rule.id.startswith(("never_", "observe_never_")):
        found.append((("id",), "a forbid, and only a forbid, is called never_..."))
    return found or _examples(rule)


def _misspelt(rule: Rule) -> list[Fault]:
    found: list[Fault] = []
    sides = {"when": rule.when, "unless": rule.unless}
    for side, table in sides.items():
        for fact, values in table.items():
            found += [((side, fact), what) for what in _unknown_words(fact, values)]
            found += [
                ((side, fact), f"{action} may not read {fact!r}")
                for action in rule.actions
                if fact in FACTS and fact not in FOOTPRINT[action]
            ]
    for side, examples in (("match", rule.match), ("no_match", rule.no_match)):
        for place, example in enumerate(examples):
            for fact, value in example.items():
                found += [((side, place, fact), what) for what in _unknown_words(fact, (value,))]
    return found


def _unknown_words(fact: str, values: Iterable[str]) -> list[str]:
    if fact not in FACTS:
        return [f"there is no fact {fact!r}; the facts are {', '.join(FACTS)}"]
    known = ", ".join(FACTS[fact])
    return [
        f"{fact!r} has no value {value!r}; its values are {known}"
        for value in values
        if value not in FACTS[fact]
    ]


def _examples(rule: Rule) -> list[Fault]:
    """`match` must match and `no_match` must not, every fact not named being `unknown`."""
    unknown = dict.fromkeys(FACTS, "unknown")
    return [
        ((side, place), f"the example does {'not ' if wanted else ''}match")
        for side, wanted, examples in (
            ("match", True, rule.match),
            ("no_match", False, rule.no_match),
        )
        for place, example in enumerate(examples)
        if rule.matches(unknown | example) is not wanted
    ]


def judge(
    action: Action, facts: Mapping[str, str], policy: GuardPolicy
) -> tuple[bool, tuple[str, ...]]:
    """Permitted or not, and the sorted ids of the rules that decided."""
    known = dict(facts)
    broken = {rule.name for rule in _FLOOR_OF[action] if rule.broken_by(action, known)}
    speaking = [rule for rule in policy.about[action] if rule.matches(known)]
    broken |= {rule.id for rule in speaking if rule.effect == "forbid"}
    if broken:
        return False, tuple(sorted(broken))
    permits = tuple(sorted({rule.id for rule in speaking if rule.effect == "permit"}))
    return bool(permits), permits or (DEFAULT_DENY,)


def clear(
    proposal: Proposal,
    facts: Mapping[str, str],
    policy: Policy,
    now: datetime,
    failed: Sequence[str] = (),
) -> Clearance:
    """Answer one proposal; the answer is bound to its digest, the policy's hash and a deadline.

    `failed` names the facts that could not be derived; an action that may read one is refused.
    """
    permitted, rules = judge(proposal.action, facts, policy.guard)
    if failed:
        known = () if permitted else rules
        return Refused(proposal, tuple(sorted({*known, *(FACT_FAILED + one for one in failed)})))
    if permitted:
        deadline = now + timedelta(seconds=policy.submit.clearance_seconds)
        return Cleared(proposal, rules, seal_of(proposal, facts), policy.hash, deadline)
    with_a_word = {fact: _said_yes(fact, value) for fact, value in facts.items()}
    if with_a_word == facts:
        return Refused(proposal, rules)
    approvable, by = judge(proposal.action, with_a_word, policy.guard)
    if approvable:
        return NeedsApproval(proposal, by, seal_of(proposal, facts))
    return Refused(proposal, rules)


def _said_yes(fact: str, value: str) -> str:
    """The value of a fact once a person has approved. Who approves what nothing shows, shows it."""
    if fact == "shown":
        return "person" if value == "no" else value
    return {"consent": "given", "approval": "granted"}.get(fact, value)


def seal_of(proposal: Proposal, facts: Mapping[str, str]) -> str:
    """What a clearance is bound to: the proposal, its prompt included, and the facts."""
    return digest(
        {
            "proposal": proposal.model_dump(mode="json", exclude_none=True),
            "facts": dict(facts),
        },
    )


def void(cleared: Cleared, again: Clearance, now: datetime) -> str | None:
    """Why a clearance is no longer valid after a second look; None: it is.

    `again` is the answer to the same proposal on what was observed just before the effect.
    """
    if now > cleared.deadline:
        return f"{STALE_CLEARANCE}: its deadline has passed"
    if isinstance(again, Refused):
        return f"{STALE_CLEARANCE}: now refused by {', '.join(again.rules)}"
    if isinstance(again, NeedsApproval):
        return f"{STALE_CLEARANCE}: now a person must approve it"
    if again.policy != cleared.policy:
        return f"{STALE_CLEARANCE}: the policy has changed"
    if again.digest != cleared.digest:
        return f"{STALE_CLEARANCE}: the proposal or its facts have changed"
    return None
