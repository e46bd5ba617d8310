"""Detached git worktrees for agents, and clean checkouts for reference documents.

The remote is the only source of truth: every read of a branch asks the remote itself, by its
address. Each worktree hangs on a bare clone of its own, in which its agent may do what it likes.
All of them, and the clone that the checkouts hang on, borrow the objects of one more clone, which
no agent can write: what a commit holds is the same for everybody as on the remote. The user's own
checkout is never touched.
"""

import contextlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from agent.adapters.common import git
from agent.adapters.common.lock import locked
from agent.core.model.queueing import Pushed
from agent.errors import WorktreeError
from agent.ports import Checkout

_BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
"""Never a dash in front, which git would take for an option, and never a pattern."""
_LOCK_LIMIT: Final = 600.0
_TRIES: Final = 4
"""Agents use the same clone from their worktrees, and hold its small locks for an instant."""
_BUSY: Final = re.compile("lock|unable to update local ref")
_NOT_SET: Final = 5
"""What `git config` ends with where there is nothing to remove."""
_MADE: Final = "wavekeeper-made"
_POINTER: Final = 8 * 1024
_LOG: Final = 16 * 1024**2
"""Bytes that are read of a worktree's pointer to its clone, and of its log: the newest."""
_CHECKOUT: Final = re.compile(r"-(\d+)-[0-9a-f]{8}$")


