"""The only module that names both ports and adapters: which part plays which role."""

import os
import pwd
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent.adapters.agents.command import CommandRunner
from agent.adapters.code_queue.ledger import Ledger
from agent.adapters.common.git import remote_of
from agent.adapters.common.http import close_connections
from agent.adapters.common.lock import FileLock
from agent.adapters.common.machine import SystemClock, SystemMachine
from agent.adapters.common.sqlite import MEMORY
from agent.adapters.evidence.git import GitEvidence
from agent.adapters.files.config import NAME, Settings, find_settings, read_settings
from agent.adapters.files.policy import LOCK, WatchedPolicy, read_policy
from agent.adapters.files.wave import read_wave
from agent.adapters.git.worktrees import GitWorktrees
from agent.adapters.model.reviewer import EvidenceReviewer
from agent.adapters.model.templates import TemplateDrafter
from agent.adapters.queue.embedded import SqliteQueue
from agent.adapters.state.db import State
from agent.adapters.state.opening import open_state
from agent.core.assess.failures import same_failure
from agent.core.journal.records import TaskRecord, WaveRecord
from agent.core.model.nouns import Mode
from agent.core.model.policy import Policy
from agent.core.model.queueing import Cursor
from agent.errors import (
    ConfigurationError,
    PolicyError,
    UnusableStoreError,
    UserError,
    WaveFileError,
)
from agent.paths import Places
from agent.ports import Journal, Machine, TaskQueue, WaveStore
from agent.runtime.approval_answers import Answering
from agent.runtime.context import Ports, Supervision
from agent.runtime.loop import Loop
from agent.runtime.submit_wave import plan
from agent.runtime.tick import TickResult
from agent.runtime.worker import Worker, WorkerSettings
from agent.wiring_code_queue import open_code_queue
from agent.wiring_reading import review_limits, reviewer_of, writer_of
from agent.wiring_systems import (
    issues_in,
    probes_of,
    references_in,
    refuse_unknown_names,
    remedies_in,
)

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def settings_above(folder: Path) -> Settings:
    """The settings that hold in `folder`: its own, or those of the closest folder above it."""
    path = find_settings(folder)
    if path is None:
        raise ConfigurationError(f"no {NAME} here or above; run `wavekeeper init`")
    return read_settings(path)


