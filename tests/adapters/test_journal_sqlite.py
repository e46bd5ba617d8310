import os
import resource
import signal
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from hashlib import sha256

import pytest

from agent.adapters.state.journal import SqliteJournal
from agent.core.model.actions import digest
from agent.errors import UnusableStoreError
from agent.ports import Journal
from tests.adapters.journal_contract import JournalContract, record, snapshot

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from agent.adapters.state.journal import SqliteJournal
from agent.core.journal.records import Record

name, batches = sys.argv[2], int(sys.argv[3])
print("up", flush=True)
sys.stdin.readline()
with SqliteJournal(Path(sys.argv[1])) as journal:
    for tick in range(batches):
        one = Record(kind="decision", at=datetime.now(UTC), tick=tick, task=name)
        journal.append([one, one, one])
        print(tick, flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.sqlite"


def written(path, count=5):
    """A closed journal of `count` records and one snapshot."""
    with SqliteJournal(path) as journal:
        journal.append(
            [record("decision", task=f"t{n}", n=n) for n in range(1, count + 1)], snapshot()
        )


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    def journal(self, path):
        with SqliteJournal(path) as journal:
            checked: Journal = journal
            yield checked

    def test_it_is_still_there_after_closing(self, path):
        seen = snapshot()
        with SqliteJournal(path) as journal:
            journal.append([record("intent", tick=4, key="1")], seen)
        with SqliteJournal(path) as journal:
            journal.append([record("intent", tick=5, key="2")])
            assert [one.key for one in journal.unresolved()] == ["1", "2"]
            assert journal.last_tick() == 5
            assert journal.snapshot(digest(seen)) == seen
            assert journal.verify() is None

    def test_every_commit_reaches_the_disk(self, journal):
        assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_what_is_not_resolved_is_found_without_a_scan(self, journal):
        plan = journal._db.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM entry "
            "WHERE sequence IN (SELECT sequence FROM open_intent) ORDER BY sequence",
        ).fetchall()
        assert not any("SCAN entry" in row[3] for row in plan)

    def test_a_snapshot_is_stored_once_and_small(self, journal, path):
        seen = snapshot(tasks=100)
        for tick in range(3):
            journal.append([record("tick", tick=tick)], seen)
        with closing(sqlite3.connect(path)) as db:
            [(size,)] = db.execute("SELECT length(body) FROM snapshot").fetchall()
        assert size < len(seen.model_dump_json()) / 4

    def test_an_append_that_fails_leaves_nothing_behind(self, journal):
        journal.append([record("start")])
        good = record("tick", tick=2)
        with pytest.raises(ValueError, match="serialize"):
            journal.append([good, record("tick", tick=3, text=object())], snapshot())
        assert [entry.sequence for entry in journal.entries()] == [1]
        assert journal.snapshot(digest(snapshot())) is None
        journal.append([good])
        assert journal.verify() is None


def test_processes_share_one_chain(path):
    """They also make the file at the same time."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), f"w{number}", "25"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "up\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, complaint = writer.communicate(timeout=60)
        assert (writer.returncode, complaint) == (0, "")
    with SqliteJournal(path) as journal:
        assert journal.verify() is None
        tasks = [entry.record.task for entry in journal.entries()]
    assert sorted(tasks) == sorted(["w0", "w1", "w2"] * 75)
    assert all(len(set(tasks[start : start + 3])) == 1 for start in range(0, 225, 3))


def test_a_killed_writer_leaves_whole_appends(path):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "w", "100000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
        said = [writer.stdout.readline() for _ in range(21)]
        os.kill(writer.pid, signal.SIGKILL)
    assert said[-1] == "19\n"
    with SqliteJournal(path) as journal:
        count = len(list(journal.entries()))
        assert journal.verify() is None
        assert count >= 60
        assert count % 3 == 0
        journal.append([record("start")])
        assert journal.verify() is None


def complaint(path):
    with pytest.raises(UnusableStoreError) as caught:
        SqliteJournal(path)
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
            lambda path: foreign(path, "CREATE TABLE queue(id)"),
            "another program's database",
            id="another program's",
        ),
        pytest.param(
            lambda path: foreign(path, "PRAGMA user_version = 9"),
            "another program's database",
            id="another program's, without a table",
        ),
    ],
)
def test_what_is_no_journal_is_left_as_it_is(path, prepare, remedy):
    path.parent.mkdir()
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    assert remedy in complaint(path)
    assert before == (path.read_bytes() if path.is_file() else None)


def foreign(path, statement):
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)


def test_a_newer_format_asks_for_an_update(path):
    written(path)
    foreign(path, "PRAGMA user_version = 2")
    assert "newer wavekeeper" in complaint(path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "state").write_text("a file")
    assert "check the path" in complaint(tmp_path / "state" / "journal.sqlite")


@pytest.mark.parametrize(
    ("pragma", "remedy"),
    [
        # SQLite's own limit raises the very error of a full disk, without filling one.
        pytest.param("PRAGMA max_page_count = 1", "the disk is full: free some space", id="full"),
        pytest.param("PRAGMA query_only = 1", "check the rights", id="read-only"),
    ],
)
def test_an_append_that_cannot_be_written(path, pragma, remedy):
    written(path)
    with SqliteJournal(path) as journal:
        before = list(journal.entries())
        journal._db.execute(pragma)
        with pytest.raises(UnusableStoreError, match=remedy):
            journal.append(
                [record("tick", text="x" * 100_000)], snapshot(tasks=3, text="yz" * 9_000)
            )
        assert list(journal.entries()) == before
        assert journal.verify() is None


def test_a_disk_that_fails_halfway(path):
    written(path)
    with SqliteJournal(path) as journal:
        before = list(journal.entries())
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, limits[1]))
        try:
            with pytest.raises(UnusableStoreError, match="check the path, the rights and the disk"):
                journal.append([record("tick", text="x" * 200_000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(journal.entries()) == before
        journal.append([record("tick")])
        assert journal.verify() is None
    with SqliteJournal(path) as journal:
        assert journal.verify() is None


def test_a_locked_file_says_so(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_LOOK_AFTER", 0.02)
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.02)
    with (
        SqliteJournal(path) as journal,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnusableStoreError, match="end that process"):
            journal.append([record("tick")])
        other.execute("ROLLBACK")
        journal.append([record("tick")])
        assert journal.verify() is None


def test_a_snapshot_of_another_version_says_so(path):
    plain = b'{"schema":"wavekeeper.snapshot/2"}'
    name = sha256(plain).hexdigest()
    with SqliteJournal(path) as journal:
        journal._db.execute("INSERT INTO snapshot VALUES (?, ?)", (name, zlib.compress(plain)))
        with pytest.raises(UnusableStoreError, match="read it with the version that wrote it"):
            journal.snapshot(name)
