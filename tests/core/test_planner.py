"""The policy's flow as tables: what is proposed in which world, and what the guard says of it."""

from typing import Any

import pytest

from agent.core.assess.assessment import assess
from agent.core.model.actions import Action, Cleared, NeedsApproval, word
from agent.core.model.nouns import Reported, Review, Snapshot, Status, Supervisor
from agent.core.plan.planner import ask, decide
from tests.core import worlds as w

FAR = "C-9"
JQ2 = w.without_jq(id="T-2")
PARKED = (w.parked(), w.parked(id="T-2"))
CANARY: dict[str, Any] = {"id": "T-1", "blocked_by": "D-1", "canary": True}
CLAIMED = w.ended("succeeded", evidence=w.climbed(origin="claimed"), judge=w.judged("pass"))
CONTRADICTED = w.ended(
    evidence=(*w.climbed()[:2], w.seen("checks-passed", holds=False)),
    judge=w.judged("fail", "3 failed"),
)


def fixed(**over: Any) -> Any:
    return w.defect("fixed", **over)


def used(task: Any, **over: Any) -> Any:
    return task.model_copy(update=over)


def throttled(age: float) -> Any:
    ended = {"started_at": w.ago(age + 60), "finished_at": w.ago(age)}
    return w.ended(last_error="rate_limit_error", **ended)


def parked(seconds):
    """A review that nobody answered, to be asked for again in so many seconds."""
    return Review(abstained="no answer", pending=True, retry_at=w.ago(-seconds))


def unknown(since):
    """All is proven but the checks."""
    checks = w.seen("checks-passed", holds=None, detail="queued", source="https://ci.example")
    checks = checks.model_copy(update={"unknown_since": since})
    return w.ended("succeeded", evidence=(*w.climbed()[:-1], checks), acceptance_commands=())


