"""The Code Queue adapter when answers are lost, wrong, late, or contradict one another."""

from contextlib import contextmanager

import pytest

from agent.adapters.queue_code_queue import CodeQueue, Manner
from agent.adapters.queue_code_queue_http import Proxy
from agent.adapters.queue_code_queue_ledger import Ledger
from agent.adapters.queue_code_queue_submit import SubmitDiscipline
from agent.adapters.queue_sqlite import SqliteQueue
from agent.core.code_queue import PATHS
from agent.core.model import Status
from agent.core.queueing import QueueSpec
from agent.errors import NothingDoneError, QueueUnavailableError
from tests.adapters.code_queue_world import bench
from tests.adapters.queue_world import ORDER, Clock
from tests.standins.code_queue import serving

ACTS = ["submit", "retry", "interrupt", "cancel", "move"]


@pytest.fixture(scope="module")
def server():
    with serving() as here:
        yield here


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "queue.db"
    SqliteQueue(path, Clock().now).close()
    return path


@pytest.fixture
def start(tmp_path, server, empty):
    """Opens a bench; closed at the end."""
    opened = []

    def open_bench(**how):
        opened.append(bench(tmp_path, server, empty, **how))
        return opened[-1].__enter__()

    yield open_bench
    for one in opened:
        one.__exit__(None, None, None)


def ready(found, verb):
    """A world in which `verb` has something to do, and the doing of it."""
    world = found.world()
    if verb == "retry":
        world.to("failed")
    elif verb in ("interrupt", "cancel"):
        world.to("running")
    elif verb == "move":
        world.submit()
    acts = {
        "submit": lambda: world.submit(key="k"),
        "retry": lambda: world.retry(2, key="k"),
        "interrupt": lambda: world.halt("interrupt", key="k"),
        "cancel": lambda: world.halt("cancel", key="k"),
        "move": lambda: world.move("other", key="k"),
    }
    return world, acts[verb]


def state_of(found):
    """Every task of the stand-in, without times."""
    return [
        (one.queue, one.state, one.attempt, one.stop_requested)
        for one in found.service.queue.changed_since(None).tasks
    ]


@pytest.mark.parametrize("verb", ACTS)
@pytest.mark.parametrize("kind", ["lost-answer", "truncated"])
def test_a_lost_acknowledgement_is_read_back_at_once(start, verb, kind):
    found = start()
    _, act = ready(found, verb)
    found.fault(kind, call=verb)
    receipt = act()
    assert (receipt.effect, receipt.key) == ("done", "k")
    assert found.queue.receipt("k") == receipt
    found.mend()
    after, sent = state_of(found), found.sent(verb)
    assert act() == receipt
    assert (state_of(found), found.sent(verb)) == (after, sent)


@pytest.mark.parametrize("verb", ACTS)
def test_what_cannot_be_read_back_stays_open_until_it_can(start, verb):
    found = start()
    _, act = ready(found, verb)
    found.fault("lost-answer", call=verb)
    # All but a submit read the task once before they act on it.
    found.fault("html", call="task", skip=int(verb != "submit"))
    found.fault("html", call="queues")
    before, sent = state_of(found), found.sent(verb)
    with pytest.raises(QueueUnavailableError, match="read back before anything is sent again"):
        act()
    assert state_of(found) != before
    with pytest.raises(QueueUnavailableError):
        found.queue.receipt("k")
    found.mend()
    receipt = found.queue.receipt("k")
    assert receipt is not None
    assert (receipt.effect, found.sent(verb)) == ("done", sent + 1)
    assert act() == receipt
    assert found.sent(verb) == sent + 1


@pytest.mark.parametrize("keys", [True, False], ids=["keys", "no keys"])
def test_a_submit_that_never_arrived_is_sent_again_as_one(start, keys):
    found = start(keys=keys)
    world, act = ready(found, "submit")
    found.fault("html", call="submit")
    with pytest.raises(QueueUnavailableError, match="text/html"):
        act()
    found.mend()
    if not keys:
        with pytest.raises(QueueUnavailableError, match="may still be under way"):
            found.queue.receipt("k")
        found.clock.advance(61)
    assert found.queue.receipt("k") is None
    assert act().effect == "done"
    assert len(state_of(found)) == 1
    assert world.view().state is Status.QUEUED


