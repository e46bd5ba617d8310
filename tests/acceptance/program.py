"""Runs the real program in a project of its own, as a user would."""

import io
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass

from agent.adapters.state.db import State
from agent.cli.app import call
from agent.cli.console import Console

GOOD = """
[wave]
id = "w1"
goal = "Callers of the mailer see a clear error."

[[task]]
id = "T-1"
queue = "main"
kind = "code-change"
title = "Name the address in the mailer's error"
ownership = "service mailer"
background = "The mailer raises MailError() without a message; callers need the address in it."
write_scope = ["services/mailer/**"]
validation_scope = "Run the acceptance command in the worktree."
forbidden = ["changing the public name of MailError"]
acceptance_commands = [["python3", "services/mailer/check.py"]]

[[task.criteria]]
id = "C1"
text = "the check passes"
proof = "checks-passed"
"""

SETTINGS = """
[supervisor]
mode = "auto"
"""
SCRIPTED = """
[approvals]
scripted = true
"""
"""For settings: a command may approve."""

_WAYWARD = (
    "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "WAVEKEEPER_DEBUG", "PYTHONIOENCODING",
    "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "ANTHROPIC_API_KEY",
)  # fmt: skip


def environment(**more):
    """What the program is run with: nothing of this terminal, nothing of the user's git."""
    plain = {name: value for name, value in os.environ.items() if name not in _WAYWARD}
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Somebody"), ("EMAIL", "somebody@example.invalid"))
    }
    config = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return {**plain, **who, **config, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **more}


COMMAND = (sys.executable, "-m", "agent")
OBEDIENT = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if ctypes.CDLL(None, use_errno=True).prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
            sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program for which, even if it runs as root, the rights of files hold."""


@contextmanager
def heeding_signals():
    """What a shell starts in the background ignores SIGINT, and so would all it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Ended:
    """What `subprocess.run` tells, for a command that ran in this process."""

    returncode: int
    stdout: str
    stderr: str


def here(*arguments):
    """The same as the program, only without a process of its own; it works in this folder."""
    out, err = io.StringIO(), io.StringIO()
    code = call(arguments, Console(out, err, {}))
    return Ended(code, out.getvalue(), err.getvalue())


class Project:
    """A folder with a git repository that has a bare origin, settings and a wave."""

    def __init__(self, folder):
        self.folder = folder / "project"
        self.state = self.folder / ".wavekeeper"
        self.origin = folder / "origin.git"

    @classmethod
    def whole(cls, folder):
        """Everything that `submit` and `run` need."""
        project = cls(folder)
        project.folder.mkdir(parents=True)
        project.git("init", "-q", "--bare", "--initial-branch=main", "../origin.git")
        project.git("init", "-q", "--initial-branch=main", ".")
        project.git("remote", "add", "origin", "../origin.git")
        project.write("wavekeeper.toml", SETTINGS)
        project.write("w.toml", GOOD)
        return project

    def copy(self, folder):
        """A good deal faster than another new one."""
        shutil.copytree(self.origin, folder / "origin.git")
        shutil.copytree(self.folder, folder / "project")
        return Project(folder)

    def git(self, *arguments):
        subprocess.run(
            ["git", *arguments], cwd=self.folder, env=environment(), check=True, timeout=30
        )

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def push_a_first_commit(self):
        self.write("README.md", "read\n")
        self.git("add", "README.md")
        self.git("commit", "-qm", "Begin")
        self.git("push", "-q", "origin", "main")

    def run(self, *arguments, bound=False, **more):
        """The program's end; `bound`: the rights of files hold for it, even if it runs as root."""
        front = (sys.executable, "-I", "-S", "-c", OBEDIENT) if bound else ()
        return subprocess.run(
            [*front, *COMMAND, *arguments],
            cwd=self.folder,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments, stdout, stderr=subprocess.STDOUT, **more):
        """The program, still running."""
        with heeding_signals():
            return subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=self.folder,
                env=environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def records(self, *kinds):
        """The journal's records of these kinds."""
        with State(self.state / "state.db") as state:
            assert state.journal.verify() is None
            return [entry.record for entry in state.journal.entries(kinds=kinds)]
