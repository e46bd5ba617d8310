import pytest

from tests.adapters.git_origin import BRANCH, Origin, Prober

SCOPE = "src/**"


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    return Origin.new(tmp_path_factory.mktemp("pattern"))


@pytest.fixture
def origin(pattern, tmp_path):
    return pattern.copy(tmp_path)


@pytest.fixture
def probe(origin, tmp_path):
    return Prober(origin.bare, tmp_path / "evidence")


def holds(answers):
    return tuple(one.holds for one in answers)


def test_a_pushed_commit_within_the_scope(origin, probe):
    head = origin.pushed("src/one.py", "src/deep/two.py")
    commit, scope = probe()
    assert (commit.holds, commit.value) == (True, head)
    assert commit.detail == f"wave/a is at {head[:12]} on origin, 1 commit beyond main"
    assert (scope.holds, scope.value) == (True, head)
    assert scope.detail == "2 changed paths, all in the write scope"


def test_what_is_only_committed_locally_is_not_there(origin, probe):
    origin.branch()
    origin.write("src/one.py", "changed\n")
    origin.commit()
    commit, scope = probe()
    assert (commit.holds, commit.value) == (False, None)
    assert commit.detail == "origin has no branch wave/a"
    assert (scope.holds, scope.value) == (None, None)
    assert scope.detail == "no diff to read: origin has no branch wave/a"


def test_a_branch_without_a_commit(origin, probe):
    origin.branch()
    origin.push()
    commit, scope = probe()
    assert (commit.holds, scope.holds) == (False, None)
    assert commit.detail == "wave/a has no commit beyond main"


def test_a_branch_that_main_has_left_behind(origin, probe):
    origin.push(f"main:{BRANCH}")
    origin.write("src/two.py", "more\n")
    origin.commit()
    origin.push("main")
    assert holds(probe()) == (False, None)


def test_the_default_branch_is_nobodys_own(origin, probe):
    origin.write("src/one.py", "changed\n")
    origin.commit()
    origin.push("main")
    commit, scope = probe(branch="main")
    assert (commit.holds, scope.holds) == (False, None)
    assert commit.detail == "main is origin's default branch: the task needs a branch of its own"


def outside(origin):
    origin.pushed("src/one.py", "other/one.py", "zz.txt")


def renamed_in(origin):
    origin.branch()
    origin.git("mv", "other/one.py", "src/moved.py")
    origin.commit()
    origin.push()


def deleted(origin):
    origin.branch()
    origin.git("rm", "-q", "README.md")
    origin.commit()
    origin.push()


def symlink(origin):
    origin.branch()
    (origin.work / "link").symlink_to("src/one.py")
    origin.git("add", "link")
    origin.commit()
    origin.push()


def submodule(origin):
    origin.branch()
    origin.index("160000", origin.git("rev-parse", "HEAD"), "vendored")
    origin.commit()
    origin.push()


def executable(origin):
    origin.branch()
    origin.git("update-index", "--chmod=+x", "README.md")
    origin.commit()
    origin.push()


def controls(origin):
    origin.pushed("a\x1b[2J\nb`.txt")


def no_utf8(origin):
    origin.branch()
    origin.index("100644", origin.git("rev-parse", "HEAD:README.md"), b"caf\xe9.txt")
    origin.commit()
    origin.push()


def main_undone(origin):
    """The branch takes main in and throws away what main had brought."""
    origin.branch()
    origin.write("src/one.py", "changed\n")
    origin.commit()
    origin.branch("main", "main")
    origin.write("other/two.py", "of main\n")
    origin.commit()
    origin.push("main")
    origin.branch(BRANCH, BRANCH)
    origin.git("merge", "-q", "-s", "ours", "-m", "take main in", "main")
    origin.push()


def other_history(origin):
    origin.git("checkout", "-q", "--orphan", BRANCH)
    origin.write("src/two.py")
    origin.commit()
    origin.push()


@pytest.mark.parametrize(
    ("push", "detail"),
    [
        pytest.param(outside, "2 of 3 changed paths {}, first `other/one.py`", id="two outside"),
        pytest.param(renamed_in, "1 of 2 changed paths {}, first `other/one.py`", id="renamed"),
        pytest.param(deleted, "1 of 1 changed path {}, first `README.md`", id="deleted"),
        pytest.param(symlink, "1 of 1 changed path {}, first `link`", id="symlink"),
        pytest.param(submodule, "1 of 1 changed path {}, first `vendored`", id="submodule"),
        pytest.param(executable, "1 of 1 changed path {}, first `README.md`", id="mode"),
        pytest.param(controls, "1 of 1 changed path {}, first ``a␛<U+000A>b`.txt``", id="controls"),
        pytest.param(no_utf8, "1 of 1 changed path {}, first `caf<U+DCE9>.txt`", id="no UTF-8"),
        pytest.param(main_undone, "1 of 2 changed paths {}, first `other/two.py`", id="undone"),
        pytest.param(other_history, "2 of 4 changed paths {}, first `README.md`", id="orphan"),
    ],
)
def test_whatever_lies_outside_the_scope_is_seen(origin, probe, push, detail):
    push(origin)
    commit, scope = probe(write_scope=(SCOPE,))
    assert commit.holds is True
    assert (scope.holds, scope.value) == (False, commit.value)
    assert scope.detail == detail.format("outside the write scope")