def test_without_keys_a_lost_submit_is_found_by_its_prompt_and_not_repeated(start):
    found = start(keys=False)
    world = found.world()
    world.submit("t0", prompt="another prompt")
    found.fault("lost-answer", call="submit")
    found.fault("html", call="queues")
    with pytest.raises(QueueUnavailableError):
        world.submit(key="k")
    found.mend()
    assert world.submit(key="k").effect == "done"
    assert (found.sent("submit"), len(state_of(found))) == (2, 2)
    assert world.view().prompt == "do it"


def test_two_tasks_that_look_alike_are_no_proof_of_either(start):
    found = start()
    world = found.world()
    found.fault("lost-answer", call="submit")
    found.fault("html", call="queues", times=1)
    with pytest.raises(QueueUnavailableError):
        world.submit(key="k")
    found.service.queue.submit("t-twin", queue="main", prompt="do it", order=ORDER, key="other")
    found.mend()
    with pytest.raises(QueueUnavailableError, match="all look like t1"):
        found.queue.receipt("k")


BROKEN = [
    pytest.param("html", {}, "text/html", id="HTML"),
    pytest.param("truncated", {}, "no JSON", id="half an answer"),
    pytest.param("lost-answer", {}, "cannot be reached", id="no answer"),
    pytest.param("slow", {"seconds": 5.0}, "no answer in 0.2 s", id="slow"),
]


@pytest.mark.parametrize(("kind", "how", "said"), BROKEN)
def test_an_answer_that_is_none_is_one_line_and_no_view(start, kind, how, said):
    found = start(timeout=0.2 if kind == "slow" else 20.0)
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


def test_one_unreadable_task_does_not_hide_the_others(start):
    found = start()
    world = found.world()
    world.submit("t1")
    world.submit("t2")
    found.fault("html", call="task", times=1)
    changes = found.queue.changed_since(None)
    assert changes.unreadable == ("t1",)
    assert any("unreadable: t1" in one for one in found.queue.control_plane().diagnostics)
    found.mend()
    assert found.queue.changed_since(None).unreadable == ()
    assert found.queue.control_plane().diagnostics == ()


def test_a_split_brain_is_seen_from_both_planes_and_the_task_lives(start):
    found = start()
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


def test_a_heartbeat_of_a_recovery_is_told_as_one(start):
    found = start()
    world = found.world()
    world.to("running")
    found.fault("recovery-beat")
    assert world.view().heartbeat.origin == "recovery"


def test_a_cancel_flag_that_a_retry_left_is_nobodys_word(start):
    found = start()
    world = found.world()
    lease = world.to("running")
    world.halt("interrupt")
    world.finish(lease, "stopped")
    found.fault("stale-cancel")
    world.retry(2)
    view = world.view()
    assert (view.attempt, view.state, view.stop_requested) == (2, "queued", "cancel")
    assert "stale-cancel-flag: t1, attempt 2" in _notices(found)
    # The queue obeys its own flag.
    again = world.claimed()
    found.service.queue.cancel(found.remote(), attempt=2, reason="flag", key="internal")
    world.finish(again, "stopped")
    ended = world.view()
    assert (ended.state, ended.stop_requested) == ("failed", "cancel")


def test_a_cancel_that_was_asked_for_stays_a_cancel(start):
    found = start()
    world = found.world()
    lease = world.to("running")
    world.halt("cancel", reason="no longer wanted")
    world.finish(lease, "stopped")
    assert (world.view().state, world.view().last_error) == (
        "cancelled",
        "cancelled: no longer wanted",
    )
    assert _notices(found) == ()


def _notices(found):
    found.queue.queues()
    return found.queue.control_plane().diagnostics


