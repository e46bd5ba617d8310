"""Against a server with GitHub's documented shapes, and against what was recorded of it."""

from urllib.parse import parse_qs, urlsplit

import pytest

from agent.adapters.evidence.github_actions import GitHubActionsEvidence
from tests.adapters.evidence_contract import EvidenceContract
from tests.adapters.loopback import HTML, Reply, nobody, served
from tests.adapters.service_world import (
    COMMIT,
    LATE,
    NOW,
    OTHER,
    TASK,
    knows,
    services,
    told,
    view,
)
from tests.adapters.tapes import RECORDING, REPLAYED, named, tape

LABEL = (
    "Recorded against the stand-in for api.github.com of tests/adapters/"
    "test_evidence_github_actions.py on loopback"
)
BUILT, CHECKED = "artifact-built", "checks-passed"


def run(conclusion="success", status="completed", commit=COMMIT, **more):
    number = more.pop("number", 7)
    return {"id": number * 10, "run_number": number, "run_attempt": 1, "head_sha": commit,
            "status": status, "conclusion": conclusion, **more}  # fmt: skip


def check(name, conclusion="success", status="completed", commit=COMMIT, number=1):
    return {"id": number, "name": name, "head_sha": commit, "status": status,
            "conclusion": conclusion}  # fmt: skip


def artifact(name="image", commit=COMMIT, *, expired=False):
    return {"name": name, "expired": expired, "workflow_run": {"id": 70, "head_sha": commit}}


class GitHub:
    """What one repository's Actions know; it filters and pages as the real one does."""

    def __init__(self, server):
        self.runs, self.checks, self.artifacts = [run()], [check("unit"), check("lint")], []
        self.server = server
        server.otherwise = self.answer

    def answer(self, asked):
        parts = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match parts.path.removeprefix("/repos/team/shop/").split("/"):
            case ["actions", "workflows", "image.yml", "runs"]:
                mine = [one for one in self.runs if one["head_sha"] == query["head_sha"]]
                return self.page("workflow_runs", mine, query)
            case ["actions", "runs", "70", "artifacts"]:
                return self.page("artifacts", self.artifacts, query)
            case ["commits", commit, "check-runs"]:
                mine = [one for one in self.checks if one["head_sha"] == commit]
                return self.page("check_runs", mine, query)
        return Reply({"message": "Not Found"}, 404)

    @staticmethod
    def page(key, items, query):
        size, number = int(query["per_page"]), int(query["page"])
        shown = items[(number - 1) * size : number * size]
        return Reply({"total_count": len(items), key: shown})


@pytest.fixture
def github():
    with served() as server:
        yield GitHub(server)


def probing(folder, url, more='workflow = "image.yml"', commit=COMMIT):
    text = f'[services.shop.ci]\napi = "{url}"\nrepository = "team/shop"\n{more}\n'
    return GitHubActionsEvidence(services(folder, text), knows(commit))


WHOLE = 'workflow = "image.yml"\nartifact = "image"\nchecks = ["unit", "lint"]'


class TestContract(EvidenceContract):
    @pytest.fixture
    def task(self):
        return TASK

    @pytest.fixture
    def probe(self, request, tmp_path, github):
        github.artifacts = [artifact()]
        with tape(named(request), LABEL):
            yield probing(tmp_path, github.server.url if RECORDING else REPLAYED, WHOLE)

    @pytest.fixture
    def blind(self, tmp_path):
        (tmp_path / "blind").mkdir()
        return probing(tmp_path / "blind", nobody(), WHOLE)


RUNS = [
    pytest.param([run()], LATE, (True, COMMIT), id="a success"),
    pytest.param([], LATE, (False, None), id="no run"),
    pytest.param([], NOW, (None, None), id="no run yet"),
    pytest.param([run(commit=OTHER)], LATE, (False, None), id="a run of another commit"),
    pytest.param([run("", "in_progress")], LATE, (None, None), id="it still runs"),
    pytest.param([run("", "queued")], LATE, (None, None), id="it is queued"),
    pytest.param([run("failure")], NOW, (False, None), id="a failure"),
    pytest.param([run("cancelled")], LATE, (False, None), id="cancelled"),
    pytest.param([run("skipped")], LATE, (False, None), id="skipped, so nothing was built"),
    pytest.param([run("neutral")], LATE, (False, None), id="neutral, so nothing was built"),
    pytest.param([run("failure", number=6), run()], LATE, (True, COMMIT), id="a failure before"),
    pytest.param([run(), run("failure", number=8)], LATE, (False, None), id="a failure after"),
    pytest.param([run("", "in_progress", number=8), run()], LATE, (None, None), id="one after"),
    pytest.param([run("failure"), run(run_attempt=2)], LATE, (True, COMMIT), id="a second attempt"),
    pytest.param([run("\x1b[2J")], LATE, (False, None), id="a word that nobody knows"),
]


