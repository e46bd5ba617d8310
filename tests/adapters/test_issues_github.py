"""Against a server with GitHub's documented shapes, and against what was recorded of it."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from agent.adapters.issues.github import GitHubIssues
from agent.errors import IssuesUnavailableError
from agent.ports import Issues
from tests.adapters.issues_contract import IssuesContract
from tests.adapters.loopback import HTML, Reply, nobody, served
from tests.adapters.tapes import RECORDING, REPLAYED, named, tape

LABEL = "Recorded against the stand-in for api.github.com of tests/adapters/{} on loopback"
SECRET = "hunter2-hunter2"  # noqa: S105
VARIABLE = "ISSUES_TOKEN"
BASE = "/repos/team/defects"


class GitHub:
    """One repository's issues as the REST API keeps them."""

    def __init__(self, server):
        self.server = server
        self.issues, self.comments = [], {}
        server.otherwise = self.answer

    def add(self, title, body, **more):
        number = len(self.issues) + 1
        made = {"number": number, "title": title, "body": body, "state": "open",
                "html_url": f"https://github.com/team/defects/issues/{number}"}  # fmt: skip
        self.issues.append(made | more)
        self.comments[number] = []
        return self.issues[-1]

    def answer(self, asked):
        if asked.headers.get("authorization") != f"Bearer {SECRET}":
            return Reply({"message": "Bad credentials"}, 401)
        parts = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        sent = json.loads(asked.body or b"{}")
        match asked.method, *parts.path.removeprefix(f"{BASE}/").split("/"):
            case "GET", "issues":
                assert query["direction"] == "asc"
                return self.page(self.issues, query)
            case "POST", "issues":
                return Reply(self.add(sent["title"], sent["body"]), 201)
            case "GET", "issues", number if one := self.get(number):
                return Reply(one)
            case "PATCH", "issues", number if one := self.get(number):
                one.update(sent)
                return Reply(one)
            case "GET", "issues", number, "comments" if self.get(number):
                return self.page(self.comments[int(number)], query)
            case "POST", "issues", number, "comments" if self.get(number):
                self.comments[int(number)].append(sent)
                return Reply(sent, 201)
        return Reply({"message": "Not Found"}, 404)

    def get(self, number):
        return next((one for one in self.issues if str(one["number"]) == number), None)

    @staticmethod
    def page(items, query):
        size, number = int(query["per_page"]), int(query["page"])
        return Reply(items[(number - 1) * size : number * size])


def homed(url, waits=None):
    """`waits` gets each pause, in seconds, in place of the time itself."""
    wait = (waits if waits is not None else []).append
    checked: Issues = GitHubIssues("team/defects", token=VARIABLE, api=url, wait=wait)
    return checked


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("ISSUES_TOKEN", SECRET)


@pytest.fixture
def github():
    with served() as server:
        yield GitHub(server)


@pytest.fixture
def issues(github):
    return homed(github.server.url)


class TestContract(IssuesContract):
    @pytest.fixture
    def again(self, github):
        return homed(github.server.url)

    @pytest.fixture
    def issues(self, issues):
        return issues

    @pytest.fixture
    def shown(self, github):
        def look(issue):
            one = github.get(issue.id)
            words = [
                one["title"],
                one["body"],
                *(c["body"] for c in github.comments[one["number"]]),
            ]
            return one["state"], "\n\n".join(words)

        return look


def test_a_whole_life_replayed(request, github):
    with tape(named(request), LABEL.format("test_issues_github.py")) as cassette:
        home = homed(github.server.url if RECORDING else REPLAYED)
        made = home.open("missing tool: gh", "gh is missing", "gh: command not found")
        home.comment(made.id, "Task a waits for this.", key="park/a/1")
        home.comment(made.id, "Task a waits for this.", key="park/a/1")
        home.close(made.id, "Fixed by task fix-1.", key="accept/fix-1/1")
        assert home.open("missing tool: gh", "gh is missing", "again") == made
    assert made.where == "https://github.com/team/defects/issues/1"
    methods = [one.method for one in cassette.requests]
    assert [one for one in methods if one != "GET"] == ["POST", "POST", "POST", "PATCH", "PATCH"]


