import os
import resource
import signal
import subprocess
import sys
import zlib
from hashlib import sha256

import pytest

from agent.adapters.state.db import State
from agent.core.model.actions import digest
from agent.errors import UnusableStoreError
from agent.ports import Journal
from tests.adapters.journal_contract import JournalContract, record, snapshot

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from agent.adapters.state.db import State
from agent.core.journal.records import Record

name, batches = sys.argv[2], int(sys.argv[3])
print("up", flush=True)
sys.stdin.readline()
with State(Path(sys.argv[1])) as state:
    for tick in range(batches):
        one = Record(kind="decision", at=datetime.now(UTC), tick=tick, task=name)
        state.journal.append([one, one, one])
        print(tick, flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "state.db"


def written(path, count=5):
    """A closed journal of `count` records and one snapshot."""
    with State(path) as state:
        state.journal.append(
            [record("decision", task=f"t{n}", n=n) for n in range(1, count + 1)], snapshot()
        )


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    def journal(self, state):
        checked: Journal = state.journal
        return checked

    def test_it_is_still_there_after_closing(self, path):
        seen = snapshot()
        with State(path) as state:
            state.journal.append([record("intent", tick=4, key="1")], seen)
        with State(path) as state:
            state.journal.append([record("intent", tick=5, key="2")])
            assert [one.key for one in state.journal.unresolved()] == ["1", "2"]
            assert state.journal.last_tick() == 5
            assert state.journal.snapshot(digest(seen)) == seen
            assert state.journal.verify() is None

    def test_what_is_not_resolved_is_found_without_a_scan(self, state):
        plan = state._db.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM entry "
            "WHERE sequence IN (SELECT sequence FROM open_intent) ORDER BY sequence",
        ).fetchall()
        assert not any("SCAN entry" in row[3] for row in plan)

    def test_a_snapshot_is_stored_once_and_small(self, state):
        seen = snapshot(tasks=100)
        for tick in range(3):
            state.journal.append([record("tick", tick=tick)], seen)
        [(size,)] = state._db.execute("SELECT length(body) FROM snapshot").fetchall()
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
    with State(path) as state:
        assert state.journal.verify() is None
        tasks = [entry.record.task for entry in state.journal.entries()]
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
    with State(path) as state:
        count = len(list(state.journal.entries()))
        assert state.journal.verify() is None
        assert count >= 60
        assert count % 3 == 0
        state.journal.append([record("start")])
        assert state.journal.verify() is None


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
    with State(path) as state:
        before = list(state.journal.entries())
        state._db.execute(pragma)
        with pytest.raises(UnusableStoreError, match=remedy):
            state.journal.append(
                [record("tick", text="x" * 100_000)], snapshot(tasks=3, text="yz" * 9_000)
            )
        assert list(state.journal.entries()) == before
        assert state.journal.verify() is None


def test_a_disk_that_fails_halfway(path):
    written(path)
    with State(path) as state:
        before = list(state.journal.entries())
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, limits[1]))
        try:
            with pytest.raises(UnusableStoreError, match="check the path, the rights and the disk"):
                state.journal.append([record("tick", text="x" * 200_000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(state.journal.entries()) == before
        state.journal.append([record("tick")])
        assert state.journal.verify() is None
    with State(path) as state:
        assert state.journal.verify() is None


def test_a_snapshot_of_another_version_says_so(path):
    plain = b'{"schema":"wavekeeper.snapshot/2"}'
    name = sha256(plain).hexdigest()
    with State(path) as state:
        state._db.execute("INSERT INTO snapshot VALUES (?, ?)", (name, zlib.compress(plain)))
        with pytest.raises(UnusableStoreError, match="read it with the version that wrote it"):
            state.journal.snapshot(name)
