"""`wavekeeper run`: supervise, and show what happens: a live table, or one line per change."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, get_args

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console, OutputLostError
from agent.cli.stopping import Stop, signals
from agent.cli.views import picture
from agent.core.journal.records import TaskRecord
from agent.core.model.actions import Action, Cleared, word
from agent.core.model.durations import seconds
from agent.core.model.nouns import Mode
from agent.core.plan.planner import Decision
from agent.errors import UnusableStoreError, UserError
from agent.runtime.context import Ports, Supervision
from agent.runtime.executor import Done
from agent.runtime.status import StatusReader
from agent.runtime.tick import TickResult

_COSTLY: Final = 20
"""Looking may take one part in so many of the time between two ticks."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command line."""

    mode: str | None = None
    interval: str | None = None
    once: bool = False
    until_done: bool = False


def run(console: Console, settings: Settings, asked: Asked) -> int:
    """Supervise until a signal comes, or for as long as was asked; the exit code."""
    policy = wiring.policy_of(settings)
    how = wiring.supervision(settings, policy, _mode(asked.mode), _interval(asked.interval))
    _refuse(asked, how)
    with wiring.open_ports(settings, policy) as ports:
        show = Show(console, ports, how)
        show.stop = stop = Stop(idle=show.refresh, wake=lambda: was_answered(ports))

        def until(result: TickResult) -> bool:
            # After a change one more look, so that what was learnt is still written down.
            left = ports.store.task_records(settled=False)
            over = not left or (how.mode == "auto" and all_wait_for_a_person(left, result))
            return asked.once or (asked.until_done and over and not result.changed)

        with signals(stop), console.live():
            wiring.loop(settings, ports, how, show.tell, show.report).run(
                stop, until=until, **({"give_up_after": 1} if asked.once else {})
            )
        if show.lost:
            raise show.lost
        if stop.exit_code is not None:
            return stop.exit_code
        return _ending(console, ports) if asked.until_done else 0


def all_wait_for_a_person(left: Sequence[TaskRecord], result: TickResult) -> bool:
    """Whether nothing goes on before a question is answered. In `auto` nobody may be there."""
    waiting = {task for task in result.requests if task is not None}
    behind = [one for one in left if one.status == "planned" and one.spec.depends_on]
    for _ in behind:
        waiting |= {one.spec.id for one in behind if waiting & set(one.spec.depends_on)}
    return bool(left) and {one.spec.id for one in left} <= waiting


def was_answered(ports: Ports) -> bool:
    """A person has said something that the supervisor has not taken up."""
    try:
        return any(not request.seen for request in ports.approvals.unseen())
    except UnusableStoreError:
        return False  # the next tick says so


class Show:
    """Shows each tick: `tell` for every one, `refresh` while the loop waits for the next."""

    def __init__(self, console: Console, ports: Ports, how: Supervision) -> None:
        self.stop: Stop | None = None
        """Set when nobody reads any more."""
        self.lost: OutputLostError | None = None
        self._console = console
        self._ports, self._how = ports, how
        self._status_reader = StatusReader(ports, how)
        self._lines = Lines()
        self._foot = ""
        self._rest_until = 0.0

    def tell(self, result: TickResult) -> None:
        """What changed in this tick; on a terminal the table as well."""
        self._foot = f"tick {result.number} at {result.snapshot.now:%H:%M:%SZ}: {result.sentence}"
        self._rest_until = 0.0
        if result.policy is not self._how.policy:
            self._how = replace(self._how, policy=result.policy)
            self._status_reader = StatusReader(self._ports, self._how)
        try:
            for line in self._lines.of(result, sentences=self._console.plain):
                self._console.line(line)
        except OutputLostError as error:
            self._give_up(error)
        self.refresh()

    def report(self, line: str) -> None:
        """Something went wrong that does not stop the supervisor."""
        try:
            self._console.line(line)
        except OutputLostError as error:
            self._give_up(error)

    def refresh(self) -> None:
        """Draw the table anew, where there is one."""
        begun = time.monotonic()
        if self._console.plain or begun < self._rest_until or self.lost:
            return
        try:
            here = self._status_reader.look("this process")
            self._console.draw(picture(self._console, here, self._foot))
        except OutputLostError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001 - shown, and no reason to stop supervising
            self.report(f"the table cannot be drawn: {type(error).__name__}: {error}")
        ended = time.monotonic()
        self._rest_until = ended + _COSTLY * (ended - begun)

    def _give_up(self, error: OutputLostError) -> None:
        """Stop as cleanly as a signal would have it."""
        self.lost = error
        if self.stop is not None:
            self.stop.set()


