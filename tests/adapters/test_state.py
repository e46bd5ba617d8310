"""The file as a whole: what is no such file, and one transaction over all that is kept in it."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress

import pytest

from agent.adapters.common import sqlite
from agent.adapters.common.sqlite import MEMORY
from agent.adapters.state.db import State
from agent.core.approval.requests import StandingRule
from agent.core.model.actions import Action
from agent.core.model.nouns import Defect
from agent.errors import ChangedMeanwhileError, UnusableStoreError, WaveFileError
from agent.ports import State as StatePort
from tests.adapters.approvals_contract import NOW, request, says
from tests.adapters.journal_contract import record, snapshot
from tests.adapters.waves_contract import outcome, task_record, wave


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "state.db"


def edit(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def complaint(path):
    with pytest.raises(UnusableStoreError) as caught:
        State(path)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    return line


@pytest.mark.parametrize(
    ("prepare", "remedy"),
    [
        pytest.param(
            lambda path: path.write_bytes(b"no database\n" * 99),
            "not a SQLite database: name another state folder",
            id="no database",
        ),
        pytest.param(lambda path: path.mkdir(), "check the rights", id="a folder"),
        pytest.param(
            lambda path: edit(path, "CREATE TABLE queue(id)"),
            "another program's database",
            id="another program's",
        ),
        pytest.param(
            lambda path: edit(path, "PRAGMA user_version = 9"),
            "another program's database",
            id="another program's, without a table",
        ),
    ],
)
def test_what_is_no_state_is_left_as_it_is(path, prepare, remedy):
    path.parent.mkdir()
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    assert remedy in complaint(path)
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_newer_format_asks_for_an_update(path):
    State(path).close()
    edit(path, f"PRAGMA user_version = {State.VERSION + 1}")
    assert "newer wavekeeper" in complaint(path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "state").write_text("a file")
    assert "check the path" in complaint(tmp_path / "state" / "state.db")


def test_every_commit_reaches_the_disk(path):
    with State(path) as state:
        assert state._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert state._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_locked_file_says_so(path, monkeypatch):
    """Whatever is written: one part cannot go on where another has to wait."""
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.05)
    with State(path) as state, closing(sqlite3.connect(path, isolation_level=None)) as other:
        state._db.execute("PRAGMA busy_timeout = 20")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnusableStoreError, match="end that process"):
            state.waves.note({"cursor": "17"})
        with pytest.raises(UnusableStoreError, match="end that process"):
            state.journal.append([record("tick")])
        other.execute("ROLLBACK")
        state.waves.note({"cursor": "17"})
        assert dict(state.waves.notes()) == {"cursor": "17"}


def test_an_installation_has_a_name_of_its_own(path):
    with State(path) as one, State(path) as again, State(MEMORY) as other:
        checked: StatePort = one
        assert len(bytes.fromhex(checked.installation)) == 8
        assert one.installation == again.installation != other.installation


# One transaction over everything.

RULE = StandingRule(
    action=Action.RETRY, until=NOW.replace(year=2027), most_uses=3, made_by="ana", made_at=NOW
)
DEFECT = Defect(id="D-1", fingerprint="f", status="recorded")


def whole(state):
    """All that the three parts say."""
    return {
        "records": [entry.record for entry in state.journal.entries()],
        "unresolved": list(state.journal.unresolved()),
        "broken": state.journal.verify(),
        "waves": list(state.waves.waves()),
        "tasks": list(state.waves.task_records()),
        "open": list(state.waves.task_records(settled=False)),
        "one": state.waves.task_record("a"),
        "defects": list(state.waves.defects()),
        "outcomes": list(state.waves.outcomes(10)),
        "notes": dict(state.waves.notes()),
        "cards": list(state.approvals.requests(live=False)),
        "rules": list(state.approvals.rules()),
    }


def prepare(state):
    state.waves.add_wave(wave(), [task_record("a"), task_record("b")])
    state.journal.append([record("intent", task="a", key="accept/a")])
    state.approvals.ask(request())


def act(state):
    """A change through every method that writes, as the supervisor makes them in one go."""
    asked = state.approvals.request("A-1")
    state.waves.save(task_record("a", status="accepted"))
    state.waves.save(task_record("b", at_risk_polls=1))
    state.waves.save(task_record("c"))
    state.waves.save_defect(DEFECT)
    state.waves.add_outcome(outcome("a"), key="accept/a")
    state.waves.note({"window_limit": "3", "cursor": "17"})
    state.waves.add_wave(wave("w2"), [task_record("d", wave="w2")])
    state.approvals.change("A-1", asked.digest, says())
    state.approvals.ask(request("T-2"))
    state.approvals.add_rule(RULE)
    state.approvals.change_rule("R-1", lambda one: one.model_copy(update={"used": 1}))
    state.journal.append([record("outcome", task="a", key="accept/a")], snapshot())


class Breaks:
    """Stands for the connection of a state: one statement that changes something fails."""

    CHANGES = ("INSERT", "UPDATE", "DELETE", "COMMIT")

    def __init__(self, state, at):
        self._db, self._at, self.seen = state._db, at, 0
        state._db = self

    def __getattr__(self, name):
        return getattr(self._db, name)

    def execute(self, statement, *values):
        self._count(statement)
        return self._db.execute(statement, *values)

    def executemany(self, statement, rows):
        self._count(statement)
        return self._db.executemany(statement, rows)

    def _count(self, statement):
        self.seen += statement.lstrip().startswith(self.CHANGES)
        if self.seen == self._at:
            self.seen += 1
            raise sqlite3.OperationalError("disk I/O error")


def test_one_transaction_is_all_or_nothing_at_every_statement(state):
    prepare(state)
    before, at = whole(state), 0
    while True:
        at += 1
        faulty = Breaks(state, at)
        try:
            with state.transaction():
                act(state)
        except UnusableStoreError:
            state._db = faulty._db
            assert whole(state) == before, f"statement {at}"
            continue
        state._db = faulty._db
        break
    assert at > 15
    after = whole(state)
    assert {name for name in before if before[name] != after[name]} == before.keys() - {"broken"}
    assert after["one"] == task_record("a", status="accepted")
    assert [one.spec.id for one in after["open"]] == ["b", "c", "d"]


class Leaves(BaseException):
    """Ctrl-C, or anything else that is no error of the state."""


@pytest.mark.parametrize("error", [Leaves, ValueError], ids=["ctrl-c", "error"])
def test_what_leaves_the_transaction_undoes_it_all(state, error):
    prepare(state)
    before = whole(state)

    def broken_off():
        with state.transaction():
            act(state)
            raise error

    with pytest.raises(error):
        broken_off()
    assert whole(state) == before
    act(state)
    assert state.journal.verify() is None


def test_an_inner_one_that_fails_undoes_only_itself(state):
    prepare(state)
    asked = state.approvals.request("A-1")
    with state.transaction():
        state.waves.note({"kept": "1"})
        with pytest.raises(WaveFileError):
            state.waves.add_wave(
                wave("w2"), [task_record("e", wave="w2"), task_record("a", wave="w2")]
            )
        with suppress(ChangedMeanwhileError):
            state.approvals.change("A-1", "0" * 64, says())
        with suppress(ValueError), state.transaction():
            state.waves.save(task_record("a", at_risk_polls=9))
            state.waves.save(task_record("f"))
            raise ValueError
        assert state.waves.task_record("a") == task_record("a")
        state.waves.save(task_record("b", at_risk_polls=1))
    assert dict(state.waves.notes()) == {"kept": "1"}
    assert list(state.waves.task_records(settled=False)) == [
        task_record("a"),
        task_record("b", at_risk_polls=1),
    ]
    assert state.approvals.request("A-1") == asked
    assert [one.id for one in state.waves.waves()] == ["w1"]


def test_a_transaction_that_the_disk_has_undone_goes_no_further(state):
    """SQLite rolls back by itself when the disk is full; half of the work must not follow."""
    prepare(state)
    before = whole(state)

    def lost():
        with state.transaction():
            state.waves.note({"lost": "1"})
            state._db.execute("ROLLBACK")
            with suppress(UnusableStoreError):
                state.waves.note({"half": "1"})

    with pytest.raises(UnusableStoreError, match="the transaction was lost"):
        lost()
    assert whole(state) == before
    state.waves.note({"kept": "1"})
    assert dict(state.waves.notes()) == {"kept": "1"}


def test_other_threads_wait_for_the_end(state):
    seen, inside = [], threading.Event()

    def look():
        inside.wait(10)
        seen.append(dict(state.waves.notes()))
        state.waves.note({"second": "2"})

    other = threading.Thread(target=look)
    other.start()
    with state.transaction():
        inside.set()
        state.waves.note({"first": "1"})
        assert seen == []
        state.waves.note({"first": "done"})
    other.join()
    assert seen == [{"first": "done"}]
    assert dict(state.waves.notes()) == {"first": "done", "second": "2"}


def test_other_processes_see_all_or_nothing(path):
    with State(path) as state, State(path) as other:
        prepare(state)
        before = whole(other)
        with state.transaction():
            act(state)
            assert whole(other) == before
        assert whole(other) == whole(state) != before


BOTH = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from agent.adapters.state.db import State
from agent.core.journal.records import Record
from tests.adapters.waves_contract import task_record

name = sys.argv[2]
with State(Path(sys.argv[1])) as state:
    print("up", flush=True)
    sys.stdin.readline()
    for tick in range(int(sys.argv[3])):
        with state.transaction():
            state.waves.save(task_record(name, at_risk_polls=tick + 1))
            state.waves.note({name: str(tick + 1)})
            one = Record(kind="decision", at=datetime.now(UTC), tick=tick + 1, task=name)
            state.journal.append([one])
        print(tick, flush=True)
"""


def begin(path, name, count):
    return subprocess.Popen(
        [sys.executable, "-c", BOTH, str(path), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def agreeing(path, name):
    """How far a writer came, if everything in the file says the same of it."""
    with State(path) as state:
        assert state.journal.verify() is None
        ticks = [one.record.tick for one in state.journal.entries(task=name)]
        assert ticks == list(range(1, len(ticks) + 1))
        found = state.waves.task_record(name)
        assert (found.at_risk_polls if found else 0) == len(ticks)
        assert int(state.waves.notes().get(name, "0")) == len(ticks)
    return len(ticks)


def test_two_processes_write_whole_transactions(path):
    writers = {name: begin(path, name, 40) for name in ("a", "b")}
    for writer in writers.values():
        assert writer.stdout.readline() == "up\n"
    for writer in writers.values():
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for name, writer in writers.items():
        writer.communicate(timeout=60)
        assert (writer.returncode, agreeing(path, name)) == (0, 40)


def test_a_killed_process_leaves_whole_transactions(path):
    with begin(path, "a", 100_000) as writer:
        writer.stdin.write("go\n")
        writer.stdin.flush()
        for _ in range(20):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
    assert agreeing(path, "a") >= 19
