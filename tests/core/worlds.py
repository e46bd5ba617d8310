"""Small builders for the decision core: tasks, evidence, snapshots and the shipped policy."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.files.policy import read_policy
from agent.core.model.nouns import (
    AttemptFailure,
    CommandResult,
    ControlPlane,
    Criterion,
    CriterionVerdict,
    Defect,
    Evidence,
    Heartbeat,
    JudgeRecord,
    LateReport,
    Outcome,
    ProofKind,
    Remedy,
    Review,
    Snapshot,
    Status,
    Supervisor,
    Task,
    TaskKind,
    Trace,
)
from agent.core.model.policy import GuardPolicy, Policy, Rule
from agent.core.plan.planner import Decision, Decisions, decide

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
PROMPT = "Fix the rounding in services/a. All that is needed stands in this text."
JQ_MISSING = "+ jq --version\ncheck.sh: line 2: jq: command not found"
JQ = "missing-tool:jq"
COMMIT = "3f2c1aa9"
DIGEST = "sha256:5a1c"


@cache
def policy() -> Policy:
    """The shipped one."""
    return read_policy(ROOT / "policies")


def guarded_by(*rules: Rule) -> Policy:
    """The shipped policy with these rules as its whole rule table."""
    return policy().model_copy(update={"guard": GuardPolicy(rule=rules)})


def typed(class_: str, retry_at: datetime | None = None) -> AttemptFailure:
    """A failure as a worker host types it."""
    return AttemptFailure(class_=class_, retry_at=retry_at)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def beat(age: float = 5, expires_in: float = 60, **over: Any) -> Heartbeat:
    """A heartbeat heard `age` seconds ago that is good for `expires_in` seconds from NOW on."""
    known = {"at": ago(age), "expires_at": ago(-expires_in), "attempt": 1, "origin": "worker"}
    return Heartbeat(**known | over)


def trace(age: float = 5, attempt: int | None = 1) -> Trace:
    return Trace(last_event_at=ago(age), attempt=attempt)


def seen(kind: ProofKind | str, **over: Any) -> Evidence:
    """One observed item that holds; its value is the one that fits the others."""
    kind = ProofKind(kind)
    values = {
        ProofKind.COMMIT_PUSHED: COMMIT,
        ProofKind.ARTIFACT_BUILT: COMMIT,
        ProofKind.LIVE_VERSION: COMMIT,
        ProofKind.DIGEST_RECORDED: DIGEST,
        ProofKind.DEV_DIGEST: DIGEST,
        ProofKind.PROD_DIGEST: DIGEST,
    }
    known = {
        "id": f"E-{kind}",
        "kind": kind,
        "origin": "observed",
        "holds": True,
        "value": values.get(kind),
        "observed_at": ago(10),
    }
    return Evidence(**known | over)


def climbed(kind: TaskKind = TaskKind.CODE_CHANGE, **over: Any) -> tuple[Evidence, ...]:
    """The whole ladder of one kind of task, observed; `over` changes every item."""
    return tuple(seen(rung[0], **over) for rung in policy().completion.ladder[kind].rungs)


def proved_by(*proofs: str) -> tuple[Criterion, ...]:
    """One criterion for each proof, C1 first."""
    return tuple(
        Criterion(id=f"C{number}", text=f"criterion {number}", proof=proof)
        for number, proof in enumerate(proofs, start=1)
    )


def reviewed(**verdicts: str) -> Review:
    """A review that says this of each criterion."""
    return Review(
        criteria=tuple(CriterionVerdict(id=one, verdict=said) for one, said in verdicts.items())
    )


def judged(verdict: str, output: str = "", **over: Any) -> JudgeRecord:
    """A judge record of one acceptance command."""
    good = verdict == "pass"
    ran = CommandResult(argv=("./check",), exit_code=0 if good else 1, output=output, ok=good)
    known = {"verdict": verdict, "at": ago(20), "commands": (ran,), "shown": good}
    return JudgeRecord(**known | over)


def task(status: Status | str = "running", **over: Any) -> Task:
    """A code change in its first attempt, all of it known and nothing wrong with it."""
    known = {
        "id": "T-1",
        "queue": "svc",
        "kind": "code-change",
        "status": status,
        "attempt": 1,
        "attempts_left": 2,
        "tokens_left": 100_000,
        "session_continuable": True,
        "probe": "ok",
        "at_risk_polls": 0,
        "cancel_requested": False,
        "write_scope": ("services/a/**",),
        "prompt": PROMPT,
        "criteria": proved_by("checks-passed"),
    }
    return Task(**known | over)


def running(**over: Any) -> Task:
    known = {"status": "running", "started_at": ago(7200), "heartbeat": beat(), "trace": trace()}
    return task(**known | over)


def silent(age: float, **over: Any) -> Task:
    """Running, and nothing was heard of it for `age` seconds; one poll has noticed already."""
    gone = {
        "heartbeat": beat(age, expires_in=60 - age),
        "trace": trace(age),
        "at_risk_polls": 1,
        "started_at": ago(age + 60),
    }
    return running(**gone | over)


NOTHING_PUSHED = seen("commit-pushed", holds=False, value=None, detail="origin has no branch a")


def ended(status: Status | str = "failed", **over: Any) -> Task:
    """A finished attempt whose result has been read; if it was not judged, nothing was pushed."""
    known = {
        "status": status,
        "started_at": ago(600),
        "finished_at": ago(30),
        "final_response": "All done, tests pass.",
        "inspected": True,
        "tree_gone": True,
        "evidence": () if "judge" in over else (NOTHING_PUSHED,),
    }
    return task(**known | over)


def proven(**over: Any) -> Task:
    return ended(**{"status": "succeeded", "evidence": climbed(), "judge": judged("pass")} | over)


def without_jq(**over: Any) -> Task:
    """Failed, because the worker host has no jq."""
    return ended(**{"status": "failed", "judge": judged("fail", JQ_MISSING)} | over)


def parked(**over: Any) -> Task:
    return without_jq(**{"status": "parked", "blocked_by": "D-1"} | over)


def planned(**over: Any) -> Task:
    return task(**{"status": "planned", "attempt": None, "attempts_left": 3} | over)


def defect(status: str = "recorded", **over: Any) -> Defect:
    known = {
        "id": "D-1",
        "fingerprint": JQ,
        "status": status,
        "issue": None if status == "observed" else "#12",
        "reason": "missing-tool",
        "subject": "jq",
    }
    return Defect(**known | over)


def remedies(*environments: str, reason: str = "missing-tool") -> tuple[Remedy, ...]:
    """A configured remedy of a missing tool in each of these environments."""
    return tuple(Remedy(id=f"in-{one}", reasons=(reason,), environment=one) for one in environments)


def late(**over: Any) -> LateReport:
    return LateReport(**{"attempt": 1, "at": ago(50), "final_response": "done"} | over)


def outcomes(good: int, bad: int, age: float = 100, **over: Any) -> tuple[Outcome, ...]:
    results = ["accepted"] * good + ["failed"] * bad
    return tuple(
        Outcome(**{"task": f"T-{n}", "result": result, "at": ago(age)} | over)
        for n, result in enumerate(results)
    )


def world(*tasks: Task, **over: Any) -> Snapshot:
    """A quiet world in auto mode, with a free queue and a supervisor that was never away."""
    known = {
        "now": NOW,
        "mode": "auto",
        "supervisor": Supervisor(last_tick_at=ago(300), interval=300, host="master"),
        "control_plane": ControlPlane(reachable=True, submit_lock="free"),
        "window": {"limit": 5},
        "tasks": tasks,
    }
    return Snapshot(**known | over)


def of(decisions: Decisions, name: str = "T-1") -> Decision:
    """The decision about one task."""
    return next(one for one in decisions.tasks if one.proposal.task == name)


def actions(snapshot: Snapshot) -> dict[str, str]:
    """What is proposed for each task."""
    return {
        one.proposal.task or "": str(one.proposal.action)
        for one in decide(snapshot, policy()).tasks
    }


def ids(tasks: Sequence[Task]) -> list[str]:
    return [one.id for one in tasks]


def beside(name: str) -> list[dict[str, Any]]:
    """The rows of one real collection, if it lies beside the repository; else none."""
    path = ROOT.parent / "shared" / "evaldata" / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def collected(name: str) -> list[dict[str, Any]]:
    """The same; skips without it."""
    return beside(name) or pytest.skip(f"the collection {name}.jsonl is not beside this repository")
