"""Which adapter plays which role, as the settings name them.

A queue, an agent, a source of evidence and an issue tracker are backends, which the settings name
and `agent.backends` finds; the rest is put together here. A model's SDK takes seconds to import, so
only those who ask a model do it.
"""

# ruff: noqa: PLC0415 - the SDK, see above

import os
import pwd
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from agent.adapters.agents import isolation, users
from agent.adapters.agents.settings import CommandAgentSettings
from agent.adapters.common.git import remote_of
from agent.adapters.common.http import close_connections
from agent.adapters.common.lock import FileLock
from agent.adapters.common.machine import SystemClock, SystemMachine
from agent.adapters.common.sqlite import MEMORY
from agent.adapters.evidence.git import GitEvidence, Noted
from agent.adapters.evidence.judge import JudgeEvidence
from agent.adapters.evidence.settings import ServiceSettings
from agent.adapters.files.config import (
    NAME,
    ModelSettings,
    Settings,
    find_settings,
    read_settings,
)
from agent.adapters.files.policy import LOCK, WatchedPolicy, read_policy
from agent.adapters.files.secret_values import secret_values
from agent.adapters.git.checkouts import GitCheckouts
from agent.adapters.git.references import GitReferences
from agent.adapters.git.worktrees import GitWorktrees
from agent.adapters.model.evidence_reviewer import EvidenceReviewer
from agent.adapters.model.templates import TemplateDrafter
from agent.adapters.queue.embedded import SqliteQueue
from agent.adapters.queue.judgements import SqliteJudgements
from agent.adapters.remedies.command import CommandRemedies
from agent.adapters.state.db import State
from agent.adapters.state.opening import open_state
from agent.backends import AgentBackend, Boundary, Context, EvidenceBackend, Known, find
from agent.core.assess.failures import same_failure
from agent.core.journal.records import Record
from agent.core.model.nouns import Evidence, Mode, ProofKind
from agent.core.model.policy import Policy
from agent.core.model.queueing import TaskSpec, TaskView
from agent.core.model.secrets import Redactor
from agent.core.model.text import one_line
from agent.core.review.brief import Limits
from agent.errors import (
    ConfigurationError,
    PolicyError,
    UnusableStoreError,
    UserError,
)
from agent.paths import Places, SharedPlaces
from agent.ports import (
    EvidenceProbe,
    Journal,
    Judgements,
    JudgeSource,
    References,
    Reviewer,
    Runner,
    TaskQueue,
    WaveStore,
    WorkSource,
    Writer,
)
from agent.runtime.approval_answers import Answering
from agent.runtime.context import Ports, ReviewLimits, Supervision
from agent.runtime.crossings import (
    clean_judge_source,
    clean_ports,
    clean_source,
)
from agent.runtime.judging import JudgeHost, JudgeSettings
from agent.runtime.loop import Loop
from agent.runtime.status import REFUSED, RefusedCommand
from agent.runtime.tick import TickResult
from agent.runtime.watchdog import StallLimits
from agent.runtime.worker import Worker, WorkerSettings

if TYPE_CHECKING:
    from agent.adapters.model.anthropic_api import Asking, Endpoint


def settings_above(folder: Path) -> Settings:
    """The settings that hold in `folder`: its own, or those of the closest folder above it."""
    path = find_settings(folder)
    if path is None:
        raise ConfigurationError(f"no {NAME} here or above; run `wavekeeper init`")
    return read_settings(path)


def settings_if_any(folder: Path) -> Settings | None:
    """The same; None: there are none, or they cannot be read."""
    with suppress(ConfigurationError):
        return settings_above(folder)
    return None


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


def redactor(settings: Settings, key: str | None = None) -> Redactor:
    """What takes secrets out of text. `key`: that of the model, instead of the environment's."""
    values = secret_values(settings, os.environ)
    return Redactor(values | ({settings.model.key_variable: key} if key else {}))


def remote(settings: Settings, *, push: bool = False) -> str:
    """The address or path that evidence is read from; `push`: that everybody pushes to."""
    return remote_of(settings.repository, settings.remote, push=push)


def context(settings: Settings, *, reading: bool = False) -> Context:
    """What every backend is given."""
    return Context(state=settings.state, now=SystemClock().now, reading=reading)


