"""What the supervisor does while all is well: documentation, beside everybody's work.

Policy: "The loop should keep the supervisor doing useful non-overlapping work, such as
documentation or issue triage, but that side work must not take over a worker's assigned
implementation."
"""

from collections.abc import Mapping

from agent.core.assess.assessment import Board, Case
from agent.core.assess.write_scopes import overlap
from agent.core.model.actions import Action, Proposal
from agent.core.model.nouns import ACTIVE, TERMINAL, Defect, Status
from agent.core.model.text import natural
from agent.core.plan.lessons import document_of


def side_work(board: Board, proposals: Mapping[str, Proposal]) -> Proposal | None:
    """Something useful for one task of the board, or None: at most one in a tick.

    Only when nothing else is to be done, nobody is at risk, nothing is unread, and no worker may
    write where the document goes.
    """
    if board.suspended or any(one.action is not Action.LEAVE_ALONE for one in proposals.values()):
        return None
    cases = board.cases.values()
    if any(case.liveness.effective == "at-risk" for case in cases):
        return None
    if any(case.task.status in TERMINAL and not case.task.inspected for case in cases):
        return None
    for task in sorted(board.cases, key=natural):
        case = board.cases[task]
        if case.lesson is None or case.task.held != "accepted":
            continue
        if _nobody_writes(document_of(case.lesson), board):
            return _write(case, case.lesson)
    return None


def _nobody_writes(path: str, board: Board) -> bool:
    """A worker whose write scope is not known may write anywhere."""
    open_tasks = [
        case.task
        for case in board.cases.values()
        if case.task.word is None or case.task.word in (*ACTIVE, "parked", Status.PLANNED)
    ]
    if any(not task.write_scope for task in open_tasks):
        return False
    return not any(overlap((path,), task.write_scope or ()) for task in open_tasks)


def _write(case: Case, defect: Defect) -> Proposal:
    return Proposal(
        action=Action.WRITE_REFERENCE,
        task=case.task.id,
        attempt=case.task.attempt,
        reason=f"{defect.id} has stopped {len(defect.seen_in)} tasks; its rule is written down",
        defect=defect.id,
    )
