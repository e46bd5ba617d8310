"""The judge host: claims ordered judgements, checks what is on the remote, hands in what it found.

It runs beside worker hosts or on a machine of its own, and knows the remote and the orders, but no
agent. A judgement has no stages: whoever takes it over begins it anew. What a killed host left
running carries the mark of its judgement, and the next host that has it ends it first.
"""

import hashlib
import shlex
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from agent.core.assess.check_results import SameFailure, assess, change_shown, conclude, failed
from agent.core.assess.judging_files import changed_judges, configures, to_put_back
from agent.core.assess.write_scopes import covers
from agent.core.model.actions import digest
from agent.core.model.nouns import Command, CommandResult, JudgeRecord
from agent.core.model.queueing import JudgeLease
from agent.core.model.text import one_line
from agent.errors import SpawnError, UnusableCommitError, WorktreeError
from agent.ports import Checkouts, CleanCheckout, Clock, JudgeSource, Prepared, Runner
from agent.runtime.heartbeat import OUT_OF_REACH
from agent.runtime.host_files import only_one, replace_file

_LONGEST_PAUSE: Final = 300.0
"""Seconds before a judgement is tried again, at most."""
_KEPT: Final = timedelta(days=30)
"""For which results on a base are kept."""
_NAMED: Final = 3
"""Paths that are named in a reason."""
_RESULTS: Final = TypeAdapter(tuple[CommandResult, ...])


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """The settings of a judge host. Durations are seconds."""

    name: str
    lease: float
    beat_every: float
    poll_every: float
    grace: float
    """From SIGTERM to SIGKILL, for what a host that is gone left running."""
    pause: float
    """Before a judgement that could not be made is tried again; twice as long each time."""
    folder: Path
    """For the results on bases, and for what a later host of this name must know."""
    heavy: bool = False
    """Whether it takes judgements with heavy commands."""
    slots: int = 1
    """Judgements at a time: two that run at once may slow each other down beyond a time limit."""


class _HaltedError(Exception):
    """The lease is lost, or the host stops: there is nothing to hand in."""


class JudgeHost:
    """One judge host. `tell` gets one line per change, from several threads."""

    def __init__(
        self,
        source: JudgeSource,
        checkouts: Checkouts,
        runner: Runner,
        clock: Clock,
        settings: JudgeSettings,
        tell: Callable[[str], None],
        same_failure: SameFailure,
    ) -> None:
        self.source = source
        self.checkouts = checkouts
        self.runner = runner
        self.clock = clock
        self.settings = settings
        self.tell = tell
        self.same_failure = same_failure
        self.stopping = threading.Event()
        self._failures: dict[str, int] = {}
        """By key, how often a judgement could not be made by this host."""
        self._fault: Exception | None = None
        self._cut_off = False
        """The last claim found the orders out of reach, and that was reported."""

    def run(self, stop: threading.Event) -> None:
        """Judge until `stop`; then none of our commands runs any more.

        LockHeldError: a host of this name is at work in this folder. A bug in one judgement stops
        the host, because nobody can tell what else it spoils.
        """
        self.stopping.clear()
        settings = self.settings
        with only_one(settings.folder, settings.name, "judge"):
            self._give_back()
            _forget_old(settings.folder / "base", self.clock.now() - _KEPT)
            threads = [
                threading.Thread(target=self._serve, name=f"judge {number}", args=(number,))
                for number in range(settings.slots)
            ]
            try:
                for thread in threads:
                    thread.start()
                while not stop.is_set() and self._fault is None:
                    stop.wait(settings.poll_every)
            finally:
                self.stopping.set()
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()
        if self._fault is not None:
            raise self._fault

    def _serve(self, number: int) -> None:
        note = self._note(number)
        try:
            while not self.stopping.is_set():
                lease = self._claim()
                if lease is None:
                    self.stopping.wait(self.settings.poll_every)
                    continue
                # On a full disk a later host of this name has to wait until the lease runs out.
                with suppress(OSError):
                    replace_file(note, lease.model_dump_json())
                _Judging(self, lease).go()
                with suppress(OSError):
                    note.unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - recorded; `run` raises it again
            self._fault = error
            self.tell(f"a bug stops the judge host: {type(error).__name__}")

    def _claim(self) -> JudgeLease | None:
        settings = self.settings
        try:
            lease = self.source.claim(settings.name, lease=settings.lease, heavy=settings.heavy)
        except OUT_OF_REACH as error:
            if not self._cut_off:
                self.tell(f"no judgements for now, the orders are out of reach: {error}")
            self._cut_off = True
            return None
        self._cut_off = False
        return lease

    def _note(self, number: int | str) -> Path:
        name = hashlib.sha256(self.settings.name.encode()).hexdigest()[:12]
        return self.settings.folder / f".lease-{name}-{number}"

    def _give_back(self) -> None:
        """What an earlier host of this name had when it was killed, so that nobody waits for it."""
        for path in sorted(self.settings.folder.glob(self._note("*").name)):
            with suppress(OSError, ValidationError, *OUT_OF_REACH):
                lease = JudgeLease.model_validate_json(path.read_bytes())
                self.sweep(lease)
                self.source.beat(lease, extend=0)
            with suppress(OSError):
                path.unlink()

    def sweep(self, lease: JudgeLease) -> None:
        """End what an earlier holder of this judgement left running."""
        self.runner.sweep(owner(lease), before=2, grace=self.settings.grace)

    def pause(self, key: str) -> float:
        """How long this judgement waits, now that it could not be made once more."""
        times = self._failures[key] = self._failures.get(key, 0) + 1
        return float(min(_LONGEST_PAUSE, self.settings.pause * 2 ** (min(times, 30) - 1)))

    def done(self, key: str) -> None:
        """Forget how often it could not be made."""
        self._failures.pop(key, None)