def boundary(settings: Settings) -> Boundary:
    """What agents of this machine are kept from. ConfigurationError: it cannot be had here."""
    own = settings.worker
    addresses = (remote(settings, push=push).removeprefix("file://") for push in (False, True))
    files = (settings.policies, find_settings(Path.cwd()))
    found = Boundary(
        isolation=isolation.choose(own.isolation),
        clones=_clones(settings),
        hidden=tuple(
            one.resolve() for one in (settings.state, own.workspace, *files) if one is not None
        ),
        readable=own.readable,
        writable=own.writable,
        remotes=tuple({Path(one).resolve() for one in addresses if Path(one).is_dir()}),
        network=settings.judge.network,
        users=own.agent_users,
        workspace=own.workspace.resolve(),
    )
    if found.isolation == "user":
        pushed = Path(remote(settings, push=True).removeprefix("file://"))
        users.inspect(
            found,
            users.Guarded(
                state=settings.state,
                kept=[*_kept(settings), *(one for one in files if one is not None)],
                remote=pushed.resolve() if pushed.is_dir() else None,
            ),
        )
    return found


def _kept(settings: Settings) -> Iterator[Path]:
    """What this process runs, or believes: whoever can change it is the supervisor."""
    repository = settings.repository
    yield from () if settings.policies is None else settings.policies.glob("*.toml")
    yield from (repository, repository / ".git", repository / ".git" / "config")
    yield from (settings.worker.workspace, Path(__file__).parent)
    yield from (Path(sys.prefix), Path(sys.base_prefix))
    yield Path(sys.executable)
    yield from (Path(one) for one in os.get_exec_path() if Path(one).is_absolute())


def _clones(settings: Settings) -> Path:
    own = settings.worker
    if own.isolation == "user":
        return SharedPlaces(own.workspace.resolve()).clone
    return Places(settings.state).clone.resolve()


def _judge_folder(settings: Settings) -> Path:
    """Where the judge's clone and its checkouts are."""
    own = settings.worker
    if own.isolation == "user":
        return SharedPlaces(own.workspace.resolve()).judge
    return Places(settings.state).judge


def unprotected(settings: Settings) -> str | None:
    """A sentence where bubblewrap does not keep the agents of this machine apart, else None.

    It is about agents that these settings run: None where there are none.
    """
    if settings.queue.backend.work is None or settings.agent is None:
        return None
    with suppress(ConfigurationError):
        kind = isolation.choose(settings.worker.isolation)
        return {"none": isolation.UNPROTECTED, "user": isolation.AS_OTHERS}.get(kind)
    return None


def note_refusal(settings: Settings, mark: str, command: str) -> None:
    """Record that a command of the agent with this `mark` was refused, for the supervisor.

    An agent that tries again and again is recorded once a minute. WavekeeperError: it cannot be.
    """
    now = SystemClock().now()
    with open_state(Places(settings.state).own, make=False) as state, state.transaction():
        task = state.waves.task_record(mark.partition("/")[0])
        name = task.spec.id if task is not None else None
        note = f"{REFUSED}{name or ''}"
        said = RefusedCommand(command=command, task=name, at=now)
        before = state.waves.notes().get(note)
        if before is not None and now - RefusedCommand.model_validate_json(before).at < _AGAIN:
            return
        shown = redactor(settings).text(one_line(mark))[:_SHOWN]
        body = {"command": command, "mark": shown}
        tick = state.journal.last_tick()
        state.journal.append([Record(kind="refused", at=now, tick=tick, task=name, body=body)])
        state.waves.note({note: said.model_dump_json()})


_AGAIN: Final = timedelta(minutes=1)
_SHOWN: Final = 120
"""Characters of a mark, which an agent may have written."""


@contextmanager
def open_work(settings: Settings) -> Iterator[WorkSource]:
    """The workers' side of the queue."""
    chosen = settings.queue
    if chosen.backend.work is None:
        raise ConfigurationError(
            f"[queue] names a {chosen.kind}, which has workers of its own; "
            "`wavekeeper work` is for the embedded queue",
        )
    places_of(settings)
    with chosen.backend.work(chosen.settings, context(settings)) as source:
        yield clean_source(source, redactor(settings))