ALONE = [
    pytest.param(w.ended(inspected=False), "inspect", "unread", id="failed and unread"),
    pytest.param(w.proven(inspected=False), "inspect", "unread", id="succeeded and unread"),
    pytest.param(w.ended("lost", inspected=False), "inspect", "unread", id="lost and unread"),
    pytest.param(w.ended("cancelled", inspected=False), "inspect", "unread", id="cancelled, too"),
    pytest.param(w.ended(inspected=None), "inspect", "unread", id="perhaps unread"),
    pytest.param(w.proven(), "accept", "all evidence", id="proven"),
    pytest.param(used(w.proven(), status=Status.FAILED), "accept", "all evidence",
                 id="failed, and proven all the same"),
    pytest.param(w.proven(criteria=w.proved_by("judgement")), "review", "need a review",
                 id="proven, and something is to be read"),
    pytest.param(w.proven(criteria=w.proved_by("judgement"), review=w.reviewed(C1="met")),
                 "accept", "every criterion", id="proven and read"),
    pytest.param(w.proven(criteria=w.proved_by("judgement"), review=w.reviewed(C1="unmet")),
                 "retry", "not met: C1", id="proven, and a criterion is unmet"),
    pytest.param(w.proven(criteria=w.proved_by("judgement"), review=w.reviewed(C1="cannot-tell")),
                 "hand-over", "cannot tell", id="proven, and the review cannot tell"),
    pytest.param(w.proven(criteria=w.proved_by("judgement"), review=parked(60)), "leave-alone",
                 "the review waits: no answer; next try after", id="the model is away"),
    pytest.param(w.proven(criteria=w.proved_by("judgement"), review=parked(0)), "review",
                 "requested again: no answer", id="the model may be back"),
    pytest.param(w.proven(criteria=w.proved_by("judgement"), tokens_left=0), "hand-over",
                 "budget for reviews is used up", id="no tokens left"),
    pytest.param(w.proven(criteria=()), "hand-over", "no criteria", id="proven without criteria"),
    pytest.param(CLAIMED, "retry", "only the worker says", id="only claimed"),
    pytest.param(used(CLAIMED, attempts_left=0), "hand-over", "no attempts", id="claimed, spent"),
    pytest.param(CONTRADICTED, "retry", "did not pass", id="contradicted"),
    pytest.param(used(CONTRADICTED, attempts_left=1), "retry", "did not pass", id="one left"),
    pytest.param(used(CONTRADICTED, attempts_left=0), "hand-over", "no attempts", id="none left"),
    pytest.param(w.ended("succeeded", evidence=w.climbed(holds=None)), "leave-alone",
                 "it is unknown whether a commit was pushed", id="the remote cannot be looked at"),
    pytest.param(unknown(w.ago(4 * 3600 - 1)), "leave-alone", "later until 2026-11-22 10:00:01Z",
                 id="the proof cannot be looked at for nearly too long"),
    pytest.param(unknown(w.ago(4 * 3600)), "hand-over",
                 "it is unknown whether the checks passed: queued; https://ci.example was asked, "
                 "since 2026-11-22 06:00:00Z", id="the proof cannot be looked at for too long"),
    pytest.param(used(unknown(w.ago(86400)), attempts_left=0), "hand-over", "it is unknown",
                 id="and no attempts are left"),
    pytest.param(used(unknown(w.ago(86400)), evidence=w.climbed(holds=False)), "retry", "no commit",
                 id="what is denied comes first"),
    pytest.param(w.ended("lost"), "retry", "lease ran out", id="lost"),
    pytest.param(w.ended("lost", attempts_left=0), "retry", "lease", id="lost, and none left"),
    pytest.param(w.ended("lost", attempt=9), "retry", "lease", id="lost in the ninth attempt"),
    pytest.param(w.ended("lost", attempt=10), "hand-over", "10 attempts", id="lost in the tenth"),
    pytest.param(w.ended(last_error="interrupted: silent"), "retry", "stopped a silent attempt",
                 id="interrupted"),
    pytest.param(w.ended(last_error="prompt is too long"), "retry", "", id="session spoilt"),
    pytest.param(throttled(899), "leave-alone", "waits until 2026-11-22 10:00:01Z",
                 id="throttled 899 s ago"),
    pytest.param(throttled(900), "retry", "throttles", id="throttled 900 s ago"),
    pytest.param(w.running(), "leave-alone", "heartbeat fresh", id="alive"),
    pytest.param(w.running(scheduler=Reported(status="expired")), "leave-alone",
                 "the planes disagree on its status, but it works", id="split brain, alive"),
    pytest.param(w.silent(400), "leave-alone", "no sign of life for 400 s", id="at risk"),
    pytest.param(w.silent(1300), "interrupt", "no sign of life for 1300 s", id="dead"),
    pytest.param(w.silent(1300, at_risk_polls=0), "leave-alone", "1300 s", id="one poll"),
    pytest.param(w.silent(1300, heartbeat=w.beat(1300, 1)), "leave-alone", "no output",
                 id="one signal"),
    pytest.param(w.silent(1300, cancel_requested=True), "leave-alone", "a stop was requested",
                 id="dead, and a stop is on its way"),
    pytest.param(w.running(status="judging"), "leave-alone", "judge", id="judging"),
    pytest.param(w.task("queued"), "leave-alone", "waiting for a worker host", id="queued"),
    pytest.param(w.planned(), "submit", "nothing blocks it", id="planned"),
    pytest.param(w.planned(depends_on=("T-9",)), "leave-alone", "waits for T-9", id="depends"),
    pytest.param(w.ended("cancelled"), "leave-alone", "cancelled", id="cancelled"),
    pytest.param(w.task("accepted"), "leave-alone", "accepted", id="accepted"),
    pytest.param(w.task("replaced"), "leave-alone", "replaced", id="replaced"),
    pytest.param(w.task("handed-over"), "leave-alone", "handed-over", id="handed over"),
    pytest.param(w.task(None), "leave-alone", "unknown", id="status unknown"),
    pytest.param(w.parked(), "leave-alone", "unknown defect", id="parked behind nothing known"),
    pytest.param(w.running(attempt=2, late_reports=(w.late(),)), "inspect", "reported late",
                 id="a late report while it runs"),
    pytest.param(w.task("accepted", late_reports=(w.late(),)), "inspect", "reported late",
                 id="a late report after all is over"),
    pytest.param(w.proven(late_reports=(w.late(),)), "inspect", "reported late",
                 id="a late report beside a proof"),
    pytest.param(w.proven(late_reports=(w.late(inspected=True),)), "accept", "",
                 id="a late report that was read"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "action", "reason"), ALONE)
