import json
import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from agent.adapters.evidence.command import CommandEvidence
from tests.adapters.evidence_contract import EvidenceContract
from tests.adapters.service_world import (
    COMMIT,
    DIGEST,
    LATE,
    NOW,
    TASK,
    knows,
    services,
    told,
    view,
)

PYTHON = Path(sys.executable)


def question(program, proof="no-source-rebuild", more="", arguments=()):
    argv = [str(PYTHON), "-S", "-c", program, *arguments]
    return (
        f"[[services.shop.command]]\nproof = {proof!r}\n"
        f"argv = [{', '.join(_quoted(one) for one in argv)}]\n{more}\n"
    )


def _quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def probing(folder, text, commit=COMMIT, digest=DIGEST):
    return CommandEvidence(services(folder, text), knows(commit), knows(digest))


class TestContract(EvidenceContract):
    @pytest.fixture
    def task(self):
        return TASK

    @pytest.fixture
    def probe(self, tmp_path):
        return probing(tmp_path, question('print(\'{"holds": true, "detail": "as asked"}\')'))

    @pytest.fixture
    def blind(self, tmp_path):
        text = '[[services.shop.command]]\nproof = "live-health"\nargv = ["no-such-program-here"]\n'
        (tmp_path / "blind").mkdir()
        return probing(tmp_path / "blind", text)


def say(text):
    return f"import sys; sys.stdout.write({text!r})"


ANSWERS = [
    pytest.param("no-source-rebuild", say('{"holds": true}'), (True, None), id="yes"),
    pytest.param("no-source-rebuild", say('{"holds": false, "detail": "built"}'), (False, None),
                 id="no"),
    pytest.param("no-source-rebuild", say('{"holds": null}'), (None, None), id="it does not know"),
    pytest.param("prod-digest", say(json.dumps({"holds": True, "value": DIGEST})), (True, DIGEST),
                 id="a digest"),
    pytest.param("prod-digest", say('{"holds": true}'), (None, None), id="a yes without a digest"),
    pytest.param("live-version", say(json.dumps({"holds": True, "value": COMMIT[:7].upper()})),
                 (True, COMMIT), id="the beginning of the commit"),
    pytest.param("live-version", say(json.dumps({"holds": True, "value": COMMIT[:6]})),
                 (True, COMMIT[:6]), id="too little of it"),
    pytest.param("live-health", say("ok"), (None, None), id="no JSON"),
    pytest.param("live-health", say('{"holds": "yes"}'), (None, None), id="a word for a truth"),
    pytest.param("live-health", say('{"holds": 1}'), (None, None), id="a number for a truth"),
    pytest.param("live-health", say('{"healthy": true}'), (None, None), id="another object"),
    pytest.param("live-health", say('{"holds": true}\n{"holds": false}'), (None, None),
                 id="two objects"),
    pytest.param("live-health", say(""), (None, None), id="nothing"),
    pytest.param("live-health", say('{"holds": true}') + "; sys.exit(3)", (None, None),
                 id="an exit status"),
    pytest.param("live-health", say('{"holds": true}' + " " * 70_000), (None, None), id="too much"),
]  # fmt: skip


@pytest.mark.parametrize(("proof", "program", "expected"), ANSWERS)
def test_what_an_answer_proves(tmp_path, proof, program, expected):
    probe = probing(tmp_path, question(program, proof))
    found = probe.probe(TASK, view(), LATE)
    assert told(found) == [(proof, *expected)]
    assert len(found[0].answer) == 64


TIMES = [
    pytest.param("2026-03-01T09:30:00Z", True, NOW + timedelta(minutes=30), id="after the end"),
    pytest.param("2026-03-01T10:00:00+01:00", True, NOW, id="at the end"),
    pytest.param("2026-03-01T08:59:59Z", None, None, id="before the end"),
    pytest.param("2036-03-01T09:00:00Z", True, LATE, id="in ten years"),
    pytest.param("2026-03-01T09:30:00", None, LATE, id="nobody knows where"),
    pytest.param("yesterday", None, LATE, id="a word"),
]


@pytest.mark.parametrize(("at", "holds", "observed"), TIMES)
def test_a_program_may_say_when_it_was_so(tmp_path, at, holds, observed):
    said = json.dumps({"holds": True, "at": at})
    (found,) = probing(tmp_path, question(say(said))).probe(TASK, view(), LATE)
    assert found.holds is holds
    assert observed in (None, found.observed_at)


ARGUMENTS = "import json, sys; print(json.dumps({'holds': None, 'detail': ' '.join(sys.argv[1:])}))"


def test_words_of_a_program_are_shown_without_control_characters(tmp_path):
    said = json.dumps({"holds": True, "value": "a\x1b[2J\n", "detail": "b\x07\u202e"})
    (found,) = probing(tmp_path, question(say(said))).probe(TASK, view(), LATE)
    assert found.value.isprintable()
    assert found.detail.isprintable()


def test_what_is_known_of_the_task_is_filled_in(tmp_path):
    names = ("{commit}", "--digest={digest}", "{branch}", "{task}", "{service}", "{}", "$HOME;")
    (found,) = probing(tmp_path, question(ARGUMENTS, arguments=names)).probe(TASK, view(), LATE)
    assert found.detail == f"{COMMIT} --digest={DIGEST} {TASK.branch} {TASK.id} shop {{}} $HOME;"


@pytest.mark.parametrize("name", ["commit", "digest"])
def test_what_is_not_known_is_not_asked(tmp_path, name):
    probe = probing(tmp_path, question(ARGUMENTS, arguments=["{" + name + "}"]), **{name: None})
    (found,) = probe.probe(TASK, view(), LATE)
    assert (found.holds, found.answer) == (None, None)
    assert found.detail.startswith(f"the {name} is not known, so ")


def test_it_is_given_only_the_variables_that_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "t")
    monkeypatch.setenv("OTHER_TOKEN", "o")
    program = (
        "import json, os; "
        "print(json.dumps({'holds': None, 'detail': ' '.join(sorted(os.environ))}))"
    )
    (found,) = probing(tmp_path, question(program, more='environment = ["SHOP_TOKEN"]')).probe(
        TASK, view(), LATE
    )
    assert "SHOP_TOKEN" in found.detail
    assert "OTHER_TOKEN" not in found.detail
    monkeypatch.delenv("SHOP_TOKEN")
    (found,) = probing(tmp_path, question(program, more='environment = ["SHOP_TOKEN"]')).probe(
        TASK, view(), LATE
    )
    assert found.detail == "the environment variable SHOP_TOKEN is not set, which it needs"


CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    time.sleep(60)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.long
def test_what_takes_too_long_is_stopped_with_all_it_started(tmp_path):
    mark = tmp_path / "pid"
    text = question(CHILD, more='timeout = "1s"', arguments=[str(mark)])
    (found,) = probing(tmp_path, text).probe(TASK, view(), LATE)
    assert found.holds is None
    assert "took longer than 1 s and was stopped" in found.detail
    group = int(mark.read_text())
    deadline = time.monotonic() + 10
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.02)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_a_program_that_dawdles_is_stopped(tmp_path):
    text = question("import time; time.sleep(60)", more='timeout = "0.2s"')
    (found,) = probing(tmp_path, text).probe(TASK, view(), LATE)
    assert (found.holds, "took longer than 0.2 s" in found.detail) == (None, True)