def nothing(origin):
    origin.pushed()


def undone(origin):
    origin.pushed("src/one.py")
    origin.git("revert", "--no-edit", "HEAD")
    origin.push()


def another_message(origin):
    origin.branch("main", "main")
    origin.write("src/two.py", "2\n")
    origin.commit()
    origin.push("main")
    origin.branch(BRANCH, "main~1")
    origin.write("src/two.py", "2\n")
    origin.commit("-m", "the same again")
    origin.git("merge", "-q", "-m", "take main in", "main")
    origin.push()


@pytest.mark.parametrize(
    "push",
    [
        pytest.param(nothing, id="an empty commit"),
        pytest.param(undone, id="a commit and its revert"),
        pytest.param(another_message, id="what main has as well"),
    ],
)
def test_a_branch_that_changes_nothing_is_no_work(origin, probe, push):
    push(origin)
    commit, scope = probe()
    assert holds((commit, scope)) == (False, None)
    assert commit.detail == "wave/a changes nothing: its files are as before"


def test_what_main_brought_meanwhile_is_not_the_tasks(origin, probe):
    origin.pushed("src/one.py")
    origin.branch("main", "main")
    origin.write("other/two.py", "of main\n")
    origin.commit()
    origin.push("main")
    assert holds(probe()) == (True, True)
    origin.branch(BRANCH, BRANCH)
    origin.git("merge", "-q", "-m", "take main in", "main")
    origin.push()
    commit, scope = probe()
    assert holds((commit, scope)) == (True, True)
    assert scope.detail == "1 changed path, all in the write scope"


@pytest.mark.parametrize("path", ["src/two.py", "other/two.py"], ids=["inside", "outside"])
def test_a_merged_branch_is_still_judged_by_what_it_brought(origin, probe, path):
    head = origin.pushed(path)
    origin.branch("main", "main")
    for number in range(2):
        origin.write(f"other/main{number}.py", "of main\n")
        origin.commit()
        if number == 0:
            origin.git("merge", "-q", "--no-ff", "-m", "take the branch in", BRANCH)
    origin.push("main")
    commit, scope = probe()
    assert (commit.holds, commit.value) == (True, head)
    assert commit.detail == f"wave/a is at {head[:12]} on origin, 1 commit, merged into main"
    assert scope.holds is path.startswith("src/")
    assert "1 changed path" in scope.detail


def test_a_merged_branch_of_another_history(origin, probe):
    other_history(origin)
    origin.branch("main", "main")
    origin.git("merge", "-q", "--allow-unrelated-histories", "-m", "take it in", BRANCH)
    origin.push("main")
    commit, scope = probe(write_scope=("src/**",))
    assert commit.detail.endswith("1 commit, merged into main")
    assert scope.detail == "2 of 4 changed paths outside the write scope, first `README.md`"


def test_a_fast_forward_looks_like_no_commit(origin, probe):
    origin.pushed("src/one.py")
    origin.push(f"{BRANCH}:main")
    assert holds(probe()) == (False, None)


@pytest.mark.parametrize(
    ("paths", "scope", "detail"),
    [
        pytest.param(
            ["docs/a.svg", "src/a.md"],
            True,
            "2 changed paths, all in the write scope",
            id="only documents",
        ),
        pytest.param(
            ["docs/a.svg", "src/one.py"],
            False,
            "1 of 2 changed paths not documentation, first `src/one.py`",
            id="code as well",
        ),
        pytest.param(
            ["README.md", "src/one.py"],
            False,
            "1 of 2 changed paths outside the write scope, first `README.md`",
            id="a document outside the scope",
        ),
    ],
)
def test_a_documentation_task_touches_only_documents(origin, probe, paths, scope, detail):
    origin.pushed(*paths)
    found = probe(kind="documentation", write_scope=("docs/**", SCOPE))[1]
    assert (found.holds, found.detail) == (scope, detail)