def test_one_task_alone(task, action, reason):
    decision = w.of(decide(w.world(task), w.policy()))
    assert decision.proposal.action == action
    assert reason in decision.proposal.reason
    assert isinstance(decision.clearance, Cleared), decision.clearance
    assert decision.proposal.attempt == task.attempt


@pytest.mark.parametrize(
    ("task", "charged", "fresh"),
    [
        pytest.param(CONTRADICTED, True, False, id="its own fault"),
        pytest.param(CLAIMED, True, False, id="only claimed"),
        pytest.param(w.ended("lost"), False, False, id="lost"),
        pytest.param(w.ended(failure=w.typed("host-stopped")), False, False,
                     id="host stopped"),
        pytest.param(w.ended(last_error="interrupted: silent"), False, True, id="interrupted"),
        pytest.param(w.ended(last_error="prompt is too long"), True, True, id="session spoilt"),
    ],
)  # fmt: skip
def test_what_a_retry_costs_and_whether_it_starts_afresh(task, charged, fresh):
    proposal = w.of(decide(w.world(task), w.policy())).proposal
    assert proposal.action is Action.RETRY
    assert (proposal.charged, proposal.fresh_session) == (charged, fresh)
    assert proposal.prompt == w.PROMPT


def test_what_cannot_go_on_is_replaced_with_a_persons_word():
    decision = w.of(decide(w.world(used(CONTRADICTED, session_continuable=False)), w.policy()))
    assert decision.proposal.action is Action.REPLACE
    assert isinstance(decision.clearance, NeedsApproval)


@pytest.mark.parametrize(
    ("task", "defects", "action"),
    [
        pytest.param(used(CONTRADICTED, attempts_left=0), (), "replace", id="its own fault, spent"),
        pytest.param(w.ended("lost"), (), "replace", id="lost"),
        pytest.param(w.parked(), (fixed(),), "hand-over", id="parked behind what is fixed now"),
    ],
)
def test_what_cannot_go_on_is_not_sent_on(task, defects, action):
    stuck = used(task, session_continuable=False)
    assert w.actions(w.world(stuck, defects=defects)) == {"T-1": action}


def test_a_host_short_of_memory_sends_one_at_a_time():
    low = Supervisor(last_tick_at=w.ago(300), interval=300, low_memory=True)
    tasks = [w.planned(id=f"T-{n}") for n in range(1, 4)]
    assert list(w.actions(w.world(*tasks, supervisor=low)).values()) == [
        "submit", "leave-alone", "leave-alone",
    ]  # fmt: skip


