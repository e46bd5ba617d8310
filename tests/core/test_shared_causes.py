"""Faults of the queue itself, and what may be done to the running system about a defect."""

from typing import Any

import pytest

from agent.core.assess.assessment import assess
from agent.core.model.actions import Action, Cleared, NeedsApproval
from agent.core.plan.planner import ask, clear, decide
from tests.core import worlds as w

FAR = "C-9"
PARKED = (w.parked(), w.parked(id="T-2"))


def retried(**over: Any) -> Any:
    """A second attempt that was cancelled ten seconds after its start, and nobody asked for it."""
    known = {"attempt": 2, "cancel_requested": True, "started_at": w.ago(40)}
    return w.ended(**{"status": "cancelled", **known} | over)


@pytest.mark.parametrize(
    ("task", "defects", "action"),
    [
        pytest.param(retried(inspected=False), (), "inspect", id="unread"),
        pytest.param(retried(), (), "open-issue", id="read: its cause is recorded"),
        pytest.param(retried(), "recorded", "park", id="recorded: it waits"),
        pytest.param(retried(), "fixed", "open-issue", id="fixed, and there again"),
        pytest.param(retried(status="failed"), (), "open-issue", id="failed, not cancelled"),
        pytest.param(retried(attempt=1), (), "leave-alone", id="a first attempt has no old flag"),
        pytest.param(retried(started_at=w.ago(90)), (), "leave-alone", id="cancelled after 60 s"),
        pytest.param(retried(started_at=w.ago(89)), (), "open-issue", id="cancelled after 59 s"),
        pytest.param(retried(started_at=None), (), "leave-alone", id="nobody knows how soon"),
        pytest.param(retried(cancel_requested=None), (), "leave-alone", id="perhaps no flag"),
        pytest.param(retried(last_interrupt_at=w.ago(35)), (), "leave-alone", id="it was stopped"),
        pytest.param(retried(last_interrupt_at=w.ago(45)), (), "open-issue", id="stopped before"),
    ],
)
def test_a_retry_that_falls_over_an_old_cancel_flag_is_the_queues_fault(task, defects, action):
    flag = {"fingerprint": "stale-cancel:", "reason": "stale-cancel"}
    snapshot = w.world(task, defects=(w.defect(defects, **flag),) if defects else ())
    decision = w.of(decide(snapshot, w.policy()))
    assert decision.proposal.action == action
    assert isinstance(decision.clearance, Cleared), decision.clearance


def test_reading_what_nobody_cancelled_does_not_settle_it():
    def cause(task: Any) -> Any:
        return w.of(decide(w.world(task), w.policy())).proposal.cause

    assert cause(retried(inspected=False)).reason == "stale-cancel"
    assert cause(w.ended("cancelled", inspected=False)) is None


GRANTED = {"grants": {"production_repair": True, "established_deploy_path": True}}
MENDED = w.defect(fixed_by=FAR)
SEEN = w.parked(evidence=(w.seen("commit-pushed"),))


@pytest.mark.parametrize(
    ("over", "action", "remedy"),
    [
        pytest.param({}, "leave-alone", None, id="nothing is configured"),
        pytest.param({"remedies": w.remedies("dev")}, "live-remedy", "in-dev", id="dev"),
        pytest.param({"remedies": w.remedies("dev", reason="disk-full")}, "leave-alone", None,
                     id="for another reason"),
        pytest.param({"remedies": w.remedies("production")}, "leave-alone", None,
                     id="production, not granted"),
        pytest.param({"remedies": w.remedies("production"), "wave": GRANTED}, "deploy",
                     "in-production", id="production, granted"),
        pytest.param({"remedies": w.remedies("production", "dev"), "wave": GRANTED}, "live-remedy",
                     "in-dev", id="dev comes first"),
        pytest.param({"remedies": w.remedies("dev"), "defects": (w.defect(),)}, "split-defect",
                     None, id="first the task that makes it last"),
        pytest.param({"remedies": w.remedies("dev"),
                      "defects": (MENDED.model_copy(update={"remedied": True}),)}, "release",
                     None, id="it is in place: the task goes on over the bridge"),
        pytest.param({"remedies": w.remedies("dev"),
                      "defects": (MENDED.model_copy(update={"remedied": False}),)}, "leave-alone",
                     None, id="it was tried in vain"),
    ],
)  # fmt: skip
def test_the_smallest_remedy_after_the_task_that_makes_it_last(over, action, remedy):
    known = {"defects": (MENDED,)} | over
    decision = w.of(decide(w.world(SEEN, **known), w.policy()))
    assert (decision.proposal.action, decision.proposal.remedy) == (action, remedy)
    touches = action in ("live-remedy", "deploy")
    assert isinstance(decision.clearance, NeedsApproval if touches else Cleared)


def test_only_one_of_the_waiting_tasks_stands_for_the_remedy():
    waiting = w.world(*PARKED, defects=(MENDED,), remedies=w.remedies("dev"))
    assert w.actions(waiting) == {"T-1": "live-remedy", "T-2": "leave-alone"}


@pytest.mark.parametrize(
    ("defects", "persistence"),
    [
        pytest.param((), "unknown", id="no defect is known"),
        pytest.param((w.defect(),), "none", id="nobody makes it last"),
        pytest.param((MENDED,), "planned", id="a task is there that does"),
    ],
)
def test_a_remedy_needs_the_task_that_makes_it_last(defects, persistence):
    assessment = assess(w.world(w.parked(), defects=defects), w.policy())
    asked, answer = ask(assessment, Action.LIVE_REMEDY, "T-1")
    facts, _ = clear(assessment, asked)
    assert facts["persistence"] == persistence
    name = "never_leave_a_live_remedy_unpersisted"
    assert (name in answer.rules) == (persistence != "planned")


BRIDGED = MENDED.model_copy(update={"remedied": True})
CANARY: dict[str, Any] = {"blocked_by": "D-1", "canary": True}


@pytest.mark.parametrize(
    ("tasks", "defect", "actions"),
    [
        pytest.param(PARKED, BRIDGED, ["release", "leave-alone"], id="one goes first"),
        pytest.param((w.running(**CANARY), PARKED[1]), BRIDGED, ["leave-alone", "leave-alone"],
                     id="the first is under way"),
        pytest.param(PARKED, BRIDGED.model_copy(update={"proven_by": FAR}), ["release", "release"],
                     id="the bridge holds: all go"),
        pytest.param((w.without_jq(**CANARY), PARKED[1]), BRIDGED, ["open-issue", "leave-alone"],
                     id="the bridge does not hold"),
        pytest.param((w.without_jq(), PARKED[1]), BRIDGED, ["release", "leave-alone"],
                     id="it stopped there before the bridge"),
    ],
)  # fmt: skip
def test_the_delivery_goes_on_over_a_bridge(tasks, defect, actions):
    said = decide(w.world(*tasks, defects=(defect,)), w.policy())
    assert [str(one.proposal.action) for one in said.tasks] == actions
    assert all(isinstance(one.clearance, Cleared) for one in said.tasks)


def test_a_bridge_that_does_not_hold_leaves_the_fix_under_way():
    broken = w.world(w.without_jq(**CANARY), defects=(BRIDGED,))
    cause = w.of(decide(broken, w.policy())).proposal.cause
    assert cause is not None
    assert (cause.id, cause.fixed_by, cause.remedied) == ("D-1", FAR, False)
