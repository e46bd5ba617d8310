"""The queue contract, the worker host's side: claims, heartbeats, reports, and being fenced off."""

from datetime import timedelta

import pytest

from agent.core.model.nouns import Status
from agent.core.model.queueing import NewEvent, QueueSpec
from tests.adapters.queue_world import LEASE, ORDER, World


class WorkContract:
    def test_a_lease_carries_all_a_worker_host_needs(self, world: World) -> None:
        world.submit(prompt="do it")
        lease = world.claimed()
        assert (lease.task, lease.attempt, lease.queue) == ("t1", 1, "main")
        assert (lease.prompt, lease.order, lease.session) == ("do it", ORDER, None)
        assert lease.expires_at == world.now() + timedelta(seconds=LEASE)
        view = world.view()
        assert (view.state, view.worker, view.started_at) == ("running", "host-1", world.now())

    def test_each_claim_has_a_token_of_its_own(self, world: World) -> None:
        world.submit("t1")
        world.submit("t2")
        tokens = {world.claimed().token, world.claimed().token}
        world.lapse()
        world.wait_until(lambda: world.view().state is Status.LOST)
        world.retry(2)
        tokens.add(world.claimed().token)
        assert len(tokens) == 3
        assert all(len(token) >= 16 for token in tokens)

    def test_an_attempt_is_claimed_once(self, world: World) -> None:
        world.submit()
        world.claimed()
        assert world.claim() is None

    def test_the_oldest_comes_first(self, world: World) -> None:
        for task in ("t3", "t1", "t2"):
            world.submit(task)
            world.advance(1)
        assert [world.claimed().task for _ in range(3)] == ["t3", "t1", "t2"]

    def test_a_retried_task_goes_to_the_end(self, world: World) -> None:
        world.to("failed")
        world.submit("t2")
        world.advance(1)
        world.retry(2)
        assert [world.claimed().task for _ in range(2)] == ["t2", "t1"]

    def test_queues_are_served_in_the_order_given(self, world: World) -> None:
        world.submit("t1", queue="later")
        world.advance(1)
        world.submit("t2", queue="first")
        world.submit("t3", queue="elsewhere")
        assert world.claimed("first", "later").task == "t2"
        assert world.claimed("first", "later").task == "t1"
        assert world.claim("first", "later") is None

    def test_a_host_without_queues_gets_nothing(self, world: World) -> None:
        world.submit()
        assert world.queue.claim("host-1", [], lease=LEASE) is None

    @pytest.mark.parametrize(
        ("configured", "limit"),
        [
            pytest.param(2, 2, id="configured"),
            pytest.param(None, QueueSpec(id="any").max_running, id="default"),
        ],
    )
    def test_a_full_queue_gives_nothing_until_one_is_over(
        self, world: World, configured: int | None, limit: int
    ) -> None:
        if configured:
            world.queue.configure(QueueSpec(id="main", max_running=configured))
        for number in range(limit + 2):
            world.submit(f"t{number}")
        leases = [world.claimed() for _ in range(limit)]
        assert world.claim() is None
        world.submit("o1", queue="other")
        assert world.claimed("main", "other").task == "o1"
        world.finish(leases[0])
        assert world.claimed().task == f"t{limit}"
        assert world.claim() is None

    def test_a_lost_attempt_leaves_its_place(self, world: World) -> None:
        world.queue.configure(QueueSpec(id="main", max_running=1))
        world.submit("t1")
        world.submit("t2")
        world.claimed()
        assert world.claim() is None
        world.lapse()
        world.wait_until(lambda: world.view("t1").state is Status.LOST)
        assert world.claimed().task == "t2"

    def test_a_heartbeat_keeps_the_lease(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        for _ in range(3):
            world.advance(LEASE - 10)
            assert world.beat(lease) == "ok"
        heartbeat = world.view().heartbeat
        assert heartbeat is not None
        assert (heartbeat.at, heartbeat.attempt) == (world.now(), 1)
        assert heartbeat.expires_at == world.now() + timedelta(seconds=LEASE)
        assert heartbeat.origin == "worker"
        assert world.view().trace is None

    def test_trace_events_are_numbered_within_the_attempt(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.beat(lease, "one", "two")
        world.advance(7)
        world.beat(lease, "three")
        events = world.queue.trace("t1", attempt=1, after=0, limit=10)
        assert [(event.sequence, event.text) for event in events] == [
            (1, "one"),
            (2, "two"),
            (3, "three"),
        ]
        assert {(event.attempt, event.kind) for event in events} == {(1, "message")}
        assert (events[-1].at - events[0].at).total_seconds() == 7
        view = world.view()
        assert view.trace is not None
        assert (view.trace.last_event_at, view.trace.attempt) == (world.now(), 1)
        assert (view.trace.last_sequence, view.last_message) == (3, "three")

    def test_a_beat_without_events_leaves_the_trace_mark(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.beat(lease, "one")
        mark = world.view().trace
        world.advance(20)
        world.beat(lease)
        assert mark is not None
        assert (world.view().trace, world.view().last_message) == (mark, "one")

    def test_another_attempt_has_another_trace(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.beat(lease, "one", "two")
        world.finish(lease, "failed")
        world.retry(2)
        assert (world.view().trace, world.view().heartbeat) == (None, None)
        assert world.view().last_message is None
        again = world.claimed()
        world.beat(again, "three")
        texts = {
            attempt: [e.text for e in world.queue.trace("t1", attempt=attempt, after=0, limit=9)]
            for attempt in (1, 2, 3)
        }
        assert texts == {1: ["one", "two"], 2: ["three"], 3: []}
        assert world.queue.trace("t1", attempt=2, after=0, limit=9)[0].sequence == 1

    def test_long_events_are_cut(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.beat(lease, "x" * 1_048_576)
        assert len(world.queue.trace("t1", attempt=1, after=0, limit=1)[0].text) == 4_000
        assert world.view().last_message == "x" * 400

    def test_only_the_latest_events_are_kept(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.beat(lease, *map(str, range(1, 1_801)))
        world.beat(lease, *map(str, range(1_801, 2_302)))
        events = world.queue.trace("t1", attempt=1, after=0, limit=5_000)
        assert [event.sequence for event in events] == list(range(302, 2_302))
        assert all(event.text == str(event.sequence) for event in events)

    def test_a_report_is_shown_whole(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.advance(30)
        final = "z\x00é\n" * 1_000_000
        said = {"final_response": final, "session": "s-1"}
        assert world.finish(lease, "failed", last_error="exit 1", **said) == "taken"
        view = world.view()
        assert view.final_response == final
        assert (view.state, view.last_error, view.session) == ("failed", "exit 1", "s-1")
        assert not view.final_response_truncated
        assert view.finished_at == world.now()
        assert (view.worker, view.heartbeat is None) == ("host-1", False)

    def test_a_truncated_response_says_so(self, world: World) -> None:
        world.submit()
        world.finish(world.claimed(), final_response="...", final_response_truncated=True)
        assert world.view().final_response_truncated

    def test_a_report_that_is_sent_again_is_one(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        assert world.finish(lease, final_response="done") == "taken"
        cursor = world.queue.changed_since(None).cursor
        assert world.finish(lease, final_response="done") == "taken"
        assert world.queue.changed_since(cursor).tasks == ()
        assert world.view().late_reports == ()

    def test_a_second_report_changes_nothing_in_force(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.finish(lease, final_response="done")
        assert world.finish(lease, "failed", final_response="not done") == "late"
        view = world.view()
        assert (view.state, view.final_response) == ("succeeded", "done")
        assert [late.final_response for late in view.late_reports] == ["not done"]

    def test_a_lapsed_lease_is_fenced(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.beat(lease, "before")
        world.lapse()
        assert world.beat(lease, "I am back") == "fenced"
        view = world.view()
        assert (view.state, view.last_message) == ("lost", "before")
        assert view.finished_at is not None
        assert world.beat(lease, "I am back") == "fenced"

    def test_a_finished_attempt_is_fenced(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.finish(lease)
        assert world.beat(lease) == "fenced"
        assert world.view().state is Status.SUCCEEDED

    def test_another_token_is_fenced(self, world: World) -> None:
        world.submit()
        forged = world.claimed().model_copy(update={"token": "0" * 32})
        assert world.beat(forged) == "fenced"
        assert world.finish(forged, final_response="mine") == "late"
        assert (world.view().state, world.view().final_response) == ("running", None)

    def test_a_lease_of_another_queue_is_fenced(self, world: World) -> None:
        world.submit()
        strange = world.claimed().model_copy(update={"task": "t9"})
        assert world.beat(strange) == "fenced"
        assert world.finish(strange) == "late"
        assert world.queue.get("t9") is None

    def test_nobody_runs_a_lost_attempt_again(self, world: World) -> None:
        world.to("lost")
        assert world.claim() is None
        assert (world.view().attempt, world.view().state) == (1, "lost")

    def test_a_stop_that_was_never_confirmed_is_lost(self, world: World) -> None:
        world.submit()
        world.claimed()
        world.halt("cancel")
        world.lapse()
        world.wait_until(lambda: world.view().state is Status.LOST)

    def test_a_late_report_is_kept_as_that_attempts_own(self, world: World) -> None:
        lease = world.to("lost")
        assert lease is not None
        assert world.finish(lease, final_response="I did it") == "late"
        view = world.view()
        assert (view.state, view.final_response) == ("lost", None)
        (late,) = view.late_reports
        assert (late.attempt, late.final_response) == (1, "I did it")
        assert (late.at, late.inspected) == (world.now(), False)

    def test_a_late_report_is_kept_when_the_task_moved_on(self, world: World) -> None:
        lease = world.to("lost")
        assert lease is not None
        world.retry(2)
        again = world.claimed()
        assert world.finish(lease, final_response="old") == "late"
        assert world.beat(again) == "ok"
        world.finish(again, final_response="new")
        world.advance(1)
        assert world.finish(lease, final_response="older") == "late"
        view = world.view()
        assert (view.state, view.attempt, view.final_response) == ("succeeded", 2, "new")
        kept = [(late.attempt, late.final_response) for late in view.late_reports]
        assert kept == [(1, "old"), (1, "older")]

    def test_the_same_late_report_twice_is_one(self, world: World) -> None:
        lease = world.to("lost")
        assert lease is not None
        assert world.finish(lease, final_response="old") == "late"
        cursor = world.queue.changed_since(None).cursor
        world.advance(5)
        assert world.finish(lease, final_response="old") == "late"
        assert len(world.view().late_reports) == 1
        assert world.queue.changed_since(cursor).tasks == ()

    def test_text_that_is_not_unicode_is_kept_with_marks(self, world: World) -> None:
        broken, mended = "a\ud800b\udcffc", "a?b?c"
        world.queue.submit("t1", queue="q", prompt=broken, order=ORDER, key=broken)
        lease = world.queue.claim(broken, ["q"], lease=LEASE)
        assert lease is not None
        assert lease.prompt == mended
        world.queue.beat(lease, [NewEvent(at=world.now(), kind=broken, text=broken)], extend=9)
        world.halt("interrupt", reason=broken)
        world.finish(lease, "failed", final_response=broken, last_error=broken)
        view = world.view()
        assert (view.prompt, view.worker, view.last_message) == (mended,) * 3
        assert (view.final_response, view.last_error) == (mended, mended)
        assert world.queue.receipt(broken) is not None
        assert world.queue.get(broken) is None
        assert world.queue.trace(broken, attempt=1, after=0, limit=9) == []
