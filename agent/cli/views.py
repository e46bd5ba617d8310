"""How a live map looks: `status` as a page, `run` as a picture that fits the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Group, OverflowMethod, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.console import Console
from agent.core.guard.guard import OBSERVING
from agent.core.model.actions import Action
from agent.core.model.nouns import TERMINAL, Queue
from agent.runtime.status import Blocker, LiveMap, MappedTask

_GROUPS: Final = {
    "needs-you": "NEEDS YOU",
    "working": "WORKING",
    "waiting": "WAITING",
    "done": "DONE",
}
_MARK: Final = "."
"""The column of marks; it has no heading."""
_HEADINGS: Final = {one: one for one in (_MARK, "TASK", "STATUS", "TRY", "AGE", "QUIET")}
_LAST: Final = "NEXT / WHY"
_SPARED: Final = ("TRY", "QUIET", "AGE", "STATUS")
_LAST_AT_LEAST: Final = 24
_TASK_AT_MOST: Final = 28
_DONE_SHOWN: Final = 10
"""Done tasks on the page; they are the ones that matter least, and all are in the JSON."""
_GAPS_SHOWN: Final = 3
_PICTURE_FRAME: Final = 6
"""Lines that are not tasks: head, counts, columns, what is left out, foot, and the cursor's."""
_STYLES: Final = {"?": "bold yellow", "!": "bold red", "*": "green", "+": "green"}
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def page(console: Console, here: LiveMap) -> Iterable[RenderableType]:
    """The whole map, one renderable after another."""
    for wave in here.waves:
        done = f"{wave.accepted} of {wave.tasks} accepted"
        done += f", {wave.tokens:,} tokens" if wave.tokens else ""
        yield console.text(f"wave {wave.id}: {wave.goal} ({done})", "bold")
    yield console.text(f"lanes: {_lanes(here)}; {here.lanes.advice}: {here.lanes.reason}")
    yield console.text(f"queues: {'; '.join(map(_queue, here.queues)) or 'none can be seen'}")
    yield console.text(f"supervisor: {_supervisor(here)}")
    yield from _warnings(console, here)
    if asked := [one.asked for one in here.tasks if one.asked and one.asked.state == "pending"]:
        oldest = duration(max(0.0, (here.now - min(one.at for one in asked)).total_seconds()))
        waits = "1 waits" if len(asked) == 1 else f"{len(asked)} wait"
        yield console.text(
            f"questions: {waits} for you, the oldest {oldest}; `wavekeeper approve` answers", "bold"
        )
    if here.unread:
        yield console.text(f"unread results: {', '.join(here.unread)}")
    yield console.text(f"now: {here.sentence}")
    headings = True
    for group, heading in _GROUPS.items():
        tasks = [task for task in here.tasks if task.group == group]
        beside = _beside_tasks(here) if group == "needs-you" else []
        if not (tasks or beside):
            continue
        yield Text("")
        yield console.text(f"{heading} ({len(tasks) + len(beside)})", "bold")
        for said in beside:
            yield _below(console, said)
        if not tasks:
            continue
        shown = tasks[-_DONE_SHOWN:] if group == "done" else tasks
        yield _table(console, shown, here.tasks, headings=headings, whole=True)
        headings = False
        if len(shown) < len(tasks):
            yield _below(console, f"and {len(tasks) - len(shown)} more; --json shows all")
    yield from _blockers(console, here.blockers)


def _beside_tasks(here: LiveMap) -> list[str]:
    """What needs a person and is no task's own state."""
    damaged = [f"{one.kind} {one.id} cannot be read: {one.why}" for one in here.damaged]
    return [*damaged, *here.remote]


