"""Runs any program as an agent: a process tree with its output in files, adoptable by a later host.

The agent is a child of `shim.py`, never of the host, so it outlives the host; a run is
known by its folder alone. Every process of a run carries `WAVEKEEPER_MARK` in its environment; by
that mark and by descent the whole tree is found, children that left the session included. Where an
environment cannot be read (programs of the system on macOS) only descent is left: who is cut off
from the command is not found there, and `sweep` does not find such a process.
"""

import contextlib
import fcntl
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, Literal

import psutil

from agent.adapters.agents import isolation
from agent.adapters.agents import output as agent_output
from agent.adapters.agents.program import AgentProgram, conclude, home_of, known_session, trace
from agent.adapters.agents.settings import CommandAgentSettings
from agent.adapters.agents.streams import StreamReader
from agent.adapters.agents.users import Lent, Users
from agent.backends import AgentBackend, Boundary, Check, Context
from agent.core.model.agent_events import Transcript, summarize
from agent.core.model.nouns import CommandResult
from agent.core.model.queueing import NewEvent
from agent.errors import ConfigurationError, SpawnError
from agent.ports import Exit, Run, RunSpec

_SHIM: Final = Path(__file__).with_name("shim.py")
_START_LIMIT: Final = 60.0
_CHECK_GRACE: Final = 2.0
_SHIM_PATIENCE: Final = 5.0
"""Seconds a shim gets to write down the end of its command."""
_LOOK_EVERY: Final = 0.02
_LOOKING: Final = threading.Lock()
_BACKLOG: Final = 16 * 1024 * 1024
"""Bytes of one file that one call of `events()` reads at most: the newest."""
_PIECE: Final = 1024 * 1024
"""Bytes of an output that are read at a time."""