def test_forced_moved_and_deleted_branches(origin, probe):
    first = origin.pushed("src/one.py")
    assert [one.value for one in probe()] == [first, first]
    origin.branch(BRANCH, "main")
    second = origin.pushed("src/two.py")
    assert [one.value for one in probe()] == [second, second]
    origin.push(f":{BRANCH}")
    assert holds(probe()) == (False, None)
    origin.push(f"{first}:refs/heads/{BRANCH}")
    assert [one.value for one in probe()] == [first, first]


def test_a_branch_may_become_a_folder_of_branches(origin, probe):
    origin.pushed("src/one.py")
    assert holds(probe()) == (True, True)
    origin.push(f":{BRANCH}")
    origin.push(f"{BRANCH}:refs/heads/{BRANCH}/b")
    assert holds(probe(branch=f"{BRANCH}/b")) == (True, True)


def test_a_branch_whose_name_ends_alike_is_another(origin, probe):
    origin.pushed("src/one.py")
    origin.push(f":{BRANCH}", f"{BRANCH}:refs/heads/x/refs/heads/{BRANCH}")
    assert holds(probe()) == (False, None)


def trunk(origin):
    origin.push("main:trunk")
    origin.at(origin.bare, "symbolic-ref", "HEAD", "refs/heads/trunk")
    origin.push(":main")


def detached(origin):
    origin.at(origin.bare, "update-ref", "--no-deref", "HEAD", origin.git("rev-parse", "main"))


def unborn(origin):
    origin.push("main:another")
    origin.at(origin.bare, "symbolic-ref", "HEAD", "refs/heads/nobody")


def unborn_and_one_other(origin):
    origin.push("main:another", ":main")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param(trunk, "trunk", id="another name"),
        pytest.param(detached, "HEAD", id="detached"),
        pytest.param(unborn, "main", id="nobody pushed what HEAD names"),
        pytest.param(unborn_and_one_other, "another", id="only one other branch"),
    ],
)
def test_the_default_branch_is_the_remotes(origin, probe, change, name):
    origin.at(origin.bare, "config", "receive.denyDeleteCurrent", "ignore")
    change(origin)
    origin.push(f"main:{BRANCH}")
    commit, _ = probe()
    assert commit.detail == f"wave/a has no commit beyond {name}"
    origin.pushed("src/one.py")
    commit, scope = probe()
    assert holds((commit, scope)) == (True, True)
    assert commit.detail.endswith(f"1 commit beyond {name}")


def test_a_default_branch_that_cannot_be_told(origin, probe):
    origin.pushed("src/one.py")
    origin.push("main:x", "main:y")
    origin.at(origin.bare, "symbolic-ref", "HEAD", "refs/heads/nobody")
    origin.push(":main")
    commit, scope = probe()
    assert holds((commit, scope)) == (None, None)
    assert commit.detail == "origin's HEAD names no branch that is there: set it to the main one"


def test_an_empty_remote_and_its_first_branch(tmp_path):
    origin = Origin.empty(tmp_path)
    probe = Prober(origin.bare, tmp_path / "evidence")
    assert probe()[0].detail == "origin has no branch wave/a"
    origin.git("symbolic-ref", "HEAD", f"refs/heads/{BRANCH}")
    origin.write("src/one.py")
    origin.write("src/two.py")
    head = origin.commit()
    origin.push()
    commit, scope = probe()
    assert holds((commit, scope)) == (True, True)
    assert commit.detail == (
        f"wave/a is at {head[:12]} on origin, 1 commit, and origin has no default branch"
    )
    assert scope.detail == "2 changed paths, all in the write scope"
    assert probe(write_scope=("src/one.py",))[1].holds is False


def test_a_huge_diff(origin, probe):
    origin.branch()
    blob = origin.git("rev-parse", "HEAD:README.md")
    lines = "".join(f"100644 {blob}\tother/{n}\n" for n in range(20_000))
    origin.git("update-index", "--index-info", data=lines.encode())
    origin.commit()
    origin.push()
    assert probe()[1].detail == (
        "20000 of 20000 changed paths outside the write scope, first `other/0`"
    )


def test_the_diff_is_what_the_branch_changed_and_nothing_else(origin, probe):
    assert probe.diff() is None
    origin.pushed("src/one.py")
    origin.push("main:elsewhere")
    first = probe()[0]
    said = probe.diff(first)
    assert "+++ b/src/one.py" in said
    assert said.count("diff --git") == 1
    origin.write("src/two.py")
    origin.commit()
    origin.push()
    assert probe.diff().count("diff --git") == 2
    assert probe.diff(first) == said
    origin.push(f":{BRANCH}")
    assert probe.diff() is None


def test_a_remote_that_is_away_has_no_diff(tmp_path):
    assert Prober(tmp_path / "absent", tmp_path / "evidence").diff() is None
