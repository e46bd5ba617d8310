"""What the Code Queue adapter is tested in: the stand-in behind real HTTP and its real program."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.adapters.code_queue.ledger import Ledger
from agent.adapters.code_queue.queue import CodeQueue, CodeQueueOptions, SubmitDiscipline
from agent.adapters.code_queue.ways import CommandLine, Proxy
from agent.adapters.code_queue.words import COMMANDS, PATHS, Names
from agent.adapters.common.sqlite import MEMORY
from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.queueing import Lease, Order, QueueSpec
from tests.adapters.queue_world import ORDER, Clock, World
from tests.standins import code_queue as standin
from tests.standins.code_queue import Fault, Server


@dataclass
class Bench:
    """The adapter, the stand-in it talks to, and the worker host's side of that."""

    queue: CodeQueue
    service: standin.CodeQueue
    ledger: Ledger
    clock: Clock
    pauses: list[float]

    def fault(self, kind: str, **narrowed: Any) -> None:
        self.service.faults.append(Fault(kind, **narrowed))

    def mend(self) -> None:
        self.service.faults.clear()

    def sent(self, call: str) -> int:
        """How often the service was asked for `call`."""
        return [one for _, one in self.service.calls].count(call)

    def states(self) -> list[tuple[object, ...]]:
        """Every task of the stand-in, without times."""
        return [
            (one.queue, one.state, one.attempt, one.stop_requested)
            for one in self.service.queue.changed_since(None).tasks
        ]

    def notices(self) -> tuple[str, ...]:
        """What the snapshot would say of the service."""
        self.queue.queues()
        return self.queue.control_plane().diagnostics

    def remote(self, task: str = "t1") -> str:
        known = self.ledger.tracked(task)
        assert known is not None
        return known.remote

    def world(self) -> World:
        return World(BothSides(self), self.clock.now, self.clock.advance)


class BothSides:
    """The adapter for the supervisor, the stand-in's own queue for the worker host.

    A worker of a Code Queue reads in its prompt whose task it is; `told` does that here.
    """

    def __init__(
        self, bench: Bench, told: Callable[[str], tuple[str, Order]] | None = None
    ) -> None:
        self._bench = bench
        self._work = bench.service.queue
        self._told = told or (lambda _: ("", ORDER))
        self._remote: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench.queue, name)

    def claim(self, *given: Any, **named: Any) -> Lease | None:
        lease = self._work.claim(*given, **named)
        if lease is None:
            return None
        known = self._bench.ledger.tracked(self._bench.ledger.owner(lease.task) or "")
        task, order = (known.task, known.order) if known else self._told(lease.prompt)
        self._remote[task] = lease.task
        return lease.model_copy(update={"task": task, "order": order})

    def _theirs(self, lease: Lease) -> Lease:
        return lease.model_copy(update={"task": self._remote[lease.task]})

    def beat(self, lease: Lease, *given: Any, **named: Any) -> str:
        return self._work.beat(self._theirs(lease), *given, **named)

    def finish(self, lease: Lease, *given: Any) -> str:
        return self._work.finish(self._theirs(lease), *given)


@contextmanager
def bench(
    folder: Path,
    server: Server,
    *,
    queues: Sequence[QueueSpec] = (),
    ways: tuple[str, ...] = ("http",),
    keys: bool = True,
    timeout: float = 20.0,
    spacing: float = 0.0,
    fresh: float = 0.0,
    fields: dict[str, str] | None = None,
) -> Iterator[Bench]:
    """A fresh queue behind `server`, reached by `ways` in this order."""
    clock, pauses = Clock(), []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.advance(seconds)

    with ExitStack() as stack:
        embedded = stack.enter_context(SqliteQueue(MEMORY, clock.now))
        for spec in queues:
            embedded.configure(spec)
        server.service = service = standin.CodeQueue(embedded, clock.now)
        stack.callback(service.close)
        proxy = Proxy(server.url, paths=PATHS, timeout=timeout, keys=keys)
        os.environ["CODE_QUEUE_STANDIN"] = server.url
        line = CommandLine(
            standin.PROGRAM, calls=COMMANDS, folder=folder, timeout=timeout, keys=keys
        )
        ledger = stack.enter_context(Ledger(folder / "ledger.db"))
        # Nothing here cuts the power, and waiting for the disk is most of what a call costs.
        ledger._db.execute("PRAGMA synchronous = OFF")
        queue = CodeQueue(
            [{"http": proxy, "cli": line}[way] for way in ways],
            ledger,
            SubmitDiscipline(
                folder / "submit.lock",
                spacing=spacing,
                now=clock.now,
                pause=pause,
                low_memory=lambda: False,
            ),
            clock.now,
            CodeQueueOptions(keys=keys, fresh=fresh, names=Names(fields)),
        )
        yield Bench(queue, service, ledger, clock, pauses)
