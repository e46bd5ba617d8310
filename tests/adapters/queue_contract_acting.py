"""The queue contract, the supervisor's acts: one effect per key, one identity per task."""

from collections.abc import Callable

import pytest

from agent.core.model.nouns import Status
from agent.core.model.queueing import Receipt
from agent.errors import KeyReusedError, UserError
from tests.adapters.queue_world import ORDER, World

TERMINAL = ["succeeded", "failed", "cancelled", "lost"]
ACTIVE = ["queued", "running"]


class ActingContract:
    def test_a_submitted_task_is_queued_as_attempt_1(self, world: World) -> None:
        receipt = world.submit(prompt="do it\nwell")
        assert (receipt.effect, receipt.task, receipt.attempt) == ("done", "t1", 1)
        view = world.view()
        assert (view.id, view.queue, view.state, view.attempt) == ("t1", "main", "queued", 1)
        assert (view.prompt, view.order) == ("do it\nwell", ORDER)
        assert view.created_at == world.now()
        assert (view.heartbeat, view.trace, view.started_at, view.stop_requested) == (None,) * 4

    def test_a_task_id_exists_once(self, world: World) -> None:
        world.submit(prompt="first")
        receipt = world.submit(prompt="second", queue="other")
        assert (receipt.effect, receipt.attempt) == ("stale", None)
        assert (world.view().prompt, world.view().queue) == ("first", "main")

    @pytest.mark.parametrize(
        ("task", "queue"),
        [
            pytest.param("a b", "main", id="a space"),
            pytest.param("-rf", "main", id="a leading dash"),
            pytest.param("../up", "main", id="a path"),
            pytest.param("t\ud800", "main", id="a surrogate"),
            pytest.param("t" * 65, "main", id="too long"),
            pytest.param("", "main", id="no task"),
            pytest.param("t1", "", id="no queue"),
        ],
    )
    def test_a_name_no_queue_can_hold_is_refused(self, world: World, task: str, queue: str) -> None:
        with pytest.raises(UserError) as refusal:
            world.submit(task, queue=queue)
        assert "\n" not in str(refusal.value)
        assert world.queue.changed_since(None).tasks == ()

    @pytest.mark.parametrize(
        ("start", "act"),
        [
            pytest.param("nothing", lambda w, key: w.submit(key=key), id="submit"),
            pytest.param("failed", lambda w, key: w.retry(2, key=key), id="retry"),
            pytest.param("running", lambda w, key: w.halt("interrupt", key=key), id="interrupt"),
            pytest.param("queued", lambda w, key: w.halt("cancel", key=key), id="cancel"),
            pytest.param("queued", lambda w, key: w.move("other", key=key), id="move"),
        ],
    )
    def test_the_same_key_twice_is_one_effect(
        self, world: World, start: str, act: Callable[[World, str], Receipt]
    ) -> None:
        if start != "nothing":
            world.to(start)
        assert world.queue.receipt("k") is None
        first = act(world, "k")
        assert first.effect == "done"
        world.wait_until(lambda: world.queue.receipt("k") == first)
        after, cursor = world.view(), world.queue.changed_since(None).cursor
        world.advance(1)
        assert act(world, "k") == first
        assert world.view() == after
        assert world.queue.changed_since(cursor).tasks == ()

    def test_a_receipt_outlives_what_it_was_for(self, world: World) -> None:
        first = world.submit(key="k")
        world.finish(world.claimed(), "failed")
        world.retry(2)
        assert world.submit(key="k") == first
        assert world.view().attempt == 2

    def test_a_key_that_had_no_effect_has_none_later(self, world: World) -> None:
        refused = world.retry(2, key="k")
        assert refused.effect == "unknown-task"
        world.to("failed")
        assert world.retry(2, key="k") == refused
        assert world.view().attempt == 1

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(lambda w: w.submit(prompt="other", key="k"), id="other prompt"),
            pytest.param(lambda w: w.submit(queue="other", key="k"), id="other queue"),
            pytest.param(lambda w: w.submit("t2", key="k"), id="other task"),
            pytest.param(lambda w: w.halt("cancel", key="k"), id="other verb"),
        ],
    )
    def test_a_key_for_another_request_is_refused(
        self, world: World, other: Callable[[World], Receipt]
    ) -> None:
        world.submit(key="k")
        before = world.queue.changed_since(None)
        with pytest.raises(KeyReusedError, match="'k'"):
            other(world)
        assert world.queue.changed_since(before.cursor).tasks == ()

    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(lambda w: w.retry(2), id="retry"),
            pytest.param(lambda w: w.halt("interrupt"), id="interrupt"),
            pytest.param(lambda w: w.halt("cancel"), id="cancel"),
            pytest.param(lambda w: w.move("other"), id="move"),
        ],
    )
    def test_a_task_nobody_submitted_is_unknown(
        self, world: World, act: Callable[[World], Receipt]
    ) -> None:
        receipt = act(world)
        assert (receipt.effect, receipt.task, receipt.attempt) == ("unknown-task", "t1", None)
        assert world.queue.get("t1") is None

    @pytest.mark.parametrize("state", TERMINAL)
    def test_a_terminal_attempt_is_followed_by_the_next(self, world: World, state: str) -> None:
        world.to(state)
        created = world.view().created_at
        world.advance(5)
        receipt = world.retry(2)
        assert (receipt.effect, receipt.attempt) == ("done", 2)
        view = world.view()
        assert (view.id, view.queue, view.attempt, view.state) == ("t1", "main", 2, "queued")
        assert (view.prompt, view.order, view.created_at) == ("again, 2", ORDER, created)
        assert (view.started_at, view.finished_at, view.worker) == (None, None, None)
        assert (view.final_response, view.last_error, view.judge) == (None, None, None)

    @pytest.mark.parametrize("state", ACTIVE)
    def test_an_attempt_that_is_not_over_is_not_followed(self, world: World, state: str) -> None:
        world.to(state)
        assert world.retry(2).effect == "stale"
        assert (world.view().attempt, world.view().state) == (1, state)

    @pytest.mark.parametrize("attempt", [-1, 0, 1, 3])
    def test_a_retry_names_the_next_attempt(self, world: World, attempt: int) -> None:
        world.to("failed")
        assert world.retry(attempt).effect == "stale"
        assert (world.view().attempt, world.view().state) == (1, "failed")

    @pytest.mark.parametrize("verb", ["interrupt", "cancel"])
    def test_a_retry_leaves_no_stop_behind(self, world: World, verb: str) -> None:
        """Policy: a defect is "a retry API that leaves stale cancellation state"."""
        world.submit()
        lease = world.claimed()
        world.halt(verb)
        world.finish(lease, "stopped")
        world.retry(2)
        assert world.view().stop_requested is None
        again = world.claimed()
        assert (again.attempt, world.beat(again)) == (2, "ok")
        world.finish(again, "succeeded")
        assert world.view().state == "succeeded"

    @pytest.mark.parametrize(
        ("fresh", "session"),
        [
            pytest.param(False, "s-1", id="continued"),
            pytest.param(True, None, id="fresh"),
        ],
    )
    def test_a_retry_hands_the_session_on(
        self, world: World, *, fresh: bool, session: str | None
    ) -> None:
        world.to("failed", session="s-1")
        world.retry(2, fresh_session=fresh)
        lease = world.claimed()
        assert (lease.session, lease.prompt, lease.attempt) == (session, "again, 2", 2)

    def test_a_session_outlives_a_lost_attempt(self, world: World) -> None:
        world.to("failed", session="s-1")
        world.retry(2)
        world.claimed()
        world.lapse()
        world.wait_until(lambda: world.view().state is Status.LOST)
        world.retry(3)
        assert world.claimed().session == "s-1"

    def test_a_session_outlives_a_report_that_names_none(self, world: World) -> None:
        world.to("failed", session="s-1")
        world.retry(2)
        world.finish(world.claimed(), "failed")
        world.retry(3)
        assert world.claimed().session == "s-1"

    def test_a_queued_task_is_cancelled_at_once(self, world: World) -> None:
        world.submit()
        receipt = world.halt("cancel")
        assert (receipt.effect, receipt.attempt) == ("done", 1)
        world.wait_until(lambda: world.view().state is Status.CANCELLED)
        assert world.view().finished_at == world.now()
        assert world.claim() is None

    def test_a_queued_task_has_nothing_to_interrupt(self, world: World) -> None:
        world.submit()
        receipt = world.halt("interrupt")
        assert (receipt.effect, receipt.attempt) == ("nothing-to-do", None)
        lease = world.claimed()
        assert world.beat(lease) == "ok"

    @pytest.mark.parametrize(
        ("verb", "ended"), [("interrupt", Status.FAILED), ("cancel", Status.CANCELLED)]
    )
    def test_an_attempt_stops_only_when_its_processes_are_gone(
        self, world: World, verb: str, ended: Status
    ) -> None:
        lease = world.to("running")
        assert lease is not None
        receipt = world.halt(verb, reason="it repeats itself")
        assert (receipt.effect, receipt.attempt) == ("done", 1)
        world.wait_until(lambda: world.beat(lease) == "cancel")
        assert (world.view().state, world.view().stop_requested) == ("running", verb)
        assert world.finish(lease, "stopped") == "taken"
        world.wait_until(lambda: world.view().state is ended)
        assert "it repeats itself" in (world.view().last_error or "")

    def test_an_interrupted_attempt_says_why(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.halt("interrupt", reason="silent for an hour")
        world.finish(lease, "stopped", last_error="signal 15")
        assert world.view().last_error == "interrupted: silent for an hour"

    @pytest.mark.parametrize(
        ("stops", "report", "ended"),
        [
            pytest.param(["interrupt"], "succeeded", "succeeded", id="interrupt-too-late"),
            pytest.param(["interrupt"], "failed", "failed", id="interrupt-failed-first"),
            pytest.param(["cancel"], "succeeded", "cancelled", id="cancel-succeeded-first"),
            pytest.param(["cancel"], "failed", "cancelled", id="cancel-failed-first"),
            pytest.param(["interrupt", "cancel"], "stopped", "cancelled", id="upgraded"),
            pytest.param(["cancel", "interrupt"], "stopped", "cancelled", id="not-downgraded"),
            pytest.param([], "stopped", "failed", id="stopped-unasked"),
        ],
    )
    def test_what_a_report_means_after_a_stop_was_asked_for(
        self, world: World, stops: list[str], report: str, ended: str
    ) -> None:
        world.submit()
        lease = world.claimed()
        for verb in stops:
            world.halt(verb)
        assert world.finish(lease, report, final_response="what I did") == "taken"
        world.wait_until(lambda: world.view().state == Status(ended))
        assert world.view().final_response == "what I did"

    def test_an_interrupt_after_a_cancel_does_nothing(self, world: World) -> None:
        world.submit()
        world.claimed()
        world.halt("cancel")
        assert world.halt("interrupt").effect == "nothing-to-do"
        assert world.view().stop_requested == "cancel"

    @pytest.mark.parametrize("verb", ["interrupt", "cancel"])
    @pytest.mark.parametrize("state", TERMINAL)
    def test_what_is_over_cannot_be_stopped(self, world: World, state: str, verb: str) -> None:
        world.to(state)
        before = world.view()
        assert world.halt(verb).effect == "nothing-to-do"
        assert world.view() == before

    @pytest.mark.parametrize("verb", ["interrupt", "cancel"])
    @pytest.mark.parametrize("attempt", [0, 1, 3])
    def test_a_stop_for_another_attempt_is_stale(
        self, world: World, verb: str, attempt: int
    ) -> None:
        world.to("failed")
        world.retry(2)
        lease = world.claimed()
        assert world.halt(verb, attempt).effect == "stale"
        assert world.beat(lease) == "ok"

    def test_a_queued_task_moves_with_its_identity(self, world: World) -> None:
        world.submit()
        assert world.move("other").effect == "done"
        view = world.view()
        assert (view.queue, view.attempt, view.state) == ("other", 1, "queued")
        assert world.claim("main") is None
        lease = world.claimed("other")
        assert lease.queue == "other"
        world.finish(lease, "failed")
        world.retry(2)
        assert world.view().queue == "other"

    def test_a_moved_task_keeps_its_age(self, world: World) -> None:
        world.submit("t1", queue="main")
        world.advance(1)
        world.submit("t2", queue="other")
        world.advance(1)
        world.move("other")
        assert [world.claimed("other").task for _ in range(2)] == ["t1", "t2"]

    @pytest.mark.parametrize("state", ["running", *TERMINAL])
    def test_only_a_queued_task_moves(self, world: World, state: str) -> None:
        world.to(state)
        assert world.move("other").effect == "nothing-to-do"
        assert world.view().queue == "main"

    def test_a_move_to_where_it_is_does_nothing(self, world: World) -> None:
        world.submit()
        assert world.move("main").effect == "nothing-to-do"
