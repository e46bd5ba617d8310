from datetime import UTC, datetime, timedelta

import pytest

from agent.adapters.evidence.judge import JudgeEvidence
from agent.core.model.nouns import Command, CommandResult, JudgeRecord
from agent.core.model.queueing import Judgement, JudgementOrder, Order, TaskView
from agent.errors import QueueUnavailableError
from agent.ports import EvidenceProbe
from tests.adapters.waves_contract import spec

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
JUDGED = NOW - timedelta(minutes=3)
COMMIT = "c0ffee" + "0" * 34

TEST = Command(argv=("pytest", "-q", "-k", "not slow"))
LINT = Command(argv=("ruff", "check"))
BUILD = Command(argv=("make", "image"), expect="proceeds", fingerprint="no-gh")


def ran(command, code=0, *, ok=None):
    fine = code == 0 if ok is None else ok
    return CommandResult(argv=command.argv, exit_code=code, ok=fine)


def judged(*results, verdict="pass", reason=None):
    return JudgeRecord(verdict=verdict, at=JUDGED, commit=COMMIT, commands=results, reason=reason)


class Kept:
    """What a judge host was asked about the attempt, and what it said; None: it was not asked."""

    def __init__(self, record, commands=(TEST,)):
        order = JudgementOrder(task="a", attempt=2, wave="w", branch="wave/a", commands=commands)
        self.judgement = record and Judgement(order=order, ordered_at=JUDGED, record=record)

    def latest(self, task, attempt):
        assert (task, attempt) == ("a", 2)
        return self.judgement


class Away:
    def latest(self, _task, _attempt):
        raise QueueUnavailableError("the file is locked")


VIEW = TaskView(
    id="a",
    queue="delivery",
    state="succeeded",
    attempt=2,
    prompt="Do a.",
    order=Order(kind="code-change", branch="wave/a"),
    created_at=NOW,
    updated_at=NOW,
    # What the queue's own judge says is never read.
    judge=JudgeRecord(verdict="pass", at=NOW, commit="f" * 40),
)


def probed(commands, judge, kept=None):
    probe: EvidenceProbe = JudgeEvidence(kept or Kept(judge))
    task = spec("a", acceptance_commands=[one.model_dump() for one in commands])
    found = probe.probe(task, VIEW, NOW)
    assert {one.kind for one in found} <= probe.kinds
    return {str(one.kind): one for one in found}


@pytest.mark.parametrize(
    ("commands", "judge", "holds", "detail"),
    [
        pytest.param(
            [TEST, LINT],
            judged(ran(TEST), ran(LINT)),
            True,
            "2 commands passed on a clean checkout",
            id="all pass",
        ),
        pytest.param(
            [TEST],
            judged(ran(TEST), reason="all well"),
            True,
            "1 command passed on a clean checkout",
            id="it says why it passed",
        ),
        pytest.param(
            [TEST, BUILD],
            judged(ran(TEST), ran(BUILD, 2, ok=True)),
            True,
            "1 command passed on a clean checkout",
            id="the other kind is not counted",
        ),
        pytest.param(
            [TEST, LINT],
            judged(ran(TEST, 3), verdict="fail", reason="pytest failed"),
            False,
            "`pytest -q -k 'not slow'` exited with 3",
            id="the first one fails",
        ),
        pytest.param(
            [TEST, LINT],
            judged(ran(TEST), ran(LINT, None, ok=False), verdict="fail"),
            False,
            "`ruff check` did not start or ran out of time",
            id="out of time",
        ),
        pytest.param(
            [TEST, TEST],
            judged(ran(TEST), ran(TEST, 1), verdict="fail"),
            False,
            "`pytest -q -k 'not slow'` exited with 1",
            id="the same command twice",
        ),
        pytest.param(
            [TEST],
            judged(verdict="fail", reason="origin has no branch\nwave/a\x1b[2J"),
            False,
            "origin has no branch wave/a␛",
            id="nothing could be run",
        ),
        pytest.param(
            [TEST, BUILD],
            judged(ran(TEST), ran(BUILD, 1), verdict="fail"),
            False,
            "`make image` exited with 1",
            id="the judge failed it for another reason",
        ),
        pytest.param(
            [TEST],
            judged(ran(TEST), verdict="fail"),
            False,
            "the judge failed it and gave no reason",
            id="no reason given",
        ),
        pytest.param(
            [TEST, LINT],
            judged(ran(TEST)),
            False,
            "`ruff check` was not run",
            id="a verdict without its command",
        ),
        pytest.param(
            [TEST],
            judged(ran(LINT)),
            False,
            "`pytest -q -k 'not slow'` was not run",
            id="another command passed",
        ),
        pytest.param(
            [TEST],
            judged(ran(TEST, 1)),
            False,
            "`pytest -q -k 'not slow'` exited with 1",
            id="a verdict against its command",
        ),
        pytest.param([TEST], None, None, "no judge record: nothing was checked yet", id="no judge"),
        pytest.param(
            [],
            judged(),
            None,
            "no acceptance commands: nothing was checked",
            id="no commands",
        ),
        pytest.param(
            [BUILD],
            judged(ran(BUILD)),
            None,
            "no acceptance commands: nothing was checked",
            id="only the other kind",
        ),
        pytest.param(
            [],
            judged(ran(TEST)),
            None,
            "no acceptance commands: nothing was checked",
            id="a command nobody ordered",
        ),
    ],
)
def test_checks_passed(commands, judge, holds, detail):
    found = probed(commands, judge)["checks-passed"]
    assert (found.holds, found.detail) == (holds, detail)


