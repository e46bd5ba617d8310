"""Why an attempt failed: a typed reason, and a fingerprint that recognises the same cause.

Policy: "If the blocker is a reusable infrastructure problem, do not keep re-running the business
task blindly." A failure that the worker host typed comes first: it is a fact. Where there is none,
what was observed is searched: the judge's output and the runner's last error. A worker's own text
is a claim; otherwise a worker could argue that its faults cost no attempts.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from agent.core.model.nouns import CommandResult, ProofKind, Status, Task
from agent.core.model.policy import UNTYPED, FailuresPolicy, ReasonPolicy, RetryRule

TEXT: Final = "text"
"""What sets a task free where only words say that the fault is not its own."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_PHRASE: Final = re.compile(r"(?!.*//)[A-Za-z0-9./][A-Za-z0-9 .,:=()/_+'-]{0,79}")
_UNNAMED: Final = "unnamed"
"""In a fingerprint, for whatever has no such shape: one cause, however often it changes its name.

A digest of it would let a worker that prints something new each time fill the issue tracker.
"""
SEARCHED: Final = 20_000
"""Characters of each text that are searched, counted from its end."""

_VOLATILE: Final = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22,}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}\b"), "<hash>"),
    (re.compile(r"(?<![\w.])(?:/[\w.@+-]+)+/?"), "<path>"),
    (re.compile(r"(?<![\w.-])\d+(?![\w-])"), "<n>"),
    (re.compile(r"\s+"), " "),
)
_RESET_IN: Final = re.compile(
    r"(?:resets?_in_seconds|retry[- ]after)\W{1,6}(?P<seconds>\d{1,7})", re.IGNORECASE
)
_RESET_AT: Final = re.compile(r"resets?_at\W{1,6}(?P<epoch>1\d{9})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, and what follows from it."""

    reason: str
    why: str
    """One sentence for a person."""
    rule: RetryRule
    charged: bool
    infrastructure: bool
    fingerprint: str | None = None
    """The same cause in another task has the same fingerprint; None: the task's own."""
    subject: str | None = None
    """What is at fault, a tool's name, say. It stands in titles, so it has a strict shape: a name
    where it becomes an argument of the reason's proof, else a short phrase. None: it has neither.
    """
    excerpt: str | None = None
    """The line by which it was recognised: untrusted text."""
    contract: str | None = None
    """What must hold in the long run, so that a shared cause does not come back."""
    retry_at: datetime | None = None
    """For `wait`: not before this time."""
    suspected: bool = False
    """It was read out of text, which whoever printed it may have made up."""
    freed_by: str | None = None
    """Why it costs nothing although it can be had too often: `text`, or the reason itself."""


def assess(task: Task, policy: FailuresPolicy) -> Failure | None:
    """Name the reason of a finished attempt; None: the attempt did not fail."""
    if task.status is Status.LOST:
        return _named("lost", policy)
    if _cancelled_by_old_flag(task, policy):
        return _named("stale-cancel", policy)
    if task.status not in (Status.FAILED, Status.SUCCEEDED) and task.held != "parked":
        return None
    if (typed := _typed(task, policy)) is not None:
        return typed
    for text in _observed(task):
        if found := _search(text, task, policy):
            return found if _is_heard(found, task, policy) else _used_up(found, task, policy)
    if task.final_response_truncated and not (task.judge and task.judge.verdict == "pass"):
        return _named("truncated-session", policy)
    judged = task.judge is not None and task.judge.verdict == "fail"
    if judged or task.status is Status.SUCCEEDED:
        return _named("task-fault", policy)
    return _named("unknown", policy)


def _is_heard(found: Failure, task: Task, policy: FailuresPolicy) -> bool:
    """Text may set a task free of an attempt, but not again and again."""
    return not found.infrastructure or task.freed.get(TEXT, 0) < policy.most_freed_by_text


def _used_up(found: Failure, task: Task, policy: FailuresPolicy) -> Failure:
    why = f"what it printed says {found.reason}, as it did {task.freed[TEXT]} times before"
    return replace(_named("task-fault", policy), why=f"{why}; it counts as the task's own now.")


def _typed(task: Task, policy: FailuresPolicy) -> Failure | None:
    """The reason of a typed failure; None: nothing is typed, or it does not count.

    An attempt that ended well failed only if nothing failed in its judgement, which is nearer.
    """
    if task.failure is None or task.failure.class_ in UNTYPED:
        return None
    judged = task.judge is not None and task.judge.verdict == "fail"
    if task.status is Status.SUCCEEDED and judged:
        return None
    reason = policy.by_class[task.failure.class_]
    found, before = _named(reason.id, policy), task.freed.get(reason.id, 0)
    if reason.most_free is not None and before >= reason.most_free:
        why = f"{found.why} It has happened {before} time{'s' if before > 1 else ''} before."
        return replace(found, why=why, rule="hand-over", charged=True, infrastructure=False)
    if reason.most_free is not None:
        return replace(found, freed_by=reason.id)
    if found.rule != "wait":
        return found
    until = _not_before(task.failure.retry_at, task, policy, policy.longest_wait)
    return replace(found, retry_at=until)


def same_failure(result: CommandResult, fingerprint: str, policy: FailuresPolicy) -> bool:
    """Whether an acceptance command failed again for the cause with this fingerprint."""
    for reason in policy.reason:
        for pattern in reason.compiled:
            found = pattern.search(result.output[-SEARCHED:])
            if found and _fingerprint(reason, _subject(reason, found)) == fingerprint:
                return True
    return False


def fingerprint_of(reason: str, subject: str) -> str:
    """Strip ids, hashes, times, paths and numbers, so that the same cause looks the same."""
    for pattern, mark in _VOLATILE:
        subject = pattern.sub(mark, subject)
    return f"{reason}:{subject.strip().lower()[:200]}"


def _observed(task: Task) -> list[str]:
    """What somebody other than the worker saw, the strongest evidence first."""
    failed = [one for one in task.judge.commands if not one.ok] if task.judge else []
    texts = [result.output for result in failed]
    if task.judge is not None and task.judge.reason:
        texts.append(task.judge.reason)
    if task.judge is not None and task.judge.verdict == "pass":
        return []
    if task.last_error and task.status is not Status.SUCCEEDED:
        texts.append(task.last_error)
    return [text[-SEARCHED:] for text in texts]


def _cancelled_by_old_flag(task: Task, policy: FailuresPolicy) -> bool:
    """A retry that was cancelled at once, although nobody asked for it in this attempt.

    Only if everything is known: a cancel by a person must not be taken for a fault.
    """
    if task.status not in (Status.FAILED, Status.CANCELLED) and task.held != "parked":
        return False
    if not task.cancel_requested or task.attempt is None or task.attempt == 1:
        return False
    if task.started_at is None or task.finished_at is None:
        return False
    asked, within = task.last_interrupt_at, timedelta(seconds=policy.stale_cancel_within)
    if asked is not None and asked >= task.started_at:
        return False
    return task.finished_at - task.started_at < within


def _search(text: str, task: Task, policy: FailuresPolicy) -> Failure | None:
    lower = text.lower()
    for reason in policy.reason:
        # A substring is found some hundred times faster than a pattern that looks at every line.
        if reason.words and not any(word in lower for word in reason.words):
            continue
        if not all(_holds(kind, task) for kind in reason.needs):
            continue
        for pattern in reason.compiled:
            if found := pattern.search(text):
                return _found(reason, found, text, task, policy)
    return None


def _holds(kind: ProofKind, task: Task) -> bool:
    """Whether the supervisor saw it in this attempt; one denial is enough for a no."""
    seen = [item for item in task.evidence if item.kind is kind and item.origin == "observed"]
    since = task.started_at
    return bool(seen) and all(
        item.holds
        and item.observed_at is not None
        and since is not None
        and item.observed_at >= since
        for item in seen
    )


def _found(
    reason: ReasonPolicy, found: re.Match[str], text: str, task: Task, policy: FailuresPolicy
) -> Failure:
    subject = _subject(reason, found)
    start = text.rfind("\n", 0, found.start()) + 1
    end = text.find("\n", found.end())
    return Failure(
        reason.id,
        reason.why,
        reason.rule,
        charged=reason.charged,
        infrastructure=reason.infrastructure,
        fingerprint=_fingerprint(reason, subject) if reason.rule == "split" else None,
        subject=subject,
        excerpt=text[start : end if end >= 0 else len(text)].strip()[:400],
        contract=reason.contract,
        retry_at=_reset(text, task, policy) if reason.rule == "wait" else None,
        suspected=True,
        freed_by=TEXT if reason.infrastructure else None,
    )


def _subject(reason: ReasonPolicy, found: re.Match[str]) -> str | None:
    named = reason.party or found.groupdict().get("subject")
    subject = named if named is not None else found.group(0)
    shape = _NAME if reason.proof else _PHRASE
    return subject if shape.fullmatch(subject) else None


def _fingerprint(reason: ReasonPolicy, subject: str | None) -> str:
    return fingerprint_of(reason.id, _UNNAMED if subject is None else subject)


def _reset(text: str, task: Task, policy: FailuresPolicy) -> datetime | None:
    """The provider's own reset time; without one, a wait counted from the attempt's end."""
    told: datetime | None = None
    ended = task.finished_at
    if at := _RESET_AT.search(text):
        told = datetime.fromtimestamp(int(at["epoch"]), UTC)
    elif (after := _RESET_IN.search(text)) and ended is not None:
        told = ended + timedelta(seconds=int(after["seconds"]))
    return _not_before(told, task, policy, policy.longest_told_wait)


def _not_before(
    told: datetime | None, task: Task, policy: FailuresPolicy, longest: float
) -> datetime | None:
    """When a wait ends. None: the end of the attempt is unknown, so nothing bounds it."""
    ended = task.finished_at
    if ended is None:
        return None
    believed = told is not None and told <= ended + timedelta(seconds=longest)
    return told if believed else ended + timedelta(seconds=policy.default_wait)


def _named(reason: str, policy: FailuresPolicy) -> Failure:
    rule = policy.by_id[reason]
    shared = rule.rule == "split"
    return Failure(
        rule.id,
        rule.why,
        rule.rule,
        charged=rule.charged,
        infrastructure=rule.infrastructure,
        fingerprint=fingerprint_of(rule.id, "") if shared else None,
        subject=rule.id if shared else None,
        excerpt=rule.why if shared else None,
        contract=rule.contract,
    )
