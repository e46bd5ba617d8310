import fcntl
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.adapters.common.lock import FileLock
from agent.adapters.common.machine import SystemClock
from agent.errors import LockHeldError, UnusableStoreError

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)

HOLDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from agent.adapters.common.lock import FileLock

lock = FileLock(Path(sys.argv[1]))
lock.acquire("wavekeeper run", datetime(2026, 3, 1, 9, 0, tzinfo=UTC))
print("held", flush=True)
sys.stdin.readline()
"""

ASKER = """
import sys
from pathlib import Path
from agent.adapters.common.lock import FileLock

lock = FileLock(Path(sys.argv[1]))
print("up", flush=True)
while True:
    lock.holder()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "supervisor.lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock until it is told to end, or killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refusal(lock):
    with pytest.raises(LockHeldError) as caught:
        lock.acquire("me", NOW)
    [line] = str(caught.value).splitlines()
    return line


def test_it_says_who_holds_it_and_since_when(path, holder):
    said = f"wavekeeper run (process {holder.pid}, since 2026-03-01T09:00:00+00:00)"
    assert FileLock(path).holder() == said
    line = refusal(FileLock(path))
    assert line.startswith(said)
    assert str(path) in line
    assert "end it first" in line


def test_kill_9_frees_it(path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    assert holder.wait(timeout=10) == -signal.SIGKILL
    lock = FileLock(path)
    assert "wavekeeper run" in path.read_text()
    assert lock.holder() is None
    lock.acquire("me", NOW)
    assert lock.holder() == f"me (process {os.getpid()}, since {NOW.isoformat()})"
    lock.release()


def test_an_orderly_end_frees_it(path, holder):
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.wait(timeout=10) == 0
    assert FileLock(path).holder() is None


def test_a_program_that_was_started_does_not_inherit_it(path):
    lock = FileLock(path)
    lock.acquire("me", NOW)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        assert FileLock(path).holder() is None
        assert child.poll() is None
        child.communicate(timeout=10)


def test_release_lets_the_next_one_in(path):
    one, other = FileLock(path), FileLock(path)
    one.acquire("one, with a long name", NOW)
    assert refusal(other).startswith("one, with a long name (process")
    assert refusal(one).startswith("one, with a long name (process")
    one.release()
    one.release()
    other.acquire("two", NOW)
    assert other.holder() == f"two (process {os.getpid()}, since {NOW.isoformat()})"
    assert json.loads(path.read_text())["who"] == "two"
    other.release()
    assert other.holder() is None


def test_asking_who_holds_it_takes_and_makes_nothing(path):
    assert FileLock(path).holder() is None
    assert not path.parent.exists()
    lock = FileLock(path)
    lock.acquire("me", NOW)
    lock.release()
    assert [lock.holder() for _ in range(3)] == [None] * 3
    lock.acquire("me", NOW)
    lock.release()


def test_somebody_who_only_asks_does_not_keep_others_out(path):
    """`holder` holds a shared lock for an instant, at which `acquire` must not give up."""
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKER, str(path)],
        stdout=subprocess.PIPE,
    )
    try:
        assert asker.stdout is not None
        assert asker.stdout.readline() == b"up\n"
        lock = FileLock(path)
        for _ in range(200):
            lock.acquire("me", NOW)
            lock.release()
    finally:
        asker.kill()
        asker.communicate()


def test_two_may_ask_at_once(path):
    path.parent.mkdir()
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert FileLock(path).holder() is None


def test_a_refusal_leaves_no_file_open(path, holder):
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        assert str(holder.pid) in refusal(FileLock(path))
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "an unnamed process", id="not written yet"),
        pytest.param(b'{"who": "a', "an unnamed process", id="half written"),
        pytest.param(b"\xff\xfe\x00", "an unnamed process", id="no text"),
        pytest.param(b"[1]", "an unnamed process", id="no object"),
        pytest.param(
            json.dumps({"who": "a\n\x1b[2Jb", "pid": "1\u202e", "since": None}).encode(),
            "a ␛b (process 1<U+202E>, since None)",
            id="control characters",
        ),
    ],
)
def test_what_the_file_says_is_only_shown(path, content, said):
    lock = FileLock(path)
    lock.acquire("me", NOW)
    path.write_bytes(content)
    assert lock.holder() == said
    assert refusal(FileLock(path)).startswith(said)
    lock.release()


def test_a_folder_in_its_place(path):
    path.mkdir(parents=True)
    with pytest.raises(UnusableStoreError, match="check the rights"):
        FileLock(path).acquire("me", NOW)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "state").write_text("a file")
    lock = FileLock(tmp_path / "state" / "lock")
    assert lock.holder() is None
    with pytest.raises(UnusableStoreError, match="check the rights"):
        lock.acquire("me", NOW)


def test_the_clock_is_aware_and_utc():
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC
