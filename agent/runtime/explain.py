"""Why one task is where it is, from the journal alone: `wavekeeper.explain/1`."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field

from agent.core.approval import asking
from agent.core.assess import remote_watch
from agent.core.assess.assessment import assess
from agent.core.assess.judgement import notes
from agent.core.journal.records import Entry, TaskRecord, request_in
from agent.core.model.actions import Action, Proposal
from agent.core.model.nouns import AgentUsage, Evidence, Noun, Snapshot
from agent.core.model.policy import Policy
from agent.core.plan import planner
from agent.core.plan.planner import Decision
from agent.errors import UserError
from agent.ports import Journal
from agent.runtime.status import RefusedCommand

_VERDICTS: Final = {
    "accepted": "accepted",
    "handed-over": "handed over",
    "replaced": "replaced",
    "cancelled": "cancelled",
    "parked": "parked",
}
"""For the tasks whose record has a word of its own."""

_SETTLED_BY: Final = {
    "accepted": Action.ACCEPT,
    "handed-over": Action.HAND_OVER,
    "replaced": Action.REPLACE,
}
"""What settled it; later decisions about a settled task only leave it alone."""


class RuleSaid(Noun):
    """One rule that decided."""

    id: str
    why: str | None = None
    source: str | None = None
    """The policy sentence it comes from."""
    where: str | None = None


class Step(Noun):
    """One thing that was done, or was not done, about the task."""

    record: int
    at: AwareDatetime
    action: Action
    result: str
    reason: str
    said: str
    by: str | None = None
    """The request or the rule that approved it, if it needed approval."""


class PersonSaid(Noun):
    """What a person said to a question about it."""

    request: str
    action: Action
    verdict: str
    who: str
    at: AwareDatetime
    via: str
    looked: float | None = None
    edited: bool = False
    reason: str | None = None


class Account(Noun):
    """The answer to "why"."""

    schema_: Annotated[Literal["wavekeeper.explain/1"], Field(alias="schema")] = (
        "wavekeeper.explain/1"
    )
    task: str | None
    title: str = ""
    wave: str | None = None
    verdict: str
    at: AwareDatetime
    mode: str | None = None
    action: Action
    reason: str
    clearance: str
    rules: tuple[RuleSaid, ...]
    asked: str | None = None
    """The approval request that a person was asked with."""
    evidence: tuple[Evidence, ...] = ()
    judgement: tuple[str, ...] = ()
    """What a person should know of how it was judged, one sentence each."""
    remote: tuple[str, ...] = ()
    """What happened on the git remote beside its work, as the last tick saw it."""
    claimed: bool = False
    """The worker said something of its own; it was not used as evidence."""
    attempts: int | None = None
    charged: int = 0
    tokens: int = 0
    """What models have used up for this task, over all its attempts."""
    used: AgentUsage | None = None
    """What the agent of the attempt used, as its program counts it."""
    steps: tuple[Step, ...] = ()
    persons: tuple[PersonSaid, ...] = ()
    refused: tuple[RefusedCommand, ...] = ()
    """What its agents tried in a person's name."""
    not_chosen: tuple[str, ...] = ()
    record: int
    digest: str
    tick: int
    snapshot: str
    policy: str | None = None


def decision_about(journal: Journal, name: str, task_record: TaskRecord | None) -> Entry:
    """The record that explains `name`: a task's last decision, or `#311`, record 311 itself."""
    number = name.removeprefix("#")
    if task_record is None and number.isascii() and number.isdecimal() and len(number) < 18:  # noqa: PLR2004 - digits of a record's number
        entry = next(iter(journal.entries(after=int(number) - 1)), None)
        if entry is None or entry.sequence != int(number) or entry.record.kind != "decision":
            raise UserError(f"record {number} is no decision; `wavekeeper log` lists them")
        return entry
    settled_by = _SETTLED_BY.get(task_record.status) if task_record else None
    last = telling = None
    for entry in journal.entries(task=name, kinds=("decision",)):
        last = entry
        if entry.record.body["proposal"]["action"] == settled_by:
            telling = entry
    last = telling or last
    if last is None:
        what = "was not decided upon yet" if task_record else "is no task and no record here"
        raise UserError(f"{name!r:.80} {what}; `wavekeeper status` lists the tasks")
    return last


