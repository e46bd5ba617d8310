"""Approval requests: questions to a person, their states, and every change of state.

The digest of a request covers its action, target, prompt, facts and basis. An answer names that
digest; an answer to any other digest does nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from agent.core.model.actions import Action, Proposal, digest
from agent.core.model.nouns import Evidence, Noun, Task
from agent.core.model.policy import RulesPolicy, Tier
from agent.core.plan.decision_basis import declined_key
from agent.errors import ChangedMeanwhileError, UserError

RequestState = Literal[
    "pending", "deferred", "approved", "rejected", "expired", "stale", "done", "failed"
]
"""`approved`: not carried out yet; `stale`: what it rests on changed before that."""

LIVE: Final[frozenset[RequestState]] = frozenset({"pending", "deferred", "approved"})
OPEN: Final[frozenset[RequestState]] = frozenset({"pending", "deferred"})
"""Nobody has answered yet."""

ENDS: Final[frozenset[RequestState]] = frozenset({"expired", "stale"})
"""Closed with nothing done; for the other states the journal has an answer or an outcome."""

_MOVES: Final[dict[RequestState, frozenset[RequestState]]] = {
    "pending": frozenset({"pending", "deferred", "approved", "rejected", "expired", "stale"}),
    "deferred": frozenset({"pending", "deferred", "approved", "rejected", "expired", "stale"}),
    "approved": frozenset({"expired", "stale", "done", "failed"}),
}
"""Every possible change of state; a state that is not a key is final."""

LEAST_DIGEST: Final = 8
"""Characters of a digest that name it."""


class Warned(Noun):
    """One thing to know before approving."""

    rule: str
    said: str


class Answer(Noun):
    """One person's answer to one request."""

    verdict: Literal["approved", "rejected"]
    who: str
    at: AwareDatetime
    via: Literal["panel", "command"]
    reason: str | None = None
    looked: float | None = None
    """Seconds between seeing the request and answering it; None: answered by a command."""


