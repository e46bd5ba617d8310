"""The judge's own repository, and fresh checkouts of what is on the remote.

Everything comes from the remote, by the address that was fixed at the start, into a bare repository
that no agent works in and that borrows nothing from one. A checkout has a `.git` of its own that
borrows the objects of that repository: what commands write into it is thrown away with it, and our
own git never reads it. No hook and no filter runs, and every attribute that changes a file on its
way into a checkout is off, so a checkout holds the bytes of its commit.

One checkout serves all commands of a judgement, because one often builds what the next one runs.
Between two commands every tracked file is put back, so no command decides what the next one reads
of the tree.
"""

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from agent.adapters.common import git
from agent.adapters.common.lock import locked
from agent.core.assess.write_scopes import covers
from agent.errors import UnusableCommitError, WorktreeError
from agent.ports import CleanCheckout, Prepared

_LOCK_LIMIT: Final = 600.0
_FULL: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LINK: Final = "120000"
_SUBMODULE: Final = "160000"
_OWN: Final = {
    # Whoever can write to a repository could have another object read in the place of this one.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LFS_SKIP_SMUDGE": "0",
}
_PLAIN: Final = "* -text -crlf -ident !eol !working-tree-encoding"
_NOT_THERE: Final = re.compile(
    r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref|does not exist"
)
_HOSTS_FAULT: Final = re.compile(
    "No space left|quota exceeded|Read-only file|Input/output error|Permission denied"
    "|Too many open files|annot allocate memory|out of memory|took longer|does not start"
    "|printed more than|unable to read|bad object|is corrupt|\\.lock'"
)
"""What a commit is not to blame for, where it cannot be checked out."""
_OWNER: Final = re.compile(r"(\d+)-[0-9a-f]{8}")

_Entries = dict[str, tuple[str, str]]
"""What is in a tree: of each path the mode and the object."""


