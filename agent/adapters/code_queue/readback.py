"""Finds out what became of a request to a Code Queue whose answer was lost. It sends nothing."""

from datetime import timedelta
from typing import Final

from agent.adapters.code_queue.ledger import Act, Ledger
from agent.adapters.code_queue.reader import Reader
from agent.adapters.code_queue.words import Seen
from agent.core.model.nouns import TERMINAL, Status
from agent.core.queue.rules import Effect, Halt, Move, Retry, Submit
from agent.errors import UnreadableAnswerError

_CANDIDATES: Final = 200
"""Tasks that are read to find one whose acknowledgement was lost."""
_EARLIER: Final = timedelta(minutes=5)
"""By so much the queue's clock may be behind ours."""


def found_again(
    reader: Reader, ledger: Ledger, act: Act, request: Submit, *, keys: bool
) -> Seen | None:
    """The task that a submit made, among those nobody of ours has a name for; None: not seen.

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


def became(request: Retry | Halt | Move, seen: Seen) -> Effect | None:
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
