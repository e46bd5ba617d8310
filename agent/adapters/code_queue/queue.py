"""A Code Queue: port `TaskQueue` over its command line, its proxy, or both.

What this adapter holds to: nothing is sent before it is written down, nothing is sent again before
the queue was read, and what the queue does not state is unknown. Submits go out one at a time, with
a distance, on this whole machine. Policy: "submit calls should default to serial or
near-serial behavior. A short local lock or delay is acceptable if it prevents the control plane
from being flooded faster than it can acknowledge tasks, especially on low-memory hosts."
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from filelock import lock_descriptor

from agent.adapters.code_queue import words as shape
from agent.adapters.code_queue.ledger import Act, Ledger, Tracked, attempt_of
from agent.adapters.code_queue.reader import Reader, Way
from agent.adapters.code_queue.words import Names, Seen
from agent.core.model.actions import digest
from agent.core.model.nouns import TERMINAL, ControlPlane, Status
from agent.core.model.queueing import (
    Changes,
    Cursor,
    QueueSpec,
    QueueView,
    Receipt,
    TaskView,
    TraceEvent,
)
from agent.core.queue import rules
from agent.core.queue.rules import (
    ActingQueue,
    Attempt,
    Effect,
    Halt,
    Move,
    Request,
    Retry,
    Submit,
    clean,
    cursor_at,
    revision_of,
)
from agent.errors import (
    KeyReusedError,
    NothingDoneError,
    QueueUnavailableError,
    UnreadableAnswerError,
    UnusableStoreError,
    UserError,
)

CAREFUL: Final = 5.0
"""So many times the distance on a host that is short of memory, or may be for all we know."""


class SubmitDiscipline:
    """The lock in `path` is held during a submit; the next follows `spacing` seconds after it.

    `low_memory` answers whether this host is short of memory; None: nobody knows.
    The file keeps when the last one was acknowledged, so that the distance holds between
    processes and across restarts.
    """

    def __init__(
        self,
        path: Path,
        *,
        spacing: float,
        now: Callable[[], datetime],
        pause: Callable[[float], None] = time.sleep,
        low_memory: Callable[[], bool | None] = lambda: None,
    ) -> None:
        self._path = path
        self._spacing = spacing
        self._now = now
        self._pause = pause
        self._low_memory = low_memory

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the distance, and keep all others out. NothingDoneError: another submits."""
        with self._opened() as file:
            if not lock_descriptor(file, blocking=False):
                raise NothingDoneError("another process of this machine is submitting; wait")
            last = self._last(file)
            if (rest := self._distance() - (self._now().timestamp() - last)) > 0:
                self._pause(min(rest, self._distance()))
            try:
                yield
            finally:
                os.ftruncate(file, 0)
                os.pwrite(file, f"{self._now().timestamp():.3f}\n".encode(), 0)

    def held(self) -> bool:
        """Whether somebody else is submitting just now."""
        with self._opened() as file:
            return not lock_descriptor(file, blocking=False)

    def _distance(self) -> float:
        return self._spacing * (1.0 if self._low_memory() is False else CAREFUL)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UnusableStoreError(
                f"{self._path}: {error.strerror}; name another `lock` under [queue]",
            ) from error
        try:
            yield file
        finally:
            os.close(file)

    @staticmethod
    def _last(file: int) -> float:
        """When the last one was acknowledged; long ago if nobody knows."""
        try:
            return float(os.pread(file, 64, 0))
        except ValueError:
            return 0.0


_CANDIDATES: Final = 200
"""Tasks that are read to find one whose acknowledgement was lost."""
_EARLIER: Final = timedelta(minutes=5)
"""By so much the queue's clock may be behind ours."""


def find_submitted(
    reader: Reader, ledger: Ledger, act: Act, request: Submit, *, keys: bool
) -> Seen | None:
    """The task that a submit made, among those that are not yet known as ours; None: not seen.

    UnreadableAnswerError: two tasks look like it, or, without keys, it may only be out of sight.
    """
    listing = reader.list()
    complete = all(lane.recent is not None for lane in listing.lanes)
    strangers = sorted(one for one in listing.mentioned if ledger.owner(one) is None)
    found: list[Seen] = []
    for remote in strangers[:_CANDIDATES]:
        try:
            seen = reader.task(remote)
        except UnreadableAnswerError:
            complete = False
            continue
        if seen.key == act.key:
            return seen
        if _looks_like(seen, act, request):
            found.append(seen)
    if len(found) > 1:
        names = ", ".join(one.id for one in found)
        raise UnreadableAnswerError(f"{names} all look like {request.task}; cancel all but one")
    complete = complete and len(strangers) <= _CANDIDATES
    if not found and not complete and not keys:
        raise UnreadableAnswerError(f"whether {request.task} was submitted cannot be seen")
    return found[0] if found else None


