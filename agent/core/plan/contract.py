"""The contract of `wavekeeper decide`: one snapshot in, one object out, always the same bytes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from agent.core.guard.check import nearest
from agent.core.guard.guard import DEFAULT_DENY
from agent.core.model.actions import WINDOW_ACTIONS, Action, Clearance, Proposal, word
from agent.core.model.nouns import Snapshot
from agent.core.model.policy import Policy
from agent.core.model.text import one_line
from agent.core.plan import planner
from agent.core.plan.planner import Decision, Decisions

DECISIONS_SCHEMA: Final = "wavekeeper.decisions/1"


class NotASnapshotError(ValueError):
    """The input is not a valid snapshot; the message names the path and the fault."""


def read(text: bytes) -> Snapshot:
    """The snapshot in `text`. NotASnapshotError for unknown fields and contradictions."""
    try:
        json.loads(text, object_pairs_hook=_once)
        return Snapshot.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
        )
        what = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = "unknown field"
        where = path.lstrip(".")
        raise NotASnapshotError(one_line(f"{where}: {what}" if where else what)) from error
    except (ValueError, RecursionError) as error:
        raise NotASnapshotError(one_line(f"not JSON: {error}")) from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a repeated key, because nobody knows which of its values is meant."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def answer(
    snapshot: Snapshot, policy: Policy, asks: Sequence[tuple[Action, str | None]] = ()
) -> dict[str, Any]:
    """The object that `wavekeeper decide` prints. Asking changes no decision."""
    decisions = planner.decide(snapshot, policy)
    lanes = decisions.assessment.lanes
    window = decisions.window
    found = {
        "schema": DECISIONS_SCHEMA,
        "sentence": decisions.sentence,
        "suspended": decisions.assessment.suspended is not None,
        "window": {
            "limit": lanes.limit,
            "action": lanes.action,
            "reason": lanes.reason,
            **({"clearance": word(window.clearance), "rules": _rules(window)} if window else {}),
        },
        "decisions": [_decision(decision, policy) for decision in decisions.tasks],
    }
    if asks:
        found["asked"] = [_asked(decisions, action, task) for action, task in asks]
    return found


def ask_of(word_: str, snapshot: Snapshot) -> tuple[Action, str | None]:
    """`ACTION:TASK`, or `ACTION` for the window's. ValueError, one line, for anything else."""
    name, colon, task = word_.partition(":")
    try:
        action = Action(name)
    except ValueError:
        known = ", ".join(Action)
        raise ValueError(f"there is no action {name!r:.60}; the actions are {known}") from None
    if action in WINDOW_ACTIONS and not colon:
        return action, None
    if task not in {one.id for one in snapshot.tasks}:
        raise ValueError(f"{word_!r:.80} names no task in the snapshot; write {action}:TASK")
    return action, task


def _decision(decision: Decision, policy: Policy) -> dict[str, Any]:
    liveness, questions = decision.liveness, decision.questions
    found: dict[str, Any] = {"task": decision.proposal.task}
    if liveness is not None:
        found["liveness"] = {
            "effectiveLiveness": liveness.effective,
            "splitBrainLive": liveness.split_brain_live,
            "recommendedAction": liveness.recommended_action,
            "reason": liveness.reason,
        }
    if questions is not None:
        found["questions"] = questions.named()
    if decision.lesson is not None:
        found["lesson"] = {"into": decision.lesson.into, "rule": decision.lesson.rule}
    return found | {
        "action": decision.proposal.action.value,
        "reason": decision.proposal.reason,
        "clearance": word(decision.clearance),
        "rules": _rules(decision),
        **_nearest(decision.proposal, decision.clearance, decision.facts, policy),
    }


def _asked(decisions: Decisions, action: Action, task: str | None) -> dict[str, Any]:
    assessment = decisions.assessment
    proposal, clearance = planner.ask(assessment, action, task)
    facts, _ = planner.clear(assessment, proposal)
    return _named(proposal, clearance) | _nearest(proposal, clearance, facts, assessment.policy)


def _nearest(
    proposal: Proposal, clearance: Clearance, facts: Mapping[str, str], policy: Policy
) -> dict[str, Any]:
    """Explain a default deny by the facts that would have to change."""
    if clearance.rules != (DEFAULT_DENY,):
        return {}
    wanted = nearest(proposal.action, facts, policy.guard)
    return {"nearest": {fact: list(values) for fact, values in wanted.items()}}


def _named(proposal: Proposal, clearance: Clearance) -> dict[str, Any]:
    about = {"task": proposal.task} if proposal.task else {}
    return {
        "action": proposal.action.value,
        **about,
        "clearance": word(clearance),
        "rules": sorted(clearance.rules),
    }


def _rules(decision: Decision) -> list[str]:
    return sorted(decision.clearance.rules)
