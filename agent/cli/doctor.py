"""`wavekeeper doctor`: what is missing on this machine, and how to fix it. It changes nothing."""

import os
import platform
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field
from rich.text import Text

from agent import wiring
from agent.adapters.agents import isolation, users
from agent.adapters.common import git
from agent.adapters.evidence.git import GitEvidence
from agent.adapters.evidence.judge import JudgeEvidence
from agent.adapters.evidence.settings import ServiceSettings
from agent.adapters.files.config import (
    NAME,
    ModelSettings,
    Settings,
    find_settings,
    read_settings,
)
from agent.adapters.files.toml import did_you_mean
from agent.adapters.queue.judgements import SqliteJudgements
from agent.adapters.remedies.settings import RemedySettings
from agent.adapters.state.db import State as OwnState
from agent.adapters.state.opening import earlier_files
from agent.adapters.state.seal import beside
from agent.backends import Check, EvidenceBackend, State, find, program_check, tried
from agent.cli.console import Console
from agent.core.model.nouns import Noun, TaskKind
from agent.core.model.policy import Policy
from agent.core.model.queueing import TaskView
from agent.errors import QueueUnavailableError, WavekeeperError
from agent.paths import Places

_STYLES: Final[dict[State, str]] = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_JUDGE_AWAY: Final = timedelta(minutes=5)
"""A judge host that has asked for nothing for so long is not at work, or has one long judgement."""
_PATIENCE: Final = 15.0
"""Seconds for a remote to answer."""
_SPACE_LOW: Final = 1024**3
_SPACE_GONE: Final = 50 * 1024**2
"""Bytes: a journal and a few worktrees no longer fit."""
_DRIFT: Final = timedelta(seconds=5)


class Findings(Noun):
    """`wavekeeper.doctor/1`."""

    schema_: Annotated[Literal["wavekeeper.doctor/1"], Field(alias="schema")] = (
        "wavekeeper.doctor/1"
    )
    ok: bool
    checks: tuple[Check, ...]


def doctor(console: Console, folder: Path, *, as_json: bool) -> int:
    """Look at everything; 0, or 1 if anything fails."""
    checks = tuple(examine(folder))
    with suppress(WavekeeperError):  # one of the checks says so
        console.hide(wiring.redactor(wiring.settings_above(folder)))
    failed = any(check.state == "fail" for check in checks)
    if as_json:
        console.json(Findings(ok=not failed, checks=checks).model_dump(mode="json"))
        return int(failed)
    for check in checks:
        state = Text(f"{check.state:<5}", _STYLES[check.state])
        console.show(state.append_text(console.text(f"{check.name}: {check.said}", "default")))
        if check.fix:
            console.show(Text("     ").append_text(console.text(f"fix: {check.fix}")))
    return int(failed)


def examine(folder: Path) -> Iterator[Check]:
    """Every check, in the order in which things are needed."""
    yield Check(
        name="python",
        state="ok",
        said=f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}",
    )
    yield _git()
    path = find_settings(folder)
    if path is None:
        fix = "run `wavekeeper init` in the repository that the tasks change"
        yield Check(name="settings", state="fail", said=f"no {NAME} here or above", fix=fix)
        return
    try:
        settings = read_settings(path)
    except WavekeeperError as error:
        yield Check(name="settings", state="fail", said=str(error))
        return
    yield Check(name="settings", state="ok", said=str(path))
    yield tried("policy", lambda: f"loads, {wiring.policy_of(settings).hash[:12]}")
    yield _remote(settings)
    queue = settings.queue
    given = wiring.context(settings, reading=True)
    yield from _checked("queue", queue.backend.check(queue.settings, given))
    if queue.backend.work is not None:
        yield from _worker(settings)
    yield tried("judge", lambda: _judge(settings))
    yield from systems(settings)
    yield from _state(settings)


def _git() -> Check:
    try:
        found = git.run("--version", timeout=_PATIENCE).strip().removeprefix("git version ")
    except git.GitError as error:
        fix = "install git, put it on PATH, and repair its configuration if git names that"
        return Check(name="git", state="fail", said=str(error), fix=fix)
    return Check(name="git", state="ok", said=found)


