"""The one suite every queue adapter must pass: `class TestMyQueue(QueueContract)` and a fixture.

The fixture `world` gives a `World` with an empty queue and a way to move that queue's time. The
suite asserts what the ports promise and nothing else, so that a distributed engine can be held
to it too.
"""

import pytest

from agent.core.model.nouns import Status
from agent.core.model.queueing import Cursor, QueueSpec
from tests.adapters.queue_contract_acting import ActingContract
from tests.adapters.queue_contract_work import WorkContract
from tests.adapters.queue_world import World


def ids(world: World, cursor: Cursor | None) -> list[str]:
    return [task.id for task in world.queue.changed_since(cursor).tasks]


def counts(world: World, queue: str) -> dict[str, int]:
    (found,) = [view for view in world.queue.queues() if view.id == queue]
    return {state: number for state, number in found.counts.items() if number}


class QueueContract(ActingContract, WorkContract):
    def test_a_task_nobody_submitted_is_not_there(self, world: World) -> None:
        assert world.queue.get("t1") is None
        assert world.queue.trace("t1", attempt=1, after=0, limit=10) == []

    def test_the_first_reading_gives_everything(self, world: World) -> None:
        assert ids(world, None) == []
        world.to("failed")
        world.submit("t2")
        changes = world.queue.changed_since(None)
        assert sorted(task.id for task in changes.tasks) == ["t1", "t2"]
        assert [world.view(task.id) for task in changes.tasks] == list(changes.tasks)

    def test_each_later_reading_gives_what_changed_once(self, world: World) -> None:
        for task in ("t1", "t2", "t3"):
            world.submit(task)
        cursor = world.queue.changed_since(None).cursor
        assert ids(world, cursor) == []
        lease = world.claimed()
        world.beat(lease)
        world.beat(lease, "one")
        changes = world.queue.changed_since(cursor)
        assert [task.id for task in changes.tasks] == ["t1"]
        assert ids(world, cursor) == ["t1"], "a cursor can be read again"
        assert ids(world, changes.cursor) == []

    def test_an_empty_queue_gives_a_cursor_to_go_on_from(self, world: World) -> None:
        cursor = world.queue.changed_since(None).cursor
        world.submit()
        assert ids(world, cursor) == ["t1"]

    def test_what_changed_comes_in_the_order_of_the_last_change(self, world: World) -> None:
        for task in ("t1", "t2", "t3"):
            world.submit(task)
        world.queue.move("t1", queue="other", key=world.key())
        assert ids(world, None) == ["t2", "t3", "t1"]

    def test_every_kind_of_change_is_told(self, world: World) -> None:
        cursor = world.queue.changed_since(None).cursor

        def told(after: str) -> None:
            nonlocal cursor
            world.wait_until(lambda: ids(world, cursor) == ["t1"])
            changes = world.queue.changed_since(cursor)
            assert [task.id for task in changes.tasks] == ["t1"], after
            cursor = changes.cursor

        world.submit()
        told("submit")
        world.move("other")
        told("move")
        lease = world.claimed("other")
        told("claim")
        world.beat(lease)
        told("beat")
        world.halt("interrupt")
        told("interrupt")
        world.lapse()
        told("lost")
        world.finish(lease, final_response="late")
        told("late report")
        world.retry(2)
        told("retry")
        world.finish(world.claimed("other"))
        told("finish")

    @pytest.mark.parametrize(
        "position",
        [
            pytest.param("", id="empty"),
            pytest.param("elsewhere:0", id="another queue"),
        ],
    )
    def test_a_cursor_the_queue_did_not_make_is_refused(self, world: World, position: str) -> None:
        world.submit()
        with pytest.raises(ValueError, match="cursor") as refusal:
            world.queue.changed_since(Cursor(position=position))
        assert repr(position) in str(refusal.value)

    def test_a_queue_is_shown_as_configured(self, world: World) -> None:
        assert list(world.queue.queues()) == []
        spec = QueueSpec(id="infra", kind="infrastructure", risk="high", max_running=2)
        world.queue.configure(spec)
        (found,) = world.queue.queues()
        assert (found.id, found.kind, found.risk, found.max_running) == (
            "infra",
            "infrastructure",
            "high",
            2,
        )
        world.queue.configure(spec.model_copy(update={"max_running": 9}))
        assert [view.max_running for view in world.queue.queues()] == [9]

    def test_a_queue_that_was_never_configured_is_shown_with_defaults(self, world: World) -> None:
        world.queue.configure(QueueSpec(id="main"))
        world.submit(queue="adhoc")
        found = {view.id: view for view in world.queue.queues()}
        assert sorted(found) == ["adhoc", "main"]
        assert found["adhoc"].max_running == QueueSpec(id="adhoc").max_running

    def test_tasks_are_counted_where_they_stand(self, world: World) -> None:
        world.queue.configure(QueueSpec(id="main", max_running=9))
        for task in ("t1", "t2", "t3", "t4"):
            world.submit(task)
        first, second = world.claimed(), world.claimed()
        assert counts(world, "main") == {"queued": 2, "running": 2}
        world.finish(first, "failed")
        world.retry(2)
        assert counts(world, "main") == {"queued": 3, "running": 1}
        world.move("other")
        world.finish(second)
        assert counts(world, "other") == {"queued": 1}
        assert counts(world, "main") == {"queued": 2, "succeeded": 1}

    def test_a_lost_attempt_is_counted_as_lost(self, world: World) -> None:
        world.submit()
        world.claimed()
        world.lapse()
        world.wait_until(lambda: counts(world, "main") == {"lost": 1})
        assert world.view().state is Status.LOST

    def test_a_trace_is_read_in_pages(self, world: World) -> None:
        world.submit()
        lease = world.claimed()
        world.beat(lease, *"abcde")

        def page(after: int, limit: int) -> str:
            events = world.queue.trace("t1", attempt=1, after=after, limit=limit)
            return "".join(event.text for event in events)

        assert [page(0, 2), page(2, 2), page(4, 2), page(5, 2)] == ["ab", "cd", "e", ""]
        assert page(0, 0) == ""

    def test_updated_at_is_the_time_of_the_last_change(self, world: World) -> None:
        world.submit()
        world.advance(3)
        lease = world.claimed()
        world.advance(4)
        world.beat(lease)
        view = world.view()
        assert (view.updated_at, view.updated_at - view.created_at) == (
            world.now(),
            world.now() - view.created_at,
        )
        assert (view.updated_at - view.created_at).total_seconds() == 7
