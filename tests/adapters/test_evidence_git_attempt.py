"""What a branch shows about this attempt, and what becomes of branches that were accepted."""

from datetime import timedelta

import pytest

from agent.adapters.common.git import GitError
from agent.adapters.evidence.git import GitEvidence, Noted
from agent.adapters.git.worktrees import GitWorktrees
from agent.errors import RemoteUnavailableError
from tests.adapters.git_origin import BRANCH, DOCUMENTS, Origin, Prober
from tests.adapters.waves_contract import NOW


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    return Origin.new(tmp_path_factory.mktemp("pattern"))


class Watched(Origin):
    """An origin, and what a supervisor would have noted about the task."""

    def __init__(self, folder):
        super().__init__(folder)
        self.noted = Noted()
        self.probe = Prober(self.bare, folder / "evidence", noted=lambda _task: self.noted)

    def sent(self):
        """An attempt is sent now."""
        self.probe.looks += 1
        when = NOW + timedelta(seconds=self.probe.looks)
        now = self.probe.evidence.baseline(BRANCH, when)
        self.noted = Noted(start=self.noted.start or now, baseline=now)

    def judged(self, commit):
        self.noted = Noted(self.noted.start, self.noted.baseline, commit)

    def seen_by_a_host(self):
        """What a worker host sees at the end of the attempt, in clones of its own."""
        place = self.bare.parent / "host"
        return GitWorktrees(str(self.bare), place / "work", place / "clones").pushed(BRANCH)

    def on_main(self, *paths):
        self.branch("main", "main")
        for path in paths:
            self.write(path, f"of main, {path}\n")
        commit = self.commit()
        self.push("main")
        return commit

    def more(self, *paths):
        """Another commit on the task's branch."""
        self.branch(BRANCH, BRANCH)
        for path in paths:
            self.write(path, "more\n")
        commit = self.commit()
        self.push()
        return commit


@pytest.fixture
def origin(pattern, tmp_path):
    pattern.copy(tmp_path)
    watched = Watched(tmp_path)
    watched.probe.looks = 0
    return watched


def there_before(origin):
    origin.pushed("src/one.py")
    origin.sent()


def back_to_before(origin):
    first = origin.pushed("src/one.py")
    origin.more("src/two.py")
    origin.sent()
    origin.push(f"{first}:refs/heads/{BRANCH}")


def second_attempt_adds_nothing(origin):
    origin.sent()
    origin.pushed("src/one.py")
    origin.sent()


def undone_over_two_attempts(origin):
    origin.sent()
    origin.pushed("src/one.py")
    origin.sent()
    origin.git("revert", "--no-edit", "HEAD")
    origin.push()


def empty_on_a_branch_that_is_continued(origin):
    origin.pushed("src/one.py")
    origin.sent()
    origin.more()


def main_taken_in(origin):
    """The branch follows main and brings nothing of its own."""
    origin.sent()
    origin.on_main("other/two.py")
    origin.push(f"main:{BRANCH}")


NOTHING = [
    pytest.param(there_before, "before the task: nothing was added", id="there before"),
    pytest.param(back_to_before, "before the task: nothing was added", id="back to before"),
    pytest.param(second_attempt_adds_nothing, "before this attempt: nothing was added",
                 id="attempt 2 adds nothing"),
    pytest.param(undone_over_two_attempts, "changes nothing: its files are as before",
                 id="attempt 2 undoes attempt 1"),
    pytest.param(empty_on_a_branch_that_is_continued, "changes nothing: its files are as before",
                 id="an empty commit on a continued branch"),
    pytest.param(main_taken_in, "has no commit beyond main", id="only main's own commits"),
]  # fmt: skip


@pytest.mark.parametrize(("push", "detail"), NOTHING)
def test_what_the_attempt_did_not_bring_proves_nothing(origin, push, detail):
    push(origin)
    commit, scope = origin.probe()
    assert (commit.holds, scope.holds) == (False, None)
    assert commit.detail.endswith(detail)


def test_every_attempt_is_compared_with_where_the_task_started(origin):
    origin.sent()
    base = origin.noted.start.default
    origin.pushed("src/one.py")
    origin.sent()
    head = origin.more("src/two.py")
    commit, scope = origin.probe()
    assert (commit.holds, commit.value, commit.base) == (True, head, base)
    assert scope.detail == "2 changed paths, all in the write scope"


def test_who_starts_from_the_past_is_judged_by_what_was_there(origin):
    origin.on_main("src/there.py")
    origin.sent()
    origin.branch(BRANCH, "main~1")
    head = origin.more("src/one.py")
    commit, scope = origin.probe()
    assert (commit.holds, commit.value, commit.base) == (True, head, origin.noted.start.default)
    assert scope.detail == "1 changed path, all in the write scope"