@contextmanager
def _queue(settings: Settings, given: Context, state: State) -> Iterator[TaskQueue]:
    """The queue that is supervised. UnusableStoreError: it is not the one that was read."""
    chosen, file = settings.queue, _queue_file(settings)
    _refuse_a_lost_file(file, state.waves)
    if given.reading and file is not None and not file.exists():
        with SqliteQueue(MEMORY, given.now) as empty:
            for spec in settings.queues:
                empty.configure(spec)
            yield empty
        return
    submitted = [
        one for one in state.waves.task_records(settled=False) if one.status == "submitted"
    ]
    known = replace(
        given,
        cursor=state.waves.notes().get("cursor"),
        submitted=tuple(one.spec.id for one in submitted),
    )
    with chosen.backend.open(chosen.settings, known) as queue:
        _refuse_unknown_tasks(settings, state)
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
    places, prompts, machine = places_of(settings), shipped("prompts"), SystemMachine()
    given = replace(
        context(settings), low_memory=lambda: policy.submit.is_low(machine.free_memory())
    )
    with ExitStack() as stack:
        stack.callback(close_connections)
        state = stack.enter_context(open_state(places.own))
        judgements = stack.enter_context(SqliteJudgements(places.judgements, given.now))
        noted = partial(_noted, state.waves, judgements)
        git = GitEvidence(
            remote(settings), places.evidence, policy.completion.documents, noted=noted
        )
        ports = Ports(
            clock=SystemClock(),
            queue=stack.enter_context(_queue(settings, given, state)),
            store=state.waves,
            journal=state.journal,
            issues=settings.issues.backend.open(settings.issues.settings, given),
            reviewer=reviewer_of(settings.model, prompts, key),
            drafter=TemplateDrafter(prompts),
            probes=probes_of(settings.services, git, judgements, given),
            judgements=judgements,
            remote=git,
            own_commits=GitWorktrees(
                remote(settings), settings.worker.workspace, _clones(settings)
            ),
            diffs=git,
            writer=_writer_of(settings.model, prompts, key),
            machine=machine,
            remedies=CommandRemedies(settings.remedies, places.state / "remedies"),
            references=_references(settings, places.state / "references", policy),
            approvals=state.approvals,
            state=state,
            policies=watched_policy(settings, policy),
        )
        yield clean_ports(ports, redactor(settings, key))


@contextmanager
def open_reading(settings: Settings) -> Iterator[Ports]:
    """What the supervisor knows, without its lock: nothing is made, changed or probed."""
    given = context(settings, reading=True)
    _refuse_no_folder(settings.state)
    with ExitStack() as stack:
        state = stack.enter_context(open_state(Places(settings.state).own, make=False))
        file = Places(settings.state).judgements
        judgements = stack.enter_context(
            SqliteJudgements(file if file.exists() else MEMORY, given.now)
        )
        ports = Ports(
            clock=SystemClock(),
            queue=stack.enter_context(_queue(settings, given, state)),
            store=state.waves,
            journal=state.journal,
            issues=settings.issues.backend.open(settings.issues.settings, given),
            reviewer=EvidenceReviewer(),
            drafter=TemplateDrafter(shipped("prompts")),
            probes=(),
            judgements=judgements,
            approvals=state.approvals,
            state=state,
        )
        yield clean_ports(ports, redactor(settings))


def _noted(store: WaveStore, judgements: Judgements, task: str) -> Noted:
    """What the remote was like before the attempt, and which commit of it was judged."""
    record = store.task_record(task)
    if record is None:
        return Noted()
    judgement = judgements.latest(task, record.inspected_attempt)
    found = judgement.record if judgement is not None else None
    return Noted(record.started_from, record.baseline, found.commit if found is not None else None)


def _references(settings: Settings, folder: Path, policy: Policy) -> References:
    """Proposals out of checkouts of the supervisor's own, all of them below `folder`."""
    worktrees = GitWorktrees(remote(settings), folder / "worktrees", folder / "clone")
    return GitReferences(worktrees, remote(settings, push=True), policy.completion.documents)


def reviewer_of(own: ModelSettings, prompts: Path, key: str | None = None) -> Reviewer:
    """The configured reviewer; `key`: instead of the environment's."""
    if own.reviewer == "none":
        return EvidenceReviewer()
    from agent.adapters.model.reviewer import AnthropicReviewer

    return AnthropicReviewer(prompts, *_model(own, own.review_model, key))


