"""How long a tick takes on the embedded queue, and how fast tasks go in and out of it.

Known tasks: 100, 1,000 and 10,000, of which 10 are at work and have new heartbeats; the others are
accepted, as in a delivery that has been going on for long. Real files, synchronous=FULL. Targets:
at 10,000 at most 1.5 times the time at 100, and under 50 ms.

    python benchmarks/tick.py [--known 100 1000 10000] [--ticks 40]
"""

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.adapters.evidence.judge import JudgeEvidence
from agent.adapters.files.policy import read_policy
from agent.adapters.issues.local import LocalIssues
from agent.adapters.model.evidence_reviewer import EvidenceReviewer
from agent.adapters.model.templates import TemplateDrafter
from agent.adapters.queue.embedded import SqliteQueue
from agent.adapters.queue.judgements import SqliteJudgements
from agent.adapters.state.db import State
from agent.core.journal.records import TaskRecord, WaveRecord
from agent.core.model.nouns import Command, Criterion
from agent.core.model.queueing import Lease, NewEvent, QueueSpec, Report, TaskSpec
from agent.runtime.context import Ports, Supervision
from agent.runtime.effects import order_of
from agent.runtime.tick import Ticker

ROOT = Path(__file__).parents[1]
CHANGED = 10


@dataclass
class Now:
    """The real time, as the product reads it."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def spec_of(name: str) -> TaskSpec:
    return TaskSpec(
        id=name,
        queue="main",
        kind="code-change",
        title=f"Task {name}",
        ownership=f"the module {name}",
        background="A background of ordinary length, " * 20,
        write_scope=(f"src/{name}/**",),
        validation_scope="Run the acceptance commands in the worktree.",
        branch=f"wavekeeper/{name}",
        forbidden=("do not touch other modules",),
        criteria=(Criterion(id="C1", text="the check passes", proof="checks-passed"),),
        acceptance_commands=(Command(argv=("make", "check")),),
    )


def task_record_of(name: str, status: str, at: datetime) -> TaskRecord:
    return TaskRecord(spec=spec_of(name), wave="w", status=status, prompt="p" * 2000, changed_at=at)


def fill(queue: SqliteQueue, state: State, known: int) -> tuple[list[Lease], float, float]:
    """`known` tasks, the last few at work: their leases, enqueued and ended per second."""
    at = datetime.now(UTC)
    names = [f"T-{number}" for number in range(known)]
    wave = WaveRecord(id="w", goal="the goal", submitted_at=at, source="wave.toml")
    done = [task_record_of(name, "accepted", at) for name in names[:-CHANGED]]
    work = [task_record_of(name, "submitted", at) for name in names[-CHANGED:]]
    state.waves.add_wave(wave, [*done, *work])
    order = order_of(spec_of("T"), "w")
    begun = time.perf_counter()
    for name in names:
        queue.submit(name, queue="main", prompt="p" * 2000, order=order, key=f"submit/{name}")
    enqueued = known / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for _ in names[:-CHANGED]:
        lease = queue.claim("host", ["main"], lease=3600)
        queue.finish(lease, Report(state="succeeded", final_response="done"))
    ended = (known - CHANGED) / (time.perf_counter() - begun)
    leases = [queue.claim("host", ["main"], lease=3600) for _ in range(CHANGED)]
    return [lease for lease in leases if lease is not None], enqueued, ended


def measure(known: int, ticks: int, folder: Path) -> tuple[float, float, float]:
    """Median tick in ms, enqueued per s, claimed and ended per s."""
    clock = Now()
    policy = read_policy(ROOT / "policies")
    with ExitStack() as stack:
        queue = stack.enter_context(SqliteQueue(folder / "queue.db", clock.now))
        queue.configure(QueueSpec(id="main", max_running=CHANGED))
        state = stack.enter_context(State(folder / "state.db"))
        judgements = stack.enter_context(SqliteJudgements(folder / "judgements.db", clock.now))
        leases, enqueued, ended = fill(queue, state, known)
        world = Ports(
            clock=clock,
            queue=queue,
            store=state.waves,
            journal=state.journal,
            issues=LocalIssues(folder / "issues"),
            reviewer=EvidenceReviewer(),
            drafter=TemplateDrafter(ROOT / "prompts"),
            probes=(JudgeEvidence(judgements),),
            judgements=judgements,
            approvals=state.approvals,
            state=state,
        )
        ticker = Ticker(world, Supervision(policy=policy, mode="auto", interval=300))
        ticker.tick()  # the first one reads everything there is
        times = []
        for _ in range(ticks):
            for lease in leases:
                event = NewEvent(at=clock.now(), kind="message", text="going on")
                if queue.beat(lease, [event], extend=3600) != "ok":
                    raise SystemExit("a lease was lost; the measurement is void")
            begun = time.perf_counter()
            result = ticker.tick()
            times.append((time.perf_counter() - begun) * 1000)
            if len(result.decisions) != CHANGED:
                raise SystemExit("a tick did not see the tasks at work; the measurement is void")
    return statistics.median(times), enqueued, ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--known", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--ticks", type=int, default=40)
    chosen = parser.parse_args()
    print(f"{'known':>8} {'changed':>8} {'tick ms':>9} {'ratio':>7} {'enqueue/s':>10} {'end/s':>8}")
    first = None
    for known in chosen.known:
        with tempfile.TemporaryDirectory() as folder:
            tick, enqueued, ended = measure(known, chosen.ticks, Path(folder))
        first = first or tick
        print(
            f"{known:>8,} {CHANGED:>8} {tick:>9.1f} {tick / first:>7.2f} "
            f"{enqueued:>10,.0f} {ended:>8,.0f}"
        )


if __name__ == "__main__":
    main()
