"""Users without a name, for what runs as another user of this machine."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from agent.adapters.agents import users
from tests.adapters.git_person import git

NAMED: Final = tuple(2_000_000 + 8 * os.getpid() + number for number in range(7))
"""No other test process has them."""


def _forget() -> None:
    for one in NAMED:
        (users.LOCKS / f"{one}.lock").unlink(missing_ok=True)


WHY: Final = users.fault(users.find_users(NAMED))
_forget()
works: Final = pytest.mark.skipif(WHY is not None, reason=f"no other users here: {WHY}")


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that others may pass: those of tests are closed to them."""
    with tempfile.TemporaryDirectory(prefix="wavekeeper-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()
    _forget()


def let_push(remote: Path) -> None:
    """Let other users push to a repository, and change nothing else of it."""
    for name in ("objects", "refs"):
        for one in (remote / name, *(remote / name).rglob("*")):
            if one.is_dir():
                one.chmod(0o777)
    git(remote, "config", "core.sharedRepository", "0666")