def _warnings(console: Console, here: LiveMap) -> Iterable[RenderableType]:
    """What agents could do, and what they tried."""
    if here.agents is not None:
        yield console.text(f"agents: {here.agents}")
    for refused in here.refused:
        yield console.text(
            f"refused: `wavekeeper {refused.command}` came from an agent"
            f"{f' of {refused.task}' if refused.task else ''} at "
            f"{refused.at:%Y-%m-%d %H:%M:%SZ}; nothing was done, look what it does",
            "bold",
        )


def prompt(here: LiveMap) -> str:
    """The map in a few words, for a shell's prompt or the line of a terminal multiplexer."""
    at_risk = sum(one.group == "working" and _mark(one) == "!" for one in here.tasks)
    waves = ",".join(wave.id for wave in here.waves) or "-"
    parts = [f"wavekeeper {waves} {here.lanes.busy}/{here.lanes.limit}"]
    needs_you = here.counts.needs_you + len(_beside_tasks(here))
    parts += [f"{mark}{count}" for mark, count in (("?", needs_you), ("!", at_risk)) if count]
    return " ".join(parts)


def picture(console: Console, here: LiveMap, foot: str) -> RenderableType:
    """The map in at most as many lines as the terminal has, one for each task."""
    room = max(1, console.height - _PICTURE_FRAME)
    tasks = here.tasks[:room]
    parts: list[RenderableType] = [
        _cut(console.text(here.goal or "no wave yet", "bold")),
        _cut(console.text(f"lanes {_lanes(here)}, {_counts(here)}, mode {here.mode}")),
        _table(console, tasks, tasks, headings=True, whole=False),
    ]
    if len(tasks) < len(here.tasks):
        parts.append(_below(console, f"and {len(here.tasks) - len(tasks)} more"))
    parts.append(_cut(console.text(foot)))
    return Group(*parts)