def _looks_like(seen: Seen, act: Act, request: Submit) -> bool:
    """Whether a task may be the one that was submitted, when it does not show its key."""
    if seen.key is not None or (seen.created_at and seen.created_at < act.begun_at - _EARLIER):
        return False
    if seen.label is not None and seen.label != request.task:
        return False
    return seen.prompt is not None and seen.prompt.strip() == request.prompt.strip()


def effect_of(request: Retry | Halt | Move, seen: Seen) -> Effect | None:
    """What a task shows of a request on it; None: nothing."""
    if isinstance(request, Move):
        return "done" if seen.queue == request.queue else None
    if seen.attempt > request.attempt:
        return "stale"
    if isinstance(request, Retry):
        if seen.attempt < request.attempt:
            return None
        own = seen.prompt is None or seen.prompt.strip() == request.prompt.strip()
        return "done" if own else "stale"
    if seen.attempt < request.attempt:
        return None
    if seen.status is Status.SUCCEEDED:
        return "nothing-to-do"
    return "done" if seen.status in TERMINAL or seen.cancel_requested else None


_UNSURE: Final = timedelta(seconds=60)
"""So long a request without keys may still be under way after its answer was lost."""


@dataclass(frozen=True, slots=True)
class CodeQueueOptions:
    """How a Code Queue is treated."""

    keys: bool = True
    """It knows idempotency keys."""
    fresh: float = 0.0
    """Seconds for which what was read is good for the next who reads."""
    names: Names = field(default_factory=Names)


