"""The part of the wiring that puts a Code Queue together. Nothing is asked of it here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.adapters.code_queue.config import CodeQueueSettings
from agent.adapters.code_queue.ledger import Ledger
from agent.adapters.code_queue.queue import CodeQueue, CodeQueueOptions, SubmitDiscipline
from agent.adapters.code_queue.reader import Way
from agent.adapters.code_queue.ways import CommandLine, Proxy, token_of
from agent.adapters.code_queue.words import Names
from agent.adapters.common.machine import SystemClock

LEDGER: Final = "code-queue.db"
"""The file of the state folder that says which task is whose."""


def ways_to(own: CodeQueueSettings) -> list[Way]:
    """Each configured way to the queue, the one that is acted through first."""
    ways: list[Way] = []
    if own.command is not None:
        ways.append(
            CommandLine(
                own.command, calls=own.commands, folder=own.folder, timeout=own.timeout,
                keys=own.keys,
            ),
        )  # fmt: skip
    if own.http is not None:
        http = own.http
        ways.append(
            Proxy(
                http.url, paths=http.paths, timeout=http.timeout, keys=own.keys,
                token=token_of(http.token_variable), ca=http.ca,
            ),
        )  # fmt: skip
    return ways


@contextmanager
def open_code_queue(
    own: CodeQueueSettings, state: Path, low_memory: Callable[[], bool | None] = lambda: None
) -> Iterator[CodeQueue]:
    """The Code Queue with its ledger in the folder `state`.

    `low_memory` tells whether this host is short of memory, where something is submitted.
    """
    now = SystemClock().now
    with Ledger(state / LEDGER) as ledger:
        lock = own.lock or state / "submit.lock"
        discipline = SubmitDiscipline(lock, spacing=own.spacing, now=now, low_memory=low_memory)
        options = CodeQueueOptions(keys=own.keys, fresh=own.fresh, names=Names(own.fields))
        queue = CodeQueue(ways_to(own), ledger, discipline, now, options)
        for spec in own.specs:
            queue.configure(spec)
        yield queue
