"""Evidence that a commit was pushed and stayed in its write scope, as the remote shows it.

Policy: the supervisor must not "treat local deployment state as source of truth when Git remote is
the required truth". So the remote is asked by its address, and its branches are fetched into a bare
mirror of our own, which holds nothing that could not be fetched again.

A commit counts for an attempt only if the attempt brought it: what the branch was at before the
attempt was sent, and whatever that reaches, was there already (`Noted`). What it brought is
compared with the point where the task's work started; that difference must not be empty, and the
write scope is held against it. What was judged, or was on the branch when the attempt ended, and is
now part of the default branch was delivered, whatever became of its branch: by a merge, a
fast-forward or one commit with the same change.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
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
from agent.core.model.nouns import Baseline, Evidence, ProofKind, TaskKind
from agent.core.model.queueing import Pushed, TaskSpec, TaskView
from agent.core.model.text import code, one_line
from agent.errors import RemoteUnavailableError
from agent.ports import BranchFate, Heads

_BASE: Final = "refs/evidence/default"
_GRACE: Final = 5.0
"""Seconds after its time limit in which a git that is stopped has gone."""
_SHORT: Final = 12
_SHOWN: Final = 300
"""Characters of a path that are shown."""


_SQUASHED: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (
        ("NAME", "wavekeeper"), ("EMAIL", "wavekeeper@localhost"), ("DATE", "2000-01-01T00:00:00Z")
    )
}  # fmt: skip
"""Who a commit is by that never leaves the mirror."""
_SEARCHED: Final = 200
"""The newest commits of the default branch among which a squashed one is looked for."""
_LISTED: Final = 20
"""Commits of others that are listed."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What the supervisor noted about a task, so that evidence is about this attempt."""

    start: Baseline | None = None
    """Where the branches were before the first attempt; None: nobody noted it."""
    baseline: Baseline | None = None
    """Where they were before the current attempt."""
    judged: str | None = None
    """The commit of the current attempt that a judge host checked."""
    pushed: Pushed | None = None
    """What its worker host saw on the branch when it ended, and the default branch had not got."""

    @property
    def seen(self) -> tuple[str, ...]:
        """The commits that somebody saw on the branch while the default branch had none of them."""
        pushed = self.pushed.commit if self.pushed is not None else None
        return tuple(dict.fromkeys(one for one in (self.judged, pushed) if one is not None))


@dataclass(frozen=True, slots=True)
class _Change:
    """What a task's commit brought."""

    head: str
    base: str
    """The commit or tree that it is compared with."""
    left: str
    """The same as something that can be compared: of two histories without a common commit, the
    empty tree."""
    where: str
    """One clause for a person."""
    paths: tuple[str, ...]


_pushed = partial(Finding, kind=ProofKind.COMMIT_PUSHED)
_in_scope = partial(Finding, kind=ProofKind.SCOPE_RESPECTED)
_Findings = tuple[Finding, Finding]
"""Of commit-pushed and of scope-respected."""


