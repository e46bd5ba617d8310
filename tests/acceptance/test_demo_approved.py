"""The demonstration's wave with a person who answers every question, and the record of it."""

import io
import re
import threading
from pathlib import Path

import pytest

from agent import wiring
from agent.adapters.files.config import read_settings
from agent.cli.console import Console
from agent.cli.demo import model, play
from agent.errors import UserError, WavekeeperError
from tests.acceptance.program import here

pytestmark = pytest.mark.long
EXPIRES = 8.0
ROOT = Path(__file__).parents[2]


class Person(threading.Thread):
    """Says yes to all but the first question whether to accept, which it lets expire.

    It puts words of its own into the first prompt that follows a failure.
    """

    def __init__(self, settings):
        super().__init__()
        self.settings = settings
        self.over = threading.Event()
        self.edited = self.expired = None

    def run(self):
        while not self.over.wait(0.3):
            if self.settings.exists():
                self.answer()

    def answer(self):
        try:
            settings = read_settings(self.settings)
            policy = wiring.policy_of(settings)
        except UserError:
            return  # it is being written
        with wiring.open_answering(settings, policy) as answering:
            for request in answering.waiting():
                if self.expired is None and request.proposal.action == "accept":
                    self.expired = request.id
                if request.id != self.expired:
                    self.say_yes(answering, request)

    def say_yes(self, answering, request):
        try:
            if request.proposal.action == "retry" and self.edited is None:
                new = request.proposal.prompt.replace(
                    "## Background\n", "## Background\n\nTake care.\n"
                )
                request = answering.edit(request, new).request
                self.edited = request.proposal.task
            answering.approve(request, via="command", looked=None)
        except WavekeeperError:
            return  # it changed meanwhile and is asked anew


def shown_in_the_readme(begin):
    """The block of the README that begins so."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text[text.index(begin) :].partition("\n```")[0]


def labels(text):
    """What the lines of an explanation begin with; times are no labels."""
    words = {line.split()[0] for line in text.splitlines() if line.strip()}
    return {word for word in words if not word[0].isdigit()}


def test_a_wave_of_the_demonstration_with_every_question_answered(tmp_path, monkeypatch):
    person = Person(tmp_path / "shop" / "wavekeeper.toml")
    person.start()
    try:
        with model() as answering:
            console = Console(io.StringIO(), io.StringIO(), {})
            ending = play(console, tmp_path, answering, EXPIRES)
    finally:
        person.over.set()
        person.join()
    assert ending.faults == []
    assert person.edited is not None
    monkeypatch.chdir(tmp_path / "shop")
    for row in ending.table:
        said = here("explain", row.task)
        assert said.returncode == 0
        assert "ACCEPTED at" in said.stdout
        assert "rule   accept_what_is_proven (guard.toml:" in said.stdout
        assert re.search(r"ok     commit-pushed [0-9a-f]{12}", said.stdout)
        assert "the worker's own words were not used as evidence" in said.stdout
        assert re.search(r"person   accept approved by \S+ at", said.stdout)
    assert re.search(r"; [1-9][\d,]* tokens for reviews", here("explain", "T-2").stdout)
    assert "prompt edited" in here("explain", person.edited).stdout
    assert labels(shown_in_the_readme("T-2 of wave demo")) <= labels(here("explain", "T-2").stdout)
    log = here("log").stdout
    assert re.search(rf"accept expired \({person.expired}\): nobody answered in time", log)
    assert here("verify").returncode == 0
    assert here("replay", "last", "--check").returncode == 0
    assert here("approve").stdout == "nothing waits for you\n"
