"""A program: one worker host on an SQLite queue, whose agents run their prompt as a shell script.

    python host_program.py QUEUE REMOTE PLACE NAME [WORD]

It prints what it is told, and kills itself before the first line with WORD in it gets out.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from agent.adapters.agents.command import CommandRunner
from agent.adapters.common.machine import SystemClock
from agent.adapters.git.worktrees import GitWorktrees
from agent.adapters.queue.embedded import SqliteQueue
from agent.runtime.worker import Worker, WorkerSettings


def main(queue: str, remote: str, place: str, name: str, word: str = "") -> None:
    def tell(line: str) -> None:
        if word and word in line:
            os.kill(os.getpid(), signal.SIGKILL)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    clock = SystemClock()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = WorkerSettings(
        name=name,
        queues=("main",),
        slots=2,
        lease=30.0,
        beat_every=0.1,
        poll_every=0.02,
        grace=0.2,
        time_limit=60.0,
        folder=Path(place) / "runs",
    )
    with SqliteQueue(Path(queue), clock.now) as source:
        runner = CommandRunner(
            ["sh", "-s"], prompt="stdin", output="text", env={}, now=clock.now, scope=place
        )
        trees = GitWorktrees(remote, Path(place) / "work", Path(place) / "clone")
        Worker(source, runner, trees, clock, settings, tell).run(stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
