"""How far the result of an attempt is judged, and whether anything shows that the change works.

A **judgement** is what a judge host finds when it runs the acceptance commands on what was pushed.
It is a fact about one commit: once the branch is at another one, that has to be judged. A check
that passed before the task began proves nothing, so something else has to show the change: a
command that failed on the base and passes now, a reviewer who found every criterion that only
reading can tell met, or a person. Measured on other people's work, checks that are merely green
accept three wrong results in four.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from agent.core.assess.proof import Proof, in_force, newest, pushed_commit
from agent.core.model.nouns import ProofKind, Snapshot, Status, Task, TaskKind
from agent.core.model.policy import CompletionPolicy
from agent.core.model.text import code

JudgeState = Literal[
    "none", "nothing", "unjudged", "missing", "ordered", "unknown", "failed", "passed"
]
"""`none`: there is nothing to run. `nothing`: there is, and nothing was pushed to run it on.
`unjudged`: it is unknown whether anything was pushed.
`missing`: it can be judged now. `ordered`: a judge host has it, or will. `unknown`: it was judged,
and nothing shows that anything was checked."""
Shown = Literal["no", "waived", "yes"]

_VERDICTS: Final[Mapping[str, JudgeState]] = {
    "pass": "passed",
    "fail": "failed",
    "unknown": "unknown",
}
_CHECKED: Final = frozenset({TaskKind.CODE_CHANGE, TaskKind.INFRASTRUCTURE})
"""Kinds that count as having commands where nobody says which."""
MUST_SHOW: Final = frozenset({TaskKind.CODE_CHANGE, TaskKind.DOCUMENTATION})
"""Kinds of which a change must be shown; what the others deliver is seen at work."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What was assessed of a task's judgement."""

    state: JudgeState
    shown: Shown
    heavy: bool
    """Its commands may exhaust the memory of a machine."""
    too_heavy: bool
    """They may not run here, because this is the master."""
    overdue: bool
    """It did not come, or could not be ordered here, for as long as something may stay unknown."""


def assess(task: Task, proof: Proof, snapshot: Snapshot, policy: CompletionPolicy) -> Judged:
    """How far it is judged, what shows the change, and where its commands may run."""
    heavy, patience = is_heavy(task, policy), timedelta(seconds=policy.ask_after)
    too_heavy = heavy and snapshot.supervisor.host == "master"
    since = task.judging_since or (task.finished_at if too_heavy else None)
    return Judged(
        state(task, policy),
        shown(task, proof),
        heavy=heavy,
        too_heavy=too_heavy,
        overdue=since is not None and snapshot.now - since >= patience,
    )


def state(task: Task, policy: CompletionPolicy) -> JudgeState:
    """How far the result of the current attempt is judged."""
    pushed = pushed_commit(task)
    record, witness = task.judge, task.queue_judge
    if witness is not None and witness.verdict == "fail" and witness.commit in (None, pushed):
        return "failed"
    if record is not None and (None in (record.commit, pushed) or record.commit == pushed):
        return _VERDICTS[record.verdict]
    if not _has_commands(task):
        return "none"
    if task.judging is not None:
        return "ordered"
    if pushed is not None or (task.acceptance_commands and not _pushes(task, policy)):
        return "missing"
    last = newest(ProofKind.COMMIT_PUSHED, task.evidence, holds=None)
    if last is None or last.holds is None or (last.holds and last.value is None):
        return "unjudged"
    return "nothing"


def _has_commands(task: Task) -> bool:
    if task.acceptance_commands is None:
        return task.kind is None or task.kind in _CHECKED
    return bool(task.acceptance_commands)


def _pushes(task: Task, policy: CompletionPolicy) -> bool:
    """Whether a commit has to be pushed; else the commands run on the default branch."""
    wanted = policy.ladder[task.kind].rungs if task.kind is not None else ()
    return any(ProofKind.COMMIT_PUSHED in rung for rung in wanted) or any(
        one.proof is ProofKind.COMMIT_PUSHED for one in task.criteria or ()
    )


def shown(task: Task, proof: Proof) -> Shown:
    """Whether something shows that what was asked for works, beside that it passes."""
    if task.kind is not None and task.kind not in MUST_SHOW:
        return "yes"
    if task.shown_by == "push":
        return "waived"
    seen = [one for one in task.evidence if one.kind is ProofKind.CHANGE_SHOWN]
    if any(one.origin == "observed" and one.holds and _is_now(one.attempt, task) for one in seen):
        return "yes"
    if task.judge is not None and task.judge.shown:
        return "yes"
    return "yes" if proof.criteria == "met" and _reviewed(task) else "no"


def _is_now(attempt: int | None, task: Task) -> bool:
    return attempt is None or attempt == task.attempt


def _reviewed(task: Task) -> bool:
    """A reviewer read the result, and found met whatever only reading can tell."""
    asked = {one.id for one in task.criteria or () if one.proof == "judgement"}
    if not asked or task.review is None or not in_force(task.review, task):
        return False
    met = {one.id for one in task.review.criteria if one.verdict == "met" and one.quote}
    return asked <= met


def agent_gone(task: Task) -> bool | None:
    """Whether no agent of this attempt can still change what was judged. None: nobody knows.

    An attempt that succeeded was ended by its agent. Any other was ended by somebody else, who must
    have seen its processes gone before it was judged.
    """
    if task.status is Status.SUCCEEDED:
        return True
    if task.tree_gone is None or not task.tree_gone:
        return task.tree_gone
    judged, ended = task.judge, task.finished_at
    return None if judged is None or ended is None or judged.at < ended else True


def notes(task: Task) -> tuple[str, ...]:
    """What a person or a reviewer must know of the judgement, one sentence each."""
    found, judge, witness = [], task.judge, task.queue_judge
    if judge is not None and judge.changed_judges:
        what = _named(judge.changed_judges)
        found.append(f"the attempt changed {what}, which its own acceptance commands run or read")
    if judge is not None and judge.restored:
        found.append(f"{_named(judge.restored)} was put back to the base before the commands ran")
    if judge is not None and judge.verdict == "unknown":
        found.append(f"the judgement shows nothing: {judge.reason or 'it gives no reason'}")
    if task.shown_by == "push":
        found.append('the wave file says shown_by = "push": nothing had to show the change')
    if witness is not None:
        found.append(f"the queue's own judge says {witness.verdict}, which proves nothing")
    return tuple(found)


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{code(paths[0])}{more}"


def is_heavy(task: Task, policy: CompletionPolicy) -> bool:
    """Whether one of its commands may exhaust the memory of a machine."""
    listed = [_words(one) for one in policy.heavy]
    return any(
        one.heavy or any(heavy in _words(" ".join(one.argv)) for heavy in listed)
        for one in task.acceptance_commands or ()
    )


def _words(text: str) -> str:
    """Its words, each between blanks, so that a part of a word is not found."""
    return f" {' '.join(re.findall('[a-z0-9]+', text.lower()))} "
