"""The heartbeats of one attempt, and the reasons to stop it."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, Self

from agent.core.model.queueing import Beat, Lease, NewEvent
from agent.errors import QueueUnavailableError, UnusableStoreError
from agent.ports import Clock, WorkSource

Halt = Literal["cancel", "fenced", "cut-off", "host", "time", "stalled", "fault"]
"""Why an attempt is stopped: the queue asks; the attempt is no longer ours; we cannot know whether
it still is; the host stops; its time is up; it does not get on; a bug."""

OUT_OF_REACH: Final = (QueueUnavailableError, UnusableStoreError)
"""The queue did not take the call, and may take it later."""


class HeartbeatSender:
    """Beats for one lease on a thread of its own, whatever agent and git are doing.

    A beat prolongs the lease by `seconds`, brings the events said since the last one, and comes
    every `every` seconds; `keep` gets the new end of the lease. `why` is the first reason to stop,
    and `halted` is set with it. A queue out of reach is a reason only when the lease has run out by
    our own clock: for all we know another host has the task then.
    """

    def __init__(
        self,
        source: WorkSource,
        clock: Clock,
        lease: Lease,
        seconds: float,
        every: float,
        keep: Callable[[datetime], None],
    ) -> None:
        self.why: Halt | None = None
        self.halted = threading.Event()
        self.fault: Exception | None = None
        self._source = source
        self._clock = clock
        self._lease = lease
        self._seconds = seconds
        self._every = every
        self._keep = keep
        self._expires = lease.expires_at
        self._outbox: deque[NewEvent] = deque()
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._go, name=f"beat {lease.task}")

    def __enter__(self) -> Self:
        """The first answer is in when this returns."""
        self._guarded()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """No beat is under way when this returns."""
        self._closed.set()
        self._thread.join()

    def halt(self, why: Halt) -> None:
        """Give a reason to stop; the first one counts."""
        self.why = self.why or why
        self.halted.set()

    def say(self, events: Sequence[NewEvent]) -> None:
        """Send these with the next beat."""
        self._outbox.extend(events)

    def beat(self) -> None:
        """Beat now, in the caller's thread."""
        with self._turn:
            events = tuple(self._outbox)
            at = self._clock.now()
            try:
                answer = self._source.beat(self._lease, events, extend=self._seconds)
            except OUT_OF_REACH:
                if self._clock.now() >= self._expires:
                    self.halt("cut-off")
                return
            for _ in events:
                self._outbox.popleft()
            self._hear(answer)
            if answer != "fenced":
                self._expires = at + timedelta(seconds=self._seconds)
                self._keep(self._expires)

    def _go(self) -> None:
        while self.fault is None and not self._closed.wait(self._every):
            self._guarded()

    def _guarded(self) -> None:
        try:
            self.beat()
        except Exception as error:  # noqa: BLE001 - recorded; the attempt raises it again
            self.fault = error
            self.halt("fault")

    def _hear(self, answer: Beat) -> None:
        if answer != "ok":
            self.halt(answer)
