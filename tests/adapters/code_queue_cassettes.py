"""The cassettes of the Code Queue's HTTP: what is asked in each, and how to record them again.

`python -m tests.adapters.code_queue_cassettes` records all of them against the stand-in.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import vcr

from agent.adapters.code_queue.ledger import Ledger
from agent.adapters.code_queue.queue import CodeQueue, CodeQueueOptions, SubmitDiscipline
from agent.adapters.code_queue.ways import Proxy
from agent.adapters.code_queue.words import PATHS
from agent.core.model.queueing import QueueSpec
from agent.errors import QueueUnavailableError
from tests.adapters.code_queue_world import Bench, bench
from tests.adapters.queue_world import ORDER, Clock, verdict
from tests.standins.code_queue import serving

FOLDER = Path(__file__).parents[2] / "cassettes" / "code_queue"
ADDRESS = "http://code-queue.invalid"
LABEL = """\
provenance:
  source: the stand-in Code Queue of this repository (tests/standins/code_queue.py), on loopback
  recorded_by: python -m tests.adapters.code_queue_cassettes
  not: an answer of a real Code Queue, whose output is not published
"""
HEADERS = {"content-type", "location"}

Happen = Callable[[str], None]
"""What happens in the world between two questions; nothing when a cassette is played."""


def _result(queue: CodeQueue, happen: Happen) -> None:
    """Submitted, run, and read: the response is whole because the output says so."""
    receipt = queue.submit("t1", queue="main", prompt="do it", order=ORDER, key="submit/t1/0")
    assert (receipt.effect, receipt.attempt) == ("done", 1)
    happen("finish")
    (view,) = queue.changed_since(None).tasks
    assert (view.state, view.final_response, view.final_response_truncated) == (
        "succeeded",
        "All done.",
        False,
    )
    assert view.judge is not None
    assert [one.unread for one in queue.queues()] == [1]
    queue.mark_read("t1", attempt=1)
    assert [one.unread for one in queue.queues()] == [0]


def _split_brain(queue: CodeQueue, happen: Happen) -> None:
    """The planes disagree, the heartbeat is fresh: it is seen as running."""
    queue.submit("t1", queue="main", prompt="do it", order=ORDER, key="submit/t1/0")
    happen("run")
    happen("split-brain")
    view = queue.get("t1")
    assert view is not None
    assert (view.state, view.control_plane.status) == ("running", "failed")
    assert view.heartbeat.origin == "worker"
    queue.queues()
    plane = queue.control_plane()
    assert plane.reachable
    assert plane.diagnostics[:2] == ("split-brain", "effectiveLiveness=live")


def _stale_flag(queue: CodeQueue, happen: Happen) -> None:
    """A retry inherits the flag of the attempt before it."""
    queue.submit("t1", queue="main", prompt="do it", order=ORDER, key="submit/t1/0")
    happen("run")
    queue.interrupt("t1", attempt=1, reason="silent", key="interrupt/t1/1")
    happen("stopped")
    happen("stale-cancel")
    receipt = queue.retry("t1", attempt=2, prompt="again", fresh_session=False, key="retry/t1/1")
    assert receipt.effect == "done"
    queue.queues()
    assert queue.control_plane().diagnostics == ("stale-cancel-flag: t1, attempt 2",)


def _lost(queue: CodeQueue, happen: Happen) -> None:
    """Half of the acknowledgement is lost; the task is found among those nobody has a name for."""
    happen("half-a-submit")
    receipt = queue.submit("t1", queue="main", prompt="do it", order=ORDER, key="submit/t1/0")
    assert (receipt.effect, receipt.attempt) == ("done", 1)


def _html(queue: CodeQueue, happen: Happen) -> None:
    """The proxy shows a page of its own."""
    happen("html")
    _refused(queue, "text/html")


def _redirect(queue: CodeQueue, happen: Happen) -> None:
    """The proxy points elsewhere; nobody goes there."""
    happen("redirect")
    _refused(queue, "not followed")


def _refused(queue: CodeQueue, said: str) -> None:
    with pytest.raises(QueueUnavailableError, match=said):
        queue.queues()


SCRIPTS: dict[str, Callable[[CodeQueue, Happen], None]] = {
    "result": _result,
    "split_brain": _split_brain,
    "stale_cancel_flag": _stale_flag,
    "lost_acknowledgement": _lost,
    "html": _html,
    "redirect": _redirect,
}


def _happening(found: Bench) -> Happen:
    """What happens in the stand-in's world."""
    world = found.world()
    leases: list[Any] = []

    def happen(what: str) -> None:
        match what:
            case "run":
                leases.append(world.claimed())
                world.beat(leases[-1], "at it")
            case "finish":
                lease = world.claimed()
                found.service.judges[found.remote(lease.task)] = verdict(world)
                world.finish(lease, final_response="All done.")
            case "stopped":
                world.finish(leases[-1], "stopped")
            case "half-a-submit":
                found.fault("truncated", call="submit")
            case _:
                found.fault(what)

    return happen


def _plain_request(request: Any) -> Any:
    path = request.uri.partition("://")[2].partition("/")[2]
    request.uri = f"{ADDRESS}/{path}"
    request.headers = {}
    return request


def _plain_response(response: Any) -> Any:
    response["headers"] = {
        name.lower(): value
        for name, value in response["headers"].items()
        if name.lower() in HEADERS
    }
    return response


def _tape(mode: str) -> vcr.VCR:
    return vcr.VCR(
        record_mode=mode,
        match_on=["method", "path", "query", "body"],
        before_record_request=_plain_request,
        before_record_response=_plain_response,
        decode_compressed_response=True,
    )


def record(name: str, folder: Path) -> None:
    """Record one cassette anew."""
    (folder / "bench").mkdir()
    file = FOLDER / f"{name}.yaml"
    file.unlink(missing_ok=True)
    with (
        serving() as server,
        bench(folder / "bench", server, queues=[QueueSpec(id="main")]) as found,
        _tape("all").use_cassette(str(file)),
    ):
        SCRIPTS[name](found.queue, _happening(found))
    file.write_text(LABEL + file.read_text(encoding="utf-8"), encoding="utf-8")


@contextmanager
def played(name: str, folder: Path) -> Iterator[CodeQueue]:
    """The adapter in front of one cassette; every answer in it must have been asked for."""
    clock = Clock()
    proxy = Proxy(ADDRESS, paths=PATHS, timeout=5, keys=True)
    discipline = SubmitDiscipline(folder / "submit.lock", spacing=0, now=clock.now)
    with (
        Ledger(folder / "ledger.db") as ledger,
        _tape("none").use_cassette(str(FOLDER / f"{name}.yaml")) as tape,
    ):
        yield CodeQueue([proxy], ledger, discipline, clock.now, CodeQueueOptions())
        assert tape.all_played


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for one in SCRIPTS:
        with tempfile.TemporaryDirectory() as place:
            record(one, Path(place))
