import pytest

from agent.adapters.git.references import GitReferences
from agent.adapters.git.worktrees import GitWorktrees
from agent.errors import NothingDoneError, WorktreeError
from agent.ports import References
from tests.adapters.git_origin import DOCUMENTS, Origin


@pytest.fixture(scope="module")
def origins(tmp_path_factory):
    return Origin.new(tmp_path_factory.mktemp("origin"))


@pytest.fixture
def origin(origins, tmp_path):
    return origins.copy(tmp_path)


@pytest.fixture
def references(origin, tmp_path):
    worktrees = GitWorktrees(str(origin.bare), tmp_path / "worktrees", tmp_path / "state")
    checked: References = GitReferences(worktrees, str(origin.bare), DOCUMENTS)
    return checked


def git(origin, *arguments):
    return Origin.at(origin.bare, *arguments)


RULE = "## Tools of the worker hosts\n\nA missing tool goes into the image, not into the task."


def test_a_new_document_is_one_commit_on_a_branch_of_its_own(references, origin):
    made = references.propose("docs/reference/hosts.md", RULE, title="Say where tools go", key="k")
    assert made.branch.startswith("wavekeeper/reference/")
    assert git(origin, "rev-parse", made.branch).strip() == made.commit
    assert git(origin, "show", f"{made.branch}:docs/reference/hosts.md") == f"{RULE}\n"
    assert git(origin, "diff", "--name-only", f"main...{made.branch}").split() == [
        "docs/reference/hosts.md"
    ]
    assert git(origin, "log", "-1", "--format=%s %an", made.branch).strip() == (
        "Say where tools go Wavekeeper"
    )
    assert references.proposed("k") == made
    assert references.proposed("another") is None


def test_a_text_is_added_to_the_end_of_what_is_there(references, origin):
    made = references.propose("README.md", RULE, title="Add", key="k")
    assert git(origin, "show", f"{made.branch}:README.md") == f"read\n\n{RULE}\n"


def test_the_same_proposal_is_made_once(references, origin, tmp_path):
    first = references.propose("docs/a.md", RULE, title="Add", key="k")
    again = GitReferences(
        GitWorktrees(str(origin.bare), tmp_path / "w2", tmp_path / "s2"),
        str(origin.bare),
        DOCUMENTS,
    )
    assert again.propose("docs/a.md", RULE, title="Add", key="k") == first
    assert references.propose("docs/a.md", RULE, title="Add", key="l").branch != first.branch


def test_no_checkout_of_anybody_is_touched(references, origin, tmp_path):
    (origin.work / "README.md").write_text("not yet committed", encoding="utf-8")
    before = Origin.at(origin.work, "status", "--porcelain")
    references.propose("README.md", RULE, title="Add", key="k")
    assert Origin.at(origin.work, "status", "--porcelain") == before
    assert git(origin, "show", "main:README.md") == "read\n"
    assert list((tmp_path / "worktrees" / ".checkouts").iterdir()) == []


def test_what_is_said_already_is_not_proposed(references, origin):
    made = references.propose("README.md", "read", title="Add", key="k")
    assert (made.branch, made.commit) == ("HEAD", git(origin, "rev-parse", "main").strip())
    assert git(origin, "branch", "--list").split() == ["*", "main"]


WRONG = [
    pytest.param("src/one.py", RULE, "is no document", id="code"),
    pytest.param("../docs/a.md", RULE, "no path of a document", id="outside"),
    pytest.param("docs/../src/a.md", RULE, "no path of a document", id="around"),
    pytest.param("/etc/docs/a.md", RULE, "no path of a document", id="absolute"),
    pytest.param("docs/.git/hooks/a.md", RULE, "no path of a document", id="git's own"),
    pytest.param("-docs/a.md", RULE, "no path of a document", id="an option"),
    pytest.param("docs/a\n.md", RULE, "no path of a document", id="two lines"),
    pytest.param("docs/a.md", " \n", "a reference has", id="nothing"),
    pytest.param("docs/a.md", "x" * 200_001, "a reference has", id="too much"),
]


@pytest.mark.parametrize(("path", "text", "words"), WRONG)
def test_what_cannot_be_proposed(tmp_path, path, text, words):
    worktrees = GitWorktrees("nowhere", tmp_path / "worktrees", tmp_path / "state")
    references = GitReferences(worktrees, "nowhere", DOCUMENTS)
    with pytest.raises(NothingDoneError) as caught:
        references.propose(path, text, title="Add", key="k")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "state").exists()


def test_a_symbolic_link_leads_nowhere(references, origin, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (origin.work / "docs").symlink_to(outside)
    origin.git("add", "docs")
    origin.commit()
    origin.push("main")
    with pytest.raises(NothingDoneError, match="symbolic link"):
        references.propose("docs/a.md", RULE, title="Add", key="k")
    assert list(outside.iterdir()) == []


def test_text_of_unknown_origin_is_made_visible(references, origin):
    made = references.propose("docs/a.md", "a\x1b[2Jb", title="one\ntwo\x1b[1m", key="k")
    assert git(origin, "show", f"{made.branch}:docs/a.md") == "a␛b\n"
    assert git(origin, "log", "-1", "--format=%B", made.branch).strip() == "one two␛"


def test_a_remote_that_refuses_says_why(references, origin):
    hook = origin.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'branches are protected' >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    with pytest.raises(WorktreeError) as caught:
        references.propose("docs/a.md", RULE, title="Add", key="k")
    assert str(caught.value).startswith("git push: ")
    assert len(str(caught.value).splitlines()) == 1
    assert references.proposed("k") is None
