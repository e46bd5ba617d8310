"""Evidence that a commit was pushed and stayed in its write scope, as the remote shows it.

Policy: the supervisor must not "treat local deployment state as source of truth when Git remote is
the required truth". So the remote is asked by its address, and its branches are fetched into a bare
mirror of our own, which holds nothing that could not be fetched again.

A branch is compared with the remote's default branch. Where that already contains it, a merge
commit tells what the branch had brought; a branch that was merged by fast-forward looks like one
that never had a commit of its own, and counts as that. The write scope is held against the net
difference between the branch and the point where it left the default branch.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.adapters.common import git
from agent.adapters.common.git import HEADS, GitError
from agent.adapters.common.lock import locked
from agent.adapters.evidence.probe import Finding, evidence
from agent.core.assess.write_scopes import covers
from agent.core.model.nouns import Evidence, ProofKind, TaskKind
from agent.core.model.queueing import TaskSpec, TaskView
from agent.core.model.text import code, one_line

_BASE: Final = "refs/evidence/default"
_GRACE: Final = 5.0
"""Seconds after its time limit in which a git that is stopped has gone."""
_SHORT: Final = 12
_SHOWN: Final = 300
"""Characters of a path that are shown."""


@dataclass(frozen=True, slots=True)
class _Remote:
    """The commits of the two branches on the remote."""

    head: str | None
    """None: the branch is not there."""
    base: str | None = None
    """None: the remote has no other branch to compare with."""
    base_ref: str = "HEAD"
    base_name: str = "HEAD"


_pushed = partial(Finding, kind=ProofKind.COMMIT_PUSHED)
_in_scope = partial(Finding, kind=ProofKind.SCOPE_RESPECTED)
_Findings = tuple[Finding, Finding]
"""Of commit-pushed and of scope-respected."""


class GitEvidence:
    """Probes the branch of a task on `remote`, an address or a path.

    The mirror lives in `folder`, which several processes may share; nothing else may be kept there.
    `documents` are the patterns of the paths a documentation task may change. `timeout` is in
    seconds and for each call of git: the first one fetches the whole history.
    """

    kinds = frozenset({ProofKind.COMMIT_PUSHED, ProofKind.SCOPE_RESPECTED})

    def __init__(
        self,
        remote: str,
        folder: Path,
        documents: Sequence[str],
        timeout: float = 60.0,
    ) -> None:
        self._remote = git.address(remote)
        self._folder = folder.resolve()
        self._mirror = self._folder / "mirror.git"
        self._documents = tuple(documents)
        self._timeout = timeout
        self._is_made = False
        self._known: dict[str, tuple[TaskSpec, _Remote, _Findings]] = {}

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        """Both kinds. While the remote has not changed, it is only asked where the branch is."""
        try:
            found = self._look(spec)
        except (GitError, OSError) as error:
            why = git.hidden(str(error))[:_SHOWN]
            found = _pushed(holds=None, detail=why), _in_scope(holds=None, detail=why)
        return evidence("", found, view, now)

    def diff(self, spec: TaskSpec, commit: str) -> str | None:
        """Port `DiffSource`: what the branch changed, as long as it is at the commit named."""
        try:
            pushed, _ = self._look(spec)
            known = self._known.get(spec.id)
            if not pushed.holds or known is None or known[1].head != commit:
                return None
            base = known[1].base
            before = self._before(commit, base) if base else ""
            left = self._git("merge-base", before, commit, fine=(0, 1)).strip() if before else ""
            left = left or self._git("hash-object", "-t", "tree", "--stdin").strip()
            options = ("--no-color", "--no-ext-diff", "--no-textconv", "--full-index", "-M")
            return self._git("diff", *options, left, commit, "--")
        except (GitError, OSError):
            return None

    def _look(self, spec: TaskSpec) -> _Findings:
        self._make_mirror()
        remote = self._ask(spec.branch)
        if remote.head is None:
            return _nothing(f"origin has no branch {spec.branch}")
        if remote.base_name == spec.branch:
            return _nothing(
                f"{spec.branch} is origin's default branch: the task needs a branch of its own",
            )
        known = self._known.get(spec.id)
        if known and known[:2] == (spec, remote):
            return known[2]
        remote = self._fetch(spec.branch, remote)
        found = self._compare(spec, remote)
        self._known[spec.id] = (spec, remote, found)
        return found

    def _ask(self, branch: str) -> _Remote:
        """Where the branch and the default branch are; HEAD may name one that nobody pushed."""
        symbol, commits = self._ls_remote("HEAD", f"{HEADS}{branch}")
        head = commits.get(f"{HEADS}{branch}")
        if head is None:
            return _Remote(None)
        if "HEAD" in commits:
            name = symbol.removeprefix(HEADS) if symbol else "HEAD"
            return _Remote(head, commits["HEAD"], "HEAD", name)
        _, commits = self._ls_remote(f"{HEADS}*")
        others = {one.removeprefix(HEADS) for one in commits if one.startswith(HEADS)} - {branch}
        if not others:
            return _Remote(head)
        main = git.likely_default(others)
        if main is None:
            raise GitError("origin's HEAD names no branch that is there: set it to the main one")
        return _Remote(head, commits[f"{HEADS}{main}"], f"{HEADS}{main}", main)

    def _ls_remote(self, *patterns: str) -> tuple[str | None, dict[str, str]]:
        """As `git.parse_refs`; a pattern may match other refs, too."""
        asked = ("ls-remote", "--symref", "--", self._remote, *patterns)
        return git.parse_refs(self._git(*asked))

    def _fetch(self, branch: str, remote: _Remote) -> _Remote:
        """Where the branches were when they were fetched: they may have moved since asked for."""
        # Two branches may not be folders of one another here, though they come and go there.
        ref = f"refs/evidence/{sha256(branch.encode()).hexdigest()}"
        refs = {ref: f"{HEADS}{branch}"}
        if remote.base:
            refs[_BASE] = remote.base_ref
        with self._locked():
            self._remove_stale_locks()
            pairs = [f"+{there}:{here}" for here, there in refs.items()]
            options = ("--quiet", "--no-tags", "--no-recurse-submodules")
            self._git("fetch", *options, "--", self._remote, *pairs)
            found = self._git("rev-parse", *(f"{one}^{{commit}}" for one in refs)).split()
        base = found[1] if remote.base else None
        return _Remote(found[0], base, remote.base_ref, remote.base_name)

    def _compare(self, spec: TaskSpec, remote: _Remote) -> _Findings:
        head = remote.head or ""
        before = self._before(head, remote.base) if remote.base else ""
        if before is None:
            return _nothing(f"{spec.branch} has no commit beyond {one_line(remote.base_name)}")
        left = self._git("merge-base", before, head, fine=(0, 1)).strip() if before else ""
        count = self._git("rev-list", "--count", f"{before}..{head}" if before else head).strip()
        where = f"{spec.branch} is at {head[:_SHORT]} on origin"
        commits = "1 commit" if count == "1" else f"{count} commits"
        if remote.base is None:
            detail = f"{where}, {commits}, and origin has no default branch"
        elif before == remote.base:
            detail = f"{where}, {commits} beyond {one_line(remote.base_name)}"
        else:
            detail = f"{where}, {commits}, merged into {one_line(remote.base_name)}"
        paths = self._changed(left or self._git("hash-object", "-t", "tree", "--stdin"), head)
        return _pushed(holds=True, detail=detail, value=head), self._scope(spec, paths, head)

    def _before(self, head: str, base: str) -> str | None:
        """The last commit of the default branch that the branch did not bring itself.

        None: the branch brought nothing; "": they have no commit in common.
        """
        if self._git("rev-list", "--max-count=1", f"{base}..{head}"):
            return base
        # It was merged. The oldest commit of the trunk that the branch lacks shows where it left.
        trunk = self._git("rev-list", "--first-parent", "--parents", f"{head}..{base}")
        _, *parents = (trunk.splitlines() or [head])[-1].split()
        before = parents[0] if parents else ""
        return None if head in (base, before) else before

    def _changed(self, left: str, head: str) -> list[str]:
        """Every path that is not the same on both sides; a renamed file is two of them."""
        options = ("-r", "-z", "--no-renames", "--name-only")
        listed = self._git("diff-tree", *options, left.strip(), head, "--")
        return [path for path in listed.split("\0") if path]

    def _scope(self, spec: TaskSpec, paths: Sequence[str], head: str) -> Finding:
        outside = [path for path in paths if not covers(spec.write_scope, path)]
        where = "outside the write scope"
        if not outside and spec.kind is TaskKind.DOCUMENTATION:
            outside = [path for path in paths if not covers(self._documents, path)]
            where = "not documentation"
        count = "1 changed path" if len(paths) == 1 else f"{len(paths)} changed paths"
        detail = f"{count}, all in the write scope"
        if outside:
            detail = f"{len(outside)} of {count} {where}, first {code(outside[0][:_SHOWN])}"
        return _in_scope(holds=not outside, detail=detail, value=head)

    def _make_mirror(self) -> None:
        """Once per process and harmless again: a process killed halfway leaves nothing to fix."""
        if not (self._is_made and self._mirror.exists()):
            with self._locked():
                git.run(
                    *("init", "--quiet", "--bare", "--template=", "--", str(self._mirror)),
                    folder=self._folder,
                    timeout=self._timeout,
                )
            self._is_made = True

    def _locked(self) -> AbstractContextManager[None]:
        """One writer of the mirror at a time; waits as long as one call of git may take."""
        busy = GitError(f"another process kept {self._folder} for over {self._timeout:g} s")
        return locked(self._folder / "lock", self._timeout, busy)

    def _remove_stale_locks(self) -> None:
        """Those of a git that was killed; no call of ours lives longer than its time limit."""
        for folder in (self._mirror, self._mirror / "refs" / "evidence"):
            for lock in folder.glob("*.lock"):
                with suppress(FileNotFoundError):
                    if time.time() - lock.stat().st_mtime > self._timeout + _GRACE:
                        lock.unlink()

    def _git(self, *arguments: str, fine: Sequence[int] = (0,)) -> str:
        return git.run(
            *arguments,
            folder=self._folder,
            git_dir=self._mirror,
            timeout=self._timeout,
            fine=fine,
        )


def _nothing(why: str) -> _Findings:
    """No commit was pushed, so there is no difference that could respect a scope."""
    unread = f"no diff to read: {why}"
    return _pushed(holds=False, detail=why), _in_scope(holds=None, detail=unread)
