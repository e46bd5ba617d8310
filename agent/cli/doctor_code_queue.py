"""What `wavekeeper doctor` says of a Code Queue. It only reads."""

import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

from agent.adapters.code_queue import words as shape
from agent.adapters.code_queue.config import CodeQueueSettings
from agent.adapters.code_queue.reader import Way
from agent.adapters.code_queue.words import Listing, Names, Seen
from agent.errors import NoAnswerError, WavekeeperError
from agent.wiring_code_queue import ways_to


class Found(NamedTuple):
    """One thing that was looked at, in the words of a check."""

    name: str
    state: Literal["ok", "warn", "fail"]
    said: str
    fix: str | None = None


def examine_code_queue(own: CodeQueueSettings) -> Iterator[Found]:
    """Each way to it, whether they agree, its queues, and what it does not say of a task."""
    names = Names(own.fields)
    try:
        ways = ways_to(own)
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
        yield Found("code queue", "fail", str(error))


def _answers(way: Way, names: Names) -> tuple[Found, Listing | None]:
    name = f"code queue by {way.name}"
    begun = time.monotonic()
    try:
        listing = shape.listing(way.ask("queues", {}), names)
    except NoAnswerError as error:
        fix = "see that it runs and answers here; `timeout` says how long it may take"
        return Found(name, "fail", str(error), fix), None
    except WavekeeperError as error:
        fix = "see what it answers to `queues`; [queue.commands], [queue.http] and [queue.fields]"
        return Found(name, "fail", str(error), f"{fix} say what is asked and read"), None
    took = f"answers in {time.monotonic() - begun:.1f} s, {len(listing.lanes)} queues"
    said = f"{took}; {', '.join(listing.diagnostics) or 'no diagnostics'}"
    if listing.reachable is None:
        fix = 'name the field under [queue.fields] as "queues.controlPlane.reachable"'
        lack = f"{took}; it does not say that its control plane is reachable: nothing will be done"
        return Found(name, "warn", lack, fix), listing
    if not listing.reachable:
        fix = "mend the control plane; until then the supervisor only observes"
        return Found(name, "fail", f"{took}; its control plane is not reachable", fix), listing
    return Found(name, "ok", said), listing


def _agreement(read: list[Listing]) -> Found:
    if read[0].essence == read[1].essence:
        return Found("proxy", "ok", "command line and proxy say the same")
    said = "command line and proxy say different things (proxy-divergence)"
    return Found("proxy", "warn", said, "see whether both lead to the same Code Queue")


def _queues(own: CodeQueueSettings, listing: Listing) -> Found:
    shown = {lane.id: lane for lane in listing.lanes}
    if missing := [spec.id for spec in own.specs if spec.id not in shown]:
        said = f"{', '.join(missing)}: not there; there are {', '.join(shown) or 'none'}"
        return Found("queues", "fail", said, "create them there, or mend [[queue.queues]]")
    configured = {spec.id: spec.kind for spec in own.specs}
    kinds = {name: lane.kind or configured.get(name) for name, lane in shown.items()}
    if "infrastructure" in kinds.values():
        return Found("queues", "ok", ", ".join(kinds))
    said = f"{', '.join(kinds) or 'none'}: none of kind infrastructure, so shared defects stay"
    return Found("queues", "warn", f"{said} unmended", "make one queue of that kind")


def _one_task(way: Way, listing: Listing, names: Names) -> Iterator[Found]:
    """A task of the listing, whoever's it is, shows which fields are found."""
    active = [task for lane in listing.lanes for task in lane.active or ()]
    for remote in [*active, *sorted(listing.mentioned)][:1]:
        try:
            seen = shape.task(way.ask("task", {"task": remote}), remote, names)
        except WavekeeperError as error:
            fix = "see what it answers to `task`; [queue.fields] says where each field stands"
            yield Found("task", "fail", str(error), fix)
            return
        lacking = _lacking(seen)
        said = f"{remote} is read"
        if not lacking:
            yield Found("task", "ok", said)
            return
        fix = "if it shows them under other names, say so under [queue.fields]"
        yield Found("task", "warn", f"{said}; it does not say: {', '.join(lacking)}", fix)


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