def _remote(settings: Settings) -> Check:
    def look() -> str | Check:
        address = wiring.remote(settings)
        shown = git.hidden(address)
        problem, branches = reach(address, _PATIENCE)
        if problem is not None:
            said = f"{shown}: {problem}"
            fix = (
                f"see that `git ls-remote {settings.remote}` answers without asking for a password"
            )
            return Check(name="remote", state="fail", said=said, fix=fix)
        if not branches:
            fix = "push a first commit; tasks begin from the default branch"
            return Check(name="remote", state="warn", said=f"{shown} has no branch", fix=fix)
        return f"{shown} answers, {branches} branch{'' if branches == 1 else 'es'}"

    return tried("remote", look)


def reach(address: str, limit: float) -> tuple[str | None, int]:
    """Why the remote does not answer within `limit` seconds, if it does not; its branches."""
    try:
        return None, len(git.run("ls-remote", "--heads", "--", address, timeout=limit).splitlines())
    except git.GitError as error:
        return str(error), 0


def _checked(name: str, found: Iterable[Check]) -> Iterator[Check]:
    """What a backend has found; an error of its own ends it with a line, too."""
    try:
        yield from found
    except WavekeeperError as error:
        yield Check(name=name, state="fail", said=str(error))


def _worker(settings: Settings) -> Iterable[Check]:
    if (agent := settings.agent) is not None:
        given = wiring.context(settings, reading=True)
        found = _checked("worker", agent.backend.check(agent.settings, given))
        return [*found, tried("isolation", lambda: _isolation(settings))]
    said = "no command, so `wavekeeper work` runs nothing here"
    fix = f"name your coding agent as `command` or `agent` under [worker] in {NAME}"
    return [Check(name="worker", state="warn", said=said, fix=fix)]


def _judge(settings: Settings) -> str | Check:
    """Whether somebody checks what was pushed, and takes what waits."""
    file, now = Places(settings.state).judgements, wiring.context(settings).now()
    has_workers = settings.queue.backend.work is not None
    fix = f"start `wavekeeper judge`{', or `wavekeeper work`' if has_workers else ''}"
    if not file.exists():
        said = "no judge host was here yet"
        if has_workers:
            return f"{said}; `wavekeeper work` starts one beside itself"
        return Check(name="judge", state="warn", said=said, fix=fix)
    with SqliteJudgements(file, lambda: now) as kept:
        hosts, unfinished = kept.hosts(), kept.waiting()
    busy = {one.host for one in unfinished}
    at_work = [one for one in hosts if one.name in busy or now - one.at < _JUDGE_AWAY]
    waiting = [one for one in unfinished if one.host is None]
    heavy = [one for one in waiting if one.order.heavy]
    if heavy and at_work and not any(one.heavy for one in at_work):
        said = f"{_count(heavy)} with heavy commands, which no judge host at work takes"
        fix = "start `wavekeeper judge --heavy` on a machine that is not the master"
        return Check(name="judge", state="warn", said=said, fix=fix)
    if at_work:
        how = {True: "heavy commands too", False: "no heavy commands"}
        return f"at work: {', '.join(f'{one.name} ({how[one.heavy]})' for one in at_work)}"
    last = [f"the last one was {one.name}, {one.at:%Y-%m-%d %H:%M} UTC" for one in hosts[:1]]
    if not waiting:
        return "; ".join(["no judge host is at work, and none is needed", *last])
    said = "; ".join([f"{_count(waiting)}, and no judge host is at work", *last])
    return Check(name="judge", state="warn", said=said, fix=fix)


def _count(waiting: Sequence[object]) -> str:
    return f"{len(waiting)} judgement{' waits' if len(waiting) == 1 else 's wait'}"


def _isolation(settings: Settings) -> str | Check:
    """Whether agents are kept apart here; what is asked for is tried."""
    kind = isolation.choose(settings.worker.isolation)
    if kind == "user":
        return _other_users(settings)
    if kind == "bubblewrap":
        own = settings.worker
        if missing := [str(one) for one in (*own.readable, *own.writable) if not one.exists()]:
            said = f"{missing[0]} is not there, so no agent can read or write it"
            fix = f"make it, or correct `readable` and `writable` under [worker] in {NAME}"
            return Check(name="isolation", state="warn", said=said, fix=fix)
        works = "bubblewrap works: an agent sees its own worktree, and nothing that judges it"
        fix = (
            'name what it needs under [worker]: variables = ["SSH_AUTH_SOCK"], or in `readable` '
            "the files with them"
        )
        return _credentials(settings, works, fix)
    why, said, word = isolation.fault(), isolation.UNPROTECTED, 'isolation = "bubblewrap"'
    if why is None:
        fix = f"write {word} under [worker] in {NAME}: it works here"
    else:
        said += f" (bubblewrap does not work here: {why})"
        fix = "install the package bubblewrap, and allow user namespaces to others than root"
        if os.geteuid() == 0:
            fix += f'; or write isolation = "user" under [worker] in {NAME}'
    return Check(name="isolation", state="warn", said=said, fix=fix)