TOGETHER = [
    pytest.param(w.world(w.without_jq(), JQ2), ["open-issue", "leave-alone"],
                 id="a tool is missing twice: one issue"),
    pytest.param(w.world(w.without_jq(id="T-10"), JQ2), ["open-issue", "leave-alone"],
                 id="T-2 stands for T-10"),
    pytest.param(w.world(w.without_jq(inspected=False), JQ2), ["inspect", "open-issue"],
                 id="an unread result does not stand for others"),
    pytest.param(w.world(w.without_jq(), JQ2, defects=(w.defect("observed"),)),
                 ["open-issue", "leave-alone"], id="observed is not recorded"),
    pytest.param(w.world(w.without_jq(), w.ended(id="T-2", last_error="sh: 1: gh: not found")),
                 ["open-issue", "open-issue"], id="two tools are missing: two issues"),
    pytest.param(w.world(w.without_jq(), JQ2, defects=(w.defect(),)), ["park", "park"],
                 id="recorded: both park"),
    pytest.param(w.world(*PARKED, defects=(w.defect(),)), ["split-defect", "leave-alone"],
                 id="parked: one task to fix it"),
    pytest.param(w.world(w.parked(), JQ2, defects=(w.defect(),)), ["split-defect", "park"],
                 id="one parked, one not yet"),
    pytest.param(w.world(*PARKED, defects=(w.defect(fixed_by=FAR),)),
                 ["leave-alone", "leave-alone"], id="somebody is at the fix"),
    pytest.param(w.world(*PARKED, defects=(fixed(),)), ["release", "leave-alone"],
                 id="fixed: one goes first"),
    pytest.param(w.world(w.without_jq(), JQ2, defects=(fixed(),)), ["release", "leave-alone"],
                 id="fixed before they were parked"),
    pytest.param(w.world(w.running(**CANARY), PARKED[1], defects=(fixed(),)),
                 ["leave-alone", "leave-alone"], id="the first is under way"),
    pytest.param(w.world(w.ended(**CANARY, inspected=False), PARKED[1], defects=(fixed(),)),
                 ["inspect", "leave-alone"], id="the first is back, unread"),
    pytest.param(w.world(*PARKED, defects=(fixed(proven_by=FAR),)), ["release", "release"],
                 id="it is proven: all go"),
    pytest.param(w.world(w.without_jq(canary=True, blocked_by="D-1"), PARKED[1],
                         defects=(fixed(),)), ["open-issue", "leave-alone"],
                 id="the first stopped there again"),
    pytest.param(w.world(used(CONTRADICTED, **CANARY), PARKED[1], defects=(fixed(),)),
                 ["retry", "leave-alone"], id="the first stopped at something of its own"),
    pytest.param(w.world(w.planned(), w.planned(id="T-2", depends_on=("T-1",))),
                 ["submit", "leave-alone"], id="one depends on the other"),
    pytest.param(w.world(w.task("accepted"), w.planned(id="T-2", depends_on=("T-1",))),
                 ["leave-alone", "submit"], id="what it depends on is accepted"),
    pytest.param(w.world(w.proven(), w.planned(id="T-2", depends_on=("T-1",))),
                 ["accept", "leave-alone"], id="what it depends on is not accepted yet"),
    pytest.param(w.world(w.running(), w.planned(id="T-2"), window={"limit": 1}),
                 ["leave-alone", "leave-alone"], id="the window is full"),
    pytest.param(w.world(w.proven(inspected=False), w.planned(id="T-2"), window={"limit": 1}),
                 ["inspect", "leave-alone"], id="an unread result holds its lane"),
    pytest.param(w.world(w.proven(), w.planned(id="T-2"), window={"limit": 1}),
                 ["accept", "submit"], id="a read one does not"),
    pytest.param(w.world(w.planned(), used(CONTRADICTED, id="T-2"), window={"limit": 1}),
                 ["leave-alone", "retry"], id="one lane: recovery before refill"),
    pytest.param(w.world(*(w.planned(id=f"T-{n}") for n in range(1, 6))),
                 ["submit"] * 3 + ["leave-alone"] * 2, id="few submits in one tick"),
    pytest.param(w.world(used(CONTRADICTED, id="T-1", prompt=" "), w.planned(id="T-2"),
                         window={"limit": 1}), ["retry", "submit"],
                 id="what is refused takes no lane"),
]  # fmt: skip


@pytest.mark.parametrize(("snapshot", "actions"), TOGETHER)
def test_tasks_beside_one_another(snapshot, actions):
    assert [str(one.proposal.action) for one in decide(snapshot, w.policy()).tasks] == actions


@pytest.mark.parametrize(
    ("snapshot", "task", "reason"),
    [
        pytest.param(w.world(w.running(), w.planned(id="T-2"), window={"limit": 1}), "T-2",
                     "submit waits for a free lane", id="window full"),
        pytest.param(w.world(*(w.planned(id=f"T-{n}") for n in range(1, 5))), "T-4",
                     "submit waits for the next tick", id="submits are few"),
        pytest.param(w.world(w.without_jq(), JQ2), "T-2", "until the shared defect is recorded",
                     id="another task's issue"),
        pytest.param(w.world(*PARKED, defects=(w.defect(fixed_by=FAR),)), "T-2", f"by {FAR}",
                     id="somebody fixes it"),
        pytest.param(w.world(*PARKED, defects=(fixed(),)), "T-2", "another task is released first",
                     id="another task goes first"),
    ],
)  # fmt: skip
def test_leaving_alone_has_its_reason(snapshot, task, reason):
    assert reason in w.of(decide(snapshot, w.policy()), task).proposal.reason


def test_an_issue_says_what_was_seen():
    proposal = w.of(decide(w.world(w.without_jq()), w.policy())).proposal
    assert proposal.cause is not None
    assert (proposal.cause.id, proposal.cause.fingerprint) == ("new", w.JQ)
    assert proposal.cause.summary == "check.sh: line 2: jq: command not found"
    assert proposal.cause.status == "observed"


