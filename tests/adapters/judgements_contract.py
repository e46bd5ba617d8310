"""What every keeper of judgements must do, for the supervisor and for the judge hosts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import pytest

from agent.core.model.nouns import Command, CommandResult, JudgeRecord
from agent.core.model.queueing import JudgeLease, JudgementOrder
from agent.errors import KeyReusedError
from agent.ports import Judgements, JudgeSource

LEASE = 60.0
LIGHT = Command(argv=("make", "test"))
HEAVY = Command(argv=("make", "e2e"), heavy=True)


class BothSides(Judgements, JudgeSource, Protocol):
    """The supervisor's side and the judge host's side in one."""


def order(task: str = "t1", attempt: int = 1, *commands: Command) -> JudgementOrder:
    return JudgementOrder(
        task=task,
        attempt=attempt,
        wave="w1",
        branch=f"work/{task}",
        commit="c0ffee" + "0" * 34,
        base="ba5e" + "0" * 36,
        commands=commands or (LIGHT,),
        protected=("tests/**",),
    )


@dataclass
class World:
    """Judgements under test, and a clock that only tests move."""

    kept: BothSides
    now: Callable[[], datetime]
    advance: Callable[[float], None]

    def order(self, task: str = "t1", attempt: int = 1, *commands: Command, key: str = "") -> None:
        self.kept.order(order(task, attempt, *commands), key=key or f"{task}:{attempt}")

    def claim(self, host: str = "j1", *, heavy: bool = False) -> JudgeLease | None:
        return self.kept.claim(host, lease=LEASE, heavy=heavy)

    def claimed(self, host: str = "j1", *, heavy: bool = False) -> JudgeLease:
        lease = self.claim(host, heavy=heavy)
        assert lease is not None, "there was nothing to claim"
        return lease

    def record(self, reason: str = "x") -> JudgeRecord:
        ran = CommandResult(argv=LIGHT.argv, exit_code=0, ok=True, output="a\udcffb")
        return JudgeRecord(verdict="pass", at=self.now(), commands=(ran,), reason=reason)


class JudgementsContract:
    """Needs a fixture `world`."""

    def test_what_is_ordered_is_seen_until_it_is_finished(self, world: World) -> None:
        assert (world.kept.latest("t1", 1), world.kept.ordered("k")) == (None, False)
        world.order(key="k")
        assert world.kept.ordered("k")
        (waiting,) = world.kept.waiting()
        assert waiting == world.kept.latest("t1", 1)
        assert (waiting.order, waiting.ordered_at) == (order(), world.now())
        assert (waiting.host, waiting.started_at, waiting.record) == (None, None, None)
        world.advance(5)
        lease = world.claimed()
        assert (lease.order, lease.expires_at) == (order(), world.now() + timedelta(seconds=LEASE))
        running = world.kept.latest("t1", 1)
        assert running is not None
        assert (running.host, running.started_at) == ("j1", world.now())
        assert list(world.kept.waiting()) == [running]
        assert world.kept.finish(lease, world.record())
        done = world.kept.latest("t1", 1)
        assert done is not None
        assert done.record is not None
        assert (done.record.verdict, done.record.commands[0].output) == ("pass", "a?b")
        assert (list(world.kept.waiting()), world.claim()) == ([], None)

    def test_one_key_is_one_order(self, world: World) -> None:
        for _ in range(2):
            world.order(key="k")
        assert len(world.kept.waiting()) == 1
        with pytest.raises(KeyReusedError):
            world.order("t2", key="k")
        world.kept.finish(world.claimed(), world.record())
        world.order(key="k")
        assert world.claim() is None

    def test_the_last_order_of_an_attempt_counts(self, world: World) -> None:
        world.order(key="first")
        world.kept.finish(world.claimed(), world.record())
        world.order(key="again")
        world.order("t1", 2)
        latest = world.kept.latest("t1", 1)
        assert latest is not None
        assert latest.record is None
        assert [one.order.attempt for one in world.kept.waiting()] == [1, 2]

    def test_the_oldest_order_is_claimed_first_and_once(self, world: World) -> None:
        for task in ("t3", "t1", "t2"):
            world.order(task)
        assert [world.claimed().order.task for _ in range(3)] == ["t3", "t1", "t2"]
        assert world.claim("j2") is None

    def test_a_heavy_order_waits_for_a_host_that_takes_it(self, world: World) -> None:
        world.order("t1", 1, LIGHT, HEAVY)
        world.order("t2")
        assert world.claimed().order.task == "t2"
        assert world.claim() is None
        assert world.claimed("big", heavy=True).order.task == "t1"

    def test_a_host_that_takes_heavy_orders_takes_all(self, world: World) -> None:
        world.order("t1")
        world.order("t2", 1, HEAVY)
        claimed = [world.claimed("big", heavy=True).order.task for _ in range(2)]
        assert claimed == ["t1", "t2"]

    def test_a_lease_that_ran_out_is_anybodys(self, world: World) -> None:
        world.order()
        first = world.claimed()
        world.advance(LEASE - 1)
        assert world.claim("j2") is None
        world.advance(2)
        second = world.claimed("j2")
        assert second.token != first.token
        assert not world.kept.beat(first, extend=LEASE)
        assert not world.kept.finish(first, world.record("late"))
        assert world.kept.finish(second, world.record("in time"))
        assert not world.kept.finish(first, world.record("later"))
        latest = world.kept.latest("t1", 1)
        assert latest is not None
        assert latest.record is not None
        assert (latest.record.reason, latest.host) == ("in time", "j2")

    def test_a_beat_keeps_the_lease_even_late_if_nobody_took_it(self, world: World) -> None:
        world.order()
        lease = world.claimed()
        for seconds in (LEASE - 1, LEASE + 1):
            world.advance(seconds)
            assert world.kept.beat(lease, extend=LEASE)
            assert world.claim("j2") is None

    def test_a_lease_can_be_given_up_and_put_off(self, world: World) -> None:
        world.order()
        lease = world.claimed()
        assert world.kept.beat(lease, extend=7)
        assert world.claim("j2") is None
        world.advance(7)
        again = world.claimed("j2")
        assert world.kept.beat(again, extend=0)
        assert world.claimed("j3").order.task == "t1"

    def test_a_record_that_is_handed_in_again_is_the_same(self, world: World) -> None:
        world.order()
        lease, record = world.claimed(), world.record()
        assert world.kept.finish(lease, record)
        assert world.kept.finish(lease, record)
        assert not world.kept.finish(lease, world.record("another"))
        assert not world.kept.beat(lease, extend=LEASE)

    @pytest.mark.parametrize("change", [{"token": "0" * 32}, {"key": "unknown"}])
    def test_a_forged_lease_is_fenced(self, world: World, change: dict[str, str]) -> None:
        world.order()
        forged = world.claimed().model_copy(update=change)
        assert not world.kept.beat(forged, extend=LEASE)
        assert not world.kept.finish(forged, world.record())
        assert world.kept.waiting()[0].record is None