def _other_users(settings: Settings) -> str | Check:
    """Whether agents can run as the configured users, safely, and can start their program."""
    wiring.boundary(settings)
    named = settings.worker.agent_users
    said = f"{isolation.AS_OTHERS} ({', '.join(str(one) for one in named)})"
    command = getattr(settings.agent and settings.agent.settings, "command", None) or ("true",)
    search = getattr(settings.agent and settings.agent.settings, "search_path", None)
    program = shutil.which(command[0], path=search)
    if program is not None and (who := users.may_run(named, Path(program))) is not None:
        said = f"{who} may not run {program}"
        fix = "install it where every user may run it, such as /usr/local/bin, or open its folder"
        return Check(name="isolation", state="fail", said=said, fix=fix)
    fix = (
        "name what it needs under [worker]: variables or environment, or give its users the right "
        "to read the files with them"
    )
    return _credentials(settings, f"{said}; checks have the network", fix)


def _credentials(settings: Settings, works: str, fix: str) -> str | Check:
    """Whether an agent that is kept apart was given anything that it could push with."""
    given = settings.agent.settings if settings.agent is not None else settings.worker
    named = [getattr(given, name, ()) for name in ("variables", "environment")]
    local = wiring.boundary(settings).remotes
    if local or any((*named, settings.worker.readable, settings.worker.writable)):
        return works
    said = f"{works}; it has no credentials of yours either, so a push may fail"
    return Check(name="isolation", state="warn", said=said, fix=fix)


def systems(settings: Settings) -> Iterator[Check]:
    """One check for each system of each service, each remedy, and the home of issues.

    They are asked as a tick would ask them; programs are looked for, and not run.
    """
    policy = cache(partial(wiring.policy_of, settings))
    given = wiring.context(settings, reading=True)
    for name, service in settings.services.items():
        yield tried(f"service {name}", partial(_ladder, policy, name, service))
        for source in service.sections:
            for found in _checked(source, find(EvidenceBackend, source).check(service, given)):
                yield found.model_copy(update={"name": f"service {name}: {found.name}"})
    for name, remedy in settings.remedies.items():
        yield tried(f"remedy {name}", partial(_remedy, policy, f"remedy {name}", remedy))
    if (settings.model.reviewer, settings.model.drafter) != ("none", "none"):
        yield tried("model", partial(_model, settings.model))
    issues = settings.issues
    yield from _checked("issues", issues.backend.check(issues.settings, given))


def _model(model: ModelSettings) -> str:
    """Whether there is a key; the model itself is not asked, because every question costs."""
    model.key()
    asked = [
        f"{job} {name}"
        for job, who, name in (
            ("reviews by", model.reviewer, model.review_model),
            ("drafts by", model.drafter, model.draft_model),
        )
        if who != "none"
    ]
    return f"{' and '.join(asked)} at {model.base_url}; {model.key_variable} is set, not tried"


def _ladder(policy: Callable[[], Policy], name: str, service: ServiceSettings) -> str | Check:
    """Whether a delivery of this service could be proven at all."""
    ladder = policy().completion.ladder[TaskKind.ARTIFACT_DELIVERY].rungs
    others = service.proofs | GitEvidence.kinds | JudgeEvidence.kinds
    open_rungs = [" or ".join(rung) for rung in ladder if not others & set(rung)]
    if not open_rungs:
        return "every rung of an artifact delivery is looked at"
    said = f"nothing tells {', '.join(open_rungs)}, so no delivery can be accepted"
    fix = f"add [services.{name}.image], .ci, [[.look]] or [[.command]]; docs/systems.md says which"
    return Check(name=f"service {name}", state="warn", said=said, fix=fix)


