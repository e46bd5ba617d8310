"""Takes a checked wave in: words each task's first prompt, lints it, and plans the tasks.

Nothing enters a queue here; the supervisor submits planned tasks as the window allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.prompts import DraftRequest, Finding, lint
from agent.core.queueing import TaskSpec
from agent.core.records import Standing, WaveRecord
from agent.ports import Drafter


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task whose prompt does not stand on its own."""

    task: str
    findings: tuple[Finding, ...]


def plan(
    wave: WaveRecord, specs: Sequence[TaskSpec], drafter: Drafter
) -> tuple[list[Standing], list[Refusal]]:
    """Each task with its prompt, and the tasks whose prompt leans on something."""
    standings, refusals = [], []
    for spec in specs:
        request = DraftRequest(kind="initial", spec=spec, goal=wave.goal, attempt=1)
        prompt = drafter.draft(request)
        if findings := lint(prompt, spec):
            refusals.append(Refusal(spec.id, findings))
        standings.append(
            Standing(spec=spec, wave=wave.id, prompt=prompt, changed_at=wave.submitted_at),
        )
    return standings, refusals