def test_two_ways_that_disagree_are_a_reason_to_do_nothing(start):
    found = start(ways=("cli", "http"))
    world = found.world()
    world.submit()
    found.fault("disagree", way="cli")
    with pytest.raises(QueueUnavailableError, match="command line and proxy disagree"):
        found.queue.get("t1")
    assert found.queue.changed_since(None).unreadable == ("t1",)
    remote = found.remote()
    assert f"proxy-divergence: {remote}" in found.queue.control_plane().diagnostics
    before = state_of(found)
    with pytest.raises(QueueUnavailableError, match="disagree"):
        world.halt("cancel")
    assert state_of(found) == before
    found.mend()
    assert world.view().state is Status.QUEUED
    assert _notices(found) == ()


def test_a_proxy_that_is_silent_is_named_and_costs_one_time_out(start):
    found = start(ways=("cli", "http"))
    world = found.world()
    world.submit("t1")
    world.submit("t2")
    asked = len(found.service.calls)
    found.fault("lost-answer", way="http")
    assert [one.id for one in found.queue.changed_since(None).tasks] == ["t1", "t2"]
    (notice,) = found.queue.control_plane().diagnostics
    assert notice.startswith("proxy-unavailable: ")
    ways = [way for way, _ in found.service.calls[asked:]]
    assert ways.count("http") <= 2  # httpx itself asks once more on a connection that went away


def test_submits_are_kept_apart(start):
    found = start(spacing=2.0)
    world = found.world()
    for task in ("t1", "t2", "t3"):
        world.submit(task)
    assert found.pauses == [2.0, 2.0]
    found.clock.advance(1.5)
    world.submit("t4")
    assert found.pauses[2:] == [0.5]


def test_nothing_is_submitted_on_top_of_what_is_not_acknowledged(start):
    found = start()
    world = found.world()
    found.fault("html")
    with pytest.raises(QueueUnavailableError):
        world.submit("t1", key="k")
    found.mend()
    with pytest.raises(NothingDoneError, match="submit of t1 is not acknowledged yet"):
        world.submit("t2")
    assert _notices(found) == ("unacknowledged: submit t1",)
    assert found.queue.control_plane().submit_lock == "held"
    found.clock.advance(61)
    assert world.submit("t2").effect == "done"
    assert found.queue.control_plane().submit_lock == "free"


def test_the_trace_is_asked_for_only_when_the_summary_lacks_it(start):
    found = start()
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
def test_a_response_is_whole_only_when_the_output_says_so(start, fault, cut):
    found = start()
    world = found.world()
    lease = world.to("running")
    if fault:
        found.fault(**fault)
    world.finish(lease, final_response="All done.")
    view = world.view()
    assert (view.final_response, view.final_response_truncated) == ("All done.", cut)


def test_what_was_read_is_good_for_a_while_and_not_after_an_act(start):
    found = start(fresh=10.0)
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


def test_the_output_is_asked_for_once_for_each_result(start):
    found = start()
    world = found.world()
    world.finish(world.to("running"), final_response="All done.")
    for _ in range(3):
        found.queue.changed_since(None)
    assert found.sent("output") == 1


def test_a_result_that_is_dealt_with_is_marked_as_read(start):
    found = start()
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


def test_a_mark_that_cannot_be_set_is_named_and_stops_nothing(start):
    found = start()
    world = found.world()
    world.finish(world.to("running"))
    found.fault("html", call="read")
    found.queue.mark_read("t1", attempt=1)
    assert _notices(found)[0].startswith("not-marked-read: t1")


def test_a_queue_shows_its_own_kind_and_the_configured_limit(start):
    found = start()
    found.service.queue.configure(QueueSpec(id="infra", kind="infrastructure", risk="low"))
    found.queue.configure(QueueSpec(id="infra", max_running=2))
    (queue,) = found.queue.queues()
    assert (queue.id, queue.kind, queue.risk, queue.max_running) == (
        "infra", "infrastructure", "low", 2,
    )  # fmt: skip


def test_a_new_process_goes_on_where_the_last_one_was(start, tmp_path, server):
    found = start()
    world = found.world()
    receipt = world.submit(key="k")
    changes = found.queue.changed_since(None)
    with another(found, tmp_path, server) as queue:
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
        yield CodeQueue([proxy], ledger, discipline, found.clock.now, Manner())
    proxy.close()
