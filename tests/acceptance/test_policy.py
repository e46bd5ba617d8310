"""`wavekeeper policy`: what a team does with a policy of its own."""

from pathlib import Path

from tests.acceptance.program import here

ROOT = Path(__file__).parents[2]
GUARD = (ROOT / "policies" / "guard.toml").read_text(encoding="utf-8")


def _own(tmp_path, old, new):
    own = tmp_path / "ours"
    own.mkdir()
    assert old in GUARD
    (own / "guard.toml").write_text(GUARD.replace(old, new, 1), encoding="utf-8")
    return own


def test_check_says_what_was_looked_at():
    said = here("policy", "check")
    assert said.returncode == 0
    assert "may take effect" in said.stdout
    assert "24 kinds of state permitted" in said.stdout


def test_show_is_the_table_of_the_lock():
    shown = here("policy", "show").stdout.splitlines()
    lock = (ROOT / "policies" / "authority.lock").read_text(encoding="utf-8").splitlines()
    assert shown == [line for line in lock if not line.startswith("#")]
    assert len([line for line in shown if ": " in line]) == 24
    assert len(shown) <= 66, "one page"


def test_a_loosened_policy_is_refused_until_it_is_locked(tmp_path):
    own = _own(tmp_path, 'status = ["queued"]', 'status = ["queued", "planned"]')
    refused = here("policy", "check", "--policies", str(own))
    assert refused.returncode == 2
    assert "wavekeeper policy lock" in refused.stderr
    locked = here("policy", "lock", "--policies", str(own))
    assert locked.returncode == 0
    assert "loosened: move: " in locked.stdout
    assert "status=planned" in locked.stdout
    assert "tightened:" not in locked.stdout
    assert here("policy", "check", "--policies", str(own)).returncode == 0
    (own / "guard.toml").write_text(GUARD, encoding="utf-8")
    assert "is not permitted, but in" in here("policy", "check", "--policies", str(own)).stderr
    again = here("policy", "lock", "--policies", str(own))
    assert "tightened: move: " in again.stdout
    assert "loosened:" not in again.stdout
    assert (
        "nothing is allowed more or less" in here("policy", "lock", "--policies", str(own)).stdout
    )


def test_what_breaks_the_floor_cannot_be_locked(tmp_path):
    own = _own(
        tmp_path,
        'id = "never_accept_without_verified_evidence"\neffect = "forbid"',
        'id = "never_accept_without_verified_evidence"\neffect = "permit"',
    )
    refused = here("policy", "lock", "--policies", str(own))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "guard.toml:" in refused.stderr
    assert not (own / "authority.lock").exists()


def test_a_loosened_number_is_named_with_what_was_reviewed(tmp_path):
    own = tmp_path / "ours"
    own.mkdir()
    submit = (ROOT / "policies" / "submit.toml").read_text(encoding="utf-8")
    (own / "submit.toml").write_text(submit.replace("per_tick = 3", "per_tick = 30"))
    refused = here("policy", "check", "--policies", str(own))
    assert refused.returncode == 2
    assert "submit.per_tick at most 30; reviewed was 3" in refused.stderr
    locked = here("policy", "lock", "--policies", str(own))
    assert "loosened: submit.per_tick at most 30; reviewed was 3" in locked.stdout
    assert here("policy", "check", "--policies", str(own)).returncode == 0


def test_a_folder_in_the_repository_under_supervision_may_only_take_away(tmp_path, monkeypatch):
    own = _own(tmp_path, 'status = ["queued"]', 'status = ["queued", "planned"]')
    assert here("policy", "lock", "--policies", str(own)).returncode == 0
    (tmp_path / "wavekeeper.toml").write_text('policies = "ours"\n')
    monkeypatch.chdir(tmp_path)
    for command in (
        ("policy", "check", "--policies", str(own)),
        ("policy", "lock", "--policies", str(own)),
        ("run", "--once"),
    ):
        refused = here(*command)
        assert refused.returncode == 2, command
        assert "repository under supervision" in refused.stderr
    assert not (tmp_path / ".wavekeeper").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for command in ("check", "show", "lock"):
        said = here("policy", command, "--policies", str(tmp_path / "none"))
        assert said.returncode == 2
        assert "no such folder" in said.stderr
