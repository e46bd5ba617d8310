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


def check(name, conclusion="success", status="completed", commit=COMMIT, number=1, **more):
    return {"id": number, "name": name, "head_sha": commit, "status": status,
            "conclusion": conclusion, "app": {"slug": "github-actions"}, **more}  # fmt: skip


def suite(name, number, conclusion="success", **more):
    """A check of the suite `number`."""
    return check(name, conclusion, check_suite={"id": number}, **more)


def started(event, number, **more):
    """A run, and the suite it is behind."""
    return run(event=event, check_suite_id=number, number=number, **more)


def status(context, state="success", number=1, login="ci-bot"):
    """One of the combined status; only the list of all says who has set it."""
    return {"id": number, "context": context, "state": state, "creator": {"login": login}}


def artifact(name="image", commit=COMMIT, *, expired=False):
    return {"name": name, "expired": expired, "workflow_run": {"id": 70, "head_sha": commit}}


class GitHub:
    """What one repository's CI knows; it filters and pages as the real one does."""

    def __init__(self, server):
        self.runs, self.checks, self.artifacts = [run()], [check("unit"), check("lint")], []
        self.statuses = []
        """The newest last."""
        self.largest, self.links = 100, True
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
            case ["actions", "runs"]:
                mine = [one for one in self.runs if one["head_sha"] == query["head_sha"]]
                return self.page("workflow_runs", mine, query)
            case ["commits", commit, "status"]:
                latest = {one["context"]: one for one in self.statuses}.values()
                shown = [{k: v for k, v in one.items() if k != "creator"} for one in latest]
                return self.page("statuses", shown, query, sha=commit, state="success")
            case ["commits", commit, "statuses"]:
                return self.page(None, self.statuses[::-1], query)
        return Reply({"message": "Not Found"}, 404)

    def page(self, key, items, query, **more):
        size, number = min(self.largest, int(query["per_page"])), int(query["page"])
        shown = items[(number - 1) * size : number * size]
        follows = number * size < len(items) and self.links
        headers = {"Link": f'<{self.server.url}/?page={number + 1}>; rel="next"'} if follows else {}
        body = {"total_count": len(items), key: shown, **more} if key else shown
        return Reply(body, headers=headers)


@pytest.fixture
def github():
    with served(has_clock=False) as server:
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


YES, NO, OPEN = (True, COMMIT), (False, None), (None, None)
TAG, MAIN = {"head_branch": "v1.2"}, {"head_branch": "main"}
OWN = {"head_branch": TASK.branch}
UNJUDGED = ["skipped", "neutral", "cancelled", "stale", "startup_failure", "action_required"]
RUNS = [
    pytest.param([run()], LATE, YES, id="a success"),
    pytest.param([], LATE, OPEN, id="no run"),
    pytest.param([], NOW, OPEN, id="no run yet"),
    pytest.param([run(commit=OTHER)], LATE, OPEN, id="a run of another commit"),
    *(pytest.param([run(None, word)], LATE, OPEN, id=f"it is {word}")
      for word in ("queued", "in_progress", "requested", "waiting", "pending", "of_tomorrow")),
    pytest.param([run("success", "in_progress")], LATE, OPEN, id="it still runs, whatever it says"),
    pytest.param([run("failure")], NOW, NO, id="a failure"),
    pytest.param([run("timed_out")], LATE, NO, id="it ran out of time"),
    *(pytest.param([run(word)], LATE, OPEN, id=word) for word in UNJUDGED),
    pytest.param([run("failure", number=6), run()], LATE, YES, id="a failure before"),
    pytest.param([run(), run("failure", number=8)], LATE, NO, id="a failure after"),
    pytest.param([run("", "in_progress", number=8), run()], LATE, OPEN, id="one after"),
    pytest.param([run(), run("cancelled", number=8)], LATE, YES, id="one after was cancelled"),
    pytest.param([run("failure"), run("skipped", number=8)], LATE, NO, id="one after was skipped"),
    pytest.param([run("failure"), run(run_attempt=2)], LATE, YES, id="a second attempt"),
    pytest.param([run("\x1b[2J")], LATE, OPEN, id="a word that nobody knows"),
    *(pytest.param([run(event=word)], LATE, YES, id=f"by {word}")
      for word in ("push", "workflow_dispatch", "schedule", "merge_group", "release")),
    *(pytest.param([run(event=word)], LATE, OPEN, id=f"by {word}")
      for word in ("pull_request", "pull_request_target", "pull_request_review")),
    pytest.param([run("failure", event="pull_request")], LATE, OPEN, id="a test merge failed"),
    pytest.param([run(event="push"), run("failure", event="pull_request", number=8)], LATE, YES,
                 id="a test merge failed after"),
    pytest.param([run("failure", event="push"), run(event="pull_request", number=8)], LATE, NO,
                 id="a test merge was built after"),
    pytest.param([run(**OWN)], LATE, YES, id="for the branch"),
    pytest.param([run(**TAG)], LATE, YES, id="for a tag: the same tree"),
    pytest.param([run(**MAIN)], LATE, YES, id="for another branch: the same tree"),
    pytest.param([run("failure", **TAG)], LATE, OPEN, id="for a tag, which may be why it failed"),
    pytest.param([run("failure", **OWN), run(number=8, **TAG)], LATE, NO,
                 id="the branch failed, a tag did not"),
    pytest.param([run(**OWN), run("failure", number=8, **TAG)], LATE, YES,
                 id="a tag failed, the branch did not"),
    pytest.param([run("cancelled", **OWN), run(number=6, **MAIN)], LATE, YES,
                 id="the branch was cancelled, main was not"),
    pytest.param([run(None, "queued", **OWN), run(number=6, **MAIN)], LATE, OPEN,
                 id="the branch waits"),
    pytest.param([run("failure", number=8, **TAG), run(**MAIN)], LATE, YES,
                 id="a tag failed, main did not"),
]  # fmt: skip


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


