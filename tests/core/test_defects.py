import pytest
from hypothesis import given, settings

from agent.core.assess import failures
from agent.core.model.nouns import Command, CommandResult, JudgeRecord, ProofKind, Queue, TaskKind
from agent.core.model.queueing import TaskSpec
from agent.core.plan.defects import issue_of, queue_for, task_for
from agent.core.prompts.linter import leans_on_context
from tests.core import worlds as w
from tests.core.prompt_specs import HOSTILE, PLAIN

BLOCKED = PLAIN.model_copy(update={"acceptance_commands": ()})
SEEN = w.defect(summary="check.sh: line 2: jq: command not found")
PROOF = w.policy().failures.by_id["missing-tool"].proof


def queue(name: str, kind: str | None = "infrastructure", **over: object) -> Queue:
    return Queue(id=name, kind=kind, **over)


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        pytest.param((), None, id="no queue"),
        pytest.param((queue("a", "delivery"), queue("b", None)), None, id="none of its kind"),
        pytest.param((queue("a", "delivery"), queue("b")), "b", id="the only one"),
        pytest.param((queue("a", risk="high"), queue("b", risk="low")), "b", id="the less risky"),
        pytest.param((queue("a"), queue("b", risk="high")), "b", id="a known risk before none"),
        pytest.param((queue("a", counts={"running": 1}), queue("b", counts={"queued": 0})), "b",
                     id="the emptier"),
        pytest.param((queue("a", counts={"failed": 9}), queue("b", counts={"judging": 1})), "a",
                     id="what is over takes no room"),
        pytest.param((queue("a", risk="normal"), queue("b", risk="low", counts={"running": 9})),
                     "b", id="risk before room"),
        pytest.param((queue("b"), queue("a")), "a", id="else by name"),
    ],
)  # fmt: skip
def test_a_defect_goes_to_a_low_risk_empty_queue(queues, expected):
    found = queue_for(queues)
    assert (found and found.id) == expected


def fix(*commands: CommandResult, proof: tuple[str, ...] = PROOF) -> TaskSpec:
    """The task for the missing jq, which stopped these commands of a delivery task."""
    blocked = BLOCKED.model_copy(
        update={"acceptance_commands": tuple(Command(argv=one.argv) for one in commands)}
    )
    judge = JudgeRecord(verdict="fail", at=w.NOW, commands=commands) if commands else None
    return task_for(SEEN, blocked, judge, "infra", proof)


def ran(name: str, *, ok: bool) -> CommandResult:
    return CommandResult(argv=(name,), exit_code=0 if ok else 127, ok=ok)


def test_its_task_carries_failure_contract_and_recovery():
    spec = fix()
    observed, contract, recovery = spec.context
    assert "jq: command not found" in observed
    assert "long-term contract" in contract
    assert f"task {BLOCKED.id}" in recovery
    assert (spec.kind, spec.queue, spec.fixes) == (TaskKind.INFRASTRUCTURE, "infra", "D-1")
    assert spec.title == f"Fix the shared fault {w.JQ}"
    assert ProofKind.BLOCKED_WORKFLOW_PROCEEDS in {one.proof for one in spec.criteria}


def test_its_task_owns_one_thing_and_leaves_the_others_alone():
    spec = fix()
    assert "D-1" in spec.ownership
    assert any(BLOCKED.id in action for action in spec.forbidden)
    assert any("database" in action for action in spec.forbidden)
    assert not leans_on_context("\n".join((spec.background, spec.validation_scope, *spec.context)))


def test_its_task_shows_that_the_cause_is_gone_and_the_workflow_proceeds():
    first, again = fix(ran("./lint", ok=True), ran("./check", ok=False)).acceptance_commands
    assert first.argv[-1] == "jq"
    assert first.argv[:-1] == PROOF[:-1]
    assert (again.argv, again.expect, again.fingerprint) == (("./check",), "proceeds", w.JQ)


def test_without_a_proof_of_its_own_the_blocked_command_remains():
    assert [one.argv for one in fix(ran("./check", ok=False), proof=()).acceptance_commands] == [
        ("./check",)
    ]


def test_without_a_judge_record_the_proof_remains():
    assert [one.argv[-1] for one in fix().acceptance_commands] == ["jq"]


def test_a_subject_never_becomes_more_than_one_argument():
    odd = SEEN.model_copy(update={"subject": "jq; rm -rf / #"})
    command, *_ = task_for(odd, BLOCKED, None, "infra", PROOF).acceptance_commands
    assert command.argv == (*PROOF[:-1], "jq; rm -rf / #")


def test_an_issue_says_what_was_seen_where_and_what_waits():
    title, body = issue_of(SEEN, BLOCKED)
    assert title == w.JQ
    assert "jq: command not found" in body
    assert f"task {BLOCKED.id}, which continues under its own identity" in body


@settings(max_examples=50)
@given(HOSTILE)
def test_no_control_character_survives(text):
    odd = SEEN.model_copy(update={"summary": text, "fingerprint": text[:200] or "-"})
    spec = task_for(odd, BLOCKED, None, "infra", PROOF)
    for shown in (*issue_of(odd, BLOCKED), spec.title, spec.background, *spec.context):
        assert not [one for one in shown if not one.isprintable() and one not in "\n\t"]


def test_the_command_and_the_core_know_the_failure_by_the_same_fingerprint():
    _, again = fix(ran("./check", ok=False)).acceptance_commands
    still = CommandResult(argv=("./check",), exit_code=1, output="sh: 1: jq: not found")
    assert again.fingerprint is not None
    assert failures.same_failure(still, again.fingerprint, w.policy().failures)
