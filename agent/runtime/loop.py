"""The loop: one supervisor at a time, a tick at a fixed cadence, a clean stop.

Policy: "A five-minute poll loop is the default." A tick that changed something is followed by
another soon, because what it changed may be ready for its next step; only a few in a row. Policy
files are looked at between ticks; within one, the policy in force is the same from end to end.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from agent.core.journal.records import Record
from agent.errors import UserError
from agent.ports import SupervisorLock
from agent.runtime.context import Supervision, World
from agent.runtime.tick import Ticker, TickResult

SOON = 1.0
"""Seconds until the tick that follows a change."""
IN_A_ROW = 10
"""Ticks that may follow one another so closely before the cadence is kept again."""


class Loop:
    """Owns the lock for as long as it runs."""

    def __init__(
        self,
        world: World,
        supervision: Supervision,
        lock: SupervisorLock,
        who: str,
        tell: Callable[[TickResult], None],
    ) -> None:
        self._world = world
        self._supervision = supervision
        self._lock = lock
        self._who = who
        self._tell = tell

    def run(self, stop: threading.Event, *, until: Callable[[TickResult], bool]) -> None:
        """Tick until `stop` is set or `until` says that this tick was the last."""
        self._lock.acquire(self._who, self._world.clock.now())
        try:
            self._note("start")
            self._tick_on(stop, until)
            self._note("stop")
        finally:
            self._lock.release()

    def _tick_on(self, stop: threading.Event, until: Callable[[TickResult], bool]) -> None:
        ticker = Ticker(self._world, self._supervision)
        in_a_row = 0
        while not stop.is_set():
            ticker, said = self._under_its_policy(ticker)
            result = replace(ticker.tick(stop.is_set), policy_said=said)
            self._tell(result)
            if until(result):
                return
            in_a_row = in_a_row + 1 if result.changed else 0
            soon = 0 < in_a_row <= IN_A_ROW
            stop.wait(min(SOON, self._supervision.interval) if soon else self._supervision.interval)

    def _under_its_policy(self, ticker: Ticker) -> tuple[Ticker, str | None]:
        """A new ticker if the policy was edited and may be used, and what is to be told of it."""
        try:
            edited = self._world.policies.changed() if self._world.policies else None
        except UserError as error:
            self._note("policy", refused=str(error))
            in_force = self._supervision.policy.hash
            return ticker, f"policy {in_force[:12]} stays in force: {error}"
        if edited is None:
            return ticker, None
        self._supervision = replace(self._supervision, policy=edited)
        self._note("policy")
        return Ticker(self._world, self._supervision), f"policy {edited.hash[:12]} is in force now"

    def _note(self, kind: Literal["start", "policy", "stop"], **more: str) -> None:
        said = {
            "who": self._who,
            "mode": self._supervision.mode,
            "policy": self._supervision.policy.hash,
            **more,
        }
        journal, now = self._world.journal, self._world.clock.now()
        journal.append([Record(kind=kind, at=now, tick=journal.last_tick(), body=said)])
