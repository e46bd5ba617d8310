"""`wavekeeper replay`: decide again what was decided, offline, under this policy or another."""

from pathlib import Path
from typing import Final

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console
from agent.core.journal.replay import Difference
from agent.errors import JournalBrokenError
from agent.runtime.replay import chosen, replay

DIFFERS: Final = 5
"""The exit code when a decision comes out otherwise."""


def again(
    console: Console, settings: Settings, name: str, policies: Path | None, *, check: bool
) -> int:
    """List every decision of the session that differs; the exit code.

    `check` holds the journal to its chain first and leaves out what is not a finding.
    """
    policy = wiring.policy_in(policies) if policies is not None else wiring.policy_of(settings)
    with wiring.open_journal(settings) as journal:
        runs = chosen(journal, name)
        if check and (broken := journal.verify()) is not None:
            raise JournalBrokenError(f"{broken}; nothing was decided again")
        found = replay(journal, runs, policy)
    which = runs[0].id if len(runs) == 1 else f"{runs[0].id} to {runs[-1].id}"
    under = "the policy it was decided under"
    if found.other_policy:
        before = ", ".join(sorted(one[:12] for one in found.other_policy))
        under = f"policy {policy.hash[:12]}, decided under {before}"
    if not check:
        console.line(
            f"replay {which} under {under}: {found.ticks} ticks, {found.decisions} decisions"
        )
    for one in found.differing:
        console.line(_line(one))
    same = found.decisions - len({one.record for one in found.differing})
    console.line(f"{which}: {same} same, {len(found.differing)} differ")
    return DIFFERS if found.differing else 0


def _line(one: Difference) -> str:
    """`record 322 tick 14 T-41: retry (cleared) -> hand-over (cleared), in action, reason`."""
    where = ", ".join(one.where)
    front = f"record {one.record} tick {one.tick} {one.task or 'window'}"
    return f"{front}: {one.recorded} -> {one.now}, in {where}"
