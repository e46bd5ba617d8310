"""An error once, or for a while, at any call that reaches outside: nothing is lost or doubled.

The sweep of `test_crash` kills; this one fails, before or after the effect, and the supervisor
goes on as the loop does. There are two worlds: in the one every call of state, queue and issues
fails, in the other every git call, every write of a file, every remedy, every proposed document.
"""

import errno
import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.common import git
from agent.adapters.evidence.git import GitEvidence
from agent.adapters.evidence.judge import JudgeEvidence
from agent.adapters.git.references import GitReferences
from agent.adapters.git.worktrees import GitWorktrees
from agent.adapters.remedies.command import CommandRemedies
from agent.adapters.remedies.settings import RemedySettings
from agent.errors import (
    ChangedMeanwhileError,
    GuardRefusesError,
    IssuesUnavailableError,
    QueueUnavailableError,
    RemoteUnavailableError,
    UnusableStoreError,
    WorktreeError,
)
from agent.runtime.approval_answers import Answering
from agent.runtime.context import Ports
from tests.adapters.git_origin import DOCUMENTS, Origin
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

MISSING = "make: demo-lint: command not found"
SCRIPT = {
    ("T-1", 1): Turn(commit="d" * 40, checks=MISSING),
    ("T-2", 1): Turn(error=MISSING),
    ("T-3", 1): Turn(commit="e" * 40, checks="AssertionError: 3 != 4"),
    ("T-4", 1): Turn(vanish=True),
}
CALLS: dict[str, tuple[type[Exception], frozenset[str]]] = {
    "store": (
        UnusableStoreError,
        frozenset({"save", "save_defect", "add_outcome", "note", "task_records", "notes"}),
    ),
    "journal": (UnusableStoreError, frozenset({"append", "unresolved"})),
    "state": (UnusableStoreError, frozenset({"transaction"})),
    "approvals": (UnusableStoreError, frozenset({"ask", "change", "cards", "declined"})),
    "queue": (
        QueueUnavailableError,
        frozenset(
            {
                "submit",
                "retry",
                "interrupt",
                "mark_read",
                "receipt",
                "get",
                "changed_since",
                "queues",
            }
        ),
    ),
    "issues": (IssuesUnavailableError, frozenset({"find", "open", "comment", "close"})),
    "judgements": (QueueUnavailableError, frozenset({"order", "ordered", "latest"})),
    "remote": (RemoteUnavailableError, frozenset({"heads", "baseline"})),
}
OUTSIDE: dict[str, tuple[type[Exception], frozenset[str]]] = {
    "remedies": (UnusableStoreError, frozenset({"carry_out", "done"})),
    "references": (WorktreeError, frozenset({"propose", "proposed"})),
}
WHILE = 12
"""Calls of the same port that fail in a row when the fault lasts."""
PAUSE = 7
"""Ticks in which what failed a few times in the same way is tried once more."""
MINUTES = 5
"""For so long a fault of git or a file lasts at most."""


@dataclass
class Fault:
    """Fails the `at`-th call, and the following ones of its port for `span` calls."""

    at: int
    after: bool
    span: int
    calls: Mapping[str, tuple[type[Exception], frozenset[str]]] = field(
        default_factory=lambda: CALLS
    )
    seen: int = 0
    port: str = ""
    left: int = 0
    where: str = ""

    def wrap(self, world: Ports) -> Ports:
        faulty = {name: Faulty(getattr(world, name), name, self) for name in self.calls}
        return replace(world, **faulty)

    def strikes(self, port: str, call: str) -> bool:
        self.seen += 1
        if self.seen == self.at:
            self.port, self.left, self.where = port, self.span, f"{port}.{call}"
        if self.left and port == self.port:
            self.left -= 1
            return True
        return False

    def around(
        self, port: str, name: str, error: Callable[[], Exception], method: Callable[..., Any]
    ) -> Callable[..., Any]:
        """`method`, which may fail before or after."""

        def call(*args: Any, **kwargs: Any) -> Any:
            strikes = self.strikes(port, name)
            if strikes and not self.after:
                raise error()
            answer = method(*args, **kwargs)
            if strikes:
                if isinstance(answer, io.IOBase):
                    answer.close()
                raise error()
            return answer

        return call


class Faulty:
    """A port whose calls may fail."""

    def __init__(self, inner: Any, name: str, fault: Fault) -> None:
        self._inner, self._name, self._fault = inner, name, fault

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        error, calls = self._fault.calls[self._name]
        if name not in calls:
            return method
        if name == "transaction":
            return lambda: self._transaction(method, error)
        return self._fault.around(self._name, name, lambda: error(f"{name} failed"), method)

    @contextmanager
    def _transaction(self, method: Callable[[], Any], error: type[Exception]) -> Iterator[None]:
        """Before: nothing is committed. After: it was, and the error comes all the same."""
        strikes = self._fault.strikes(self._name, "transaction")
        with method():
            yield
            if strikes and not self._fault.after:
                raise error("commit failed")
        if strikes:
            raise error("commit failed")