class CommandRunner:
    """Implements `Runner` for a command line.

    `prompt="stdin"` gives the prompt on standard input, then its end; `"file"` puts the path of a
    file in place of `{prompt_file}` in `argv`. `final` names the type and the key of the JSON line
    that holds the final response. `sweep` touches only processes of runners with the same `scope`.
    `env` is added to what `isolation.environment` lets through. `boundary`: what agents and checks
    are kept from; its isolation works here. `program`: one whose arguments and output we know; then
    `argv` is its name, and what a person adds to its arguments.
    """

    def __init__(  # noqa: PLR0913 - what a program is called by, and what it may do
        self,
        argv: Sequence[str],
        *,
        prompt: Literal["stdin", "file"],
        output: agent_output.Format,
        env: Mapping[str, str],
        now: Callable[[], datetime],
        final: tuple[str, str] = ("final", "text"),
        scope: str = "",
        boundary: Boundary | None = None,
        program: AgentProgram | None = None,
    ) -> None:
        if not argv or not argv[0]:
            raise ConfigurationError("the agent's command is empty: name a program to run")
        if prompt == "file" and not any("{prompt_file}" in part for part in argv):
            raise ConfigurationError(
                "the agent's command has no {prompt_file}: add it, or give the prompt by stdin",
            )
        self._argv = tuple(argv)
        self._prompt = prompt
        self._env = dict(env)
        self._scope = scope
        self._program = program
        self._reading = _Reading(output, now, final, program.reader if program else None)
        kind = "none" if boundary is None else boundary.isolation
        is_apart = boundary is not None and kind == "bubblewrap"
        self._bubblewrap = isolation.Bubblewrap(boundary) if boundary and is_apart else None
        self._users = Users(boundary) if boundary and kind == "user" else None
        if self._users is not None and program is not None and program.home is not None:
            raise ConfigurationError(
                f"the agents of [worker] agent_users cannot share {program.home}; leave out "
                "`home`, and name the variable with the key in `variables`",
            )

    def start(self, spec: RunSpec) -> Run:
        folder = spec.folder.absolute()
        source = str(folder / "prompt") if self._prompt == "stdin" else "-"
        if self._users is not None and (run := self.adopt(spec)) is not None:
            # The shim would say so as well, but the run has what would be given away again.
            return run
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _replace(folder / "prompt", spec.prompt.encode())
            with self._agent_apart(spec, folder) as how:
                cwd = spec.cwd.absolute()
                shim = subprocess.run(
                    [sys.executable, "-I", "-S", _SHIM, folder, cwd, source, *how.argv],
                    env=how.env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=how.kept_open,
                    timeout=_START_LIMIT,
                    check=False,
                )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            _end(lambda one: one.mark == spec.mark, 0)
            raise SpawnError(f"cannot start {self._argv[0]}: {_one_line(error)}") from error
        answer = (agent_output.decode(shim.stdout).strip().splitlines() or ["no answer"])[-1]
        if answer not in ("started", "there"):
            raise SpawnError(f"cannot start {self._argv[0]}: {answer.removeprefix('error ')}")
        return self._run_of(spec)

    def adopt(self, spec: RunSpec) -> Run | None:
        there = (spec.folder / "started").exists() or _held(spec.folder)
        return self._run_of(spec) if there else None

    def _run_of(self, spec: RunSpec) -> Run:
        users = self._users
        if users is None:
            return _CommandRun(spec, self._reading, spec.folder / "tmp")

        def kill() -> None:
            # As long as its shim lives, nobody else has its user.
            if _held(spec.folder):
                users.kill(spec.folder)

        return _CommandRun(spec, self._reading, users.private(spec.folder) / "tmp", kill)

    @contextlib.contextmanager
    def _agent_apart(self, spec: RunSpec, folder: Path) -> Iterator["_Apart"]:
        """How the shim is started for an agent."""
        prompt, cwd, task = folder / "prompt", spec.cwd.absolute(), task_of(spec.mark)
        home = self._home(folder, task)
        if self._users is not None:
            inherited, content = isolation.environment(), spec.prompt.encode()
            with self._users.agent(folder, task, cwd, inherited, content) as lent:
                env = self._environment(spec.mark, lent)
                if self._program is not None:
                    env[self._program.home_variable] = str(home)
                command = self._filled(lent.private / "prompt", spec, home)
                inside = lent.command(command, cwd, env.get("PATH", os.defpath))
                yield _Apart(inside, {**env, isolation.KEEPER: "shim"}, (lent.lock,))
            return
        env, command = self._environment(spec.mark), self._filled(prompt, spec, home)
        kept: dict[str, Path] = {}
        if self._program is not None and home is not None:
            kept, more = self._own_folders(self._program, home, folder, env)
            env |= more
        if self._bubblewrap is None or not cwd.is_dir():
            yield _Apart(command, {**env, isolation.KEEPER: "shim"})
            return
        room = isolation.Room(cwd, folder, env, kept)
        inside = self._bubblewrap.agent(command, self._argv, room, task, prompt)
        isolation.furnish(folder, env)
        yield _Apart(inside, {**env, isolation.KEEPER: "keeper"})

    def _home(self, folder: Path, task: str) -> Path | None:
        """The folder of a known program's settings; None: we know nothing of the program."""
        if self._program is None:
            return None
        # What lies beside the run folder is of the same host, and outlives the attempt.
        own = folder.parent / "agent-homes" / task
        return home_of(self._program, own if self._users is None else self._users.kept(task))

    def _filled(self, prompt: Path, spec: RunSpec, home: Path | None) -> list[str]:
        command = [part.replace("{prompt_file}", str(prompt)) for part in self._argv]
        if self._program is None or home is None:
            return command
        session = known_session(self._program, home, spec.session)
        own = self._program.arguments(task_of(spec.mark), session)
        return [command[0], *own, *command[1:]]

    def sweep(self, task: str, *, before: int, grace: float) -> int:
        def older(one: _Process) -> bool:
            owner, attempt, _ = (*one.mark.split("/", 2), "", "")[:3]
            same = owner == task and one.scope == self._scope
            return same and attempt.isdecimal() and int(attempt) < before

        ended = _end(older, grace)
        # Who took a new environment and lost its shim has no mark, but still its user.
        return ended if self._users is None else ended + self._users.clear()

    def check(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        mark: str,
        timeout: float,
        stop: Callable[[], bool],
        readable: Sequence[Path] = (),
    ) -> CommandResult:
        """As in the port, and: a command that a signal n ended has the exit code 128 + n.

        `readable`: what it may see besides the checkout and the toolchains.
        """
        began = time.monotonic()
        try:
            # A file and not a pipe: a grandchild that keeps a pipe open would keep us waiting.
            with tempfile.TemporaryFile() as output, self._apart(argv, cwd, mark, readable) as how:
                process = subprocess.Popen(
                    how.argv,
                    cwd=cwd,
                    env=how.env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=how.kept_open,
                )
                code, note = _finished(process, mark, began + timeout, stop, how.kill)
                tail = _tail(output, agent_output.READ_LIMIT)
                if note is None and not how.was_started():
                    # Nothing but bubblewrap has printed anything then.
                    raise isolation.not_started(agent_output.decode(tail), argv[0])
        except (OSError, ValueError) as error:
            (code, note), tail = _not_started(argv[0], error), b""
        if note == "time limit":
            note = f"time limit of {timeout:g} s reached"
        return agent_output.command_result(argv, code, note, tail, time.monotonic() - began)

    @contextlib.contextmanager
    def _apart(
        self, argv: Sequence[str], cwd: Path, mark: str, readable: Sequence[Path]
    ) -> Iterator["_Apart"]:
        """How to start a check; its home and temporary folder go with it."""
        if self._users is not None:
            with self._users.check(cwd.absolute(), isolation.environment()) as lent:
                env = self._environment(mark, lent)
                inside = lent.command(argv, cwd, env.get("PATH", os.defpath))
                yield _Apart(inside, env, kill=lent.kill)
            return
        env = self._environment(mark)
        if self._bubblewrap is None or not cwd.is_dir():
            yield _Apart(argv, env)
            return
        with (
            tempfile.TemporaryDirectory(prefix="wavekeeper-", ignore_cleanup_errors=True) as own,
            tempfile.TemporaryFile() as status,
        ):
            room = isolation.Room(cwd.absolute(), Path(own), env)
            inside = self._bubblewrap.check(argv, room, readable, status.fileno())
            isolation.furnish(room.private, env)
            env[isolation.KEEPER] = "keeper"
            yield _Apart(inside, env, (status.fileno(),), status)

    def _own_folders(
        self, program: AgentProgram, home: Path, folder: Path, env: Mapping[str, str]
    ) -> tuple[dict[str, Path], dict[str, str]]:
        """What is to be seen in the run's home, and the variables that lead there."""
        if self._bubblewrap is None:
            # Codex runs no command in its sandbox where its home lies in the temporary folder.
            (folder / "tmp").mkdir(exist_ok=True, mode=0o700)
            return {}, {program.home_variable: str(home), "TMPDIR": str(folder / "tmp")}
        if program.home is not None:
            return {}, {program.home_variable: str(home)}
        seen = Path(env["HOME"]) / program.home_name
        return {program.home_name: home}, {program.home_variable: str(seen)}

    def _environment(self, mark: str, lent: Lent | None = None) -> dict[str, str]:
        """The whole environment; bubblewrap is started with it as well.

        It is process 1 inside, whose environment everybody in there can read.
        """
        task, attempt, _ = mark.split("/", 2)
        kept = isolation.environment()
        apart = lent or self._bubblewrap
        return {
            **(kept if apart is None else apart.environment(kept)),
            **self._env,
            "WAVEKEEPER_MARK": mark,
            "WAVEKEEPER_TASK": task,
            "WAVEKEEPER_ATTEMPT": attempt,
            "WAVEKEEPER_SCOPE": self._scope,
        }


