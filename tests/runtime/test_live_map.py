"""The live map shows every task once, in the group in which a person would look for it."""

import json
from dataclasses import dataclass

import pytest

from agent.cli.views import page, prompt
from agent.core.model.actions import NeedsApproval, Refused
from agent.core.model.nouns import Evidence, ProofKind
from agent.core.model.queueing import NewEvent
from agent.core.plan import planner
from agent.core.plan.planner import Decisions
from agent.errors import QueueUnavailableError
from agent.runtime.approval_answers import Answering
from agent.runtime.context import Supervision
from agent.runtime.explain import account, decision_about
from agent.runtime.status import (
    GROUPS,
    UNKNOWN_AFTER,
    StatusReader,
    Supervised,
    UnknownEffect,
    live_map,
)
from tests.acceptance.test_cli_views import drawn
from tests.simulation.small_world import POLICY, SmallWorld, Turn, replace, spec

PUSHED = "d" * 40
BLOCKED = Turn(commit=PUSHED, checks="make: demo-lint: command not found")


def look(world, *, mode="auto", by="somebody"):
    return StatusReader(world.world, Supervision(policy=POLICY, mode=mode, interval=300.0)).look(by)


def the(here, task):
    (found,) = [one for one in here.tasks if one.id == task]
    return found


@pytest.fixture
def world(tmp_path):
    return SmallWorld(tmp_path, {})


def test_without_a_wave_it_is_empty(world):
    here = look(world)
    assert (here.waves, here.tasks, here.goal, here.needs_you) == ((), (), None, ())
    assert here.counts.model_dump() == {"needsYou": 0, "working": 0, "waiting": 0, "done": 0}


def test_planned_tasks_wait_and_say_what_comes_next(world):
    world.submit(spec("T-10"), spec("T-2", depends_on=("T-10",)))
    here = look(world)
    assert [(one.id, one.group, one.status) for one in here.tasks] == [
        ("T-2", "waiting", "planned"),
        ("T-10", "waiting", "planned"),
    ]
    assert the(here, "T-2").waits_for == ("T-10",)
    assert the(here, "T-2").next.action == "leave-alone"
    coming = the(here, "T-10").next
    assert (coming.action, coming.clearance) == ("submit", "cleared")
    assert coming.rules == ("submit_planned_work",)
    assert coming.reason == "planned, and nothing blocks it"


def test_in_observe_the_same_is_refused_with_the_rule(world):
    world.submit(spec())
    coming = the(look(world, mode="observe"), "T-1").next
    assert (coming.action, coming.clearance) == ("submit", "refused")
    assert "observe_never_acts" in coming.rules


def test_a_running_task_works_and_its_silence_is_measured(world):
    world.submit(spec())
    world.ticker().tick()
    assert the(look(world), "T-1").status == "queued"
    world.clock.move(5)
    assert world.queue.claim("h", ["main"], lease=60)
    world.clock.move(42)
    here = look(world)
    task = the(here, "T-1")
    assert (task.group, task.status, task.age, task.silent_for) == ("working", "running", 42, 42)
    assert (task.effective_liveness, task.recommended_action) == ("live", "continue-supervision")
    assert (here.lanes.busy, here.lanes.limit) == (1, 5)
    world.clock.move(30)
    assert the(look(world), "T-1").status == "running"  # its lease ran out, and was seen to
    world.clock.move(30)
    assert the(look(world), "T-1").status == "lost"


def test_its_silence_is_that_of_the_trace_whatever_the_heartbeat_says(world):
    world.submit(spec())
    world.ticker().tick()
    lease = world.queue.claim("h", ["main"], lease=60)
    for _ in range(3):
        world.clock.move(30)
        world.queue.beat(lease, (), extend=60)
    assert the(look(world), "T-1").silent_for == 90
    world.queue.beat(
        lease, (NewEvent(at=world.clock.now(), kind="output", text="a word"),), extend=60
    )
    assert the(look(world), "T-1").silent_for == 0


