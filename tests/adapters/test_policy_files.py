import shutil
from pathlib import Path

import pytest

from agent.adapters.files.policy import FILES, read_policy
from agent.core.guard.guard import FLOOR, lint
from agent.core.plan.planner import decide
from agent.errors import PolicyError
from tests.core import worlds as w


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped policies, to be spoilt."""
    shutil.copytree(w.ROOT / "policies", tmp_path / "policies")
    return tmp_path / "policies"


def spoil(folder: Path, name: str, old: str, new: str) -> int:
    """Write `new` for the first `old` of a file, and say in which line that is."""
    path = folder / f"{name}.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def refusal(folder: Path, over: Path | None = None) -> str:
    with pytest.raises(PolicyError) as caught:
        read_policy(folder, over)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_shipped_policy_is_taken():
    policy = read_policy(w.ROOT / "policies")
    assert len(policy.hash) == 64
    assert not lint(policy.guard)
    assert {rule.name for rule in FLOOR} <= {rule.id for rule in policy.guard.rule}


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_hash_names_every_byte_of_every_file(folder, name):
    before = read_policy(folder)
    with (folder / f"{name}.toml").open("a", encoding="utf-8") as file:
        file.write("# a comment\n")
    after = read_policy(folder)
    assert after.hash != before.hash
    assert after.model_copy(update={"hash": before.hash}) == before


AT_THEIR_LINE = [
    pytest.param("liveness", "cadence = 300", "cadence = 300\ncadnce = 9", 1, "cadnce", id="key"),
    pytest.param("guard", "[rule.when]", "[rule.whn]", 0, "whn", id="key of a rule"),
    pytest.param("failures", "charged = false", "charged = false\nchrged = true", 1, "chrged",
                 id="key of a reason"),
    pytest.param("guard", 'actions = ["review"]', 'actions = ["reveiw"]', 0, "actions",
                 id="action"),
    pytest.param("guard", 'effect = "permit"', 'effect = "allow"', 0, "effect", id="effect"),
    pytest.param("failures", 'rule = "wait"', 'rule = "sleep"', 0, "rule", id="retry rule"),
    pytest.param("completion", '["blocked-workflow-proceeds"', '["blocked-flow"', 0, "rungs",
                 id="kind of proof"),
    pytest.param("completion", "[ladder.infrastructure]", "[ladder.infra]", 0, "infra",
                 id="kind of task"),
    pytest.param("liveness", "polls = 2", "polls = 0", 0, "polls", id="too small"),
    pytest.param("liveness", "polls = 2", 'polls = "two"', 0, "polls", id="no number"),
    pytest.param("liveness", "cooldown = 1800", "cooldown = -1", 0, "cooldown", id="negative"),
    pytest.param("window", "widen_at = 0.70", "widen_at = 70", 0, "widen_at", id="no share"),
    pytest.param("guard", 'result = ["read"]', 'result = "read"', 0, "result", id="no list"),
    pytest.param("window", "start = 5", "start = 5\nstart = 6", 1, "value already", id="key twice"),
    pytest.param("guard", 'result = ["read"]', 'reslt = ["read"]', 0, "no fact", id="fact"),
    pytest.param("guard", 'result = ["read"]', 'result = ["raed"]', 0, "no value", id="value"),
    pytest.param("guard", 'result = ["read"]', 'lanes = ["free"]', 0, "may not read", id="unread"),
    pytest.param("guard", 'match = [{ mode = "unknown" }]', 'match = [{ mode = "auto" }]', 0,
                 "does not match", id="example"),
    pytest.param("guard", 'match = [{ mode = "unknown" }]', 'match = [{ mood = "auto" }]', 0,
                 "no fact 'mood'", id="fact of an example"),
    pytest.param("guard", 'id = "read"', 'id = "never_read"', 0, "a forbid, and only", id="name"),
    pytest.param("guard", "[rule.unless]\nmode =", "[rule.unless]\nmood =", 1, "no fact 'mood'",
                 id="fact of an unless"),
    pytest.param("guard", 'match = [{ mode = "unknown" }]',
                 'match = [\n{ mode = "unknown" },\n{ mood = "x" },\n]', 2, "no fact 'mood'",
                 id="fact of a second example"),
    pytest.param("guard", 'match = [{ mode = "unknown" }]',
                 'match = [\n{ mode = "unknown" },\n{ mode = "auto" },\n]', 2, "does not match",
                 id="a second example"),
    pytest.param("submit", "per_tick = 3", "per_tick 3", 0, "not valid TOML", id="no TOML"),
    pytest.param("submit", "per_tick = 3", 'per_tick = "3', 0, "not valid TOML", id="open text"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "below", "said"), AT_THEIR_LINE)
def test_a_mistake_is_told_with_file_and_line(folder, name, old, new, below, said):
    line = spoil(folder, name, old, new) + below
    message = refusal(folder)
    assert message.startswith(f"{folder / name}.toml:{line}: ")
    assert said in message


DOCUMENTATION = '[ladder.documentation]\nrungs = [["commit-pushed"], ["scope-respected"]]'

SOMEWHERE = [
    pytest.param("guard", 'result = ["read"]', 'reslt = ["read"]', "no fact 'reslt'", id="fact"),
    pytest.param("guard", 'result = ["read"]', 'result = ["raed"]', "no value 'raed'", id="value"),
    pytest.param("guard", 'result = ["read"]', 'lanes = ["free"]', "may not read 'lanes'",
                 id="a fact this action may not read"),
    pytest.param("guard", 'match = [{ mode = "unknown" }]', 'match = [{ mode = "auto" }]',
                 "does not match", id="an example that does not match"),
    pytest.param("guard", 'no_match = [{ mode = "auto" }]', 'no_match = [{ mode = "observe" }]',
                 "does match", id="an example that does"),
    pytest.param("guard", 'id = "observe_never_acts"', 'id = "observing"', "a forbid, and only",
                 id="a forbid without never"),
    pytest.param("guard", 'id = "read"', 'id = "never_read"', "a forbid, and only",
                 id="a permit with never"),
    pytest.param("guard", 'id = "never_patch_the_database"', 'id = "never_patch_it"',
                 "no forbid of its name", id="an invariant without its forbid"),
    pytest.param("liveness", "cadence = 300", "", "cadence", id="a missing key"),
    pytest.param("liveness", "act_after = 1200", "act_after = 360", "show early, act late",
                 id="acting as soon as showing"),
    pytest.param("window", "narrow_at = 0.60", "narrow_at = 0.70", "narrow_at must be less",
                 id="no hysteresis"),
    pytest.param("window", "start = 5", "start = 11", "minimum <= start <= maximum",
                 id="a start over the maximum"),
    pytest.param("failures", 'id = "lost"', 'id = "gone"', "the reason 'lost' is missing",
                 id="a missing reason"),
    pytest.param("failures", 'id = "quota"', 'id = "lost"', "same id", id="a reason twice"),
    pytest.param("failures", "charged = false", "charged = true", "never use up", id="charged"),
    pytest.param("failures", "(?P<subject>insufficient", "(?P<subject>(insufficient",
                 "not a regular expression", id="a pattern that is none"),
    pytest.param("completion", DOCUMENTATION, "", "no ladder", id="a missing ladder"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "said"), SOMEWHERE)
def test_a_policy_that_contradicts_itself_is_refused_on_one_line(folder, name, old, new, said):
    spoil(folder, name, old, new)
    message = refusal(folder)
    assert f"{name}.toml" in message
    assert said in message


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_not_there_is_named(folder, name):
    (folder / f"{name}.toml").unlink()
    assert refusal(folder).startswith(f"{folder / name}.toml: cannot be read")


def test_a_missing_forbid_is_told_at_the_first_rule(folder):
    text = (folder / "guard.toml").read_text(encoding="utf-8")
    first = text[: text.index("[[rule]]")].count("\n") + 1
    spoil(folder, "guard", 'id = "never_patch_the_database"', 'id = "never_patch_it"')
    assert refusal(folder).startswith(f"{folder / 'guard.toml'}:{first}: never_patch_the_database")


def test_a_folder_in_the_place_of_a_file_is_named(folder):
    (folder / "guard.toml").unlink()
    (folder / "guard.toml").mkdir()
    assert "guard.toml: cannot be read" in refusal(folder)


def test_bytes_that_are_no_text_are_told_with_their_line(folder):
    line = spoil(folder, "window", "start = 5", "start = 5 #")
    path = folder / "window.toml"
    path.write_bytes(path.read_bytes().replace(b"start = 5 #", b"start = 5 # \xff"))
    assert refusal(folder).startswith(f"{path}:{line}: not UTF-8")


def powers(folder: Path) -> set[tuple[str, str]]:
    return {
        (rule.id, action)
        for rule in read_policy(folder).guard.rule
        if rule.effect == "permit"
        for action in rule.actions
    }


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_half_written_file_never_gives_more_power(folder, name):
    """Cut anywhere, a file is refused on one line, or what is left of it permits no more."""
    path = folder / f"{name}.toml"
    whole, all_powers = path.read_bytes(), powers(folder)
    for part in range(8):
        path.write_bytes(whole[: len(whole) * part // 8])
        try:
            left = powers(folder)
        except PolicyError as error:
            assert str(error).count("\n") == 0, part  # noqa: PT017 - it may also be taken
        else:
            assert left <= all_powers, part


def test_an_empty_rule_table_is_refused(folder):
    (folder / "guard.toml").write_text("rule = []\n")
    assert "the floor's invariant has no forbid of its name" in refusal(folder)


def test_a_users_file_takes_the_place_of_the_shipped_one(folder, tmp_path):
    over = tmp_path / "over"
    over.mkdir()
    shutil.copy(folder / "submit.toml", over)
    spoil(over, "submit", "per_tick = 3", "per_tick = 1")
    shipped, changed = read_policy(folder), read_policy(folder, over)
    assert (shipped.submit.per_tick, changed.submit.per_tick) == (3, 1)
    assert changed.hash != shipped.hash
    assert changed.guard == shipped.guard
    two = w.world(w.planned(), w.planned(id="T-2"))
    assert [one.proposal.action for one in decide(two, changed).tasks] == ["submit", "leave-alone"]


def test_an_empty_folder_of_the_user_changes_nothing(folder, tmp_path):
    assert read_policy(folder, tmp_path / "none") == read_policy(folder)


def test_a_users_mistake_is_told_with_the_users_file(folder, tmp_path):
    over = tmp_path / "over"
    over.mkdir()
    (over / "submit.toml").write_text("per_tick = 0\n")
    assert refusal(folder, over).startswith(f"{over}/submit.toml:")


@pytest.mark.parametrize("name", ["gaurd.toml", "guard2.toml", "policy.toml"])
def test_a_stranger_among_the_users_files_is_named(folder, tmp_path, name):
    over = tmp_path / "over"
    over.mkdir()
    (over / name).write_text("")
    message = refusal(folder, over)
    assert message.startswith(f"{over / name}: not a policy file")
    assert "guard.toml" in message


def test_the_users_other_files_are_nobodys_business(folder, tmp_path):
    over = tmp_path / "over"
    over.mkdir()
    (over / "README.md").write_text("why we are careful")
    assert read_policy(folder, over).hash == read_policy(folder).hash