@dataclass(frozen=True, slots=True)
class _Apart:
    """How a program is started."""

    argv: Sequence[str]
    env: Mapping[str, str]
    kept_open: tuple[int, ...] = ()
    """Descriptors that it inherits."""
    status: IO[bytes] | None = None
    """Where bubblewrap writes down how far it got; None: there is no bubblewrap."""
    kill: Callable[[], None] | None = None
    """Ends all of it at once."""

    def was_started(self) -> bool:
        """False: bubblewrap failed, and its exit code is not the command's."""
        return self.status is None or b'"exit-code"' in _tail(self.status, agent_output.FINAL_LIMIT)


def task_of(mark: str) -> str:
    """The task that a mark names."""
    return mark.partition("/")[0]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How an agent's output is understood."""

    form: agent_output.Format
    now: Callable[[], datetime]
    final: tuple[str, str]
    reader: Callable[[datetime], StreamReader] | None = None
    """For the output of a program that we know."""


class _CommandRun:
    """Implements `Run`; all it knows is in the folder, so it is the same ours or adopted."""

    def __init__(
        self,
        spec: RunSpec,
        reading: _Reading,
        temporary: Path,
        kill: Callable[[], None] | None = None,
    ) -> None:
        self._temporary = temporary
        self._kill = kill
        self._mark = spec.mark
        self._resumed = spec.session is not None
        self._folder = spec.folder
        self._reading = reading
        self._exit: Exit | None = None
        self._reader = reading.reader(reading.now()) if reading.reader else None
        self._offsets: dict[str, int] = {"output": 0, "errors": 0}
        with contextlib.suppress(OSError, ValueError):
            self._offsets |= json.loads((self._folder / "offsets").read_bytes())

    def poll(self) -> Exit | None:
        if self._exit is None:
            # In this order: between the two looks a shim may end, but none comes to life.
            held = _held(self._folder)
            status = self._status()
            if status is None and held:
                return None
            self.stop(_CHECK_GRACE)
            self._exit = self._ending(*(status or (None, None)))
            # Only now: what is left of the attempt may still write there. Its home is kept, because
            # many agents write down there what they did.
            shutil.rmtree(self._temporary, ignore_errors=True)
        return self._exit

    def events(self) -> Sequence[NewEvent]:
        ended = not _held(self._folder) or self._status() is not None
        before = dict(self._offsets)
        found = self._new("output", self._reading.form, "text", ended=ended)
        found += self._new("errors", "text", "stderr", ended=ended)
        if self._offsets != before:
            # On a full disk the place is kept in memory; only a later host would read again.
            with contextlib.suppress(OSError):
                _replace(self._folder / "offsets", json.dumps(self._offsets).encode())
        return found

    def stop(self, grace: float) -> None:
        main = self._main()
        _end(lambda one: one.mark == self._mark or one.process == main, grace, self._kill)
        # A shim that nobody could find goes when its command has gone.
        deadline = time.monotonic() + _SHIM_PATIENCE
        while _held(self._folder) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)

    def _main(self) -> psutil.Process | None:
        """The command itself; None: it has ended, or was never started."""
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            main = psutil.Process(int((self._folder / "group").read_text()))
            # Asked last: who holds it has not reaped the command, so the id is still the command's.
            return main if _held(self._folder) else None
        return None

    def _status(self) -> tuple[int | None, int | None] | None:
        with _opened(self._folder / "exit") as handle:
            found = json.loads(handle.read() or "null")
        return (found["code"], found["signal"]) if found else None

    def _ending(self, code: int | None, number: int | None) -> Exit:
        with _opened(self._folder / "errors") as handle:
            errors = _tail(handle, agent_output.FINAL_LIMIT)
        if self._reading.reader is not None:
            run = self._transcript(self._reading.reader)
            return conclude(code, number, run, errors, resumed=self._resumed)
        with _opened(self._folder / "output") as handle:
            tail = _tail(handle, agent_output.FINAL_LIMIT)
            if self._reading.form == "text":
                final, truncated = agent_output.final_of_text(tail, handle.tell())
            else:
                handle.seek(0)
                lines = iter(lambda: handle.readline(_BACKLOG), b"")
                final, truncated = agent_output.final_of_lines(lines, *self._reading.final)
        last_error = agent_output.last_error(code, number, errors, tail)
        return Exit(code, number, final, truncated, last_error)

    def _transcript(self, reader_of: Callable[[datetime], StreamReader]) -> Transcript:
        """All of the output, read anew: an earlier host may have read some of it."""
        with _opened(self._folder / "output") as handle:
            # Times in it, such as "try again at 3 PM", are meant as of when they were printed.
            printed = self._reading.now()
            with contextlib.suppress(OSError):  # of an output that is not there
                printed = datetime.fromtimestamp(os.fstat(handle.fileno()).st_mtime, UTC)
            reader = reader_of(printed)
            pieces = iter(lambda: handle.read(_PIECE), b"")
            read = (event for piece in pieces for event in reader.feed(piece))
            # By a generator, so that it is asked for what is left only when all else was read.
            left = (event for end in (reader.close,) for event in end())
            return summarize(itertools.chain(read, left))

    def _new(
        self, name: str, form: agent_output.Format, plain: str, *, ended: bool
    ) -> list[NewEvent]:
        start = self._offsets[name]
        with _opened(self._folder / name) as handle:
            begin = max(start, handle.seek(0, os.SEEK_END) - _BACKLOG)
            handle.seek(begin)
            data = handle.read(_BACKLOG)
        if name == "output" and self._reader is not None:
            used = len(data) if ended else data.rfind(b"\n") + 1
            read = [*self._reader.feed(data[:used]), *self._reader.close()] if used else []
            found = trace(read, begin - start if used else 0, self._reading.now())
        else:
            found, used = agent_output.events(
                data, begin - start, ended=ended, at=self._reading.now(), form=form, plain=plain
            )
        if used:
            self._offsets[name] = begin + used
        return found


