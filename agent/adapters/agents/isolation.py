"""What stands between an agent, or a command that checks its work, and the rest of this machine.

`bubblewrap`: it runs in namespaces of its own. It sees the system and its own program, read-only;
its worktree, the clone that hangs on it, a home and a temporary folder of its own; and nothing of
the state, of other tasks, of the person's home or of other processes. `user`: it runs as another
user, see `users.py`. `none`: it runs as the person. In all of them it gets an environment by
allow-list, so no secret of the supervisor is in it.
"""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from agent.adapters.common import process
from agent.adapters.common.git import AGENTS, CLONE
from agent.backends import Boundary, Isolation
from agent.errors import ConfigurationError, SpawnError

UNPROTECTED: Final = "the agent runs as you and can write what judges it"
AS_OTHERS: Final = (
    "agents run as other users of this machine: they cannot reach what judges them, but see its "
    "processes and what all users may read"
)
KEEPER: Final = "WAVEKEEPER_SHIM"
"""In the environment of what only looks after a run: the shim, and bubblewrap itself."""

_KEPT: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TERM|COLORTERM|NO_COLOR|TZ|TMPDIR"
    r"|(?i:(https?|ftp|all|no)_proxy)"
    r"|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE|NODE_EXTRA_CA_CERTS|PIP_CERT"
    r"|GIT_SSL_CA(INFO|PATH)|GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)"
    r"|GIT_CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)|GIT_ATTR_NOSYSTEM|XDG_(CONFIG|CACHE|DATA|STATE)_HOME",
)
HOMES: Final = re.compile("XDG_(CONFIG|CACHE|DATA|STATE)_HOME|GIT_CONFIG_GLOBAL")
"""Of these, what names a place of the person's home; the private home has the usual ones."""
_CERTIFICATES: Final = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    "PIP_CERT", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
)  # fmt: skip
_SYSTEM: Final = tuple(
    Path("/", name)
    for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix", "etc")
)
_TEMPORARY: Final = "/tmp"  # noqa: S108 - its own, by a mount
_SHARED: Final = tuple(
    Path("/", name) for name in ("", "home", "root", "tmp", "var", "run", "mnt", "srv", "media")
)
"""Folders that are never shown whole because a program happens to lie in one of them."""
_TOOLCHAINS: Final = (
    ".rustup", ".pyenv", ".rbenv", ".nodenv", ".nvm", ".asdf", ".sdkman", ".volta",
    ".local/share/mise", ".local/share/uv", ".local/share/pipx", ".local/pipx",
)  # fmt: skip
"""Of a home: what the programs in PATH need, and no secret is kept in."""
_ENVIRONMENTS: Final = ("pyvenv.cfg", "conda-meta")
"""What is in a folder that was made for programs alone."""
_OF_A_PROGRAM: Final = ("bin", "sbin", "lib", "lib64", "libexec", "include")
"""Beside a folder `bin`: the rest of what was installed with it."""
_HOPS: Final = 8
"""Symbolic links and interpreters that are followed from a program."""
_OF_GIT: Final = (
    ".gitconfig",
    ".config/git/config",
    ".config/git/ignore",
    ".config/git/attributes",
)
_OF_SSH: Final = (".ssh/known_hosts", ".ssh/config")
"""Copied where the agent is given the person's ssh agent."""
_NAMESPACES: Final = (
    "--unshare-user-try", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
    # Root keeps its capabilities otherwise, and with them it unmounts whatever hides something.
    "--cap-drop", "ALL",
    # The host waits for the shim, and the shim for bubblewrap: what ends one of them ends all.
    "--die-with-parent", "--new-session",
)  # fmt: skip
_KERNEL: Final = ("sys", "sysrq-trigger", "bus", "irq", "fs", "acpi", "scsi", "mtrr", "asound")
"""Below /proc, and the same for the whole machine. Root writes there without any capability, for
example which program the kernel runs when another one crashes; bubblewrap covers only some."""
_TRIAL: Final = 60.0
"""Seconds for a trivial command: a busy machine is no reason to do without a boundary."""

Arguments = Iterator[str]


def environment() -> dict[str, str]:
    """Of this process's environment what an agent gets in any case; no secret is in it."""
    return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}


