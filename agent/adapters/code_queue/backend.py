"""`[queue]` with `kind = "code-queue"`: how it is opened, and what `doctor` says of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.adapters.code_queue import words as shape
from agent.adapters.code_queue.config import CodeQueueSettings
from agent.adapters.code_queue.ledger import Ledger
from agent.adapters.code_queue.queue import CodeQueue, CodeQueueOptions, SubmitDiscipline
from agent.adapters.code_queue.reader import Way
from agent.adapters.code_queue.ways import CommandLine, Proxy, token_of
from agent.adapters.code_queue.words import Listing, Names, Seen
from agent.backends import Check, Context, QueueBackend, State, Stored
from agent.errors import NoAnswerError, WavekeeperError

FILE: Final = "code-queue.db"
"""The ledger: which task is whose, and what was asked of it."""


def _ways_to(own: CodeQueueSettings) -> list[Way]:
    """Each configured way to the queue, the one that is acted through first."""
    ways: list[Way] = []
    if own.command is not None:
        ways.append(
            CommandLine(
                own.command, calls=own.commands, folder=own.folder, timeout=own.timeout,
                keys=own.keys,
            ),
        )  # fmt: skip
    if own.http is not None:
        http = own.http
        ways.append(
            Proxy(
                http.url, paths=http.paths, timeout=http.timeout, keys=own.keys,
                token=token_of(http.token_variable), ca=http.ca,
            ),
        )  # fmt: skip
    return ways


@contextmanager
def _open(own: CodeQueueSettings, context: Context) -> Iterator[CodeQueue]:
    with Ledger(context.state / FILE) as ledger:
        lock = own.lock or context.state / "submit.lock"
        discipline = SubmitDiscipline(
            lock, spacing=own.spacing, now=context.now, low_memory=context.low_memory
        )
        options = CodeQueueOptions(keys=own.keys, fresh=own.fresh, names=Names(own.fields))
        queue = CodeQueue(_ways_to(own), ledger, discipline, context.now, options)
        for spec in own.specs:
            queue.configure(spec)
        yield queue


def _stored(path: Path) -> Stored:
    with Ledger(path) as ledger:
        tasks, begun = len(ledger.all_tracked()), len(ledger.begun())
    return Stored(tasks, f"opens; tasks: {tasks}, not acknowledged: {begun}")


def _found(name: str, state: State, said: str, fix: str | None = None) -> Check:
    return Check(name=name, state=state, said=said, fix=fix)


def _check(own: CodeQueueSettings, _context: Context) -> Iterator[Check]:
    """Each way to it, whether they agree, its queues, and what it does not say of a task."""
    names = Names(own.fields)
    try:
        ways = _ways_to(own)
        read = []
        for way in ways:
            found, listing = _answers(way, names)
            yield found
            if listing is not None:
                read.append(listing)
        if len(read) > 1:
            yield _agreement(read)
        if read:
            yield _queues(own, read[0])
            yield from _one_task(ways[0], read[0], names)
    except WavekeeperError as error:
        yield _found("code queue", "fail", str(error))


def _answers(way: Way, names: Names) -> tuple[Check, Listing | None]:
    name = f"code queue by {way.name}"
    begun = time.monotonic()
    try:
        listing = shape.listing(way.ask("queues", {}), names)
    except NoAnswerError as error:
        fix = "see that it runs and answers here; `timeout` says how long it may take"
        return _found(name, "fail", str(error), fix), None
    except WavekeeperError as error:
        fix = "see what it answers to `queues`; [queue.commands], [queue.http] and [queue.fields]"
        return _found(name, "fail", str(error), f"{fix} say what is asked and read"), None
    took = f"answers in {time.monotonic() - begun:.1f} s, {len(listing.lanes)} queues"
    said = f"{took}; {', '.join(listing.diagnostics) or 'no diagnostics'}"
    if listing.reachable is None:
        fix = 'name the field under [queue.fields] as "queues.controlPlane.reachable"'
        lack = f"{took}; it does not say that its control plane is reachable: nothing will be done"
        return _found(name, "warn", lack, fix), listing
    if not listing.reachable:
        fix = "repair the control plane; until then the supervisor only observes"
        return _found(name, "fail", f"{took}; its control plane is not reachable", fix), listing
    return _found(name, "ok", said), listing


def _agreement(read: list[Listing]) -> Check:
    if read[0].essence == read[1].essence:
        return _found("proxy", "ok", "command line and proxy say the same")
    said = "command line and proxy say different things (proxy-divergence)"
    return _found("proxy", "warn", said, "see whether both lead to the same Code Queue")


def _queues(own: CodeQueueSettings, listing: Listing) -> Check:
    shown = {lane.id: lane for lane in listing.lanes}
    if missing := [spec.id for spec in own.specs if spec.id not in shown]:
        said = f"{', '.join(missing)}: not there; there are {', '.join(shown) or 'none'}"
        return _found("queues", "fail", said, "create them there, or correct [[queue.queues]]")
    configured = {spec.id: spec.kind for spec in own.specs}
    kinds = {name: lane.kind or configured.get(name) for name, lane in shown.items()}
    if "infrastructure" in kinds.values():
        return _found("queues", "ok", ", ".join(kinds))
    said = f"{', '.join(kinds) or 'none'}: none of kind infrastructure, so shared defects stay"
    return _found("queues", "warn", f"{said} unfixed", "make one queue of that kind")


def _one_task(way: Way, listing: Listing, names: Names) -> Iterator[Check]:
    """A task of the listing, whoever's it is, shows which fields are found."""
    active = [task for lane in listing.lanes for task in lane.active or ()]
    for remote in [*active, *sorted(listing.mentioned)][:1]:
        try:
            seen = shape.task(way.ask("task", {"task": remote}), remote, names)
        except WavekeeperError as error:
            fix = "see what it answers to `task`; [queue.fields] says where each field stands"
            yield _found("task", "fail", str(error), fix)
            return
        lacking = _lacking(seen)
        said = f"{remote} is read"
        if not lacking:
            yield _found("task", "ok", said)
            return
        fix = "if it shows them under other names, say so under [queue.fields]"
        yield _found("task", "warn", f"{said}; it does not say: {', '.join(lacking)}", fix)


def _lacking(seen: Seen) -> list[str]:
    """What a decision would miss."""
    beat, running = seen.heartbeat, seen.started_at is not None and seen.finished_at is None
    wanted = {
        "cancelRequested": seen.cancel_requested,
        "createdAt": seen.created_at,
        "controlPlane.status": seen.control_plane,
        "scheduler.status": seen.scheduler,
        "scheduler.heartbeat": beat if running else True,
        "scheduler.heartbeat.origin": beat.origin if beat else True,
        "scheduler.heartbeat.attempt": beat.attempt if beat else True,
        "trace.lastEventAt": seen.trace if running else True,
    }
    return [name for name, value in wanted.items() if value is None]


BACKEND: Final = QueueBackend(
    settings=CodeQueueSettings,
    open=_open,
    check=_check,
    queues=lambda own: own.specs,
    file=FILE,
    stored=_stored,
)