def test_a_question_and_its_answer_are_on_the_map(world):
    world.submit(spec("T-1"), spec("T-2"))
    world.ticker("approve").tick()
    person = Answering(world.world, POLICY, "ana@host")
    person.approve(person.request("A-1"), via="panel", looked=1.0)
    world.clock.move(30)
    here = look(world, mode="approve")
    assert here.needs_you == ("T-2",)
    assert (the(here, "T-2").asked.request, the(here, "T-2").asked.state) == ("A-2", "pending")
    assert (the(here, "T-1").asked.answered_by, the(here, "T-1").group) == ("ana@host", "waiting")
    assert prompt(here) == "wavekeeper w1 0/5 ?1"
    lines = drawn(lambda console: page(console, here))
    assert "questions: 1 waits for you, the oldest 30s; `wavekeeper approve` answers" in lines
    (first,) = [line for line in lines if line.startswith("  T-1")]
    assert "submit approved by ana@host (A-1); done at the next look" in first
    (second,) = [line for line in lines if line.startswith("? T-2")]
    assert "A-2 asks: submit: planned" in second


def test_a_worker_that_waits_for_a_permission_needs_you(world):
    world.submit(spec())
    snapshot = world.ticker().tick().snapshot
    waiting = replace_task(snapshot, status="running", waiting_for="permission")
    task_records = world.world.store.task_records()
    here = live_map(planner.decide(waiting, POLICY), [], task_records, Supervised())
    assert the(here, "T-1").group == "needs-you"


def replace_task(snapshot, **over):
    (task,) = snapshot.tasks
    return snapshot.model_copy(update={"tasks": (task.model_copy(update=over),)})


def test_a_result_is_unread_until_it_was_inspected_then_its_gaps_show(tmp_path):
    world = SmallWorld(tmp_path, {("T-1", 1): Turn()})
    world.submit(spec())
    ticker = world.ticker()
    ticker.tick()
    world.host()
    here = look(world)
    assert here.unread == ("T-1",)
    assert the(here, "T-1").next.action == "inspect"
    ticker.tick()
    here = look(world)
    assert (here.unread, the(here, "T-1").group) == ((), "waiting")
    ticker.tick()
    here = look(world)
    task = the(here, "T-1")
    assert (task.status, task.attempt) == ("queued", 2)
    assert task.evidence_gaps[0].startswith("no commit was pushed")
    assert task.unmet == ("C1",)


def test_accepted_is_done_and_handed_over_needs_you(tmp_path):
    world = SmallWorld(
        tmp_path,
        {
            ("T-2", attempt): Turn(commit=PUSHED, checks=f"AssertionError: 3 != {attempt + 3}")
            for attempt in range(1, 9)
        },
    )
    world.submit(spec("T-1"), spec("T-2"))
    world.run(ticks=60)
    here = look(world)
    assert [(one.id, one.group, one.attempt) for one in here.tasks] == [
        ("T-2", "needs-you", 3),
        ("T-1", "done", 1),
    ]
    assert here.needs_you == ("T-2",)
    assert the(here, "T-2").why.startswith("no attempts are left")
    assert the(here, "T-2").next is None
    (wave,) = here.waves
    assert (wave.tasks, wave.accepted, wave.open) == (2, 1, 0)


@dataclass
class Witness:
    """Port `EvidenceProbe`: a source that answers as it is told."""

    answer: dict[str, object]
    kinds: frozenset[ProofKind] = frozenset({ProofKind.CHECKS_PASSED})

    def probe(self, _spec, view, now):
        item = {"id": f"checks-passed@{view.attempt}.ci", "kind": "checks-passed",
                "origin": "observed", "observed_at": now, "attempt": view.attempt,
                "detail": "gate is queued", "source": "https://ci.example"}  # fmt: skip
        return [Evidence(**item | self.answer)]


def waiting_for_ci(tmp_path, **answer):
    """A task that did all that was asked, and a CI that gives no verdict."""
    ci = Witness({"holds": None} | answer)
    world = SmallWorld(tmp_path, {}, wrap=lambda ports: replace(ports, probes=(*ports.probes, ci)))
    world.submit(spec())
    world.run(ticks=5)
    return world, ci


def test_what_stays_unknown_becomes_a_question_to_a_person_and_is_not_charged(tmp_path):
    world, _ = waiting_for_ci(tmp_path)
    task = the(look(world), "T-1")
    assert (task.group, task.next.action) == ("waiting", "leave-alone")
    world.clock.move(4 * 3600)
    world.run(ticks=2)  # a supervisor that was just started, too, knows since when
    task = the(look(world), "T-1")
    assert (task.group, task.status) == ("needs-you", "handed-over")
    assert task.why == (
        "it is unknown whether the checks passed: gate is queued; https://ci.example was asked, "
        "since 2026-11-22 10:02:02Z"
    )
    assert world.settled()  # so `run --until-done` ends
    (record,) = world.world.store.task_records()
    assert not record.charged


