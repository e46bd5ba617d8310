"""`wavekeeper work` and `judge`: the hosts that run agents, and those that check their work."""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console, OutputLostError
from agent.cli.stopping import Stop, signals
from agent.core.model.policy import Policy
from agent.errors import UserError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""It becomes the name of a folder."""


def work(console: Console, settings: Settings, name: str | None, *, judge: bool) -> int:
    """Claim and run tasks until a signal comes, with `judge` beside a judge host; the exit code.

    The first signal stops the agents and reports them. The second ends the host as it is: its
    agents stay, and are adopted by the next host of the same name, or lost.
    """
    name = _named(name)
    telling = _Telling(console, "stopping the agents; once more leaves them")
    with telling.signals() as stop, wiring.open_work(settings) as queue:
        host = wiring.worker(settings, queue, name, telling.tell)
        telling.tell(f"worker host {host.settings.name}: {', '.join(host.settings.queues)}")
        if judge:
            # A name that no other judge host can have been given.
            with _judging(settings, wiring.policy_of(settings), f"{name}+work", telling, stop):
                host.run(stop)
        else:
            host.run(stop)
    return telling.exit_code(stop)


def judge(console: Console, settings: Settings, name: str | None, *, heavy: bool | None) -> int:
    """Make judgements until a signal comes; the exit code.

    The first signal stops the command that runs and gives its judgement back. The second ends the
    host as it is: what it had is given back by the next host of the same name, or after its lease.
    """
    name = _named(name)
    telling = _Telling(console, "stopping; once more ends at once")
    policy = wiring.policy_of(settings)
    with telling.signals() as stop, wiring.open_judgements(settings) as kept:
        host = wiring.judge_host(settings, kept, policy, name, telling.tell, heavy=heavy)
        how = "heavy commands too" if host.settings.heavy else "no heavy commands"
        telling.tell(f"judge host {name}: {how}")
        host.run(stop)
    return telling.exit_code(stop)


def _named(name: str | None) -> str:
    name = socket.gethostname() if name is None else name
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name!r:.80}: use letters, digits, dots, dashes and underscores")
    return name


class _Telling:
    """Says one line per change, from any thread, until nobody reads any more."""

    def __init__(self, console: Console, noticed: str) -> None:
        self._console = console
        self._turn = threading.Lock()
        self._lost: OutputLostError | None = None
        # The threads would keep an ordinary end waiting, so `at_once` does not unwind.
        self._stop = Stop(noticed=lambda: self.tell(noticed), at_once=os._exit)

    @contextmanager
    def signals(self) -> Iterator[Stop]:
        """What the first signal sets."""
        with signals(self._stop) as stop:
            yield stop

    def tell(self, line: str) -> None:
        """Say it; if that cannot be done, stop as a signal would have it."""
        with self._turn:
            if self._lost is not None:
                return
            try:
                self._console.line(line)
            except OutputLostError as error:
                self._lost = error
                self._stop.set()

    def exit_code(self, stop: Stop) -> int:
        """How the command ends."""
        if self._lost is not None:
            raise self._lost
        return stop.exit_code or 0


@contextmanager
def _judging(
    settings: Settings, policy: Policy, name: str, telling: _Telling, stop: Stop
) -> Iterator[None]:
    """A judge host in a thread of its own; what goes wrong in it stops the worker host, too."""
    ending = threading.Event()
    faults: list[Exception] = []

    def run(host: Callable[[threading.Event], None]) -> None:
        try:
            host(ending)
        except Exception as error:  # noqa: BLE001 - recorded; raised again below
            faults.append(error)
            stop.set()

    with wiring.open_judgements(settings) as kept:
        host = wiring.judge_host(settings, kept, policy, name, telling.tell)
        thread = threading.Thread(target=run, args=(host.run,), name="judge host")
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()
    if faults:
        raise faults[0]
