"""`wavekeeper demo`: a whole wave on a real repository, with troubles, in under 90 seconds.

The coding agents are scripted programs; git, the remote, the processes, the signals, the queue,
the guard and the supervisor are the real ones. The reviewer is the real one as well: with a key in
the environment it asks the real API, without one it is answered from a recording.
"""

import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from agent import admission, wiring
from agent.adapters.files.config import read_settings
from agent.adapters.model.cassettes import play_back
from agent.cli.console import Console
from agent.cli.demo.scene import HERE, Scene, staged
from agent.cli.demo.story import BLOCKED, Row, faults, rows, sentence
from agent.cli.run import Show, was_answered
from agent.cli.stopping import Stop, signals
from agent.cli.views import page
from agent.runtime.context import Ports
from agent.runtime.status import StatusReader
from agent.runtime.tick import TickResult

KEY: Final = "ANTHROPIC_API_KEY"
API: Final = "https://api.anthropic.com"
LIMIT: Final = 85.0
"""Seconds after which the demonstration gives up and says what is missing."""
PATIENCE: Final = 1800.0
"""The same, where a person answers."""
EXPIRES: Final = 300.0
"""Seconds that a question waits there, so that one can be seen to expire."""


def demo(console: Console, *, keep: bool, approve: bool) -> int:
    """Play the wave and show it; 0 only if every task ended as it should."""
    with stage(keep=keep) as folder, model() as answering:
        ending = play(console, folder, answering, EXPIRES if approve else None)
        if keep:
            console.line(f"kept: {folder}")
    if ending.stopped is not None:
        return ending.stopped
    console.show(_table(console, ending.table))
    console.line(ending.sentence)
    for line in ending.faults:
        console.line(f"not as it should be: {line}")
    return 1 if ending.faults else 0


@dataclass(frozen=True, slots=True)
class Ending:
    """How the wave ended."""

    table: list[Row]
    faults: list[str]
    """What did not end as it should, one line each."""
    sentence: str
    stopped: int | None
    """The exit code of the signal that stopped it, if one did."""


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers the reviewer's questions."""

    address: str
    key: str
    said: str
    """One line for the person who looks on."""


@contextmanager
def model() -> Iterator[Answering]:
    """The real API where there is a key for it, else a recording."""
    if key := os.environ.get(KEY):
        said = f"Results are read by a model: {KEY} is set, and the real API is asked."
        yield Answering(API, key, said)
        return
    with play_back(wiring.shipped("cassettes") / "demo.json") as address:
        said = f"Results are read by a model played from a recording: {KEY} is not set."
        yield Answering(address, "not-a-key", said)


def play(
    console: Console, folder: Path, answering: Answering, expires: float | None = None
) -> Ending:
    """Run the wave in `folder`, from the first submit to the last accepted task.

    `expires`: a person is asked, and each question waits for so many seconds; None: nobody is.
    """
    begun = time.monotonic()
    with staged(folder, answering.address) as scene:
        limit = LIMIT
        if expires is not None:
            scene.ask(wiring.shipped("policies") / "approval.toml", expires)
            limit = PATIENCE
        settings = read_settings(scene.settings)
        checked, _ = admission.submit(settings, HERE / "wave.toml")
        goal, count = checked.record.goal, len(checked.task_records)
        console.line(f"{goal}: {count} tasks, a repository with a bare origin, two hosts.")
        console.line("The coding agents are scripted programs; everything else is real.")
        console.line(answering.said)
        if expires is not None:
            console.line(f"answer in another terminal: wavekeeper -C {scene.repository} approve")
        policy = wiring.policy_of(settings)
        with wiring.open_ports(settings, policy, answering.key) as ports:
            how = wiring.supervision(settings, policy)
            show = Show(console, ports, how)
            show.stop = stop = Stop(idle=show.refresh, wake=lambda: was_answered(ports))
            reader, undrawn = StatusReader(ports, how), list[str]()

            def over(result: TickResult) -> bool:
                # Where there is no terminal the map is drawn as well, so that its faults are seen.
                if (fault := map_fault(reader)) is not None:
                    undrawn.append(f"tick {result.number}: {fault}")
                _accident(scene, console)
                if _parked(ports) >= BLOCKED:
                    scene.blocked()
                late = time.monotonic() - begun > limit
                # After a change one more look, so that what was learnt is still written down.
                settled = not result.changed and not ports.store.task_records(settled=False)
                return late or settled

            with signals(stop), console.live():
                wiring.loop(settings, ports, how, show.tell, show.report).run(stop, until=over)
            if show.lost:
                raise show.lost
            table = rows(ports)
            said = sentence(ports, table, time.monotonic() - begun)
            return Ending(table, [*undrawn, *faults(ports, table)], said, stop.exit_code)


def _parked(ports: Ports) -> set[str]:
    return {one.spec.id for one in ports.store.task_records() if one.status == "parked"}


def map_fault(reader: StatusReader) -> str | None:
    """Draw the page of `wavekeeper status` to nowhere; why it cannot be drawn, None if it can."""
    nowhere = Console(io.StringIO(), io.StringIO(), {})
    try:
        for part in page(nowhere, reader.look("this process")):
            nowhere.show(part)
    except Exception as error:  # noqa: BLE001 - reported at the end; the wave goes on
        return f"the map cannot be drawn: {type(error).__name__}: {error}"
    return None


def _table(console: Console, rows_of: list[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("TASK", "TRIES", "OUTCOME"):
        table.add_column(heading, no_wrap=True)
    table.add_column("WHY", overflow="fold")
    for row in rows_of:
        cells = (row.task, str(row.attempts), row.outcome, row.why)
        table.add_row(*(console.text(cell) for cell in cells))
    return table


def _accident(scene: Scene, console: Console) -> None:
    if scene.accident():
        console.line("accident: host-b and its agent were killed (SIGKILL); host-c is started")
        scene.start_host("host-c", ("edge",))


@contextmanager
def stage(*, keep: bool) -> Iterator[Path]:
    """A folder of its own; removed at the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="wavekeeper-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