def test_a_source_that_answers_in_time_is_believed(tmp_path):
    world, ci = waiting_for_ci(tmp_path)
    world.clock.move(3 * 3600)
    ci.answer["holds"] = True
    world.run(ticks=3)
    assert world.outcome() == {"T-1": ("accepted", 1)}


def test_a_fault_of_the_installation_needs_you_at_once_and_goes_on_when_it_is_gone(tmp_path):
    world, ci = waiting_for_ci(tmp_path, fault=True, detail="answered 401: name a token")
    task = the(look(world), "T-1")
    assert (task.group, task.attempt) == ("needs-you", 1)
    (gap,) = task.evidence_gaps
    assert gap == (
        "it is unknown whether the checks passed, by a fault of the installation: "
        "answered 401: name a token"
    )
    ci.answer = {"holds": True}
    world.run(ticks=3)
    assert world.outcome() == {"T-1": ("accepted", 1)}


def test_a_shared_fault_is_a_blocker_with_its_issue_and_who_waits(tmp_path):
    world = SmallWorld(tmp_path, {("T-1", 1): BLOCKED, ("T-2", 1): BLOCKED})
    world.submit(spec("T-1"), spec("T-2"))
    ticker = world.ticker()
    ticker.tick()
    world.host()
    for _ in range(6):
        ticker.tick()
        world.clock.move(61)
        world.judge()
    (blocker,) = look(world).blockers
    assert (blocker.id, blocker.status, blocker.reason) == ("D-1", "recorded", "missing-tool")
    assert (blocker.issue, blocker.fixed_by) == ("0001", "fix-d-1")
    assert blocker.waiting == ("T-1", "T-2")
    assert the(look(world), "T-2").blocked_by == "D-1"
    world.run(ticker)
    assert look(world).blockers == ()


CLEARANCES = [
    pytest.param(NeedsApproval, "needs-you", id="a person may say yes"),
    pytest.param(Refused, "waiting", id="nobody may"),
]


@pytest.mark.parametrize(("answer", "group"), CLEARANCES)
def test_what_needs_a_persons_word_needs_you(world, answer, group):
    world.submit(spec())
    snapshot = world.ticker().tick().snapshot
    decided = planner.decide(snapshot, POLICY)
    (one,) = decided.tasks
    fields = (one.proposal, ("a_rule",), "0") if answer is NeedsApproval else (one.proposal, ("a",))
    changed = replace(decided, tasks=(replace(one, clearance=answer(*fields)),))
    task_records = world.world.store.task_records()
    here = live_map(changed, world.world.store.waves(), task_records, Supervised())
    assert the(here, "T-1").group == group


def test_an_absent_supervisor_is_said_and_suspends_nothing(world):
    world.submit(spec())
    world.ticker().tick()
    world.clock.move(7200)
    away = look(world, by=None)
    assert away.supervisor.by is None
    assert (away.now - away.supervisor.last_tick_at).total_seconds() == 7200
    assert away.suspended is None
    # One that is there and does not tick is another matter.
    assert (
        look(world).suspended
        == "the supervisor itself was away for 7200 s; this tick only observes"
    )


def test_a_second_look_sees_what_was_settled_in_between(world):
    world.submit(spec("T-1"), spec("T-2"))
    status_reader = StatusReader(
        world.world, Supervision(policy=POLICY, mode="auto", interval=300.0)
    )
    assert status_reader.look("x").counts.done == 0
    world.run()
    assert status_reader.look("x").counts.done == 2


def test_only_waves_at_work_are_named_and_else_the_last(world):
    world.submit(spec("T-1"), wave="w1")
    world.run()
    world.submit(spec("T-2"), wave="w2")
    assert [one.id for one in look(world).waves] == ["w2"]
    world.run()
    assert [one.id for one in look(world).waves] == ["w2"]


def test_looking_changes_nothing(world):
    world.submit(spec())
    world.ticker().tick()
    before = (world.world.store.task_records(), world.world.store.notes(), world.queue.get("T-1"))
    look(world)
    assert before == (
        world.world.store.task_records(),
        world.world.store.notes(),
        world.queue.get("T-1"),
    )