@pytest.mark.parametrize(("runs", "now", "expected"), RUNS)
def test_whether_the_artifact_was_built(github, tmp_path, runs, now, expected):
    github.runs = runs
    found = probing(tmp_path, github.server.url).probe(TASK, view(), now)
    assert told(found) == [(BUILT, *expected)]
    assert found[0].detail.isprintable()


ARTIFACTS = [
    pytest.param([artifact()], (True, COMMIT), id="it is there"),
    pytest.param([], (False, None), id="none"),
    pytest.param([artifact("logs")], (False, None), id="another"),
    pytest.param([artifact(expired=True)], (False, None), id="expired"),
    pytest.param([artifact(commit=OTHER)], (False, None), id="of another commit"),
]


@pytest.mark.parametrize(("artifacts", "expected"), ARTIFACTS)
def test_whether_the_run_left_the_artifact(github, tmp_path, artifacts, expected):
    github.artifacts = artifacts
    more = 'workflow = "image.yml"\nartifact = "image"'
    found = probing(tmp_path, github.server.url, more).probe(TASK, view(), LATE)
    assert told(found) == [(BUILT, *expected)]


CHECKS = [
    pytest.param([check("unit"), check("lint")], LATE, True, id="both passed"),
    pytest.param([check("unit"), check("lint", "skipped")], LATE, True, id="one was skipped"),
    pytest.param([check("unit"), check("lint", "failure")], LATE, False, id="one failed"),
    pytest.param([check("unit", "timed_out"), check("lint", None, "queued")], LATE, False,
                 id="one failed and one is pending"),
    pytest.param([check("unit"), check("lint", None, "in_progress")], LATE, None, id="one runs"),
    pytest.param([check("unit")], NOW, None, id="one is not there yet"),
    pytest.param([check("unit")], LATE, False, id="one is not there"),
    pytest.param([check("unit"), check("lint", commit=OTHER)], LATE, False, id="another commit's"),
    pytest.param([check("unit"), check("lint", "failure"), check("lint", number=2)], LATE, True,
                 id="a later one passed"),
    pytest.param([*(check(f"c{n}") for n in range(150)), check("unit"), check("lint")], LATE, True,
                 id="on the second page"),
]  # fmt: skip


@pytest.mark.parametrize(("checks", "now", "holds"), CHECKS)
def test_whether_the_checks_passed(github, tmp_path, checks, now, holds):
    github.checks = checks
    probe = probing(tmp_path, github.server.url, 'checks = ["unit", "lint"]')
    assert told(probe.probe(TASK, view(), now)) == [(CHECKED, holds, COMMIT)]


FAULTS = [
    pytest.param(Reply(HTML), "answered no JSON", id="a page"),
    pytest.param(Reply({"message": "Not Found"}, 404), "check that it exists", id="not found"),
    pytest.param(
        Reply({}, 403, {"X-RateLimit-Remaining": "0"}),
        "the rate limit is used up",
        id="no requests left",
    ),
    pytest.param(Reply({"workflow_runs": "none"}), "has no list of workflow_runs", id="no list"),
    pytest.param(Reply([]), "answered no JSON object", id="another shape"),
    pytest.param(Reply(status=502), "answered 502", id="a gateway"),
]


@pytest.mark.parametrize(("reply", "words"), FAULTS)
def test_what_cannot_be_read_is_unknown(github, tmp_path, reply, words):
    github.server.otherwise = reply
    (found,) = probing(tmp_path, github.server.url).probe(TASK, view(), LATE)
    assert found.holds is None
    assert words in found.detail


def test_without_a_commit_nothing_is_asked(github, tmp_path):
    (found,) = probing(tmp_path, github.server.url, commit=None).probe(TASK, view(), LATE)
    assert (found.holds, github.server.asked) == (None, [])


def test_the_token_is_sent_and_not_shown(github, tmp_path, monkeypatch):
    monkeypatch.setenv("CI_TOKEN", "hunter2-hunter2")
    more = 'workflow = "image.yml"\ntoken = "CI_TOKEN"'
    (found,) = probing(tmp_path, github.server.url, more).probe(TASK, view(), LATE)
    assert github.server.asked[0].headers["authorization"] == "Bearer hunter2-hunter2"
    assert "hunter2" not in found.model_dump_json()


ODD = [None, [], {}, "x", 7, [[]], {"head_sha": []}, True]


@pytest.mark.parametrize("field", ["id", "run_number", "status", "conclusion", "head_sha", "name",
                                   "expired", "workflow_run"])  # fmt: skip
def test_no_shape_of_an_answer_is_an_error(github, tmp_path, field):
    probe = probing(tmp_path, github.server.url, WHOLE)
    for odd in ODD:
        runs = [run() if field in ("expired", "workflow_run") else run() | {field: odd}]
        github.server.otherwise = Reply(
            {
                "workflow_runs": runs,
                "artifacts": [artifact() | {field: odd}],
                "check_runs": [check(name) | {field: odd} for name in ("unit", "lint")],
            }
        )
        for item in probe.probe(TASK, view(), LATE):
            assert item.detail.isprintable()
