"""A policy of one's own may take away at will, and add only what a person has reviewed."""

import shutil
from pathlib import Path

import pytest

from agent import wiring
from agent.adapters.files import policy
from agent.adapters.files.config import read_settings
from agent.adapters.files.policy import LOCK, WatchedPolicy, lock_of, read_policy
from agent.errors import PolicyError
from tests.core import worlds as w

SHIPPED = w.ROOT / "policies"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def write(own: Path, name: str, old: str, new: str) -> None:
    """A file of one's own: the shipped one with one thing changed."""
    text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    assert old in text
    (own / f"{name}.toml").write_text(text.replace(old, new, 1), encoding="utf-8")


def refusal(own: Path, **how: bool) -> str:
    with pytest.raises(PolicyError) as caught:
        read_policy(SHIPPED, own, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lock(own: Path) -> None:
    (own / LOCK).write_text(lock_of(read_policy(SHIPPED, own, locked=False)), encoding="utf-8")


TIGHTER = [
    pytest.param("submit", "per_tick = 3", "per_tick = 1", id="fewer submits"),
    pytest.param("liveness", "act_after = 1200", "act_after = 3600", id="acting later"),
    pytest.param("liveness", "polls = 2", "polls = 5", id="more polls"),
    pytest.param("window", "maximum = 10", "maximum = 6", id="fewer lanes"),
    pytest.param("completion", 'rungs = [["commit-pushed"], ["scope-respected"]]',
                 'rungs = [["commit-pushed"], ["scope-respected"], ["checks-passed"]]',
                 id="another rung"),
    pytest.param("failures", "charged = false\ninfrastructure = true",
                 "charged = true\ninfrastructure = false", id="a reason of the task's own"),
]  # fmt: skip
LOOSER = [
    pytest.param("submit", "per_tick = 3", "per_tick = 4", "submit.per_tick at most 4",
                 id="more submits"),
    pytest.param("liveness", "act_after = 1200", "act_after = 400", "act_after at least 400",
                 id="acting sooner"),
    pytest.param("completion", '["checks-passed"]', '["checks-passed", "live-health"]',
                 "completion.code-change needs", id="another way up a rung"),
    pytest.param("completion", 'documents = ["**/*.md"', 'documents = ["**/*.py", "**/*.md"',
                 "completion.documents within", id="more counts as a document"),
    pytest.param("failures", "charged = true\ninfrastructure = false",
                 "charged = false\ninfrastructure = false", "failures.uncharged within",
                 id="a reason that uses up no attempt"),
    pytest.param("guard", 'status = ["queued"]', 'status = ["queued", "working"]',
                 "move: mode=approve|auto, consent=given, suspended=no, api=reachable,"
                 " status=working, result=none", id="a state"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new"), TIGHTER)
def test_a_stricter_number_or_list_needs_no_review(own, name, old, new):
    write(own, name, old, new)
    assert read_policy(SHIPPED, own).hash != w.policy().hash


@pytest.mark.parametrize(("name", "old", "new", "cell"), LOOSER)
def test_what_allows_more_is_refused_by_its_cell_until_it_is_reviewed(own, name, old, new, cell):
    write(own, name, old, new)
    said = refusal(own)
    assert said.startswith(f"{own / name}.toml: ")
    assert cell in said
    assert "wavekeeper policy lock" in said
    lock(own)
    assert read_policy(SHIPPED, own).hash != w.policy().hash


@pytest.mark.parametrize(("name", "old", "new", "cell"), [LOOSER[0], LOOSER[-1]])
def test_no_lock_makes_up_for_it_in_the_repository_under_supervision(own, name, old, new, cell):
    write(own, name, old, new)
    lock(own)
    said = refusal(own, project=True)
    assert cell in said
    assert "may only take away" in said


def test_fewer_permitted_states_need_a_review_but_not_from_a_project(own):
    write(own, "guard", 'status = ["queued", "working"]', 'status = ["queued"]')
    assert "is not permitted, but in" in refusal(own)
    assert "status=working" in refusal(own)
    assert read_policy(SHIPPED, own, project=True).hash != w.policy().hash
    lock(own)
    assert read_policy(SHIPPED, own).hash != w.policy().hash


def test_no_lock_lets_the_floor_be_broken(own):
    write(own, "guard", 'proof = ["proven"]', 'proof = ["proven", "claimed"]')
    text = (own / "guard.toml").read_text()
    forbid = text.index('id = "never_accept_without_verified_evidence"')
    text = text[:forbid] + text[forbid:].replace('["proven"]', '["proven", "claimed"]', 1)
    (own / "guard.toml").write_text(text)
    (own / LOCK).write_text("accept: always\n")
    assert "only the floor holds in accept: " in refusal(own)
    assert "only the floor holds in accept: " in refusal(own, locked=False)


def test_a_table_in_which_a_task_gets_stuck_is_refused(own):
    write(own, "guard", 'suspended = ["no"]\nresult = ["read", "none"]\n\n[[rule]]\n'
          'id = "take_over', 'suspended = ["no"]\nresult = ["none"]\n\n[[rule]]\n'
          'id = "take_over')  # fmt: skip
    assert "would be stuck in mode approve: nothing leads on from status=finished" in refusal(own)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("jump: always\n", "'jump: always' is not a line of a lock", id="a stranger"),
        pytest.param("\xff\n", ":1: ", id="no text"),
        pytest.param("", "leave-alone: always' is allowed but not in", id="empty"),
    ],
)
def test_a_spoilt_lock_refuses_the_policy(own, text, says):
    (own / LOCK).write_bytes(text.encode("latin-1"))
    assert says in refusal(own)


def test_a_file_that_changes_while_it_is_read_is_not_mixed_with_the_others(own, monkeypatch):
    """The only way to be between two reads is to stand in for what happens there."""
    write(own, "submit", "per_tick = 3", "per_tick = 2")
    survey = policy.survey

    def and_meanwhile(guard):
        write(own, "submit", "per_tick = 3", "per_tick = 1")
        return survey(guard)

    monkeypatch.setattr(policy, "survey", and_meanwhile)
    assert "changed while it was read" in refusal(own)


def test_no_file_of_another_kind_is_waited_for(own):
    (own / "submit.toml").mkdir()
    assert "no regular file" in refusal(own)


def project(folder: Path, policies: str) -> Path:
    """A repository under supervision, whose settings name these policies."""
    repository = folder / "repository"
    (repository / "rules").mkdir(parents=True)
    (repository / "wavekeeper.toml").write_text(f'policies = "{policies}"\n')
    return repository


@pytest.mark.parametrize("through", ["rules", "link"], ids=["plainly", "through a link"])
def test_a_project_file_cannot_switch_a_guard_off(tmp_path, through):
    repository = project(tmp_path, f"../{through}" if through == "link" else through)
    rules = repository / "rules"
    (tmp_path / "link").symlink_to(rules)
    write(rules, "submit", "per_tick = 3", "per_tick = 99")
    lock(rules)
    settings = read_settings(repository / "wavekeeper.toml")
    for load in (
        lambda: wiring.policy_of(settings),
        lambda: wiring.policy_in(rules),
        lambda: wiring.policy_unlocked(rules),
    ):
        with pytest.raises(PolicyError, match="repository under supervision"):
            load()
    write(rules, "submit", "per_tick = 3", "per_tick = 1")
    assert wiring.policy_of(settings).submit.per_tick == 1


def test_a_folder_outside_of_the_repository_is_its_owners(tmp_path, own):
    settings = read_settings(project(tmp_path, str(own)) / "wavekeeper.toml")
    write(own, "submit", "per_tick = 3", "per_tick = 99")
    with pytest.raises(PolicyError, match="policy lock"):
        wiring.policy_of(settings)
    lock(own)
    assert wiring.policy_of(settings).submit.per_tick == 99


def test_an_edited_policy_is_taken_up_once_and_only_when_it_may_be_used(own):
    folders = [SHIPPED, own]
    watched = WatchedPolicy(lambda: read_policy(SHIPPED, own), folders, w.policy().hash)
    assert watched.changed() is None
    write(own, "submit", "per_tick = 3", "per_tick = 2")
    assert watched.changed().submit.per_tick == 2
    assert watched.changed() is None
    whole = (own / "submit.toml").read_text()
    (own / "submit.toml").write_text(whole[: len(whole) // 2])
    with pytest.raises(PolicyError):
        watched.changed()
    assert watched.changed() is None, "the same fault is told once"
    (own / "submit.toml").write_text(whole)
    assert watched.changed() is None, "what was in force is there again"
    write(own, "submit", "per_tick = 3", "per_tick = 99")
    with pytest.raises(PolicyError, match="per_tick"):
        watched.changed()
    lock(own)
    assert watched.changed().submit.per_tick == 99
    shutil.rmtree(own)
    assert watched.changed().submit.per_tick == 3
