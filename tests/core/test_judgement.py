"""What was judged, what shows the change, and what the guard makes of both."""

import json
from typing import Any

import pytest

from agent.core.assess import judgement
from agent.core.assess.assessment import assess
from agent.core.guard.facts import FACTS
from agent.core.model.actions import Action, Cleared, NeedsApproval, Refused
from agent.core.model.nouns import Command, Review, Task
from agent.core.plan import contract
from agent.core.plan.planner import ask, clear, decide
from tests.core import worlds as w
from tests.core.random_worlds import random_world

CASES = w.ROOT.parent / "shared" / "cases" / "proof" / "decide"
OTHER = "0" * 40
PUSHED = (w.seen("commit-pushed"),)
NOT_PUSHED = (w.NOTHING_PUSHED,)
NOBODY_KNOWS = (w.seen("commit-pushed", holds=None, value=None, detail="no answer"),)
CHECK = (Command(argv=("./check",)),)


def unjudged(**over: Any) -> Task:
    return w.proven(**{"judge": None} | over)


def state(task: Task) -> str:
    return judgement.state(task, w.policy().completion)


STATES = [
    pytest.param(w.proven(), "passed", id="passed"),
    pytest.param(w.proven(judge=w.judged("fail")), "failed", id="failed"),
    pytest.param(w.proven(judge=w.judged("unknown")), "unknown", id="nothing was checked"),
    pytest.param(w.proven(judge=w.judged("pass", commit=w.COMMIT)), "passed", id="this commit"),
    pytest.param(w.proven(judge=w.judged("pass", commit=OTHER)), "missing", id="another commit"),
    pytest.param(w.proven(judge=w.judged("fail", commit=OTHER)), "missing",
                 id="another commit failed"),
    pytest.param(unjudged(), "missing", id="commands are not known, of a code change"),
    pytest.param(unjudged(acceptance_commands=CHECK), "missing", id="commands"),
    pytest.param(unjudged(acceptance_commands=()), "none", id="no commands"),
    pytest.param(unjudged(kind="documentation"), "none", id="not known, of a document"),
    pytest.param(unjudged(kind="documentation", acceptance_commands=CHECK), "missing",
                 id="of a document"),
    pytest.param(unjudged(kind=None), "missing", id="kind not known"),
    pytest.param(unjudged(judging="ordered"), "ordered", id="ordered"),
    pytest.param(unjudged(judging="running"), "ordered", id="a judge host has it"),
    pytest.param(unjudged(evidence=NOT_PUSHED), "nothing", id="nothing was pushed"),
    pytest.param(unjudged(evidence=NOBODY_KNOWS), "unjudged", id="the remote does not answer"),
    pytest.param(unjudged(evidence=()), "unjudged", id="nobody has looked"),
    pytest.param(unjudged(evidence=(w.seen("commit-pushed", origin="claimed"),)), "unjudged",
                 id="the worker says it pushed"),
    pytest.param(unjudged(kind="infrastructure", acceptance_commands=CHECK, criteria=(),
                          evidence=()), "missing", id="nothing has to be pushed"),
    pytest.param(w.proven(queue_judge=w.judged("fail")), "failed", id="the queue's judge failed"),
    pytest.param(w.proven(queue_judge=w.judged("fail", commit=OTHER)), "passed",
                 id="the queue's judge failed another commit"),
    pytest.param(unjudged(queue_judge=w.judged("pass")), "missing",
                 id="the queue's judge proves nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "expected"), STATES)
def test_how_far_a_result_is_judged(task, expected):
    assert state(task) == expected


def met(quote: str | None = "it works", **over: Any) -> Review:
    review = w.reviewed(C1="met")
    said = tuple(one.model_copy(update={"quote": quote}) for one in review.criteria)
    return review.model_copy(update={"criteria": said, **over})


GREEN = w.judged("pass", shown=False)
READ = {"criteria": w.proved_by("judgement"), "judge": GREEN}
SHOWN = [
    pytest.param(w.proven(), "yes", id="a command failed before and passes now"),
    pytest.param(w.proven(judge=GREEN), "no", id="every command passed before, too"),
    pytest.param(w.proven(judge=w.judged("pass", shown=None)), "no", id="nobody tried the base"),
    pytest.param(w.proven(judge=None), "no", id="not judged"),
    pytest.param(w.proven(judge=GREEN, shown_by="push"), "waived", id="waived in the wave file"),
    pytest.param(w.proven(judge=GREEN, kind="documentation"), "no", id="a document"),
    pytest.param(w.proven(judge=GREEN, kind="infrastructure"), "yes", id="seen at work"),
    pytest.param(w.proven(**READ, review=met()), "yes", id="a reviewer quotes it"),
    pytest.param(w.proven(**READ, review=met(None)), "no", id="a reviewer says so"),
    pytest.param(w.proven(**READ, review=met(attempt=7)), "no", id="of another attempt"),
    pytest.param(w.proven(judge=GREEN, review=met()), "no", id="no criterion of judgement"),
    pytest.param(w.proven(judge=GREEN, evidence=(*w.climbed(), w.seen("change-shown"))), "yes",
                 id="evidence"),
    pytest.param(w.proven(judge=GREEN, evidence=(
        *w.climbed(), w.seen("change-shown", origin="claimed"))), "no", id="the worker says so"),
    pytest.param(w.proven(judge=GREEN, evidence=(
        *w.climbed(), w.seen("change-shown", attempt=7))), "no", id="evidence of another attempt"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "expected"), SHOWN)
def test_whether_anything_shows_the_change(task, expected):
    assert assess(w.world(task), w.policy()).tasks["T-1"].judged.shown == expected


GONE = [
    pytest.param(w.proven(), True, id="succeeded"),
    pytest.param(w.proven(tree_gone=None), True, id="succeeded, and nobody looked"),
    *(pytest.param(w.proven(status=one, tree_gone=gone), gone, id=f"{one}, gone: {gone}")
      for one in ("failed", "lost", "cancelled") for gone in (True, False, None)),
    pytest.param(w.proven(status="lost", judge=w.judged("pass", at=w.ago(31))), None,
                 id="judged before it ended"),
    pytest.param(w.proven(status="lost", judge=None), None, id="not judged"),
    pytest.param(w.proven(status="lost", finished_at=None), None, id="its end is not known"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "gone"), GONE)
def test_whether_an_agent_may_still_be_alive(task, gone):
    assert judgement.agent_gone(task) is gone


HEAVY = [
    (("npx", "playwright", "test"), True),
    (("npm", "run", "check:full"), True),
    (("make", "e2e-tests"), True),
    (("./scripts/full-check.sh",), True),
    (("bun", "run", "test:e2e"), True),
    (("pytest", "tests/test_players.py"), False),
    (("make", "check"), False),
    (("cargo", "test", "--", "fullness"), False),
    (("pytest", "tests/e2each.py"), False),
]


@pytest.mark.parametrize(("argv", "heavy"), HEAVY, ids=str)
def test_what_is_too_heavy_for_the_master(argv, heavy):
    known = (Command(argv=("true",)), Command(argv=argv))
    assert judgement.is_heavy(w.task(acceptance_commands=known), w.policy().completion) is heavy
    marked = (Command(argv=argv, heavy=True),)
    assert judgement.is_heavy(w.task(acceptance_commands=marked), w.policy().completion)


PROPOSED = [
    pytest.param(unjudged(), "judge", "3f2c1aa9 was pushed", id="pushed"),
    *(pytest.param(unjudged(status=one), "judge", "was pushed", id=f"pushed and {one}")
      for one in ("failed", "lost")),
    pytest.param(unjudged(judging="ordered"), "leave-alone", "has not taken it yet", id="ordered"),
    pytest.param(unjudged(judging="running"), "leave-alone", "is at work on it", id="running"),
    pytest.param(unjudged(evidence=NOT_PUSHED), "retry", "origin has no branch a",
                 id="nothing pushed"),
    pytest.param(unjudged(evidence=NOBODY_KNOWS), "leave-alone", "a commit was pushed: no answer",
                 id="nobody knows"),
    pytest.param(w.proven(judge=w.judged("fail", reason="./check ended with 1")), "retry",
                 "the judge did not pass it: ./check ended with 1", id="failed"),
    pytest.param(w.proven(judge=w.judged("unknown", reason="no test ran")), "retry",
                 "the judge did not pass it: no test ran", id="nothing was checked"),
    pytest.param(w.proven(status="lost", tree_gone=None), "retry", "lease", id="perhaps alive"),
    pytest.param(w.proven(status="lost"), "accept", "all evidence", id="lost, and gone"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "action", "reason"), PROPOSED)
def test_what_follows(task, action, reason):
    decision = w.of(decide(w.world(task), w.policy()))
    assert decision.proposal.action == action
    assert reason in decision.proposal.reason
    assert isinstance(decision.clearance, Cleared)


def test_a_judgement_names_the_commit_and_what_it_is_compared_with():
    pushed = (w.seen("commit-pushed", base="b" * 40),)
    proposal = w.of(decide(w.world(unjudged(evidence=pushed)), w.policy())).proposal
    assert (proposal.commit, proposal.base, proposal.heavy) == (w.COMMIT, "b" * 40, False)


def test_what_nothing_shows_is_a_persons_decision():
    task = w.proven(judge=GREEN)
    decision = w.of(decide(w.world(task), w.policy()))
    assert decision.proposal.action is Action.ACCEPT
    assert "nothing shows that what was asked for works" in decision.proposal.reason
    assert isinstance(decision.clearance, NeedsApproval)
    assessment = assess(w.world(task), w.policy())
    by_rule = clear(assessment, decision.proposal, consented=True)[1]
    assert isinstance(by_rule, NeedsApproval)
    assert isinstance(clear(assessment, decision.proposal, approved=True)[1], Cleared)


def test_a_heavy_check_waits_for_a_judge_host_elsewhere():
    task = unjudged(acceptance_commands=(Command(argv=("npx", "playwright", "test")),))
    on_master = w.of(decide(w.world(task), w.policy()))
    assert on_master.proposal.action is Action.LEAVE_ALONE
    assert "too heavy for the master" in on_master.proposal.reason
    _, answer = ask(assess(w.world(task), w.policy()), Action.JUDGE, "T-1")
    assert answer.rules == ("never_run_heavy_checks_on_the_master",)
    elsewhere = w.of(decide(w.world(task, supervisor={"host": "worker"}), w.policy()))
    assert elsewhere.proposal.action is Action.JUDGE
    assert elsewhere.proposal.heavy


LATE = {"finished_at": w.ago(4 * 3600), "started_at": w.ago(4 * 3600 + 60)}


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        pytest.param(
            unjudged(judging="ordered", judging_since=w.ago(4 * 3600)),
            "no judge host has judged it since", id="no judge host",
        ),
        pytest.param(
            unjudged(acceptance_commands=(Command(argv=("make", "e2e")),), **LATE),
            "too heavy for the master", id="too heavy here",
        ),
    ],
)  # fmt: skip
def test_a_person_is_asked_about_what_nobody_judges(task, reason):
    proposal = w.of(decide(w.world(task), w.policy())).proposal
    assert proposal.action is Action.HAND_OVER
    assert reason in proposal.reason


