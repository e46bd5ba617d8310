"""What a decision rests on: if any of it changes, an approval is void and is asked anew."""

from typing import Final

from agent.core.assess.assessment import TaskAssessment
from agent.core.model.actions import Action, Proposal, digest

_SHORT: Final = 12
"""Hexadecimal digits that represent a long text."""


def derive(assessed: TaskAssessment | None, proposal: Proposal) -> dict[str, str]:
    """Named parts, each a short value. Times are left out: a second look must change nothing."""
    if assessed is None:
        return {"limit": str(proposal.limit)}
    task = assessed.task
    known: dict[str, object] = {
        "status": task.word,
        "attempt": task.attempt,
        "attempts left": task.attempts_left,
        "final response": _seal(task.final_response),
        "last error": _seal(task.last_error),
        "failure": task.failure.class_ if task.failure else None,
        "prompt before": _seal(task.prompt),
        "review": _seal(task.review.model_dump(mode="json") if task.review else None),
        "defect": f"{assessed.defect.id} {assessed.defect.status}" if assessed.defect else None,
        "unread late reports": len([one for one in task.late_reports if not one.inspected]) or None,
    }
    if task.judge is not None:
        judged = task.judge.model_dump(mode="json", exclude={"at"})
        known["judge record"] = f"{task.judge.verdict} {_seal(judged)}"
    for item in task.evidence:
        word = {None: "unknown", True: "holds", False: "does not hold"}[item.holds]
        known[f"{item.kind} ({item.origin})"] = f"{word} {item.value or ''}".strip()
    return {name: str(value) for name, value in known.items() if value is not None}


def declined_key(action: Action, grounds: dict[str, str]) -> str:
    """The key of `Task.declined`: on another basis it is another question."""
    return f"{action} {digest(grounds)}"


def list_changes(before: dict[str, str], after: dict[str, str]) -> tuple[str, ...]:
    """The differences, one short line each."""
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if old is None or new is None:
            found.append(f"{name}: {new}" if old is None else f"{name}: no longer {old}")
        else:
            found.append(f"{name}: {old} -> {new}")
    return tuple(found)


def _seal(value: object) -> str | None:
    return None if value is None else digest(value)[:_SHORT]