@lru_cache(maxsize=1)
def fault() -> str | None:
    """Why bubblewrap does not work here, in one line; None: it works. Tried once per process."""
    program = shutil.which("bwrap")
    if program is None:
        return "bwrap is not on PATH"
    front = (program, "--json-status-fd", "1", *_namespaces(), "--unshare-net")
    argv = [*front, *_system(network=False), "--", "true"]
    try:
        ended = process.run(argv, process.Bounds(_TRIAL), env=environment(), name="bwrap")
    except process.ProgramError as error:
        return str(error)
    return None if ended.code == 0 else f"bwrap {ended.summary}"


def choose(asked: Isolation | None) -> Isolation:
    """The isolation in force. None: the best that works here.

    ConfigurationError: the one that was asked for by name does not work.
    """
    if asked is None:
        return "none" if fault() else "bubblewrap"
    if asked == "bubblewrap" and (why := fault()) is not None:
        raise ConfigurationError(
            f'[worker] isolation = "bubblewrap" does not work here ({why}); install the package '
            'bubblewrap and allow user namespaces, or write isolation = "user" (as root) or "none"',
        )
    return asked


def find_program(name: str, cwd: Path, path: str) -> Path:
    """The program that `name` is, looked for as a shell would, but only in absolute folders.

    OSError, whose `filename` is `name`: there is none, or it may not be run.
    """
    where = cwd / name if "/" in name else None
    if where is None and (found := shutil.which(name, path=path)) is not None:
        return Path(found)
    if where is None or not where.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if where.is_dir() or not os.access(where, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    return where


def not_started(said: str, name: str) -> OSError | SpawnError:
    """What to raise where bubblewrap printed `said` and did not start the program `name`.

    OSError, whose `filename` is `name`: the program cannot be run, as without a boundary.
    """
    last = (said.strip().splitlines() or ["it gave no reason"])[-1]
    if last.startswith("bwrap: execvp "):
        is_missing = last.endswith(os.strerror(errno.ENOENT))
        number = errno.ENOENT if is_missing else errno.EACCES
        return OSError(number, os.strerror(number), name)
    return SpawnError(f"cannot run {name}: {last}")


def furnish(private: Path, env: Mapping[str, str]) -> None:
    """Make a home and a temporary folder; of the person's home only git's settings are in it.

    They are copies: nothing an agent does to them reaches the person.
    """
    for folder in (private / "home", private / "tmp"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = [*_OF_GIT, *(_OF_SSH if "SSH_AUTH_SOCK" in env else ())]
    sources = {name: Path.home() / name for name in wanted}
    if (named := os.environ.get("GIT_CONFIG_GLOBAL")) is not None:
        sources[".gitconfig"] = Path(named)
    for name, source in sources.items():
        target = private / "home" / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(source, target)


@dataclass(frozen=True, slots=True)
class Room:
    """One run: where it works, and what is its own."""

    cwd: Path
    private: Path
    """On this machine: a folder for its home and its temporary files, made by `furnish`."""
    env: Mapping[str, str]
    """Its whole environment."""
    kept: Mapping[str, Path] = field(default_factory=dict)
    """Folders that outlive the run, by the name under which they lie in its home."""


class Bubblewrap:
    """Puts commands behind a boundary."""

    def __init__(self, boundary: Boundary) -> None:
        self._program = shutil.which("bwrap") or "bwrap"
        self._boundary = boundary
        self._home = _home()

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """What is kept of `env`, in which home and temporary folder are its own."""
        kept = {k: v for k, v in env.items() if not HOMES.fullmatch(k) or v == os.devnull}
        return {**kept, "HOME": str(self._home), "TMPDIR": _TEMPORARY}

    def agent(self, command: Sequence[str], template: Sequence[str], room: Room, task: str,
              prompt: Path) -> list[str]:  # fmt: skip
        """The command that runs `command`, an agent's. `template`: the same as it was configured.

        Raises:
            OSError: there is no such program.
            SpawnError: its worktree does not hang on a clone of its own.

        """
        boundary, path = self._boundary, room.env.get("PATH", os.defpath)
        program = find_program(command[0], room.cwd, path)
        programs = [*self._programs(program, path), *self._named(template)]
        own = [*_remotes(boundary.remotes), *_worktree(room.cwd, boundary.clones, task)]
        if str(prompt) in command:
            own += ["--ro-bind", str(prompt), str(prompt)]
        socket = room.env.get("SSH_AUTH_SOCK")
        if socket and Path(socket).exists():
            own += ["--ro-bind", socket, socket]
        front = [self._program, *_namespaces(), *_system(network=True)]
        return [*front, *self._view(programs, room), *own, *_end(room.cwd, command)]

    def check(self, command: Sequence[str], room: Room, readable: Iterable[Path],
              status: int) -> list[str]:  # fmt: skip
        """The command that runs `command`, which checks work in a checkout.

        `status`: a descriptor to which bubblewrap writes `exit-code` if the command was started.
        OSError: there is no such program.
        """
        path = room.env.get("PATH", os.defpath)
        programs = [*self._programs(find_program(command[0], room.cwd, path), path), *readable]
        network = self._boundary.network
        front = [self._program, "--json-status-fd", str(status), *_namespaces()]
        front += [*_system(network=network), *(() if network else ("--unshare-net",))]
        own = ("--bind", str(room.cwd), str(room.cwd))
        return [*front, *self._view(programs, room), *own, *_end(room.cwd, command)]

    def _view(self, programs: Iterable[Path], room: Room) -> Arguments:
        """Its private folders, what it may read and write, and over that what it may not see.

        The order is the rule: a later mount lies over an earlier one.
        """
        boundary = self._boundary
        yield from ("--bind", str(room.private / "tmp"), _TEMPORARY)
        yield from ("--bind", str(room.private / "home"), str(self._home))
        for name, folder in room.kept.items():
            yield from ("--bind", str(folder), str(self._home / name))
        certificates = [Path(room.env[name]) for name in _CERTIFICATES if room.env.get(name)]
        shown = dict.fromkeys((*programs, *boundary.readable, *certificates), "--ro-bind")
        shown |= dict.fromkeys(boundary.writable, "--bind")
        for one in sorted(shown):
            if one.exists() and (shown[one] == "--bind" or not _is_below(one, _SYSTEM)):
                yield from (shown[one], str(one), str(one))
        for one in sorted(boundary.hidden):
            if one.exists() and _is_below(one, (*_SYSTEM, *shown)):
                yield from _covered(one)

    def _programs(self, program: Path, path: str) -> Iterator[Path]:
        """Where programs are: this one's, those of PATH, and the toolchains behind them."""
        folders = (Path(one) for one in path.split(os.pathsep))
        found = {one for folder in folders for one in _installed_with(folder)}
        found.update(*(_installed_with(one.parent) for one in _hops(program, path, _HOPS)))
        found.update(Path.home() / one for one in _TOOLCHAINS)
        yield from (one for one in found if one.is_absolute() and not self._holds_more(one))

    def _named(self, template: Sequence[str]) -> Iterator[Path]:
        """Files that a configured command names, with their folders: a script and its modules."""
        for part in template:
            one = Path(part)
            if one.is_absolute() and one.exists():
                folder = one if one.is_dir() else one.parent
                yield one if self._holds_more(folder) else folder

    def _holds_more(self, folder: Path) -> bool:
        """Whether more lies in it than a program: it is not shown for the program's sake."""
        guarded = (*self._boundary.hidden, *self._boundary.remotes, Path.home(), *_SHARED)
        return any(one == folder or one.is_relative_to(folder) for one in guarded)


def _home() -> Path:
    """Where the private home is seen: where the person's is, because ssh looks only there."""
    home = Path.home()
    odd = not home.is_absolute() or len(home.parts) == 1
    return Path("/home/agent") if odd or _is_below(home, (*_SYSTEM, Path("/proc"), Path("/dev"))) \
        else home  # fmt: skip


def _is_below(one: Path, folders: Iterable[Path]) -> bool:
    return any(one.is_relative_to(folder) for folder in folders)


def _namespaces() -> Arguments:
    yield from _NAMESPACES
    if os.geteuid() == 0:
        # Without it, no sandbox of the agent's own can be made inside this one. It gives nothing
        # else here: bubblewrap lets no program gain rights from its file.
        yield from ("--cap-add", "CAP_SETFCAP")


def _system(*, network: bool) -> Arguments:
    for folder in _SYSTEM:
        if folder.is_symlink():
            yield from ("--symlink", str(folder.readlink()), str(folder))
        elif folder.is_dir():
            yield from ("--ro-bind", str(folder), str(folder))
    for secret in _not_for_everybody(Path("/etc")):
        yield from _covered(secret)
    yield from ("--proc", "/proc")
    for name in _KERNEL:
        yield from ("--ro-bind-try", f"/proc/{name}", f"/proc/{name}")
    yield from ("--dev", "/dev", "--tmpfs", "/run", "--dir", "/var/tmp")  # noqa: S108
    names = Path("/etc/resolv.conf").resolve()
    if network and names.is_file() and not _is_below(names, _SYSTEM):
        yield from ("--ro-bind", str(names), str(names))


def _not_for_everybody(folder: Path) -> Iterator[Path]:
    """What only some may read, such as the hashes of passwords: root could, even in there."""
    with os.scandir(folder) as found:
        for one in found:
            if one.is_symlink():
                continue
            mode, is_folder = one.stat(follow_symlinks=False).st_mode, one.is_dir()
            if not mode & stat.S_IROTH or (is_folder and not mode & stat.S_IXOTH):
                yield Path(one)
            elif is_folder:
                yield from _not_for_everybody(Path(one))


def _covered(one: Path) -> tuple[str, ...]:
    return ("--tmpfs", str(one)) if one.is_dir() else ("--ro-bind", os.devnull, str(one))


def _installed_with(folder: Path) -> Iterator[Path]:
    """A folder of programs, and what they need beside it."""
    if folder.name == "shims":  # pyenv and its like: each program asks the whole of it
        yield folder.parent
    elif folder.name in ("bin", "sbin"):
        whole = any((folder.parent / name).exists() for name in _ENVIRONMENTS)
        yield from [folder.parent] if whole else [folder.parent / name for name in _OF_A_PROGRAM]
    else:
        yield folder


def _hops(program: Path, path: str, most: int) -> Iterator[Path]:
    """The program, what it links to, and what interprets it."""
    while most > 0:
        yield program
        most -= 1
        if program.is_symlink():
            program = Path(os.path.normpath(program.parent / program.readlink()))
            continue
        try:
            with program.open("rb") as file:
                first = file.readline(256)
        except OSError:
            return
        words = first.removeprefix(b"#!").split() if first.startswith(b"#!") else []
        if not words:
            return
        interpreter = os.fsdecode(words[0])
        if Path(interpreter).name == "env":
            named = (os.fsdecode(one) for one in words[1:] if not one.startswith(b"-"))
            interpreter = shutil.which(next(named, ""), path=path) or interpreter
        program = Path(interpreter)


def _git_folder(worktree: Path) -> Path | None:
    """Git's own folder of a worktree, as the worktree has it; its agent can write that."""
    pointer = worktree / ".git"
    if pointer.is_symlink() or not pointer.is_file():
        return None
    text = pointer.read_text(encoding="utf-8", errors="replace")
    return Path(os.path.normpath(text.removeprefix("gitdir:").strip()))


def _worktree(worktree: Path, clones: Path | None, task: str) -> Arguments:
    """The worktree, its own clone, and read-only the objects which that borrows."""
    yield from ("--bind", str(worktree), str(worktree))
    folder = _git_folder(worktree)
    if clones is None or folder is None:
        return
    own, shared = clones / AGENTS / f"{task}.git", clones / CLONE
    if folder.parent == own / "worktrees":
        objects = str(shared / "objects")
        yield from ("--ro-bind", objects, objects, "--bind", str(own), str(own))
    elif folder == shared / "worktrees" / task:
        # Of an earlier version, in which the worktrees of all tasks hung on one clone.
        yield from ("--ro-bind", str(shared), str(shared))
        for one in (shared / "objects", folder):
            yield from ("--bind", str(one), str(one))
    else:
        raise SpawnError(f"{worktree}/.git names {folder}, which is no clone of ours: move it away")


def _remotes(remotes: Iterable[Path]) -> Arguments:
    """Repositories of this machine: written by a push, but what runs in them is not the agent's."""
    for remote in remotes:
        folder = remote / ".git" if (remote / ".git").is_dir() else remote
        yield from ("--bind", str(folder), str(folder))
        hooks, config = folder / "hooks", folder / "config"
        yield from ("--ro-bind-try", str(config), str(config))
        yield from (
            ("--ro-bind", str(hooks), str(hooks)) if hooks.exists() else _covered_hooks(hooks)
        )
        borrowed = folder / "objects" / "info" / "alternates"
        for line in borrowed.read_text().splitlines() if borrowed.is_file() else ():
            where = Path(os.path.normpath(folder / "objects" / line))
            yield from ("--ro-bind-try", str(where), str(where))


def _covered_hooks(hooks: Path) -> tuple[str, ...]:
    """An empty folder, read-only, so that nobody puts a hook there."""
    return ("--tmpfs", str(hooks), "--remount-ro", str(hooks))


def _end(cwd: Path, command: Sequence[str]) -> Arguments:
    yield from ("--remount-ro", "/", "--unsetenv", KEEPER, "--chdir", str(cwd), "--", *command)
