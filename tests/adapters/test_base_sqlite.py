"""What every store on a SQLite file of its own relies on: opening, formats, and who else is there.

The store here is as small as can be; its file is real, and so are the processes.
"""

import gc
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import closing, suppress

import psutil
import pytest

from agent.adapters.common import sqlite
from agent.adapters.common.sqlite import MEMORY, SqliteFile
from agent.errors import QueueUnavailableError, UnusableStoreError
from tests.adapters.processes import until


class First(SqliteFile):
    """The oldest format."""

    APPLICATION = 0x57544553
    VERSION = 1
    SCHEMA = ("CREATE TABLE note (text TEXT NOT NULL) STRICT",)
    UNAVAILABLE = QueueUnavailableError

    def write(self, text):
        with self._transaction() as db:
            db.execute("INSERT INTO note (text) VALUES (?)", (text,))

    def read(self):
        with self._using() as db:
            return [text for (text,) in db.execute("SELECT text FROM note ORDER BY rowid")]

    def columns(self):
        with self._using() as db:
            return [row[1] for row in db.execute("PRAGMA table_info(note)")]


class Third(First):
    """Two formats later, each with a column of its own."""

    VERSION = 3
    SCHEMA = ("CREATE TABLE note (text TEXT NOT NULL, author TEXT, size INTEGER) STRICT",)
    STEPS = {
        2: ("ALTER TABLE note ADD COLUMN author TEXT",),
        3: ("ALTER TABLE note ADD COLUMN size INTEGER", "UPDATE note SET size = length(text)"),
    }


class Broken(Third):
    """Its last step fails after it has changed something."""

    STEPS = {**Third.STEPS, 3: (*Third.STEPS[3], "UPDATE nothing SET size = 1")}


class Later(Third):
    """It has forgotten how to read the first format."""

    VERSION = 4
    STEPS = {3: Third.STEPS[3], 4: ("SELECT 1",)}


