"""The probes that ask no configured service keep the same contract as those that do."""

import pytest

from agent.adapters.evidence.git import GitEvidence
from agent.adapters.evidence.judge import JudgeEvidence
from agent.core.model.nouns import Command, CommandResult, JudgeRecord
from tests.adapters.evidence_contract import EvidenceContract
from tests.adapters.git_origin import BRANCH, DOCUMENTS, Origin
from tests.adapters.service_world import NOW, view
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


class TestJudge(EvidenceContract):
    """Its world is the view it is given; without a judge record there is nothing to see."""

    remote = False

    @pytest.fixture
    def task(self):
        return spec()

    @pytest.fixture
    def probe(self):
        return JudgeEvidence()

    @pytest.fixture
    def ended(self, request):
        ended = view()
        order = ended.order.model_copy(update={"acceptance_commands": (CHECK,)})
        if "blind" in request.fixturenames:
            return ended.model_copy(update={"order": order})
        seen = CommandResult(argv=CHECK.argv, exit_code=0, ok=True)
        judge = JudgeRecord(verdict="pass", at=NOW, commit="c0ffee", commands=(seen,))
        return ended.model_copy(update={"order": order, "judge": judge})

    @pytest.fixture
    def blind(self):
        return JudgeEvidence()
