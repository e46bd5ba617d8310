import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from agent.adapters.state.waves import SqliteWaves
from agent.errors import UnusableStoreError, WaveFileError
from tests.adapters.waves_contract import NOW, WavesContract, outcome, standing, wave

SUBMITTER = """
import sys
from pathlib import Path
from agent.adapters.state.waves import SqliteWaves
from agent.errors import WaveFileError
from tests.adapters.waves_contract import standing, wave

name = sys.argv[2]
print("up", flush=True)
sys.stdin.readline()
with SqliteWaves(Path(sys.argv[1])) as waves:
    try:
        tasks = [standing(f"{name}-{n}", wave=name) for n in range(20)]
        print(waves.add_wave(wave(name), [*tasks, standing("shared", wave=name)]))
    except WaveFileError:
        print("refused")
    for n in range(15):
        waves.add_wave(wave(f"{name}.{n}"), [standing(f"{name}.{n}")])
"""

SAVER = """
import sys
from pathlib import Path
from agent.adapters.state.waves import SqliteWaves
from tests.adapters.waves_contract import standing

with SqliteWaves(Path(sys.argv[1])) as waves:
    for at_risk_polls in range(100_000):
        waves.save(standing("a", at_risk_polls=at_risk_polls))
        print(at_risk_polls, flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "waves.sqlite"


class TestSqliteWaves(WavesContract):
    @pytest.fixture
    def waves(self, path):
        with SqliteWaves(path) as waves:
            yield waves

    def test_it_is_still_there_after_closing(self, path):
        with SqliteWaves(path) as waves:
            waves.add_wave(wave(), [standing("a")])
            waves.note({"cursor": "17"})
            waves.add_outcome(outcome("a"), key="1")
        with SqliteWaves(path) as waves:
            assert waves.add_wave(wave(), [standing("a")]) is False
            assert list(waves.standings()) == [standing("a")]
            assert dict(waves.notes()) == {"cursor": "17"}
            assert list(waves.outcomes(1)) == [outcome("a")]

    def test_every_commit_reaches_the_disk(self, waves):
        assert waves._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert waves._db.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_what_is_settled_is_not_read(self, waves, path):
        waves.add_wave(wave(), [standing("a", status="accepted"), standing("b")])
        edit(path, "UPDATE standing SET body = 'unreadable' WHERE settled")
        assert list(waves.standings(settled=False)) == [standing("b")]
        with pytest.raises(UnusableStoreError, match="a stored Standing cannot be read"):
            waves.standings()

    def test_what_is_open_is_parsed_once(self, waves):
        waves.add_wave(wave(), [standing("a"), standing("b"), standing("c")])
        first = waves.standings(settled=False)
        waves.save(standing("b", at_risk_polls=1))
        second = waves.standings(settled=False)
        assert second == [standing("a"), standing("b", at_risk_polls=1), standing("c")]
        assert (second[0] is first[0], second[2] is first[2]) == (True, True)

    def test_what_another_process_saved_is_seen(self, waves, path):
        waves.add_wave(wave(), [standing("a"), standing("b")])
        assert len(waves.standings(settled=False)) == 2
        with SqliteWaves(path) as other:
            other.save(standing("a", status="accepted"))
            other.save(standing("c"))
        waves.save(standing("b", at_risk_polls=1))
        assert list(waves.standings(settled=False)) == [
            standing("b", at_risk_polls=1),
            standing("c"),
        ]

    def test_what_is_open_is_found_by_an_index(self, waves):
        plan = waves._db.execute(
            "EXPLAIN QUERY PLAN SELECT body FROM standing WHERE settled = 0 ORDER BY place",
        ).fetchall()
        assert [row[3] for row in plan] == [
            "SEARCH standing USING INDEX standing_settled (settled=?)",
        ]


def edit(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


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
    with SqliteWaves(path) as waves:
        assert {one.id for one in waves.waves()} == {winner} | others
        tasks = {f"{winner}-{n}" for n in range(20)} | {"shared"}
        assert {one.spec.id for one in waves.standings()} == tasks | others
        assert waves.standing("shared") == standing("shared", wave=winner)


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
    with SqliteWaves(path) as waves:
        found = waves.standing("a")
        assert found is not None
        assert found.at_risk_polls >= int(last)
        assert found.changed_at == NOW


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
def test_what_is_no_wave_store_is_left_as_it_is(path, prepare, remedy):
    path.parent.mkdir()
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    assert remedy in complaint(path)
    assert before == (path.read_bytes() if path.is_file() else None)


def complaint(path):
    with pytest.raises(UnusableStoreError) as caught:
        SqliteWaves(path)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    return line


def test_a_newer_format_asks_for_an_update(path):
    SqliteWaves(path).close()
    edit(path, "PRAGMA user_version = 2")
    assert "newer wavekeeper" in complaint(path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "state").write_text("a file")
    assert "check the path" in complaint(tmp_path / "state" / "waves.sqlite")


@pytest.mark.parametrize(
    ("pragma", "remedy"),
    [
        # SQLite's own limit raises the very error of a full disk, without filling one.
        pytest.param("PRAGMA max_page_count = 1", "the disk is full: free some space", id="full"),
        pytest.param("PRAGMA query_only = 1", "check the rights", id="read-only"),
    ],
)
def test_a_write_that_fails_leaves_everything_as_it_was(path, pragma, remedy):
    with SqliteWaves(path) as waves:
        waves.add_wave(wave(), [standing("a")])
        waves._db.execute(pragma)
        big = [standing(f"b{n}", wave="w2", prompt="x" * 5_000) for n in range(20)]
        with pytest.raises(UnusableStoreError, match=remedy):
            waves.add_wave(wave("w2"), big)
        assert list(waves.waves()) == [wave()]
        assert list(waves.standings()) == [standing("a")]


def test_a_locked_file_says_so(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_LOOK_AFTER", 0.02)
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.02)
    with (
        SqliteWaves(path) as waves,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnusableStoreError, match="end that process"):
            waves.note({"cursor": "17"})
        other.execute("ROLLBACK")
        waves.note({"cursor": "17"})
        assert dict(waves.notes()) == {"cursor": "17"}


def test_a_refused_wave_leaves_no_transaction_open(path):
    with SqliteWaves(path) as waves, SqliteWaves(path) as other:
        waves.add_wave(wave(), [standing("a")])
        with pytest.raises(WaveFileError):
            waves.add_wave(wave("w2"), [standing("a", wave="w2")])
        other._db.execute("PRAGMA busy_timeout = 20")
        other.save(standing("b"))
        assert [one.spec.id for one in waves.standings()] == ["a", "b"]