def run(folder, at: int, *, after: bool = False, span: int = 1) -> tuple[SmallWorld, Fault]:
    """The wave with one fault; the loop reports a tick that failed and tries again."""
    fault = Fault(at, after, span)
    world = SmallWorld(folder, SCRIPT, wrap=fault.wrap)
    world.submit(*(spec(f"T-{n}") for n in (1, 2, 3, 4)))
    ticker = None
    for _ in range(80):
        try:
            ticker = ticker or world.ticker()
            ticker.tick()
        except UnusableStoreError:
            pass
        world.clock.move(61)
        world.host()
        if world.settled():
            break
    return world, fault


def figures(world: SmallWorld) -> dict[str, Any]:
    """What must come out the same whatever failed on the way."""
    # Of two tasks with one cause either may be named, when the other cannot be seen just then; and
    # a task whose defect is fixed before it could be parked is released as it is.
    done = Counter(
        (action, "" if action in ("open-issue", "split-defect") else task)
        for action, task in world.actions()
        if action not in ("inspect", "review", "park")
    )
    store = world.world.store
    issues = list((world.folder / "issues").glob("*.md"))
    return {
        "stuck": [one.spec.id for one in store.task_records(settled=False)],
        "ends": world.outcome(),
        "charged": {one.spec.id: one.charged for one in store.task_records()},
        "outcomes": sorted((one.task, one.result, one.attributable) for one in store.outcomes(99)),
        "done": done,
        "issues": len(issues),
        "comments": sum(one.read_text("utf-8").count("wavekeeper-comment") for one in issues),
        "open intents": len(world.world.journal.unresolved()),
        "journal": world.world.journal.verify(),
    }


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    world, fault = run(tmp_path_factory.mktemp("calm"), 0)
    assert figures(world)["stuck"] == []
    return figures(world), fault.seen


def swept(calm, folder, points, *, after: bool, span: int) -> None:
    expected, _ = calm
    found = []
    for at in points:
        world, fault = run(folder / str(at), at, after=after, span=span)
        now = figures(world)
        wrong = {name: now[name] for name in expected if now[name] != expected[name]}
        if wrong:
            found.append(f"{fault.where} at call {at}: {wrong}")
    assert not found, f"{len(found)} of {len(points)}: " + "\n".join(found[:20])


WAYS = pytest.mark.parametrize(
    ("after", "span"),
    [
        pytest.param(False, 1, id="once-before"),
        pytest.param(True, 1, id="once-after"),
        pytest.param(False, WHILE, id="a-while-before"),
        pytest.param(True, WHILE, id="a-while-after"),
    ],
)


@WAYS
def test_an_error_at_a_call_changes_nothing_in_the_end(calm, tmp_path, after, span):
    _, calls = calm
    assert calls > 300
    swept(calm, tmp_path, range(1 + 3 * after + span % 7, calls + 1, 79), after=after, span=span)


@pytest.mark.long
@WAYS
def test_an_error_at_any_call_changes_nothing_in_the_end(calm, tmp_path, after, span):
    _, calls = calm
    swept(calm, tmp_path, range(1, calls + 1), after=after, span=span)


# The second world: the work of T-1 is on a real remote. T-2 meets a cause for which a person allows
# a remedy. Then T-3 and T-4 meet another one, and what it has taught is written down. The fixes
# take their time, so that what comes later because of a fault comes before them all the same.

BROKEN = {
    ("T-2", 1): Turn(commit="d" * 40, checks=MISSING),
    **{(f"T-{n}", 1): Turn(commit="d" * 40, checks="No space left on device") for n in (3, 4)},
    **{(f"fix-d-{n}", attempt): Turn(vanish=True) for n in (1, 2) for attempt in range(1, 7)},
}


@dataclass(frozen=True)
class Routed:
    """Port `EvidenceProbe`: T-1 by git, the others by the small world's table."""

    table: Any
    remote: Any
    kinds: Any

    def probe(self, spec: Any, view: Any, now: Any) -> Any:
        return (self.remote if spec.id == "T-1" else self.table).probe(spec, view, now)


