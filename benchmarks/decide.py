"""How long `wavekeeper decide` takes inside the process, and how long its snapshot takes to read.

Snapshots of 100, 300, 1,000 and 3,000 tasks, a tenth of them in each of ten states; every failure
has printed as much as a judge keeps, and no two write scopes meet, so that all pairs are compared.
Targets: 1,000 tasks decided in under 300 ms, and a time per task that does not grow (ratio 1.0).

    python benchmarks/decide.py [--tasks 100 300 1000 3000] [--runs 5]
"""

import argparse
import statistics
import time
from collections.abc import Callable

from agent.core.model.nouns import Snapshot, Task
from agent.core.plan import contract
from tests.core import worlds as w

OUTPUT = 4000
"""Characters, as much as a judge keeps."""
EXPECTED = {"inspect", "accept", "park"}
"""What some of the tasks need at least, if they are in the states meant; others are left alone."""
PRINTED = (
    "tests/test_totals.py::test_rounding[case-17] FAILED: expected 12.50, got 12.49 at 3f2c1a\n"
)
PROMPT = "Fix the rounding in this service. All that is needed stands in this text.\n" * 40


def printed(last: str) -> str:
    """The end of a long output with this last line."""
    return (PRINTED * (OUTPUT // len(PRINTED) + 1) + last)[-OUTPUT:]


STATES: tuple[Callable[..., Task], ...] = (
    w.planned,
    lambda **over: w.task("queued", **over),
    w.running,
    lambda **over: w.silent(400, **over),
    lambda **over: w.proven(inspected=False, **over),
    w.proven,
    lambda **over: w.ended(judge=w.judged("fail", printed("1 failed")), **over),
    lambda **over: w.ended(judge=w.judged("fail", printed(w.JQ_MISSING)), **over),
    w.parked,
    lambda **over: w.proven(status="accepted", **over),
)


def world_of(tasks: int) -> Snapshot:
    """The states take turns, so that every tenth task is in the same one."""
    return w.world(
        *(
            STATES[number % len(STATES)](
                id=f"T-{number}", prompt=PROMPT, write_scope=(f"services/s{number}/**",)
            )
            for number in range(tasks)
        ),
        window={"limit": 5, "outcomes": w.outcomes(28, 2)},
        defects=(w.defect(),),
    )


def milliseconds(act: Callable[[], object], runs: int) -> float:
    """The median of `runs` runs, after one that is not counted."""
    act()
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        act()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def measure(tasks: int, runs: int) -> tuple[float, float]:
    """Median ms to decide, and to read the snapshot from its JSON."""
    snapshot, policy = world_of(tasks), w.policy()
    text = snapshot.model_dump_json(exclude_none=True).encode()
    answered = contract.answer(contract.read(text), policy)
    if answered["suspended"] or not {one["action"] for one in answered["decisions"]} > EXPECTED:
        raise SystemExit("the tasks are not in mixed states; the measurement is void")
    return (
        milliseconds(lambda: contract.answer(snapshot, policy), runs),
        milliseconds(lambda: contract.read(text), runs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    print(f"{'tasks':>8} {'decide ms':>10} {'ms/task':>9} {'ratio':>7} {'read ms':>9}")
    first = None
    for tasks in chosen.tasks:
        decided, read = measure(tasks, chosen.runs)
        first = first or decided / tasks
        print(
            f"{tasks:>8,} {decided:>10.1f} {decided / tasks:>9.4f} "
            f"{decided / tasks / first:>7.2f} {read:>9.1f}"
        )


if __name__ == "__main__":
    main()
