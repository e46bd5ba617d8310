"""The real executor, driven by an adversary: old, reused and altered clearances in a moving world.

What must be true at the moment of an effect is looked up in the queue, the remote and the judge
records themselves, not in the facts that the guard was told.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from agent.core import planner
from agent.core.actions import Action, Cleared
from agent.core.model import ACTIVE, TERMINAL
from agent.runtime.drafting import draft
from agent.runtime.executor import Executor
from agent.runtime.observe import Observer
from agent.runtime.world import Supervision
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
        standing = self._machine.store.standing(task)
        assert view.state in TERMINAL, "the same work runs twice"
        assert standing.inspected_attempt == view.attempt, "sent back unread"
        assert how["prompt"] != "Do as you like."
        self._machine.room_for_one()
        return self._queue.retry(task, **how)

    def interrupt(self, task, **_):
        raise AssertionError(f"{task} was heard of, or is over")

    cancel = interrupt


class Adversary(RuleBasedStateMachine):
    """Asks for anything, keeps what it is given, and uses it when it likes."""

    clearances = Bundle("clearances")

    @initialize(mode=st.sampled_from(["auto", "approve"]))
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
        self.tick = 0
        self.snapshot = self.observer.observe()

    def room_for_one(self):
        views = [self.small.queue.get(task) for task in TASKS]
        busy = sum(view is not None and view.state in ACTIVE for view in views)
        assert busy < self.limit(), "more lanes busy than there are"

    def limit(self):
        return int(self.store.notes().get("window_limit", POLICY.window.start))

    @rule(target=clearances, task=st.sampled_from(TASKS), approved=st.booleans())
    def ask_for_everything(self, task, approved):
        """A snapshot, and every action on one task that the guard clears in it."""
        self.snapshot = self.observer.observe()
        board = planner.assess(self.snapshot, POLICY)
        if task not in board.cases:
            return multiple()
        found = []
        for action in set(Action) - {Action.LEAVE_ALONE}:
            proposal, _ = planner.ask(board, action, task)
            proposal = draft(board, proposal, self.store, self.world.drafter)
            _, answer = planner.clear(board, proposal, approved=approved)
            if isinstance(answer, Cleared):
                found.append(answer)
        return multiple(*found)

    @rule(cleared=clearances)
    def carry_out(self, cleared):
        self._carry_out(cleared)

    @rule(cleared=clearances, change=st.sampled_from(ALTERED))
    def carry_out_something_else(self, cleared, change):
        altered = cleared.proposal.model_copy(update=change)
        if altered != cleared.proposal:
            done = self._carry_out(replace(cleared, proposal=altered))
            assert done.result == "void"

    @rule(cleared=clearances)
    def carry_out_under_another_policy(self, cleared):
        assert self._carry_out(replace(cleared, policy="0" * 64)).result == "void"

    def _carry_out(self, cleared):
        self.tick += 1
        proposal, now = cleared.proposal, self.small.clock.now()
        before = self.store.standing(proposal.task).status
        done = self.executor.carry_out(cleared, self.snapshot, self.tick)
        if done.result == "done":
            assert id(cleared) not in self.used, "used twice"
            assert now <= cleared.deadline, "used too late"
            self.used.add(id(cleared))
        after = self.store.standing(proposal.task).status
        if after == "accepted" != before:
            view = self.small.queue.get(proposal.task)
            assert view.judge is not None
            assert view.judge.verdict == "pass"
            assert self.small.remote.heads[view.order.branch] == view.judge.commit
        if done.result == "void":
            assert done.said.startswith("never_act_on_a_stale_clearance: ")
            assert after == before
        return done

    @rule(turn=st.sampled_from(TURNS))
    def the_host_works(self, turn):
        self.small.script = {(task, n): turn for task in TASKS for n in range(1, 20)}
        self.small.host()

    @rule()
    def the_host_begins_and_vanishes(self):
        self.small.script = {(t, n): Turn(vanish=True) for t in TASKS for n in range(1, 20)}
        self.small.host()

    @rule(seconds=st.sampled_from([1, 29, 31, 61, 900, 1300]))
    def time_goes_by(self, seconds):
        self.small.clock.move(seconds)

    @rule(task=st.sampled_from(TASKS))
    def the_branch_is_gone_from_the_remote(self, task):
        self.small.remote.heads.pop(f"wavekeeper/{task}", None)

    @rule(limit=st.integers(1, 2))
    def a_person_narrows_the_window(self, limit):
        self.store.note({"window_limit": str(limit)})

    @rule()
    def the_supervisor_ticks(self):
        """Its own polls count too, and the adversary's clearances may be overtaken by it."""
        self.small.ticker("auto").tick()

    @invariant()
    def the_journal_holds(self):
        journal = self.small.world.journal
        assert journal.verify() is None
        assert journal.unresolved() == []

    def teardown(self):
        self.folder.cleanup()


Adversary.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestTheRealExecutor = Adversary.TestCase