def test_a_run_for_a_tag_may_leave_no_artifact(github, tmp_path):
    github.runs = [run(**TAG)]
    more = 'workflow = "image.yml"\nartifact = "image"'
    found = probing(tmp_path, github.server.url, more).probe(TASK, view(), LATE)
    assert told(found) == [(BUILT, *OPEN)]


@pytest.mark.parametrize(("artifacts", "expected"), ARTIFACTS)
def test_whether_the_run_left_the_artifact(github, tmp_path, artifacts, expected):
    github.artifacts = artifacts
    more = 'workflow = "image.yml"\nartifact = "image"'
    found = probing(tmp_path, github.server.url, more).probe(TASK, view(), LATE)
    assert told(found) == [(BUILT, *expected)]


UNIT = check("unit")
ALIEN = {"app": {"slug": "helpful-bot"}}
CHECKS = [
    pytest.param([UNIT, check("lint")], LATE, True, id="both passed"),
    pytest.param([UNIT, check("lint", "failure")], LATE, False, id="one failed"),
    pytest.param([check("unit", "timed_out"), check("lint", None, "queued")], LATE, False,
                 id="one ran out of time and one is pending"),
    *(pytest.param([UNIT, check("lint", word)], LATE, None, id=word) for word in UNJUDGED),
    pytest.param([check("unit", "failure"), check("lint", "skipped")], LATE, False,
                 id="one failed, so the other was skipped"),
    pytest.param([UNIT, check("lint", "of_tomorrow")], LATE, None, id="a word of tomorrow"),
    *(pytest.param([UNIT, check("lint", None, word)], LATE, None, id=f"one is {word}")
      for word in ("queued", "in_progress", "requested", "waiting", "pending")),
    pytest.param([UNIT], NOW, None, id="one is not there yet"),
    pytest.param([UNIT], LATE, None, id="one is not there"),
    pytest.param([UNIT, check("lint", commit=OTHER)], LATE, None, id="another commit's"),
    pytest.param([UNIT, check("lint", "failure"), check("lint", number=2)], LATE, True,
                 id="a later one passed"),
    pytest.param([UNIT, check("lint"), check("lint", None, "queued", number=2)], LATE, None,
                 id="a later one waits"),
    pytest.param([*(check(f"c{n}") for n in range(150)), UNIT, check("lint")], LATE, True,
                 id="on the second page"),
    pytest.param([UNIT, check("lint", **ALIEN)], LATE, None, id="another app's"),
    pytest.param([UNIT, check("lint", "failure", **ALIEN)], LATE, None, id="another app's no"),
    pytest.param([UNIT, check("lint", "failure"), check("lint", number=2, **ALIEN)], LATE, False,
                 id="another app's after a failure"),
    pytest.param([UNIT, check("lint"), check("lint", "failure", number=2, **ALIEN)], LATE, True,
                 id="another app's failure after"),
    pytest.param([UNIT, check("lint", app=None)], LATE, None, id="an app's that is gone"),
    pytest.param([UNIT, check("lint", app="github-actions")], LATE, None, id="an odd app's"),
    pytest.param([UNIT, suite("lint", 1), suite("lint", 2)], LATE, True, id="of two pushes"),
    pytest.param([UNIT, suite("lint", 1), suite("lint", 2, "failure")], LATE, False,
                 id="two workflows disagree"),
    pytest.param([UNIT, suite("lint", 1, "failure"), suite("lint", 2)], LATE, False,
                 id="a later suite's yes is no second try"),
    pytest.param([UNIT, suite("lint", 1), suite("lint", 2, "cancelled")], LATE, True,
                 id="a twin was cancelled"),
    pytest.param([UNIT, suite("lint", 1), suite("lint", 2, None, status="queued")], LATE, None,
                 id="a twin waits"),
    pytest.param([UNIT, suite("lint", 3)], LATE, None, id="a pull request's: of the test merge"),
    pytest.param([UNIT, suite("lint", 3, "failure")], LATE, None, id="a test merge failed"),
    pytest.param([UNIT, suite("lint", 1), suite("lint", 3, "failure")], LATE, True,
                 id="a test merge failed, the push did not"),
    pytest.param([UNIT, suite("lint", 4)], LATE, None, id="of a run that is not listed"),
]  # fmt: skip


