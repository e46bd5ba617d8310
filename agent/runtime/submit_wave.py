"""Takes a checked wave in: renders each task's first prompt, lints it, and plans the tasks.

Nothing enters a queue here; the supervisor submits planned tasks as the window allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.journal.records import TaskRecord, WaveRecord
from agent.core.model.nouns import ProofKind
from agent.core.model.policy import CompletionPolicy
from agent.core.model.queueing import TaskSpec
from agent.core.prompts.linter import DraftRequest, Finding, lint
from agent.ports import Drafter


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task that could never be accepted, or whose prompt is not complete in itself."""

    task: str
    findings: tuple[Finding, ...]


def plan(
    wave: WaveRecord, specs: Sequence[TaskSpec], drafter: Drafter, policy: CompletionPolicy
) -> tuple[list[TaskRecord], list[Refusal]]:
    """Each task with its prompt, and the tasks that are refused."""
    task_records, refusals = [], []
    branches = {one.id: one.branch for one in specs if one.commit == "required"}
    for written in specs:
        spec = _with_where_it_builds_on(written, branches)
        request = DraftRequest(kind="initial", spec=spec, goal=wave.goal, attempt=1)
        prompt = drafter.draft(request)
        if findings := (*unprovable(spec, policy), *lint(prompt, spec)):
            refusals.append(Refusal(spec.id, findings))
        task_records.append(
            TaskRecord(spec=spec, wave=wave.id, prompt=prompt, changed_at=wave.submitted_at),
        )
    return task_records, refusals


def _with_where_it_builds_on(spec: TaskSpec, branches: Mapping[str, str]) -> TaskSpec:
    """What it depends on was accepted on a branch, and may not be merged when it starts."""
    found = [
        f"This builds on the work of task {one}. That is on the branch {branches[one]} of `origin` "
        f"until it is merged: `git fetch origin {branches[one]}`, and merge it where the default "
        "branch does not have it."
        for one in spec.depends_on
        if one in branches
    ]
    return spec.model_copy(update={"context": (*spec.context, *found)}) if found else spec


def unprovable(spec: TaskSpec, policy: CompletionPolicy) -> tuple[Finding, ...]:
    """Why this task could never be accepted, whatever its worker does: better said beforehand."""
    found = []
    for rung in policy.ladder[spec.kind].rungs:
        if not spec.acceptance_commands and set(rung) <= _BY_COMMANDS:
            found.append(f"a task of the kind {spec.kind} is proven by {' or '.join(rung)}")
        if spec.commit == "none" and set(rung) <= _BY_A_PUSH:
            found.append(f"a task of the kind {spec.kind} is proven by {' or '.join(rung)}")
    remedy = "add acceptance_commands" if spec.commit == "required" else 'drop commit = "none"'
    return tuple(
        Finding(rule="cannot-be-proven", message=f"{what}, which it does not ask for; {remedy}")
        for what in found
    )


_BY_COMMANDS = frozenset({ProofKind.CHECKS_PASSED})
_BY_A_PUSH = frozenset({ProofKind.COMMIT_PUSHED, ProofKind.SCOPE_RESPECTED})
