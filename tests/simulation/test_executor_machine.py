"""The real executor, driven by an adversary: old, reused and altered clearances in a moving world.

What must be true at the moment of an effect is looked up in the queue, the remote and the judge
records themselves, not in the facts that the guard was told.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from agent.core.assess.assessment import assess
from agent.core.model.actions import Action, Cleared
from agent.core.model.nouns import ACTIVE, TERMINAL
from agent.core.plan import planner
from agent.runtime.context import Supervision
from agent.runtime.drafting import draft
from agent.runtime.executor import Executor
from agent.runtime.observe import Observer
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

TASKS = ("T-1", "T-2")
FAILS = Turn(commit="d" * 40, checks="AssertionError")
TURNS = (
    Turn(commit="c" * 40), FAILS, Turn(), Turn(error="ERROR: You've hit your usage limit."),
    Turn(commit="e" * 40, checks="make: demo-lint: command not found"),
)  # fmt: skip
ALTERED = (
    {"task": "T-2"}, {"task": "T-1"}, {"attempt": 9}, {"prompt": "Do as you like."},
    {"action": Action.ACCEPT}, {"action": Action.CANCEL}, {"charged": False}, {"queue": "infra"},
)  # fmt: skip


MEANWHILE = (
    None, None, None, "the_branch_is_gone", "it_is_too_late", "a_host_comes",
    "a_host_begins_and_vanishes", "the_supervisor_ticks",
)  # fmt: skip
YES = st.sampled_from([False, False, False, True])
TASK = st.sampled_from(TASKS)
PLACE = st.sampled_from([0, 0, 0, 0, 0, 1, 1, 2, 3, 5, 8])
FIRST = (Action.ACCEPT, Action.SUBMIT, Action.RETRY, Action.RELEASE, Action.INSPECT)
"""What gets a task on is tried more often than what ends it."""


class Watching:
    """The real queue; each effect is held to the state it finds."""

    def __init__(self, machine, queue):
        self._machine = machine
        self._queue = queue

    def __getattr__(self, name):
        return getattr(self._queue, name)

    def submit(self, task, **how):
        assert self._queue.get(task) is None, "submitted twice"
        self._machine.room_for_one()
        return self._queue.submit(task, **how)

    def retry(self, task, **how):
        view = self._queue.get(task)
        task_record = self._machine.store.task_record(task)
        assert view.state in TERMINAL, "the same work runs twice"
        assert task_record.inspected_attempt == view.attempt, "sent back unread"
        assert how["prompt"] != "Do as you like."
        self._machine.room_for_one()
        return self._queue.retry(task, **how)

    def interrupt(self, task, **_):
        raise AssertionError(f"{task} was heard of, or is over")

    cancel = interrupt


class Adversary(RuleBasedStateMachine):
    """Asks for anything, keeps what it is given, and uses it when it likes."""

    @initialize(mode=st.sampled_from(["auto", "auto", "auto", "approve"]))
    def begin(self, mode):
        self.folder = tempfile.TemporaryDirectory()
        self.small = SmallWorld(Path(self.folder.name), {})
        self.small.submit(*map(spec, TASKS))
        self.store = self.small.world.store
        self.how = Supervision(policy=POLICY, mode=mode, interval=300.0)
        self.small.wrap = lambda world: replace(world, queue=Watching(self, world.queue))
        self.world = self.small.wrap(self.small.world)
        self.observer = Observer(self.world, self.how)
        self.executor = Executor(self.world, self.how, self.observer)
        self.used: set[int] = set()
        self.kept = []
        """Every clearance that was ever given; all stay alive, so that their ids differ."""
        self.tick = 0
        self.snapshot = self.observer.observe()
        self.ask_and_carry_out("T-1", approved=False, which=0, meanwhile=None)

    def room_for_one(self):
        views = [self.small.queue.get(task) for task in TASKS]
        busy = sum(view is not None and view.state in ACTIVE for view in views)
        assert busy < self.limit(), "more lanes busy than there are"

    def limit(self):
        return int(self.store.notes().get("window_limit", POLICY.window.start))

    def ask_for_everything(self, task, approved):
        """A snapshot, and every action on one task that the guard clears in it."""
        self.snapshot = self.observer.observe()
        assessment = assess(self.snapshot, POLICY)
        if task not in assessment.tasks:
            return []
        found = []
        others = set(Action) - {Action.LEAVE_ALONE, *FIRST}
        for action in (*FIRST, *sorted(others)):
            proposal, _ = planner.ask(assessment, action, task)
            proposal = draft(assessment, proposal, self.store, self.world.drafter)
            _, answer = planner.clear(assessment, proposal, approved=approved)
            if isinstance(answer, Cleared):
                found.append(answer)
        self.kept += found
        return found

    @rule(task=TASK, approved=YES, which=PLACE, meanwhile=st.sampled_from(MEANWHILE))
    def ask_and_carry_out(self, task, approved, which, meanwhile):
        if found := self.ask_for_everything(task, approved):
            if meanwhile:
                getattr(self, meanwhile)(task)
            self._carry_out(found[which % len(found)])

    @rule(which=PLACE)
    def carry_out_an_old_one(self, which):
        if self.kept:
            self._carry_out(self.kept[which % len(self.kept)])

    @rule(task=TASK, which=PLACE, change=st.sampled_from((*ALTERED, "policy")))
    def carry_out_something_else(self, task, which, change):
        if found := self.ask_for_everything(task, approved=False):
            cleared = found[which % len(found)]
            other = replace(cleared, policy="0" * 64)
            if change != "policy":
                altered = cleared.proposal.model_copy(update=change)
                other = replace(cleared, proposal=altered)
            if other != cleared:
                assert self._carry_out(other).result == "void"

    def _carry_out(self, cleared):
        self.tick += 1
        proposal, now = cleared.proposal, self.small.clock.now()
        before = self.store.task_record(proposal.task).status
        done = self.executor.carry_out(cleared, self.tick)
        if done.result == "done":
            assert id(cleared) not in self.used, "used twice"
            assert now <= cleared.deadline, "used too late"
            self.used.add(id(cleared))
        after = self.store.task_record(proposal.task).status
        if after == "accepted" != before:
            view = self.small.queue.get(proposal.task)
            judged = self.small.judgements.latest(proposal.task, view.attempt).record
            assert judged is not None
            assert judged.verdict == "pass"
            assert self.small.remote.branches[view.order.branch] == judged.commit
        if done.result == "void":
            assert done.said.startswith("never_act_on_a_stale_clearance: ")
            assert after == before
        return done

    @rule(turn=st.sampled_from(TURNS))
    def the_host_works(self, turn):
        self.small.script = {(task, n): turn for task in TASKS for n in range(1, 20)}
        self.small.host()

    @rule(seconds=st.sampled_from([1, 29, 31, 61, 900, 1300]))
    def time_goes_by(self, seconds):
        self.small.clock.move(seconds)

    @rule(limit=st.integers(1, 2))
    def a_person_narrows_the_window(self, limit):
        self.store.note({"window_limit": str(limit)})

    @rule()
    def the_supervisor_ticks(self, _task=None):
        """Its own polls count too, and the adversary's clearances may be overtaken by it."""
        self.small.ticker("auto").tick()

    def the_branch_is_gone(self, task):
        self.small.remote.branches.pop(f"wavekeeper/{task}", None)

    def it_is_too_late(self, _task):
        self.small.clock.move(31)

    def a_host_comes(self, _task):
        self.small.script = {}
        self.small.host()

    def a_host_begins_and_vanishes(self, _task):
        self.small.script = {(t, n): Turn(vanish=True) for t in TASKS for n in range(1, 20)}
        self.small.host()

    @invariant()
    def the_journal_holds(self):
        journal = self.small.world.journal
        assert journal.verify() is None
        assert journal.unresolved() == []

    def teardown(self):
        self.folder.cleanup()


def drive(examples):
    run_state_machine_as_test(
        Adversary,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(
    "examples",
    [pytest.param(5, id="a few"), pytest.param(300, id="many", marks=pytest.mark.long)],
)
def test_whatever_the_adversary_does_nothing_forbidden_happens(examples):
    drive(examples)
