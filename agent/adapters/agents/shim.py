"""A program: runs one command so that it outlives the host that asked for it.

    WAVEKEEPER_SHIM=shim|keeper python shim.py FOLDER CWD INPUT COMMAND...

It holds a lock on FOLDER/lock while the command runs, sends its output to FOLDER/output and
FOLDER/errors, and leaves FOLDER/exit (`{"code": …, "signal": …}`) when command and offspring are
gone. INPUT is the file the command reads, or `-`. Standard output gets one line: `started`,
`there` (this folder has had its start), or `error` and a reason. Whenever it is killed, the
command is never started a second time in one folder. `keeper`: the command is bubblewrap, which
looks after the agent as we look after it; a signal n of the agent is its exit code 128 + n.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

STRAGGLER_GRACE = 2.0
"""Seconds for what the command left behind, between SIGTERM and SIGKILL."""
_LOCK_PATIENCE = 2.0
"""Seconds to try for the lock: whoever asks whether it is held, holds it for a moment."""
_PR_SET_CHILD_SUBREAPER = 36
_SIGNALLED = 128


def main(folder: Path, cwd: str, source: str, command: list[str]) -> int:
    """Detach, run the command, see it off; 0 unless something could not be written."""
    if os.fork():
        return 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        # A handler, not SIG_IGN: the command must not inherit deafness, and we must see its end.
        signal.signal(number, lambda *_: None)
    with (folder / "lock").open("ab") as lock:
        if not _locked(lock.fileno(), folder) or (folder / "started").exists():
            _answer("there")
            return 0
        _inherit_orphans()
        try:
            process = _start(folder, cwd, source, command)
        except OSError as error:
            # Before the answer: whoever reads it may look for a start at once.
            (folder / "started").unlink(missing_ok=True)
            fcntl.flock(lock, fcntl.LOCK_UN)
            _answer(f"error {error.strerror or error}: {error.filename or command[0]}")
            return 0
        _answer("started")
        code = _wait(process)
        _end_what_is_left(process.pid)
        if os.environ.get("WAVEKEEPER_SHIM") == "keeper" and code > _SIGNALLED:
            code = _SIGNALLED - code
        _leave(folder, code)
    return 0


def _locked(descriptor: int, folder: Path) -> bool:
    # By hand, as the look at /proc below: this program runs without site packages (`-S`), so that
    # it starts at once and lives through an upgrade of what is installed.
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if (folder / "started").exists() or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _start(folder: Path, cwd: str, source: str, command: list[str]) -> "subprocess.Popen[bytes]":
    # Reserves the room for the exit status now: at the end the disk may be full.
    (folder / "exit.part").write_bytes(b" " * 64)
    (folder / "started").touch()
    environment = dict(os.environ)
    if environment.get("WAVEKEEPER_SHIM") != "keeper":
        environment.pop("WAVEKEEPER_SHIM", None)
    with (
        Path(os.devnull if source == "-" else source).open("rb") as stdin,
        (folder / "output").open("ab") as output,
        (folder / "errors").open("ab") as errors,
    ):
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=stdin,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    with suppress(OSError):
        (folder / "group").write_text(str(process.pid))
    return process


def _answer(line: str) -> None:
    """Tell the host, which may be dead by now, and let go of its pipe."""
    with suppress(OSError):
        os.write(1, " ".join(line.split()).encode("utf-8", "surrogateescape") + b"\n")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _inherit_orphans() -> None:
    """On Linux, make every process the command leaves behind a child of ours."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """The command's exit code, negative for a signal; orphans are reaped on the way."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode


def _end_what_is_left(group: int) -> None:
    """SIGTERM, then SIGKILL, until we have no child any more."""
    if sys.platform != "linux":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    asked: set[int] = set()
    beyond: set[int] = set()
    deadline = time.monotonic() + STRAGGLER_GRACE
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        children = _children() - beyond
        if not children:
            return
        for pid in children if number == signal.SIGKILL else children - asked:
            # No stranger can be hit: a child keeps its id until it is reaped, here.
            try:
                os.kill(pid, number)
            except PermissionError:
                beyond.add(pid)
        asked |= children
        time.sleep(0.02)


def _children() -> set[int]:
    mine = str(os.getpid())
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The second field, the name in brackets, may itself hold blanks and brackets.
            parent = entry.read_text(errors="replace").rpartition(")")[2].split()[1]
            if parent == mine:
                found.add(int(entry.parent.name))
    return found


def _leave(folder: Path, code: int) -> None:
    status = {"code": code if code >= 0 else None, "signal": -code if code < 0 else None}
    with (folder / "exit.part").open("r+b") as handle:
        handle.write(json.dumps(status).encode().ljust(64))
    (folder / "exit.part").replace(folder / "exit")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