def _remedy(policy: Callable[[], Policy], name: str, own: RemedySettings) -> Check:
    reasons = policy().failures.by_id
    if unknown := [one for one in own.reasons if one not in reasons]:
        hint = did_you_mean(unknown[0], reasons) or f"; known are {', '.join(sorted(reasons))}"
        said = f"no failure has the reason {unknown[0]!r}, so it is never proposed{hint}"
        return Check(name=name, state="warn", said=said, fix=f"correct its reasons in {NAME}")
    for argv in (own.dry_run, own.command, own.verify):
        check = program_check(name, argv, own.variables, "runs")
        if check.state != "ok":
            return check
    what = "a live remedy in dev" if own.environment == "dev" else "a deploy to production"
    said = f"{what}, at {own.target}: {' '.join(own.command)}, after {' '.join(own.dry_run)}"
    return Check(name=name, state="ok", said=said)


def _state(settings: Settings) -> Iterator[Check]:
    places = Places(settings.state)
    folder = _folder(settings.state)
    yield folder
    if folder.state == "fail":
        return
    stores: dict[str, tuple[Path, Callable[[], str | Check]]] = {
        "waves": (places.own, lambda: _waves(places.own)),
        "journal": (places.own, lambda: _journal(places.own)),
    }
    queue = settings.queue.backend
    if queue.file is not None and (stored := queue.stored) is not None:
        file = settings.state / queue.file
        stores = {"queue": (file, lambda: stored(file).said), **stores}
    for name, (path, look) in stores.items():
        if path.exists() or beside(path).exists():
            yield tried(name, look)
        else:
            yield Check(name=name, state="ok", said="not there yet; made when it is needed")
    if earlier := earlier_files(settings.state):
        said = f"{', '.join(one.name for one in earlier)}: written by an earlier version"
        fix = f"`wavekeeper status` takes them over into {places.own.name}"
        yield Check(name="earlier", state="warn", said=said, fix=fix)
        return  # what follows would do it
    yield tried("supervisor", lambda: wiring.holder(settings) or "nobody supervises at the moment")
    yield tried("clock", lambda: _clock(settings))


def _folder(state: Path) -> Check:
    """Whether it can be written, or made, and whether there is room."""
    there = next(one for one in (state, *state.parents) if one.exists())
    try:
        if there == state:
            with tempfile.TemporaryFile(dir=state):
                pass
        elif not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(0, f"{there} is not a folder we may write")
        free = shutil.disk_usage(there).free
    except OSError as error:
        fix = f"correct its rights, or name another `state` in {NAME}"
        said = f"{state} cannot be written ({error.strerror})"
        return Check(name="state", state="fail", said=said, fix=fix)
    room = f"{state}: {free / 1024**3:.1f} GiB free"
    if free >= _SPACE_LOW:
        return Check(name="state", state="ok", said=room)
    level: State = "fail" if free < _SPACE_GONE else "warn"
    return Check(name="state", state=level, said=room, fix="free some disk space")


def _waves(path: Path) -> str:
    with OwnState(path) as state:
        return f"opens; tasks not settled: {len(state.waves.task_records(settled=False))}"


def _journal(path: Path) -> str | Check:
    with OwnState(path) as state:
        broken = state.journal.verify() or state.check()
        ticks = state.journal.last_tick()
    if broken is None:
        return f"its chain holds; ticks: {ticks}"
    fix = f"keep {path.name} as it is for whoever asks why, and restore it from a backup"
    return Check(name="journal", state="fail", said=broken, fix=fix)


def _clock(settings: Settings) -> str | Check:
    """What was written down may not lie in the future: every age would be wrong."""
    with wiring.open_reading(settings) as ports:
        now = ports.clock.now()
        known = ports.store.task_records(settled=False)
        stamps = [one.changed_at for one in known]
        stamps += [wave.submitted_at for wave in ports.store.waves()]
        if (last := ports.store.notes().get("last_tick_at")) is not None:
            stamps.append(datetime.fromisoformat(last))
        views: list[TaskView | None] = []
        with suppress(QueueUnavailableError):  # which has a check of its own
            views = [ports.queue.get(one.spec.id) for one in known]
        stamps += [view.heartbeat.at for view in views if view and view.heartbeat]
    newest = max(stamps, default=now)
    if newest <= now + _DRIFT:
        return f"{now:%Y-%m-%d %H:%M:%S} UTC, nothing lies in the future"
    said = f"it is {now:%Y-%m-%d %H:%M:%S} UTC here, and something was noted at {newest:%H:%M:%S} "
    return Check(
        name="clock",
        state="fail",
        said=f"{said}on {newest:%Y-%m-%d}",
        fix="set this machine's clock right (is time synchronisation on?)",
    )