class GitWorktrees:
    """Implements `Worktrees` with `git worktree`.

    `remote` is an address or a path, and so is `push`, where the agents' `git push origin` goes if
    that is another place. `folder` holds one worktree per task, `state` the bare clones.
    Several hosts and threads of one machine may share both. A failure is a `WorktreeError` with
    git's own message; a task's worktree is never removed, whatever is in it.
    """

    def __init__(self, remote: str, folder: Path, state: Path, push: str | None = None) -> None:
        self._remote = git.address(remote)
        self._push = git.address(push or remote)
        self._folder = folder.resolve()
        self._state = state.resolve()
        self._clone = self._state / git.CLONE
        self._agents = self._state / git.AGENTS
        self._clean = self._state / "checkouts.git"
        self._is_open = False

    def made_in(self, task: str) -> frozenset[str]:
        """Port `OwnCommits`, from the worktree's own log of where HEAD was."""
        return _made(_git_folder(self._folder / task) / "logs" / "HEAD")

    def prepare(self, task: str, branch: str, continues: str | None = None) -> Path:
        path, own = self._folder / task, self._agents / f"{task}.git"
        with self._locked():
            if self._is_made(path, own):
                # Nothing of an earlier attempt runs any more: a lock is of a git that was killed.
                for folder in (_git_folder(path), own):
                    for lock in folder.rglob("*.lock"):
                        lock.unlink(missing_ok=True)
                if own.exists():
                    self._configure(own)
                return path
            heads, default = git.heads(self._clean, self._remote)
            base = branch if _checked(branch) in heads else continues or default
            origin = git.hidden(self._remote)
            if base is not None and _checked(base) not in heads:
                raise WorktreeError(f"{origin} has no branch {base!r}, which the task goes on from")
            if base is None:
                raise WorktreeError(f"{origin} has no branch to start from: push one first")
            needed = sorted({base, default or base})
            refs = [f"+refs/heads/{name}:refs/remotes/origin/{name}" for name in needed]
            _patiently(self._clone, "fetch", "--quiet", "--", self._remote, *refs)
            self._lend(own)
            # Other users of this machine see nothing of it, as of the clone.
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            _add(own, path, f"refs/remotes/origin/{base}")
            (_git_folder(path) / _MADE).touch()
        return path

    def pushed(self, branch: str) -> Pushed | None:
        with self._locked():
            heads, default = git.heads(self._clean, self._remote)
            commit = heads.get(_checked(branch))
            if commit is None or default is None or default == branch:
                return None
            refs = (f"refs/heads/{branch}", f"refs/heads/{default}")
            _git(self._clean, "fetch", "--quiet", "--no-tags", "--", self._remote, *refs)
            if not _git(self._clean, "rev-list", "--max-count=1", commit, "--not", heads[default]):
                return None
            asked = ("merge-base", heads[default], commit)
            base = _git(self._clean, *asked, fine=(0, 1)).strip()
            change = git.change_id(self._clean, base, commit) if base else None
        return Pushed(commit=commit, change=change)

    def _lend(self, own: Path) -> None:
        """Make the clone of one agent, new: an earlier agent may have configured what is there."""
        shutil.rmtree(own, ignore_errors=True)
        own.parent.mkdir(exist_ok=True)
        own.mkdir(mode=0o700)
        (own / "objects" / "info").mkdir(parents=True)
        self._configure(own)
        for name in ("HEAD", "packed-refs"):
            if (self._clone / name).exists():
                shutil.copyfile(self._clone / name, own / name)
        shutil.copytree(self._clone / "refs", own / "refs")
        _borrow(own, self._clone)

    def _configure(self, own: Path) -> None:
        """Tell an agent's clone where the remote is now, whatever an earlier attempt made of it."""
        part = self._state / "config.part"
        shutil.copyfile(self._clone / "config", part)
        # Not written in place: the agent may have put a link to another file there.
        part.replace(own / "config")

    def checkout(self, task: str, branch: str | None) -> Checkout | None:
        with self._locked():
            self._forget_dead_checkouts()
            heads, default = git.heads(self._clean, self._remote)
            name = default if branch is None else _checked(branch)
            if name is None or name not in heads:
                return None
            _git(self._clean, "fetch", "--quiet", "--", self._remote, f"refs/heads/{name}")
            commit = _git(self._clean, "rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
            path = self._checkouts() / f"{task}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            _add(self._clean, path, commit)
        return Checkout(path=path, commit=commit)

    def discard(self, checkout: Checkout) -> None:
        with self._locked():
            self._remove(checkout.path)

    def _checkouts(self) -> Path:
        # No task id begins with a dot.
        return self._folder / ".checkouts"

    def _forget_dead_checkouts(self) -> None:
        """Those of hosts that were killed before they could discard them."""
        for path in self._checkouts().glob("*"):
            owner = _CHECKOUT.search(path.name)
            if owner and not psutil.pid_exists(int(owner[1])):
                self._remove(path)

    def _remove(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        _git(self._clean, "worktree", "prune")

    def _is_made(self, path: Path, own: Path) -> bool:
        """True: there is a worktree of ours, whole. What a killed host half made is removed."""
        if not path.exists() or not any(path.iterdir()):
            return False
        folder = _git_folder(path)
        # Those of an earlier version hang on the clone that is now shared.
        ours = (own / "worktrees", self._clone / "worktrees")
        # Its agent can put a link there, which would lead us to what is not its own.
        if folder.parent not in ours or not folder.is_dir() or folder.resolve() != folder:
            raise WorktreeError(f"{path} is there but is no worktree of {own}: move it away")
        if not (folder / _MADE).exists():
            # `prepare` never returned it, so nobody has worked in it.
            shutil.rmtree(path)
            return False
        return True

    def _open(self) -> None:
        """Once per host, and idempotent, so that a host killed halfway leaves nothing to fix."""
        if self._is_open and self._clone.exists() and self._clean.exists():
            return
        for clone in (self._clone, self._clean):
            clone.mkdir(exist_ok=True)
            git.run("init", "--quiet", "--bare", "--template=", folder=clone)
        settings = {
            "remote.origin.url": self._remote,
            "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*",
            # Milliseconds that a git waits for a lock which another one holds; git's own is 100.
            "core.filesRefLockTimeout": "10000",
        }
        for one in (self._remote, self._push):
            # The agents' git rewrites addresses as the person wants. These were rewritten already,
            # and the longest match wins.
            settings |= {f"url.{one}.insteadOf": one, f"url.{one}.pushInsteadOf": one}
        if self._push != self._remote:
            settings["remote.origin.pushurl"] = self._push
        else:
            gone = ("config", "--unset-all", "remote.origin.pushurl")
            _patiently(self._clone, *gone, fine=(0, _NOT_SET))
        for name, value in settings.items():
            _patiently(self._clone, "config", "--replace-all", name, value)
        _borrow(self._clean, self._clone)
        self._is_open = True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time on this machine; `OSError` leaves as `WorktreeError`."""
        try:
            busy = WorktreeError(
                f"{self._state} is busy for over {_LOCK_LIMIT:g} s: look which git runs there",
            )
            with locked(self._state / "lock", _LOCK_LIMIT, busy):
                self._open()
                yield
        except OSError as error:
            raise WorktreeError(f"{error.strerror or error}: {error.filename}") from error


def _made(log: Path) -> frozenset[str]:
    """The commits that were made, as git notes where HEAD was: `OLD NEW WHO WHEN<tab>WHAT`."""
    entries = (line.partition("\t") for line in _text(log, _LOG).splitlines())
    return frozenset(
        head.split(" ")[1]
        for head, _, what in entries
        if what.startswith(("commit", "cherry-pick"))
    )


def _add(clone: Path, path: Path, commit: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # --force: the path may still be registered, when its folder was deleted by hand.
    _git(clone, "worktree", "add", "--quiet", "--detach", "--force", "--", str(path), commit)


def _borrow(clone: Path, source: Path) -> None:
    """Let `clone` use the objects of `source`."""
    borrowed = clone / "objects" / "info" / "alternates"
    borrowed.parent.mkdir(exist_ok=True)
    borrowed.write_bytes(os.fsencode(source / "objects") + b"\n")


def _patiently(repository: Path, *arguments: str, fine: Sequence[int] = (0,)) -> None:
    retrying = Retrying(
        retry=retry_if_exception(_is_busy),
        wait=wait_exponential(multiplier=0.1),
        stop=stop_after_attempt(_TRIES),
        reraise=True,
    )
    retrying(_git, repository, *arguments, fine=fine)


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, WorktreeError) and bool(_BUSY.search(str(error)))


def _git(repository: Path, *arguments: str, fine: Sequence[int] = (0,)) -> str:
    return git.run(*arguments, folder=repository, git_dir=repository, fine=fine)


def _git_folder(worktree: Path) -> Path:
    """Git's own folder for this worktree; git removes it when the worktree is pruned."""
    return Path(_text(worktree / ".git", _POINTER).removeprefix("gitdir:").strip())


def _text(path: Path, limit: int) -> str:
    """The last `limit` bytes of a file that an agent can write; "": it is no plain file."""
    try:
        # A pipe would keep us waiting, and a link lead us to what is not the agent's.
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(opened, "rb") as file:
        known = os.fstat(opened)
        if not stat.S_ISREG(known.st_mode):
            return ""
        file.seek(max(0, known.st_size - limit))
        return file.read(limit).decode("utf-8", "surrogateescape")


def _checked(branch: str) -> str:
    if not _BRANCH.fullmatch(branch):
        raise WorktreeError(f"{branch!r} is no usable branch name: use letters, digits and ._/-")
    return branch