class GitCheckouts:
    """Implements `Checkouts` in `folder`, which only judge hosts use; several may share it.

    `remote` is an address or a path. `lfs`: the files of Git LFS are fetched from it in place of
    their pointers. `submodules`: they are filled, from the addresses that the commit names; what
    commands change in one is not put back.
    """

    def __init__(
        self, remote: str, folder: Path, *, lfs: bool = False, submodules: bool = False
    ) -> None:
        self._remote = git.address(remote)
        self._folder = folder.resolve()
        self._clone = self._folder / "clone.git"
        self._lfs = lfs
        self._submodules = submodules
        self._is_open = False

    def find(self, branch: str | None, commit: str | None) -> str | None:
        if commit is not None and not _FULL.fullmatch(commit):
            return None
        with self._locked():
            heads, default = git.heads(self._clone, self._remote)
            name = default if branch is None else branch
            if commit is None:
                return self._fetched(name) if name in heads else None
            for one in dict.fromkeys((name, default)):
                if one in heads and self._leads_to(self._fetched(one), commit):
                    return commit
            return commit if self._fetched_alone(commit) else None

    def prepare(self, commit: str, base: str | None, protected: Sequence[str]) -> Prepared:
        tree = self._git("rev-parse", "--verify", f"{commit}^{{tree}}").strip()
        if base is None:
            return Prepared(commit, tree)
        now, before = self._entries(commit), self._entries(base)
        changed = {path for path in now.keys() | before.keys() if now.get(path) != before.get(path)}
        kept, restored = _protect(now, before, protected) if protected else (now, set())
        return Prepared(
            commit=commit,
            tree=self._tree(kept) if restored else tree,
            changed=tuple(sorted(changed)),
            restored=tuple(sorted(restored)),
            links=self._links(before) | self._links(now),
            before=frozenset(before),
        )

    @contextlib.contextmanager
    def checkout(self, prepared: Prepared) -> Iterator[CleanCheckout]:
        folder = self._folder / "checkouts" / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            with _disk():
                folder.mkdir(parents=True)
                yield _Checkout(self, folder, prepared)
        finally:
            _remove(folder)

    # What a checkout needs of the repository.

    @property
    def clone(self) -> Path:
        """The bare repository."""
        return self._clone

    def attributes(self) -> str:
        """What overrules every `.gitattributes`."""
        return f"{_PLAIN}\n" if self._lfs else f"{_PLAIN} -filter\n"

    def tracked(self, tree: str) -> tuple[set[str], set[str]]:
        """The files of a tree, and its submodules."""
        entries = self._entries(tree)
        modules = {path for path, (mode, _) in entries.items() if mode == _SUBMODULE}
        return entries.keys() - modules, modules

    def fill_submodules(self, path: Path) -> None:
        """Fetch them into a checkout that nobody has worked in, if that is wanted."""
        if not self._submodules:
            return
        # A path on this machine is refused for submodules, unless the remote itself is one.
        allowed = {"GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}
        env = {**_OWN, **(allowed if Path(self._remote).exists() else {})}
        with _blame():
            # Relative addresses are relative to the remote.
            settings = ("config", "remote.origin.url", self._remote)
            git.run(*settings, folder=path, git_dir=path / ".git")
            words = ("submodule", "--quiet", "update", "--init", "--recursive")
            git.run(*words, folder=path, env=env)

    def run(self, *arguments: str, index: Path, path: Path, fine: Sequence[int] = (0,)) -> str:
        """Git in the repository, with the files of a checkout and an index that is not in it."""
        env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(path)}
        return self._git(*arguments, env=env, fine=fine)

    def _git(
        self,
        *arguments: str,
        fine: Sequence[int] = (0,),
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> str:
        return git.run(
            *arguments,
            folder=self._clone,
            git_dir=self._clone,
            fine=fine,
            env={**_OWN, **(env or {})},
            stdin=stdin,
        )

    def _fetched(self, branch: str | None) -> str:
        """The head of this branch of the remote, with all that leads to it."""
        # By a name of our own: `a` and `a/b` may have been branches at different times.
        own = f"refs/judge/heads/{hashlib.sha256(str(branch).encode()).hexdigest()[:24]}"
        self._fetch(f"+refs/heads/{branch}:{own}")
        return self._git("rev-parse", "--verify", f"{own}^{{commit}}").strip()

    def _fetch(self, ref: str, *options: str) -> None:
        asked = ("fetch", "--quiet", "--no-tags", "--update-shallow", *options)
        self._git(*asked, "--", self._remote, ref)

    def _leads_to(self, head: str, commit: str) -> bool:
        asked = ("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
        if not self._git(*asked, fine=(0, 1, 128)).strip():
            return False
        return self._git("merge-base", commit, head, fine=(0, 1)).strip() == commit

    def _fetched_alone(self, commit: str) -> bool:
        """Whether the remote still gives it away by its id.

        An empty repository asks: one that has the commit would not ask the remote for it.
        """
        scratch = self._folder / f"scratch-{uuid.uuid4().hex[:8]}"
        try:
            scratch.mkdir(parents=True)
            git.run("init", "--quiet", "--bare", "--template=", folder=scratch)
            words = ("fetch", "--quiet", "--depth=1", "--no-tags", "--", self._remote, commit)
            git.run(*words, folder=scratch, git_dir=scratch, env=_OWN)
        except git.GitError as error:
            if _NOT_THERE.search(str(error)):
                return False
            raise
        finally:
            _remove(scratch)
        self._fetch(f"{commit}:refs/judge/commits/{commit}")
        return True

    def _entries(self, treeish: str) -> _Entries:
        found: _Entries = {}
        for line in self._git("ls-tree", "-r", "-z", "--full-tree", treeish).split("\0"):
            if line:
                what, _, path = line.partition("\t")
                mode, _, one = what.split(" ")
                found[path] = (mode, one)
        return found

    def _links(self, entries: _Entries) -> dict[str, str]:
        found = {path: one for path, (mode, one) in entries.items() if mode == _LINK}
        wanted = list(dict.fromkeys(found.values()))
        if not wanted:
            return {}
        targets: dict[str, str] = {}
        printed = self._git("cat-file", "--batch", stdin="\n".join(wanted).encode() + b"\n")
        raw = printed.encode("utf-8", "surrogateescape")
        for one in wanted:
            head, _, raw = raw.partition(b"\n")
            size = int(head.split(b" ")[2])
            targets[one], raw = raw[:size].decode("utf-8", "surrogateescape"), raw[size + 1 :]
        return {path: targets[one] for path, one in found.items()}

    def _tree(self, entries: _Entries) -> str:
        """The id of a tree with just these entries."""
        lines = "".join(f"{mode} {one}\t{path}\0" for path, (mode, one) in entries.items())
        index = self._folder / f"index-{uuid.uuid4().hex[:8]}"
        env = {"GIT_INDEX_FILE": str(index)}
        try:
            data = lines.encode("utf-8", "surrogateescape")
            self._git("update-index", "-z", "--index-info", env=env, stdin=data)
            return self._git("write-tree", env=env).strip()
        finally:
            index.unlink(missing_ok=True)

    def _open(self) -> None:
        """Once per host, and idempotent, so that a host killed halfway leaves nothing to fix."""
        if self._is_open and self._clone.exists():
            return
        self._clone.mkdir(parents=True, exist_ok=True)
        git.run("init", "--quiet", "--bare", "--template=", folder=self._clone)
        info = self._clone / "info"
        info.mkdir(exist_ok=True)
        (info / "attributes").write_text(self.attributes())
        if self._lfs:
            for name, value in {
                "remote.origin.url": self._remote,
                "filter.lfs.process": "git-lfs filter-process",
                "filter.lfs.smudge": "git-lfs smudge -- %f",
                "filter.lfs.clean": "git-lfs clean -- %f",
                "filter.lfs.required": "true",
            }.items():
                self._git("config", "--replace-all", name, value)
        for left in (self._folder / "checkouts").glob("*"):
            owner = _OWNER.fullmatch(left.name)
            if owner and not psutil.pid_exists(int(owner[1])):
                _remove(left)
        self._is_open = True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        busy = WorktreeError(
            f"{self._folder} is busy for over {_LOCK_LIMIT:g} s: look which git runs there"
        )
        with _disk(), locked(self._folder / "lock", _LOCK_LIMIT, busy):
            self._open()
            yield


class _Checkout:
    """Implements `CleanCheckout` in `folder`: the files, and beside them our own index."""

    def __init__(self, repository: GitCheckouts, folder: Path, prepared: Prepared) -> None:
        self.path = folder / "tree"
        self._repository = repository
        self._index = folder / "index"
        self._prepared = prepared
        self._tracked, self._modules = repository.tracked(prepared.tree)
        self._folders = {path.rpartition("/")[0] for path in self._tracked}
        self._remembered = (b"", 0)
        self._fill()

    @property
    def readable(self) -> Sequence[Path]:
        return (self._repository.clone / "objects",)

    def restore(self, unwanted: Callable[[str, bool], bool]) -> Sequence[str]:
        with _disk():
            # Whoever found it could have written into it. Its time tells git how far to trust it.
            index, at = self._remembered
            self._index.write_bytes(index)
            os.utime(self._index, ns=(at, at))
            changed = self._differing()
            try:
                if changed:
                    self._git("checkout-index", "--all", "--force", "--quiet", "-u")
                whole = not changed or not self._differing()
            except (git.GitError, OSError):
                whole = False
            if not whole:
                # A command took away its own rights, say. What was built is lost with the rest.
                _remove(self.path)
                self._fill()
                return changed
            for path in self._others():
                if unwanted(path, path.rpartition("/")[0] in self._folders):
                    (self.path / path).unlink()
            self._make_git()
        return changed

    def _fill(self) -> None:
        self.path.mkdir(mode=0o700)
        self._index.unlink(missing_ok=True)
        with _blame():
            self._git("read-tree", self._prepared.tree)
            self._git("checkout-index", "--all", "--force", "--quiet", "-u")
        self._make_git()
        if different := self._differing():
            raise UnusableCommitError(
                f"{different[0]} of {self._prepared.commit[:12]} cannot be checked out as it is"
            )
        if self._modules:
            self._repository.fill_submodules(self.path)

    def _differing(self) -> list[str]:
        """The tracked files that are not as in the tree."""
        self._git("update-index", "-q", "--ignore-submodules", "--refresh", fine=(0, 1))
        listed = self._git("diff-files", "--name-only", "--ignore-submodules", "-z").split("\0")
        return sorted(path for path in listed if path)

    def _others(self) -> Iterator[str]:
        """The files that are not in the tree, submodules not looked into."""
        for root, folders, files in os.walk(self.path):
            here = os.path.relpath(root, self.path)
            front = "" if here == "." else f"{here}/"
            links = [one for one in folders if (Path(root) / one).is_symlink()]
            folders[:] = [
                one
                for one in folders
                if f"{front}{one}" not in self._modules
                and one not in links
                and f"{front}{one}" != ".git"
            ]
            for name in (*files, *links):
                if f"{front}{name}" not in self._tracked:
                    yield f"{front}{name}"

    def _make_git(self) -> None:
        """A new `.git` for commands that ask git; whatever was written into the old one is gone."""
        own = self.path / ".git"
        modules = self._index.with_name("modules")
        if self._modules and (own / "modules").is_dir() and not own.is_symlink():
            (own / "modules").rename(modules)
        _remove(own)
        (own / "objects" / "info").mkdir(parents=True)
        (own / "refs" / "heads").mkdir(parents=True)
        (own / "info").mkdir()
        clone = self._repository.clone
        borrowed = os.fsencode(clone / "objects") + b"\n"
        (own / "objects" / "info" / "alternates").write_bytes(borrowed)
        (own / "info" / "attributes").write_text(self._repository.attributes())
        (own / "config").write_text(
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"
        )
        if (clone / "shallow").exists():
            shutil.copyfile(clone / "shallow", own / "shallow")
        shutil.copyfile(self._index, own / "index")
        self._remembered = (self._index.read_bytes(), self._index.stat().st_mtime_ns)
        if modules.exists():
            modules.rename(own / "modules")
        # Last, because it is what makes a folder a repository.
        (own / "HEAD").write_text(f"{self._prepared.commit}\n")

    def _git(self, *arguments: str, fine: Sequence[int] = (0,)) -> str:
        return self._repository.run(*arguments, index=self._index, path=self.path, fine=fine)


def _protect(
    now: _Entries, before: _Entries, protected: Sequence[str]
) -> tuple[_Entries, set[str]]:
    """The entries with protected paths as they were before, and the paths that this changes."""
    kept = dict(now)
    ours = {path: entry for path, entry in before.items() if covers(protected, path)}
    restored = {path for path in now if path not in ours and covers(protected, path)}
    restored |= {path for path, entry in ours.items() if now.get(path) != entry}
    for path in restored & ours.keys():
        # A file or a link where a folder was, or a folder where a file was, is in its way.
        parts = path.split("/")
        above = {"/".join(parts[:length]) for length in range(1, len(parts))}
        restored |= above & now.keys()
    blocked = tuple(f"{path}/" for path in restored & ours.keys())
    restored |= {path for path in now if path.startswith(blocked)} if blocked else set()
    for path in restored:
        kept.pop(path, None)
    return kept | ours, restored


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """`OSError` leaves as `WorktreeError`."""
    try:
        yield
    except OSError as error:
        raise WorktreeError(f"{error.strerror or error}: {error.filename}") from error


@contextlib.contextmanager
def _blame() -> Iterator[None]:
    """A fault that is not this machine's is the commit's."""
    try:
        yield
    except git.GitError as error:
        if _HOSTS_FAULT.search(str(error)):
            raise
        raise UnusableCommitError(f"it cannot be checked out: {error}") from error


def _remove(path: Path) -> None:
    """With everything in it, also where a command took the rights away."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    if not path.exists():
        return
    with contextlib.suppress(OSError):
        shutil.rmtree(path)
        return
    for root, folders, _ in os.walk(path):
        for one in (".", *folders):
            with contextlib.suppress(OSError):
                if not (Path(root) / one).is_symlink():
                    (Path(root) / one).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
