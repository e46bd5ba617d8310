"""Runs agents, and the commands that check their work, as other users of this machine.

Each run has one of these users for itself, and is given its own worktree and clone, or its
checkout, with a home and a temporary folder. So what keeps two runs apart is what keeps two users
apart. A user is taken by a lock that goes with the run. Whoever takes one first ends what any user
without a run still runs, takes back what that user was given, and removes what it left in the
folders of all: what is given away is at rest, and a task finds nothing of another one.

Only root can do this. What is given lies in the workspace, outside of the state folder, which no
other user may pass.
"""

import fcntl
import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import psutil

from agent.adapters.agents import isolation
from agent.adapters.common import git, process
from agent.backends import Boundary
from agent.errors import ConfigurationError
from agent.paths import SharedPlaces

LOCKS: Final = Path("/run/wavekeeper")
"""Of the whole machine: two installations may name the same users."""
_POWERFUL: Final = ("root", "disk", "kmem", "shadow", "docker", "lxd")
"""Groups whose members are root by a short way, or read what only root should."""
_MOST: Final = 2**32 - 2
_TRIAL: Final = 60.0
_FREE: Final = 60.0
"""Seconds to wait for a user without a run; others look at one for an instant."""
_GONE: Final = 20.0
"""Seconds to wait for the end of what was killed."""
_LOOK_EVERY: Final = 0.02
_CHECK: Final = ".check-"
"""What the names of rooms for checks begin with; no task id begins with a dot."""
_SEEN: Final = (
    'for one do r=-; w=-; x=-; [ -r "$one" ] && r=r; [ -w "$one" ] && w=w; '
    '[ -x "$one" ] && x=x; echo "$r$w$x"; done'
)
_KILL: Final = "kill -s KILL -- -1"
"""Ends all processes that it may signal, at once."""
_FOR_ALL: Final = tuple(Path("/", one) for one in ("tmp", "var/tmp", "dev/shm", "dev/mqueue"))
"""Where every user may leave something."""