@pytest.mark.parametrize(("checks", "now", "holds"), CHECKS)
def test_whether_the_checks_passed(github, tmp_path, checks, now, holds):
    github.checks = checks
    github.runs = [started("push", 1), started("push", 2), started("pull_request", 3)]
    probe = probing(tmp_path, github.server.url, 'checks = ["unit", "lint"]')
    assert told(probe.probe(TASK, view(), now)) == [(CHECKED, holds, COMMIT)]


CI = status("ci/build")
STATUSES = [
    pytest.param([CI], "", True, id="success"),
    pytest.param([status("ci/build", "failure")], "", False, id="failure"),
    pytest.param([status("ci/build", "pending")], "", None, id="pending"),
    pytest.param([status("ci/build", "error")], "", None, id="the CI's own error"),
    pytest.param([status("ci/build", "expected")], "", None, id="another word"),
    pytest.param([status("ci/Build")], "", None, id="another name"),
    pytest.param([status("ci/build", "pending"), CI], "", True, id="a later one"),
    pytest.param([CI, status("ci/build", "failure", 2)], "", False, id="a later failure"),
    pytest.param([*(status(f"c{n}") for n in range(130)), CI], "", True, id="on the second page"),
    pytest.param([CI], 'status_by = ["ci-bot"]', True, id="by whom it must be"),
    pytest.param([CI], 'status_by = ["jenkins"]', None, id="by somebody else"),
    pytest.param([status("ci/build", "failure"), status("ci/build", "success", 2, "agent")],
                 'status_by = ["ci-bot"]', False, id="a yes of somebody else after a no"),
    pytest.param([CI | {"creator": None}], 'status_by = ["ci-bot"]', None, id="by nobody"),
]  # fmt: skip


@pytest.mark.parametrize(("statuses", "more", "holds"), STATUSES)
def test_commit_statuses_are_read_beside_check_runs(github, tmp_path, statuses, more, holds):
    github.statuses = statuses
    probe = probing(tmp_path, github.server.url, f'checks = ["unit", "ci/build"]\n{more}')
    assert told(probe.probe(TASK, view(), LATE)) == [(CHECKED, holds, COMMIT)]


def test_a_status_is_no_word_for_an_apps_own_check(github, tmp_path):
    github.checks, github.statuses = [check("unit", "failure")], [status("unit")]
    probe = probing(tmp_path, github.server.url, 'checks = ["unit"]')
    assert told(probe.probe(TASK, view(), LATE)) == [(CHECKED, False, COMMIT)]


def test_what_counts_is_configured(github, tmp_path):
    github.checks = [suite("unit", 3), suite("lint", 5, **ALIEN)]
    github.runs = [started("pull_request", 3)]
    more = 'workflow = "image.yml"\nchecks = ["unit"]\npull_requests = true'
    probe = probing(tmp_path, github.server.url, more)
    assert told(probe.probe(TASK, view(), LATE)) == [(BUILT, *YES), (CHECKED, *YES)]
    probe = probing(tmp_path, github.server.url, 'checks = ["lint"]\napp = "helpful-bot"')
    assert told(probe.probe(TASK, view(), LATE)) == [(CHECKED, *YES)]


