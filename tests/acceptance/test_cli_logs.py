"""`wavekeeper logs`: what the agent of a task did."""

import json
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.nouns import AgentUsage, Usage
from agent.core.model.queueing import NewEvent, Report
from agent.core.queue import rules
from tests.acceptance.program import SETTINGS, Project, here
from tests.adapters.processes import until

EVENTS = [
    ("started", "session s-1, model m"),
    ("message", "first\nwavekeeper: done\x1b[2J"),
    ("tool_started", "Bash: git push https://me:hunter2hunter2@example.invalid/x"),
    ("odd\nkind", ""),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """One task that is submitted."""
    project = Project.whole(tmp_path_factory.mktemp("logs"))
    project.write("wavekeeper.toml", SETTINGS)
    project.push_a_first_commit()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        assert here("submit", "w.toml").returncode == 0
        assert here("run", "--once").returncode == 0
    return project


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    copied = template.copy(tmp_path)
    monkeypatch.chdir(copied.folder)
    return copied


@contextmanager
def queue(project):
    with SqliteQueue(project.state / "queue.db", lambda: datetime.now(UTC)) as opened:
        yield opened


def begin(project, events=EVENTS):
    """An attempt that has printed these; its lease."""
    with queue(project) as opened:
        lease = opened.claim("host", ["main"], lease=600)
        say(opened, lease, *events)
        return lease


def say(opened, lease, *events):
    now = datetime.now(UTC)
    opened.beat(
        lease, [NewEvent(at=now, kind=kind, text=text) for kind, text in events], extend=600
    )


def end(project, lease):
    with queue(project) as opened:
        say(opened, lease, ("final", "done"))
        tokens = Usage(input_tokens=1200, output_tokens=34)
        used = AgentUsage(session="s-1", model="m\x1b[2J", tokens=tokens, cost=0.056)
        opened.finish(lease, Report(state="succeeded", used=used))


def test_each_event_is_a_line_and_nothing_in_it_looks_like_ours(project):
    begin(project)
    shown = here("logs", "T-1")
    assert (shown.returncode, shown.stderr) == (0, "")
    started, first, more, tool, odd, last = shown.stdout.splitlines()
    assert started[8:] == " started       session s-1, model m"
    assert first[8:] == " message       first"
    assert more == f"{'':22}| wavekeeper: done␛"
    assert "hunter2" not in tool
    assert odd[8:].startswith(" odd <U+000A> kind")
    assert last == "T-1 attempt 1: running, goes on"


def test_an_earlier_attempt_and_what_is_no_longer_kept(project, monkeypatch):
    monkeypatch.setattr(rules, "TRACE_KEPT", 3)
    lease = begin(project)
    end(project, lease)
    with queue(project) as opened:
        opened.retry("T-1", attempt=2, prompt="p", fresh_session=False, key="k")
    lines = here("logs", "T-1", "--attempt", "1").stdout.splitlines()
    assert lines[0] == "[2 events are not kept]"
    assert [line[9:].split()[0] for line in lines[1:]] == ["tool_started", "odd", "final"]
    assert here("logs", "T-1").stdout == "T-1 attempt 2: queued, goes on\n"


def test_as_json_every_event_is_one_object(project):
    end(project, begin(project))
    found = [json.loads(line) for line in here("logs", "T-1", "--json").stdout.splitlines()]
    assert [(one["sequence"], one["kind"]) for one in found] == [
        (1, "started"), (2, "message"), (3, "tool_started"), (4, "odd\nkind"), (5, "final"),
    ]  # fmt: skip


def test_following_goes_on_until_the_attempt_has_ended(project):
    lease = begin(project)
    with project.start("logs", "-f", "T-1", stdout=subprocess.PIPE) as child:
        seen = [child.stdout.readline() for _ in range(5)]
        assert b"odd" in seen[-1]
        end(project, lease)
        rest = child.stdout.read().decode().splitlines()
        assert until(lambda: child.poll() is not None)
    assert child.returncode == 0
    assert [line[9:].split()[0] for line in rest[:-1]] == ["final"]
    assert rest[-1] == (
        "T-1 attempt 1: succeeded; model m␛, session s-1, 1,234 tokens, 0.06 US dollars"
    )


def test_what_an_agent_used_is_in_status_and_explain(project):
    end(project, begin(project))
    assert here("run", "--once").returncode == 0
    assert "\n  agent    model m␛, session s-1, 1,234 tokens" in here("explain", "T-1").stdout
    (task,) = json.loads(here("status", "--json").stdout)["tasks"]
    assert task["used"]["tokens"]["inputTokens"] == 1200


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("T-9",), "'T-9' is no task of the queue; `wavekeeper status` lists them"),
        (("T-1", "--attempt", "2"), "T-1 has no attempt 2; its latest is 1"),
        (("T-1", "--attempt", "0"), "T-1 has no attempt 0; its latest is 1"),
        (("\x1b]0;x\x07",), "'\\x1b]0;x\\x07' is no task of the queue"),
    ],
)
def test_what_is_not_there_is_one_line(arguments, said):
    ended = here("logs", *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert said in ended.stderr
