"""Killed before or after any change and started again: nothing is lost, nothing is repeated."""

from collections import Counter
from dataclasses import replace

import pytest

from agent.runtime.context import Ports
from tests.simulation.small_world import SmallWorld, Turn, spec

MISSING = "make: demo-lint: command not found"
SCRIPT = {
    ("T-1", 1): Turn(commit="d" * 40, checks=MISSING),
    ("T-2", 1): Turn(error=MISSING),
    ("T-3", 1): Turn(),
    ("T-4", 1): Turn(vanish=True),
}
CHANGES = frozenset(
    {
        *("submit", "retry", "interrupt", "cancel", "move"),
        *("save", "save_defect", "add_outcome", "note", "append"),
        *("open", "comment", "close", "order"),
    },
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the process goes on after it."""


class Fuse:
    """Counts the changes that reach the world and kills the process at one of them."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.seen = at, after, 0

    def wrap(self, world: Ports) -> Ports:
        ports = ("queue", "store", "journal", "issues", "judgements")
        return replace(world, **{name: _Port(getattr(world, name), self) for name in ports})


class _Port:
    def __init__(self, inner: object, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> object:
        method = getattr(self._inner, name)
        if name not in CHANGES:
            return method

        def call(*args: object, **kwargs: object) -> object:
            self._fuse.seen += 1
            here = self._fuse.seen == self._fuse.at
            if here and not self._fuse.after:
                raise Killed
            answer = method(*args, **kwargs)
            if here:
                raise Killed
            return answer

        return call


def _specs():
    return [spec(f"T-{n}") for n in (1, 2, 3, 4)]


def _run(folder, at: int, *, after: bool) -> tuple[SmallWorld, int]:
    fuse = Fuse(at, after=after)
    world = SmallWorld(folder, SCRIPT, wrap=fuse.wrap)
    world.submit(*_specs())
    for _ in range(3):  # killed at most once; the later rounds are the restarted supervisor
        try:
            world.run(ticks=60)
        except Killed:
            assert world.world.state.check() is None, f"change {at}"
            world.clock.move(61)
            world.host()
            continue
        break
    return world, fuse.seen


def _charged(world: SmallWorld) -> dict[str, tuple[int, ...]]:
    return {one.spec.id: one.charged for one in world.world.store.task_records()}


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    return _run(tmp_path_factory.mktemp("calm"), 0, after=False)


def _same(calm, folder, points, *, after: bool) -> None:
    undisturbed, _ = calm
    for at in points:
        world, _ = _run(folder / str(at), at, after=after)
        where = f"killed {'after' if after else 'before'} change {at}"
        assert world.outcome() == undisturbed.outcome(), where
        assert _charged(world) == _charged(undisturbed), where
        assert world.world.journal.verify() is None, where
        assert world.world.state.check() is None, where
        assert world.world.journal.unresolved() == [], where
        assert _done(world) == _done(undisturbed), where
        assert len(list((folder / str(at) / "issues").glob("*.md"))) == 1, where
        outcomes = world.world.store.outcomes(100)
        assert len(outcomes) == len(undisturbed.world.store.outcomes(100)), where


def _done(world: SmallWorld) -> Counter:
    """What was carried out; reading twice is harmless, everything else happens once.

    Of two tasks with one cause either may name it: whichever is read first after the restart.
    """
    return Counter(
        (action, "" if action in ("open-issue", "split-defect") else task)
        for action, task in world.actions()
        if action != "inspect"
    )


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_supervisor_killed_at_a_change_ends_the_same(calm, tmp_path, after):
    _, changes = calm
    assert changes > 80
    _same(calm, tmp_path, range(1 + 5 * after, changes + 1, 11), after=after)


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_supervisor_killed_at_any_change_ends_the_same(calm, tmp_path, after):
    _, changes = calm
    _same(calm, tmp_path, range(1, changes + 1), after=after)