HOLDER = """
import os, signal, sys
from pathlib import Path
from tests.adapters.test_base_sqlite import First

class Slow(First):
    def _schema(self):
        print("inside", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        return super()._schema()

if sys.argv[2] == "makes":
    Slow(Path(sys.argv[1])).close()
    # It stays until it is told to go: what has ended cannot be stopped again.
    sys.stdin.readline()
    sys.exit()
with First(Path(sys.argv[1])) as file:
    with file._transaction() as db:
        db.execute("INSERT INTO note (text) VALUES ('from the holder')")
        print("inside", flush=True)
        if sys.argv[2] == "stops":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            sys.stdin.readline()
    print("outside", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "notes.db"


@pytest.fixture
def holder(path):
    """Starts a process that is inside a transaction when this returns."""
    started = []

    def start(how):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "inside\n"
        return process

    yield start
    for process in started:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()


@pytest.fixture
def hasty(monkeypatch):
    """Look at once; the first tenth of a second is waited for all the same."""
    monkeypatch.setattr(sqlite, "_LOOK_AFTER", 0.1)


def is_stopped(process):
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def stopped(process):
    until(lambda: is_stopped(process))
    return process


def go_on(process):
    process.send_signal(signal.SIGCONT)
    process.stdin.write("\n")
    process.stdin.flush()


def marks(path):
    with closing(sqlite3.connect(path)) as db:
        return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version",)]


# Opening.


def test_each_commit_waits_for_the_disk(path):
    names = ("journal_mode", "synchronous", "foreign_keys")
    with First(path) as file:
        found = {name: file._db.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_closed_file_is_whole_and_of_no_use(path):
    with First(path) as file:
        file.write("one")
    # SQLite removes this file when the last connection is closed, and only then.
    assert not path.with_name(path.name + "-wal").exists()
    with pytest.raises(sqlite3.ProgrammingError):
        file.read()


def test_in_memory_each_object_has_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with First(MEMORY) as one, First(MEMORY) as other:
        one.write("one")
        assert (one.read(), other.read()) == (["one"], [])
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_memory_is_closed_with_its_object():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        db = First(MEMORY)._db
        gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        db.execute("SELECT 1")


def test_an_old_sqlite_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(UnusableStoreError, match=r"use a Python with 3\.37 or later"):
        First(path)


def test_a_disk_that_takes_no_wal_is_refused(path, monkeypatch):
    # SQLite has no shared memory there, as on a network disk.
    monkeypatch.setattr(sqlite.sqlite3, "connect", lambda _, **how: connect(":memory:", **how))
    with pytest.raises(UnusableStoreError, match="keep it on a local disk"):
        First(path)


connect = sqlite3.connect


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda path: path.unlink(), id="deleted"),
        pytest.param(lambda path: path.rename(path.with_name("elsewhere")), id="moved"),
        pytest.param(
            lambda path: (
                path.with_name("other").write_bytes(b"") or path.with_name("other").replace(path)
            ),
            id="replaced",
        ),
    ],
)
def test_a_file_that_is_lost_under_its_user_is_named(path, lose):
    with First(path) as file:
        file.write("one")
        lose(path)
        for call in (file.read, lambda: file.write("two")):
            with pytest.raises(UnusableStoreError, match="replaced while it was in use") as said:
                call()
            assert "\n" not in str(said.value)


def test_a_statement_that_no_table_takes_is_a_bug(path):
    with First(path) as file, pytest.raises(sqlite3.IntegrityError):
        file.write(None)


# Formats.


def test_a_new_file_has_the_newest_format(path):
    with Third(path) as file:
        assert file.columns() == ["text", "author", "size"]
    assert marks(path) == [3]


def test_an_older_file_is_brought_up_and_keeps_what_is_in_it(path):
    with First(path) as file:
        file.write("four")
    with Third(path) as file:
        assert file.columns() == ["text", "author", "size"]
        with file._using() as db:
            assert db.execute("SELECT * FROM note").fetchall() == [("four", None, 4)]
    with Third(path) as file:
        assert file.read() == ["four"]
    assert marks(path) == [3]


def test_a_step_that_fails_leaves_the_older_file_as_it_was(path):
    with First(path) as file:
        file.write("four")
    with pytest.raises(sqlite3.OperationalError, match="nothing"):
        Broken(path)
    assert marks(path) == [1]
    with First(path) as file:
        assert (file.columns(), file.read()) == (["text"], ["four"])


def test_several_that_open_an_older_file_at_once_bring_it_up_once(path):
    First(path).close()
    ready, faults = threading.Barrier(4), []

    def visit():
        ready.wait(10)
        try:
            Third(path).close()
        except (sqlite3.Error, UnusableStoreError) as fault:
            faults.append(fault)

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (faults, marks(path)) == ([], [3])


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        pytest.param(First, "newer wavekeeper .format 3, this one knows 1.: update", id="newer"),
        pytest.param(Later, "an older wavekeeper .format 1.*move the file away", id="too old"),
    ],
)
def test_a_format_that_cannot_be_read_is_refused_and_left_alone(path, kind, advice):
    with (Third if kind is First else First)(path) as file:
        file.write("one")
    before = path.read_bytes()
    with pytest.raises(UnusableStoreError, match=advice) as said:
        kind(path)
    assert "\n" not in str(said.value)
    assert path.read_bytes() == before


# Who else is there.


@pytest.mark.usefixtures("hasty")
def test_a_process_stopped_inside_a_transaction_does_not_block_the_others(
    path, holder, monkeypatch
):
    with First(path) as file:
        frozen = stopped(holder("stops"))
        file.write("meanwhile")
        assert file.read() == ["from the holder", "meanwhile"]
        # Whoever stopped it still wants it to be, and it blocks nobody any more.
        stopped(frozen)
        monkeypatch.setattr(sqlite, "_LOCKS", path.with_name("nowhere"))
        file.write("more")
        assert is_stopped(frozen)
        go_on(frozen)
        assert frozen.stdout.readline() == "outside\n"
        assert frozen.wait(10) == 0


@pytest.mark.usefixtures("hasty")
def test_one_stopped_while_it_makes_the_file_does_not_block_the_others(path, holder):
    frozen = stopped(holder("makes"))
    with First(path) as file:
        file.write("meanwhile")
        assert file.read() == ["meanwhile"]
        stopped(frozen)
        go_on(frozen)
        assert frozen.wait(10) == 0


@pytest.mark.usefixtures("hasty")
def test_all_that_wait_for_a_stopped_process_get_their_turn(path, holder):
    with First(path) as one, First(path) as other:
        frozen = stopped(holder("stops"))
        threads = [threading.Thread(target=file.write, args=["x"]) for file in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.read() == ["from the holder", "x", "x"]
        stopped(frozen)


@pytest.mark.usefixtures("hasty")
def test_one_that_does_not_let_go_is_named_and_stopped_again(path, holder, monkeypatch):
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.5)
    with First(path) as file:
        frozen = holder("waits")
        frozen.send_signal(signal.SIGSTOP)
        stopped(frozen)
        with pytest.raises(QueueUnavailableError, match=f"end process {frozen.pid}$") as said:
            file.write("meanwhile")
        assert "\n" not in str(said.value)
        stopped(frozen)
        go_on(frozen)
        assert frozen.stdout.readline() == "outside\n"
        file.write("later")
        assert file.read() == ["from the holder", "later"]


@pytest.mark.usefixtures("hasty")
def test_one_that_runs_is_waited_for_and_left_alone(path, holder):
    with First(path) as file:
        running = holder("waits")
        release = threading.Timer(0.3, go_on, [running])
        release.start()
        file.write("meanwhile")
        release.join()
        assert not is_stopped(running)
        assert file.read() == ["from the holder", "meanwhile"]


@pytest.mark.usefixtures("hasty")
def test_a_stopped_process_that_only_reads_is_left_alone(path, holder, monkeypatch):
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.5)
    with First(path) as file:
        reader = holder("waits")
        go_on(reader)
        assert reader.stdout.readline() == "outside\n"
        reader.send_signal(signal.SIGSTOP)
        stopped(reader)
        with closing(connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(QueueUnavailableError, match=r"end that process$"):
                file.write("meanwhile")
        assert is_stopped(reader)


@pytest.mark.usefixtures("hasty")
def test_where_nobody_can_say_who_holds_a_file_it_is_waited_for(path, holder, monkeypatch):
    monkeypatch.setattr(sqlite, "_LOCKS", path.with_name("nowhere"))
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.5)
    with First(path) as file:
        frozen = stopped(holder("stops"))
        with pytest.raises(QueueUnavailableError, match=r"kept it locked for .* end that process$"):
            file.write("meanwhile")
        assert is_stopped(frozen)
