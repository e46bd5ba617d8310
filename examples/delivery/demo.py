"""`make demo-delivery`: the whole artifact ladder on loopback, in under two minutes.

The coding agents are scripted programs; git, CI's builds, the registry's API, dev and production
servers, the queue, the guard and the supervisor are real.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from agent import admission, wiring
from agent.adapters.files.config import read_settings
from agent.cli.console import Console
from agent.cli.demo import stage
from agent.cli.run import Show
from agent.cli.stopping import Stop, signals
from agent.core.assess.proof import assess
from agent.core.model.nouns import Task
from agent.core.model.policy import Policy
from agent.errors import UserError
from agent.runtime.context import Ports
from agent.runtime.tick import TickResult
from examples.delivery.registry import PROGRAM, installed
from examples.delivery.scene import staged
from examples.delivery.scripted_agent import SERVICES

LIMIT: Final = 100.0
"""Seconds after which the demonstration gives up and says what is missing."""
WAYS: Final = {
    "T-1": ("delivers what CI built", "accepted", "observed"),
    "T-2": ("builds production from source", "handed-over", "production was rebuilt from source"),
    "T-3": ("deploys another image to production", "handed-over", "the digests differ"),
    "T-4": ("does not start the new program", "handed-over", "the commits differ"),
}
"""How each task delivers, how it must end, and the words that the reason must hold."""
_LONG: Final = re.compile(r"\b((?:sha256:)?[0-9a-f]{12})[0-9a-f]{28,52}\b")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the closing table."""

    task: str
    service: str
    way: str
    outcome: str
    why: str


def deliver(console: Console, *, keep: bool) -> int:
    """Play the wave and show it; 0 only if every task ended as it should.

    Raises UserError where the registry is there and does not begin to listen.
    """
    with stage(keep=keep) as folder:
        try:
            told, stopped = _play(console, folder)
        except OSError as error:
            raise UserError(f"{error}; free the port, or look at `{PROGRAM} serve`") from error
        if keep:
            console.line(f"kept: {folder}")
    if stopped is not None:
        return stopped
    console.show(_table(console, told))
    wrong = list(amiss(told))
    accepted = sum(row.outcome == "accepted" for row in told)
    console.line(f"{accepted} of {len(told)} deliveries proven from the commit to production.")
    for line in wrong:
        console.line(f"not as it should be: {line}")
    return 1 if wrong else 0


def _play(console: Console, folder: Path) -> tuple[list[Row], int | None]:
    begun = time.monotonic()
    if installed():
        console.line(f"The registry is {PROGRAM}, on loopback, in a folder of its own.")
    else:
        console.line(
            f"Skipped: the real registry ({PROGRAM} is not on PATH; Debian has it as a package). "
            "A small one of our own, in memory, speaks the same API in its place.",
        )
    with staged(folder) as scene:
        settings = read_settings(scene.settings)
        checked, _ = admission.submit(settings, Path(__file__).parent / "wave.toml")
        goal, count = checked.record.goal, len(checked.task_records)
        console.line(f"{goal}: {count} services, CI behind git push, dev and production.")
        policy = wiring.policy_of(settings)
        with wiring.open_ports(settings, policy) as world:
            how = wiring.supervision(settings, policy)
            show = Show(console, world, how)
            show.stop = stop = Stop(idle=show.refresh)

            def over(_: TickResult) -> bool:
                late = time.monotonic() - begun > LIMIT
                return late or not world.store.task_records(settled=False)

            with signals(stop), console.live():
                wiring.loop(settings, world, how, show.tell, show.report).run(stop, until=over)
            if show.lost:
                raise show.lost
            return rows(world, policy), stop.exit_code


def rows(world: Ports, policy: Policy) -> list[Row]:
    """One row per task; of what is not accepted, every rung that is not proven."""
    told = []
    seen: dict[str, Task] = {}
    for entry in world.journal.entries(kinds=("tick",)):
        snapshot = world.journal.snapshot(str(entry.record.body["snapshot"]))
        seen |= {one.id: one for one in snapshot.tasks if one.evidence} if snapshot else {}
    for task_record in sorted(world.store.task_records(), key=lambda one: one.spec.id):
        task = task_record.spec.id
        why = task_record.why or f"still {task_record.status}"
        if task_record.status != "accepted" and task in seen:
            why = "; ".join(assess(seen[task], policy.completion).gaps) or why
        way = WAYS[task][0] if task in WAYS else "was not expected"
        told.append(
            Row(task, SERVICES.get(task, "?"), way, task_record.status, _LONG.sub(r"\1", why))
        )
    return told


def amiss(told: Sequence[Row]) -> list[str]:
    """What did not end as it should, one line each."""
    wrong = []
    by_task = {row.task: row for row in told}
    for task, (_, outcome, words) in WAYS.items():
        row = by_task.get(task)
        if row is None or row.outcome != outcome or words not in row.why:
            ended = f"{row.outcome}: {row.why}" if row else "missing"
            wrong.append(f"{task} should be {outcome} ({words}), and is {ended}")
    return wrong + [f"{row.task} was not expected" for row in told if row.task not in WAYS]


def _table(console: Console, told: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("TASK", "SERVICE"):
        table.add_column(heading, no_wrap=True)
    table.add_column("THE AGENT", overflow="fold", min_width=12)
    table.add_column("OUTCOME", no_wrap=True)
    table.add_column("WHY", overflow="fold")
    for row in told:
        cells = (row.task, row.service, row.way, row.outcome, row.why)
        table.add_row(*(console.text(cell) for cell in cells))
    return table