@dataclass(frozen=True, slots=True)
class _Process:
    process: psutil.Process
    """Equal only where id and start are: it names one process for ever."""
    mark: str = field(compare=False)
    scope: str = field(compare=False)
    is_shim: bool = field(compare=False)

    def parent(self) -> int | None:
        """Its process id; None: the process has ended, even if it is not reaped yet."""
        with contextlib.suppress(psutil.Error):
            if self.process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return self.process.ppid()
        return None


def _processes() -> Iterator[_Process]:
    """All but ourselves. An environment that cannot be read is an empty one."""
    # The library keeps one list of processes for all threads, and does not guard it.
    with _LOOKING:
        everything = list(psutil.process_iter())
    for process in everything:
        variables: dict[str, str] = {}
        with contextlib.suppress(psutil.Error):
            variables = process.environ()
        mark, scope = (variables.get(f"WAVEKEEPER_{name}", "") for name in ("MARK", "SCOPE"))
        if process.pid != os.getpid():
            yield _Process(process, mark, scope, is_shim=isolation.KEEPER in variables)


def _tree(match: Callable[[_Process], bool]) -> list[_Process]:
    """Those that match, and their descendants: a tool may have cleaned its environment."""
    everything = list(_processes())
    if not any(match(one) for one in everything):
        # Most looks end here, and a look at every parent costs as much as all before it.
        return []
    parents = {one.process.pid: one.parent() for one in everything}
    alive = [one for one in everything if parents[one.process.pid] is not None]
    found = {one.process.pid: one for one in alive if match(one)}
    while more := {
        pid: one for one in alive if (pid := one.process.pid) not in found and parents[pid] in found
    }:
        found |= more
    return list(found.values())


