"""A branch belongs to one task of one wave, ever."""

import pytest

from agent.core.assess.branches import OnRemote, refusals
from tests.adapters.waves_contract import spec

OWNERS = {"wave/old": "task T-9 of wave w0"}


def on(*branches):
    return OnRemote("main", frozenset({"main", *branches}))


def one(branch="wave/a", **changes):
    return spec("a", branch=branch, **changes)


REFUSED = [
    pytest.param(one(), on("wave/a"), "origin has a branch 'wave/a' already", id="there before"),
    pytest.param(one("main"), on(), "'main' is origin's default branch", id="the default branch"),
    pytest.param(one("wave/old"), on(), "belongs to task T-9 of wave w0", id="another wave's"),
    pytest.param(one("wave/old"), None, "belongs to task T-9 of wave w0", id="remote not seen"),
    pytest.param(one(), on("wave"), "cannot be pushed beside 'wave' (on origin)", id="a prefix"),
    pytest.param(one(), on("wave/a/b"), "cannot be pushed beside 'wave/a/b'", id="a folder"),
    pytest.param(one("wave/old/b"), on(), "(task T-9 of wave w0)", id="below another task's"),
    pytest.param(one(continues="x"), on(), "no branch 'x' to continue", id="nothing to continue"),
    pytest.param(one(continues="x"), on("x", "wave/a"), "already", id="it continues another"),
]  # fmt: skip
FINE = [
    pytest.param(one(), on("other", "wave2/a", "wave-a"), id="others are there"),
    pytest.param(one(), None, id="the remote is not seen"),
    pytest.param(one(continues="wave/a"), on("wave/a"), id="it continues its own"),
    pytest.param(one(continues="x"), on("x"), id="it starts from another"),
    pytest.param(one("main", commit="none"), on(), id="it pushes nothing"),
]


@pytest.mark.parametrize(("task", "remote", "why"), REFUSED)
def test_a_branch_that_a_task_cannot_have(task, remote, why):
    [(name, said)] = refusals([task], OWNERS, remote)
    assert name == "a"
    assert why in said


@pytest.mark.parametrize(("task", "remote"), FINE)
def test_a_branch_that_it_can_have(task, remote):
    assert not list(refusals([task], OWNERS, remote))


def test_two_tasks_of_one_wave_share_none():
    tasks = [spec("a", branch="x"), spec("b", branch="x"), spec("c", branch="x/y")]
    assert [name for name, _ in refusals(tasks, {}, None)] == ["b", "c"]
