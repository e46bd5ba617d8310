"""The probes that ask no configured service keep the same contract as those that do."""

import pytest

from agent.adapters.evidence.git import GitEvidence
from agent.adapters.evidence.judge import JudgeEvidence
from agent.core.model.nouns import Command, CommandResult, JudgeRecord
from agent.core.model.queueing import Judgement, JudgementOrder
from tests.adapters.evidence_contract import EvidenceContract
from tests.adapters.git_origin import BRANCH, DOCUMENTS, Origin
from tests.adapters.service_world import NOW
from tests.adapters.waves_contract import spec

CHECK = Command(argv=("make", "check"))


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    origin = Origin.new(tmp_path_factory.mktemp("origin"))
    origin.pushed("src/one.py")
    return origin


class TestGit(EvidenceContract):
    remote = False

    @pytest.fixture
    def task(self):
        return spec().model_copy(update={"branch": BRANCH})

    @pytest.fixture
    def probe(self, origin, tmp_path):
        return GitEvidence(str(origin.bare), tmp_path / "mirror", DOCUMENTS)

    @pytest.fixture
    def blind(self, tmp_path):
        return GitEvidence(str(tmp_path / "none.git"), tmp_path / "blind", DOCUMENTS)


class Judgements:
    """What judge hosts were asked, and what they found; None: nothing yet."""

    def __init__(self, record):
        self._record = record

    def latest(self, task, attempt):
        if self._record is None:
            return None
        order = JudgementOrder(
            task=task, attempt=attempt, wave="w1", branch=BRANCH, commands=(CHECK,)
        )
        return Judgement(order=order, ordered_at=NOW, record=self._record)


class TestJudge(EvidenceContract):
    """Its world is what a judge host found; without that there is nothing to see."""

    remote = False

    @pytest.fixture
    def task(self):
        return spec().model_copy(update={"acceptance_commands": (CHECK,)})

    @pytest.fixture
    def probe(self):
        seen = CommandResult(argv=CHECK.argv, exit_code=0, ok=True)
        return JudgeEvidence(
            Judgements(JudgeRecord(verdict="pass", at=NOW, commit="c0ffee", commands=(seen,)))
        )

    @pytest.fixture
    def blind(self):
        return JudgeEvidence(Judgements(None))