def duration(seconds: float | None) -> str:
    """Seconds in words as short as they can be; nothing for None."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def _lanes(here: LiveMap) -> str:
    return f"{here.lanes.busy} of {here.lanes.limit} busy"


def _counts(here: LiveMap) -> str:
    counts = here.counts
    asked = counts.needs_you + len(_beside_tasks(here))
    needs = f"{asked} need{'s' if asked == 1 else ''} you"
    return f"{needs}, {counts.working} working, {counts.waiting} waiting, {counts.done} done"


def _queue(queue: Queue) -> str:
    held = [f"{count} {state}" for state, count in (queue.counts or {}).items() if count]
    return f"{queue.id} {', '.join(held) or 'empty'}"


def _supervisor(here: LiveMap) -> str:
    last = here.supervisor.last_tick_at
    ago = "no tick yet"
    if last is not None:
        ago = f"last tick {duration(max(0.0, (here.now - last).total_seconds()))} ago"
    if here.supervisor.by is None:
        return f"nobody; start `wavekeeper run` ({ago})"
    return f"{here.supervisor.by}, mode {here.mode}, {ago}"


def _blockers(console: Console, blockers: Sequence[Blocker]) -> Iterable[RenderableType]:
    if blockers:
        yield Text("")
        yield console.text(f"BLOCKERS ({len(blockers)})", "bold")
    for blocker in blockers:
        yield _below(console, _blocker(blocker))


def _blocker(blocker: Blocker) -> str:
    cause = ": ".join(part for part in (blocker.reason, blocker.subject) if part)
    parts = [f"{blocker.id} {blocker.status}", cause]
    parts.append(f"issue {blocker.issue}" if blocker.issue else "no issue yet")
    if blocker.fixed_by:
        parts.append(f"fixed by {blocker.fixed_by}")
    verb = "waits" if len(blocker.waiting) == 1 else "wait"
    parts.append(f"{', '.join(blocker.waiting)} {verb}" if blocker.waiting else "nobody waits")
    return "; ".join(part for part in parts if part)


def _table(
    console: Console,
    tasks: Sequence[MappedTask],
    among: Sequence[MappedTask],
    *,
    headings: bool,
    whole: bool,
) -> Table:
    """As wide as all the tasks in `among` need it.

    `whole`: what is too long goes on below; else it is cut off.
    """
    widths, last = _layout(console, among)
    table = Table(box=None, show_header=headings, padding=(0, 1, 0, 0), header_style="dim")
    for heading, width in widths.items():
        table.add_column(heading.strip(_MARK), width=width, no_wrap=True, overflow="ellipsis")
    overflow: OverflowMethod = "fold" if whole else "ellipsis"
    table.add_column(_LAST, width=last, no_wrap=not whole, overflow=overflow)
    for task in tasks:
        cells = _cells(task)
        style = _STYLES.get(cells[_MARK], "")
        shown = [console.text(cells[heading], style) for heading in widths]
        table.add_row(*shown, console.text(_next(task)))
        if whole and task.status in TERMINAL and not task.unread:
            for gap in task.evidence_gaps[:_GAPS_SHOWN]:
                table.add_row(*[""] * len(widths), console.text(f"gap: {gap}", "dim"))
    return table


def _layout(console: Console, tasks: Iterable[MappedTask]) -> tuple[dict[str, int], int | None]:
    """The width of each column but the last, and of the last; None: as wide as it needs to be.

    Where there is little room, the columns of `_SPARED` give way to the last one, in that order.
    """
    rows = [_cells(task) for task in tasks]
    widths = {
        heading: max(cell_len(console.clean(row[heading])) for row in (_HEADINGS, *rows))
        for heading in _HEADINGS
    }
    if console.width is None:
        return widths, None
    widths["TASK"] = min(widths["TASK"], _TASK_AT_MOST)
    for heading in _SPARED:
        if _room(console.width, widths) < _LAST_AT_LEAST:
            del widths[heading]
    return widths, max(1, _room(console.width, widths))


def _room(width: int, widths: Mapping[str, int]) -> int:
    """What is left for the last column; one blank follows each."""
    return width - sum(widths.values()) - len(widths) - 1


def _cells(task: MappedTask) -> dict[str, str]:
    """Every column but the last."""
    status = str(task.status or "unknown")
    return {
        _MARK: _mark(task),
        "TASK": task.id,
        "STATUS": f"{status}, unread" if task.unread else status,
        "TRY": str(task.attempt or ""),
        "AGE": duration(task.age),
        "QUIET": duration(task.silent_for),
    }


def _mark(task: MappedTask) -> str:
    """A state is a mark and a word, never a colour alone."""
    if task.group == "needs-you":
        return "?"
    if task.group == "working":
        return "*" if task.effective_liveness == "live" else "!"
    return "+" if task.status == "accepted" else " "


def _next(task: MappedTask) -> str:
    coming, asked = task.next, task.asked
    if (unknown := task.unknown) is not None:
        return (
            f"whether {unknown.action} took effect has been unknown since "
            f"{unknown.since:%Y-%m-%d %H:%MZ}; `wavekeeper explain {task.id}`"
        )
    if task.refused is not None:
        return f"its agent ran `wavekeeper {task.refused}`, which was refused; look what it does"
    if coming is None:
        return task.why or ""
    if asked is not None and asked.state == "pending":
        return f"{asked.request} asks: {asked.action}: {coming.reason}"
    if asked is not None and asked.state == "approved":
        by = f"{asked.answered_by} ({asked.request})"
        return f"{asked.action} approved by {by}; done at the next look"
    if coming.action is Action.LEAVE_ALONE:
        return coming.reason
    if coming.clearance == "cleared":
        return f"{coming.action} (cleared): {coming.reason}"
    if list(coming.rules) == [OBSERVING]:
        return f"would {coming.action}: {coming.reason}"
    return f"{coming.action} ({coming.clearance}: {coming.rules[0]}): {coming.reason}"


def _below(console: Console, text: str) -> Text:
    """Indented like the rows of a table."""
    return Text("  ").append_text(console.text(text))


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