class CodeQueue(ActingQueue):
    """A `TaskQueue`. `ways` is not empty; the first is acted through, a second is compared.

    QueueUnavailableError: it cannot be seen, gives no reliable answer, or may or may not
    have done what it was asked. NothingDoneError: it is not its turn to submit. UserError,
    KeyReusedError and ValueError (a cursor of another ledger) are about what was asked.
    """

    def __init__(
        self,
        ways: Sequence[Way],
        ledger: Ledger,
        discipline: SubmitDiscipline,
        now: Callable[[], datetime],
        options: CodeQueueOptions,
    ) -> None:
        self._way = ways[0]
        self._ledger = ledger
        self._discipline = discipline
        self._now = now
        self._manner = options
        self._reader = Reader(ways, options.names, ledger, now)
        self._specs: dict[str, QueueSpec] = {}
        self._read_at: datetime | None = None
        self._unreadable: dict[str, str] = {}

    def configure(self, queue: QueueSpec) -> None:
        self._specs[queue.id] = queue

    def queues(self) -> Sequence[QueueView]:
        listing = self._reader.listing if self._is_fresh() else None
        return [self._shown(lane) for lane in (listing or self._reader.list()).lanes]

    def _shown(self, lane: shape.Lane) -> QueueView:
        """What the queue states of itself; otherwise, what was configured.

        A risk that nobody names is taken for the highest, so that no defect is sent there.
        """
        spec = self._specs.get(lane.id) or QueueSpec(id=lane.id, risk="high")
        return QueueView(
            id=lane.id,
            kind=lane.kind or spec.kind,
            risk=lane.risk or spec.risk,
            max_running=spec.max_running,
            counts=dict(lane.counts),
            unread=None if lane.unread is None else len(lane.unread),
        )

    def control_plane(self) -> ControlPlane:
        listing = self._reader.listing
        own = [
            *self._reader.notices.values(),
            *(f"unreadable: {task}: {why}" for task, why in self._unreadable.items()),
            *(f"unacknowledged: {act.request.verb} {act.request.task}" for act in self._begun()),
        ]
        if listing is None:
            return ControlPlane(reachable=None, submit_lock="unknown", diagnostics=tuple(own))
        busy = bool(self._begun()) or self._discipline.held()
        return ControlPlane(
            reachable=listing.reachable,
            submit_lock="held" if busy else "free",
            diagnostics=(*listing.diagnostics, *sorted(own)),
        )

    def mark_read(self, task: str, *, attempt: int) -> None:
        known = self._ledger.tracked(clean(task))
        if known is None:
            return
        about = f"read {task}"
        try:
            view = self._reader.look(known)
            if view.attempt == attempt and view.state in TERMINAL:
                self._way.ask("read", {"task": known.remote})
        except UnreadableAnswerError as error:
            # A mark that cannot be set is no reason to leave proven work unaccepted.
            self._reader.notices[about] = f"not-marked-read: {task}: {error}"
        else:
            self._reader.notices.pop(about, None)

    def get(self, task: str) -> TaskView | None:
        known = self._ledger.tracked(clean(task))
        if known is None:
            return None
        self._reader.begin()
        return self._look(known)

    def _look(self, known: Tracked) -> TaskView:
        try:
            view = self._reader.look(known)
        except UnreadableAnswerError as error:
            self._unreadable[known.task] = str(error)
            raise
        self._unreadable.pop(known.task, None)
        return view

    def changed_since(self, cursor: Cursor | None) -> Changes:
        name, newest = self._ledger.store()
        after = revision_of(cursor, name, newest)
        if not self._is_fresh():
            self._read_on()
        name, newest = self._ledger.store()
        return Changes(
            tasks=tuple(self._ledger.changed(after)),
            cursor=cursor_at(name, newest),
            unreadable=dict(sorted(self._unreadable.items())),
        )

    def _is_fresh(self) -> bool:
        if self._read_at is None:
            return False
        age = (self._now() - self._read_at).total_seconds()
        return 0 <= age < self._manner.fresh

    def _read_on(self) -> None:
        """Queue-level evidence first; then each task of ours that may have changed."""
        self._reader.begin()
        listed = self._reader.list().mentioned
        for known in self._ledger.all_tracked():
            view = known.view
            over = view is not None and view.state in TERMINAL and known.output is not None
            if over and known.remote not in listed and known.task not in self._unreadable:
                continue
            try:
                self._look(known)
            except UnreadableAnswerError:
                continue
        self._read_at = self._now()

    def trace(self, task: str, *, attempt: int, after: int, limit: int) -> Sequence[TraceEvent]:
        known = self._ledger.tracked(clean(task))
        if known is None or limit < 1:
            return []
        # The queue gives the latest; those after `after` are among them if enough are asked for.
        found = self._reader.trace(known.remote, rules.TRACE_KEPT)
        own = [one for one in found if one.attempt == attempt and one.sequence > after]
        return sorted(own, key=lambda one: one.sequence)[:limit]

    def receipt(self, key: str) -> Receipt | None:
        act = self._ledger.act(clean(key))
        if act is None or act.state == "void":
            return None
        return act.receipt or self._read_back(act)

    # Acting.

    def _act(self, request: Request, key: str) -> Receipt:
        key, request = clean(key), rules.clean_noun(request)
        if (act := self._ledger.act(key)) is not None:
            if act.receipt is not None:
                return rules.receipt_again(act.receipt, act.digest, request)
            if act.digest != digest(request):
                raise KeyReusedError(f"key {key!r} was used for another request; give each its own")
            if act.state == "begun" and (found := self._read_back(act)) is not None:
                return found
        known = self._ledger.tracked(request.task)
        current = None if known is None else _attempt(self._look(known))
        effect, after = rules.act(current, request, self._now())
        if effect != "done":
            receipt = rules.receipt(key, request, effect, after)
            return self._ledger.settle(receipt, request, self._now())
        self._read_at = None
        with self._turn(request):
            if isinstance(request, Submit | Retry):
                self._refuse_unacknowledged(key)
            return self._send(request, known, key)

    def _turn(self, request: Request) -> AbstractContextManager[None]:
        """What creates an attempt keeps to the submit discipline."""
        return self._discipline.turn() if isinstance(request, Submit | Retry) else nullcontext()

    def _begun(self) -> list[Act]:
        return [one for one in self._ledger.begun() if isinstance(one.request, Submit | Retry)]

    def _refuse_unacknowledged(self, key: str) -> None:
        """Each is acknowledged before the next: no burst on a queue that does not keep up."""
        for act in self._begun():
            if act.key == key:
                continue
            found = None
            if self._now() - act.begun_at >= _UNSURE:
                try:
                    found = self._read_back(act) or act
                except QueueUnavailableError:
                    found = None
            if found is None:
                raise NothingDoneError(
                    f"the {act.request.verb} of {act.request.task} is not acknowledged yet; "
                    "nothing more is sent before it is",
                )

    def _send(self, request: Request, known: Tracked | None, key: str) -> Receipt:
        act = self._ledger.begin(key, request, self._now())
        fills = {"key": key} | ({} if known is None else {"task": known.remote})
        if isinstance(request, Submit | Move):
            fills["queue"] = request.queue
        body = request.prompt if isinstance(request, Submit | Retry) else None
        try:
            answer = self._way.ask(request.verb, fills, body)
            remote = None if known is None else known.remote
            return self._acknowledged(act, shape.acted(answer, remote, self._manner.names))
        except UserError:
            self._ledger.void(act)
            raise
        except QueueUnavailableError as error:
            # It may have been done all the same. That it cannot be seen at once proves nothing.
            with suppress(QueueUnavailableError):
                if (found := self._trace_of(act)) is not None:
                    return found
            raise QueueUnavailableError(
                f"{error}; whether it took effect is read back before anything is sent again",
            ) from error

    def _acknowledged(self, act: Act, seen: Seen) -> Receipt:
        """The receipt, if the task that came with the answer confirms it."""
        request = act.request
        if isinstance(request, Submit):
            return self._created(act, request, seen)
        if isinstance(request, Move):
            if seen.queue != request.queue:
                raise UnreadableAnswerError(f"{seen.id} is reported as moved, and was not")
        elif seen.attempt != request.attempt:
            raise UnreadableAnswerError(
                f"{seen.id} answers with attempt {seen.attempt}, not {request.attempt}"
            )
        return self._settled(act, seen)

    def _created(self, act: Act, request: Submit, seen: Seen) -> Receipt:
        owner = self._ledger.owner(seen.id)
        if owner not in (None, request.task):
            raise UnreadableAnswerError(f"{seen.id} answers for {request.task}; it is {owner}")
        self._ledger.track(request.task, seen.id, request.order, act.begun_at)
        return self._settled(act, seen)

    def _settled(self, act: Act, seen: Seen, effect: rules.Effect = "done") -> Receipt:
        request = act.request
        number = attempt_of(request) if effect == "done" else None
        receipt = Receipt(key=act.key, effect=effect, task=request.task, attempt=number)
        flagged = isinstance(request, Retry) and seen.cancel_requested is True
        self._ledger.settle(receipt, request, act.begun_at, flagged=flagged)
        if (known := self._ledger.tracked(request.task)) is not None:
            try:
                self._reader.keep(known, seen)
            except QueueUnavailableError as error:
                # The receipt is valid; the next reading looks at the task again.
                self._unreadable[known.task] = str(error)
        return receipt

    # Reading back.

    def _read_back(self, act: Act) -> Receipt | None:
        """What became of a request whose answer was lost; None, and void: it had no effect.

        QueueUnavailableError: nobody can tell yet.
        """
        found = self._trace_of(act)
        if found is None:
            if not self._manner.keys and self._now() - act.begun_at < _UNSURE:
                raise QueueUnavailableError(
                    f"the {act.request.verb} of {act.request.task} may still be under way",
                )
            self._ledger.void(act)
        return found

    def _trace_of(self, act: Act) -> Receipt | None:
        request = act.request
        if isinstance(request, Submit):
            seen = find_submitted(self._reader, self._ledger, act, request, keys=self._manner.keys)
            return None if seen is None else self._created(act, request, seen)
        known = self._ledger.tracked(request.task)
        if known is None:
            return None
        seen = self._reader.task(known.remote)
        effect = effect_of(request, seen)
        return None if effect is None else self._settled(act, seen, effect)


def _attempt(view: TaskView) -> Attempt:
    """The attempt as the rules of every queue know it."""
    stop = view.stop_requested
    return Attempt(
        task=view.id,
        number=view.attempt,
        queue=view.queue,
        state=view.state,
        prompt=view.prompt,
        order=view.order,
        created_at=view.created_at,
        stop=None if stop == "unknown" else stop,
    )