def account(
    journal: Journal,
    entry: Entry,
    task_record: TaskRecord | None,
    policy: Policy,
    places: Mapping[str, str],
) -> Account:
    """Everything that is known of one decision and of its task until then."""
    body, task = entry.record.body, entry.record.task
    proposal = Proposal.model_validate(body["proposal"])
    snapshot = journal.snapshot(str(body["snapshot"]))
    seen = next((one for one in snapshot.tasks if one.id == task), None) if snapshot else None
    rules = {rule.id: rule for rule in policy.guard.rule}
    applied = [
        RuleSaid(id=one, where=places.get(one), why=rules[one].why, source=rules[one].source)
        if one in rules
        else RuleSaid(id=one)
        for one in body["rules"]
    ]
    return Account(
        task=task,
        title=task_record.spec.title if task_record else "",
        wave=task_record.wave if task_record else None,
        verdict=_verdict(task_record, proposal, body),
        at=entry.record.at,
        mode=snapshot.mode if snapshot else None,
        action=proposal.action,
        reason=proposal.reason,
        clearance=str(body["clearance"]),
        rules=tuple(applied),
        asked=request_in(body),
        evidence=seen.evidence if seen else (),
        judgement=notes(seen) if seen else (),
        remote=_remote(journal, task),
        claimed=bool(seen and seen.final_response),
        attempts=seen.attempt if seen else None,
        charged=len(task_record.charged) if task_record else 0,
        tokens=task_record.spent if task_record else 0,
        used=seen.used if seen else None,
        steps=tuple(_steps(journal, task)),
        persons=tuple(_persons(journal, task)),
        refused=tuple(_refused(journal, task)),
        not_chosen=_not_chosen(snapshot, proposal, policy),
        record=entry.sequence,
        digest=entry.digest,
        tick=entry.record.tick,
        snapshot=str(body["snapshot"]),
        policy=_policy_of(journal, entry),
    )


def _verdict(task_record: TaskRecord | None, proposal: Proposal, body: Mapping[str, Any]) -> str:
    if task_record is not None and task_record.status in _VERDICTS:
        return _VERDICTS[task_record.status]
    if body["clearance"] == "refused":
        return f"{proposal.action} refused"
    if body["clearance"] == "needs-approval":
        return "waits for a person"
    return "left alone" if proposal.action is Action.LEAVE_ALONE else str(proposal.action)


def _steps(journal: Journal, task: str | None) -> list[Step]:
    """What was carried out for it, each with its reason."""
    if task is None:
        return []
    intents: dict[str, Entry] = {}
    found = []
    for entry in journal.entries(task=task, kinds=("intent", "outcome", "settled")):
        record, body = entry.record, entry.record.body
        if record.kind == "intent":
            intents[record.key or ""] = entry
            continue
        intent = intents.pop(record.key or "", None)
        found.append(
            Step(
                record=entry.sequence,
                at=record.at,
                action=Action(body["action"]),
                result=str(body["result"]),
                reason=str(intent.record.body["proposal"]["reason"]) if intent else "",
                said=str(body["said"]),
                by=approved_by(body),
            ),
        )
    found += [_open_step(entry) for entry in intents.values()]
    return found


def _open_step(entry: Entry) -> Step:
    """An intent without an outcome."""
    proposal = Proposal.model_validate(entry.record.body["proposal"])
    return Step(
        record=entry.sequence,
        at=entry.record.at,
        action=proposal.action,
        result="open",
        reason=proposal.reason,
        said="begun; whether it took effect could not be read back yet, so nothing else is done",
        by=approved_by(entry.record.body),
    )


def approved_by(body: Mapping[str, Any]) -> str | None:
    """The request or the rule that approved it; None: it needed no approval."""
    consent = body.get("consent")
    return str(consent["name"]) if consent and consent["by"] != "policy" else None


def _persons(journal: Journal, task: str | None) -> list[PersonSaid]:
    if task is None:
        return []
    fields = ("action", "verdict", "who", "via", "looked", "edited", "reason")
    return [
        PersonSaid.model_validate(
            {name: entry.record.body.get(name) for name in fields}
            | {"at": entry.record.at, "request": request_in(entry.record.body)}
        )
        for entry in journal.entries(task=task, kinds=("answered",))
    ]


def _refused(journal: Journal, task: str | None) -> list[RefusedCommand]:
    if task is None:
        return []
    return [
        RefusedCommand(command=str(one.record.body["command"]), task=task, at=one.record.at)
        for one in journal.entries(task=task, kinds=("refused",))
    ]


def _not_chosen(snapshot: Snapshot | None, proposal: Proposal, policy: Policy) -> tuple[str, ...]:
    """The other actions there were, with the guard's answer to each at that moment."""
    if snapshot is None or proposal.task is None:
        return ()
    assessment = assess(snapshot, policy)
    facts, answer = planner.clear(assessment, proposal)
    return asking.list_alternatives(assessment, Decision(proposal, answer, facts))


def _remote(journal: Journal, task: str | None) -> tuple[str, ...]:
    """Of this task, and of the default branch."""
    last = None
    for entry in journal.entries(kinds=("tick",)):
        last = entry
    snapshot = journal.snapshot(str(last.record.body["snapshot"])) if last is not None else None
    if snapshot is None:
        return ()
    return tuple(said for about, said in remote_watch.reports(snapshot) if about in (task, None))


def _policy_of(journal: Journal, entry: Entry) -> str | None:
    """The hash of the policy it was decided under, from its tick's own record."""
    found = None
    for one in journal.entries(after=0, kinds=("tick",)):
        if one.sequence > entry.sequence:
            break
        found = str(one.record.body["policy"])
    return found
