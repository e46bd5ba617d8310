"""Where `origin` is: what the person's own git would say, and git itself is asked for that."""

import pytest

from agent.adapters.common.git import remote_of
from agent.errors import ConfigurationError
from tests.adapters.git_hostile import Person
from tests.adapters.git_person import git

RULES = """
[url "ssh://git@host.example/"]
insteadOf = https://host.example/
insteadOf = host:
[url "ssh://deep.example/"]
insteadOf = https://host.example/deep/
[url "ssh://push.example/"]
pushInsteadOf = https://host.example/
[safe]
bareRepository = explicit
"""
ADDRESSES = [
    pytest.param("https://host.example/x.git", id="rewritten"),
    pytest.param("https://host.example/deep/x.git", id="the longest prefix"),
    pytest.param("host:x.git", id="short"),
    pytest.param("https://other.example/x.git", id="as it is"),
    pytest.param("git@other.example:x.git", id="ssh"),
]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "repository").mkdir()
    person = Person(tmp_path / "home", tmp_path)
    person.pieces = {"rules": RULES}
    for name, value in person.at_home().items():
        monkeypatch.setenv(name, value)
    git(tmp_path / "repository", "init", "-q")
    return tmp_path / "repository", lambda *asked: person.git(
        tmp_path / "repository", *asked, env=person.environment()
    ).strip()


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_remote_is_where_the_persons_git_finds_it(repository, address):
    folder, asks = repository
    git(folder, "remote", "add", "origin", address)
    there = asks("remote", "get-url", "origin"), asks("remote", "get-url", "--push", "origin")
    assert (remote_of(folder, "origin"), remote_of(folder, "origin", push=True)) == there
    if "/" in address or "@" in address:
        assert (remote_of(folder, address), remote_of(folder, address, push=True)) == there


def test_a_remote_that_is_pushed_to_elsewhere(repository):
    folder, _ = repository
    git(folder, "remote", "add", "origin", "https://other.example/x.git")
    git(folder, "remote", "set-url", "--push", "origin", "ssh://third.example/x.git")
    assert remote_of(folder, "origin") == "https://other.example/x.git"
    assert remote_of(folder, "origin", push=True) == "ssh://third.example/x.git"


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_COMMON_DIR"])
def test_a_hook_of_another_repository_leads_nowhere_else(
    repository, variable, tmp_path, monkeypatch
):
    folder, _ = repository
    git(folder, "remote", "add", "origin", "https://other.example/x.git")
    git(tmp_path, "init", "-q", "--bare", "other.git")
    monkeypatch.setenv(variable, str(tmp_path / "other.git"))
    assert remote_of(folder, "origin") == "https://other.example/x.git"


def test_a_path_is_itself_and_is_meant_from_the_repository(repository, tmp_path):
    folder, _ = repository
    git(tmp_path, "init", "-q", "--bare", "origin.git")
    git(folder, "remote", "add", "origin", "../origin.git")
    assert remote_of(folder, "origin") == str(tmp_path / "origin.git")
    assert remote_of(folder, str(tmp_path / "origin.git")) == str(tmp_path / "origin.git")


@pytest.mark.usefixtures("repository")
def test_a_bare_repository_is_one_too(tmp_path):
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    git(tmp_path / "bare.git", "remote", "add", "origin", "https://other.example/x.git")
    assert remote_of(tmp_path / "bare.git", "origin") == "https://other.example/x.git"


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("place", "words"),
    [
        pytest.param("repository", "has no remote 'origin'; add it", id="no remote"),
        pytest.param("", "is no git repository; name one", id="no repository"),
        pytest.param("missing", "is no git repository; name one", id="no folder"),
    ],
)
def test_what_is_not_there_is_one_line(place, words, tmp_path):
    with pytest.raises(ConfigurationError, match=words):
        remote_of(tmp_path / place, "origin")
