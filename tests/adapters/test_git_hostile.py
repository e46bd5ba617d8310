"""What the product does with git is the same, whatever the person has configured."""

import os

import pytest

from agent.adapters.common.git import remote_of
from agent.adapters.git.references import GitReferences
from agent.adapters.git.worktrees import GitWorktrees
from tests.adapters.git_hostile import Person
from tests.adapters.git_origin import BRANCH, DOCUMENTS, Origin, Prober

COMMIT = ("commit", "--allow-empty", "-m", "words")
# What the person's own git is asked, to see that the setting is in force: it fails, or runs a
# program of theirs, or prints these words.
BITES = {
    "signed commits": (COMMIT, None),
    "hooks that fail": (COMMIT, None),
    "a template with a hook": (("clone", ".", "../cloned"), None),
    "line ends of Windows": (("archive", "HEAD", "README.md"), "read\r\n"),
    "a filter that fails": (("add", "README.md"), None),
    "nothing is pushed": (("push",), None),
    "no bare repositories": (("-C", "../origin.git", "rev-parse", "HEAD"), None),
    "another default branch": (("config", "init.defaultBranch"), "trunk"),
    "fetched from elsewhere": (("ls-remote", "{bare}"), None),
    "pushed to elsewhere": (("push", "{bare}", "HEAD:refs/heads/x"), None),
    "no paths as remotes": (("ls-remote", "{bare}"), None),
    "an editor that fails": (("commit", "--allow-empty"), None),
    "a monitor": (("status",), None),
    "another diff": (("diff", "HEAD~", "HEAD"), None),
}


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    origin = Origin.new(tmp_path_factory.mktemp("pattern"))
    origin.pushed("src/one.py")
    return origin


@pytest.fixture
def origin(pattern, tmp_path):
    (tmp_path / "world").mkdir()
    return pattern.copy(tmp_path / "world")


@pytest.fixture
def person(tmp_path):
    return Person(tmp_path / "home", tmp_path / "world")


@pytest.fixture
def become(monkeypatch):
    """Has this process run in that environment, which is all that the product looks at."""

    def put_on(env):
        for name in set(os.environ) - set(env):
            monkeypatch.delenv(name)
        for name, value in env.items():
            monkeypatch.setenv(name, value)

    return put_on


def test_every_setting_is_in_the_table(person):
    assert set(BITES) == set(person.pieces)


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in (*BITES, "all of them")])
def test_the_persons_configuration_changes_nothing(name, origin, person, become, tmp_path):
    names = () if name == "all of them" else (name,)
    for one in names:
        asked, words = BITES[one]
        filled = [part.replace("{bare}", str(origin.bare)) for part in asked]
        said = person.git(origin.work, *filled, env=person.environment(one))
        assert said is None or person.asked.exists() or (words and words in said)
        person.asked.unlink(missing_ok=True)
    become(person.environment(*names, more=not names))

    assert remote_of(origin.work, "origin") == str(origin.bare)
    probe = Prober(origin.bare, tmp_path / "evidence")
    assert [one.holds for one in probe()] == [True, True]
    assert probe.diff().startswith("diff --git a/src/one.py b/src/one.py\nindex ")

    trees = GitWorktrees(str(origin.bare), tmp_path / "work", tmp_path / "state")
    assert (trees.prepare("t1", "work/t1") / "README.md").read_bytes() == b"read\n"
    seen = trees.checkout("t1", BRANCH)
    assert (seen.path / "src" / "one.py").read_bytes() == b"changed\n"
    trees.discard(seen)

    references = GitReferences(trees, str(origin.bare), DOCUMENTS)
    made = references.propose("docs/a.md", "A rule.", title="Add a rule", key="k")
    assert references.proposed("k") == made
    assert Origin.at(origin.bare, "show", f"{made.commit}:docs/a.md") == "A rule.\n"
    assert "gpgsig" not in Origin.at(origin.bare, "cat-file", "commit", made.commit)
    assert not person.asked.exists()


def test_an_agents_git_is_the_persons_and_reaches_the_same_places(origin, person, become, tmp_path):
    """At home an address is rewritten once; in a worktree it was, and is not again."""
    twin = origin.bare.with_name("twin.git")
    Origin.at(origin.bare.parent, "clone", "-q", "--bare", str(origin.bare), str(twin))
    env = person.environment()
    become(env)
    trees = GitWorktrees(str(origin.bare), tmp_path / "work", tmp_path / "state", str(twin))
    path = trees.prepare("t1", "work/t1")
    assert person.git(path, "config", "--type=bool", "commit.gpgSign", env=env) == "true\n"
    kind = person.environment("fetched from elsewhere", "pushed to elsewhere")
    assert person.git(path, "ls-remote", "origin", env=kind)
    assert person.git(path, *COMMIT, env=kind) is not None
    for push in (str(twin), None):
        again = GitWorktrees(str(origin.bare), tmp_path / "work", tmp_path / "state", push)
        assert again.prepare("t1", "work/t1") == path
        branch = f"refs/heads/{'twin' if push else 'bare'}"
        assert person.git(path, "push", "origin", f"HEAD:{branch}", env=kind) is not None
        place = twin if push else origin.bare
        assert (
            Origin.at(place, "rev-parse", branch).strip()
            == Origin.at(path, "rev-parse", "HEAD").strip()
        )
