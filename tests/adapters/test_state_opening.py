"""The three files of the earlier format are taken over once, whole or not at all."""

# ruff: noqa: S608 - the tests' own constants

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from agent.adapters.common.sqlite import MEMORY
from agent.adapters.state.check import TAKEN_OVER
from agent.adapters.state.db import State
from agent.adapters.state.opening import ASIDE, open_state
from agent.core.journal.records import Record
from agent.errors import UnusableStoreError
from tests.adapters.journal_contract import record
from tests.adapters.waves_contract import task_record

EARLIER = Path(__file__).parent / "earlier_state"
NAMES = ("journal.db", "waves.db", "approvals.db")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier")
    for name in NAMES:
        with closing(sqlite3.connect(folder / name)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript((EARLIER / name).with_suffix(".sql").read_text(encoding="utf-8"))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    for name in NAMES:
        shutil.copy(made / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def path(folder):
    return folder / "state.db"


def edit(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for name in [row[0] for row in db.execute("SELECT name FROM sqlite_master "
                                                  "WHERE type = 'trigger'")]:  # fmt: skip
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)


def rows(path, query):
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def names(folder):
    passing = (".db-wal", ".db-shm", ".lock")
    return sorted(one.name for one in folder.iterdir() if one.suffix not in passing)


DONE = ["state.db", "state.seal", *(name + ASIDE for name in NAMES)]

SAME = [
    ("journal.db", "sequence, previous, digest, kind, at, tick, task, key, body FROM entry"),
    ("journal.db", "digest, body FROM snapshot"),
    ("journal.db", "count, digest, last_tick, snapshots FROM head"),
    ("journal.db", "key, sequence FROM open_intent"),
    ("waves.db", "place, id, content, body FROM wave"),
    ("waves.db", "place, id, wave, settled, body FROM task"),
    ("waves.db", "place, id, body FROM defect"),
    ("waves.db", "place, key, body FROM outcome"),
    ("waves.db", "name, value FROM note"),
    ("approvals.db", "place, task, action, digest, state, live, body FROM request"),
    ("approvals.db", "place, body FROM rule"),
]
RENAMED = (("id, wave, settled, body FROM task", "task, wave, settled, body FROM standing"),
           ("FROM request", "FROM card"))  # fmt: skip


def test_everything_is_taken_over(folder, path, made):
    with open_state(path) as state:
        assert state.check() is None
        assert state.journal.verify() is None
        assert len(bytes.fromhex(state.installation)) == 8
        assert [one.key for one in state.journal.unresolved()] == ["submit/T-5/0"]
        assert {one.spec.id: one.status for one in state.waves.task_records()} == {
            "T-1": "accepted",
            "T-2": "accepted",
            "fix-d-1": "accepted",
            "T-5": "planned",
            "T-6": "planned",
            "T-7": "submitted",
        }
        said = [(one.id, one.state) for one in state.approvals.requests(live=False)]
        assert said == [
            ("A-1", "approved"), ("A-2", "rejected"), ("A-3", "done"), ("A-4", "pending"),
        ]  # fmt: skip
    for name, columns in SAME:
        before = columns
        for new, old in RENAMED:
            before = before.replace(new, old)
        kept = rows(made / name, f"SELECT {before} ORDER BY 1")
        assert rows(path, f"SELECT {columns} ORDER BY 1") == kept
        assert kept or "rule" in columns
    assert rows(path, "SELECT DISTINCT sequence FROM task") == [(104,)]
    assert names(folder) == sorted(DONE)


def test_it_goes_on_where_it_was(path):
    with open_state(path) as state:
        tick = state.journal.last_tick()
        state.journal.append([record("settled", tick=tick, task="T-5", key="submit/T-5/0")])
        name = state.installation
        asked = state.approvals.request("A-4")
        assert state.approvals.ask(asked.model_copy(update={"digest": "other"})).id == "A-5"
        state.waves.save(task_record("new"))
    with open_state(path) as state:
        assert state.installation == name
        assert list(state.journal.unresolved()) == []
        assert [one.spec.id for one in state.waves.task_records()][-1] == "new"


@pytest.mark.parametrize("left", [NAMES[1:2], NAMES[:2]], ids=["only planned", "never asked"])
def test_some_of_the_files_are_enough(folder, path, left):
    """A wave that was only planned has no journal; whoever was never asked has no questions."""
    if NAMES[0] not in left:
        edit(folder / "waves.db", "DELETE FROM standing WHERE body NOT LIKE '%\"planned\"%'",
             "DELETE FROM defect", "DELETE FROM outcome", "DELETE FROM note")  # fmt: skip
    for name in set(NAMES) - set(left):
        (folder / name).unlink()
    with open_state(path) as state:
        assert state.waves.task_record("T-6").status == "planned"
        assert list(state.approvals.requests(live=False)) == []


def test_what_was_put_into_the_list_of_open_intents_is_not_taken_over(folder, path):
    edit(folder / "journal.db", "INSERT INTO open_intent SELECT key, min(sequence) FROM entry "
         "WHERE kind = 'intent' GROUP BY key ON CONFLICT DO NOTHING")  # fmt: skip
    with open_state(path) as state:
        assert [one.key for one in state.journal.unresolved()] == ["submit/T-5/0"]


def test_a_task_that_an_old_error_left_without_its_record_is_taken_over(folder, path):
    """It was accepted and saved, then an error came, and the record said that it failed."""
    columns = "kind, at, tick, task, key, body"
    with State(MEMORY) as forger:
        found = rows(folder / "journal.db", f"SELECT {columns} FROM entry ORDER BY sequence")
        records = [
            Record.model_validate(dict(zip(columns.split(", "), row, strict=True)) | {
                "body": json.loads(row[-1]),
            })
            for row in found
        ]  # fmt: skip
        of_task = [one for one in records if (one.task, one.kind) == ("T-2", "outcome")]
        assert (of_task[-1].body["action"], of_task[-1].body["result"]) == ("accept", "done")
        of_task[-1].body["result"] = "failed"
        forger.journal.append(records)
        forged = forger._db.execute("SELECT * FROM entry").fetchall()
        head = forger._db.execute("SELECT digest FROM head").fetchone()
    edit(folder / "journal.db", "DELETE FROM entry")
    with closing(sqlite3.connect(folder / "journal.db")) as db, db:
        db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", forged)
        db.execute("UPDATE head SET digest = ?", head)
    with open_state(path) as state:
        assert state.waves.task_record("T-2").status == "accepted"
    held = "SELECT id FROM task WHERE sequence = "
    assert rows(path, f"{held}{TAKEN_OVER}") == [("T-2",)]
    open_state(path).close()
    edit(path, f"UPDATE task SET sequence = 1 WHERE sequence = {TAKEN_OVER}")
    with pytest.raises(UnusableStoreError, match="task 'T-2' is accepted, and the journal has no"):
        open_state(path)


def test_an_answer_that_was_not_recorded_yet_is_taken_over(folder, path):
    """Killed between the answer and its record: the supervisor writes it at its next look."""
    unheard = "body = json_set(body, '$.recorded', json('false')), digest = 'x', seen = 0"
    edit(folder / "approvals.db", f"UPDATE card SET {unheard} WHERE place = 1")
    with open_state(path) as state:
        assert [one.id for one in state.approvals.unseen()] == ["A-1"]
    assert rows(path, f"SELECT place FROM request WHERE sequence = {TAKEN_OVER}") == [(1,)]


NOT_TOGETHER = "do not fit together: "


def cut_journal(folder):
    edit(
        folder / "journal.db",
        "DELETE FROM entry WHERE sequence > 40",
        "UPDATE head SET (count, digest) = (SELECT sequence, digest FROM entry ORDER BY 1 DESC)",
        "DELETE FROM snapshot",
        "UPDATE head SET snapshots = 0",
        "DELETE FROM open_intent",
    )


def status(task, word):
    said = f"UPDATE standing SET body = json_set(body, '$.status', '{word}'), settled = 0"
    return lambda folder: edit(folder / "waves.db", f"{said} WHERE task = '{task}'")


def gone(name):
    return lambda folder: (folder / name).unlink()


def put(name, content):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        *(
            pytest.param(
                lambda folder, name=name: edit(folder / name, "PRAGMA user_version = 2"),
                f"{name}: it was written by a newer wavekeeper (format 2, this one knows 1): "
                "update wavekeeper",
                id=f"a newer {name}",
            )
            for name in NAMES
        ),
        *(
            pytest.param(put(name, b""), f"{name}: it is empty; restore it", id=f"empty {name}")
            for name in NAMES
        ),
        *(
            pytest.param(
                put(name, b"garbage" * 999), f"{name}: it is not a SQLite", id=f"garbage {name}"
            )
            for name in NAMES
        ),
        pytest.param(
            lambda folder: shutil.copy(folder / "waves.db", folder / "journal.db"),
            "journal.db: it is another program's database",
            id="one in the place of the other",
        ),
        pytest.param(
            lambda folder: edit(folder / "journal.db", "UPDATE entry SET body = '{}' "
                                "WHERE sequence = 9"),
            "journal.db: record 9 was edited after it was written; restore it",
            id="an edited record",
        ),
        pytest.param(
            lambda folder: edit(folder / "journal.db", "DELETE FROM entry WHERE sequence > 90"),
            "journal.db: record 91 is missing: 104 were written and the end is cut off",
            id="a journal cut off",
        ),
        pytest.param(
            cut_journal,
            f"journal.db and waves.db and approvals.db {NOT_TOGETHER}the journal ends before task "
            "'T-1' was changed last",
            id="an older journal",
        ),
        pytest.param(
            gone("journal.db"),
            f"waves.db and approvals.db {NOT_TOGETHER}the journal ends before task 'T-1'",
            id="no journal",
        ),
        pytest.param(
            gone("waves.db"),
            f"journal.db and approvals.db {NOT_TOGETHER}the journal says what was done with task "
            "'T-1', which is not there",
            id="no waves",
        ),
        pytest.param(
            lambda folder: edit(folder / "waves.db", "DELETE FROM standing"),
            f"{NOT_TOGETHER}the journal says what was done with task 'T-1', which is not there",
            id="emptied waves",
        ),
        pytest.param(
            status("T-2", "submitted"),
            f"{NOT_TOGETHER}the journal says that task 'T-2' was accepted, and here it is open",
            id="older waves: an accepted task",
        ),
        pytest.param(
            status("T-7", "planned"),
            f"{NOT_TOGETHER}the journal says that task 'T-7' was submitted, and it is only planned",
            id="older waves: a submitted task",
        ),
        pytest.param(
            lambda folder: edit(folder / "waves.db", "UPDATE standing SET body = '{}' "
                                "WHERE task = 'T-6'"),
            "waves.db: its rows cannot be taken over",
            id="a task that cannot be read",
        ),
        pytest.param(
            lambda folder: edit(folder / "approvals.db", "UPDATE card SET digest = 'x' "
                                "WHERE place = 1"),
            f"{NOT_TOGETHER}A-1 is approved, and the journal has no such answer to it",
            id="another question than was approved",
        ),
    ],
)  # fmt: skip
def test_files_that_are_not_whole_are_left_as_they_are(folder, path, spoil, line):
    spoil(folder)
    before = names(folder)
    for _ in range(2):
        with pytest.raises(UnusableStoreError) as caught:
            open_state(path)
        [said] = str(caught.value).splitlines()
        assert said.startswith(str(folder))
        assert line in said
        assert [one for one in names(folder) if not one.startswith("state.db.new")] == before


