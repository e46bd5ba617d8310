"""One shared cause becomes one issue and one infrastructure task.

Policy: "These defects should be assigned to infrastructure queues with prompts that include the
concrete observed failure, the expected long-term contract, and the recovery action required for the
original delivery task."
"""

import re
from collections.abc import Iterable, Sequence

from agent.core.model.nouns import (
    Command,
    Criterion,
    Defect,
    JudgeRecord,
    ProofKind,
    Queue,
    TaskKind,
)
from agent.core.model.queueing import TaskSpec
from agent.core.model.text import code, one_line, visible

_PLAIN = re.compile(r"[A-Za-z0-9 .,:=()/_+<>'-]{1,200}")
_RISKS = {"low": 0, "normal": 1, "high": 2, None: 3}
_BUSY = ("queued", "running", "judging")
_UNSTATED = "This fault does not come back."
_PROCEEDS = Criterion(
    id="C1",
    text="The workflow that was blocked can proceed.",
    proof=ProofKind.BLOCKED_WORKFLOW_PROCEEDS,
)
_PERSISTED = Criterion(
    id="C2",
    text="What keeps it fixed is persisted under the write scope and pushed.",
    proof=ProofKind.COMMIT_PUSHED,
)


def queue_for(queues: Iterable[Queue]) -> Queue | None:
    """An infrastructure queue, the least risky and then the emptiest; None: there is none.

    Without one, a delivery queue that is empty or of low risk will do: "assign that defect to an
    appropriate empty or low-risk queue".
    """
    known = list(queues)
    own = [queue for queue in known if queue.kind == "infrastructure"]
    other = [
        queue
        for queue in known
        if queue.kind == "delivery"
        and (queue.risk == "low" or (queue.counts is not None and not _busy(queue)))
    ]
    return min(
        own or other,
        key=lambda queue: (_RISKS[queue.risk], _busy(queue), queue.id),
        default=None,
    )


def _busy(queue: Queue) -> int:
    return sum((queue.counts or {}).get(state, 0) for state in _BUSY)


def issue_of(defect: Defect, task: TaskSpec) -> tuple[str, str]:
    """Title and body of the issue; what was observed is untrusted text and stays visible."""
    title = _cause(defect)
    body = "\n".join(
        [
            f"Observed in task {task.id} ({visible(task.title)}): {defect.reason}.",
            "",
            f"Seen: {visible(defect.summary or 'no output')}",
            "",
            f"Expected: {defect.expected or _UNSTATED}",
            f"Waits for it: task {task.id}, which continues under its own identity after the fix.",
        ],
    )
    return title, body


def _cause(defect: Defect) -> str:
    """The cause for a title: plain words as they are, anything else quoted and short.

    What an attempt printed is brought into a shape before it names a cause; what another version
    stored, or a snapshot says, may not be in it.
    """
    shown = one_line(defect.fingerprint)
    return shown if _PLAIN.fullmatch(shown) else code(shown[:100])


def blocked_issue(task: TaskSpec, reason: str, waiting: Sequence[str]) -> tuple[str, str]:
    """Title and body of the issue for a task that only a person can continue."""
    depends = ", ".join(sorted(waiting)) or "nothing"
    body = "\n".join(
        [
            f"Task {task.id} ({visible(task.title)}) is handed over to a person.",
            "",
            f"Blocked by: {visible(reason)}",
            f"Waits for it: {depends}.",
            f"Its work so far is on the branch {visible(task.branch)}, as far as it was pushed.",
        ],
    )
    return f"Task {task.id} needs a person", body


def task_for(
    defect: Defect,
    blocked: TaskSpec,
    judge: JudgeRecord | None,
    queue: str,
    proof: Sequence[str],
) -> TaskSpec:
    """The infrastructure task. It is done when the blocked workflow can proceed.

    `proof` is the reason's own argument list (policies/failures.toml), `{subject}` not filled in.
    """
    return TaskSpec(
        id=f"fix-{defect.id.lower()}",
        queue=queue,
        kind=TaskKind.INFRASTRUCTURE,
        title=f"Fix the shared fault {_cause(defect)}",
        ownership=f"the infrastructure defect {defect.id} and nothing else",
        background=(
            f"Delivery tasks of this wave stopped on one shared infrastructure fault, "
            f"{defect.reason}. It was seen first in task {blocked.id}. It is recorded in "
            f"{defect.issue or defect.id}; all you need is written here."
        ),
        write_scope=("infra/**",),
        validation_scope="Show that the workflow named below no longer stops on this fault.",
        branch=f"wavekeeper/fix-{defect.id.lower()}",
        commit="required",
        forbidden=(
            f"do not do the work of task {blocked.id} or of any other delivery task",
            "do not change anything in production",
            "do not edit the queue's database",
        ),
        criteria=(_PROCEEDS, _PERSISTED),
        acceptance_commands=_commands(defect, blocked, judge, proof),
        fixes=defect.id,
        context=_context(defect, blocked),
    )


def _context(defect: Defect, blocked: TaskSpec) -> tuple[str, ...]:
    """The observed failure, the long-term contract, and how the delivery continues."""
    return (
        f"Observed failure: {visible(defect.summary or defect.fingerprint)}",
        (
            f"Expected long-term contract: {defect.expected or _UNSTATED} "
            "A remedy made by hand is persisted under the write scope."
        ),
        (
            f"Recovery: task {blocked.id} is parked and continues under its own identity as soon "
            "as this task is accepted; do not touch it."
        ),
    )


def _commands(
    defect: Defect, blocked: TaskSpec, judge: JudgeRecord | None, proof: Sequence[str]
) -> tuple[Command, ...]:
    """The cause itself is gone, and what was blocked ends in any way but the recorded one."""
    failed = {result.argv for result in judge.commands if not result.ok} if judge else set()
    again = tuple(
        command.model_copy(update={"expect": "proceeds", "fingerprint": defect.fingerprint})
        for command in blocked.acceptance_commands
        if command.argv in failed
    )
    if not proof or not defect.subject:
        # The agent itself failed, and nothing shows the cause alone: the whole workflow does.
        whole = tuple(
            command.model_copy(update={"expect": "proceeds", "fingerprint": defect.fingerprint})
            for command in blocked.acceptance_commands
        )
        return again or whole
    argv = tuple(part.replace("{subject}", defect.subject) for part in proof)
    return (Command(argv=argv), *again)


def narrower_of(task: TaskSpec, unmet: Sequence[str]) -> TaskSpec:
    """The rest of a task that cannot continue under its own identity, as a new task.

    It is held to the criteria that are not met (to all, if the proof and not a criterion is
    missing), and continues from what was pushed. The caller gives it an unused id.
    """
    left = tuple(one for one in task.criteria if one.id in unmet) or task.criteria
    return task.model_copy(
        update={
            "title": f"What is left of: {task.title}",
            "background": (
                f"{task.background}\n\nThis is the part of task {task.id} that is not done. That "
                "task cannot continue; what it pushed stays, and you continue from there."
            ),
            "criteria": left,
            "forbidden": (*task.forbidden, "do not do again what is on the branch already"),
            "depends_on": (),
        },
    )
