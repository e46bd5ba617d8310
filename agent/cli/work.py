"""`wavekeeper work`: the worker host of this machine."""

import os
import re
import socket
import threading
from typing import Final

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console, OutputLostError
from agent.cli.stopping import Stop, signals
from agent.errors import UserError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""It becomes the name of a folder."""


def work(console: Console, settings: Settings, name: str | None) -> int:
    """Claim and run tasks until a signal comes; the exit code.

    The first signal stops the agents and reports them. The second ends the host as it is: its
    agents stay, and are adopted by the next host of the same name, or lost.
    """
    name = socket.gethostname() if name is None else name
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name!r:.80}: use letters, digits, dots, dashes and underscores")
    policy = wiring.policy_of(settings)
    telling = threading.Lock()
    lost: list[OutputLostError] = []
    # The threads of the attempts would keep an ordinary end waiting, so `at_once` does not unwind.
    stop = Stop(
        noticed=lambda: tell("stopping the agents; once more leaves them"), at_once=os._exit
    )

    def tell(line: str) -> None:
        with telling:
            if lost:
                return
            try:
                console.line(line)
            except OutputLostError as error:
                lost.append(error)
                stop.set()

    with signals(stop), wiring.open_queue(settings) as queue:
        host = wiring.worker(settings, queue, policy, name, tell)
        tell(f"worker host {host.settings.name}: {', '.join(host.settings.queues)}")
        host.run(stop)
    if lost:
        raise lost[0]
    return stop.exit_code or 0