def test_a_body_begins_with_its_marker(issues, github):
    issues.open("missing tool: gh", "@bot: #1 is `missing`", "x" * 70_000)
    (one,) = github.issues
    assert one["body"].startswith("<!-- wavekeeper-issue ")
    assert one["title"] == "@\u200bbot: #\u200b1 is `missing`"
    assert len(one["body"]) < 65_536
    assert "[cut after 30000 characters]" in one["body"]


def test_the_oldest_counts_wherever_it_stands(issues, github):
    made = issues.open("one", "One", "body")
    marked = github.issues[0]["body"]
    for n in range(120):
        github.add(f"people's own {n}", None)
    github.add("a copy", marked)
    late = github.add("late", "")
    assert homed(github.server.url).find("one") == made
    late["body"] = marked.replace("wavekeeper-issue", "wavekeeper-other")
    assert homed(github.server.url).open("two", "Two", "body").id == "124"
    assert homed(github.server.url).find("two").id == "124"


def test_a_pull_request_is_no_issue(issues, github):
    made = issues.open("one", "One", "body")
    github.issues[0]["pull_request"] = {}
    assert homed(github.server.url).find("one") is None
    assert made.id == "1"


def test_a_create_that_broke_off_is_read_back_and_not_repeated(issues, github):
    def breaks(asked):
        answer = GitHub.answer(github, asked)
        return Reply({}, 502) if asked.method == "POST" else answer

    github.server.otherwise = breaks
    made = issues.open("one", "One", "body")
    assert (made.id, len(github.issues)) == ("1", 1)
    assert sum(one.method == "POST" for one in github.server.asked) == 1


LIMITS = [
    pytest.param({"Retry-After": "1"}, 403, True, id="a short one is sat out"),
    pytest.param({"Retry-After": "90"}, 429, False, id="a long one"),
    pytest.param({}, 429, False, id="without a hint"),
    pytest.param({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, 403, True,
                 id="a reset that is past"),
    pytest.param({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}, 403, False,
                 id="a reset far away"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "status", "done"), LIMITS)
def test_limits_are_kept(issues, github, headers, status, done):
    refused = []

    def limits(asked):
        if asked.method == "POST" and not refused:
            refused.append(asked)
            body = {"message": "You have exceeded a secondary rate limit"}
            return Reply(body, status, headers)
        return GitHub.answer(github, asked)

    github.server.otherwise = limits
    if done:
        assert issues.open("one", "One", "body").id == "1"
        return
    with pytest.raises(IssuesUnavailableError, match=r"asks us to wait \d+ s"):
        issues.open("one", "One", "body")
    before = len(github.server.asked)
    with pytest.raises(IssuesUnavailableError, match=r"asks us to wait \d+ s longer"):
        issues.find("one")
    assert len(github.server.asked) == before


def test_writes_are_spaced(github):
    waits = []
    home = homed(github.server.url, waits)
    made = home.open("one", "One", "body")
    home.comment(made.id, "said", key="k")
    home.close(made.id, "fixed", key="l")
    assert len(waits) == 3
    assert all(0 < one <= 1 for one in waits)


FAULTS = [
    pytest.param(Reply(HTML), "answered no JSON", id="a page"),
    pytest.param(Reply({"message": "Bad credentials"}, 401), "put a new one there", id="no token"),
    pytest.param(Reply({"message": "Not Found"}, 404), "see whether it is there", id="not found"),
    pytest.param(Reply({}, 410), "issues are turned off", id="gone"),
    pytest.param(Reply({"number": 1}), "is no list", id="another shape"),
    pytest.param(Reply(status=301, headers={"Location": "https://api.github.com/repositories/1"}),
                 "is not followed", id="moved"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "words"), FAULTS)
def test_what_goes_wrong_is_said_in_one_line(issues, github, reply, words):
    github.server.otherwise = reply
    with pytest.raises(IssuesUnavailableError) as caught:
        issues.open("one", "One", "body")
    said = str(caught.value)
    assert words in said
    assert len(said.splitlines()) == 1
    assert SECRET not in said


def test_nobody_there_and_no_token(monkeypatch):
    with pytest.raises(IssuesUnavailableError, match="cannot be reached"):
        homed(nobody()).find("one")
    monkeypatch.delenv("ISSUES_TOKEN")
    with pytest.raises(IssuesUnavailableError, match="ISSUES_TOKEN is not set"):
        homed(nobody()).find("one")