def shipped(what: str) -> Path:
    """The folder `policies` or `prompts`: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "shipped" / what, package.parent / what):
        if folder.is_dir():
            return folder
    raise ConfigurationError(f"the folder {what!r} is missing; install wavekeeper again")


def policy_in(own: Path | None, repository: Path | None = None) -> Policy:
    """The shipped policy under the files of `own`; in `repository` they may only tighten it."""
    if own is not None and not own.is_dir():
        raise PolicyError(f"{own}: no such folder; name one with policy files, or none")
    project = own is not None and _is_project(own, repository)
    return read_policy(shipped("policies"), own, project=project)


def policy_unlocked(own: Path) -> tuple[Policy, Path]:
    """The policy before its authority is compared with a lock, and the lock it would be held to."""
    if not own.is_dir():
        raise PolicyError(f"{own}: no such folder; name the one with your policy files")
    if _is_project(own):
        why = "lies in the repository under supervision, where a lock is nobody's review"
        raise PolicyError(f"{own}: {why}; keep the folder outside of it")
    held = own / LOCK
    lock = held if held.exists() else shipped("policies") / LOCK
    return read_policy(shipped("policies"), own, locked=False), lock


def _is_project(own: Path, repository: Path | None = None) -> bool:
    if repository is None:
        settings = find_settings(own.resolve())
        repository = read_settings(settings).repository if settings else None
    return repository is not None and own.resolve().is_relative_to(repository.resolve())


def policy_of(settings: Settings) -> Policy:
    """The policy that the configuration names."""
    return policy_in(settings.policies, settings.repository)


def watched_policy(settings: Settings, in_force: Policy) -> WatchedPolicy:
    """The same policy, read again whenever one of its files has changed."""
    folders = [shipped("policies"), *([settings.policies] if settings.policies else [])]
    return WatchedPolicy(lambda: policy_of(settings), folders, in_force.hash)


def remote(settings: Settings, *, push: bool = False) -> str:
    """The address or path that evidence is read from; `push`: that everybody pushes to."""
    return remote_of(settings.repository, settings.remote, push=push)


@contextmanager
def open_queue(settings: Settings) -> Iterator[SqliteQueue]:
    """The embedded queue, with its queues configured."""
    if settings.code_queue is not None:
        raise ConfigurationError(
            "[queue] names a Code Queue, which has workers of its own; "
            "`wavekeeper work` is for the embedded queue",
        )
    places = _places(settings)
    with SqliteQueue(places.queue, SystemClock().now) as queue:
        for spec in settings.queues:
            queue.configure(spec)
        yield queue


@contextmanager
def _supervised(
    settings: Settings, policy: Policy, machine: Machine, store: WaveStore
) -> Iterator[TaskQueue]:
    """The queue that is supervised."""
    if settings.code_queue is not None:
        with open_code_queue(
            settings.code_queue,
            _places(settings).state,
            lambda: policy.submit.is_low(machine.free_memory()),
        ) as code_queue:
            yield code_queue
        return
    with open_queue(settings) as queue:
        _refuse_lost_tasks(_queue_file(settings), queue, store)
        yield queue


@contextmanager
def open_journal(settings: Settings) -> Iterator[Journal]:
    """The journal that is there, to be read. UserError if nothing was recorded yet."""
    path = Places(settings.state).own
    with open_state(path, make=False) as state:
        if state.path != path:
            raise UserError(f"{path} is not there; `wavekeeper run` writes it")
        yield state.journal


@contextmanager
def open_ports(settings: Settings, policy: Policy, key: str | None = None) -> Iterator[Ports]:
    """Everything the supervisor sees, opened and closed. `key`: instead of the environment's."""
    places = _places(settings)
    prompts = shipped("prompts")
    with ExitStack() as stack:
        stack.callback(close_connections)
        state = stack.enter_context(open_state(places.own))
        _refuse_a_lost_file(_queue_file(settings), state.waves)
        git = GitEvidence(remote(settings), places.evidence, policy.completion.documents)
        machine = SystemMachine()
        queue = stack.enter_context(_supervised(settings, policy, machine, state.waves))
        _refuse_unknown_tasks(settings, state, queue)
        yield Ports(
            clock=SystemClock(),
            queue=queue,
            store=state.waves,
            journal=state.journal,
            issues=issues_in(settings.issues, places.issues),
            reviewer=reviewer_of(settings.model, prompts, key),
            drafter=TemplateDrafter(prompts),
            probes=probes_of(settings.services, git),
            diffs=git,
            writer=writer_of(settings.model, prompts, key),
            machine=machine,
            remedies=remedies_in(settings.remedies, places.state / "remedies"),
            references=references_in(
                (remote(settings), remote(settings, push=True)),
                places.state / "references",
                policy.completion.documents,
            ),
            approvals=state.approvals,
            state=state,
            policies=watched_policy(settings, policy),
        )


@contextmanager
def open_reading(settings: Settings) -> Iterator[Ports]:
    """What the supervisor knows, without its lock: nothing is made, changed or probed."""
    places, clock = Places(settings.state), SystemClock()
    _refuse_no_folder(settings.state)
    with ExitStack() as stack:
        state = stack.enter_context(open_state(places.own, make=False))
        _refuse_a_lost_file(_queue_file(settings), state.waves)
        queue: TaskQueue
        if settings.code_queue is not None and places.code_queue.exists():
            queue = stack.enter_context(open_code_queue(settings.code_queue, settings.state))
        elif settings.code_queue is None and places.queue.exists():
            # A clock that stands still lets no lease run out, so reading has nothing to write.
            queue = stack.enter_context(SqliteQueue(places.queue, lambda: _LONG_AGO))
            _refuse_lost_tasks(places.queue, queue, state.waves)
        else:
            queue = stack.enter_context(SqliteQueue(MEMORY, clock.now))
            for spec in settings.queues:
                queue.configure(spec)
        _refuse_unknown_tasks(settings, state, queue)
        yield Ports(
            clock=clock,
            queue=queue,
            store=state.waves,
            journal=state.journal,
            issues=issues_in(settings.issues, places.issues),
            reviewer=EvidenceReviewer(),
            drafter=TemplateDrafter(shipped("prompts")),
            probes=(),
            approvals=state.approvals,
            state=state,
        )


