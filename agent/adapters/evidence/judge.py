"""Evidence from a judgement: the acceptance commands on a clean checkout of what was pushed.

Policy: "A Code Queue task is not complete merely because it pushed code." For infrastructure,
"acceptance must prove that the original blocked workflow can proceed".
"""

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from agent.adapters.evidence.probe import Finding, evidence
from agent.core.model.nouns import (
    Command,
    CommandResult,
    Evidence,
    JudgeRecord,
    ProofKind,
    TaskKind,
)
from agent.core.model.queueing import TaskSpec, TaskView
from agent.core.model.text import one_line
from agent.errors import QueueUnavailableError
from agent.ports import Judgements

_SHORT: Final = 12
_SHOWN: Final = 200
"""Characters of a command line or a reason that are shown."""

_Seen = tuple[Command, CommandResult | None]
"""A command of the order, and what the judge saw of it; None: it was not run."""


class JudgeEvidence:
    """Reads what a judge host found of the attempt. What the queue's own judge says is no proof."""

    kinds = frozenset(
        {
            ProofKind.CHECKS_PASSED,
            ProofKind.BLOCKED_WORKFLOW_PROCEEDS,
            ProofKind.CHANGE_SHOWN,
        }
    )

    def __init__(self, judgements: Judgements) -> None:
        self._judgements = judgements

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        """`blocked-workflow-proceeds` only when the order has a command that shows it.

        Of an infrastructure task every command does: they are the workflow that was blocked.
        Every command of the order must have been seen to be fine: one that was not run is not.
        """
        try:
            judgement = self._judgements.latest(view.id, view.attempt)
        except QueueUnavailableError as error:
            why = _cut(str(error))
            unseen = [Finding(kind=kind, holds=None, detail=why) for kind in sorted(self.kinds)]
            return evidence("", unseen, view, now)
        judge = judgement.record if judgement is not None else None
        seen = list(_seen(spec.acceptance_commands, judge))
        found = [
            (ProofKind.CHECKS_PASSED, _passed(seen, judge)),
            (ProofKind.CHANGE_SHOWN, _shown(judge)),
        ]
        of_infrastructure = spec.kind is TaskKind.INFRASTRUCTURE
        if proceeding := [one for one in seen if of_infrastructure or one[0].expect == "proceeds"]:
            found.append((ProofKind.BLOCKED_WORKFLOW_PROCEEDS, _proceeds(proceeding, judge)))
        commit, at = (judge.commit, judge.at) if judge else (None, now)
        findings = [
            Finding(kind=kind, holds=holds, value=commit, detail=detail)
            for kind, (holds, detail) in found
        ]
        return evidence("", findings, view, at)


def _seen(commands: Iterable[Command], judge: JudgeRecord | None) -> Iterable[_Seen]:
    """Pairs by command line, in order; a result is used once."""
    left = list(judge.commands) if judge else []
    for command in commands:
        result = next((one for one in left if one.argv == command.argv), None)
        if result is not None:
            left.remove(result)
        yield command, result


def _passed(seen: Sequence[_Seen], judge: JudgeRecord | None) -> tuple[bool | None, str]:
    checks = [one for one in seen if one[0].expect == "passes"]
    if not checks:
        return None, "no acceptance commands: nothing was checked"
    if judge is None:
        return None, "no judge record: nothing was checked yet"
    if fault := _failed(seen):
        return False, fault
    if judge.verdict == "unknown":
        return None, _cut(judge.reason or "nothing shows that anything was checked")
    if judge.verdict != "pass" and judge.reason:
        return False, _cut(judge.reason)
    if fault := _not_run(checks):
        return False, fault
    if judge.verdict != "pass":
        return False, "the judge failed it and gave no reason"
    return True, f"{_count(checks)} passed on a clean checkout"


def _shown(judge: JudgeRecord | None) -> tuple[bool | None, str]:
    """Whether a command that failed on the base passes now."""
    if judge is None or judge.base is None:
        return None, "the commands were not tried on the base"
    base = judge.base[:_SHORT]
    if judge.shown is None:
        return None, f"whether the commands passed on {base} already is not known"
    if not judge.shown and not all(one.ok for one in judge.base_commands):
        return False, f"what failed on {base} passes now, but not by the checks that it had"
    if not judge.shown:
        return False, f"every command that passes now passed on {base} already"
    before = {one.argv for one in judge.base_commands if not one.ok}
    now = next((one for one in judge.commands if one.ok and one.argv in before), None)
    what = f"`{_cut(shlex.join(now.argv))}`" if now is not None else "a command"
    return True, f"{what} failed on {base} and passes now"


def _proceeds(seen: Sequence[_Seen], judge: JudgeRecord | None) -> tuple[bool | None, str]:
    if judge is None:
        return None, "no judge record: the blocked workflow was not tried yet"
    if fault := _failed(seen) or _not_run(seen):
        return False, f"the blocked workflow does not proceed: {fault}"
    return True, f"the blocked workflow proceeds: {_count(seen)} ended without the defect"


def _failed(seen: Iterable[_Seen]) -> str | None:
    for command, result in seen:
        if result is not None and not result.ok:
            if result.exit_code is None:
                return f"`{_line(command)}` did not start or ran out of time"
            return f"`{_line(command)}` exited with {result.exit_code}"
    return None


def _not_run(seen: Iterable[_Seen]) -> str | None:
    return next((f"`{_line(command)}` was not run" for command, one in seen if one is None), None)


def _line(command: Command) -> str:
    return _cut(shlex.join(command.argv))


def _count(seen: Sequence[_Seen]) -> str:
    return "1 command" if len(seen) == 1 else f"{len(seen)} commands"


def _cut(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
