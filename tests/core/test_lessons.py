"""The documentation loop, and the side work that is done while all is well."""

import re
from typing import Any

import pytest
from hypothesis import given, settings

from agent.core.model.actions import Action, Cleared
from agent.core.model.text import lines_with_quoting
from agent.core.plan.lessons import document, document_of
from agent.core.plan.planner import decide
from tests.core import worlds as w
from tests.core.prompt_specs import HOSTILE
from tests.core.random_worlds import random_world

RULE = w.policy().failures.by_id["missing-tool"].contract
LEARNT = w.defect("fixed", fixed_by="fix-d-1", proven_by="T-1", seen_in=("T-1", "T-2"))
FIXER = w.task("accepted", id="fix-d-1", kind="infrastructure", fixes="D-1")


def decided(*tasks: Any, task: str = "T-1", **over: Any) -> Any:
    return w.of(decide(w.world(*tasks, **over), w.policy()), task)


@pytest.mark.parametrize(
    ("task", "over", "into"),
    [
        pytest.param(w.without_jq(), {}, "issue", id="a tool is missing: recorded"),
        pytest.param(w.without_jq(), {"defects": (w.defect(),)}, "issue",
                     id="recorded: who waits for it is noted"),
        pytest.param(w.parked(), {"defects": (w.defect(),)}, "task", id="a task that fixes it"),
        pytest.param(w.parked(), {"defects": (w.defect(fixed_by="F-1"),)}, "task",
                     id="that task is there already"),
        pytest.param(w.parked(), {"defects": (w.defect("fixed"),)}, None, id="it is fixed"),
        pytest.param(w.without_jq(canary=True, blocked_by="D-1"), {"defects": (w.defect("fixed"),)},
                     "issue", id="it is there again after its fix"),
        pytest.param(w.ended(attempts_left=0), {}, "issue", id="no attempts are left"),
        pytest.param(w.ended("lost", attempt=10), {}, "issue", id="lost for the tenth time"),
        pytest.param(w.ended(), {}, None, id="its own fault, once: the next prompt says it"),
        pytest.param(w.ended("lost"), {}, None, id="lost once"),
        pytest.param(w.proven(), {}, None, id="proven"),
        pytest.param(w.running(), {}, None, id="at work"),
    ],
)  # fmt: skip
def test_a_failure_that_blocks_or_came_back_feeds_into_one_thing(task, over, into):
    lesson = decided(task, **over).lesson
    assert (lesson and lesson.into) == into


def test_the_lesson_is_the_rule_and_not_the_story():
    lesson = decided(w.without_jq(), w.without_jq(id="T-2")).lesson
    assert lesson.rule == RULE
    assert "jq" not in lesson.rule


def test_every_task_that_waits_for_a_shared_cause_has_its_lesson():
    """Whatever else is wrong with the world: nothing that stops a delivery goes unrecorded."""
    for seed in range(300):
        for one in decide(random_world(seed), w.policy()).tasks:
            blocks = one.proposal.action in (Action.OPEN_ISSUE, Action.PARK, Action.SPLIT_DEFECT)
            assert not blocks or one.lesson is not None, seed


@pytest.mark.parametrize(
    ("over", "written"),
    [
        pytest.param({}, True, id="it came back, and its fix was gone past"),
        pytest.param({"seen_in": ("T-1",)}, False, id="seen once"),
        pytest.param({"proven_by": None}, False, id="nobody went past it yet"),
        pytest.param({"status": "recorded"}, False, id="not fixed"),
        pytest.param({"reference": "docs/reference/missing-tool.md"}, False, id="written down"),
        pytest.param({"fixed_by": "fix-d-7"}, False, id="the task that fixed it is not here"),
    ],
)
def test_a_durable_lesson_is_written_down_once(over, written):
    decision = decided(FIXER, task="fix-d-1", defects=(LEARNT.model_copy(update=over),))
    assert (decision.proposal.action is Action.WRITE_REFERENCE) == written
    assert isinstance(decision.clearance, Cleared)
    if written:
        assert (decision.lesson.into, decision.lesson.rule) == ("reference", RULE)
        assert decision.proposal.defect == "D-1"


def test_one_rule_is_one_document_however_many_defects_taught_it():
    other = LEARNT.model_copy(update={"id": "D-2", "fixed_by": "fix-d-2", "subject": "gh"})
    both = w.world(FIXER, FIXER.model_copy(update={"id": "fix-d-2"}), defects=(LEARNT, other))
    assert w.actions(both) == {"fix-d-1": "write-reference", "fix-d-2": "leave-alone"}
    known = LEARNT.model_copy(update={"reference": document_of(LEARNT)})
    written = both.model_copy(update={"defects": (known, other)})
    assert set(w.actions(written).values()) == {"leave-alone"}


def test_the_document_holds_the_rule_and_nothing_of_the_incident():
    text = document(LEARNT, w.policy().failures)
    assert text.startswith("# Missing tool\n\nA program the worker needs is not installed")
    assert RULE in text
    story = ("D-1", "T-1", "T-2", "fix-d-1", "#12", "2026")
    assert not [one for one in story if one in text]


@settings(max_examples=50)
@given(HOSTILE)
def test_what_was_printed_cannot_get_out_of_its_fence(seen):
    text = document(LEARNT.model_copy(update={"summary": seen}), w.policy().failures)
    outside = "\n".join(line for line, quoted in lines_with_quoting(text) if not quoted)
    assert outside.count("\n## ") == 4
    assert "\x1b" not in text


def test_a_document_is_named_after_its_reason_and_stays_in_its_folder():
    assert document_of(LEARNT) == "docs/reference/missing-tool.md"
    for reason in ("../../evil", "a/b", "", None):
        path = document_of(LEARNT.model_copy(update={"reason": reason}))
        assert re.fullmatch(r"docs/reference/[a-z0-9-]+\.md", path), path


@pytest.mark.parametrize(
    ("tasks", "over", "done"),
    [
        pytest.param((), {}, True, id="nobody is at work"),
        pytest.param((w.running(),), {}, True, id="a healthy worker elsewhere"),
        pytest.param((w.running(write_scope=("docs/**",)),), {}, False, id="a worker writes there"),
        pytest.param((w.running(write_scope=None),), {}, False, id="a worker may write anywhere"),
        pytest.param((w.planned(write_scope=("docs/reference/**",), depends_on=("T-9",)),), {},
                     False, id="a planned task will write there"),
        pytest.param((w.parked(write_scope=("**",)),), {"defects": (LEARNT, w.defect(
            fixed_by="F", id="D-9"))}, False, id="a parked task may write there"),
        pytest.param((w.silent(400),), {}, False, id="somebody is at risk"),
        pytest.param((w.proven(inspected=False),), {}, False, id="a result is unread"),
        pytest.param((w.proven(),), {}, False, id="something else is to be done"),
        pytest.param((), {"supervisor": {"last_tick_at": w.ago(5000)}}, False, id="it was away"),
    ],
)  # fmt: skip
def test_side_work_is_done_only_while_all_is_well_and_beside_everybody(tasks, over, done):
    world = w.world(FIXER, *tasks, **{"defects": (LEARNT,)} | over)
    said = w.of(decide(world, w.policy()), "fix-d-1")
    assert (said.proposal.action is Action.WRITE_REFERENCE) == done


def test_side_work_is_never_anybodys_assignment():
    for seed in range(300):
        snapshot = random_world(seed)
        for one in decide(snapshot, w.policy()).tasks:
            if one.proposal.action is Action.WRITE_REFERENCE:
                owner = next(task for task in snapshot.tasks if task.id == one.proposal.task)
                assert owner.status == "accepted"