def test_a_fix_that_did_not_help_reopens_the_same_defect():
    again = w.world(w.without_jq(canary=True, blocked_by="D-1"), defects=(fixed(),))
    cause = w.of(decide(again, w.policy())).proposal.cause
    assert cause is not None
    assert (cause.id, cause.issue, cause.status) == ("D-1", "#12", "observed")


@pytest.mark.parametrize("status", ["recorded", "fixed"])
def test_the_task_that_fixes_a_defect_does_not_wait_for_it(status):
    mender = w.without_jq(fixes="D-1", kind="infrastructure", criteria=())
    proposal = w.of(decide(w.world(mender, defects=(w.defect(status),)), w.policy())).proposal
    assert (proposal.action, proposal.charged) == (Action.RETRY, True)


def test_every_proposal_about_a_defect_names_it():
    for snapshot in (row.values[0] for row in TOGETHER):
        for decision in decide(snapshot, w.policy()).tasks:
            if decision.proposal.action in ("park", "split-defect", "release"):
                assert decision.proposal.defect == "D-1"


def test_recovery_comes_before_refill():
    snapshot = w.world(
        w.planned(id="T-1"), used(CONTRADICTED, id="T-2"), w.proven(id="T-3"),
        w.proven(id="T-4", judge=None), w.silent(1300, id="T-5"), w.without_jq(id="T-6"),
        w.running(id="T-7"), window={"limit": 10},
    )  # fmt: skip
    carried_out = [one.proposal.action for one in decide(snapshot, w.policy()).in_order]
    assert carried_out == [
        "judge", "accept", "interrupt", "open-issue", "retry", "submit", "leave-alone",
    ]  # fmt: skip


AWAY = Supervisor(last_tick_at=w.ago(5000), interval=300)


def test_a_suspended_tick_clears_only_reading():
    snapshot = w.world(
        w.planned(), w.proven(id="T-2"), w.silent(1300, id="T-3"),
        w.ended(id="T-4", inspected=False), w.running(id="T-5"), supervisor=AWAY,
        window={"limit": 2, "outcomes": w.outcomes(0, 10)},
    )  # fmt: skip
    said = decide(snapshot, w.policy())
    found = {one.proposal.task: one.proposal for one in said.tasks}
    assert {task for task, one in found.items() if one.action is not Action.LEAVE_ALONE} == {"T-4"}
    assert all(isinstance(one.clearance, Cleared) for one in said.tasks)
    assert found["T-2"].reason.startswith("accept waits: ")
    assert said.window is not None
    assert said.window.clearance.rules == ("never_act_while_suspended",)
    assert said.sentence.startswith("Suspended: ")


AROUND = {
    "out of reach": ((False, "free"), "the queue is out of reach"),
    "reach unknown": ((None, "free"), "nobody knows whether the queue can be reached"),
    "lock held": ((True, "held"), "somebody else holds the submit lock"),
    "lock unknown": ((True, None), "nobody knows whether the submit lock is free"),
}


@pytest.mark.parametrize(("around", "why"), AROUND.values(), ids=AROUND)
def test_what_is_amiss_around_a_task_is_waited_for_and_named(around, why):
    control_plane = {"reachable": around[0], "submit_lock": around[1]}
    snapshot = w.world(w.planned(), control_plane=control_plane)
    said = decide(snapshot, w.policy())
    (left,) = said.tasks
    assert (left.proposal.action, left.proposal.reason) == (
        Action.LEAVE_ALONE,
        f"submit waits: {why}",
    )
    assert isinstance(left.clearance, Cleared)
    _, asked = ask(said.assessment, Action.SUBMIT, "T-1")
    assert asked.rules


