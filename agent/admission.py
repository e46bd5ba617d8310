"""From a wave file to a stored wave: what is refused, and what a person should know before it runs.

Nothing of a wave is stored unless all of it is in order.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from agent import wiring
from agent.adapters.common.git import GitError
from agent.adapters.common.git import run as run_git
from agent.adapters.common.machine import SystemClock
from agent.adapters.evidence.git import GitEvidence
from agent.adapters.files.config import Settings
from agent.adapters.files.toml import did_you_mean
from agent.adapters.files.wave import WaveFile, read_wave
from agent.adapters.model.templates import TemplateDrafter
from agent.adapters.state.opening import open_state
from agent.core.assess.branches import OnRemote, refusals
from agent.core.assess.judging_files import changed_judges
from agent.core.assess.write_scopes import covers
from agent.core.journal.records import TaskRecord, WaveRecord
from agent.core.model.secrets import SHAPES
from agent.core.model.text import code
from agent.errors import ConfigurationError, RemoteUnavailableError, WaveFileError
from agent.paths import Places
from agent.ports import WaveStore
from agent.runtime.crossings import clean_drafter
from agent.runtime.submit_wave import plan


@dataclass(frozen=True, slots=True)
class Checked:
    """A wave that may be planned."""

    record: WaveRecord
    task_records: list[TaskRecord]
    warnings: tuple[str, ...]
    """What a person should know before it runs, one line each."""


def check(settings: Settings, path: Path, known: WaveStore | None = None) -> Checked:
    """Read and check a wave: what it is, and its tasks with their prompts. Nothing is stored.

    `known`: the waves that are there; a wave that is among them keeps its branches.
    """
    wave = read_wave(path)
    _refuse_unknown_names(path, wave, settings)
    warnings = [] if _is_there(wave, known) else _refuse_taken_branches(path, wave, settings, known)
    record = WaveRecord(
        id=wave.id,
        goal=wave.goal,
        grants=wave.grants,
        submitted_at=SystemClock().now(),
        source=str(path.resolve()),
    )
    secrets, completion = wiring.redactor(settings), wiring.policy_of(settings).completion
    drafter = clean_drafter(TemplateDrafter(wiring.shipped("prompts")), secrets)
    for task in wave.tasks:
        for command in task.acceptance_commands:
            words = shlex.join(command.argv)
            if secrets.text(words) != SHAPES.text(words):
                raise WaveFileError(
                    f"{path}:{wave.lines[task.id]}: task {task.id}: an acceptance command holds "
                    "the value of a configured variable; let the command read the variable",
                )
    # A person's words go into prompts and issues as well. Commands stay: they have to run.
    record, tasks = secrets.all(record), secrets.all(tuple(wave.tasks))
    task_records, refused = plan(record, tasks, drafter, completion)
    if refused:
        first = refused[0]
        raise WaveFileError(
            f"{path}:{wave.lines[first.task]}: task {first.task}: {first.findings[0].message}",
        )
    warnings += _warnings(wave, settings)
    return Checked(record, task_records, tuple(warnings))


def _is_there(wave: WaveFile, known: WaveStore | None) -> bool:
    return known is not None and wave.id in {one.id for one in known.waves()}


def _refuse_taken_branches(
    path: Path, wave: WaveFile, settings: Settings, known: WaveStore | None
) -> list[str]:
    """WaveFileError, one line, for a task whose branch is not free. What could not be seen."""
    seen, unseen = None, []
    try:
        with TemporaryDirectory(prefix="wavekeeper-") as folder:
            heads = GitEvidence(wiring.remote(settings), Path(folder), ()).heads(
                SystemClock().now()
            )
        seen = OnRemote(heads.default_name, frozenset(heads.branches))
    except (ConfigurationError, RemoteUnavailableError) as error:
        unseen = [f"whether the branches are free is not known: {error}"]
    records = known.task_records() if known is not None else ()
    owners = {one.spec.branch: f"task {one.spec.id} of wave {one.wave}" for one in records}
    for task, why in refusals(wave.tasks, owners, seen):
        raise WaveFileError(f"{path}:{wave.lines[task]}: task {task}: {why}")
    return unseen


def _warnings(wave: WaveFile, settings: Settings) -> list[str]:
    """Where a task may change what judges it, or where nothing has to show its change."""
    try:
        listed = run_git("ls-files", "-z", folder=settings.repository).split("\0")
    except GitError:
        listed = []
    found = []
    for task in wave.tasks:
        own = [one for one in listed if one and covers(task.write_scope, one)]
        judging = changed_judges([one.argv for one in task.acceptance_commands], own, {})
        judging = tuple(one for one in judging if not covers(task.protected, one))
        if judging:
            more = f" and {len(judging) - 1} more" if len(judging) > 1 else ""
            found.append(
                f"task {task.id} may change {code(judging[0])}{more}, which its acceptance "
                "commands run: list it under `protected` unless that is meant"
            )
        if task.shown_by == "push":
            found.append(
                f'task {task.id} says shown_by = "push": it is accepted although nothing shows '
                "that its change works"
            )
    return found


def _refuse_unknown_names(path: Path, wave: WaveFile, settings: Settings) -> None:
    """WaveFileError, one line, for a task whose queue or service is not configured."""
    known, services = {queue.id for queue in settings.queues}, settings.services
    for task in wave.tasks:
        if known and task.queue not in known:
            raise WaveFileError(
                f"{path}:{wave.lines[task.id]}: task {task.id} names the queue {task.queue!r}, "
                f"which wavekeeper.toml does not have; its queues are {', '.join(sorted(known))}",
            )
        if task.service is not None and task.service not in services:
            hint = did_you_mean(task.service, services) or (
                f"; its services are {', '.join(sorted(services))}"
                if services
                else "; add [services.NAME]"
            )
            raise WaveFileError(
                f"{path}:{wave.lines[task.id]}: task {task.id} names the service "
                f"{task.service!r:.80}, which wavekeeper.toml does not have{hint}",
            )


@contextmanager
def known_waves(settings: Settings) -> Iterator[WaveStore | None]:
    """The waves that are there, to be read; None: there is no state yet."""
    if not Places(settings.state).own.exists():
        yield None
        return
    with open_state(Places(settings.state).own, make=False) as state:
        yield state.waves


def submit(settings: Settings, path: Path) -> tuple[Checked, bool]:
    """Read, check and store a wave: what was checked, and whether it is new."""
    with open_state(wiring.places_of(settings).own) as state:
        checked = check(settings, path, state.waves)
        return checked, state.waves.add_wave(checked.record, checked.task_records)