@pytest.mark.parametrize(
    ("commands", "judge", "holds", "detail"),
    [
        pytest.param(
            [TEST, BUILD],
            judged(ran(TEST), ran(BUILD, 2, ok=True)),
            True,
            "the blocked workflow proceeds: 1 command ended without the defect",
            id="it proceeds",
        ),
        pytest.param(
            [TEST, BUILD],
            judged(ran(TEST, 1), ran(BUILD), verdict="fail"),
            True,
            "the blocked workflow proceeds: 1 command ended without the defect",
            id="whatever else fails",
        ),
        pytest.param(
            [BUILD],
            judged(ran(BUILD, 1), verdict="fail"),
            False,
            "the blocked workflow does not proceed: `make image` exited with 1",
            id="the defect is still there",
        ),
        pytest.param(
            [TEST, BUILD],
            judged(ran(TEST, 1), verdict="fail"),
            False,
            "the blocked workflow does not proceed: `make image` was not run",
            id="it was not tried",
        ),
        pytest.param(
            [BUILD],
            None,
            None,
            "no judge record: the blocked workflow was not tried yet",
            id="no judge",
        ),
    ],
)
def test_blocked_workflow_proceeds(commands, judge, holds, detail):
    found = probed(commands, judge)["blocked-workflow-proceeds"]
    assert (found.holds, found.detail) == (holds, detail)


def test_without_such_a_command_nothing_is_said_of_a_blocked_workflow():
    assert set(probed([TEST], judged(ran(TEST)))) == {"checks-passed", "change-shown"}


@pytest.mark.parametrize(
    ("judge", "value", "at"),
    [
        pytest.param(judged(ran(TEST), ran(BUILD)), COMMIT, JUDGED, id="judged"),
        pytest.param(None, None, NOW, id="not judged"),
    ],
)
def test_it_says_what_was_judged_and_when(judge, value, at):
    for kind, found in probed([TEST, BUILD], judge).items():
        assert found.id == f"{kind}@2"
        assert (found.origin, found.attempt) == ("observed", 2)
        assert (found.value, found.observed_at) == (value, at)


def test_a_long_command_line_is_cut():
    long = Command(argv=("sh", "-c", "x" * 5_000))
    detail = probed([long], judged(ran(long, 1), verdict="fail"))["checks-passed"].detail
    assert detail is not None
    assert len(detail) < 300
    assert detail.endswith("...` exited with 1")


BASE = "b" * 40
SHOWN = [
    pytest.param({"base": None}, None, "were not tried on the base", id="no base"),
    pytest.param({"shown": None}, None, "already is not known", id="the base could not be tried"),
    pytest.param({"shown": False}, False, "every command that passes now passed on bbbb",
                 id="green before"),
    pytest.param({"shown": True, "base_commands": (ran(LINT), ran(TEST, 1))}, True,
                 "`pytest -q -k 'not slow'` failed on bbbbbbbbbbbb and passes now",
                 id="red before"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "holds", "detail"), SHOWN)
def test_whether_the_change_is_shown(more, holds, detail):
    judge = judged(ran(TEST), ran(LINT)).model_copy(update={"base": BASE, **more})
    found = probed([TEST, LINT], judge)["change-shown"]
    assert (found.holds, found.value) == (holds, COMMIT)
    assert detail in found.detail


def test_a_judgement_that_shows_nothing_is_unknown():
    said = judged(ran(TEST), verdict="unknown", reason="no test ran")
    found = probed([TEST], said)["checks-passed"]
    assert (found.holds, found.detail) == (None, "no test ran")


def test_judgements_that_cannot_be_read_are_unknown():
    found = probed([TEST], None, Away())
    assert {(one.holds, one.detail) for one in found.values()} == {(None, "the file is locked")}
