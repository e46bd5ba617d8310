"""The Code Queue adapter when what it sent may or may not have arrived."""

import pytest

from agent.core.model.nouns import Status
from agent.errors import NothingDoneError, QueueUnavailableError
from tests.adapters.queue_world import ORDER

ACTS = ["submit", "retry", "interrupt", "cancel", "move"]


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


@pytest.mark.parametrize("verb", ACTS)
@pytest.mark.parametrize("kind", ["lost-answer", "truncated"])
def test_a_lost_acknowledgement_is_read_back_at_once(code_queue, verb, kind):
    found = code_queue()
    _, act = ready(found, verb)
    found.fault(kind, call=verb)
    receipt = act()
    assert (receipt.effect, receipt.key) == ("done", "k")
    assert found.queue.receipt("k") == receipt
    found.mend()
    after, sent = found.states(), found.sent(verb)
    assert act() == receipt
    assert (found.states(), found.sent(verb)) == (after, sent)


@pytest.mark.parametrize("verb", ACTS)
def test_what_cannot_be_read_back_stays_open_until_it_can(code_queue, verb):
    found = code_queue()
    _, act = ready(found, verb)
    found.fault("lost-answer", call=verb)
    # All but a submit read the task once before they act on it.
    found.fault("html", call="task", skip=int(verb != "submit"))
    found.fault("html", call="queues")
    before, sent = found.states(), found.sent(verb)
    with pytest.raises(QueueUnavailableError, match="read back before anything is sent again"):
        act()
    assert found.states() != before
    with pytest.raises(QueueUnavailableError):
        found.queue.receipt("k")
    found.mend()
    receipt = found.queue.receipt("k")
    assert receipt is not None
    assert (receipt.effect, found.sent(verb)) == ("done", sent + 1)
    assert act() == receipt
    assert found.sent(verb) == sent + 1


@pytest.mark.parametrize("keys", [True, False], ids=["keys", "no keys"])
def test_a_submit_that_never_arrived_is_sent_again_as_one(code_queue, keys):
    found = code_queue(keys=keys)
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
    assert len(found.states()) == 1
    assert world.view().state is Status.QUEUED


def test_without_keys_a_lost_submit_is_found_by_its_prompt_and_not_repeated(code_queue):
    found = code_queue(keys=False)
    world = found.world()
    world.submit("t0", prompt="another prompt")
    found.fault("lost-answer", call="submit")
    found.fault("html", call="queues")
    with pytest.raises(QueueUnavailableError):
        world.submit(key="k")
    found.mend()
    assert world.submit(key="k").effect == "done"
    assert (found.sent("submit"), len(found.states())) == (2, 2)
    assert world.view().prompt == "do it"


def test_two_tasks_that_look_alike_are_no_proof_of_either(code_queue):
    found = code_queue()
    world = found.world()
    found.fault("lost-answer", call="submit")
    found.fault("html", call="queues", times=1)
    with pytest.raises(QueueUnavailableError):
        world.submit(key="k")
    found.service.queue.submit("t-twin", queue="main", prompt="do it", order=ORDER, key="other")
    found.mend()
    with pytest.raises(QueueUnavailableError, match="all look like t1"):
        found.queue.receipt("k")


def test_submits_are_kept_apart(code_queue):
    found = code_queue(spacing=2.0)
    world = found.world()
    for task in ("t1", "t2", "t3"):
        world.submit(task)
    assert found.pauses == [2.0, 2.0]
    found.clock.advance(1.5)
    world.submit("t4")
    assert found.pauses[2:] == [0.5]


def test_nothing_is_submitted_on_top_of_what_is_not_acknowledged(code_queue):
    found = code_queue()
    world = found.world()
    found.fault("html")
    with pytest.raises(QueueUnavailableError):
        world.submit("t1", key="k")
    found.mend()
    with pytest.raises(NothingDoneError, match="submit of t1 is not acknowledged yet"):
        world.submit("t2")
    assert found.notices() == ("unacknowledged: submit t1",)
    assert found.queue.control_plane().submit_lock == "held"
    found.clock.advance(61)
    assert world.submit("t2").effect == "done"
    assert found.queue.control_plane().submit_lock == "free"
