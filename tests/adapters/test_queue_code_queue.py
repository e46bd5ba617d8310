"""The Code Queue adapter when answers are wrong, late, or contradict one another."""

from contextlib import contextmanager

import pytest

from agent.adapters.code_queue.ledger import Ledger
from agent.adapters.code_queue.queue import CodeQueue, CodeQueueOptions, SubmitDiscipline
from agent.adapters.code_queue.ways import Proxy
from agent.adapters.code_queue.words import PATHS
from agent.core.model.nouns import Status
from agent.core.model.queueing import QueueSpec
from agent.errors import QueueUnavailableError
from tests.adapters.queue_world import ORDER

BROKEN = [
    pytest.param("html", {}, "text/html", id="HTML"),
    pytest.param("truncated", {}, "no JSON", id="half an answer"),
    pytest.param("lost-answer", {}, "broke off", id="no answer"),
    pytest.param("slow", {"seconds": 5.0}, r"no whole answer within 0\.2 s", id="slow"),
]


@pytest.mark.parametrize(("kind", "how", "said"), BROKEN)
def test_an_answer_that_is_none_is_one_line_and_no_view(code_queue, kind, how, said):
    found = code_queue(timeout=0.2 if kind == "slow" else 20.0)
    world = found.world()
    world.submit()
    found.fault(kind, **how)
    for read in (
        found.queue.queues,
        lambda: found.queue.get("t1"),
        lambda: found.queue.changed_since(None),
    ):
        with pytest.raises(QueueUnavailableError, match=said) as refusal:
            read()
        assert "\n" not in str(refusal.value)
    assert found.queue.control_plane().submit_lock == "unknown"
    assert found.queue.control_plane().reachable is None
    sent = found.sent("interrupt")
    with pytest.raises(QueueUnavailableError):
        world.halt("interrupt", key="k")
    assert found.sent("interrupt") == sent
    found.service.quiet.set()
    found.mend()
    assert found.queue.receipt("k") is None


def test_one_unreadable_task_does_not_hide_the_others(code_queue):
    found = code_queue()
    world = found.world()
    world.submit("t1")
    world.submit("t2")
    found.fault("html", call="task", times=1)
    changes = found.queue.changed_since(None)
    assert list(changes.unreadable) == ["t1"]
    assert any("unreadable: t1" in one for one in found.queue.control_plane().diagnostics)
    found.mend()
    assert found.queue.changed_since(None).unreadable == {}
    assert found.queue.control_plane().diagnostics == ()


def test_a_split_brain_is_seen_from_both_planes_and_the_task_lives(code_queue):
    found = code_queue()
    world = found.world()
    lease = world.to("running")
    world.beat(lease, "still at it")
    found.fault("split-brain")
    view = world.view()
    found.queue.queues()
    assert view.state is Status.RUNNING
    assert (view.control_plane.status, view.scheduler.status) == ("failed", "running")
    assert view.heartbeat.origin == "worker"
    assert found.queue.control_plane().diagnostics == (
        "split-brain",
        "effectiveLiveness=live",
        "splitBrainLive=true",
        "recommendedAction=continue-supervision",
    )


def test_a_heartbeat_of_a_recovery_is_told_as_one(code_queue):
    found = code_queue()
    world = found.world()
    world.to("running")
    found.fault("recovery-beat")
    assert world.view().heartbeat.origin == "recovery"


def test_a_cancel_flag_that_a_retry_left_is_nobodys_word(code_queue):
    found = code_queue()
    world = found.world()
    lease = world.to("running")
    world.halt("interrupt")
    world.finish(lease, "stopped")
    found.fault("stale-cancel")
    world.retry(2)
    view = world.view()
    assert (view.attempt, view.state, view.stop_requested) == (2, "queued", "cancel")
    assert "stale-cancel-flag: t1, attempt 2" in found.notices()
    # The queue obeys its own flag.
    again = world.claimed()
    found.service.queue.cancel(found.remote(), attempt=2, reason="flag", key="internal")
    world.finish(again, "stopped")
    ended = world.view()
    assert (ended.state, ended.stop_requested) == ("failed", "cancel")


def test_a_cancel_that_was_asked_for_stays_a_cancel(code_queue):
    found = code_queue()
    world = found.world()
    lease = world.to("running")
    world.halt("cancel", reason="no longer wanted")
    world.finish(lease, "stopped")
    assert (world.view().state, world.view().last_error) == (
        "cancelled",
        "cancelled: no longer wanted",
    )
    assert found.notices() == ()


def test_two_ways_that_disagree_are_a_reason_to_do_nothing(code_queue):
    found = code_queue(ways=("cli", "http"))
    world = found.world()
    world.submit()
    found.fault("disagree", way="cli")
    with pytest.raises(QueueUnavailableError, match="command line and proxy disagree"):
        found.queue.get("t1")
    assert list(found.queue.changed_since(None).unreadable) == ["t1"]
    remote = found.remote()
    assert f"proxy-divergence: {remote}" in found.queue.control_plane().diagnostics
    before = found.states()
    with pytest.raises(QueueUnavailableError, match="disagree"):
        world.halt("cancel")
    assert found.states() == before
    found.mend()
    assert world.view().state is Status.QUEUED
    assert found.notices() == ()


