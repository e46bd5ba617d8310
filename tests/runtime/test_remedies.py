"""What is done to a running system: with a person's word, once, while the fix is made to last."""

import sys
import time
from dataclasses import replace

from agent.adapters.remedies.command import CommandRemedies
from agent.adapters.remedies.settings import RemedySettings
from agent.runtime.approval_answers import Answering
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

PUSHED = "d" * 40
MISSING = "make: demo-lint: command not found"
STOPPED = {(one, 1): Turn(commit=PUSHED, checks=MISSING) for one in ("T-1", "T-2")}
AWAY = {("fix-d-1", n): Turn(vanish=True) for n in range(1, 30)}
"""Whoever is to fix it for good takes his time."""


def python(code, *arguments):
    return (sys.executable, "-c", code, *map(str, arguments))


class Bridged(SmallWorld):
    """A small world with a remedy in dev: the file `bridge`, if `works`."""

    def begin(self, *, works=True):
        self.bridge = self.folder / "bridge"
        write = "import sys; open(sys.argv[1], 'a').write('x')"
        settings = RemedySettings(
            target="hosts-dev", environment="dev", reasons=("missing-tool",),
            dry_run=python("pass"), command=python(write if works else "pass", self.bridge),
            verify=python("import os, sys; sys.exit(not os.path.exists(sys.argv[1]))", self.bridge),
            timeout="1s",
        )  # fmt: skip
        self.remedies = CommandRemedies(
            {"install-it": settings}, self.folder / "notes", wait=time.sleep
        )
        self.wrap = lambda world: replace(world, remedies=self.remedies)
        self.submit(spec(), spec("T-2"))
        self.person = Answering(self.world, POLICY, "ana@host")
        return self

    def questions(self):
        return [(one.proposal.action.value, one.proposal.task) for one in self.person.waiting()]

    def on(self, ticker, ticks):
        for _ in range(ticks):
            ticker.tick()
            self.clock.move(61)
            self.host()

    def yes(self):
        for request in self.person.waiting():
            self.person.approve(self.person.request(request.id), via="panel", looked=3.5)


def test_the_delivery_goes_on_over_a_bridge_that_a_person_allowed(tmp_path):
    world = Bridged(tmp_path, STOPPED | AWAY).begin()
    ticker = world.ticker()
    world.on(ticker, 8)
    assert world.questions() == [("live-remedy", "T-1")]
    assert not world.bridge.exists()
    world.yes()
    world.on(ticker, 1)
    assert world.bridge.read_text() == "x"
    world.on(ticker, 10)
    assert world.bridge.read_text() == "x"
    # Both were stopped only in their judgement, so they are judged again over the bridge.
    ends = dict.fromkeys(("T-1", "T-2"), ("accepted", 1))
    assert {task: end for task, end in world.outcome().items() if task in ends} == ends
    (defect,) = world.world.store.defects()
    assert (defect.status, defect.remedied, defect.fixed_by) == ("recorded", True, "fix-d-1")
    (issue,) = tmp_path.glob("issues/*.md")
    assert "install-it bridges D-1 in dev until fix-d-1 has fixed it" in issue.read_text()


def test_a_remedy_that_was_not_seen_to_work_is_not_tried_again(tmp_path):
    world = Bridged(tmp_path, STOPPED | AWAY).begin(works=False)
    ticker = world.ticker()
    world.on(ticker, 8)
    world.yes()
    world.on(ticker, 6)
    (defect,) = world.world.store.defects()
    assert (defect.status, defect.remedied) == ("recorded", False)
    assert world.questions() == []
    assert world.outcome()["T-1"] == ("parked", 1)


def test_nothing_is_touched_without_a_word(tmp_path):
    world = Bridged(tmp_path, STOPPED | AWAY).begin()
    world.on(world.ticker(), 20)
    assert not world.bridge.exists()
    assert world.outcome()["T-1"] == ("parked", 1)
