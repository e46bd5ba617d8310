"""Looking at real processes, by other means than the product's own."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")


def until(look: Callable[[], Found], seconds: float = 15) -> Found:
    """The first true answer of `look`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
    return found


def pids(file: Path) -> list[int]:
    """The process ids that an agent wrote into `file`, one a line."""
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def running(file: Path) -> list[int]:
    """Those of `pids(file)` that still run."""
    return [pid for pid in pids(file) if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