def test_a_proxy_that_is_silent_is_named_and_costs_one_time_out(code_queue):
    found = code_queue(ways=("cli", "http"))
    world = found.world()
    world.submit("t1")
    world.submit("t2")
    asked = len(found.service.calls)
    found.fault("lost-answer", way="http")
    assert [one.id for one in found.queue.changed_since(None).tasks] == ["t1", "t2"]
    (notice,) = found.queue.control_plane().diagnostics
    assert notice.startswith("proxy-unavailable: ")
    ways = [way for way, _ in found.service.calls[asked:]]
    assert ways.count("http") <= 3  # the tries of one question, which share one time-out


def test_the_trace_is_asked_for_only_when_the_summary_lacks_it(code_queue):
    found = code_queue()
    world = found.world()
    world.beat(world.to("running"), "one", "two")
    asked = found.sent("trace")
    assert world.view().trace.last_sequence == 2
    assert found.sent("trace") == asked
    found.fault("no-trace")
    assert world.view().trace.last_sequence == 2
    assert found.sent("trace") == asked + 1


@pytest.mark.parametrize(
    ("fault", "cut"),
    [
        pytest.param(None, False, id="whole"),
        pytest.param({"kind": "cut-response"}, True, id="cut"),
        pytest.param({"kind": "html", "call": "output"}, True, id="not known"),
    ],
)
def test_a_response_is_whole_only_when_the_output_says_so(code_queue, fault, cut):
    found = code_queue()
    world = found.world()
    lease = world.to("running")
    if fault:
        found.fault(**fault)
    world.finish(lease, final_response="All done.")
    view = world.view()
    assert (view.final_response, view.final_response_truncated) == ("All done.", cut)


def test_what_was_read_is_good_for_a_while_and_not_after_an_act(code_queue):
    found = code_queue(fresh=10.0)
    world = found.world()
    world.submit("t1")

    def asked():
        before = len(found.service.calls)
        found.queue.changed_since(None)
        found.queue.queues()
        return [call for _, call in found.service.calls[before:]]

    assert asked() == ["queues", "task"]
    assert asked() == []
    world.halt("cancel")
    assert asked() == ["queues", "task"]
    found.clock.advance(11)
    assert asked()[0] == "queues"


def test_the_output_is_asked_for_once_for_each_result(code_queue):
    found = code_queue()
    world = found.world()
    world.finish(world.to("running"), final_response="All done.")
    for _ in range(3):
        found.queue.changed_since(None)
    assert found.sent("output") == 1


def test_a_result_that_is_dealt_with_is_marked_as_read(code_queue):
    found = code_queue()
    world = found.world()
    lease = world.to("running")
    found.queue.mark_read("t1", attempt=1)
    world.finish(lease)
    (queue,) = found.queue.queues()
    assert (queue.unread, found.sent("read")) == (1, 0)
    found.queue.mark_read("t1", attempt=2)
    assert found.sent("read") == 0
    found.queue.mark_read("t1", attempt=1)
    (queue,) = found.queue.queues()
    assert (queue.unread, found.sent("read")) == (0, 1)


def test_a_mark_that_cannot_be_set_is_named_and_stops_nothing(code_queue):
    found = code_queue()
    world = found.world()
    world.finish(world.to("running"))
    found.fault("html", call="read")
    found.queue.mark_read("t1", attempt=1)
    assert found.notices()[0].startswith("not-marked-read: t1")


def test_a_queue_shows_its_own_kind_and_the_configured_limit(code_queue):
    found = code_queue()
    found.service.queue.configure(QueueSpec(id="infra", kind="infrastructure", risk="low"))
    found.queue.configure(QueueSpec(id="infra", max_running=2))
    (queue,) = found.queue.queues()
    assert (queue.id, queue.kind, queue.risk, queue.max_running) == (
        "infra", "infrastructure", "low", 2,
    )  # fmt: skip


def test_a_new_process_goes_on_where_the_last_one_was(code_queue, tmp_path, standin_server):
    found = code_queue()
    world = found.world()
    receipt = world.submit(key="k")
    changes = found.queue.changed_since(None)
    with another(found, tmp_path, standin_server) as queue:
        assert queue.receipt("k") == receipt
        assert queue.changed_since(changes.cursor).tasks == ()
        world.claimed()
        (view,) = queue.changed_since(changes.cursor).tasks
    assert (view.id, view.state, view.order) == ("t1", "running", ORDER)


@contextmanager
def another(found, folder, server):
    """A second process on the same ledger."""
    discipline = SubmitDiscipline(folder / "other.lock", spacing=0, now=found.clock.now)
    proxy = Proxy(server.url, paths=PATHS, timeout=20, keys=True)
    with Ledger(folder / "ledger.db") as ledger:
        yield CodeQueue([proxy], ledger, discipline, found.clock.now, CodeQueueOptions())
