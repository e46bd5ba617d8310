"""A clearance is good for one proposal, once, until its deadline, in the world it was given for."""

from dataclasses import replace

import pytest

from agent.core.assess import proof
from agent.core.guard.guard import STALE_CLEARANCE
from agent.core.journal.records import Record
from agent.core.model.actions import VERBS, Action, Cleared, Proposal
from agent.core.model.nouns import Baseline, Status
from agent.core.plan import planner
from agent.errors import QueueUnavailableError, UnusableStoreError
from agent.runtime.context import Supervision
from agent.runtime.drafting import draft
from agent.runtime.effects import EFFECTS, order_of
from agent.runtime.executor import Executor, key_of
from agent.runtime.observe import Observer
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

NAME = "never_act_on_a_stale_clearance"
FAILS = {("T-1", n): Turn(commit="d" * 40, checks="AssertionError") for n in (1, 2, 3)}


class Stage:
    """A task whose first attempt was judged and failed: a retry is cleared and about to be done."""

    def __init__(self, folder):
        self.small = SmallWorld(folder, FAILS)
        self.small.submit(spec())
        ticker = self.small.ticker()
        for _ in range(3):  # it is submitted, read, and its judgement is made
            ticker.tick()
            self.small.host()
            self.small.clock.move(61)
        how = Supervision(policy=POLICY, mode="auto", interval=300.0)
        self.observer = Observer(self.small.world, how)
        self.executor = Executor(self.small.world, how, self.observer)
        self.snapshot = self.observer.observe()
        decided = planner.decide(self.snapshot, POLICY)
        (decision,) = decided.tasks
        assert decision.proposal.action is Action.RETRY
        world = self.small.world
        proposal = draft(decided.assessment, decision.proposal, world.store, world.drafter)
        _, self.cleared = planner.clear(decided.assessment, proposal)
        assert isinstance(self.cleared, Cleared)

    def act(self, cleared=None):
        return self.executor.carry_out(cleared or self.cleared, 3)

    def attempt(self):
        return self.small.queue.get("T-1").attempt


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def test_a_good_clearance_is_carried_out_once(stage):
    assert stage.act().result == "done"
    again = stage.act()
    assert (again.result, stage.attempt()) == ("void", 2)
    assert again.said.startswith(NAME)


def _too_late(stage):
    stage.small.clock.move(POLICY.submit.clearance_seconds + 1)


def _moved_on(stage):
    queue = stage.small.queue
    queue.retry("T-1", attempt=2, prompt="by another hand", fresh_session=False, key="other")


def _proven_meanwhile(stage):
    task_record = stage.small.world.store.task_record("T-1")
    stage.small.world.store.save(task_record.model_copy(update={"status": "accepted"}))


def _budget_spent_meanwhile(stage):
    task_record = stage.small.world.store.task_record("T-1")
    stage.small.world.store.save(task_record.model_copy(update={"charged": (7, 8, 9)}))


def _window_filled_meanwhile(stage):
    stage.small.world.store.note({"window_limit": "1"})
    stage.small.submit(spec("T-9"), wave="w2")
    task_record = stage.small.world.store.task_record("T-9")
    order = stage.small.queue.get("T-1").order
    stage.small.queue.submit("T-9", queue="main", prompt="p", order=order, key="k")
    stage.small.world.store.save(task_record.model_copy(update={"status": "submitted"}))
    stage.observer.refresh("T-9")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(_too_late, "deadline", id="its deadline has passed"),
        pytest.param(_moved_on, "another attempt", id="the task has moved on"),
        pytest.param(_proven_meanwhile, "refused", id="the task is settled"),
        pytest.param(_budget_spent_meanwhile, "never_spend_past_the_budget", id="budget spent"),
        pytest.param(_window_filled_meanwhile, "never_exceed_the_window", id="window filled"),
    ],
)
def test_what_changed_since_makes_it_void(stage, change, says):
    change(stage)
    before = stage.attempt()
    done = stage.act()
    assert done.result == "void"
    assert done.said.startswith(STALE_CLEARANCE)
    assert says in done.said
    assert stage.attempt() == before
    (entry,) = [
        one
        for one in stage.small.world.journal.entries(kinds=("outcome",))
        if one.record.body["result"] == "void"
    ]
    assert NAME in entry.record.body["said"]


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param({"prompt": "another prompt"}, id="altered prompt"),
        pytest.param({"charged": False}, id="altered charge"),
        pytest.param({"reason": "another reason"}, id="altered reason"),
    ],
)
def test_a_clearance_does_not_fit_another_proposal(stage, alter):
    other = stage.cleared.proposal.model_copy(update=alter)
    done = stage.act(replace(stage.cleared, proposal=other))
    assert (done.result, stage.attempt()) == ("void", 1)