@contextmanager
def open_answering(settings: Settings, policy: Policy) -> Iterator[Answering]:
    """What a person needs to answer questions; nothing is locked, so that several may."""
    with open_reading(settings) as ports:
        yield Answering(ports, policy, _who())


def _who() -> str:
    """As the system knows the user, whatever the environment says."""
    names = {user.pw_uid: user.pw_name for user in pwd.getpwall()}
    return f"{names.get(os.getuid(), f'user {os.getuid()}')}@{socket.gethostname()}"


def supervision(
    settings: Settings, policy: Policy, mode: Mode | None = None, interval: float | None = None
) -> Supervision:
    """How this supervisor works; what the command line says comes before the configuration."""
    return Supervision(
        policy=policy,
        mode=mode or settings.supervisor.mode,
        interval=interval or settings.supervisor.interval,
        host=settings.supervisor.host,
        review_limits=review_limits(settings.model),
    )


def supervision_seen(
    settings: Settings, policy: Policy, ports: Ports, held_by: str | None
) -> Supervision:
    """How the supervisor that is at work works; the configured way if none is."""
    notes = ports.store.notes()
    if held_by is None or "supervision" not in notes:
        return supervision(settings, policy)
    mode, _, interval = notes["supervision"].partition(" ")
    known: dict[str, Mode] = {"observe": "observe", "approve": "approve", "auto": "auto"}
    return supervision(settings, policy, known.get(mode), float(interval))


def loop(
    settings: Settings,
    ports: Ports,
    how: Supervision,
    tell: Callable[[TickResult], None],
    report: Callable[[str], None],
) -> Loop:
    """The supervisor's loop, with its lock."""

    def told(result: TickResult) -> None:
        # For `supervision_seen`: the command line may have said otherwise than the configuration.
        ports.store.note({"supervision": f"{how.mode} {how.interval}"})
        ports.state.seal()
        tell(result)

    who = f"wavekeeper run on {socket.gethostname()}"
    return Loop(ports, how, FileLock(_places(settings).lock), who, told, report)


def holder(settings: Settings) -> str | None:
    """Who supervises here, if anybody does."""
    return FileLock(Places(settings.state).lock).holder()


def check(settings: Settings, path: Path) -> tuple[WaveRecord, list[TaskRecord]]:
    """Read and check a wave: what it is, and its tasks with their prompts. Nothing is stored."""
    wave = read_wave(path)
    refuse_unknown_names(path, wave, settings)
    record = WaveRecord(
        id=wave.id,
        goal=wave.goal,
        grants=wave.grants,
        submitted_at=SystemClock().now(),
        source=str(path.resolve()),
    )
    drafter, completion = TemplateDrafter(shipped("prompts")), policy_of(settings).completion
    task_records, refusals = plan(record, wave.tasks, drafter, completion)
    if refusals:
        first = refusals[0]
        raise WaveFileError(
            f"{path}:{wave.lines[first.task]}: task {first.task}: {first.findings[0].message}",
        )
    return record, task_records


def submit(settings: Settings, path: Path) -> tuple[WaveRecord, int, bool]:
    """Read, check and store a wave: what it is, how many tasks, and whether it is new."""
    record, task_records = check(settings, path)
    with open_state(_places(settings).own) as state:
        return record, len(task_records), state.waves.add_wave(record, task_records)