def _writer_of(own: ModelSettings, prompts: Path, key: str | None) -> Writer | None:
    """Who fills the slots of follow-up prompts; None: they are made from facts alone."""
    if own.drafter == "none":
        return None
    from agent.adapters.model.drafter import AnthropicWriter

    return AnthropicWriter(prompts, *_model(own, own.draft_model, key))


def _model(own: ModelSettings, model: str, key: str | None) -> "tuple[Endpoint, Asking]":
    from agent.adapters.model.anthropic_api import Asking, Endpoint

    endpoint = Endpoint(
        key=key or own.key(),
        base_url=own.base_url,
        at_once=own.at_once,
        deadline=own.deadline,
        use_proxy=own.use_proxy,
    )
    asking = Asking(
        model=model,
        effort=own.effort,
        max_tokens=own.max_tokens,
        channel=own.evidence_channel,
        most_tokens=own.tokens_per_call,
    )
    return endpoint, asking


def review_limits(own: ModelSettings) -> ReviewLimits:
    """What the configuration says of reviews, and of what models may use up."""
    return ReviewLimits(
        limits=Limits(response=own.response_limit, diff=own.diff_limit),
        at_once=own.at_once,
        task_tokens=own.tokens_per_task,
        wave_tokens=own.tokens_per_wave,
        worst_case=0 if own.reviewer == own.drafter == "none" else own.tokens_per_call,
    )


Probe = TypeVar("Probe", bound=EvidenceProbe)


class Remembered(Generic[Probe]):
    """A probe that is asked once for each task in each tick, and what it saw."""

    def __init__(self, probe: Probe) -> None:
        self.kinds = probe.kinds
        self._probe = probe
        self._seen: dict[str, tuple[TaskSpec, TaskView, datetime, Sequence[Evidence]]] = {}

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        """What it saw at `now`."""
        seen = self._seen.get(spec.id)
        if seen is None or seen[:3] != (spec, view, now):
            seen = (spec, view, now, self._probe.probe(spec, view, now))
            self._seen[spec.id] = seen
        return seen[3]

    def known(self, kind: ProofKind) -> Known:
        """The value of what it saw to hold, of this kind."""

        def value(spec: TaskSpec, view: TaskView, now: datetime) -> str | None:
            items = self.probe(spec, view, now)
            return next((one.value for one in items if one.kind is kind and one.holds), None)

        return value


def probes_of(
    services: Mapping[str, ServiceSettings],
    git: GitEvidence,
    judgements: Judgements,
    given: Context,
) -> tuple[EvidenceProbe, ...]:
    """Every probe: git's and the judge's, and one for each source that a service configures."""
    seen = Remembered(git)
    given = replace(given, pushed=seen.known(ProofKind.COMMIT_PUSHED))
    sources = dict.fromkeys(name for one in services.values() for name in one.sections)
    probes: list[EvidenceProbe] = [seen, JudgeEvidence(judgements)]
    if sources.pop("image", "") is None:
        # First, because the others compare what they see with the digest in the registry.
        registry = Remembered(find(EvidenceBackend, "image").open(services, given))
        given = replace(given, recorded=registry.known(ProofKind.DIGEST_RECORDED))
        probes.append(registry)
    probes += [find(EvidenceBackend, name).open(services, given) for name in sources]
    return tuple(probes)


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
    return Loop(ports, how, FileLock(places_of(settings).lock), who, told, report)


def holder(settings: Settings) -> str | None:
    """Who supervises here, if anybody does."""
    return FileLock(Places(settings.state).lock).holder()


def worker(
    settings: Settings, source: WorkSource, name: str, tell: Callable[[str], None]
) -> Worker:
    """One worker host on this machine."""
    own, agent = settings.worker, settings.agent
    if agent is None:
        raise ConfigurationError(
            "[worker] names no command; write the coding agent's, such as "
            'command = ["my-agent", "--flag"], into wavekeeper.toml',
        )
    places = places_of(settings)
    return Worker(
        source=source,
        runner=agent.backend.open(
            agent.settings, replace(context(settings), boundary=boundary(settings))
        ),
        worktrees=GitWorktrees(
            remote(settings), own.workspace, _clones(settings), remote(settings, push=True)
        ),
        clock=SystemClock(),
        settings=WorkerSettings(
            name=name,
            queues=own.queues or tuple(spec.id for spec in settings.queues),
            slots=own.slots,
            lease=own.lease,
            beat_every=own.heartbeat,
            poll_every=min(1.0, own.heartbeat),
            grace=own.grace,
            time_limit=own.time_limit,
            stall=StallLimits(
                quiet=own.stall_limit or agent.backend.stall_limit,
                tool=own.tool_limit,
                understood=agent.backend.stall_limit is not None,
            ),
            folder=places.runs / name,
        ),
        tell=tell,
    )