def test_a_clearance_under_another_policy_is_void(stage):
    done = stage.act(replace(stage.cleared, policy="0" * 64))
    assert (done.result, stage.attempt()) == ("void", 1)


class _NoAnswer:
    """The queue takes the call, and its answer is lost."""

    def __init__(self, queue):
        self._queue = queue

    def __getattr__(self, name):
        return getattr(self._queue, name)

    def retry(self, *args, **kwargs):
        self._queue.retry(*args, **kwargs)
        raise QueueUnavailableError("no answer; read back")


def test_an_answer_that_was_lost_is_read_back_and_not_repeated(tmp_path):
    stage = Stage(tmp_path)
    small = stage.small
    small.wrap = lambda world: replace(world, queue=_NoAnswer(world.queue))
    ticker = small.ticker()
    result = ticker.tick()
    assert [one.result for one in result.done] == ["open"]
    small.wrap = lambda world: world
    settled = small.ticker().tick()
    assert [one.result for one in settled.done] == ["done"]
    assert small.queue.get("T-1").attempt == 2
    assert small.queue.get("T-1").state is Status.QUEUED
    assert small.world.store.task_record("T-1").charged == (1,)
    assert small.world.journal.unresolved() == []


def test_the_key_names_the_act_and_not_the_moment(stage):
    proposal = stage.cleared.proposal
    mine = key_of(proposal, 3, "a1b2", "w1")
    assert mine == key_of(proposal, 99, "a1b2", "w1") == "a1b2/w1/retry/T-1/1"
    assert key_of(proposal, 3, "c3d4", "w1") != mine != key_of(proposal, 3, "a1b2", "w2")


def intent(world, proposal, key):
    body = {
        "action": str(proposal.action),
        "proposal": proposal.model_dump(mode="json", exclude_none=True),
    }
    at = world.clock.now()
    record = Record(kind="intent", at=at, tick=1, task=proposal.task, key=key, body=body)
    world.world.journal.append([record])


def test_what_took_effect_and_belongs_to_nobody_is_written_down_and_stops_nothing(tmp_path):
    """The task it was about is gone from the supervisor's memory, so nobody can remember it."""
    world = SmallWorld(tmp_path, {})
    world.submit(spec())
    order = order_of(spec("T-9"), "w0")
    world.queue.submit("T-9", queue="main", prompt="p", order=order, key="old/T-9")
    intent(world, Proposal(action=Action.SUBMIT, task="T-9", reason="gone"), "old/T-9")
    world.run()
    (settled,) = world.world.journal.entries(kinds=("settled",))
    assert settled.record.body["result"] == "failed"
    assert "T-9 is not of this wave" in settled.record.body["said"]
    assert list(world.world.journal.unresolved()) == []
    assert world.outcome() == {"T-1": ("accepted", 1)}


def test_an_intent_of_another_version_is_written_down_and_stops_nothing(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec(), spec("T-2"))
    at = world.clock.now()
    body = {"action": "teleport", "proposal": {"action": "teleport", "task": "T-1"}}
    strange = Record(kind="intent", at=at, tick=1, task="T-1", key="k/T-1", body=body)
    world.world.journal.append([strange])
    (done,) = (one for one in world.ticker().tick().done if one.result == "failed")
    assert "this version cannot read" in done.said
    world.run()
    assert world.outcome() == {"T-1": ("accepted", 1), "T-2": ("accepted", 1)}