def owner(lease: JudgeLease) -> str:
    """Whose the processes of a judgement are: no task has such a name, and no worker ends them."""
    return f"judge:{hashlib.sha256(lease.key.encode()).hexdigest()[:16]}"


class _Judging:
    """One judgement by one holder of its lease."""

    def __init__(self, host: JudgeHost, lease: JudgeLease) -> None:
        self._host = host
        self._lease = lease
        self._order = lease.order
        self._title = f"{lease.order.task} attempt {lease.order.attempt}"
        # A command sees its mark, so it is not the token, by which a record is believed.
        digest = hashlib.sha256(b"mark " + lease.token.encode()).hexdigest()[:32]
        self._mark = f"{owner(lease)}/1/{digest}"
        self._keeper = _LeaseKeeper(host, lease)

    def go(self) -> None:
        host = self._host
        host.tell(f"{self._title}: judging")
        try:
            with self._keeper:
                host.sweep(self._lease)
                self._hand_in(self._judged())
        except _HaltedError:
            if self._keeper.lost:
                host.tell(f"{self._title}: not judged, another host has it")
            else:
                self._give_up(0, "not judged, the judge host stops")
        except (OSError, SpawnError, WorktreeError) as error:
            pause = host.pause(self._lease.key)
            why = one_line(str(error))
            self._give_up(pause, f"cannot be judged now, again in {pause:g} s: {why}")

    def _give_up(self, pause: float, why: str) -> None:
        """Let the lease run out after `pause` seconds: until then nobody tries, then anybody."""
        with suppress(*OUT_OF_REACH):
            self._host.source.beat(self._lease, extend=pause)
        self._host.tell(f"{self._title}: {why}")

    def _hand_in(self, record: JudgeRecord) -> None:
        host, told = self._host, False
        while True:
            try:
                taken = host.source.finish(self._lease, record)
                break
            except OUT_OF_REACH as error:
                if not told:
                    host.tell(f"{self._title}: the orders are out of reach: {error}")
                told = True
            if self._keeper.halted.wait(host.settings.poll_every):
                raise _HaltedError
        host.done(self._lease.key)
        how = f"judged {record.verdict}" if taken else "judged too late, another host has it"
        host.tell(f"{self._title}: {how}")

    def _judged(self) -> JudgeRecord:
        order, checkouts = self._order, self._host.checkouts
        commit = checkouts.find(order.branch, order.commit)
        if commit is None:
            return self._unknown(self._missing())
        base = order.base and checkouts.find(order.branch, order.base)
        if order.base and base is None and order.protected:
            why = f"commit {order.base} is no longer on origin, so nothing is protected by it"
            return self._unknown(why, commit)
        try:
            return self._of_commit(commit, base or None)
        except UnusableCommitError as error:
            return self._unknown(one_line(str(error)), commit)

    def _missing(self) -> str:
        if self._order.commit is not None:
            return f"commit {self._order.commit} is no longer on origin"
        branch = self._order.branch
        return "origin is empty" if branch is None else f"there is no origin/{branch}"

    def _unknown(self, reason: str, commit: str | None = None) -> JudgeRecord:
        host = self._host
        return JudgeRecord(
            verdict="unknown",
            at=host.clock.now(),
            commit=commit,
            reason=reason,
            host=host.settings.name,
        )

    def _of_commit(self, commit: str, base: str | None) -> JudgeRecord:
        order, host = self._order, self._host
        commands = order.commands
        prepared = host.checkouts.prepare(commit, base, order.protected)
        results, notes = self._results(prepared, lambda done: not done.ok)
        verdict, reason = conclude(commands, results)
        before: tuple[CommandResult, ...] = ()
        shown: bool | None = None
        # A commit that does not pass shows nothing, whatever the base did.
        if base is not None and verdict == "pass":
            try:
                before = self._before(base, prepared, results)
            except UnusableCommitError as error:
                notes.append(f"nothing could be run on the base: {one_line(str(error))}")
            shown = change_shown(commands, before, results)
            if shown:
                shown = self._by_what_was_there(base, prepared, before)
        elif order.base is not None and base is None:
            notes.append(f"the base {order.base} is no longer on origin")
        return JudgeRecord(
            verdict=verdict,
            at=host.clock.now(),
            commit=commit,
            commands=results,
            reason="; ".join([*([reason] if reason else []), *notes]) or None,
            base=base,
            base_commands=before,
            shown=shown,
            changed_judges=changed_judges(
                [one.argv for one in commands], prepared.changed, prepared.links
            ),
            restored=prepared.restored,
            host=host.settings.name,
        )

    def _by_what_was_there(
        self, base: str, judged: Prepared, before: tuple[CommandResult, ...]
    ) -> bool:
        """Whether the change shows as well if the attempt did not change what judges it."""
        order = self._order
        paths = to_put_back(
            [one.argv for one in order.commands], judged.changed, judged.links, judged.before
        )
        own = set(paths).difference(judged.restored)
        if not own:
            return True
        prepared = self._host.checkouts.prepare(judged.commit, base, (*order.protected, *own))
        if not own.issubset(prepared.restored):
            return False
        results, _ = self._results(prepared, lambda done: not done.ok)
        passes = conclude(order.commands, results)[0] == "pass"
        return passes and change_shown(order.commands, before, results) is True

    def _before(
        self, base: str, judged: Prepared, after: tuple[CommandResult, ...]
    ) -> tuple[CommandResult, ...]:
        """The results on the base, as far as they are needed; kept, because bases are shared."""
        prepared = self._host.checkouts.prepare(base, None, ())
        commands = self._order.commands
        if prepared.tree == judged.tree:
            # The change consists of what was put back, or of nothing.
            return after
        kept = self._kept(prepared.tree)
        with suppress(OSError, ValidationError):
            return _RESULTS.validate_json(kept.read_bytes())

        def is_last(result: CommandResult) -> bool:
            # One failure shows the change, and after one that nobody can judge nothing does.
            command = commands[len(seen)]
            seen.append(result)
            return command.expect == "passes" and not result.ok

        seen: list[CommandResult] = []
        results, _ = self._results(prepared, is_last)
        if all(one.ok or failed(one) for one in results):
            with suppress(OSError):
                kept.parent.mkdir(parents=True, exist_ok=True)
                replace_file(kept, _RESULTS.dump_json(results).decode())
        return results

    def _kept(self, tree: str) -> Path:
        commands = [one.model_dump(mode="json") for one in self._order.commands]
        name = digest([tree, commands, list(self._order.protected)])
        return self._host.settings.folder / "base" / f"{name}.json"

    def _results(
        self, prepared: Prepared, is_last: Callable[[CommandResult], bool]
    ) -> tuple[tuple[CommandResult, ...], list[str]]:
        """The assessed results up to the last one, and a note for each that changed the tree."""
        results: list[CommandResult] = []
        notes: list[str] = []
        with self._host.checkouts.checkout(prepared) as checkout:
            for command in self._order.commands:
                result = self._ran(command, checkout)
                results.append(result)
                changed = checkout.restore(self._is_unwanted)
                if changed:
                    notes.append(f"{shlex.join(command.argv)} changed {_named(changed)}")
                if is_last(result):
                    break
        return tuple(results), notes

    def _ran(self, command: Command, checkout: CleanCheckout) -> CommandResult:
        keeper = self._keeper
        if keeper.is_halted():
            raise _HaltedError
        result = self._host.runner.check(
            command.argv,
            cwd=checkout.path,
            mark=self._mark,
            timeout=command.timeout,
            stop=keeper.is_halted,
            readable=checkout.readable,
        )
        if keeper.is_halted():
            raise _HaltedError
        return assess(command, result, self._host.same_failure)

    def _is_unwanted(self, path: str, beside: bool) -> bool:  # noqa: FBT001 - as in the port
        """What a command left that would decide how the next one judges."""
        if covers(self._order.protected, path):
            return True
        return beside and any(configures(one.argv, path) for one in self._order.commands)


