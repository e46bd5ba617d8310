"""What the agent of a task did: `wavekeeper logs` prints the trace of one attempt, event by event.

An event is untrusted text: its first line stands behind its time and kind, every other one behind a
mark of ours, so that no line of an agent looks like one of the program.
"""

import time
from collections.abc import Iterator
from typing import Final

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console
from agent.core.model.nouns import TERMINAL
from agent.core.model.queueing import TaskView, TraceEvent
from agent.errors import UserError
from agent.ports import TaskQueue

_PAGE: Final = 500
_BETWEEN_LOOKS: Final = 0.5
"""Seconds between two looks for new events when following."""
_KIND: Final = 13
"""Columns of the longest kind that the product itself gives."""


def logs(
    console: Console,
    settings: Settings,
    task: str,
    *,
    attempt: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Print the events of an attempt, oldest first. `attempt`: None: the latest.

    `follow` goes on until the attempt has ended. UserError: there is no such task or attempt.
    """
    with wiring.open_reading(settings) as ports:
        view = _view(ports.queue, task)
        number = view.attempt if attempt is None else attempt
        if not 1 <= number <= view.attempt:
            raise UserError(f"{task} has no attempt {number}; its latest is {view.attempt}")
        last = 0
        for event in _events(ports.queue, task, number, follow=follow):
            if as_json:
                console.json_line(event.model_dump(mode="json", exclude_none=True))
                continue
            if missing := event.sequence - last - 1:
                console.line(f"[{missing} events are not kept]")
            last = event.sequence
            _show(console, event)
        view = _view(ports.queue, task)
        if not as_json and view.attempt == number:
            state = f"{view.state}" if view.state in TERMINAL else f"{view.state}, goes on"
            used = f"; {view.used.words}" if view.used is not None else ""
            console.line(f"{task} attempt {number}: {state}{used}")


def _events(queue: TaskQueue, task: str, attempt: int, *, follow: bool) -> Iterator[TraceEvent]:
    after = 0
    while True:
        # Looked at first: what an attempt printed before it ended is in its trace then.
        view = _view(queue, task)
        is_over = view.attempt > attempt or view.state in TERMINAL
        found = queue.trace(task, attempt=attempt, after=after, limit=_PAGE)
        yield from found
        if found:
            after = found[-1].sequence
        elif is_over or not follow:
            return
        else:
            time.sleep(_BETWEEN_LOOKS)


def _view(queue: TaskQueue, task: str) -> TaskView:
    view = queue.get(task)
    if view is None:
        raise UserError(f"{task!r:.80} is no task of the queue; `wavekeeper status` lists them")
    return view


def _show(console: Console, event: TraceEvent) -> None:
    first, *more = console.lines(event.text) or [""]
    console.line_as_it_is(f"{event.at:%H:%M:%S} {event.kind:{_KIND}} {first}")
    for line in more:
        console.line_as_it_is(f"{'':{_KIND + 9}}| {line}")