class _Forgetful:
    """A store that cannot be written for a while."""

    def __init__(self, store, times):
        self._store, self._times = store, times

    def __getattr__(self, name):
        if name == "add_outcome" and self._times:
            self._times -= 1
            raise UnusableStoreError("state.db: the disk is full")
        return getattr(self._store, name)


def test_an_effect_that_could_not_be_remembered_is_open_until_it_is(stage):
    """The queue acted; the journal must not say otherwise, and the budget is charged once."""
    small = stage.small
    small.wrap = lambda world: replace(world, store=_Forgetful(world.store, 1))
    (done,) = small.ticker().tick().done
    assert (done.result, done.said) == ("open", "state.db: the disk is full")
    assert small.queue.get("T-1").attempt == 2
    kinds = ("intent", "outcome", "settled")
    assert [one.record.kind for one in small.world.journal.entries(task="T-1", kinds=kinds)][
        -1
    ] == "intent"
    assert small.world.store.task_record("T-1").charged == ()
    small.wrap = lambda world: world
    result = small.ticker().tick()
    assert result.done[0].result == "done"
    assert small.world.store.task_record("T-1").charged == (1,)
    assert len(small.world.store.outcomes(9)) == 1
    assert small.world.journal.unresolved() == []


def test_what_cannot_be_read_back_stays_open_and_its_task_waits(stage):
    small = stage.small
    small.wrap = lambda world: replace(world, queue=_NoAnswer(world.queue))
    small.ticker().tick()

    class Silent(_NoAnswer):
        def receipt(self, key):  # noqa: ARG002 - as the port has it
            raise QueueUnavailableError("the queue does not answer")

    small.wrap = lambda world: replace(world, queue=Silent(world.queue))
    result = small.ticker().tick()
    assert [(one.result, one.said) for one in result.done] == [
        ("open", "the queue does not answer")
    ]
    assert len(small.world.journal.unresolved()) == 1


def test_one_act_among_many_tasks_assesses_one_task(tmp_path, monkeypatch):
    """What a look before an act costs does not grow with the wave."""
    small = SmallWorld(tmp_path, {})
    small.submit(*(spec(f"T-{number}") for number in range(60)))
    ticker = small.ticker()
    seen = []
    real = proof.assess

    def counted(task, policy):
        seen.append(task.id)
        return real(task, policy)

    monkeypatch.setattr(proof, "assess", counted)
    done = ticker.tick().done
    acts = [one for one in done if one.result == "done"]
    assert len(acts) >= 3
    # Once each for the plan; then one for each act, before it and after it.
    assert len(seen) <= 60 + 2 * len(acts)


def test_every_action_that_acts_has_an_effect_or_is_left_to_a_person():
    """Nothing else has one, but for reading a result: that is written down as well."""
    carried_out = {action for action, verb in VERBS.items() if verb.acts and not verb.by_hand}
    assert EFFECTS.keys() == carried_out | {Action.INSPECT}


class Remote:
    """Where branches are."""

    def __init__(self, **heads):
        self.heads = heads

    def baseline(self, branch, _now):
        return Baseline(branch=self.heads.get(branch), default="d" * 40)


@pytest.mark.parametrize(
    ("heads", "noted"),
    [
        pytest.param({"old": "a" * 40}, "a" * 40, id="what-it-continues"),
        pytest.param({"old": "a" * 40, "own": "b" * 40}, "b" * 40, id="its-own-once-it-is-there"),
        pytest.param({}, None, id="nothing-is-there"),
    ],
)
def test_what_a_task_goes_on_from_is_noted_before_it_is_sent(tmp_path, heads, noted):
    small = SmallWorld(tmp_path, {})
    small.submit(spec(branch="own", continues="old"))
    how = Supervision(policy=POLICY, mode="auto", interval=300.0)
    ports = replace(small.world, remote=Remote(**heads))
    retry = Proposal(action=Action.RETRY, task="T-1", reason="it failed")
    sent = Executor(ports, how, Observer(ports, how))._with_baseline(retry, small.clock.now())
    assert sent.baseline.branch == noted