def _end(
    match: Callable[[_Process], bool], grace: float, kill: Callable[[], None] | None = None
) -> int:
    """SIGTERM, after `grace` seconds SIGKILL, until two looks in a row find nothing.

    Two looks, because the environment of a process that is just being replaced reads as empty.
    A shim is spared until its tree is gone, so that it can write down how its command ended; and
    so is bubblewrap, because without it the agent would be killed at once, without any grace.
    Answers how many processes there were, shims not counted. `kill`: what ends them faster than
    one by one.
    """
    asked: set[_Process] = set()
    beyond: set[_Process] = set()
    kill_at = time.monotonic() + grace
    shim_limit = kill_at + _SHIM_PATIENCE
    quiet = False
    while True:
        if kill is not None and time.monotonic() >= kill_at:
            # Before the look, which takes its time where many of them run.
            kill()
        alive = [one for one in _tree(match) if one not in beyond]
        agents = [one for one in alive if not one.is_shim]
        if agents:
            shim_limit = max(shim_limit, time.monotonic() + _SHIM_PATIENCE)
        if time.monotonic() < kill_at:
            beyond |= {one for one in agents if one not in asked and not _sent(one, signal.SIGTERM)}
        else:
            shims = alive if time.monotonic() > shim_limit else []
            beyond |= {one for one in agents or shims if not _sent(one, signal.SIGKILL)}
        asked.update(alive)
        if quiet and not alive:
            return sum(not one.is_shim for one in asked)
        quiet = not alive
        time.sleep(_LOOK_EVERY)


