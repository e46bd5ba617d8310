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
    assert "23 kinds of state permitted" in said.stdout


def test_show_is_the_table_of_the_lock():
    shown = here("policy", "show").stdout.splitlines()
    lock = (ROOT / "policies" / "authority.lock").read_text(encoding="utf-8").splitlines()
    assert shown == [line for line in lock if not line.startswith("#")]
    assert len(shown) == 23


def test_a_loosened_policy_is_refused_until_it_is_locked(tmp_path):
    own = _own(tmp_path, 'status = ["queued"]', 'status = ["queued", "planned"]')
    refused = here("policy", "check", "--policies", str(own))
    assert refused.returncode == 2
    assert "wavekeeper policy lock" in refused.stderr
    locked = here("policy", "lock", "--policies", str(own))
    assert locked.returncode == 0
    assert "loosened: move: " in locked.stdout
    assert "tightened: move: " in locked.stdout
    assert here("policy", "check", "--policies", str(own)).returncode == 0


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


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for command in ("check", "show", "lock"):
        said = here("policy", command, "--policies", str(tmp_path / "none"))
        assert said.returncode == 2
        assert "no such folder" in said.stderr