@dataclass(frozen=True, slots=True)
class User:
    """A user of this machine."""

    name: str
    """Its number where it has no name."""
    uid: int
    gid: int
    groups: tuple[int, ...]

    def start(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` as this user, and can never become another one."""
        groups = ",".join(str(one) for one in self.groups)
        return [
            shutil.which("setpriv") or "setpriv",
            *(f"--reuid={self.uid}", f"--regid={self.gid}"),
            f"--groups={groups}" if groups else "--clear-groups",
            *("--no-new-privs", "--inh-caps=-all", "--", *command),
        ]


@dataclass(frozen=True, slots=True)
class Lent:
    """What one run has for itself."""

    user: User
    lock: int
    """The descriptor that holds the user, for whoever outlives this process."""
    private: Path
    """Its home and its temporary folder lie in it."""

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """What is kept of `env`, in which home and temporary folder are its own."""
        kept = {name: value for name, value in env.items() if not isolation.HOMES.fullmatch(name)}
        own = {"HOME": str(self.private / "home"), "TMPDIR": str(self.private / "tmp")}
        return {**kept, **own, "USER": self.user.name, "LOGNAME": self.user.name}

    def kill(self) -> None:
        """Send SIGKILL to all that it runs."""
        _kill((self.user,))

    def command(self, command: Sequence[str], cwd: Path, path: str) -> list[str]:
        """The command that runs `command`.

        OSError, whose `filename` is the program's name: there is none. Any other OSError: there is
        one that this user may not run, which is nobody's fault but this machine's.
        """
        name = command[0]
        found = isolation.find_program(name, cwd, path)
        if not found.is_relative_to(cwd):
            folders = (Path(one) for one in path.split(os.pathsep) if "/" not in name)
            known = [one / name for one in folders if one.is_absolute()]
            known = [one for one in known if one.is_file()] or [found]
            if not any("x" in right for right in _rights(self.user, known).values()):
                raise PermissionError(f"the user {self.user.name} may not run it: {known[0]}")
        return self.user.start(command)


class Users:
    """Puts commands behind the boundary between users. `inspect` found nothing wrong with it."""

    def __init__(self, boundary: Boundary) -> None:
        if boundary.workspace is None:
            raise ConfigurationError("agents that run as other users need a workspace: name one")
        self._users = find_users(boundary.users)
        self._ids = frozenset(one.uid for one in self._users)
        self._places = SharedPlaces(boundary.workspace)
        self._remotes = [
            str(one) for folder in boundary.remotes for one in (folder, folder / ".git")
        ]
        self._make()

    def private(self, folder: Path) -> Path:
        """Of the run whose own folder is `folder`: where its home and temporary folder are."""
        return self._places.rooms / folder.name

    def own_clone(self, task: str) -> Path:
        """The clone that a task's worktree hangs on."""
        return self._places.clone / git.AGENTS / f"{task}.git"

    def kept(self, task: str) -> Path:
        """The folder for what a task's agents leave to those of its next attempts."""
        return self._places.rooms / f"{task}.agent"

    @contextmanager
    def agent(self, folder: Path, task: str, cwd: Path, env: Mapping[str, str],
              prompt: bytes) -> Iterator[Lent]:  # fmt: skip
        """A user with all that an agent's run needs; whoever inherits the lock keeps it.

        `prompt`: what is in the file `prompt` of its private folder.
        OSError: no user is without a run, or something cannot be given.
        """
        more = (self.own_clone(task), self.kept(task))
        own = (cwd, *(one for one in more if one.exists()))
        with self._lent(own, self.private(folder), env, prompt) as lent:
            yield lent

    @contextmanager
    def check(self, cwd: Path, env: Mapping[str, str]) -> Iterator[Lent]:
        """The same for one command in a checkout; nothing that it starts outlives the block."""
        private = Path(tempfile.mkdtemp(prefix=_CHECK, dir=self._places.rooms))
        try:
            with self._lent((cwd,), private, env, b"") as lent:
                try:
                    yield lent
                finally:
                    _end((lent.user,))
        finally:
            shutil.rmtree(private, ignore_errors=True)

    def kill(self, folder: Path) -> None:
        """Send SIGKILL to all that the run of this folder still runs."""
        with suppress(FileNotFoundError):
            # It is the run's until somebody takes its user, who takes this back first.
            owner = self.private(folder).lstat().st_uid
            _kill([one for one in self._users if one.uid == owner])

    def clear(self) -> int:
        """End what users without a run still run, and take back what they own.

        Answers how many processes there were. OSError: one of them does not end.
        """
        taken = [(user, lock) for user in self._users if (lock := _lock(user)) is not None]
        try:
            return self._calm([user for user, _ in taken])
        finally:
            for _, lock in taken:
                os.close(lock)

    def _make(self) -> None:
        places = self._places
        places.workspace.mkdir(parents=True, exist_ok=True, mode=0o711)
        agents, checkouts = places.clone / git.AGENTS, places.judge / "checkouts"
        for folder in (places.clone, agents, places.rooms, places.judge, checkouts):
            folder.mkdir(exist_ok=True, mode=0o711)
        for folder in (places.clone, places.judge):
            # Whoever can read a lock can hold it.
            (folder / "lock").touch(mode=0o600)
            (folder / "lock").chmod(0o600)

    @contextmanager
    def _lent(self, own: Iterable[Path], private: Path, env: Mapping[str, str],
              prompt: bytes) -> Iterator[Lent]:  # fmt: skip
        user, lock = self._take()
        try:
            self._calm([user])
            self.clear()
            if private.exists():
                shutil.rmtree(private)
            private.mkdir(mode=0o700)
            isolation.furnish(private, env)
            (private / "prompt").write_bytes(prompt)
            with (private / "home" / ".gitconfig").open("ab") as file:
                # The remote is not this user's, and git asks for that where it is a path.
                file.write(b"\n" + git.safe_directories(self._remotes))
            for one in (*own, private):
                if not one.is_relative_to(self._places.workspace):
                    raise PermissionError(f"{one} is not in the workspace, so no agent gets it")
                _give(one, user, self._ids)
            yield Lent(user, lock, private)
        finally:
            os.close(lock)

    def _take(self) -> tuple[User, int]:
        deadline = time.monotonic() + _FREE
        while True:
            for user in self._users:
                if (lock := _lock(user)) is not None:
                    return user, lock
            if time.monotonic() > deadline:
                raise BlockingIOError(
                    f"every one of the {len(self._users)} `agent_users` has a run; name more"
                )
            time.sleep(0.1)

    def _calm(self, users: Sequence[User]) -> int:
        """End what these users run, and take back what they own; their locks are held."""
        count = _end(users)
        ids = {one.uid for one in users}
        places = self._places
        rooms = (places.workspace, places.clone / git.AGENTS, places.rooms)
        given = [one.path for folder in rooms for one in os.scandir(folder)]
        given += [f"{one.path}/tree" for one in os.scandir(places.judge / "checkouts")]
        for folder in given:
            with suppress(FileNotFoundError):
                if os.lstat(folder).st_uid not in ids:
                    continue
                if Path(folder).name.startswith(_CHECK) and Path(folder).parent == places.rooms:
                    shutil.rmtree(folder)  # of a host that was killed meanwhile
                else:
                    _close(Path(folder))
        for one in (one for folder in _FOR_ALL if folder.is_dir() for one in os.scandir(folder)):
            with suppress(FileNotFoundError):
                if one.stat(follow_symlinks=False).st_uid in ids:
                    _remove(one)
        return count


def find_users(named: Iterable[str | int]) -> tuple[User, ...]:
    """The users of these names and numbers. ConfigurationError: agents may not be one of them."""
    found = [_find(one) for one in named]
    for user in found:
        if sum(one.uid == user.uid for one in found) > 1:
            raise _wrong(user.name, "is there twice: each run has a user for itself; name others")
    return tuple(found)


def _find(named: str | int) -> User:
    try:
        known = pwd.getpwnam(named) if isinstance(named, str) else pwd.getpwuid(named)
    except (KeyError, OverflowError):
        if isinstance(named, str):
            raise _wrong(named, "is no user of this machine; make it, or name another") from None
        if not 0 < named <= _MOST:
            raise _wrong(str(named), "is no user's number; name another") from None
        user = User(str(named), named, named, ())
    else:
        groups = os.getgrouplist(known.pw_name, known.pw_gid)
        more = tuple(one for one in groups if one != known.pw_gid)
        user = User(known.pw_name, known.pw_uid, known.pw_gid, more)
    if user.uid in (0, os.geteuid()):
        raise _wrong(user.name, "is you or root; name users that nothing else runs as")
    for one in (user.gid, *user.groups):
        with suppress(KeyError):
            if one == 0 or grp.getgrgid(one).gr_name in _POWERFUL:
                group = grp.getgrgid(one).gr_name
                raise _wrong(user.name, f"is in the group {group}; take it out, or name another")
    return user


def _wrong(name: str, said: str) -> ConfigurationError:
    return ConfigurationError(f"[worker] agent_users: {name} {said}")


@lru_cache(maxsize=4)
def fault(users: tuple[User, ...]) -> str | None:
    """Why this machine cannot run commands as these users, in one line. Tried once per process."""
    if os.geteuid() != 0:
        return "only root can start agents as other users"
    if shutil.which("setpriv") is None:
        return "setpriv is not on PATH"
    for user in users:
        argv = user.start(["sh", "-c", "id -u; id -g; grep NoNewPrivs /proc/self/status"])
        try:
            with _tried(user):
                ended = process.run(argv, process.Bounds(_TRIAL), env=_plain(), name="setpriv")
                with tempfile.NamedTemporaryFile(prefix="wavekeeper-") as file:
                    os.chown(file.name, user.uid, user.gid)
        except process.ProgramError as error:
            return str(error)
        except OSError as error:
            return f"{error.strerror}: {error.filename}"
        if ended.output.split() != f"{user.uid} {user.gid} NoNewPrivs: 1".encode().split():
            return f"setpriv as {user.name} {ended.summary}"
    return None


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the boundary stands and falls with."""

    state: Path
    """No user may reach it."""
    kept: Sequence[Path]
    """No user may change them, or what is on the way to them."""
    remote: Path | None = None
    """The repository that agents push to, if it is one of this machine."""


def inspect(boundary: Boundary, guarded: Guarded) -> None:
    """ConfigurationError, one line, unless agents can run as other users here, and safely."""
    users = find_users(boundary.users)
    if (why := fault(users)) is not None:
        raise ConfigurationError(
            f'[worker] isolation = "user" does not work here ({why}); start it as root where '
            'setpriv (util-linux) works, or write isolation = "bubblewrap" or "none"',
        )
    if (mask := _umask()) & 0o055:
        raise ConfigurationError(
            f'[worker] isolation = "user": the umask {mask:03o} hides the clones from every agent; '
            "start it with umask 022",
        )
    for user in users:
        with _tried(user) as has_no_run:
            if has_no_run:
                _inspect_processes(user)
            _inspect_state(user, guarded.state)
            _inspect_home(user)
            _inspect_kept(user, guarded.kept)
            _inspect_workspace(user, boundary.workspace)
            if guarded.remote is not None:
                _inspect_remote(user, guarded.remote, several=len(users) > 1)


def may_run(users: Iterable[str | int], program: Path) -> str | None:
    """The name of a user that may not run it; None: all may."""
    for user in find_users(users):
        with _tried(user):
            if "x" not in _rights(user, [program])[program]:
                return user.name
    return None


@contextmanager
def _tried(user: User) -> Iterator[bool]:
    """Nobody takes this user meanwhile, and ends what we try. False: a run has it; as good."""
    lock = _lock(user)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def _inspect_state(user: User, state: Path) -> None:
    if not state.exists():
        return
    if state.stat().st_uid == user.uid or _rights(user, [state])[state] != "---":
        said = f"can reach the state folder {state}; make it root's, and run `chmod 700` on it"
        raise _wrong(user.name, said)


def _inspect_kept(user: User, kept: Iterable[Path]) -> None:
    # Who can make what is missing can change it as well.
    found = [_there(one) for one in kept]
    for one, way in _changeable(user, found).items():
        place = one if way == one else f"{way}, and so replace {one}"
        raise _wrong(user.name, f"can change {place}; take that right away (chmod, chown)")


def _inspect_workspace(user: User, workspace: Path | None) -> None:
    if workspace is None:
        return
    there = _there(workspace)
    if "x" not in _rights(user, [there])[there]:
        said = f"cannot get to the workspace {workspace}; name one that it can, or `chmod o+x` what"
        raise _wrong(user.name, f"{said} is on the way")


def _inspect_remote(user: User, remote: Path, *, several: bool) -> None:
    """Whether it can push there, and cannot have its own program run by others there."""
    folder = remote / ".git" if (remote / ".git").is_dir() else remote
    heads = folder / "refs" / "heads"
    needed = [folder / "objects", folder / "refs", heads]
    # Where branches have their names by default; whoever pushed there first may have it alone.
    needed += [one for one in (heads / "wavekeeper",) if one.exists()]
    rights = _rights(user, needed)
    for one in needed:
        if rights[one] != "rwx":
            raise _wrong(user.name, f"cannot push to {remote}: it needs the right to write {one}")
    run = [one for one in (folder / "hooks", folder / "config", folder / "HEAD") if one.exists()]
    for one in _changeable(user, [folder, *run]).values():
        said = f"can change {one}, where a hook of its own would be run by others who push"
        raise _wrong(user.name, f"{said}; leave it the right to write only objects and refs")
    asked = ("config", "--get", "core.sharedRepository")
    shared = git.run(*asked, folder=folder, git_dir=folder, fine=(0, 1)).strip()
    if several and shared in ("", "false", "umask", "0"):
        raise ConfigurationError(
            f"[worker] agent_users: {remote} lets no user go on from what another one pushed; run "
            f"`git --git-dir={folder} config core.sharedRepository group`",
        )


def _inspect_processes(user: User) -> None:
    """Nothing but runs of ours may run as one of these users: all that does is ended with them."""
    for one in _processes((user,)):
        with suppress(psutil.NoSuchProcess):
            if "WAVEKEEPER_MARK" not in one.environ():
                said = f"also runs {one.name()!r:.40} (process {one.pid}); end it, or name a user"
                raise _wrong(user.name, f"{said} that nothing else runs as")


def _inspect_home(user: User) -> None:
    """What one task leaves in the user's own home, the programs of the next one would read."""
    with suppress(KeyError):
        home = Path(pwd.getpwuid(user.uid).pw_dir)
        if home.exists() and home in _changeable(user, [home]):
            said = f"can write its home {home}, where the next task finds what one leaves"
            raise _wrong(user.name, f"{said}; make that root's")


def _changeable(user: User, kept: Sequence[Path]) -> dict[Path, Path]:
    """Of `kept` what a user can change or replace, and where it can."""
    ways = {one: list(dict.fromkeys((*_way(one.absolute()), *_way(one.resolve())))) for one in kept}
    rights = _rights(user, list(dict.fromkeys(part for way in ways.values() for part in way)))
    found: dict[Path, Path] = {}
    for one, way in ways.items():
        ends = (one.absolute(), one.resolve())
        for part in way:
            may = "w" in rights[part] and (
                part in ends or ("x" in rights[part] and not _is_sticky(part))
            )
            if may or part.lstat().st_uid == user.uid:
                found[one] = part
                break
    return found


def _there(path: Path) -> Path:
    """The path, or the closest folder above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def _way(path: Path) -> tuple[Path, ...]:
    return (*reversed(path.parents), path)


def _is_sticky(folder: Path) -> bool:
    """Only the owner of what is in it may rename that."""
    return bool(folder.stat().st_mode & stat.S_ISVTX)


def _rights(user: User, paths: Sequence[Path]) -> dict[Path, str]:
    """What a user may do with each, such as `r-x`, as the kernel sees it."""
    argv = user.start(["sh", "-c", _SEEN, "sh", *(str(one) for one in paths)])
    try:
        ended = process.run(argv, process.Bounds(_TRIAL), env=_plain(), name="setpriv")
    except process.ProgramError as error:
        raise _wrong(user.name, f"cannot be tried: {error}") from error
    lines = ended.output.decode().split()
    if len(lines) != len(paths):
        raise _wrong(user.name, f"cannot be tried: setpriv {ended.summary}")
    return dict(zip(paths, lines, strict=True))


def _plain() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _lock(user: User) -> int | None:
    """A descriptor that holds the user; None: a run has it."""
    LOCKS.mkdir(exist_ok=True, mode=0o700)
    lock = os.open(LOCKS / f"{user.uid}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _processes(users: Iterable[User]) -> list[psutil.Process]:
    """What these users run, zombies not counted."""
    ids, found = {one.uid for one in users}, []
    for pid in psutil.pids():
        with suppress(psutil.Error):
            one = psutil.Process(pid)
            if ids & set(one.uids()) and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def _end(users: Sequence[User]) -> int:
    """End all that these users run; answers how many processes there were.

    OSError: one of them does not end.
    """
    left = _processes(users)
    count, deadline = len(left), time.monotonic() + _GONE
    while left:
        # Both ways: one that forks is faster than the first, one that kills its own than the other.
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        _kill(users)
        left = _processes(users)
        if left and time.monotonic() > deadline:
            raise BlockingIOError(f"process {left[0].pid} of an agent's user does not end")
        time.sleep(_LOOK_EVERY)
    return count


def _kill(users: Sequence[User]) -> None:
    for user in users:
        # Whoever asks looks for their end, and asks again.
        with suppress(subprocess.TimeoutExpired, OSError):
            kill = user.start(["sh", "-c", _KILL])
            subprocess.run(kill, env=_plain(), check=False, timeout=_GONE)


def _remove(one: "os.DirEntry[str]") -> None:
    if one.is_dir(follow_symlinks=False):
        shutil.rmtree(one.path, ignore_errors=True)
    else:
        Path(one.path).unlink()


def _close(folder: Path) -> None:
    """Take it back: what lies in it is out of reach then, whoever owns that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _give(top: Path, user: User, ids: frozenset[int]) -> None:
    """Make a user the owner of a folder and of all in it; nothing outside of it is touched.

    Nobody works in it meanwhile, because it is closed to all, and no link is followed. A file that
    has another name elsewhere is left as it is, unless it is one of the `ids`' own: an agent may
    have linked a file of somebody else into its folder.
    """
    _close(top)
    device = top.stat().st_dev
    folders = [str(top)]
    while folders:
        with os.scandir(folders.pop()) as found:
            for one in found:
                known = one.stat(follow_symlinks=False)
                if stat.S_ISDIR(known.st_mode):
                    if known.st_dev != device:
                        continue  # somebody mounted it there
                    folders.append(one.path)
                elif known.st_nlink > 1 and known.st_uid not in ids:
                    continue
                if (known.st_uid, known.st_gid) != (user.uid, user.gid):
                    os.chown(one.path, user.uid, user.gid, follow_symlinks=False)
    os.chown(top, user.uid, user.gid, follow_symlinks=False)