def test_a_continued_branch_is_compared_with_what_it_was(origin):
    before = origin.pushed("other/one.py")
    origin.sent()
    head = origin.more("src/one.py")
    commit, scope = origin.probe(write_scope=("src/**",))
    assert (commit.value, commit.base, scope.holds) == (head, before, True)
    assert scope.detail == "1 changed path, all in the write scope"


def by_merge(origin, head):
    origin.branch("main", "main")
    origin.git("merge", "-q", "--no-ff", "-m", "take it in", head)


def by_fast_forward(origin, head):
    origin.branch("main", "main")
    origin.git("merge", "-q", "--ff-only", head)


def by_squash(origin, head):
    origin.branch("main", "main")
    origin.git("merge", "-q", "--squash", head)
    origin.commit()


def by_squash_later(origin, head):
    origin.on_main("other/meanwhile.py")
    by_squash(origin, head)
    origin.write("other/after.py", "x\n")
    origin.commit()


HOWS = [by_merge, by_fast_forward, by_squash, by_squash_later]


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.__name__)
def test_judged_work_that_was_merged_is_delivered(origin, how, deleted):
    origin.sent()
    origin.pushed("src/one.py")
    head = origin.more("src/two.py")
    assert origin.probe()[0].value == head
    how(origin, head)
    origin.push("main")
    if deleted:
        origin.push(f":{BRANCH}")
    origin.judged(head)
    commit, scope = origin.probe()
    assert (commit.holds, commit.value, scope.holds) == (True, head, True)
    assert scope.detail == "2 changed paths, all in the write scope"


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.__name__)
def test_what_a_worker_host_saw_is_delivered_though_nobody_looked_before_the_merge(
    origin, how, deleted
):
    origin.sent()
    origin.pushed("src/one.py")
    head = origin.more("src/two.py")
    seen = origin.seen_by_a_host()
    how(origin, head)
    origin.push("main")
    if deleted:
        origin.push(f":{BRANCH}")
    commit, scope = origin.probe(seen)
    gone = deleted and how in (by_squash, by_squash_later)
    assert (commit.holds, scope.holds) == (True, True)
    assert scope.detail == "2 changed paths, all in the write scope"
    assert (commit.value == head) is not gone
    assert origin.probe.diff(commit).count("diff --git") == 2
    # What is judged now is found again, and is the same change.
    origin.judged(commit.value)
    again = origin.probe(seen)
    assert again[1] == scope
    assert again[0].base == commit.base


def of_another_change(origin):
    origin.on_main("src/one.py")


@pytest.mark.parametrize("how", [of_another_change, lambda _: None], ids=["another", "nothing"])
def test_what_a_host_saw_and_no_branch_has_is_no_delivery(origin, how):
    origin.sent()
    origin.pushed("src/one.py")
    seen = origin.seen_by_a_host()
    how(origin)
    origin.push(f":{BRANCH}")
    assert origin.probe(seen)[0].holds is False


def test_what_was_there_before_the_attempt_is_not_delivered_by_it(origin):
    origin.sent()
    head = origin.pushed("src/one.py")
    origin.sent()
    seen = origin.seen_by_a_host()
    by_fast_forward(origin, head)
    origin.push("main")
    assert origin.probe(seen)[0].holds is False


def of_main(origin):
    """Somebody's commit of main, given out as the task's own."""
    theirs = origin.on_main("src/theirs.py")
    origin.push(f"{theirs}:refs/heads/{BRANCH}")


def nothing(origin):
    pass


@pytest.mark.parametrize("how", [of_main, nothing], ids=lambda how: how.__name__)
def test_a_host_sees_nothing_where_the_default_branch_has_it_all(origin, how):
    origin.sent()
    how(origin)
    assert origin.seen_by_a_host() is None


def test_a_merge_of_what_was_not_judged_is_no_delivery(origin):
    origin.sent()
    origin.pushed("src/one.py")
    origin.push(f":{BRANCH}")
    assert origin.probe()[0].detail == "origin has no branch wave/a"
    origin.judged(origin.git("rev-parse", "HEAD"))
    assert origin.probe()[0].holds is False


def merged_each_other(origin, first):
    start = origin.git("rev-parse", "main")
    if first == "main":
        theirs = origin.on_main("other/main.py")
    origin.branch(BRANCH, start)
    origin.write("src/one.py", "mine\n")
    mine = origin.commit()
    if first == "branch":
        theirs = origin.on_main("other/main.py")
    origin.branch("main", "main")
    origin.git("merge", "-q", "--no-ff", "-m", "main takes mine", mine)
    origin.branch(BRANCH, mine)
    origin.git("merge", "-q", "--no-ff", "-m", "mine takes main", theirs)
    origin.write("src/two.py", "two\n")
    origin.commit()
    origin.push("main", BRANCH)


