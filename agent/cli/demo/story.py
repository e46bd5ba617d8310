"""Reads the journal back: what became of each task, why, and whether it is what it should be."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from agent.core.journal.records import TaskRecord
from agent.core.model.nouns import ProofKind, Status
from agent.runtime.context import Ports

EXPECTED: Final = {
    "T-1": (1, "does the job right"),
    "T-2": (2, "claims it is done, but never pushed"),
    "T-3": (2, "pushes work that fails its check"),
    "T-4": (1, "is judged where a tool is missing"),
    "T-5": (2, "needs the same missing tool"),
    "T-6": (1, "works without output for a while"),
    "T-7": (2, "dies with its host"),
    "fix-d-1": (1, "the shared fault, split off"),
}
"""How many attempts each task takes, and the trouble it meets."""

_STEPS: Final = {
    "retry": "sent back",
    "park": "parked",
    "release": "released",
    "interrupt": "interrupted",
}

BLOCKED: Final = frozenset({"T-4", "T-5"})
"""The tasks that meet the shared fault."""
SILENT: Final = "T-6"
LEAST_SILENCE: Final = 5.0
"""Seconds without output for which the silent task must have been left alone."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the closing table."""

    task: str
    attempts: int
    outcome: str
    why: str


def rows(ports: Ports) -> list[Row]:
    """One row per task, from the journal, by id."""
    found = [_row(ports, task_record) for task_record in ports.store.task_records()]
    return sorted(found, key=lambda row: row.task)


def _row(ports: Ports, task_record: TaskRecord) -> Row:
    task = task_record.spec.id
    view = ports.queue.get(task)
    steps = []
    for entry in ports.journal.entries(task=task, kinds=("intent", "outcome")):
        body = entry.record.body
        if "review" in body:
            steps.append(str(body["said"]))
        proposal = body.get("proposal", {"action": None})
        if proposal["action"] in _STEPS:
            steps.append(f"{_STEPS[proposal['action']]} ({proposal['reason']})")
    # Of the others a slow machine may see a silence as well, which is no part of the story.
    if task == SILENT and (silence := longest_silence(ports, task)) >= LEAST_SILENCE:
        steps.append(f"left alone through {silence:.0f} s without output")
    steps.append(_end(task_record))
    return Row(task, view.attempt if view else 0, task_record.status, "; ".join(steps))


def _end(task_record: TaskRecord) -> str:
    if task_record.status != "accepted":
        return task_record.why or f"still {task_record.status}"
    commits = [item.value for item in task_record.evidence if item.kind is ProofKind.COMMIT_PUSHED]
    return f"proven at {commits[-1][:7]}" if commits and commits[-1] else "proven"


def faults(ports: Ports, table: Sequence[Row]) -> list[str]:
    """What did not end as it should, one line each; empty: all is well."""
    by_task = {row.task: row for row in table}
    wrong = [f"{task} is missing" for task in EXPECTED if task not in by_task]
    wrong += [f"{row.task} was not expected" for row in table if row.task not in EXPECTED]
    for task, (attempts, _) in EXPECTED.items():
        row = by_task.get(task)
        if row is not None and (row.outcome, row.attempts) != ("accepted", attempts):
            wrong.append(
                f"{task} ended {row.outcome} after {row.attempts} attempts, not {attempts}"
            )
    defects = list(ports.store.defects())
    if [defect.status for defect in defects] != ["fixed"]:
        wrong.append(f"there should be one defect, fixed: {defects}")
    wrong += _wrong_actions(ports)
    if (broken := ports.journal.verify()) is not None:
        wrong.append(f"the journal: {broken}")
    return wrong


def _wrong_actions(ports: Ports) -> Iterable[str]:
    done: dict[str, list[str]] = {}
    for entry in ports.journal.entries(kinds=("outcome", "settled")):
        if entry.record.body["result"] == "done":
            action = str(entry.record.body["action"])
            done.setdefault(action, []).append(entry.record.task or "")
    if "interrupt" in done:
        yield f"healthy work was interrupted: {done['interrupt']}"
    for action, times in (("open-issue", 1), ("split-defect", 1), ("release", 1), ("park", 2)):
        if len(done.get(action, [])) != times:
            yield f"{action} was done {len(done.get(action, []))} times, not {times}"
    if (silence := longest_silence(ports, SILENT)) < LEAST_SILENCE:
        yield f"{SILENT} was not silent for long enough to prove anything: {silence:.1f} s"
    lost = [
        entry
        for entry in ports.journal.entries(task="T-7", kinds=("intent",))
        if str(entry.record.body["proposal"]["reason"]).startswith("lost")
    ]
    if not lost:
        yield "T-7 was not recovered from a lost attempt"


def longest_silence(ports: Ports, task: str) -> float:
    """The longest time without output, in seconds, that a tick saw of a live task."""
    found = 0.0
    for entry in ports.journal.entries(kinds=("tick",)):
        snapshot = ports.journal.snapshot(str(entry.record.body["snapshot"]))
        for one in snapshot.tasks if snapshot else ():
            if one.id == task and one.status is Status.RUNNING and snapshot and one.trace:
                found = max(found, (snapshot.now - one.trace.last_event_at).total_seconds())
    return found


def sentence(ports: Ports, table: Sequence[Row], seconds: float) -> str:
    """The whole wave in one sentence."""
    accepted = sum(row.outcome == "accepted" for row in table)
    attempts = sum(row.attempts for row in table)
    fixed = sum(defect.status == "fixed" for defect in ports.store.defects())
    shared = f"{fixed} shared fault fixed" if fixed == 1 else f"{fixed} shared faults fixed"
    return (
        f"{accepted} of {len(table)} tasks accepted in {attempts} attempts and {seconds:.0f} s, "
        f"{shared}, nothing healthy was interrupted."
    )
