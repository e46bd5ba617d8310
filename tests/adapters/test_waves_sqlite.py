import os
import signal
import subprocess
import sys

import pytest

from agent.adapters.state.db import State
from agent.core.model.nouns import Defect
from agent.errors import UnusableStoreError, WaveFileError
from agent.ports import WaveStore
from tests.adapters.journal_contract import record
from tests.adapters.waves_contract import NOW, WavesContract, outcome, task_record, wave

SUBMITTER = """
import sys
from pathlib import Path
from agent.adapters.state.db import State
from agent.errors import WaveFileError
from tests.adapters.waves_contract import task_record, wave

name = sys.argv[2]
print("up", flush=True)
sys.stdin.readline()
with State(Path(sys.argv[1])) as state:
    waves = state.waves
    try:
        tasks = [task_record(f"{name}-{n}", wave=name) for n in range(20)]
        print(waves.add_wave(wave(name), [*tasks, task_record("shared", wave=name)]))
    except WaveFileError:
        print("refused")
    for n in range(15):
        waves.add_wave(wave(f"{name}.{n}"), [task_record(f"{name}.{n}")])
"""

SAVER = """
import sys
from pathlib import Path
from agent.adapters.state.db import State
from tests.adapters.waves_contract import task_record

with State(Path(sys.argv[1])) as state:
    waves = state.waves
    for at_risk_polls in range(100_000):
        waves.save(task_record("a", at_risk_polls=at_risk_polls))
        print(at_risk_polls, flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "state.db"


class TestSqliteWaves(WavesContract):
    @pytest.fixture
    def waves(self, state):
        checked: WaveStore = state.waves
        return checked

    def test_it_is_still_there_after_closing(self, path):
        with State(path) as state:
            state.waves.add_wave(wave(), [task_record("a")])
            state.waves.note({"cursor": "17"})
            state.waves.add_outcome(outcome("a"), key="1")
        with State(path) as state:
            assert state.waves.add_wave(wave(), [task_record("a")]) is False
            assert list(state.waves.task_records()) == [task_record("a")]
            assert dict(state.waves.notes()) == {"cursor": "17"}
            assert list(state.waves.outcomes(1)) == [outcome("a")]

    def test_what_is_settled_is_not_read(self, waves, state):
        waves.add_wave(wave(), [task_record("a", status="accepted"), task_record("b")])
        state._db.execute("UPDATE task SET body = 'unreadable' WHERE settled")
        assert list(waves.task_records(settled=False)) == [task_record("b")]
        assert list(waves.task_records()) == [task_record("b")]
        assert list(waves.unreadable()) == ["a"]

    def test_a_row_that_cannot_be_read_leaves_the_others_alone(self, waves, state):
        waves.add_wave(wave(), [task_record("a"), task_record("b")])
        state._db.execute("""UPDATE task SET body = '{"spec": 3}' WHERE id = 'a'""")
        waves.forget()
        assert [one.spec.id for one in waves.task_records(settled=False)] == ["b"]
        assert waves.task_record("a") is None
        ((task, why),) = waves.unreadable().items()
        assert task == "a"
        assert why.startswith("its row in ")

    @pytest.mark.parametrize("body", ["'{}'", "CAST(x'ff' AS TEXT)"], ids=["edited", "no text"])
    def test_what_cannot_be_read_beside_tasks_is_named_and_left_out(self, waves, state, body):
        for name in ("w1", "w2"):
            waves.add_wave(wave(name), [])
            waves.save_defect(Defect(id=f"D-{name}", fingerprint=name, status="recorded"))
        for table, name in (("wave", "w1"), ("defect", "D-w1")):
            state._db.execute(f"UPDATE {table} SET body = {body} WHERE id = '{name}'")  # noqa: S608
        assert [one.id for one in waves.waves()] == ["w2"]
        assert [one.id for one in waves.defects()] == ["D-w2"]
        damaged = state.damaged(5)
        assert [(one.kind, one.id) for one in damaged] == [("wave", "w1"), ("defect", "D-w1")]
        assert all(one.why.startswith("its row in ") for one in damaged)

    def test_an_outcome_that_cannot_be_read_counts_as_a_failure_of_its_time(self, waves, state):
        state.journal.append([record("tick")])
        waves.add_outcome(outcome("a"), key="a/1")
        waves.add_outcome(outcome("b"), key="b/1")
        state._db.execute("UPDATE outcome SET body = '{}' WHERE key = 'a/1'")
        odd, whole = waves.outcomes(5)
        assert (odd.task, odd.result, odd.attributable) == ("a/1", "failed", True)
        assert odd.at == record("tick").at
        assert whole == outcome("b")
        assert [one.id for one in state.damaged(2)] == ["a/1"]
        assert list(state.damaged(1)) == []

    def test_what_is_open_is_parsed_once(self, waves):
        waves.add_wave(wave(), [task_record("a"), task_record("b"), task_record("c")])
        first = waves.task_records(settled=False)
        waves.save(task_record("b", at_risk_polls=1))
        second = waves.task_records(settled=False)
        assert second == [task_record("a"), task_record("b", at_risk_polls=1), task_record("c")]
        assert (second[0] is first[0], second[2] is first[2]) == (True, True)

    def test_what_another_process_saved_is_seen(self, path):
        with State(path) as state:
            waves = state.waves
            waves.add_wave(wave(), [task_record("a"), task_record("b")])
            assert len(waves.task_records(settled=False)) == 2
            with State(path) as other:
                other.waves.save(task_record("a", status="accepted"))
                other.waves.save(task_record("c"))
            waves.save(task_record("b", at_risk_polls=1))
            assert list(waves.task_records(settled=False)) == [
                task_record("b", at_risk_polls=1),
                task_record("c"),
            ]

    def test_what_is_open_is_found_by_an_index(self, state):
        plan = state._db.execute(
            "EXPLAIN QUERY PLAN SELECT body FROM task WHERE settled = 0 ORDER BY place",
        ).fetchall()
        assert [row[3] for row in plan] == [
            "SEARCH task USING INDEX task_settled (settled=?)",
        ]


def test_of_two_waves_with_one_task_only_the_first_is_added(path):
    """Two processes at once; they also make the file at the same time."""
    submitters = {
        name: subprocess.Popen(
            [sys.executable, "-c", SUBMITTER, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("w1", "w2")
    }
    for submitter in submitters.values():
        assert submitter.stdout is not None
        assert submitter.stdout.readline() == "up\n"
    for submitter in submitters.values():
        assert submitter.stdin is not None
        submitter.stdin.write("go\n")
        submitter.stdin.flush()
    said = {name: one.communicate(timeout=60)[0] for name, one in submitters.items()}
    assert sorted(said.values()) == ["True\n", "refused\n"]
    [winner] = [name for name, word in said.items() if word == "True\n"]
    others = {f"{name}.{n}" for name in said for n in range(15)}
    with State(path) as state:
        assert {one.id for one in state.waves.waves()} == {winner} | others
        tasks = {f"{winner}-{n}" for n in range(20)} | {"shared"}
        assert {one.spec.id for one in state.waves.task_records()} == tasks | others
        assert state.waves.task_record("shared") == task_record("shared", wave=winner)


def test_what_was_saved_before_a_kill_is_there(path):
    with subprocess.Popen(
        [sys.executable, "-c", SAVER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as saver:
        assert saver.stdout is not None
        for _ in range(20):
            last = saver.stdout.readline()
        os.kill(saver.pid, signal.SIGKILL)
    with State(path) as state:
        found = state.waves.task_record("a")
        assert found is not None
        assert found.at_risk_polls >= int(last)
        assert found.changed_at == NOW


@pytest.mark.parametrize(
    ("pragma", "remedy"),
    [
        # SQLite's own limit raises the very error of a full disk, without filling one.
        pytest.param("PRAGMA max_page_count = 1", "the disk is full: free some space", id="full"),
        pytest.param("PRAGMA query_only = 1", "check the rights", id="read-only"),
    ],
)
def test_a_write_that_fails_leaves_everything_as_it_was(path, pragma, remedy):
    with State(path) as state:
        state.waves.add_wave(wave(), [task_record("a")])
        state._db.execute(pragma)
        big = [task_record(f"b{n}", wave="w2", prompt="x" * 5_000) for n in range(20)]
        with pytest.raises(UnusableStoreError, match=remedy):
            state.waves.add_wave(wave("w2"), big)
        assert list(state.waves.waves()) == [wave()]
        assert list(state.waves.task_records()) == [task_record("a")]


def test_a_refused_wave_leaves_no_transaction_open(path):
    with State(path) as state, State(path) as other:
        state.waves.add_wave(wave(), [task_record("a")])
        with pytest.raises(WaveFileError):
            state.waves.add_wave(wave("w2"), [task_record("a", wave="w2")])
        other._db.execute("PRAGMA busy_timeout = 20")
        other.waves.save(task_record("b"))
        assert [one.spec.id for one in state.waves.task_records()] == ["a", "b"]
