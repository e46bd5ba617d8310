import fcntl
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.git import worktrees
from agent.adapters.git.worktrees import GitWorktrees
from agent.errors import WorktreeError
from agent.ports import Worktrees
from tests.adapters.git_person import commit, found, git, heads, push


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied: that is faster than to make it anew."""
    place = tmp_path_factory.mktemp("model")
    found(place)
    return place


@pytest.fixture
def seed(model: Path, tmp_path: Path) -> Path:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    return tmp_path / "seed"


@pytest.fixture
def remote(seed: Path) -> Path:
    return seed.parent / "origin.git"


@pytest.fixture
def trees(remote: Path) -> Worktrees:
    return another(remote)


def another(remote: Path) -> GitWorktrees:
    """Another host on the same folders."""
    place = remote.parent
    return GitWorktrees(str(remote), place / "work", place / "state")


def test_a_new_worktree_is_the_default_branch_detached(trees: Worktrees, seed: Path) -> None:
    path = trees.prepare("t1", "work/t1")
    assert heads(path) == (git(seed, "rev-parse", "HEAD"), "")
    assert git(path, "status", "--porcelain") == ""
    assert (path / "README").read_text() == "hello\n"


def test_a_new_worktree_starts_from_its_branch_where_that_is_pushed(
    trees: Worktrees, seed: Path
) -> None:
    there = commit(seed, "early")
    push(seed, "work/t1")
    path = trees.prepare("t1", "work/t1")
    assert heads(path) == (there, "")
    assert git(path, "rev-list", "--count", "origin/main..origin/work/t1") == "1"


def test_work_can_be_pushed_from_it(trees: Worktrees, remote: Path) -> None:
    path = trees.prepare("t1", "work/t1")
    done = commit(path, "done")
    push(path, "work/t1")
    assert git(remote, "rev-parse", "refs/heads/work/t1") == done


def test_what_is_half_done_is_kept_as_it_is(trees: Worktrees, seed: Path, remote: Path) -> None:
    path = trees.prepare("t1", "work/t1")
    mine = commit(path, "mine")
    (path / "README").write_text("half\n")
    (path / "untracked").write_text("new\n")
    commit(seed, "theirs")
    push(seed, "work/t1")
    assert another(remote).prepare("t1", "work/t1") == path
    assert heads(path) == (mine, "")
    assert git(path, "status", "--porcelain").splitlines() == ["M README", "?? untracked"]


def test_what_is_there_needs_no_remote(trees: Worktrees, remote: Path) -> None:
    path = trees.prepare("t1", "work/t1")
    remote.rename(remote.with_name("away"))
    assert trees.prepare("t1", "work/t1") == path


def test_each_task_has_its_own(trees: Worktrees) -> None:
    paths = [trees.prepare(task, "work/both") for task in ("t1", "t2")]
    commit(paths[0], "only-here")
    assert not (paths[1] / "only-here").exists()


def test_the_users_own_checkout_is_not_touched(trees: Worktrees, seed: Path) -> None:
    (seed / "README").write_text("mine\n")
    before = heads(seed), git(seed, "for-each-ref"), git(seed, "worktree", "list")
    path = trees.prepare("t1", "main")
    commit(path, "more")
    push(path, "main")
    assert trees.checkout("t1", "main")
    after = heads(seed), git(seed, "for-each-ref"), git(seed, "worktree", "list")
    assert after == before
    assert git(seed, "status", "--porcelain") == "M README"


def test_a_folder_deleted_by_hand_is_made_again(trees: Worktrees, remote: Path) -> None:
    path = trees.prepare("t1", "work/t1")
    subprocess.run(["rm", "-rf", str(path)], check=True)
    assert trees.prepare("t1", "work/t1") == path
    assert (path / "README").exists()
    own = remote.parent / "state" / "agents" / "t1.git"
    registered = git(own, "worktree", "list", "--porcelain")
    assert registered.count(str(path)) == 1


@pytest.mark.parametrize("how", ["unmarked", "empty"])
def test_what_a_killed_host_half_made_is_made_again(
    trees: Worktrees, remote: Path, how: str
) -> None:
    path = remote.parent / "work" / "t1"
    if how == "empty":
        path.mkdir(parents=True)
    else:
        trees.prepare("t1", "work/t1")
        for mark in (remote.parent / "state").rglob(worktrees._MADE):
            mark.unlink()
        (path / "README").unlink()
    assert trees.prepare("t1", "work/t1") == path
    assert (path / "README").exists()


def test_a_folder_that_is_not_ours_is_left_alone(trees: Worktrees, remote: Path) -> None:
    path = remote.parent / "work" / "t1"
    path.mkdir(parents=True)
    (path / "precious").write_text("mine")
    with pytest.raises(WorktreeError, match=r"is no worktree of .*: move it away$"):
        trees.prepare("t1", "work/t1")
    assert (path / "precious").read_text() == "mine"


ONE = "1" * 40


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param("mv $OWN/worktrees $OWN/w; ln -s $AWAY $OWN/worktrees", id="its folder"),
        pytest.param("echo gitdir: $AWAY/t1 >.git", id="its pointer"),
        pytest.param("mv $OWN/worktrees/t1 $OWN; ln -s $AWAY/t1 $OWN/worktrees", id="itself"),
        pytest.param("rm .git; mkfifo .git", id="a pipe"),
        pytest.param("mv .git $OWN; ln -s $OWN/.git .git", id="a link"),
    ],
)
def test_a_worktree_that_its_agent_turned_elsewhere_is_not_followed(
    trees: GitWorktrees, remote: Path, turn: str
) -> None:
    path, away = trees.prepare("t1", "work/t1"), remote.parent / "away"
    (away / "t1" / "logs").mkdir(parents=True)
    for name in ("wavekeeper-made", "x.lock"):
        (away / "t1" / name).touch()
    (away / "t1" / "logs" / "HEAD").write_text(f"{'0' * 40} {ONE} A <a> 1 +0000\tcommit: x\n")
    env = {**os.environ, "OWN": f"{remote.parent}/state/agents/t1.git", "AWAY": str(away)}
    subprocess.run(["sh", "-ec", turn], cwd=path, env=env, check=True)
    with pytest.raises(WorktreeError, match=r"is no worktree of .*: move it away$"):
        trees.prepare("t1", "work/t1")
    assert (away / "t1" / "x.lock").exists()
    assert trees.made_in("t1") <= {ONE}


def test_a_checkout_is_what_the_remote_has_now(trees: Worktrees, seed: Path) -> None:
    path = trees.prepare("t1", "work/t1")
    commit(path, "first")
    push(path, "work/t1")
    (path / "README").write_text("not committed\n")
    commit(seed, "newer")
    there = commit(seed, "newest")
    git(seed, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/work/t1")
    seen = trees.checkout("t1", "work/t1")
    assert seen is not None
    assert (seen.commit, heads(seen.path)) == (there, (there, ""))
    assert sorted(one.name for one in seen.path.iterdir()) == [".git", "README", "newer", "newest"]
    assert (seen.path / "README").read_text() == "hello\n"
    assert git(seen.path, "status", "--porcelain") == ""


def test_checkouts_are_apart_and_go_away(trees: Worktrees) -> None:
    one, two = trees.checkout("t1", "main"), trees.checkout("t1", "main")
    assert one is not None
    assert two is not None
    assert one.path != two.path
    (one.path / "litter").mkdir()
    trees.discard(one)
    assert not one.path.exists()
    assert (two.path / "README").exists()
    trees.discard(one)


@pytest.mark.parametrize(
    ("branch", "there"),
    [
        pytest.param(None, True, id="the-default-branch"),
        pytest.param("main", True, id="by-name"),
        pytest.param("work/t1", False, id="never-pushed"),
        pytest.param("work", False, id="the-folder-of-a-branch"),
        pytest.param("in", False, id="the-end-of-a-name"),
    ],
)
def test_a_checkout_of_a_branch_that_is_not_there_is_none(
    trees: Worktrees, seed: Path, branch: str | None, *, there: bool
) -> None:
    push(seed, "work/t2")
    assert (trees.checkout("t1", branch) is not None) == there


def test_a_local_branch_of_a_worktree_is_not_the_remote(trees: Worktrees) -> None:
    path = trees.prepare("t1", "work/t1")
    commit(path, "claimed")
    for ref in ("refs/heads/work/t1", "refs/remotes/origin/work/t1"):
        git(path, "update-ref", ref, "HEAD")
    assert trees.checkout("t1", "work/t1") is None


def test_a_worktree_that_points_origin_elsewhere_fools_nobody(
    trees: Worktrees, tmp_path: Path
) -> None:
    path = trees.prepare("t1", "work/t1")
    true = commit(path, "true")
    push(path, "work/t1")
    git(tmp_path, "init", "--quiet", "--bare", "fake.git")
    git(path, "remote", "set-url", "origin", str(tmp_path / "fake.git"))
    commit(path, "claimed")
    for branch in ("work/t1", "work/t2"):
        push(path, branch)
    seen = trees.checkout("t1", "work/t1")
    assert seen is not None
    assert seen.commit == true
    assert trees.checkout("t1", "work/t2") is None


def test_what_an_agent_configures_is_not_in_force_for_the_judge(trees: Worktrees) -> None:
    git(trees.prepare("t1", "work/t1"), "config", "core.autocrlf", "true")
    seen = trees.checkout("t1", "main")
    assert seen is not None
    assert (seen.path / "README").read_bytes() == b"hello\n"


def test_no_hook_of_a_repository_runs(trees: Worktrees, remote: Path, tmp_path: Path) -> None:
    path = trees.prepare("t1", "work/t1")
    trap = tmp_path / "hooks"
    trap.mkdir()
    for hook in ("post-checkout", "reference-transaction", "fsmonitor-watchman"):
        (trap / hook).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (trap / hook).chmod(0o755)
    git(path, "config", "core.hooksPath", str(trap))
    git(path, "config", "core.fsmonitor", str(trap / "fsmonitor-watchman"))
    seen = trees.checkout("t1", "main")
    assert seen is not None
    trees.discard(seen)
    another(remote).prepare("t2", "work/t2")
    assert not (tmp_path / "ran").exists()


def test_a_host_inside_a_git_hook_works_on_its_own_clone(
    trees: Worktrees, seed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(seed / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(seed))
    monkeypatch.setenv("GIT_INDEX_FILE", str(seed / "no-index"))
    path = trees.prepare("t1", "work/t1")
    monkeypatch.undo()
    assert heads(path)[1] == ""
    assert git(seed, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize("branch", ["--upload-pack=x", "-f", "a b", "a:b", "*", "", "../x\n"])
def test_a_name_that_is_no_branch_is_refused(trees: Worktrees, branch: str) -> None:
    for ask in (trees.prepare, trees.checkout):
        with pytest.raises(WorktreeError, match="no usable branch name"):
            ask("t1", branch)


def test_a_head_that_nobody_pushed_is_no_default(trees: Worktrees, remote: Path) -> None:
    git(remote, "symbolic-ref", "HEAD", "refs/heads/trunk")
    assert trees.checkout("t1", None) is not None
    assert (trees.prepare("t1", "work/t1") / "README").exists()


def test_an_empty_remote(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    trees = another(tmp_path / "origin.git")
    assert trees.checkout("t1", None) is None
    with pytest.raises(WorktreeError, match=r"has no branch to start from: push one first$"):
        trees.prepare("t1", "work/t1")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param(
            "/no/such/place", "git ls-remote: fatal: '/no/such/place' does not", id="path"
        ),
        pytest.param(
            "http://ann:secret@127.0.0.1:9/x.git", "unable to access 'http://127.0.0.1", id="url"
        ),
        pytest.param("ext::sh -c 'touch ran'", "transport 'ext' not allowed", id="a-command"),
    ],
)
def test_a_remote_that_cannot_be_reached(tmp_path: Path, address: str, words: str) -> None:
    trees = GitWorktrees(address, tmp_path / "work", tmp_path / "state")
    with pytest.raises(WorktreeError, match=re.escape(words)) as caught:
        trees.prepare("t1", "work/t1")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_git_that_takes_too_long_is_ended(
    trees: Worktrees, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin"
    slow.mkdir()
    script = '#!/bin/sh\ncase "$*" in *"config --list"*) exit 0 ;; esac\nsleep 60 & wait\n'
    (slow / "git").write_text(script)
    (slow / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(slow), prepend=os.pathsep)
    monkeypatch.setattr("agent.adapters.common.git.LIMIT", 0.1)
    with pytest.raises(WorktreeError, match=r"git init took longer than 0\.1 s"):
        trees.prepare("t1", "work/t1")


def test_a_state_folder_that_cannot_be_written(remote: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    trees = GitWorktrees(str(remote), tmp_path / "work", tmp_path / "file" / "state")
    with pytest.raises(WorktreeError, match=f"Not a directory: {tmp_path}/file/state"):
        trees.prepare("t1", "work/t1")


def test_checkouts_of_dead_hosts_are_cleared_away(trees: Worktrees, remote: Path) -> None:
    kept = trees.checkout("t1", "main")
    assert kept is not None
    with subprocess.Popen(["true"]) as dead:
        pass
    left = kept.path.with_name(f"t1-{dead.pid}-0123abcd")
    kept.path.with_name("not-ours").mkdir()
    left.mkdir()
    assert another(remote).checkout("t2", "main") is not None
    assert not left.exists()
    assert kept.path.exists()
    assert kept.path.with_name("not-ours").exists()


def test_one_host_at_a_time(trees: Worktrees, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = trees.prepare("t1", "work/t1").parents[1] / "state" / "lock"
    monkeypatch.setattr(worktrees, "_LOCK_LIMIT", 0.1)
    with lock.open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(WorktreeError, match=r"state is busy for over 0\.1 s"):
            trees.checkout("t1", "main")
    assert trees.checkout("t1", "main") is not None


@pytest.fixture
def busy_agents(trees: Worktrees) -> Iterator[None]:
    """An agent that commits and pushes all the time, from a clone that borrows the same objects."""
    path, stop = trees.prepare("busy", "work/busy"), threading.Event()

    def work() -> None:
        for number in range(1000):
            if stop.is_set():
                return
            commit(path, "busy", f"{number}\n")
            push(path, "work/busy")

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_what_an_agent_does_to_its_clone_reaches_nobody_else(
    trees: Worktrees, remote: Path, tmp_path: Path
) -> None:
    path = trees.prepare("t1", "work/t1")
    (tmp_path / "precious").write_text("mine")
    own = remote.parent / "state" / "agents" / "t1.git"
    git(path, "config", "filter.evil.smudge", f"touch {tmp_path}/ran")
    forged = commit(path, "forged")
    git(path, "update-ref", "refs/remotes/origin/main", forged)
    (own / "config").unlink()
    (own / "config").symlink_to(tmp_path / "precious")
    trees.prepare("t1", "work/t1")
    assert (tmp_path / "precious").read_text() == "mine"
    assert git(path, "config", "remote.origin.url") == str(remote)
    other = trees.prepare("t2", "work/t2")
    assert not (other / "forged").exists()
    seen = trees.checkout("t1", "main")
    assert seen is not None
    assert (seen.path / "README").read_text() == "hello\n"
    shared = remote.parent / "state" / "origin.git" / "objects"
    assert not (shared / forged[:2] / forged[2:]).exists()
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("busy_agents")
def test_hosts_and_agents_share_one_clone(remote: Path) -> None:
    faults: list[Exception] = []

    def host(number: int) -> None:
        trees = another(remote)
        try:
            for turn in range(2):
                path = trees.prepare(f"t{number}-{turn}", "work/x")
                commit(path, "mine", f"{number}\n")
                push(path, f"work/{number}-{turn}")
                seen = trees.checkout(f"t{number}-{turn}", f"work/{number}-{turn}")
                assert seen is not None
                assert seen.commit == heads(path)[0]
                trees.discard(seen)
        except Exception as fault:  # noqa: BLE001 - shown by the assertion below
            faults.append(fault)

    hosts = [threading.Thread(target=host, args=(number,)) for number in range(2)]
    for one in hosts:
        one.start()
    for one in hosts:
        one.join()
    assert faults == []


def test_what_was_committed_in_a_worktree_is_told_from_what_came_into_it(
    remote: Path, seed: Path
) -> None:
    trees = another(remote)
    assert trees.made_in("t1") == frozenset()
    path = trees.prepare("t1", "work/t1")
    assert trees.made_in("t1") == frozenset()
    own = commit(path, "mine")
    amended = commit(path, "mine, too")
    theirs = commit(seed, "somebody else's")
    push(seed, "main")
    git(path, "fetch", "-q", "origin")
    git(path, "reset", "-q", "--hard", theirs)
    assert trees.made_in("t1") == {own, amended}
    assert trees.made_in("t2") == frozenset()


def test_a_lock_that_a_killed_git_left_does_not_stop_the_next_attempt(remote: Path) -> None:
    trees = another(remote)
    path = trees.prepare("t1", "work/t1")
    folder = Path(git(path, "rev-parse", "--absolute-git-dir"))
    common = Path(git(path, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    for lock in (folder / "index.lock", folder / "HEAD.lock", common / "refs" / "x.lock"):
        lock.touch()
    assert trees.prepare("t1", "work/t1") == path
    assert commit(path, "goes on")
    assert not [*common.rglob("*.lock")]
