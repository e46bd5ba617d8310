"""The demonstration's wave with a person who answers every question, and the record of it."""

import re
import time

import pytest

from agent import wiring
from agent.adapters.config_toml import read_settings
from agent.cli.demo.scene import HERE, staged
from agent.cli.demo.story import amiss, rows
from agent.cli.stopping import Stop
from tests.acceptance.program import here

pytestmark = pytest.mark.long
LIMIT = 170.0


class Person:
    """Says yes to everything; and edits the first prompt that follows a failure."""

    def __init__(self, settings, policy):
        self.settings, self.policy = settings, policy
        self.edited = None

    def answer(self):
        with wiring.open_answering(self.settings, self.policy) as answering:
            for asked in answering.waiting():
                card = asked
                if card.proposal.action == "retry" and self.edited is None:
                    words = card.proposal.prompt
                    new = words.replace("## Background\n", "## Background\n\nTake care.\n", 1)
                    result = answering.edit(card, new)
                    assert result.findings == ()
                    self.edited, card = card.proposal.task, result.card
                answering.approve(card, via="command", looked=None)


def test_a_wave_of_the_demonstration_with_every_question_answered(tmp_path, monkeypatch):
    with staged(tmp_path) as scene:
        settings = read_settings(scene.settings)
        wiring.submit(settings, HERE / "wave.toml")
        policy = wiring.policy_of(settings)
        person, begun = Person(settings, policy), time.monotonic()
        with wiring.open_world(settings, policy) as world:
            how = wiring.supervision(settings, policy, "approve")

            def over(_):
                person.answer()
                if scene.accident():
                    scene.start_host("host-c", ("edge",))
                late = time.monotonic() - begun > LIMIT
                return late or not world.store.standings(settled=False)

            wiring.loop(settings, world, how, lambda _: None).run(Stop(), until=over)
            told = rows(world)
            # It takes longer with a person in it, and no more than that.
            assert [line for line in amiss(world, told) if "silent" not in line] == []
        assert person.edited is not None
        monkeypatch.chdir(scene.repository)
        for row in told:
            said = here("explain", row.task)
            assert said.returncode == 0
            assert "ACCEPTED at" in said.stdout
            assert "rule   accept_what_is_proven (guard.toml:" in said.stdout
            assert re.search(r"ok     commit-pushed [0-9a-f]{12}", said.stdout)
            assert "the worker's own words were not used as evidence" in said.stdout
            assert re.search(r"person   accept approved by \S+ at", said.stdout)
        assert "prompt edited" in here("explain", person.edited).stdout
        assert here("verify").returncode == 0
        assert here("replay", "last", "--check").returncode == 0
        assert here("approve").stdout == "nothing waits for you\n"
