"""Proposes reference documents: a clean detached checkout, one commit, one branch of their own.

Policy: "use a clean detached worktree for documentation"; "a long-term reference document when the
lesson is durable". The checkout is one of the supervisor's own, made of what is on the remote; the
main worktree is neither read nor written. The branch's name comes from the key, so that the same
proposal is made once.
"""

import os
import re
import stat
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

from agent.adapters.common.process import ProgramError, run
from agent.core.assess.write_scopes import covers
from agent.core.model.text import one_line, visible
from agent.errors import NothingDoneError, WorktreeError
from agent.ports import Proposed, Worktrees

_SETTINGS: Final = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"),
    *("-c", "protocol.ext.allow=never", "-c", "commit.gpgSign=false"),
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false"),
)
_WHO: Final = ("Wavekeeper", "wavekeeper@localhost")
_LIMIT: Final = 300.0
_MOST: Final = 200_000
"""Characters of a proposed text."""
_KEPT: Final = re.compile("SSH_.*|GIT_SSH.*|GIT_ASKPASS|GIT_CONFIG_(GLOBAL|NOSYSTEM)|XDG_.*")
_CREDENTIALS: Final = re.compile(r"://[^/@\s]+@")


class GitReferences:
    """Implements `References`: pushes to `remote`, out of checkouts that `worktrees` makes.

    `documents` are the patterns of the paths that are documents; nothing else can be proposed.

    Raises:
        NothingDoneError: the path is no document, or it cannot be written to.
        WorktreeError: git failed; the message carries its own words.

    """

    def __init__(
        self,
        worktrees: Worktrees,
        remote: str,
        documents: Sequence[str],
        prefix: str = "wavekeeper/reference",
    ) -> None:
        self._worktrees = worktrees
        self._remote = str(Path(remote).resolve()) if Path(remote).exists() else remote
        self._documents = tuple(documents)
        self._prefix = prefix

    def proposed(self, key: str) -> Proposed | None:
        branch = self._branch(key)
        said = self._git(None, "ls-remote", "--", self._remote, f"refs/heads/{branch}")
        commit = said.partition("\t")[0].strip()
        return Proposed(branch=branch, commit=commit) if commit else None

    def propose(self, path: str, text: str, *, title: str, key: str) -> Proposed:
        self._refuse(path, text)
        if (before := self.proposed(key)) is not None:
            return before
        checkout = self._worktrees.checkout("reference", None)
        if checkout is None:
            raise NothingDoneError("the remote has no default branch to propose a document to")
        try:
            if not self._written(checkout.path, path, visible(text).strip()):
                return Proposed(branch="HEAD", commit=checkout.commit)
            branch = self._branch(key)
            self._git(checkout.path, "add", "--force", "--", path)
            subject = one_line(title)[:100] or "Write down what was learnt"
            self._git(checkout.path, "commit", "--quiet", "-m", subject)
            self._git(
                checkout.path, "push", "--quiet", "--", self._remote, f"HEAD:refs/heads/{branch}"
            )
            commit = self._git(checkout.path, "rev-parse", "HEAD").strip()
            return Proposed(branch=branch, commit=commit)
        finally:
            self._worktrees.discard(checkout)

    def _branch(self, key: str) -> str:
        return f"{self._prefix}/{sha256(key.encode()).hexdigest()[:16]}"

    def _refuse(self, path: str, text: str) -> None:
        parts = PurePosixPath(path).parts
        plain = re.fullmatch(r"[A-Za-z0-9][\w./ -]*", path) and ".." not in parts
        if not plain or any(one.lower() == ".git" for one in parts):
            raise NothingDoneError(f"{one_line(path)!r:.80} is no path of a document")
        if not covers(self._documents, path):
            raise NothingDoneError(f"{path!r:.80} is no document by the policy's patterns")
        if not text.strip() or len(text) > _MOST:
            raise NothingDoneError(f"a reference has 1 to {_MOST} characters")

    @staticmethod
    def _written(root: Path, path: str, text: str) -> bool:
        """At the end of the document, or as a new one; False: it says so already.

        Symbolic links lead out of the checkout.
        """
        place = root
        for part in PurePosixPath(path).parts:
            place = place / part
            if place.is_symlink():
                raise NothingDoneError(f"{path!r:.80} leads through a symbolic link")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            old = place.read_text(encoding="utf-8") if place.exists() else ""
            if text in old:
                return False
            gap = "\n\n" if old.strip() else ""
            place.write_text(f"{old.rstrip()}{gap}{text}\n", encoding="utf-8")
            place.chmod(stat.S_IMODE(place.stat().st_mode) & ~0o111)
        except (OSError, UnicodeDecodeError) as error:
            raise NothingDoneError(f"{path!r:.80} cannot be written to") from error
        return True

    def _git(self, folder: Path | None, *arguments: str) -> str:
        kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
        name, address = _WHO
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
               for what, value in (("NAME", name), ("EMAIL", address))}  # fmt: skip
        own = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        try:
            ended = run(
                ["git", *_SETTINGS, *arguments], timeout=_LIMIT, cwd=folder, env=kept | who | own
            )
        except ProgramError as error:
            raise WorktreeError(f"git {arguments[0]}: {error}") from error
        if ended.code != 0:
            raise WorktreeError(f"git {arguments[0]}: {_CREDENTIALS.sub('://', ended.errors)}")
        return ended.output.decode("utf-8", "replace")