@contextmanager
def failing(fault: Fault, folder: Path) -> Iterator[None]:
    """Every git call, and everything that writes a file below `folder`, may fail."""

    def full() -> OSError:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def guarded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        faulty = fault.around("file", name, full, method)

        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            named = isinstance(path, str | os.PathLike)
            mode = args[0] if name == "open" and args else "w"
            ours = not named or Path(path).is_relative_to(folder)
            writes = isinstance(mode, str) and set(mode) & set("wax+")
            return (faulty if ours and writes else method)(path, *args, **kwargs)

        return call

    run = fault.around("git", "run", lambda: git.GitError("git: it failed"), git.run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(git, "run", run)
        patch.setattr(io, "open", guarded("open", io.open))
        for name in ("replace", "fsync", "mkdir"):
            patch.setattr(os, name, guarded(name, getattr(os, name)))
        yield


def run_outside(
    origin: Origin, commit: str, folder: Path, at: int, *, after: bool = False, span: int = 1
) -> tuple[SmallWorld, Fault]:
    folder.mkdir()
    bare, bridge = str(origin.copy(folder).bare), folder / "bridge"
    fault = Fault(at, after, span, OUTSIDE)
    world = SmallWorld(folder, {**BROKEN, ("T-1", 1): Turn(commit=commit)}, wrap=fault.wrap)
    remedy = RemedySettings(
        target="hosts-dev", environment="dev", reasons=("missing-tool",), dry_run=("true",),
        command=("sh", "-c", 'printf x >>"$0"', str(bridge)), verify=("test", "-e", str(bridge)),
        timeout="1s",
    )  # fmt: skip
    trees = GitWorktrees(bare, folder / "worktrees", folder / "state")
    by_git = GitEvidence(bare, folder / "mirror", DOCUMENTS)
    world.world = replace(
        world.world,
        remedies=CommandRemedies({"install-it": remedy}, folder / "notes", wait=time.sleep),
        references=GitReferences(trees, bare, DOCUMENTS),
        probes=(
            Routed(world.remote, by_git, world.remote.kinds),
            JudgeEvidence(world.judgements),
        ),
    )
    later = (spec(f"T-{n}", depends_on=("T-2",)) for n in (3, 4))
    world.submit(spec("T-1"), spec("T-2"), *later)
    person, ticker = Answering(world.world, POLICY, "ana@host"), world.ticker()
    lasts = idle = 0
    with failing(fault, folder):
        for _ in range(120):
            try:
                idle = 0 if ticker.tick().done else idle + 1
            except UnusableStoreError:
                idle = 0
            # What fails in the same way is tried less and less often: a fault ends with time too.
            lasts += fault.left > 0
            if lasts >= MINUTES:
                fault.left = 0
            world.clock.move(61)
            world.host()
            for request in person.waiting():
                with suppress(ChangedMeanwhileError, GuardRefusesError):
                    person.approve(request, via="panel", looked=3.5)
            if idle > PAUSE and world.settled() and not world.world.journal.unresolved():
                break
    return world, fault


def figures_outside(world: SmallWorld) -> dict[str, Any]:
    """As `figures`; and what was touched and proposed, each once."""
    listed = Origin.at(world.folder / "origin.git", "branch", "--list", "wavekeeper/reference/*")
    defects = world.world.store.defects()
    return {
        **figures(world),
        "bridge": (world.folder / "bridge").read_text("utf-8"),
        "documents": len(listed.split()),
        "defects": sorted((one.fingerprint, one.status, one.reference) for one in defects),
    }


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """A remote with the work of T-1, and its commit."""
    origin = Origin.new(tmp_path_factory.mktemp("remote"))
    origin.branch("wavekeeper/T-1")
    origin.write("src/T-1/done.py", "1\n")
    commit = origin.commit()
    origin.push("wavekeeper/T-1")
    return origin, commit


@pytest.fixture(scope="module")
def calm_outside(remote, tmp_path_factory):
    world, fault = run_outside(*remote, tmp_path_factory.mktemp("outside") / "calm", 0)
    found = figures_outside(world)
    assert (found["stuck"], found["bridge"], found["documents"]) == ([], "x", 1)
    return found, fault.seen


def swept_outside(calm_outside, remote, folder, points, *, after: bool, span: int) -> None:
    expected, _ = calm_outside
    found = []
    for at in points:
        world, fault = run_outside(*remote, folder / str(at), at, after=after, span=span)
        now = figures_outside(world)
        if wrong := {name: now[name] for name in expected if now[name] != expected[name]}:
            found.append(f"{fault.where} at call {at}: {wrong}")
    assert not found, f"{len(found)} of {len(points)}: " + "\n".join(found[:20])


def test_an_error_of_git_or_a_file_changes_nothing_in_the_end(calm_outside, remote, tmp_path):
    _, calls = calm_outside
    assert calls > 60
    for after, span, at in ((True, 1, 29), (False, WHILE, 59)):
        swept_outside(calm_outside, remote, tmp_path, [at], after=after, span=span)


@pytest.mark.long
@WAYS
def test_an_error_of_git_or_a_file_at_any_call_changes_nothing_in_the_end(
    calm_outside, remote, tmp_path, after, span
):
    _, calls = calm_outside
    points = range(1, calls + 1)
    swept_outside(calm_outside, remote, tmp_path, points, after=after, span=span)