class Lines:
    """One line per change. It remembers what it said last, so that nothing is said twice."""

    def __init__(self) -> None:
        self._sentence = ""
        self._held: set[tuple[object, ...]] = set()
        self._unreadable: dict[str, str] = {}

    def of(self, result: TickResult, *, sentences: bool) -> list[str]:
        """The lines about this tick; its sentence if nothing else is said and it is a new one."""
        front = f"{result.snapshot.now:%Y-%m-%dT%H:%M:%SZ} tick {result.number}"
        lines = [said for said in (result.policy_said, result.clock) if said]
        lines += [_done(one) for one in result.done]
        odd = {task.id: task.unreadable for task in result.snapshot.tasks if task.unreadable}
        lines += [
            f"{task} cannot be read: {why}"
            for task, why in odd.items()
            if self._unreadable.get(task) != why
        ]
        self._unreadable = odd
        held = {_key(one): one for one in result.decisions if _is_held(one)}
        lines += [
            _not_done(one, result.requests.get(one.proposal.task))
            for key, one in held.items()
            if key not in self._held
        ]
        self._held = set(held)
        if not lines and sentences and result.sentence != self._sentence:
            lines = [result.sentence]
        self._sentence = result.sentence
        return [f"{front} {line}" for line in lines]


def _done(one: Done) -> str:
    proposal = one.proposal
    result = "" if one.result == "done" else f" {one.result}"
    return f"{proposal.task or 'window'} {proposal.action}{result}: {proposal.reason} -> {one.said}"


def _is_held(one: Decision) -> bool:
    return not isinstance(one.clearance, Cleared) and one.proposal.action is not Action.LEAVE_ALONE


def _key(one: Decision) -> tuple[object, ...]:
    return one.proposal.task, one.proposal.attempt, one.proposal.action, one.clearance.rules


def _not_done(one: Decision, request: str | None) -> str:
    proposal, answer = one.proposal, one.clearance
    if request is not None:
        about = f"{proposal.task or 'window'} {proposal.action}"
        return f"{request} asks: {about}: {proposal.reason} (`wavekeeper approve` answers)"
    why = f"{word(answer)}: {', '.join(answer.rules)}"
    return f"{proposal.task or 'window'} {proposal.action} proposed: {proposal.reason} ({why})"


def _ending(console: Console, ports: Ports) -> int:
    """Say how the wave ended; 0 only if every task was accepted."""
    task_records, unreadable = ports.store.task_records(), ports.store.unreadable()
    asked = {one.proposal.task: one for one in ports.approvals.requests(live=True)}
    left = [one for one in task_records if one.status != "accepted"]
    if not (task_records or unreadable):
        console.line("no wave here yet; `wavekeeper submit WAVE.toml` plans one")
    elif not (left or unreadable):
        console.line(f"every task is accepted, {len(task_records)} of {len(task_records)}")
    for one in left:
        question = asked.get(one.spec.id)
        if question is not None:
            why = f"{question.id} waits for you (`wavekeeper approve`): {question.proposal.reason}"
        else:
            why = f"{one.status}, {one.why or 'no reason noted'}"
        console.line(f"{one.spec.id} is not accepted: {why}")
    for task, why in unreadable.items():
        console.line(f"{task} is not accepted: it cannot be read: {why}")
    return 1 if left or unreadable else 0


def _mode(asked: str | None) -> Mode | None:
    known: tuple[Mode, ...] = get_args(Mode)
    for mode in known:
        if asked == mode:
            return mode
    if asked is None:
        return None
    raise UserError(f"--mode {asked!r}: there are observe, approve and auto")


def _interval(asked: str | None) -> float | None:
    try:
        return None if asked is None else seconds(asked)
    except ValueError as error:
        raise UserError(f"--interval: {error}") from error


def _refuse(asked: Asked, how: Supervision) -> None:
    if asked.once and asked.until_done:
        raise UserError("--once and --until-done contradict each other; use one of them")
    if asked.until_done and how.mode == "observe":
        raise UserError("--until-done would never end: observe only proposes; use --mode auto")
