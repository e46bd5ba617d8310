"""Proposes reference documents: a clean detached checkout, one commit, one branch of their own.

Policy: "use a clean detached worktree for documentation"; "a long-term reference document when the
lesson is durable". The checkout is one of the supervisor's own, made of what is on the remote; the
main worktree is neither read nor written. The branch's name comes from the key, so that the same
proposal is made once.
"""

import re
import stat
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

from agent.adapters.common import git
from agent.core.assess.write_scopes import covers
from agent.core.model.text import one_line, visible
from agent.errors import NothingDoneError
from agent.ports import Proposed, Worktrees

_WHO: Final = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Wavekeeper"), ("EMAIL", "wavekeeper@localhost"))
}
_MOST: Final = 200_000
"""Characters of a proposed text."""


class GitReferences:
    """Implements `References`: pushes to `remote`, out of checkouts that `worktrees` makes.

    What was proposed is looked for where it was pushed to. `documents` are the patterns of the
    paths that are documents; nothing else can be proposed.

    Raises:
        NothingDoneError: the path is no document, or it cannot be written to.
        WorktreeError: git failed; the message has git's own text.

    """

    def __init__(
        self,
        worktrees: Worktrees,
        remote: str,
        documents: Sequence[str],
        prefix: str = "wavekeeper/reference",
    ) -> None:
        self._worktrees = worktrees
        self._remote = git.address(remote)
        self._documents = tuple(documents)
        self._prefix = prefix

    def proposed(self, key: str) -> Proposed | None:
        branch = self._branch(key)
        listed = git.run("ls-remote", "--", self._remote, f"refs/heads/{branch}")
        commit = listed.partition("\t")[0].strip()
        return Proposed(branch=branch, commit=commit) if commit else None

    def propose(self, path: str, text: str, *, title: str, key: str) -> Proposed:
        self._refuse(path, text)
        if (before := self.proposed(key)) is not None:
            return before
        checkout = self._worktrees.checkout("reference", None)
        if checkout is None:
            raise NothingDoneError("the remote has no default branch to propose a document to")
        try:
            if not self._write(checkout.path, path, visible(text).strip()):
                return Proposed(branch="HEAD", commit=checkout.commit)
            branch = self._branch(key)
            here = checkout.path
            git.run("add", "--force", "--", path, folder=here)
            subject = one_line(title)[:100] or "Write down what was learnt"
            git.run("commit", "--quiet", "-m", subject, folder=here, env=_WHO)
            refs = f"HEAD:refs/heads/{branch}"
            git.run("push", "--quiet", "--", self._remote, refs, folder=here)
            commit = git.run("rev-parse", "HEAD", folder=here).strip()
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
    def _write(root: Path, path: str, text: str) -> bool:
        """Write it at the end of the document, or as a new one; False: the text is there already.

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