def test_a_process_that_still_has_one_open_is_named(folder, path):
    with closing(sqlite3.connect(folder / "waves.db")) as old:
        old.execute("SELECT * FROM note").fetchall()
        with pytest.raises(UnusableStoreError) as caught:
            open_state(path)
    assert str(caught.value) == (
        f"{folder / 'waves.db'}: it is to be taken over into one file, and another process has it "
        "open: end that process"
    )
    open_state(path).close()
    assert names(folder) == sorted(DONE)


def test_an_earlier_version_that_was_run_afterwards_is_noticed(folder, path, made):
    open_state(path).close()
    shutil.copy(made / "waves.db", folder / "waves.db")
    with pytest.raises(UnusableStoreError, match=r"waves\.db\.before-state-db is there already"):
        open_state(path)


def test_earlier_files_beside_a_state_that_is_not_made_of_them_are_noticed(folder, path):
    kept = folder / "kept"
    kept.mkdir()
    for name in NAMES:
        (folder / name).rename(kept / name)
    open_state(path).close()
    (kept / "waves.db").rename(folder / "waves.db")
    with pytest.raises(UnusableStoreError, match=r"waves.db: it lies beside state.db; move it"):
        open_state(path)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the process goes on after it."""


def test_killed_at_any_step_and_begun_anew(made, tmp_path, monkeypatch):
    """Before and after every file that is renamed or removed."""
    real = {name: getattr(Path, name) for name in ("replace", "unlink")}
    left = 0

    def stepping(method):
        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            answer = method(*args, **kwargs)
            left -= 1
            if left == 0:
                raise Killed
            return answer

        return call

    for at in range(1, 100):
        folder = tmp_path / str(at)
        shutil.copytree(made, folder)
        left = at
        with monkeypatch.context() as patched, suppress(Killed):
            for name, method in real.items():
                patched.setattr(Path, name, stepping(method))
            open_state(folder / "state.db").close()
        with open_state(folder / "state.db") as state:
            assert state.journal.verify() is None
            assert len(state.waves.task_records()) == 6
        assert names(folder) == sorted(DONE), f"step {at}"
        if left > 0:
            break
    assert at > 14


def test_what_a_killed_process_left_is_begun_anew(folder, path):
    (folder / "state.db.new").write_bytes(b"half")
    (folder / "state.db.new-wal").write_bytes(b"of it")
    open_state(path).close()
    assert names(folder) == sorted(DONE)


TAKER = """
import sys
from pathlib import Path
from agent.adapters.state.opening import open_state
print("up", flush=True)
sys.stdin.readline()
with open_state(Path(sys.argv[1])) as state:
    print(state.installation, len(state.waves.task_records()))
"""


def test_two_processes_take_over_once(folder, path):
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for taker in takers:
        assert taker.stdout.readline() == "up\n"
    for taker in takers:
        taker.stdin.write("go\n")
        taker.stdin.flush()
    said = [taker.communicate(timeout=60) for taker in takers]
    with open_state(path) as state:
        assert said == [(f"{state.installation} 6\n", "")] * 3
    assert names(folder) == sorted(DONE)
