"""Clearances per second of the guard, beside cedarpy on the same rules and states in one run.

Both decide the permitted states and all that are one fact away. cedarpy is used as well as it can
be: parsed handles, per-action contexts, one batch, requests built outside the measured time.
Target: at least ten times as many.

    python benchmarks/guard.py [--rounds 5]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from agent.adapters.files.policy import read_policy
from agent.core.guard.check import survey
from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.guard.guard import clear, judge
from agent.core.model.actions import Action, Cleared, Proposal
from tests.core import cedar_export as cedar
from tests.core import worlds as w

try:
    import cedarpy
except ImportError:
    sys.exit("cedarpy is not installed; pip install '.[verify]'")

State = dict[str, str]
GUARD = w.policy().guard
TARGET = 10


def states() -> list[tuple[Action, State]]:
    found = {}
    for cell in survey(GUARD).permitted:
        inside = dict.fromkeys(FOOTPRINT[cell.action], "unknown")
        inside |= {fact: values[0] for fact, values in cell.facts}
        for fact, value in ((one, value) for one in inside for value in FACTS[one]):
            one = inside | {fact: value}
            found[cell.action, tuple(one.items())] = (cell.action, one)
    return list(found.values())


def per_second(act: Callable[[], object], count: int, rounds: int) -> float:
    """Of the median round, after one that is not counted; processor time."""
    act()
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        act()
        times.append(time.process_time() - begun)
    return count / statistics.median(times)


def by_cedar(known: list[tuple[Action, State]]) -> Callable[[], list[bool]]:
    schema = cedarpy.Schema.from_str(cedar.schema())
    policies = cedarpy.PolicySet.from_str(cedar.policies(GUARD))
    entities = cedarpy.Entities.from_json_str("[]", schema)
    requests = [
        {
            "principal": 'Supervisor::"wavekeeper"',
            "action": f'Action::"{action}"',
            "resource": 'Task::"T-1"',
            "context": {
                fact: {"__entity": {"type": cedar.type_of(fact), "id": value}}
                for fact, value in facts.items()
            },
        }
        for action, facts in known
    ]

    def decide() -> list[bool]:
        answers = cedarpy.is_authorized_batch(requests, policies, entities, schema)
        return [answer.allowed for answer in answers]

    return decide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    known = states()
    proposals = [Proposal(action=action, task="T-1", reason="measured") for action, _ in known]

    def by_guard() -> list[bool]:
        return [judge(action, facts, GUARD)[0] for action, facts in known]

    def cleared() -> list[bool]:
        return [
            isinstance(clear(proposal, facts, w.policy(), w.NOW), Cleared)
            for proposal, (_, facts) in zip(proposals, known, strict=True)
        ]

    other = by_cedar(known)
    if not by_guard() == cleared() == other():
        sys.exit("they do not decide alike; the measurement is void")
    rates = {
        "guard, decisions": per_second(by_guard, len(known), rounds),
        "guard, sealed clearances": per_second(cleared, len(known), rounds),
        "cedarpy, decisions": per_second(other, len(known), rounds),
    }
    print(f"{len(known)} states, one processor, median of {rounds} rounds")
    for name, rate in rates.items():
        print(f"{name:<26}{rate:>10,.0f}/s{rate / rates['cedarpy, decisions']:>8.1f}x")
    begun = time.process_time()
    read_policy(Path(w.ROOT) / "policies")
    found = survey(GUARD)
    took = (time.process_time() - begun) * 1000
    print(f"load gate and one more survey of {found.states:,} states: {took:.0f} ms (target < 500)")
    sys.exit(rates["guard, sealed clearances"] < TARGET * rates["cedarpy, decisions"])


if __name__ == "__main__":
    main()