def _sent(one: _Process, number: int) -> bool:
    """False: it belongs to another user. A process id in new hands is left alone."""
    try:
        one.process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        return False
    return True


def _finished(
    process: "subprocess.Popen[bytes]",
    mark: str,
    deadline: float,
    stop: Callable[[], bool],
    kill: Callable[[], None] | None,
) -> tuple[int | None, str | None]:
    """The exit code, or None and why we ended it; its whole tree is gone."""
    note: str | None = None
    try:
        while note is None and process.poll() is None:
            if stop():
                note = "stopped"
            elif time.monotonic() >= deadline:
                note = "time limit"
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
    finally:
        main = process.pid if process.poll() is None else None
        _end(lambda one: one.mark == mark or one.process.pid == main, _CHECK_GRACE, kill)
        code = process.wait()
    return (None, note) if note else (code if code >= 0 else 128 - code, None)


def _not_started(name: str, error: Exception) -> tuple[int, str]:
    """A shell's exit code and message; a failure of ours is no verdict on the work."""
    if not isinstance(error, OSError) or error.filename != name:
        raise SpawnError(f"cannot run {name}: {_one_line(error)}") from error
    if isinstance(error, FileNotFoundError):
        return 127, f"{name}: command not found"
    return 126, f"{name}: {str(error.strerror).lower()}"


def _held(folder: Path) -> bool:
    """A shim holds the lock of this folder: its command has not ended."""
    try:
        with (folder / "lock").open("rb") as handle:
            # Shared, which filelock does not have: two who look must not see each other as a shim.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _opened(path: Path) -> IO[bytes]:
    """The file, or an empty one where it is missing."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        return io.BytesIO()


def _tail(handle: IO[bytes], limit: int) -> bytes:
    handle.seek(max(0, handle.seek(0, os.SEEK_END) - limit))
    return handle.read()


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever we are killed."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).split())


def _open(own: CommandAgentSettings, context: Context) -> CommandRunner:
    return CommandRunner(
        own.command,
        prompt=own.prompt,
        output=own.output,
        env=own.given,
        now=context.now,
        scope=context.scope,
        boundary=context.boundary,
    )


def _check(own: CommandAgentSettings, _context: Context) -> Iterable[Check]:
    program = own.command[0]
    if "/" in program and not Path(program).is_absolute():
        said = f"{program} is looked for in each task's worktree"
        yield Check(name="worker", state="ok", said=said)
    elif shutil.which(program, path=own.search_path) is None:
        fix = "install it, or add its folder to `path` under [worker] in wavekeeper.toml"
        yield Check(name="worker", state="fail", said=f"{program} is not on PATH", fix=fix)
    else:
        yield Check(name="worker", state="ok", said=f"{program} is found")


BACKEND: Final = AgentBackend(settings=CommandAgentSettings, open=_open, check=_check)