class GitEvidence:
    """Probes the branch of a task on `remote`, an address or a path; it is the `Remote` port, too.

    The mirror lives in `folder`, which several processes may share; nothing else may be kept there.
    `documents` are the patterns of the paths a documentation task may change. `timeout` is in
    seconds and for each call of git: the first one fetches the whole history. `noted` gives what
    the supervisor noted about a task, by its id.
    """

    kinds = frozenset({ProofKind.COMMIT_PUSHED, ProofKind.SCOPE_RESPECTED})

    def __init__(
        self,
        remote: str,
        folder: Path,
        documents: Sequence[str],
        timeout: float = 60.0,
        noted: Callable[[str], Noted] = lambda _task: Noted(),
    ) -> None:
        self._remote = git.address(remote)
        self._folder = folder.resolve()
        self._mirror = self._folder / "mirror.git"
        self._documents = tuple(documents)
        self._timeout = timeout
        self._noted = noted
        self._is_made = False
        self._seen: Heads | None = None
        self._failed: tuple[datetime, GitError | OSError] | None = None
        self._known: dict[str, tuple[object, _Findings]] = {}
        self._fates: dict[str, tuple[object, BranchFate | None]] = {}

    def heads(self, now: datetime) -> Heads:
        """Port `Remote`: one question for all branches, shared by what is probed at `now`."""
        try:
            return self._heads(now, share=True)
        except (GitError, OSError) as error:
            raise _out_of_reach(error) from error

    def baseline(self, branch: str, now: datetime) -> Baseline:
        """Port `Remote`: fetched, so that what it reaches can be told from what comes later."""
        heads = self.heads(now)
        try:
            self._fetch(heads, branch)
        except (GitError, OSError) as error:
            raise _out_of_reach(error) from error
        return Baseline(branch=heads.branches.get(branch), default=heads.default)

    def fate(self, branch: str, commit: str, heads: Heads) -> BranchFate | None:
        """Port `Remote`: what became of `commit`, which was at the head of `branch`."""
        head = heads.branches.get(branch)
        asked = (commit, head, heads.default)
        known = self._fates.get(branch)
        if known is None or known[0] != asked:
            try:
                known = asked, self._fate(branch, commit, heads)
            except (GitError, OSError):
                return None
            self._fates[branch] = known
        return known[1]

    def _fate(self, branch: str, commit: str, heads: Heads) -> BranchFate | None:
        self._fetch(heads, branch)
        head = heads.branches.get(branch)
        if not self._has(commit):
            return None
        if heads.default and self._is_in(commit, heads.default):
            return "merged"
        if head is None:
            return "deleted"
        if head == commit:
            return "there"
        return "moved-on" if self._is_ancestor(commit, head) else "rewritten"

    def foreign(self, since: str, heads: Heads, accepted: Sequence[str]) -> Sequence[str] | None:
        """Port `Remote`: commits of the default branch that came after `since` by somebody else."""
        if heads.default in (None, since):
            return ()
        try:
            self._fetch(heads)
            if not (self._has(since) and self._is_ancestor(since, heads.default or "")):
                return (f"{since[:_SHORT]} is no longer part of it: it was rewritten",)
            known = [one for one in accepted if self._has(one)]
            explained: set[str] = set()
            for one in known:
                base = self._merge_base(since, one)
                explained |= self._same_change(one, base, heads.default or "")
            options = ("--no-merges", "--format=%H %s", f"--max-count={_LISTED}")
            listed = self._git("log", *options, f"{since}..{heads.default}", "--not", *known)
            lines = (line.partition(" ") for line in listed.splitlines())
            return tuple(
                f"{commit[:_SHORT]} {one_line(subject)}"
                for commit, _, subject in lines
                if commit not in explained
            )
        except (GitError, OSError):
            return None

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        """Both kinds. While nothing has changed, the remote is only asked where branches are."""
        try:
            noted = replace(self._noted(spec.id), pushed=view.pushed)
            found = self._look(spec, self._heads(now), noted)
        except (GitError, OSError) as error:
            why = git.hidden(str(error))[:_SHOWN]
            found = _pushed(holds=None, detail=why), _in_scope(holds=None, detail=why)
        return evidence("", found, view, now)

    def diff(self, base: str | None, commit: str) -> str | None:
        """Port `DiffSource`, from the mirror: it has both since the probe that named them."""
        if base is None:
            return None
        try:
            self._make_mirror()
            left = (base and self._merge_base(base, commit)) or self._no_files()
            options = ("--no-color", "--no-ext-diff", "--no-textconv", "--full-index", "-M")
            return self._git("diff", *options, left, commit, "--")
        except (GitError, OSError):
            return None

    def _heads(self, now: datetime, *, share: bool = False) -> Heads:
        """What `heads` has seen at `now`, or why it saw nothing: nobody waits twice for that."""
        if self._failed is not None and self._failed[0] == now:
            raise self._failed[1]
        if self._seen is not None and self._seen.at == now:
            return self._seen
        if not share:
            return self._ask(now)
        self._seen = self._failed = None
        try:
            self._seen = self._ask(now)
        except (GitError, OSError) as error:
            self._failed = now, error
            raise
        return self._seen

    def _look(self, spec: TaskSpec, heads: Heads, noted: Noted) -> _Findings:
        asked = (spec, noted, heads.branches.get(spec.branch), heads.default, heads.default_name)
        known = self._known.get(spec.id)
        if known is not None and known[0] == asked:
            return known[1]
        change = self._change(spec, heads, noted)
        if isinstance(change, str):
            found = _nothing(change)
        else:
            base = self._judged_from(change.base, noted.start)
            pushed = _pushed(holds=True, detail=change.where, value=change.head, base=base)
            found = pushed, self._scope(spec, change.paths, change.head)
        self._known[spec.id] = (asked, found)
        return found

    def _change(self, spec: TaskSpec, heads: Heads, noted: Noted) -> _Change | str:
        """What the attempt brought; or why it brought nothing, in one sentence."""
        branch, head = spec.branch, heads.branches.get(spec.branch)
        heads = _with_default(heads, branch)
        if heads.default_name == branch:
            return f"{branch} is origin's default branch: the task needs a branch of its own"
        if head is None and not noted.seen:
            return f"origin has no branch {branch}"
        self._fetch(heads, branch)
        if (delivered := self._delivered(spec, heads, noted)) is not None:
            return delivered
        if head is None:
            return f"origin has no branch {branch}"
        if self._was_before(head, noted):
            when = "this attempt" if noted.start != noted.baseline else "the task"
            return f"{branch} was at {head[:_SHORT]} on origin before {when}: nothing was added"
        base = self._base(head, heads, noted)
        if base is None:
            return f"{branch} has no commit beyond {one_line(heads.default_name)}"
        change = self._compared(head, base, heads, f"{branch} is at {head[:_SHORT]} on origin")
        # What nobody changed is no work, however many commits it took.
        return change if change.paths else f"{branch} changes nothing: its files are as before"

    def _delivered(self, spec: TaskSpec, heads: Heads, noted: Noted) -> _Change | None:
        """What was seen of this attempt, if the default branch has it by now."""
        if heads.default is None:
            return None
        if (copied := self._copied(spec, heads, noted)) is not None:
            return copied
        for commit in noted.seen:
            if heads.branches.get(spec.branch) == commit or not self._has(commit):
                continue
            if self._was_before(commit, noted) or not self._is_in(commit, heads.default):
                continue
            if (base := self._base(commit, heads, noted)) is not None:
                how = "was judged" if commit == noted.judged else "was pushed"
                where = f"{commit[:_SHORT]} of {spec.branch} {how} and is in {heads.default_name}"
                return self._compared(commit, base, heads, where)
        return None

    def _copied(self, spec: TaskSpec, heads: Heads, noted: Noted) -> _Change | None:
        """The commit of the default branch that has the change of a branch that is gone.

        What was squashed and deleted can no longer be fetched; its patch id is what is left of it.
        """
        pushed, start = noted.pushed, noted.start.default if noted.start else None
        if pushed is None or pushed.change is None or start is None or heads.default is None:
            return None
        if self._has(pushed.commit) or not self._has(start):
            return None
        asked = (start, heads.default, _SEARCHED)
        commit = git.commits_by_change(self._mirror, *asked).get(pushed.change)
        if commit is None:
            return None
        base = self._git("rev-parse", "--verify", f"{commit}^").strip()
        where = (
            f"{commit[:_SHORT]} in {heads.default_name} has the change of {spec.branch} "
            f"({pushed.commit[:_SHORT]})"
        )
        return self._compared(commit, base, heads, where)

    def _was_before(self, commit: str, noted: Noted) -> bool:
        """Whether the branch had it before this attempt."""
        before = noted.baseline.branch if noted.baseline else None
        return before is not None and self._has(before) and self._is_ancestor(commit, before)

    def _base(self, head: str, heads: Heads, noted: Noted) -> str | None:
        """The commit that the work at `head` started from.

        None: it brought nothing that was not there; "": the two have no commit in common.
        """
        start = noted.start
        if start is not None and start.branch is not None and self._has(start.branch):
            # It continues a branch: what that was at before is not the task's.
            if self._is_ancestor(head, start.branch):
                return None
            return self._merge_base(start.branch, head)
        if heads.default is None:
            return ""
        before = self._before(head, heads.default)
        if before is None and start is not None and start.default is not None:
            if head not in noted.seen:
                return None
            # A fast-forward leaves no merge behind. That this commit was the task's and not main's
            # own was seen before it was merged; where main was before the task tells the rest.
            known = self._has(start.default) and not self._is_ancestor(head, start.default)
            before = start.default if known else None
        return before and self._merge_base(before, head)

    def _judged_from(self, base: str, start: Baseline | None) -> str:
        """The commit on which the checks are tried, to see that they failed before the task.

        Whoever starts from further back than the default branch was could bring what it had.
        """
        if start is None or start.branch is not None or start.default is None or not base:
            return base
        known = self._has(start.default) and self._is_ancestor(base, start.default)
        return start.default if known else base

    def _compared(self, head: str, base: str, heads: Heads, where: str) -> _Change:
        left = base or self._no_files()
        shown = one_line(heads.default_name)
        count = self._git("rev-list", "--count", f"{base}..{head}" if base else head).strip()
        commits = "1 commit" if count == "1" else f"{count} commits"
        if heads.default is None:
            where = f"{where}, {commits}, and origin has no default branch"
        elif self._is_ancestor(head, heads.default):
            where = f"{where}, {commits}, merged into {shown}"
        else:
            count = self._git("rev-list", "--count", f"{heads.default}..{head}").strip()
            commits = "1 commit" if count == "1" else f"{count} commits"
            where = f"{where}, {commits} beyond {shown}"
        paths = self._changed(left, head)
        if base and heads.default and len(self._merge_bases(heads.default, head)) > 1:
            # The two have merged each other: what a merge now would bring is what the branch adds.
            merged = self._git("merge-tree", "--write-tree", heads.default, head, fine=(0, 1))
            if re.fullmatch("[0-9a-f]{40,64}\n", merged):
                paths = self._changed(heads.default, merged.strip())
        return _Change(head, base, left, where, tuple(paths))

    def _ask(self, now: datetime) -> Heads:
        """Where every branch is. HEAD may name one that nobody has pushed."""
        self._make_mirror()
        asked = ("ls-remote", "--symref", "--", self._remote, "HEAD", f"{HEADS}*")
        symbol, commits = git.parse_refs(self._git(*asked))
        branches = {
            name.removeprefix(HEADS): at for name, at in commits.items() if name.startswith(HEADS)
        }
        if "HEAD" in commits:
            name = symbol.removeprefix(HEADS) if symbol else "HEAD"
            return Heads(now, name, commits["HEAD"], branches)
        main = next((one for one in ("main", "master") if one in branches), "HEAD")
        return Heads(now, main, branches.get(main), branches)

    def _fetch(self, heads: Heads, branch: str | None = None) -> None:
        """What the mirror lacks of the default branch and of `branch`, as they were when seen."""
        wanted = {_BASE: heads.default} if heads.default else {}
        if branch is not None and branch in heads.branches:
            wanted[_ref(branch)] = heads.branches[branch]
        if all(self._has(commit) for commit in wanted.values()):
            return
        names = {_BASE: f"{HEADS}{heads.default_name}", _ref(branch or ""): f"{HEADS}{branch}"}
        if heads.default_name == "HEAD":
            names[_BASE] = "HEAD"
        with self._locked():
            self._remove_stale_locks()
            pairs = [f"+{names[ref]}:{ref}" for ref in wanted]
            options = ("--quiet", "--no-tags", "--no-recurse-submodules", "--update-shallow")
            self._git("fetch", *options, "--", self._remote, *pairs)
        if any(not self._has(commit) for commit in wanted.values()):
            # It moved between the question and the fetch; the next look sees where it is.
            raise GitError("origin's branches moved while they were read")

    def _no_files(self) -> str:
        """The empty tree."""
        return self._git("hash-object", "-w", "-t", "tree", "--stdin").strip()

    def _has(self, commit: str) -> bool:
        return bool(self._git("rev-parse", "-q", "--verify", f"{commit}^{{commit}}", fine=(0, 1)))

    def _is_ancestor(self, commit: str, head: str) -> bool:
        """Whether `head` has all of `commit`."""
        return not self._git("rev-list", "--max-count=1", commit, "--not", head).strip()

    def _is_in(self, commit: str, default: str) -> bool:
        """Whether the default branch has `commit`, or a commit with the same change."""
        if self._is_ancestor(commit, default):
            return True
        return bool(self._same_change(commit, self._merge_base(default, commit), default))

    def _same_change(self, commit: str, base: str, head: str) -> set[str]:
        """Commits on the way to `head` that change by themselves what `base` to `commit` does."""
        if not base:
            return set()
        made = ("commit-tree", f"{commit}^{{tree}}", "-p", base, "-m", "all in one")
        one = self._git(*made, env=_SQUASHED).strip()
        marked = self._git("rev-list", "--cherry-mark", "--no-merges", f"{one}...{head}").split()
        return {line[1:] for line in marked if line.startswith("=")} - {one}

    def _merge_bases(self, one: str, other: str) -> list[str]:
        return self._git("merge-base", "--all", one, other, fine=(0, 1)).split()

    def _merge_base(self, one: str, other: str) -> str:
        return next(iter(self._merge_bases(one, other)), "")

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

    def _git(
        self, *arguments: str, fine: Sequence[int] = (0,), env: Mapping[str, str] | None = None
    ) -> str:
        return git.run(
            *arguments,
            folder=self._folder,
            git_dir=self._mirror,
            timeout=self._timeout,
            fine=fine,
            env=env,
        )


def _with_default(heads: Heads, branch: str) -> Heads:
    """Where HEAD names no branch that is there: the only other one is the default.

    GitError: there are several.
    """
    others = heads.branches.keys() - {branch}
    if heads.default is not None or not others:
        return heads
    main = git.likely_default(others)
    if main is None:
        raise GitError("origin's HEAD names no branch that is there: set it to the main one")
    return replace(heads, default_name=main, default=heads.branches[main])


def _out_of_reach(error: Exception) -> RemoteUnavailableError:
    why = git.hidden(str(error))[:_SHOWN]
    return RemoteUnavailableError(f"where origin's branches are cannot be seen: {why}")


def _ref(branch: str) -> str:
    """Two branches may not be folders of one another here, though they come and go there."""
    return f"refs/evidence/{sha256(branch.encode()).hexdigest()}"


def _nothing(why: str) -> _Findings:
    """No commit was pushed, so there is no difference that could respect a scope."""
    unread = f"no diff to read: {why}"
    return _pushed(holds=False, detail=why), _in_scope(holds=None, detail=unread)
