"""What is seen of a task is the queue's word; what the supervisor adds never hides it."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.adapters.code_queue.ledger import Ledger
from agent.adapters.common.lock import FileLock
from agent.adapters.evidence.git import GitEvidence
from agent.adapters.evidence.judge import JudgeEvidence
from agent.core.model.nouns import Defect, Status
from agent.core.model.queueing import Receipt
from agent.core.queue.rules import Halt, Retry
from agent.errors import QueueUnavailableError, UnusableStoreError
from agent.runtime.context import Supervision
from agent.runtime.loop import Loop
from agent.runtime.observe import Observer
from agent.runtime.status import StatusReader
from tests.adapters.git_origin import Origin
from tests.simulation.small_world import POLICY, START, SmallWorld, Turn, spec

HOW = Supervision(policy=POLICY, mode="auto", interval=300.0)
MISSING = "sh: 1: demo-lint: command not found"
BLOCKED = Turn(commit="d" * 40, checks=MISSING)


def seen(world: SmallWorld, task: str):
    return next(one for one in Observer(world.world, HOW).observe().tasks if one.id == task)


def recorded(world: SmallWorld, number: int) -> Defect:
    cause = f"missing-tool:x{number}"
    issue = world.world.issues.open(cause, f"no x{number}", "body")
    defect = Defect(
        id=f"D-{number}", fingerprint=cause, status="recorded", issue=issue.id,
        reason="missing-tool",
    )  # fmt: skip
    world.world.store.save_defect(defect)
    return defect


class Counting:
    """An issue tracker that counts how often it is asked."""

    def __init__(self, issues):
        self._issues, self.asked = issues, []

    def __getattr__(self, name):
        return getattr(self._issues, name)

    def is_open(self, issue):
        self.asked.append(issue)
        return self._issues.is_open(issue)


def test_observing_writes_nothing_and_a_fix_by_hand_is_a_recorded_decision(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec())
    defect = recorded(world, 1)
    world.world.issues.close(defect.issue, "fixed by hand", key="k")
    before = list(world.world.journal.entries())
    (shown,) = Observer(world.world, HOW).observe().defects
    assert (shown.status, shown.issue_open) == ("recorded", False)
    assert world.world.store.defects()[0].status == "recorded"
    assert list(world.world.journal.entries()) == before
    world.ticker().tick()
    (known,) = world.world.store.defects()
    assert (known.status, known.issue_open) == ("fixed", None)
    (fixed,) = world.world.journal.entries(kinds=("fixed",))
    assert fixed.record.body["defect"] == "D-1"


def test_a_tick_asks_about_each_issue_once_however_much_it_does(tmp_path):
    counting = None

    def wrap(ports):
        nonlocal counting
        counting = counting or Counting(ports.issues)
        return replace(ports, issues=counting)

    world = SmallWorld(tmp_path, {}, wrap=wrap)
    world.submit(*(spec(f"T-{number}") for number in range(8)))
    for number in range(5):
        recorded(world, number)
    done = world.ticker().tick().done
    assert len(done) >= 3
    assert len(counting.asked) == 5


def parked(folder) -> SmallWorld:
    """T-1 waits for its defect, whose fix never comes."""
    world = SmallWorld(folder, {("T-1", 1): BLOCKED, ("fix-d-1", 1): Turn(vanish=True)})
    world.submit(spec())
    world.run(ticks=6)
    assert world.world.store.task_record("T-1").status == "parked"
    return world


def test_a_parked_task_shows_the_queues_word_beside_the_supervisors(tmp_path):
    task = seen(parked(tmp_path), "T-1")
    assert (task.status, task.held, task.word) == (Status.SUCCEEDED, "parked", "parked")


class Mute:
    """Judgements that cannot be read just now."""

    def latest(self, task, attempt):
        raise QueueUnavailableError(f"the judgement of {task} attempt {attempt} cannot be read")


def test_a_tick_in_which_a_task_cannot_be_read_takes_no_evidence_away(tmp_path):
    """What is parked is not probed again, and is judged again at the commit that was seen."""
    world = parked(tmp_path)
    kept = world.world.store.task_record("T-1").evidence
    world.wrap = lambda ports: replace(ports, judgements=Mute())
    (task,) = (one for one in world.ticker().tick().snapshot.tasks if one.id == "T-1")
    assert "cannot be read" in task.unreadable
    assert world.world.store.task_record("T-1").evidence == kept != ()


def test_a_parked_task_that_somebody_starts_again_is_read_and_judged(tmp_path):
    world = parked(tmp_path)
    world.queue.retry("T-1", attempt=2, prompt="by hand", fresh_session=False, key="person")
    task = seen(world, "T-1")
    assert (task.status, task.held, task.attempt) == (Status.QUEUED, None, 2)
    world.host()
    task = seen(world, "T-1")
    assert (task.status, task.held, task.inspected) == (Status.SUCCEEDED, None, False)
    world.run(ticks=6)
    assert world.outcome()["T-1"] == ("accepted", 2)
    assert ("release", "T-1") not in world.actions("T-1")
    assert world.world.state.check() is None


def test_a_task_that_was_handed_over_goes_on_when_somebody_starts_it_again(tmp_path):
    wrong = {("T-1", number): Turn(commit="d" * 40, checks=f"no {number}") for number in (1, 2, 3)}
    world = SmallWorld(tmp_path, wrong)
    world.submit(spec())
    world.run(ticks=12)
    assert world.outcome() == {"T-1": ("handed-over", 3)}
    world.queue.retry("T-1", attempt=4, prompt="by hand", fresh_session=False, key="person")
    world.host()
    world.run(ticks=1)
    assert world.world.store.task_record("T-1").status == "submitted"
    assert world.world.state.check() is None
    world.run(ticks=6)
    assert world.outcome() == {"T-1": ("accepted", 4)}
    assert world.world.state.check() is None


class Odd:
    """A queue that shows one task as it cannot be."""

    def __init__(self, queue, task, **update):
        self._queue, self._task, self._update = queue, task, update

    def __getattr__(self, name):
        return getattr(self._queue, name)

    def _spoilt(self, view):
        if view is None or view.id != self._task:
            return view
        return view.model_copy(update=self._update)

    def get(self, task):
        return self._spoilt(self._queue.get(task))

    def changed_since(self, cursor):
        changes = self._queue.changed_since(cursor)
        return changes.model_copy(
            update={"tasks": tuple(self._spoilt(one) for one in changes.tasks)}
        )


ODD = [
    pytest.param(
        {"started_at": START, "finished_at": START - timedelta(seconds=2)},
        "finishedAt lies before startedAt", id="a clock that was set back",
    ),
    pytest.param({"attempt": 0}, "attempt 1 was sent", id="an old copy of the queue"),
]  # fmt: skip


@pytest.mark.parametrize(("update", "why"), ODD)
def test_a_row_that_cannot_be_makes_one_task_unreadable_and_stops_nobody(tmp_path, update, why):
    world = SmallWorld(tmp_path, {})
    world.submit(spec(), spec("T-2"))
    world.ticker().tick()
    world.host()
    if "attempt" in update:
        sent = world.world.store.task_record("T-1").model_copy(update={"sent_attempt": 1})
        world.world.store.save(sent)
    world.wrap = lambda ports: replace(ports, queue=Odd(ports.queue, "T-1", **update))
    world.run(world.ticker(), ticks=5)
    assert world.outcome()["T-2"] == ("accepted", 1)
    assert world.world.store.task_record("T-1").status == "submitted"
    shown = StatusReader(world.wrap(world.world), HOW).look("me")
    assert shown.needs_you == ("T-1",)
    (task,) = (one for one in shown.tasks if one.id == "T-1")
    assert why in task.next.reason
    world.wrap = lambda ports: ports
    world.run(ticks=5)
    assert world.outcome()["T-1"] == ("accepted", 1)


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(
            "UPDATE attempt SET finished_at = 9223372036854775807 WHERE task = 'T-1'", id="no time"
        ),
        pytest.param("UPDATE attempt SET state = 'dancing' WHERE task = 'T-1'", id="no status"),
        pytest.param("UPDATE task SET \"order\" = '{}' WHERE id = 'T-1'", id="no order"),
        pytest.param(
            "UPDATE attempt SET lease_until = 0, state = 'running',"
            " started_at = 9223372036854775807 WHERE task = 'T-1'",
            id="a lapsed lease",
        ),
    ],
)
def test_a_row_of_the_queue_that_cannot_be_read_stops_nobody(tmp_path, sql):
    world = SmallWorld(tmp_path, {})
    world.submit(spec(), spec("T-2"))
    world.ticker().tick()
    world.host()
    world.queue._db.execute("PRAGMA ignore_check_constraints = ON")
    world.queue._db.execute(sql)
    world.run(ticks=5)
    assert world.world.store.task_record("T-2").status == "accepted"
    assert world.world.store.task_record("T-1").status == "submitted"
    assert seen(world, "T-1").unreadable.startswith("its row in the queue: ")
    shown = StatusReader(world.world, HOW).look("me")
    assert shown.needs_you == ("T-1",)


def test_a_queued_task_that_no_host_can_read_needs_a_person_and_the_others_run(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec(), spec("T-2"))
    world.ticker().tick()
    world.queue._db.execute("UPDATE task SET \"order\" = '{}' WHERE id = 'T-1'")
    world.run(ticks=5)
    assert world.world.store.task_record("T-2").status == "accepted"
    shown = StatusReader(world.world, HOW).look("me")
    assert shown.needs_you == ("T-1",)
    (mapped,) = (one for one in shown.tasks if one.id == "T-1")
    assert "its row in the queue: " in mapped.next.reason


def test_a_row_of_the_state_that_cannot_be_read_stops_nobody(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec(), spec("T-2"))
    state = world.world.state
    with state.transaction() as db:
        db.execute("UPDATE task SET body = '{}' WHERE id = 'T-1'")
    state.waves.forget()
    world.run(ticks=5)
    assert world.world.store.task_record("T-2").status == "accepted"
    task = seen(world, "T-1")
    assert task.unreadable.startswith("its row in ")
    shown = StatusReader(world.world, HOW).look("me")
    assert shown.needs_you == ("T-1",)
    (mapped,) = (one for one in shown.tasks if one.id == "T-1")
    assert mapped.why == task.unreadable
    assert mapped.next.reason.endswith(task.unreadable)


def test_a_planned_task_whose_id_another_wave_has_in_the_queue_waits_for_a_person(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec())
    world.run(ticks=5)
    order = world.queue.get("T-1").order
    world.queue.submit("T-7", queue="main", prompt="another", order=order, key="elsewhere")
    world.submit(spec("T-7"), wave="w7")
    task = seen(world, "T-7")
    assert task.unreadable == "the queue's task of this id is of wave w1, not of w7"


def test_a_clock_that_is_set_back_is_reported_and_the_supervisor_goes_on(tmp_path):
    world = SmallWorld(tmp_path, {})
    world.submit(spec())
    ticker = world.ticker()
    ticker.tick()
    world.host()
    world.clock.move(-120)
    assert ticker.tick().clock == "the clock was set back by 120 s"
    world.clock.move(30)
    world.run(ticker, ticks=5)
    assert world.outcome() == {"T-1": ("accepted", 1)}


class Supervised:
    """A loop over a small world whose state fails for some ticks, or whose view does."""

    def __init__(self, folder, failures=0, view=None):
        self.small, self.failures, self.reports, self.ticks = (
            SmallWorld(folder, {}),
            failures,
            [],
            [],
        )
        self.small.submit(spec())
        self.view = view

    def append(self, *arguments):
        if self.failures:
            self.failures -= 1
            raise UnusableStoreError("state.db: the disk is full: free some space and start again")
        return self.small.world.state.journal.append(*arguments)

    def tell(self, result):
        self.ticks.append(result)
        if self.view is not None:
            raise self.view

    def run(self, give_up_after):
        journal = self.small.world.journal
        how = Supervision(policy=POLICY, mode="auto", interval=0.001)
        loop = Loop(
            replace(self.small.world, journal=Failing(journal, self)),
            how, FileLock(self.small.folder / "lock"), "me", self.tell, self.reports.append,
        )  # fmt: skip
        loop.run(
            threading.Event(), until=lambda _: len(self.ticks) >= 2, give_up_after=give_up_after
        )


class Failing:
    """A journal that cannot be written in ticks; starting and stopping are."""

    def __init__(self, journal, supervised):
        self._journal, self._supervised = journal, supervised

    def __getattr__(self, name):
        return getattr(self._journal, name)

    def append(self, records, snapshot=None):
        if records[0].kind in ("start", "stop"):
            return self._journal.append(records)
        return self._supervised.append(records, snapshot)


def test_a_state_that_cannot_be_written_for_a_while_is_tried_again(tmp_path):
    supervised = Supervised(tmp_path, failures=3)
    supervised.run(give_up_after=10)
    assert len(supervised.ticks) == 2
    assert [one for one in supervised.reports if "the disk is full" in one] == supervised.reports
    assert len(supervised.reports) == 3


def test_a_state_that_can_never_be_written_ends_the_loop_with_its_remedy(tmp_path):
    supervised = Supervised(tmp_path, failures=99)
    with pytest.raises(UnusableStoreError, match="the disk is full"):
        supervised.run(give_up_after=4)
    assert len(supervised.reports) == 3


def test_a_view_that_fails_ends_nothing(tmp_path):
    supervised = Supervised(tmp_path, view=ValueError("no such colour"))
    supervised.run(give_up_after=1)
    assert len(supervised.ticks) == 2
    assert supervised.reports[0] == "tick 1 cannot be shown: ValueError: no such colour"


@pytest.mark.parametrize("effect", ["stale", "nothing-to-do", "unknown-task"])
def test_a_request_that_did_nothing_says_nothing_about_an_attempt(tmp_path, effect):
    retry = Retry(task="T-1", attempt=2, prompt="never sent", fresh_session=False)
    halt = Halt(verb="interrupt", task="T-1", attempt=2, reason="too late")
    with Ledger(tmp_path / "ledger.db") as ledger:
        for key, request in (("r", retry), ("h", halt)):
            ledger.settle(Receipt(key=key, effect=effect, task="T-1", attempt=2), request, START)
        assert ledger.prompt("T-1", 2) is None
        assert ledger.reason("T-1", 2) is None
        assert ledger.asked("T-1", 2) is None
        ledger.settle(Receipt(key="r2", effect="done", task="T-1", attempt=2), retry, START)
        assert ledger.prompt("T-1", 2) == "never sent"


def test_a_tick_asks_the_remote_once_for_all_tasks(tmp_path, monkeypatch):
    (tmp_path / "origin").mkdir()
    origin = Origin.new(tmp_path / "origin")
    small = SmallWorld(tmp_path, {})
    git = GitEvidence(str(origin.bare), tmp_path / "evidence", ("**/*.md",))
    judges = JudgeEvidence(small.judgements)
    small.wrap = lambda world: replace(world, probes=(git, judges), remote=git)
    small.submit(*(spec(f"T-{one}") for one in (1, 2, 3)))
    ticker = small.ticker()
    ticker.tick()
    small.host()
    small.clock.move(61)
    ticker.tick()
    asked, ask = [], GitEvidence._ask
    monkeypatch.setattr(GitEvidence, "_ask", lambda self, now: asked.append(now) or ask(self, now))
    small.clock.move(61)
    seen = small.ticker("observe").tick().snapshot
    assert {one.evidence[0].detail for one in seen.tasks} == {
        f"origin has no branch wavekeeper/T-{one}" for one in (1, 2, 3)
    }
    assert len(asked) == 1