class ApprovalRequest(Noun):
    """One question: whether one thing may be done."""

    id: str = ""
    """`A-7`; the store gives it."""
    state: RequestState = "pending"
    tier: Tier
    proposal: Proposal
    facts: dict[str, str]
    rules: tuple[str, ...]
    """The rules that permit it once a person approves."""
    grounds: dict[str, str]
    """What it rests on, by name; see `decision_basis.derive`."""
    digest: str
    """Of action, target, prompt, facts and basis."""
    asked_at: AwareDatetime
    expires_at: AwareDatetime
    tick: int
    snapshot: str
    """The digest of the snapshot it was decided on, as in the journal."""
    title: str = ""
    bundle: str | None = None
    """Requests of one bundle have one cause and are asked as one question."""
    warnings: tuple[Warned, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    claim: str | None = None
    """The end of the worker's final response: untrusted, and no evidence."""
    diff: str | None = None
    """What the task changed, where that is what a person has to look at; None: it is not known."""
    instead: tuple[str, ...] = ()
    """The alternatives, each with the guard's answer."""
    drafted: str | None = None
    """The prompt as it was drafted, if a person has edited it."""
    follows: str | None = None
    """The id of an earlier request about the same thing."""
    changes: tuple[str, ...] = ()
    """What is different from the request it follows."""
    answer: Answer | None = None
    deferred_until: AwareDatetime | None = None
    deferred_by: str | None = None
    why: str | None = None
    """How it ended, in one sentence."""
    recorded: bool = True
    """The journal holds the last answer or end."""
    seen: bool = True
    """The supervisor knows about the last change."""


class StandingRule(Noun):
    """An approval in advance: one action, some tasks, until a day, a number of times."""

    id: str = ""
    """`R-2`; the store gives it."""
    action: Action
    tasks: Annotated[str, Field(min_length=1)] = "*"
    """A glob over task ids."""
    until: AwareDatetime
    most_uses: Annotated[int, Field(ge=1)]
    used: int = 0
    made_by: str
    made_at: AwareDatetime
    revoked: bool = False

    def covers(self, action: Action, task: str | None, now: datetime) -> bool:
        """Whether it approves this now."""
        fresh = not self.revoked and now < self.until and self.used < self.most_uses
        return fresh and action is self.action and fnmatchcase(task or "", self.tasks)


def digest_of(proposal: Proposal, facts: dict[str, str], grounds: dict[str, str]) -> str:
    """The digest of a request. The reason only describes the proposal and is left out."""
    target = proposal.model_dump(mode="json", exclude_none=True, exclude={"reason"})
    return digest({"proposal": target, "facts": facts, "grounds": grounds})


def same_digest(request: ApprovalRequest, named: str) -> bool:
    """Whether `named` is the request's digest or a long enough prefix of it."""
    return len(named) >= LEAST_DIGEST and request.digest.startswith(named)


def record_answer(request: ApprovalRequest, answer: Answer) -> ApprovalRequest:
    """The request with its first answer. ChangedMeanwhileError: it can no longer be answered."""
    if answer.at >= request.expires_at and request.state in OPEN:
        raise ChangedMeanwhileError(
            f"{request.id} expired at {request.expires_at:%Y-%m-%d %H:%M:%SZ}; nothing was done"
        )
    update = {"answer": answer, "recorded": False, "seen": False, "deferred_until": None}
    return change_state(request, answer.verdict, **update)


def defer(request: ApprovalRequest, who: str, until: datetime | None) -> ApprovalRequest:
    """The request, put off until a time or until something changes."""
    return change_state(request, "deferred", deferred_until=until, deferred_by=who, seen=False)


def edit_prompt(request: ApprovalRequest, prompt: str, facts: dict[str, str]) -> ApprovalRequest:
    """The request with a prompt that a person edited; its new digest is asked anew."""
    proposal = request.proposal.model_copy(update={"prompt": prompt})
    drafted = request.drafted if request.drafted is not None else request.proposal.prompt
    return change_state(
        request,
        "pending",
        proposal=proposal,
        facts=facts,
        digest=digest_of(proposal, facts, request.grounds),
        drafted=None if prompt == drafted else drafted,
    )


def close(
    request: ApprovalRequest, state: RequestState, why: str, *, seen: bool = True
) -> ApprovalRequest:
    """The request in its final state."""
    recorded = request.recorded and state not in ENDS
    return change_state(request, state, why=why, seen=seen, recorded=recorded)


def change_state(
    request: ApprovalRequest, state: RequestState, **update: object
) -> ApprovalRequest:
    """The only place where a request changes its state. ChangedMeanwhileError: not from here."""
    if state not in _MOVES.get(request.state, frozenset()):
        raise ChangedMeanwhileError(f"{request.id} {describe_state(request)}; nothing was done")
    return request.model_copy(update={"state": state, **update})


def describe_state(request: ApprovalRequest) -> str:
    """`was approved by ana at 10:02:03Z`."""
    if request.answer is not None and request.state in ("approved", "rejected", "done", "failed"):
        answer = request.answer
        answered = f"was {answer.verdict} by {answer.who} at {answer.at:%H:%M:%SZ}"
        final = request.state in ("approved", "rejected")
        return answered if final else f"{answered} and is {request.state}"
    why = f" ({request.why})" if request.why else ""
    return f"is {request.state}{why}"


def declined_question(request: ApprovalRequest) -> tuple[str, str] | None:
    """An item of `Task.declined`, if the question was rejected or put off."""
    action = request.proposal.action
    if request.state == "rejected" and request.answer is not None:
        why = f": {request.answer.reason}" if request.answer.reason else ""
        sentence = f"{action} was rejected by {request.answer.who} ({request.id}){why}"
    elif request.state == "deferred":
        until = "something changes"
        if request.deferred_until is not None:
            until = f"{request.deferred_until:%Y-%m-%d %H:%M:%SZ}"
        sentence = f"{action} is put off by {request.deferred_by} until {until} ({request.id})"
    else:
        return None
    return declined_key(action, request.grounds), sentence


def add_declined(tasks: Sequence[Task], requests: Sequence[ApprovalRequest]) -> list[Task]:
    """The tasks, each with what a person rejected or put off."""
    found: dict[str | None, dict[str, str]] = {}
    for request in requests:
        if (no := declined_question(request)) is not None:
            found.setdefault(request.proposal.task, {}).update((no,))
    return [
        task.model_copy(update={"declined": found[task.id]}) if task.id in found else task
        for task in tasks
    ]


def check_rule(rule: StandingRule, limits: RulesPolicy, tiers: dict[Action, Tier]) -> StandingRule:
    """The rule, if the policy allows it. UserError names the limit that it exceeds."""
    if tiers.get(rule.action, "high") == "high":
        raise UserError(f"no rule may cover {rule.action}: a person is asked each time")
    if rule.until <= rule.made_at:
        raise UserError("until: is in the past")
    if rule.until > rule.made_at + timedelta(seconds=limits.longest):
        raise UserError(f"until: at most {limits.longest / 86400:g} days from now")
    if rule.most_uses > limits.most_uses:
        raise UserError(f"most_uses: at most {limits.most_uses}")
    return rule
