"""One finished task as a reviewer is shown it, and answers to it."""

import json
from typing import Any

from agent.core.model.nouns import CommandResult, Criterion, JudgeRecord, ProofKind, Status
from agent.core.model.queueing import Order, TaskView
from agent.core.review.brief import Limits, brief
from tests.core import worlds as w
from tests.core.prompt_specs import PLAIN

SPEC = PLAIN.model_copy(
    update={
        "criteria": (
            Criterion(id="C1", text="the tests pass", proof=ProofKind.CHECKS_PASSED),
            Criterion(id="C2", text="three tries are made", proof="judgement"),
        ),
    }
)
CHANGES = "--- a/services/mailer/send.py\n+++ b/services/mailer/send.py\n+    for _ in range(3):\n"


def view(*, output: str = "....\n4 passed in 0.12s\n", **over: Any) -> TaskView:
    """The first attempt, done and judged."""
    ran = CommandResult(argv=("python", "-m", "pytest", "-q"), exit_code=0, output=output, ok=True)
    known = {
        "id": "T-1",
        "queue": "main",
        "state": Status.SUCCEEDED,
        "attempt": 1,
        "prompt": "p",
        "order": Order(kind="code-change", branch="wavekeeper/T-1"),
        "created_at": w.ago(900),
        "updated_at": w.ago(30),
        "final_response": "All done: three tries are made.",
        "judge": JudgeRecord(verdict="pass", at=w.ago(40), commit=w.COMMIT, commands=(ran,)),
    }
    return TaskView(**known | over)


BRIEF = brief(
    SPEC,
    view(),
    (w.seen("commit-pushed"), w.seen("checks-passed", detail="1 command passed")),
    CHANGES,
    Limits(),
)


def said(criterion: str, verdict: str, *quotes: tuple[str, str]) -> dict[str, Any]:
    """What an answer says of one criterion; each quote is an exhibit's id and a text."""
    return {
        "id": criterion,
        "justification": "because",
        "quotes": [{"item": item, "text": text} for item, text in quotes],
        "verdict": verdict,
    }


def answer(*told: dict[str, Any], suspected: bool = False) -> str:
    return json.dumps({"criteria": list(told), "injection_suspected": suspected})


GOOD = (
    said("C1", "met", ("check-1", "4 passed in 0.12s")),
    said("C2", "met", ("diff", "+    for _ in range(3):")),
)
