"""A person in the loop: asked once, answered once, done once, and only what was shown."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cli.run import all_wait_for_a_person
from agent.core.approval import asking
from agent.core.approval.requests import StandingRule
from agent.core.assess.assessment import assess
from agent.core.journal.replay import Consent
from agent.core.model.actions import Action
from agent.core.plan import planner
from agent.errors import ChangedMeanwhileError, GuardRefusesError
from agent.runtime.approval_answers import Answering, bundle_of
from agent.runtime.approval_queue import ApprovalQueue
from agent.runtime.replay import Session, replay
from tests.core import worlds as w
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

MISSING = "sh: 1: demo-lint: not found"


class Asked(SmallWorld):
    """A small world in approve mode, and a person."""

    def begin(self, *specs):
        self.submit(*(specs or (spec(),)))
        self.person = Answering(self.world, POLICY, "ana@host")
        self.supervisor = self.ticker("approve")
        return self

    def tick(self):
        result = self.supervisor.tick()
        self.clock.move(61)
        return result

    def waiting(self):
        return {
            one.id: (one.proposal.action.value, one.proposal.task) for one in self.person.waiting()
        }

    def yes(self, *requests):
        for request in requests or self.waiting():
            self.person.approve(self.person.request(request), via="panel", looked=3.5)

    def on(self, *, ticks=1):
        """Say yes to everything, tick, let the host work."""
        for _ in range(ticks):
            self.yes()
            self.tick()
            self.host()

    def state(self, request):
        return self.world.approvals.request(request).state

    def done(self):
        return [action for action, _ in self.actions()]


@pytest.fixture
def world(tmp_path):
    return Asked(tmp_path, {}).begin()


def failing(tmp_path, turn=None):
    """T-1 has failed and its retry is asked about."""
    world = Asked(tmp_path, {("T-1", 1): turn or Turn(commit=None)}).begin()
    world.tick()
    world.on()
    world.tick()
    world.tick()
    assert list(world.waiting().values()) == [("retry", "T-1")]
    return world


def test_nothing_is_done_before_somebody_says_yes(world):
    for _ in range(3):
        world.tick()
    assert world.waiting() == {"A-1": ("submit", "T-1")}
    assert world.done() == []
    world.yes()
    world.tick()
    assert world.done() == ["submit"]
    assert world.state("A-1") == "done"
    assert world.waiting() == {}


def test_a_whole_wave_with_every_question_answered(tmp_path):
    troubles = {
        ("T-1", 1): Turn(commit=None),
        ("T-2", 1): Turn(error=MISSING),
        ("T-3", 1): Turn(commit="b" * 40, checks=MISSING),
    }
    world = Asked(tmp_path, troubles).begin(*(spec(f"T-{one}") for one in (1, 2, 3)))
    for _ in range(25):
        world.on()
        if world.settled():
            break
    assert {status for status, _ in world.outcome().values()} == {"accepted"}
    kinds = {one.proposal.action for one in world.world.approvals.requests(live=False)}
    assert {"submit", "retry", "open-issue", "split-defect", "release", "accept"} <= kinds
    assert "park" not in kinds  # told, not asked
    journal = world.world.journal
    assert journal.verify() is None
    all_of_it = Session("S-1", world.clock.now(), "approve", POLICY.hash, 0, None)
    assert replay(journal, [all_of_it], POLICY).differing == []


def test_one_question_per_cause(tmp_path):
    troubles = {(f"T-{one}", 1): Turn(error=MISSING) for one in (1, 2, 3)}
    world = Asked(tmp_path, troubles).begin(*(spec(f"T-{one}") for one in (1, 2, 3)))
    seen = []
    for _ in range(25):
        waiting = world.person.waiting()
        seen += [one.proposal.action for one in waiting]
        bundles = {frozenset(one.id for one in bundle_of(request, waiting)) for request in waiting}
        release = [one for one in waiting if one.proposal.action is Action.RELEASE]
        if len(release) > 1:
            assert len(bundles) == 1
            break
        world.on()
    else:
        pytest.fail("two releases were never asked about together")
    assert seen.count(Action.OPEN_ISSUE) == seen.count(Action.SPLIT_DEFECT) == 1


def test_a_no_holds_until_its_grounds_change(tmp_path):
    world = failing(tmp_path, Turn(commit=None, checks="3 failed"))
    (request,) = world.person.waiting()
    world.person.reject(request, "use the fake clock", via="panel", looked=2.0)
    said = world.tick().decisions[0].proposal
    assert said.action is Action.LEAVE_ALONE
    assert said.reason == f"retry was rejected by ana@host ({request.id}): use the fake clock"
    assert world.waiting() == {}
    world.remote.branches[spec().branch] = "e" * 40  # something new is on the remote
    world.tick()
    world.judge()
    world.tick()
    (again,) = world.person.waiting()
    assert again.follows == request.id
    assert any("commit-pushed" in one for one in again.changes)


def test_a_no_takes_no_lane_from_others(tmp_path):
    world = Asked(tmp_path, {}).begin(*(spec(f"T-{one}") for one in range(1, 6)))
    world.tick()
    assert len(world.waiting()) == POLICY.submit.per_tick == 3
    for request in world.person.waiting():
        world.person.reject(request, "not today", via="panel", looked=1.0)
    world.tick()
    assert sorted(task for _, task in world.waiting().values()) == ["T-4", "T-5"]


def test_an_unanswered_question_expires_and_is_asked_anew(world):
    world.tick()
    (request,) = world.person.waiting()
    world.clock.move(POLICY.approval.expires.low)
    assert world.person.waiting() == []
    with pytest.raises(ChangedMeanwhileError, match="A-1 expired at"):
        world.person.reject(request, "too late", via="panel", looked=1.0)
    world.supervisor = world.ticker("approve")
    world.tick()
    world.tick()
    assert world.state("A-1") == "expired"
    assert world.person.waiting()[0].changes == ("A-1 expired without an answer",)
    (closed,) = world.world.journal.entries(kinds=("closed",))
    assert (closed.record.body["request"], closed.record.body["state"]) == ("A-1", "expired")


def test_put_off_until_a_time_or_until_something_changes(world):
    world.tick()
    (request,) = world.person.waiting()
    world.person.defer(request, world.clock.now() + timedelta(minutes=3))
    said = world.tick().decisions[0].proposal.reason
    assert said.startswith("submit is put off by ana@host until")
    assert world.state("A-1") == "deferred"
    for _ in range(3):
        world.tick()
    assert world.state("A-1") == "pending"
    world.yes("A-1")
    world.tick()
    assert world.done() == ["submit"]


def test_what_was_put_off_may_be_answered_all_the_same(world):
    world.tick()
    world.person.defer(world.person.request("A-1"), None)
    world.tick()
    world.yes("A-1")
    world.tick()
    assert world.done() == ["submit"]


def test_what_changed_before_the_yes_is_not_done_and_named(tmp_path):
    world = failing(tmp_path)
    (request,) = world.person.waiting()
    store = world.world.store
    store.save(store.task_record("T-1").model_copy(update={"charged": (1,)}))
    with pytest.raises(ChangedMeanwhileError, match=f"{request.id} changed: attempts left: 2 -> 1"):
        world.yes(request.id)
    assert world.state(request.id) == "stale"
    world.tick()
    (new,) = world.person.waiting()
    assert (new.follows, new.changes) == (request.id, ("attempts left: 2 -> 1",))
    assert "retry" not in world.done()


def test_what_changes_between_the_yes_and_the_act_is_not_done(tmp_path):
    world = failing(tmp_path)
    (request,) = world.person.waiting()
    world.yes(request.id)
    world.remote.branches[spec().branch] = "e" * 40
    world.tick()
    assert world.state(request.id) == "stale"
    assert "retry" not in world.done()


def test_a_changed_world_at_the_very_moment_of_acting_voids_the_yes(tmp_path):
    """The tick saw the old world; the executor looks again and does not go on."""
    world = failing(tmp_path)
    (request,) = world.person.waiting()
    world.yes(request.id)
    executor, snapshot = world.supervisor._executor, world.supervisor._observer.observe()
    desk = world.supervisor._approvals
    decisions = planner.decide(snapshot, POLICY)
    desk.begin(9, world.clock.now())
    ruled = desk.rule(decisions.assessment, decisions.tasks[0], "0" * 64)
    assert ruled.consent.name == request.id
    store = world.world.store
    store.save(store.task_record("T-1").model_copy(update={"charged": (1,)}))
    done = executor.carry_out(ruled.decision.clearance, 9, ruled.consent)
    assert done.result == "void"
    assert "rests on has changed" in done.said


def test_a_refusal_cannot_be_approved(tmp_path):
    world = failing(tmp_path)
    (request,) = world.person.waiting()
    store = world.world.store
    store.save(store.task_record("T-1").model_copy(update={"inspected_attempt": 0}))
    with pytest.raises(GuardRefusesError, match="never_act_on_an_unread_result"):
        world.yes(request.id)


def test_the_first_answer_wins_and_the_other_is_told(world):
    world.tick()
    seen = world.person.request("A-1")
    ben = Answering(world.world, POLICY, "ben@host")
    ben.reject(seen, "no", via="panel", looked=1.0)
    with pytest.raises(ChangedMeanwhileError, match=r"A-1 was rejected by ben@host at \d\d:"):
        world.person.approve(seen, via="panel", looked=1.0)
    assert len(list(world.world.journal.entries(kinds=("answered",)))) == 1


def test_an_edited_prompt_is_linted_and_is_what_is_sent(tmp_path):
    world = failing(tmp_path)
    (request,) = world.person.waiting()
    bad = world.person.edit(request, "Do it as we discussed.")
    assert {one.rule for one in bad.findings} >= {"section-missing", "leans-on-context"}
    assert world.person.request(request.id).digest == request.digest
    words = request.proposal.prompt.replace(
        "## Background\n", "## Background\n\nUse the fake clock.\n"
    )
    edited = world.person.edit(request, words)
    assert edited.findings == ()
    assert "+Use the fake clock." in edited.difference
    with pytest.raises(ChangedMeanwhileError, match=f"{request.id} is now"):
        world.person.approve(request, via="panel", looked=1.0)  # what was shown before
    world.tick()
    world.yes(request.id)
    world.tick()
    assert world.queue.get("T-1").prompt == words
    (answered,) = [
        one.record.body
        for one in world.world.journal.entries(kinds=("answered",))
        if one.record.body["request"] == request.id
    ]
    assert answered["edited"] is True


def test_a_rule_answers_for_a_while_and_so_many_times(tmp_path):
    world = Asked(tmp_path, {}).begin(*(spec(f"T-{one}") for one in (1, 2, 3)))
    now = world.clock.now()
    world.person.add_rule(
        StandingRule(action=Action.SUBMIT, tasks="T-*", until=now + timedelta(hours=1),
                     most_uses=2, made_by="ana@host", made_at=now),
    )  # fmt: skip
    result = world.tick()
    assert [one.result for one in result.done] == ["done", "done", "void"]
    assert world.world.approvals.rules()[0].used == 2
    world.tick()
    assert list(world.waiting().values()) == [("submit", "T-3")]


def test_no_rule_and_no_tier_speaks_where_a_persons_own_word_is_needed():
    """`replace` needs `approval = granted`; consent given beforehand is not that."""
    task = w.ended(session_continuable=False)
    assessment = assess(w.world(task, mode="approve"), POLICY)
    decision = planner.decide(assessment.snapshot, POLICY).tasks[0]
    assert decision.proposal.action is Action.REPLACE
    rule = StandingRule(action=Action.REPLACE, until=w.NOW + timedelta(days=1), most_uses=9,
                        made_by="a", made_at=w.NOW)  # fmt: skip
    assert asking.consent_without_asking(assessment, decision, [rule]) is None


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("where", ["before the intent", "after the intent", "after the effect"])
def test_killed_between_answer_and_outcome_nothing_is_lost_or_done_twice(
    tmp_path, where, monkeypatch
):
    world = failing(tmp_path)
    (request,) = world.person.waiting()
    world.yes(request.id)
    executor = world.supervisor._executor
    real_act, real_write = executor._act, executor._write

    def act(*arguments):
        if where == "after the intent":
            raise Killed
        real_act(*arguments)
        raise Killed

    def write(kind, *arguments):
        if where == "before the intent" or (where == "after the effect" and kind == "outcome"):
            raise Killed
        real_write(kind, *arguments)

    monkeypatch.setattr(executor, "_act", act)
    monkeypatch.setattr(executor, "_write", write)
    with pytest.raises(Killed):
        world.supervisor.tick()
    monkeypatch.undo()
    world.supervisor = world.ticker("approve")
    world.clock.move(61)
    for _ in range(3):
        world.tick()
    if where == "after the intent":  # it is read back that nothing happened: asked anew
        assert world.state(request.id) == "stale"
        (new,) = world.person.waiting()
        world.yes(new.id)
        world.tick()
    else:
        assert world.state(request.id) == "done"
    assert world.queue.get("T-1").attempt == 2
    assert world.done().count("retry") == 1


def test_the_journal_hears_of_an_answer_whose_writer_was_killed(world, monkeypatch):
    world.tick()
    monkeypatch.setattr("agent.runtime.approval_answers.record", lambda *_: None)
    world.yes("A-1")
    assert list(world.world.journal.entries(kinds=("answered",))) == []
    world.tick()
    world.tick()
    assert len(list(world.world.journal.entries(kinds=("answered",)))) == 1


def test_a_consent_of_a_person_is_not_used_by_the_desk_of_rules(world):
    desk = ApprovalQueue(world.world)
    proposal = world.tick().decisions[0].proposal
    person = Consent(by="person", name="A-1")
    assert desk.may(person, world.clock.now(), proposal)
    rule = Consent(by="rule", name="R-9")
    assert not desk.may(rule, world.clock.now(), proposal)


WAITING = [
    pytest.param({"T-1": "A-1", "T-2": "A-2"}, True, id="all are asked about"),
    pytest.param({"T-1": "A-1"}, True, id="one is, and the other depends on it"),
    pytest.param({"T-2": "A-2"}, False, id="the one that goes on is not"),
    pytest.param({}, False, id="nobody is asked"),
    pytest.param({None: "A-3"}, False, id="only about the window"),
]


@pytest.mark.parametrize(("requests", "over"), WAITING)
def test_a_wave_in_which_all_wait_for_a_person_goes_no_further(world, requests, over):
    world.submit(spec("T-2", depends_on=("T-1",)), wave="w2")
    result = replace(world.tick(), requests=requests)
    left = world.world.store.task_records(settled=False)
    assert {one.spec.id for one in left} == {"T-1", "T-2"}
    assert all_wait_for_a_person(left, result) is over
    assert not all_wait_for_a_person([], result)
