"""What a person sees of the remote beside the tasks' own work."""

import pytest

from agent.core.assess.remote_watch import pushed_to_default, reports
from agent.core.model.nouns import BranchMoved, RemoteSeen
from tests.core import worlds as w

OURS, THEIRS = "aaaaaaaaaaaa tidy up", "bbbbbbbbbbbb <b>fix</b>"


def seen(*foreign, moved=()):
    return RemoteSeen(default_name="main", foreign=foreign, moved=moved)


def moved(fate):
    return BranchMoved(task="T-9", branch="wave/nine", commit="c" * 40, fate=fate)


def said(remote, *tasks):
    return reports(w.world(*tasks, remote=remote))


PUSHED = w.ended(pushed_to_default=("aaaaaaaaaaaa",))


def test_nothing_is_said_where_nothing_was_seen():
    assert said(None, PUSHED) == []
    assert said(seen(), w.ended()) == []


def test_commits_of_others_on_the_default_branch():
    [(about, sentence)] = said(seen(THEIRS, OURS), w.ended())
    assert about is None
    assert sentence == (
        "the default branch main moved by commits that no accepted task explains: "
        "`bbbbbbbbbbbb <b>fix</b>`, `aaaaaaaaaaaa tidy up`"
    )
    [(_, many)] = said(seen(*(f"{n:012} x" for n in range(5))), w.ended())
    assert many.endswith(" and 2 more")


def test_commits_that_a_task_made_are_said_of_that_task_alone():
    found = said(seen(OURS), PUSHED)
    assert [about for about, _ in found] == ["T-1"]
    assert "made in the worktree of T-1 (aaaaaaaaaaaa)" in found[0][1]
    assert len(said(seen(OURS, THEIRS), PUSHED)) == 2
    world = w.world(PUSHED, remote=seen(OURS))
    assert pushed_to_default(PUSHED, world) == found[0][1]
    assert pushed_to_default(w.ended(), world) is None


@pytest.mark.parametrize(
    ("fate", "words"),
    [("moved-on", "nobody has judged"), ("rewritten", "no longer on it"), ("deleted", "deleted")],
)
def test_an_accepted_branch_that_is_not_as_it_was(fate, words):
    [(about, sentence)] = said(seen(moved=(moved(fate),)), w.ended())
    assert about == "T-9"
    assert "wave/nine of T-9 (cccccccccccc)" in sentence
    assert words in sentence
