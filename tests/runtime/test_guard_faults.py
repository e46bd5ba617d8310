"""What fails in the midst of a decision: always refused, always explained, in the journal too."""

import socket
import threading
from dataclasses import replace

import pytest

from agent.adapters.evidence.git import GitEvidence
from agent.adapters.evidence.judge import JudgeEvidence
from agent.core.guard import facts
from agent.core.model.actions import Action, Refused
from tests.simulation.small_world import SmallWorld, spec


class Silence:
    """A git remote that takes every connection and never answers."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"git://127.0.0.1:{self._socket.getsockname()[1]}/repository.git"
        self.asked = threading.Event()
        self._open = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        while True:
            try:
                self._open.append(self._socket.accept()[0])
            except OSError:
                return
            self.asked.set()

    def close(self):
        self._socket.close()
        for one in self._open:
            one.close()


@pytest.fixture
def silence():
    remote = Silence()
    yield remote
    remote.close()


def test_a_probe_that_hangs_proves_nothing_and_says_so(tmp_path, silence):
    """Nothing is accepted, sent back or given up for it; it is looked at again in the next tick."""
    small = SmallWorld(tmp_path, {})
    git = GitEvidence(silence.url, tmp_path / "evidence", ("**/*.md",), timeout=0.3)
    small.wrap = lambda world: replace(world, probes=(git, JudgeEvidence(small.judgements)))
    small.submit(spec())
    ticker = small.ticker()
    ticker.tick()
    small.host()
    small.clock.move(61)
    ticker.tick()
    small.clock.move(61)
    result = ticker.tick()
    assert silence.asked.is_set()
    (decision,) = result.decisions
    assert decision.proposal.action is Action.LEAVE_ALONE
    assert "took longer than 0.3 s" in decision.proposal.reason
    assert small.world.store.task_record("T-1").status == "submitted"
    assessment = decision.facts
    assert assessment == {}
    assert small.queue.get("T-1").attempt == 1


@pytest.mark.parametrize("fails_at", ["deciding", "acting"])
def test_a_fact_that_fails_stops_the_action_and_names_itself(tmp_path, monkeypatch, fails_at):
    small = SmallWorld(tmp_path, {})
    small.submit(spec())
    ticker = small.ticker()
    ticker.tick()
    small.host()
    for _ in range(2):
        small.clock.move(61)
        ticker.tick()
        small.host()
    good, calls = facts._DERIVE["proof"], []

    def fails(situation):
        calls.append(situation)
        if fails_at == "deciding" or len(calls) > 1:
            raise ZeroDivisionError
        return good(situation)

    monkeypatch.setitem(facts._DERIVE, "proof", fails)
    small.clock.move(61)
    result = ticker.tick()
    (decision,) = result.decisions
    assert decision.proposal.action is Action.ACCEPT
    if fails_at == "deciding":
        assert isinstance(decision.clearance, Refused)
        assert "fact_failed_proof" in decision.clearance.rules
        assert result.done == ()
    else:
        (done,) = result.done
        assert done.result == "void"
        assert "fact_failed_proof" in done.said
    assert small.world.store.task_record("T-1").status == "submitted"
    journal = small.world.journal
    assert any("fact_failed_proof" in str(entry.record.body) for entry in journal.entries())
