"""`wavekeeper judge`, and the judge beside `wavekeeper work`, as programs."""

import signal
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from agent.adapters.queue.judgements import SqliteJudgements
from agent.core.model.nouns import Command
from agent.core.model.queueing import JudgementOrder
from tests.acceptance.program import SETTINGS, Project, here
from tests.adapters.processes import until

WORKER = f"""{SETTINGS}
[worker]
command = ["cat"]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    project = Project.whole(tmp_path)
    project.push_a_first_commit()
    project.write("wavekeeper.toml", WORKER)
    monkeypatch.chdir(project.folder)
    return project


@contextmanager
def judgements(project):
    project.state.mkdir(exist_ok=True)
    file = project.state / "judgements.db"
    with SqliteJudgements(file, lambda: datetime.now(UTC)) as kept:
        yield kept


@contextmanager
def started(project, *arguments):
    """The program, and what it says; it does not outlive the block."""
    said = project.state / "said"
    with said.open("wb") as file, project.start(*arguments, stdout=file) as program:
        try:
            yield program, lambda: said.read_text().splitlines()
        finally:
            program.kill()


def ordered(kept, script="test -e README.md"):
    command = Command(argv=("sh", "-c", script))
    order = JudgementOrder(task="T-1", attempt=1, wave="w1", branch="main", commands=(command,))
    kept.order(order, key="k")


def record(kept):
    judgement = kept.latest("T-1", 1)
    return judgement.record if judgement else None


@pytest.mark.parametrize(
    ("arguments", "host"),
    [
        pytest.param(["judge", "--name", "j1"], "j1", id="judge"),
        pytest.param(["work", "--name", "h1"], "h1+work", id="beside-work"),
    ],
)
def test_what_was_ordered_is_judged_until_a_signal_comes(project, arguments, host):
    with judgements(project) as kept:
        ordered(kept)
        with started(project, *arguments) as (program, said):
            found = until(lambda: record(kept), seconds=40)
            program.send_signal(signal.SIGTERM)
            assert program.wait(30) == 143
    assert (found.verdict, found.host) == ("pass", host)
    assert "T-1 attempt 1: judged pass" in said()
    assert not list((project.state / "judge/checkouts").iterdir())


def test_a_judge_that_is_stopped_gives_back_what_it_had(project):
    with judgements(project) as kept:
        ordered(kept, "sleep 60")
        with started(project, "judge", "--name", "j1") as (program, said):
            until(lambda: "T-1 attempt 1: judging" in said(), seconds=40)
            program.send_signal(signal.SIGINT)
            assert program.wait(30) == 130
        assert record(kept) is None
        assert kept.claim("j2", lease=60, heavy=False) is not None


def test_work_without_a_judge_leaves_judging_to_others(project):
    with judgements(project) as kept:
        ordered(kept)
        with started(project, "work", "--name", "h1", "--no-judge") as (program, said):
            until(lambda: any(line.startswith("worker host h1") for line in said()), seconds=40)
            program.send_signal(signal.SIGTERM)
            assert program.wait(30) == 143
        assert kept.hosts() == []


@pytest.mark.usefixtures("project")
def test_a_name_that_is_no_name_is_refused():
    ended = here("judge", "--name", "../x")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "letters, digits, dots, dashes" in ended.stderr