class _LeaseKeeper:
    """Beats for one judgement on a thread of its own; `halted` is set when it must end."""

    def __init__(self, host: JudgeHost, lease: JudgeLease) -> None:
        self.halted = threading.Event()
        self.lost = False
        self._host = host
        self._lease = lease
        self._expires = lease.expires_at
        self._fault: Exception | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._go, name=f"beat {lease.order.task}")

    def is_halted(self) -> bool:
        """Whether there is nothing left to judge for."""
        if self._fault is not None:
            raise self._fault
        if self._host.stopping.is_set():
            self.halted.set()
        return self.halted.is_set()

    def __enter__(self) -> Self:
        """From here on the lease is kept."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """No beat is under way when this returns."""
        self._closed.set()
        self._thread.join()

    def _go(self) -> None:
        try:
            while not self._closed.wait(self._host.settings.beat_every):
                if not self._beat():
                    return
        except Exception as error:  # noqa: BLE001 - recorded; whoever asks raises it again
            self._fault = error
            self.halted.set()

    def _beat(self) -> bool:
        at, seconds = self._host.clock.now(), self._host.settings.lease
        try:
            self.lost = not self._host.source.beat(self._lease, extend=seconds)
        except OUT_OF_REACH:
            # For all we know another host has it once it has run out by our own clock.
            self.lost = self._host.clock.now() >= self._expires
        else:
            self._expires = at + timedelta(seconds=seconds)
        if self.lost:
            self.halted.set()
        if self._host.stopping.is_set():
            self.halted.set()
        return not self.lost


def _named(paths: Sequence[str]) -> str:
    shown = ", ".join(one_line(path) for path in paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{shown}{more}, which was put back"


def _forget_old(folder: Path, before: datetime) -> None:
    """Results on bases that were tried a long time ago."""
    with suppress(OSError):
        for path in folder.glob("*.json"):
            if path.stat().st_mtime < before.timestamp():
                path.unlink()
