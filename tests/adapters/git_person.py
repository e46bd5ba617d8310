"""Somebody who works with real git, whatever the configuration of whoever runs the tests."""

import os
import subprocess
from pathlib import Path

IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_NAME": "Ann" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "ann@example.org" for who in ("AUTHOR", "COMMITTER")},
}


def git(cwd: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **IDENTITY},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def commit(cwd: Path, name: str, text: str = "text\n") -> str:
    (cwd / name).write_text(text)
    git(cwd, "add", "--", name)
    git(cwd, "commit", "--quiet", "-m", "work")
    return git(cwd, "rev-parse", "HEAD")


def push(path: Path, branch: str) -> None:
    git(path, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")


def heads(path: Path) -> tuple[str, str]:
    """The commit, and the branch if HEAD is on one."""
    return git(path, "rev-parse", "HEAD"), git(path, "branch", "--show-current")


def found(place: Path) -> None:
    """Make `origin.git`, and a clone `seed` that has pushed `main` with a README."""
    git(place, "init", "--quiet", "--bare", "--template=", "--initial-branch=main", "origin.git")
    git(place, "init", "--quiet", "--template=", "--initial-branch=main", "seed")
    git(place / "seed", "remote", "add", "origin", "../origin.git")
    commit(place / "seed", "README", "hello\n")
    push(place / "seed", "main")