@pytest.mark.parametrize("action", sorted({*Action} - {Action.INSPECT, Action.JUDGE}))
def test_what_is_not_judged_yet_counts_as_unread(action):
    _, answer = ask(assess(w.world(unjudged()), w.policy()), action, "T-1")
    fine = {Action.LEAVE_ALONE, Action.HAND_OVER, Action.NARROW_WINDOW}
    assert isinstance(answer, Cleared) is (action in fine), answer


def test_no_new_work_goes_out_over_an_unread_result():
    unread = w.world(w.proven(inspected=False), w.planned(id="T-2"))
    second = w.of(decide(unread, w.policy()), "T-2")
    assert second.proposal.action is Action.LEAVE_ALONE
    assert second.proposal.reason == "submit waits until the result of T-1 has been read"
    _, answer = ask(assess(unread, w.policy()), Action.SUBMIT, "T-2")
    assert "never_act_on_an_unread_result" in answer.rules


@pytest.mark.parametrize("name", sorted(one.stem for one in CASES.glob("*.json")) or ["absent"])
def test_what_must_not_be_cleared(name):
    if name == "absent":
        pytest.skip("the cases are not beside this repository")
    snapshot = contract.read((CASES / f"{name}.json").read_bytes())
    action, task = (Action.SUBMIT, "T-9") if "submit" in name else (Action.ACCEPT, "T-1")
    said = contract.answer(snapshot, w.policy(), [(action, task)])
    assert said["asked"][0]["clearance"] != "cleared"
    assert not [
        one for one in said["decisions"]
        if (one["action"], one["clearance"]) == (action, "cleared")
    ]  # fmt: skip