@pytest.mark.parametrize("first", ["branch", "main"])
def test_what_main_brought_over_a_criss_cross_is_not_the_tasks(origin, first):
    merged_each_other(origin, first)
    commit, scope = origin.probe(write_scope=("src/**",))
    assert (commit.holds, scope.holds) == (True, True)


def test_a_shallow_remote_is_read(origin, tmp_path):
    for number in range(2):
        origin.on_main(f"src/{number}.py")
    origin.at(tmp_path, "clone", "-q", "--bare", "--depth", "1", f"file://{origin.bare}", "few.git")
    origin.at(tmp_path, "clone", "-q", "--depth", "1", f"file://{tmp_path}/few.git", "worker")
    worker = tmp_path / "worker"
    (worker / "src" / "one.py").write_text("mine\n")
    origin.at(worker, "commit", "-qam", "mine")
    origin.at(worker, "push", "-q", "origin", f"HEAD:refs/heads/{BRANCH}")
    commit, scope = Prober(tmp_path / "few.git", tmp_path / "other")()
    assert (commit.holds, scope.holds) == (True, True)
    assert scope.detail == "1 changed path, all in the write scope"


def test_one_question_serves_a_whole_look(origin, monkeypatch):
    origin.pushed("src/one.py")
    asked = []
    ask = GitEvidence._ask
    monkeypatch.setattr(GitEvidence, "_ask", lambda self, now: asked.append(now) or ask(self, now))
    heads = origin.probe.evidence.heads(NOW)
    assert heads.branches.keys() == {"main", BRANCH}
    assert origin.probe.evidence.heads(NOW) is heads
    origin.probe()
    origin.probe(branch="another")
    assert asked == [NOW]
    origin.probe.evidence.heads(NOW + timedelta(seconds=1))
    assert len(asked) == 2


def test_nobody_waits_twice_for_a_remote_that_does_not_answer(origin, monkeypatch):
    asked = []

    def fails(_self, now):
        asked.append(now)
        raise GitError("git ls-remote took longer than 60 s")

    monkeypatch.setattr(GitEvidence, "_ask", fails)
    evidence = origin.probe.evidence
    for _ in range(2):
        with pytest.raises(RemoteUnavailableError, match="took longer than 60 s"):
            evidence.heads(NOW)
        assert origin.probe()[0].holds is None
    assert asked == [NOW]
    with pytest.raises(RemoteUnavailableError):
        evidence.heads(NOW + timedelta(seconds=1))
    assert len(asked) == 2


def test_a_remote_that_cannot_be_asked_says_why(tmp_path):
    evidence = GitEvidence(str(tmp_path / "none.git"), tmp_path / "evidence", DOCUMENTS)
    with pytest.raises(RemoteUnavailableError, match="does not appear to be a git repository"):
        evidence.heads(NOW)


FATES = [
    pytest.param(lambda *_: None, "there", id="as accepted"),
    pytest.param(lambda origin, _: origin.more("src/x.py"), "moved-on", id="more on top"),
    pytest.param(lambda origin, _: origin.push(f"main:{BRANCH}"), "rewritten", id="set to main"),
    pytest.param(lambda origin, _: origin.push(f":{BRANCH}"), "deleted", id="deleted"),
    pytest.param(lambda origin, head: (by_squash(origin, head), origin.push("main", f":{BRANCH}")),
                 "merged", id="squashed and deleted"),
    pytest.param(lambda origin, head: (by_merge(origin, head), origin.push("main")),
                 "merged", id="merged"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "fate"), FATES)
def test_what_became_of_an_accepted_branch(origin, what, fate):
    head = origin.pushed("src/one.py")
    evidence = origin.probe.evidence
    evidence.baseline(BRANCH, NOW)
    what(origin, head)
    later = evidence.heads(NOW + timedelta(minutes=1))
    assert evidence.fate(BRANCH, head, later) == fate


def test_commits_of_main_that_no_accepted_task_explains(origin):
    since = origin.git("rev-parse", "main")
    mine = origin.pushed("src/one.py")
    origin.probe()
    by_squash(origin, mine)
    origin.write("other/x.py", "x\n")
    foreign = origin.commit()
    origin.push("main")
    evidence = origin.probe.evidence
    heads = evidence.heads(NOW)
    assert evidence.foreign(since, heads, [mine]) == (f"{foreign[:12]} a commit",)
    assert len(evidence.foreign(since, heads, [])) == 2
    assert evidence.foreign(heads.default, heads, []) == ()


def test_a_default_branch_that_was_rewritten(origin):
    since = origin.on_main("other/x.py")
    evidence = origin.probe.evidence
    evidence.foreign(since, evidence.heads(NOW), [])
    origin.push("main~1:main")
    [said] = evidence.foreign(since, evidence.heads(NOW + timedelta(minutes=1)), [])
    assert said == f"{since[:12]} is no longer part of it: it was rewritten"