def test_its_json_is_camel_case_and_has_every_key_in_the_same_order(world):
    world.submit(spec())
    one, two = (json.dumps(look(world).model_dump(mode="json")) for _ in range(2))
    assert one == two
    plain = json.loads(one)
    assert list(plain) == [
        "schema", "now", "mode", "supervisor", "waves", "sentence", "suspended", "lanes", "queues",
        "counts", "needsYou", "damaged", "remote", "refused", "agents", "unread", "blockers",
        "tasks",
    ]  # fmt: skip
    assert plain["schema"] == "wavekeeper.status/1"
    assert list(plain["tasks"][0]) == [
        "id", "title", "wave", "queue", "kind", "group", "status", "queueStatus", "attempt",
        "attemptsLeft", "used", "age", "silentFor", "effectiveLiveness", "splitBrainLive",
        "recommendedAction", "unread", "evidenceGaps", "unmet", "tokens", "waitsFor", "blockedBy",
        "next", "asked", "unknown", "refused", "why",
    ]  # fmt: skip
    assert list(plain["tasks"][0]["next"]) == ["action", "clearance", "rules", "reason"]


def test_every_task_is_in_one_group_whatever_its_state(tmp_path):
    script = {("T-1", 1): Turn(), ("T-2", 1): BLOCKED, ("T-3", 1): Turn(vanish=True)}
    world = SmallWorld(tmp_path, script)
    world.submit(*(spec(f"T-{number}") for number in range(1, 8)))
    ticker = world.ticker()
    for _ in range(40):
        ticker.tick()
        world.clock.move(61)
        world.host()
        here = look(world)
        assert sorted(one.id for one in here.tasks) == sorted(
            one.spec.id for one in world.world.store.task_records()
        )
        assert sum(here.counts.model_dump().values()) == len(here.tasks)
        places = [GROUPS.index(one.group) for one in here.tasks]
        assert places == sorted(places)
    assert here.counts.done == len(here.tasks)


def test_decisions_are_taken_as_they_are(world):
    """The map decides nothing itself: another sentence is shown as another sentence."""
    snapshot = world.ticker().tick().snapshot
    decided = replace(planner.decide(snapshot, POLICY), sentence="Something else.")
    assert isinstance(decided, Decisions)
    assert live_map(decided, [], [], Supervised()).sentence == "Something else."


class _Silent:
    """A queue that takes what it is asked to do and gives no answer."""

    def __init__(self, queue):
        self._queue = queue

    def __getattr__(self, name):
        return getattr(self._queue, name)

    def submit(self, *arguments, **named):  # noqa: ARG002 - as the port has it
        raise QueueUnavailableError("the queue does not answer")

    def receipt(self, key):  # noqa: ARG002 - as the port has it
        raise QueueUnavailableError("the queue does not answer")


def test_an_effect_that_stays_unknown_needs_you_after_a_while(world):
    world.wrap = lambda ports: replace(ports, queue=_Silent(ports.queue))
    world.submit(spec("T-1"))
    world.ticker().tick()
    began = world.clock.now()
    world.clock.move(UNKNOWN_AFTER.total_seconds() - 1)
    assert (the(look(world), "T-1").group, the(look(world), "T-1").unknown) == ("waiting", None)
    world.clock.move(1)
    here = look(world)
    assert here.needs_you == ("T-1",)
    assert the(here, "T-1").unknown == UnknownEffect(action="submit", since=began)
    (line,) = [one for one in drawn(lambda console: page(console, here)) if one.startswith("? T-1")]
    assert (
        "whether submit took effect has been unknown since 2026-11-22 10:00Z; "
        "`wavekeeper explain T-1`"
    ) in line
    told = account_of(world, "T-1")
    assert [(one.action, one.result) for one in told.steps] == [("submit", "open")]
    world.wrap = lambda ports: ports
    world.ticker().tick()
    assert (the(look(world), "T-1").group, the(look(world), "T-1").unknown) == ("waiting", None)
    assert "open" not in [one.result for one in account_of(world, "T-1").steps]


def account_of(world, task):
    journal, task_record = world.world.journal, world.world.store.task_record(task)
    return account(journal, decision_about(journal, task, task_record), task_record, POLICY, {})