@contextmanager
def open_judgements(settings: Settings) -> Iterator[SqliteJudgements]:
    """What judge hosts are asked to check, for both sides; it serves the tasks of any queue."""
    with SqliteJudgements(places_of(settings).judgements, context(settings).now) as kept:
        yield kept


def judge_host(
    settings: Settings,
    source: JudgeSource,
    policy: Policy,
    name: str,
    tell: Callable[[str], None],
    *,
    heavy: bool | None = None,
) -> JudgeHost:
    """One judge host on this machine. `heavy`: instead of the configuration."""
    own, places, secrets = settings.judge, places_of(settings), redactor(settings)
    return JudgeHost(
        source=clean_judge_source(source, secrets),
        checkouts=GitCheckouts(
            remote(settings), _judge_folder(settings), lfs=own.lfs, submodules=own.submodules
        ),
        runner=_check_runner(settings),
        clock=SystemClock(),
        settings=JudgeSettings(
            name=name,
            lease=own.lease,
            beat_every=own.heartbeat,
            poll_every=min(1.0, own.heartbeat),
            grace=settings.worker.grace,
            pause=own.pause,
            folder=places.judge,
            heavy=settings.judges_heavy if heavy is None else heavy,
            slots=own.slots,
        ),
        tell=tell,
        # A fingerprint is that of the text as it is stored.
        same_failure=lambda result, mark: same_failure(secrets.all(result), mark, policy.failures),
    )


def _check_runner(settings: Settings) -> Runner:
    """Runs acceptance commands as the agent's runner does; a judge host needs no agent."""
    agent = settings.agent
    given = replace(context(settings), boundary=boundary(settings))
    if agent is not None:
        return agent.backend.open(agent.settings, given)
    own = CommandAgentSettings(
        command=("true",), environment=settings.worker.environment, path=settings.worker.path
    )
    return find(AgentBackend, "command").open(own, given)


def _queue_file(settings: Settings) -> Path | None:
    """Without it nobody knows the tasks that were submitted."""
    name = settings.queue.backend.file
    return settings.state / name if name is not None else None


def _refuse_a_lost_file(file: Path | None, store: WaveStore) -> None:
    """A new and empty queue in the place of one that was read would look like lost work."""
    if file is None or "cursor" not in store.notes():
        return
    if not file.exists():
        raise UnusableStoreError(f"{file} is gone; restore it, the tasks are in it")
    if not file.stat().st_size:
        raise UnusableStoreError(f"{file} is empty; restore it, the tasks were in it")


def _refuse_unknown_tasks(settings: Settings, state: State) -> None:
    """A new and empty state in the place of one that had tasks at work would start them again."""
    file, own = _queue_file(settings), Places(settings.state).own.name
    stored = settings.queue.backend.stored
    if state.has_submitted or file is None or stored is None or not file.exists():
        return
    if held := stored(file).tasks:
        raise UnusableStoreError(
            f"{file}: it holds tasks ({held}), and {own} knows of none that were submitted; "
            f"restore {own} from a backup, or name another state folder",
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


def places_of(settings: Settings) -> Places:
    """The state folder, made if it is not there. ConfigurationError: it cannot be made."""
    ignored = settings.state / ".gitignore"
    try:
        # Where agents are other users, this folder is what keeps them out of all that is in it.
        mode = 0o700 if settings.worker.isolation == "user" else 0o777
        settings.state.mkdir(parents=True, exist_ok=True, mode=mode)
        # The state folder often lies inside the user's repository, where none of it belongs.
        if not ignored.exists() and not (settings.state / ".git").exists():
            ignored.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the state folder {settings.state} cannot be made ({error.strerror}); "
            "name another one in wavekeeper.toml",
        ) from error
    return Places(settings.state)