def accepts_wrongly(task: Task) -> str | None:
    """Why nobody may accept this by himself, said without the product's own words for it."""
    judge, runs = task.judge, task.acceptance_commands
    has_commands = task.kind in ("code-change", "infrastructure") if runs is None else bool(runs)
    seen = [one for one in task.evidence if one.origin == "observed" and one.holds]
    pushed = {one.value for one in seen if one.kind == "commit-pushed"}
    if judge is not None and judge.commit not in {None, *pushed}:
        judge = None
    if has_commands and (judge is None or judge.verdict != "pass"):
        return "not judged"
    if task.status in ("lost", "failed", "cancelled") and not (
        task.tree_gone and task.judge and task.finished_at and task.judge.at >= task.finished_at
    ):
        return "its agent may live"
    if task.kind in ("code-change", "documentation") and task.shown_by != "push":
        read = any(one.quote for one in task.review.criteria) if task.review else False
        said = any(one.kind == "change-shown" and one.holds for one in task.evidence)
        if not (task.judge and task.judge.shown) and not read and not said:
            return "nothing shows it"
    return None


def clears_no_wrong_accept(seeds: range) -> tuple[int, int]:
    """How many accepts were cleared, of how many tasks; none of them wrongly."""
    cleared = tasks = 0
    for seed in seeds:
        snapshot = random_world(seed)
        assessment = assess(snapshot, w.policy())
        unread = [
            one for one in snapshot.tasks
            if one.status in ("succeeded", "failed", "cancelled", "lost")
            and one.held is None and not one.inspected
        ]  # fmt: skip
        for task in snapshot.tasks:
            tasks += 1
            if isinstance(ask(assessment, Action.ACCEPT, task.id)[1], Cleared):
                cleared += 1
                assert accepts_wrongly(task) is None, (seed, task)
            if unread:
                answer = ask(assessment, Action.SUBMIT, task.id)[1]
                assert isinstance(answer, Refused), (seed, task)
    return cleared, tasks