@pytest.mark.parametrize(
    ("good", "bad", "action", "limit"),
    [(10, 0, "widen-window", 2), (0, 10, None, None), (3, 0, None, None)],
)
def test_the_window_moves_by_one(good, bad, action, limit):
    known = {"limit": 1, "outcomes": w.outcomes(good, bad)}
    moved = decide(w.world(w.running(), window=known), w.policy()).window
    assert (moved and moved.proposal.action, moved and moved.proposal.limit) == (action, limit)


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        pytest.param(w.world(), "Nothing to do.", id="an empty world"),
        pytest.param(w.world(w.running()), "1 task live, nothing to do.", id="one live task"),
        pytest.param(w.world(w.running(), w.silent(400, id="T-2"), w.proven(id="T-3")),
                     "1 task live, 1 task at risk, accept T-3.", id="something is to be done"),
        pytest.param(w.world(w.planned(), w.planned(id="T-2"), w.running(id="T-3")),
                     "1 task live, submit T-1, T-2.", id="two of a kind"),
        pytest.param(w.world(window={"limit": 2, "outcomes": w.outcomes(0, 10)}),
                     "Narrow-window.", id="only the window moves"),
    ],
)  # fmt: skip
def test_a_tick_ends_in_one_sentence(snapshot, said):
    assert decide(snapshot, w.policy()).sentence == said


def test_the_four_questions_are_answered_in_words():
    questions = w.of(decide(w.world(w.without_jq(), defects=(w.defect(),)), w.policy())).questions
    assert questions is not None
    assert questions.completion_quality == "missing: nothing shows yet that a commit was pushed"
    assert questions.completion_state == "failed: the task is failed"
    assert questions.self_blocking_risk == "blocked by D-1 (recorded)"
    assert questions.next_action == "park: waits for D-1 (missing-tool: jq)"


ASKED = [
    (w.running(), Action.INTERRUPT, "never_interrupt_a_live_task"),
    (w.running(), Action.CANCEL, "never_interrupt_a_live_task"),
    (w.ended(inspected=False), Action.RETRY, "never_act_on_an_unread_result"),
    (CLAIMED, Action.ACCEPT, "never_accept_without_verified_evidence"),
    (w.proven(criteria=()), Action.ACCEPT, "never_accept_an_unmet_criterion"),
    (w.running(), Action.TAKE_OVER, "never_take_over_a_workers_task"),
    (w.running(), Action.RUN_HEAVY_CHECK, "never_run_heavy_checks_on_the_master"),
    (w.running(), Action.REVERT_CHANGES, "never_touch_unrelated_changes"),
    (CLAIMED, Action.ACCEPT, "never_trust_local_state_over_the_remote"),
    (w.running(), Action.PATCH_DATABASE, "never_patch_the_database"),
    (CONTRADICTED, Action.REPLACE, "never_duplicate_a_continuable_task"),
    (w.planned(prompt="As discussed."), Action.SUBMIT, "never_send_a_prompt_that_leans_on_context"),
    (w.without_jq(), Action.RETRY, "never_retry_into_a_known_defect"),
    (w.without_jq(), Action.SPLIT_DEFECT, "never_fix_infrastructure_before_recording_it"),
    (w.without_jq(), Action.DEPLOY, "never_deploy_without_grant_and_path"),
    (w.without_jq(), Action.LIVE_REMEDY, "never_leave_a_live_remedy_unpersisted"),
    (used(CONTRADICTED, attempts_left=0), Action.RETRY, "never_spend_past_the_budget"),
]


@pytest.mark.parametrize(
    ("task", "action", "rule"), ASKED, ids=[f"{action}: {rule}" for _, action, rule in ASKED]
)
def test_asked_for_by_name_and_refused_by_name(task, action, rule):
    assessment = assess(w.world(task), w.policy())
    clearance = ask(assessment, action, task.id)[1]
    assert word(clearance) == "refused"
    assert rule in clearance.rules


def test_asking_about_a_task_nobody_knows_is_refused():
    assessment = assess(w.world(w.running()), w.policy())
    for action in set(Action) - {"leave-alone", "inspect", "narrow-window", "run-heavy-check"}:
        assert word(ask(assessment, action, "T-404")[1]) == "refused"


@pytest.mark.parametrize("mode", ["observe", "approve"])
def test_the_decisions_are_the_same_in_every_mode(mode):
    """Only who says yes differs."""

    def proposed(snapshot: Snapshot) -> list[tuple[str, str]]:
        decisions = decide(snapshot, w.policy()).tasks
        return [(one.proposal.action, one.proposal.reason) for one in decisions]

    for task in (row.values[0] for row in ALONE):
        assert proposed(w.world(task, mode=mode)) == proposed(w.world(task))
