"""What does not fit together is one line when the state is opened, and never silence."""

# ruff: noqa: S608 - the tests' own constants

import json
import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from agent.adapters.state import check
from agent.adapters.state.db import State
from agent.adapters.state.opening import open_state
from agent.core.journal.records import SETTLED_RECORDS
from agent.errors import UnusableStoreError
from tests.adapters.approvals_contract import request, says
from tests.adapters.journal_contract import record
from tests.adapters.waves_contract import outcome, task_record, wave

RESTORE = "restore the file from a backup"


def did(action, task, result="done", kind="outcome"):
    key = f"{action}/{task}"
    return record(kind, task=task, key=key, action=action, result=result)


def meant(action, task):
    return record("intent", task=task, key=f"{action}/{task}", action=action)


def answered(asked):
    return record(
        "answered",
        task=asked.proposal.task,
        request=asked.id,
        digest=asked.digest,
        verdict="approved",
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A state in the middle of its work, closed; with every kind of row that is checked."""
    path = tmp_path_factory.mktemp("good") / "state.db"
    with State(path) as state:
        names = ("sent", "won", "bad", "off", "new", "idle")
        state.waves.add_wave(wave(), [task_record(name) for name in names])
        acts = [(name, "submit") for name in names[:-1]]
        acts += [("won", "accept"), ("bad", "hand-over"), ("off", "inspect"), ("new", "replace")]
        ends = {"accept": "accepted", "hand-over": "handed-over", "inspect": "cancelled"}
        for task, action in acts:
            state.journal.append([meant(action, task)])
            with state.transaction():
                status = ends.get(action, "replaced" if action == "replace" else "submitted")
                state.waves.save(task_record(task, status=status))
                state.waves.add_outcome(outcome(task), key=f"{action}/{task}")
                state.journal.append([did(action, task)])
        asked = state.approvals.ask(request("sent"))
        said = state.approvals.change(asked.id, asked.digest, says())
        state.journal.append([answered(said)])
        state.approvals.change(
            asked.id, asked.digest, lambda one: one.model_copy(update={"recorded": True})
        )
        state.journal.append([meant("retry", "sent"), record("tick", tick=3)])
        assert state.check() is None
    return path


@pytest.fixture
def own(good, path):
    for name in (good.name, "state.seal"):
        shutil.copy(good.with_name(name), path.with_name(name))
    return path


def spoil(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        names = [
            row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='trigger'")
        ]
        for name in names:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)


def complaint(path):
    with pytest.raises(UnusableStoreError) as caught:
        open_state(path)
    [line] = str(caught.value).splitlines()
    front = f"{path}: "
    assert line.startswith(front)
    return line.removeprefix(front)


LAST = "sequence = (SELECT count FROM head)"
CUT_OFF = "DELETE FROM entry WHERE sequence > (SELECT count - 4 FROM head)"
SEALED_AGAIN = """UPDATE head SET (count, digest) = (
    SELECT sequence, digest FROM entry ORDER BY sequence DESC LIMIT 1)"""
AGAIN = """INSERT INTO open_intent
    SELECT key, sequence FROM entry WHERE key = 'accept/won' AND kind = 'intent'"""
REJECTED = """UPDATE entry SET body = replace(body, 'approved', 'rejected')
    WHERE kind = 'answered'"""
NO_ANSWER = "and the journal has no such answer to it"
NO_RECORD = "and the journal has no record of how it became so"


@pytest.mark.parametrize(
    ("statements", "line"),
    [
        pytest.param(
            ["DELETE FROM head"],
            "the journal's head is missing: nothing says how many records were written",
            id="no head",
        ),
        pytest.param(
            [f"DELETE FROM entry WHERE {LAST}"],
            "record 21 is missing: 21 were written and the end is cut off",
            id="cut-off end",
        ),
        pytest.param(
            [f"UPDATE entry SET digest = 'x' WHERE {LAST}"],
            "record 21 is not the one that was written last",
            id="edited end",
        ),
        pytest.param(
            ["UPDATE head SET count = count - 1"],
            "record 21 is not the one that was written last",
            id="a record too many",
        ),
        pytest.param(
            [CUT_OFF, SEALED_AGAIN],
            "the journal has 17 records, and what is known of a request follows from record 19: "
            "the journal is older",
            id="end cut off and sealed again",
        ),
        *(
            pytest.param(
                [f"UPDATE {table} SET sequence = 99"],
                f"the journal has 21 records, and what is known of a {table} follows from record "
                "99: the journal is older",
                id=f"a {table} from the future",
            )
            for table in ("wave", "task", "outcome")
        ),
        pytest.param(
            ["UPDATE task SET status = 'accepted', settled = 1 WHERE id = 'sent'"],
            f"task 'sent' is accepted, {NO_RECORD}",
            id="accepted by hand, with another act under way",
        ),
        pytest.param(
            ["UPDATE task SET status = 'accepted', settled = 1 WHERE id = 'idle'"],
            f"task 'idle' is accepted, {NO_RECORD}",
            id="accepted by hand",
        ),
        *(
            pytest.param(
                [f"UPDATE task SET status = '{other}' WHERE id = '{task}'"],
                f"task '{task}' is {other}, {NO_RECORD}",
                id=f"{task}, but {other}",
            )
            for task, other in (
                ("won", "handed-over"),
                ("bad", "accepted"),
                ("off", "replaced"),
                ("new", "cancelled"),
            )
        ),
        pytest.param(
            ["UPDATE entry SET body = replace(body, 'done', 'failed') WHERE task = 'won'"],
            f"task 'won' is accepted, {NO_RECORD}",
            id="its acceptance failed",
        ),
        pytest.param(
            ["UPDATE task SET status = 'submitted', settled = 0 WHERE id = 'won'"],
            "the journal says that task 'won' was accepted, and here it is open",
            id="accepted and open",
        ),
        pytest.param(
            ["DELETE FROM task WHERE id = 'bad'"],
            "the journal says what was done with task 'bad', which is not there",
            id="a task is gone",
        ),
        pytest.param(
            ["DELETE FROM task"],
            "the journal says what was done with task 'bad', which is not there",
            id="all tasks are gone",
        ),
        pytest.param(
            ["DELETE FROM open_intent"],
            "the journal says that intent 'retry/sent' is under way, and it is not listed",
            id="an open intent is gone",
        ),
        pytest.param(
            [AGAIN],
            "intent 'accept/won' is listed as under way, and the journal says otherwise",
            id="an intent that was settled",
        ),
        pytest.param(
            ["INSERT INTO open_intent VALUES ('retry/none', 3)"],
            "intent 'retry/none' is listed as under way, and the journal says otherwise",
            id="an intent that never was",
        ),
        pytest.param(
            ["UPDATE open_intent SET sequence = 1"],
            "intent 'retry/sent' is listed as under way, and the journal says otherwise",
            id="another record of the intent",
        ),
        pytest.param(
            ["UPDATE request SET digest = 'x'"],
            f"A-1 is approved, {NO_ANSWER}",
            id="another question than the one that was approved",
        ),
        pytest.param(
            [REJECTED],
            f"A-1 is approved, {NO_ANSWER}",
            id="it was rejected",
        ),
        pytest.param(
            ["DROP INDEX entry_answered", "UPDATE entry SET body = '[' WHERE kind = 'answered'"],
            "a record of the journal cannot be read: it was edited after it was written",
            id="a record that cannot be read",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(own, statements, line):
    spoil(own, *statements)
    assert complaint(own) == f"{line}; {RESTORE}"


def test_a_state_without_a_name_is_refused(own):
    spoil(own, "DELETE FROM installation")
    assert complaint(own) == f"it has lost its name; {RESTORE}"


def test_every_way_to_settle_a_task_has_its_act():
    assert {status for status, _ in check.SETTLES} == SETTLED_RECORDS


@pytest.mark.parametrize(
    ("records", "fits"),
    [
        pytest.param([], False, id="nothing"),
        pytest.param([meant("accept", "a")], True, id="its act is under way"),
        pytest.param([meant("accept", "a"), did("accept", "a", "void")], False, id="void"),
        pytest.param([did("accept", "a", kind="settled")], True, id="settled after a crash"),
        pytest.param([did("accept", "b")], False, id="another task"),
        pytest.param([did("retry", "a")], False, id="another act"),
    ],
)
def test_what_explains_a_settled_task(state, records, fits):
    state.waves.add_wave(wave(), [task_record("a", status="accepted"), task_record("b")])
    state.journal.append([*records, record("tick", tick=2)])
    fault = state.check()
    if fits:
        assert fault is None
    else:
        assert fault is not None
        assert "'a'" in fault or "'b'" in fault


@pytest.mark.parametrize(
    ("later", "fits"),
    [
        pytest.param([], False, id="nothing"),
        pytest.param([did("release", "a")], True, id="released"),
        pytest.param([did("submit", "a")], True, id="submitted again"),
        pytest.param([did("retry", "a", "failed")], False, id="a retry that failed"),
        pytest.param([did("inspect", "a")], False, id="only read"),
    ],
)
def test_what_explains_an_accepted_task_that_is_open(state, later, fits):
    state.waves.add_wave(wave(), [task_record("a")])
    state.journal.append([did("submit", "a"), did("accept", "a"), *later])
    assert (state.check() is None) is fits


def test_an_answer_and_its_record_come_together(state):
    asked = state.approvals.ask(request())
    with state.transaction():
        said = state.approvals.change(asked.id, asked.digest, says())
        assert state.check() == f"A-1 is approved, {NO_ANSWER}; {RESTORE}"
        state.journal.append([answered(said)])
        assert state.check() is None


def test_checking_reads_by_indexes_and_not_the_journal(state):
    """However long the journal is, and whatever the planner of SQLite knows of it."""
    state.waves.add_wave(wave(), [task_record("a")])
    seen = []
    state._db.set_trace_callback(seen.append)
    assert state.check() is None
    state._db.set_trace_callback(None)
    plans = [
        row[3]
        for query in seen
        if query.lstrip().startswith(("SELECT", "WITH"))
        for row in state._db.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
    ]
    scans = [step for step in plans if step.startswith("SCAN") and "entry" in step]
    assert len(plans) > 20
    assert all("USING" in step and "INDEX" in step for step in scans), scans


# The seal.


@pytest.fixture
def older(own, tmp_path):
    """The state with its seal as it was before the last tick."""
    folder = tmp_path / "older"
    folder.mkdir()
    for name in ("state.db", "state.seal"):
        shutil.copy(own.with_name(name), folder / name)
    with State(own) as state:
        state.journal.append([record("tick", tick=4), record("tick", tick=5)])
    return folder / "state.db"


def test_the_seal_follows_the_state(own):
    def sealed():
        return json.loads(own.with_suffix(".seal").read_text())

    with State(own) as state:
        installation = state.installation
        assert sealed()["count"] == 21
        state.journal.append([record("tick", tick=4)])
        assert sealed()["count"] == 21
        state.seal()
        [last] = list(state.journal.entries(after=21))
        assert sealed() == {"installation": installation, "count": 22, "digest": last.digest}
        state.journal.append([record("tick", tick=5)])
    assert sealed()["count"] == 23
    with open_state(own):
        before = own.with_suffix(".seal").stat().st_mtime_ns
    assert own.with_suffix(".seal").stat().st_mtime_ns == before


def replaced(path, older):
    shutil.copy(older, path)


def another(path, older):
    """Of as many records, and of another installation."""
    path.unlink()
    with State(older.with_name("other.db")) as state:
        state.journal.append([record("tick", tick=n) for n in range(23)])
    shutil.copy(older.with_name("other.db"), path)


def rewritten(path, _older):
    spoil(path, f"UPDATE entry SET digest = 'y' WHERE {LAST}", SEALED_AGAIN)


def forked(path, older):
    """Restored, and used on: as many records as the seal knows, and others."""
    replaced(path, older)
    older.with_name("state.seal").unlink()
    with State(path, sealed=False) as state:
        state.journal.append([record("stop", tick=4), record("start", tick=4)])


@pytest.mark.parametrize(
    ("how", "line"),
    [
        pytest.param(lambda path, _: path.unlink(), "it is gone; restore it", id="gone"),
        pytest.param(lambda path, _: path.write_bytes(b""), "it is empty; restore it", id="empty"),
        pytest.param(replaced, "it is older than state.seal, which knows 23 records;", id="older"),
        pytest.param(another, "it is of another installation than state.seal, or", id="another"),
        pytest.param(rewritten, "its record 23 is not the one that state.seal knows;", id="edited"),
        pytest.param(forked, "its record 23 is not the one that state.seal knows;", id="forked"),
    ],
)
def test_a_state_that_is_not_the_sealed_one_is_refused(own, older, how, line):
    how(own, older)
    for _ in range(2):  # also not at the second look
        said = complaint(own)
        assert said.startswith(line)
        assert "or delete state.seal to" in said
    own.with_suffix(".seal").unlink()
    with open_state(own) as state:
        assert state.check() is None


def test_a_seal_that_cannot_be_read_is_refused(own):
    seal = own.with_suffix(".seal")
    seal.write_text("no seal")
    with pytest.raises(UnusableStoreError) as caught:
        open_state(own)
    assert str(caught.value) == (
        f"{seal}: it cannot be read: restore it together with state.db, or delete it to go on with "
        "state.db as it is"
    )


def test_a_seal_that_cannot_be_written_loses_nothing(own):
    own.with_suffix(f".seal.{os.getpid()}.new").mkdir()
    with State(own) as state:
        state.journal.append([record("tick", tick=4)])
        with pytest.raises(UnusableStoreError, match="check the path, the rights and the disk"):
            state.seal()
    with open_state(own) as state:
        assert len(list(state.journal.entries(after=21))) == 1


def test_reading_what_is_not_there_makes_nothing(tmp_path):
    with open_state(tmp_path / "state.db", make=False) as state:
        assert list(state.waves.waves()) == []
    assert list(tmp_path.iterdir()) == []