def test_random_worlds_clear_no_wrong_accept():
    cleared, tasks = clears_no_wrong_accept(range(400))
    assert 0 < cleared < tasks


@pytest.mark.long
def test_50_000_random_worlds_clear_no_wrong_accept():
    cleared, tasks = clears_no_wrong_accept(range(50_000))
    assert 500 < cleared < tasks


def test_the_vocabulary_of_the_judge_is_that_of_the_contract():
    assert FACTS["judge"] == ("unknown", "none", "failed", "passed")


def test_a_snapshot_with_all_of_it_is_read():
    task = {
        "id": "T-1", "status": "lost", "treeGone": True, "shownBy": "push", "judging": "ordered",
        "acceptanceCommands": [{"argv": ["./check"], "heavy": True}, ["pytest", "-q"]],
        "baseline": {"branch": None, "default": OTHER},
        "judge": {"verdict": "pass", "at": "2026-11-22T09:00:00Z", "commit": OTHER},
    }  # fmt: skip
    raw = {"schema": "wavekeeper.snapshot/1", "now": "2026-11-22T10:00:00Z", "tasks": [task]}
    read = contract.read(json.dumps(raw).encode()).tasks[0]
    assert read.acceptance_commands is not None
    assert (read.tree_gone, read.shown_by, read.acceptance_commands[0].heavy) == (
        True, "push", True,
    )  # fmt: skip
    assert read.acceptance_commands[1] == Command(argv=("pytest", "-q"))