def worker(
    settings: Settings, queue: SqliteQueue, policy: Policy, name: str, tell: Callable[[str], None]
) -> Worker:
    """One worker host on this machine."""
    own = settings.worker
    if own.command is None:
        raise ConfigurationError(
            "[worker] names no command; write the coding agent's, such as "
            'command = ["my-agent", "--flag"], into wavekeeper.toml',
        )
    clock, places = SystemClock(), _places(settings)
    env = {**own.environment, "PATH": worker_path(settings)}
    return Worker(
        source=queue,
        runner=CommandRunner(
            own.command, prompt=own.prompt, output=own.output, env=env, now=clock.now,
            scope=str(places.state),
        ),
        worktrees=GitWorktrees(
            remote(settings), own.workspace, places.clone, remote(settings, push=True)
        ),
        clock=clock,
        settings=WorkerSettings(
            name=name,
            queues=own.queues or tuple(spec.id for spec in settings.queues),
            slots=own.slots,
            lease=own.lease,
            beat_every=own.heartbeat,
            poll_every=min(1.0, own.heartbeat),
            grace=own.grace,
            time_limit=own.time_limit,
            folder=places.runs / name,
        ),
        tell=tell,
        same_failure=lambda result, mark: same_failure(result, mark, policy.failures),
    )  # fmt: skip


def worker_path(settings: Settings) -> str:
    """Where agents and acceptance commands find programs."""
    own = settings.worker
    inherited = own.environment.get("PATH", os.environ.get("PATH", os.defpath))
    return os.pathsep.join([*(str(folder) for folder in own.path), inherited])


def _queue_file(settings: Settings) -> Path:
    """Without it nobody knows the tasks that were submitted."""
    places = Places(settings.state)
    return places.queue if settings.code_queue is None else places.code_queue


def _refuse_a_lost_file(file: Path, store: WaveStore) -> None:
    """A new and empty queue in the place of one that was read would look like lost work."""
    if "cursor" not in store.notes():
        return
    if not file.exists():
        raise UnusableStoreError(f"{file} is gone; restore it, the tasks are in it")
    if not file.stat().st_size:
        raise UnusableStoreError(f"{file} is empty; restore it, the tasks were in it")


def _refuse_lost_tasks(file: Path, queue: SqliteQueue, store: WaveStore) -> None:
    """Another file in the place of the one that was read, or an older copy of it."""
    cursor = store.notes().get("cursor")
    if cursor is not None and not queue.knows(Cursor(position=cursor)):
        raise UnusableStoreError(
            f"{file} is another queue than the one that was read, or an older copy of it; "
            "restore the latest, the tasks are in it",
        )
    submitted = [one for one in store.task_records(settled=False) if one.status == "submitted"]
    if missing := queue.missing(one.spec.id for one in submitted):
        raise UnusableStoreError(
            f"{file} does not hold {missing[0]}, which was submitted; restore the latest copy",
        )


def _refuse_unknown_tasks(settings: Settings, state: State, queue: TaskQueue) -> None:
    """A new and empty state in the place of one that had tasks at work would start them again."""
    file, places = _queue_file(settings), Places(settings.state)
    if state.has_submitted or not file.exists():
        return
    if settings.code_queue is None:
        held = sum(sum(one.counts.values()) for one in queue.queues())
    else:
        with Ledger(file) as ledger:
            held = len(ledger.all_tracked())
    if held:
        raise UnusableStoreError(
            f"{file}: it holds tasks ({held}), and {places.own.name} knows of none that were "
            f"submitted; restore {places.own.name} from a backup, or name another state folder",
        )


def _refuse_no_folder(state: Path) -> None:
    """What is there must be a folder; not to be there is fine for those who only read."""
    try:
        fine = state.is_dir() or not state.exists()
        reason = "it is no folder"
    except OSError as error:
        fine, reason = False, error.strerror or "it cannot be seen"
    if not fine:
        raise ConfigurationError(
            f"the state folder {state} cannot be used ({reason}); name another in {NAME}",
        )


def _places(settings: Settings) -> Places:
    ignored = settings.state / ".gitignore"
    try:
        settings.state.mkdir(parents=True, exist_ok=True)
        # The state folder often lies inside the user's repository, where none of it belongs.
        if not ignored.exists() and not (settings.state / ".git").exists():
            ignored.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the state folder {settings.state} cannot be made ({error.strerror}); "
            "name another one in wavekeeper.toml",
        ) from error
    return Places(settings.state)
