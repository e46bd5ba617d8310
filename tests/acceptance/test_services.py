"""Configured services, from the settings to what a tick sees of them."""

import re
from pathlib import Path

import pytest

from agent import admission, wiring
from agent.adapters.evidence.git import GitEvidence
from agent.adapters.evidence.judge import JudgeEvidence
from agent.adapters.evidence.settings import SERVICE_PROOFS
from agent.adapters.files.config import read_settings
from agent.adapters.issues.github import GitHubIssues
from agent.adapters.issues.local import LocalIssues
from agent.backends import Context
from agent.core.model.nouns import ProofKind, TaskKind
from agent.errors import WaveFileError
from examples.delivery.images import digest_of
from tests.acceptance.program import GOOD
from tests.adapters.git_origin import BRANCH, DOCUMENTS, Origin
from tests.adapters.loopback import Reply, served
from tests.adapters.service_world import LATE, TASK, services, view


class Unasked:
    """Judge hosts of whom nothing was asked."""

    def latest(self, _task, _attempt):
        return None


UNASKED = Unasked()

ROOT = Path(__file__).parents[2]


def test_the_settings_of_the_documentation_are_read_and_whole(tmp_path):
    (example,) = re.findall(
        r"```toml\n(.*?)```", (ROOT / "docs/systems.md").read_text("utf-8"), re.DOTALL
    )
    (tmp_path / "wavekeeper.toml").write_text(example, encoding="utf-8")
    settings = read_settings(tmp_path / "wavekeeper.toml")
    assert settings.services["shop"].proofs >= frozenset(SERVICE_PROOFS[:7])
    assert {one.environment for one in settings.remedies.values()} == {"dev", "production"}


WAVES = [
    pytest.param("", "; add [services.NAME]", id="no service is configured"),
    pytest.param("[services.shops]\n", "; did you mean 'shops'?", id="misspelt"),
    pytest.param("[services.mail]\n", "; its services are mail", id="another one"),
]


@pytest.mark.parametrize(("more", "hint"), WAVES)
def test_a_service_that_is_not_configured_is_told_before_anything_is_stored(tmp_path, more, hint):
    (tmp_path / "wavekeeper.toml").write_text(more, encoding="utf-8")
    wave = tmp_path / "wave.toml"
    wave.write_text(GOOD.replace('queue = "main"', 'queue = "main"\nservice = "shop"'), "utf-8")
    with pytest.raises(WaveFileError) as caught:
        admission.check(read_settings(tmp_path / "wavekeeper.toml"), wave)
    assert str(caught.value) == (
        f"{wave}:6: task T-1 names the service 'shop', which wavekeeper.toml does not have{hint}"
    )


@pytest.fixture
def server():
    with served() as one:
        yield one


MANIFEST = b'{"schemaVersion": 2}'
DIGEST = digest_of(MANIFEST)
CONFIGURED = """
[services.shop.image]
registry = "{url}"
repository = "team/shop"
revision_label = ""
[services.shop.ci]
api = "{url}"
repository = "team/shop"
workflow = "image.yml"
[[services.shop.look]]
proof = "prod-digest"
url = "{url}/version"
pointer = "/image"
[[services.shop.look]]
proof = "live-version"
url = "{url}/version"
pointer = "/commit"
"""


def test_one_tick_asks_each_place_once_about_the_commit_that_git_shows(server, tmp_path):
    origin = Origin.new(tmp_path)
    commit = origin.pushed("src/one.py")
    run = {"id": 1, "run_number": 1, "head_sha": commit, "status": "completed",
           "conclusion": "success"}  # fmt: skip
    server.replies |= {
        f"/v2/team/shop/manifests/{commit}": Reply(
            MANIFEST, headers={"Docker-Content-Digest": DIGEST}
        ),
        f"/v2/team/shop/manifests/{DIGEST}": Reply(MANIFEST),
        "/repos/team/shop/actions/workflows/image.yml/runs": Reply({"workflow_runs": [run]}),
        "/version": Reply({"image": DIGEST, "commit": commit[:9]}),
    }
    git = GitEvidence(str(origin.bare), tmp_path / "mirror", DOCUMENTS)
    configured = services(tmp_path, CONFIGURED.format(url=server.url))
    probes = wiring.probes_of(configured, git, UNASKED, Context(state=tmp_path, now=lambda: LATE))
    task = TASK.model_copy(update={"branch": BRANCH})
    found = [item for one in probes for item in one.probe(task, view(), LATE)]
    named = {item.kind: item.value for item in found if item.holds}
    assert named[ProofKind.COMMIT_PUSHED] == named[ProofKind.ARTIFACT_BUILT] == commit
    assert named[ProofKind.LIVE_VERSION] == commit
    asked = [one.path for one in server.asked if one.method == "HEAD"]
    assert len(asked) == 1
    assert task.kind is TaskKind.ARTIFACT_DELIVERY


def test_without_services_nobody_is_asked(tmp_path):
    git = GitEvidence("nowhere", tmp_path, DOCUMENTS)
    probes = wiring.probes_of({}, git, UNASKED, Context(state=tmp_path, now=lambda: LATE))
    assert {kind for one in probes for kind in one.kinds} == GitEvidence.kinds | JudgeEvidence.kinds


HOMES = [
    pytest.param("", LocalIssues, id="nothing is said"),
    pytest.param('[issues]\nhome = "github"\nrepository = "team/defects"', GitHubIssues,
                 id="GitHub"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "home"), HOMES)
def test_issues_are_kept_where_it_is_configured(tmp_path, text, home):
    (tmp_path / "wavekeeper.toml").write_text(text, encoding="utf-8")
    own = read_settings(tmp_path / "wavekeeper.toml").issues
    given = Context(state=tmp_path, now=lambda: LATE)
    assert isinstance(own.backend.open(own.settings, given), home)
