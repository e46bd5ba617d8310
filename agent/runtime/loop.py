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
from agent.errors import (
    JournalBrokenError,
    QueueUnavailableError,
    UnusableStoreError,
    UserError,
    describe_error,
)
from agent.ports import SupervisorLock
from agent.runtime.context import Ports, Supervision
from agent.runtime.tick import Ticker, TickResult

SOON = 1.0
"""Seconds until the tick that follows a change."""
IN_A_ROW = 10
"""Ticks that may follow one another so closely before the cadence is kept again."""
GIVE_UP_AFTER = 12
"""Ticks in a row that may fail: an hour at the default cadence. A disk that is full or a locked
file is often somebody's passing mistake, a bug may need a moment that does not come again, and
nobody watches."""


class Loop:
    """Owns the lock for as long as it runs."""

    def __init__(
        self,
        ports: Ports,
        supervision: Supervision,
        lock: SupervisorLock,
        who: str,
        tell: Callable[[TickResult], None],
        report: Callable[[str], None],
    ) -> None:
        self._ports = ports
        self._supervision = supervision
        self._lock = lock
        self._who = who
        self._tell = tell
        self._report = report

    def run(
        self,
        stop: threading.Event,
        *,
        until: Callable[[TickResult], bool],
        give_up_after: int = GIVE_UP_AFTER,
    ) -> None:
        """Tick until `stop` is set or `until` says that this tick was the last.

        Raises:
            UnusableStoreError: the state could not be read or written in `give_up_after` ticks in a
                row. What was done and could not be written is settled by the next start.
            Exception: anything else with which so many ticks in a row have failed.
            JournalBrokenError: at once, because nothing is done on top of it.

        """
        self._lock.acquire(self._who, self._ports.clock.now())
        try:
            self._note("start")
            self._tick_on(stop, until, give_up_after)
            self._note("stop")
        finally:
            self._lock.release()

    def _tick_on(
        self, stop: threading.Event, until: Callable[[TickResult], bool], give_up_after: int
    ) -> None:
        ticker: Ticker | None = None
        in_a_row = failed = 0
        while not stop.is_set():
            try:
                ticker = ticker or Ticker(self._ports, self._supervision)
                ticker, said = self._under_its_policy(ticker)
                result = replace(ticker.tick(stop.is_set), policy_said=said)
                self._show(result)
                last = until(result)
            except JournalBrokenError:
                raise
            except Exception as error:
                failed += 1
                if failed >= give_up_after:
                    raise
                self._report(f"this tick failed and is tried again: {describe_error(error)}")
                # What a tick that was cut short had in its hands is read again.
                ticker = None
                stop.wait(self._supervision.interval)
                continue
            failed = 0
            if last:
                return
            in_a_row = in_a_row + 1 if result.changed else 0
            soon = 0 < in_a_row <= IN_A_ROW
            self._wait(stop, min(SOON, self._supervision.interval) if soon else None)

    def _wait(self, stop: threading.Event, soon: float | None) -> None:
        """Until the next tick is due: after `soon` seconds, or when a judgement has come in."""
        left = self._supervision.interval if soon is None else soon
        asked = self._judging()
        if not asked:
            stop.wait(left)
            return
        while left > 0 and not stop.wait(min(left, SOON)):
            left -= SOON
            if asked - (asked := self._judging()):
                return

    def _judging(self) -> set[tuple[str, int]]:
        """The attempts that judge hosts are asked about and have not answered."""
        try:
            waiting = self._ports.judgements.waiting() if self._ports.judgements else ()
        except (QueueUnavailableError, UnusableStoreError):
            # The next tick says so, and survives it.
            return set()
        return {(one.order.task, one.order.attempt) for one in waiting}

    def _show(self, result: TickResult) -> None:
        """A view that fails shows less; the work goes on."""
        try:
            self._tell(result)
        except Exception as error:  # noqa: BLE001 - reported, and no reason to stop supervising
            self._report(f"tick {result.number} cannot be shown: {type(error).__name__}: {error}")

    def _under_its_policy(self, ticker: Ticker) -> tuple[Ticker, str | None]:
        """A new ticker if the policy was edited and may be used, and the line that reports it."""
        try:
            edited = self._ports.policies.changed() if self._ports.policies else None
        except UnusableStoreError:
            raise
        except UserError as error:
            self._note("policy", refused=str(error))
            in_force = self._supervision.policy.hash
            return ticker, f"policy {in_force[:12]} stays in force: {error}"
        if edited is None:
            return ticker, None
        self._supervision = replace(self._supervision, policy=edited)
        self._note("policy")
        return Ticker(self._ports, self._supervision), f"policy {edited.hash[:12]} is in force now"

    def _note(self, kind: Literal["start", "policy", "stop"], **more: str) -> None:
        said = {
            "who": self._who,
            "mode": self._supervision.mode,
            "policy": self._supervision.policy.hash,
            **more,
        }
        journal, now = self._ports.journal, self._ports.clock.now()
        journal.append([Record(kind=kind, at=now, tick=journal.last_tick(), body=said)])