@pytest.mark.parametrize("links", [True, False], ids=["by its links", "by its count"])
def test_every_page_is_read_however_small_the_pages_are(github, tmp_path, links):
    github.largest, github.links = 30, links
    github.checks = [*(check(f"c{n}") for n in range(70)), check("unit", "failure")]
    probe = probing(tmp_path, github.server.url, 'checks = ["unit"]')
    assert told(probe.probe(TASK, view(), LATE)) == [(CHECKED, False, COMMIT)]


def test_a_list_that_lacks_what_it_counts_is_not_read(github, tmp_path):
    github.server.otherwise = Reply({"total_count": 2, "check_runs": []})
    (found,) = probing(tmp_path, github.server.url, 'checks = ["unit"]').probe(TASK, view(), LATE)
    assert found.holds is None
    assert "counts 2 check_runs and lists 0" in found.detail


def test_what_ci_waits_for_is_shown(github, tmp_path):
    github.checks = [check("unit", None, "queued", started_at="2026-03-01T08:59:00Z")]
    (found,) = probing(tmp_path, github.server.url, 'checks = ["unit"]').probe(TASK, view(), LATE)
    assert found.detail == (
        "checks of c0ffee000000: unit is queued: it waits for a runner, since 2026-03-01T08:59:00Z"
    )


@pytest.mark.parametrize(("age", "holds"), [("3600", True), ("3601", None)])
def test_an_answer_from_before_the_end_of_the_attempt_proves_nothing(github, tmp_path, age, holds):
    github.server.otherwise = Reply({"workflow_runs": [run()]}, headers={"Age": age})
    (found,) = probing(tmp_path, github.server.url).probe(TASK, view(), LATE)
    assert found.holds is holds


FAULTS = [
    pytest.param(Reply(HTML), "answered no JSON", id="a page"),
    pytest.param(Reply({"message": "Not Found"}, 404), "check that it exists", id="not found"),
    pytest.param(Reply({}, 401), "name the variable that holds a token", id="no token"),
    pytest.param(Reply({}, 403), "check that it exists and is public", id="forbidden"),
    pytest.param(Reply({}, 403, {"Retry-After": "60"}), "asked again later", id="too fast"),
    pytest.param(Reply({}, 429), "asked again later", id="too many"),
    pytest.param(
        Reply({"message": "No commit found for SHA"}, 422), "422", id="another repository"
    ),
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
    # Only what a person has to repair is a fault of the installation.
    assert (found.fault is True) is ("holds a token" in found.detail)


@pytest.mark.parametrize(("now", "fault"), [(NOW, None), (LATE, True)], ids=["early", "late"])
@pytest.mark.parametrize("more", ['workflow = "image.yml"', 'checks = ["gate"]'])
def test_a_ci_that_does_not_run_is_a_fault_of_the_installation(github, tmp_path, now, fault, more):
    github.runs = []
    (found,) = probing(tmp_path, github.server.url, more).probe(TASK, view(), now)
    assert (found.holds, found.fault) == (None, fault)


def test_how_long_it_may_be_unknown_is_configured(github, tmp_path):
    text = f'{WHOLE}\n[services.other]\nask_after = "2h"\n'
    github.checks = []
    url = github.server.url
    mine = f'ask_after = "90m"\n[services.shop.ci]\napi = "{url}"\nrepository = "team/shop"\n{text}'
    probe = GitHubActionsEvidence(services(tmp_path, mine), knows(COMMIT))
    assert [one.ask_after for one in probe.probe(TASK, view(), LATE)] == [None, 5400]


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
                                   "expired", "workflow_run", "app", "check_suite", "event",
                                   "head_branch", "check_suite_id", "context",
                                   "state"])  # fmt: skip
def test_no_shape_of_an_answer_is_an_error(github, tmp_path, field):
    probe = probing(tmp_path, github.server.url, WHOLE)
    for odd in ODD:
        runs = [run() if field in ("expired", "workflow_run") else run() | {field: odd}]
        github.server.otherwise = Reply(
            {
                "workflow_runs": runs,
                "artifacts": [artifact() | {field: odd}],
                "check_runs": [check(name) | {field: odd} for name in ("unit", "lint")],
                "statuses": [status("unit") | {field: odd}],
            }
        )
        for item in probe.probe(TASK, view(), LATE):
            assert item.detail.isprintable()


@pytest.mark.parametrize(("now", "fault"), [(NOW, None), (LATE, True)], ids=["early", "late"])
def test_an_address_at_which_nobody_answers_is_looked_into_by_a_person(tmp_path, now, fault):
    found = probing(tmp_path, nobody(), WHOLE).probe(TASK, view(), now)
    assert {(one.holds, one.fault) for one in found} == {(None, fault)}
