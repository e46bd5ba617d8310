"""The judge's checkouts hold what is on the remote, whoever pushed it or wrote into them."""

import os
import shutil
import subprocess
import threading

import pytest

from agent.adapters.git.checkouts import GitCheckouts
from agent.core.assess.write_scopes import covers
from agent.errors import UnusableCommitError, WorktreeError
from tests.adapters.git_origin import BRANCH, Origin


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    origin = Origin.new(tmp_path_factory.mktemp("pattern"))
    origin.write("tests/test_a.py", "a\n")
    origin.write("tests/deep/test_b.py", "b\n")
    origin.commit()
    origin.push("main")
    origin.pushed("src/one.py")
    return origin


@pytest.fixture
def origin(pattern, tmp_path):
    return pattern.copy(tmp_path)


@pytest.fixture
def judge(origin, tmp_path):
    return GitCheckouts(str(origin.bare), tmp_path / "judge")


def nothing(_, __):
    return False


def files(path):
    found = (one.relative_to(path) for one in path.rglob("*") if not one.is_dir())
    return {str(one) for one in found if one.parts[0] != ".git"}


def base_of(origin):
    return origin.git("rev-parse", "main")


def gone(origin, commit):
    """The remote forgets what no branch leads to."""
    origin.at(origin.bare, "reflog", "expire", "--expire=now", "--all")
    origin.at(origin.bare, "gc", "-q", "--prune=now")
    with pytest.raises(subprocess.CalledProcessError):
        origin.at(origin.bare, "cat-file", "-e", commit)


def test_a_checkout_is_the_commit_and_its_git_answers(origin, judge):
    commit = judge.find(BRANCH, None)
    assert commit == origin.git("rev-parse", BRANCH)
    prepared = judge.prepare(commit, base_of(origin), ())
    assert (prepared.changed, prepared.restored) == (("src/one.py",), ())
    with judge.checkout(prepared) as checkout:
        path = checkout.path
        assert (path / "src/one.py").read_text() == "changed\n"
        assert origin.at(path, "rev-parse", "HEAD").strip() == commit
        assert origin.at(path, "status", "--porcelain") == ""
        assert origin.at(path, "log", "--oneline").count("\n") == 3
        assert origin.at(path, "remote") == ""
    assert not path.exists()


@pytest.mark.parametrize("branch", [BRANCH, "never", None])
def test_a_commit_is_found_wherever_the_remote_has_it(origin, judge, branch):
    commit = origin.git("rev-parse", BRANCH)
    assert judge.find(branch, commit) == commit
    assert judge.find(branch, base_of(origin)) == base_of(origin)


def test_a_commit_that_was_pushed_over_is_fetched_by_its_id(origin, judge):
    commit = origin.git("rev-parse", BRANCH)
    origin.branch(start="main")
    origin.write("src/two.py", "2\n")
    origin.commit()
    origin.push()
    assert judge.find(BRANCH, commit) == commit
    with judge.checkout(judge.prepare(commit, None, ())) as checkout:
        assert (checkout.path / "src/one.py").read_text() == "changed\n"


def test_a_commit_that_the_remote_has_forgotten_is_not_found_even_if_we_know_it(origin, judge):
    commit = judge.find(BRANCH, None)
    origin.git("push", "-q", "origin", f":{BRANCH}")
    gone(origin, commit)
    assert judge.find(BRANCH, commit) is None
    assert judge.find(BRANCH, None) is None


@pytest.mark.parametrize("commit", ["c0ffee", "HEAD", "--upload-pack=x", "f" * 40])
def test_what_is_no_commit_of_the_remote_is_not_found(judge, commit):
    assert judge.find(BRANCH, commit) is None


def test_a_branch_may_take_the_place_of_another(origin, judge):
    assert judge.find(BRANCH, None)
    origin.git("push", "-q", "origin", f":{BRANCH}", f"HEAD:refs/heads/{BRANCH}/deeper")
    assert judge.find(f"{BRANCH}/deeper", None)


def test_a_remote_without_a_branch_has_nothing(tmp_path):
    origin = Origin.empty(tmp_path)
    assert GitCheckouts(str(origin.bare), tmp_path / "judge").find(None, None) is None


def test_a_remote_that_is_away_is_an_error(origin, judge):
    shutil.move(origin.bare, origin.bare.with_name("away"))
    with pytest.raises(WorktreeError) as error:
        judge.find(BRANCH, None)
    assert "\n" not in str(error.value)


PROTECTED = ("tests/**", "top.py")


def rewrite(origin):
    origin.write("tests/test_a.py", "weaker\n")


def remove(origin):
    origin.git("rm", "-q", "tests/test_a.py")


def add(origin):
    origin.write("tests/conftest.py", "skip everything\n")


def link(origin):
    origin.git("rm", "-q", "tests/test_a.py")
    (origin.work / "tests").mkdir(exist_ok=True)
    (origin.work / "tests/test_a.py").symlink_to("../src/one.py")
    origin.git("add", "tests/test_a.py")


def link_folder(origin):
    origin.git("rm", "-qr", "tests")
    origin.write("mine/test_a.py", "weaker\n")
    (origin.work / "tests").symlink_to("mine")
    origin.git("add", "tests")


def folder_for_file(origin):
    origin.git("rm", "-q", "tests/test_a.py")
    origin.write("tests/test_a.py/x", "weaker\n")


def mode(origin):
    origin.git("update-index", "--chmod=+x", "tests/test_a.py")


@pytest.mark.parametrize(
    ("act", "restored", "rest"),
    [
        pytest.param(rewrite, {"tests/test_a.py"}, set(), id="rewritten"),
        pytest.param(remove, {"tests/test_a.py"}, set(), id="removed"),
        pytest.param(add, {"tests/conftest.py"}, set(), id="added"),
        pytest.param(link, {"tests/test_a.py"}, set(), id="a-symbolic-link"),
        pytest.param(
            link_folder,
            {"tests", "tests/test_a.py", "tests/deep/test_b.py"},
            {"mine/test_a.py"},
            id="a-folder-that-leads-elsewhere",
        ),
        pytest.param(
            folder_for_file, {"tests/test_a.py", "tests/test_a.py/x"}, set(), id="a-folder"
        ),
        pytest.param(mode, {"tests/test_a.py"}, set(), id="another-mode"),
        pytest.param(lambda _: None, set(), set(), id="untouched"),
    ],
)
def test_protected_paths_are_as_on_the_base(origin, judge, act, restored, rest):
    act(origin)
    origin.commit()
    origin.push()
    commit = judge.find(BRANCH, None)
    prepared = judge.prepare(commit, judge.find(None, None), PROTECTED)
    assert set(prepared.restored) == restored
    with judge.checkout(prepared) as checkout:
        path = checkout.path
        kept = {"README.md", "other/one.py", "src/one.py"}
        assert files(path) == kept | {"tests/test_a.py", "tests/deep/test_b.py"} | rest
        assert (path / "tests/test_a.py").read_text() == "a\n"
        assert not (path / "tests").is_symlink()
        assert not (path / "tests/test_a.py").is_symlink()
        assert not os.access(path / "tests/test_a.py", os.X_OK)
        assert (path / "src/one.py").read_text() == "changed\n"
        assert list(checkout.restore(nothing)) == []


def test_links_of_both_sides_are_known(origin, judge):
    (origin.work / "new").symlink_to("src")
    (origin.work / "same").symlink_to("src")
    origin.git("add", "new", "same")
    origin.commit()
    origin.push()
    prepared = judge.prepare(judge.find(BRANCH, None), base_of(origin), ())
    assert prepared.links == {"new": "src", "same": "src"}


ATTRIBUTES = """\
*.py filter=evil
*.md text eol=crlf
*.txt working-tree-encoding=UTF-16
*.id ident
"""


def test_no_attribute_filter_or_hook_of_the_commit_has_a_say(origin, judge, tmp_path, monkeypatch):
    """Even if an agent has written a filter into the configuration of the user that it shares."""
    ran = tmp_path / "ran"
    home = tmp_path / "home"
    home.mkdir()
    hooks = home / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (hooks / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[filter "evil"]\n\tsmudge = touch {ran}; cat\n\tclean = touch {ran}; cat\n'
        f"[core]\n\thooksPath = {hooks}\n\tautocrlf = true\n"
        f'[url "{tmp_path}/elsewhere"]\n\tinsteadOf = {origin.bare}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    contents = {"a.py": "x\n", "a.md": "y\n", "a.txt": "z\n", "a.id": "$Id$\n"}
    origin.write(".gitattributes", ATTRIBUTES)
    for name, text in contents.items():
        one = origin.at(origin.work, "hash-object", "-w", "--stdin", data=text.encode()).strip()
        origin.index("100644", one, name)
    origin.git("commit", "-q", "-m", "tricks")
    origin.push()
    with judge.checkout(judge.prepare(judge.find(BRANCH, None), None, ())) as checkout:
        assert {n: (checkout.path / n).read_bytes().decode() for n in contents} == contents
        (checkout.path / "a.py").write_text("mine\n")
        assert list(checkout.restore(nothing)) == ["a.py"]
    assert not ran.exists()


def edit(path):
    (path / "tests/test_a.py").write_text("weaker\n")


def edit_secretly(path):
    """Of the same size and with the same times."""
    file = path / "tests/test_a.py"
    before = file.stat()
    file.write_text("b\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def delete(path):
    (path / "tests/test_a.py").unlink()


def replace_by_folder(path):
    (path / "tests/test_a.py").unlink()
    (path / "tests/test_a.py").mkdir()
    (path / "tests/test_a.py/x").touch()


def replace_by_link(path):
    shutil.move(path / "tests", path.parent / "elsewhere")
    (path / "tests").symlink_to(path.parent / "elsewhere")
    (path.parent / "elsewhere/test_a.py").write_text("weaker\n")


def lock_away(path):
    (path / "tests/test_a.py").write_text("weaker\n")
    (path / "tests").chmod(0)


def poison_git(path):
    (path / "tests/test_a.py").write_text("weaker\n")
    (path / ".git/config").write_text("[core]\n\tfsmonitor = false\n\tworktree = /\n[broken\n")
    (path / ".git/info/attributes").write_text("*.py filter=evil\n")
    (path / ".git/index").unlink()


def poison_index(path):
    """The one that our own git compares with."""
    edit(path)
    env = {**os.environ, "GIT_INDEX_FILE": str(path.parent / "index")}
    subprocess.run(["git", "add", "tests/test_a.py"], cwd=path, env=env, check=True)


def swap_git(path):
    edit(path)
    shutil.rmtree(path / ".git")
    (path / ".git").symlink_to("/")


@pytest.mark.parametrize(
    "act",
    [
        edit, edit_secretly, delete, replace_by_folder, replace_by_link, lock_away, poison_git,
        poison_index, swap_git,
    ],
    ids=lambda one: one.__name__,
)  # fmt: skip
def test_what_a_command_changed_is_put_back(origin, judge, act):
    commit = judge.find(BRANCH, None)
    with judge.checkout(judge.prepare(commit, None, ())) as checkout:
        path = checkout.path
        act(path)
        assert "tests/test_a.py" in checkout.restore(nothing)
        assert not (path / "tests").is_symlink()
        assert (path / "tests/test_a.py").read_text() == "a\n"
        assert origin.at(path, "rev-parse", "HEAD").strip() == commit
        assert origin.at(path, "status", "--porcelain") == ""
        assert list(checkout.restore(nothing)) == []


def test_what_a_command_built_stays_and_what_is_unwanted_goes(judge):
    with judge.checkout(judge.prepare(judge.find(BRANCH, None), None, ())) as checkout:
        path = checkout.path
        (path / "build").mkdir()
        (path / "build/out").touch()
        (path / "tests/conftest.py").write_text("skip everything\n")
        (path / "tests/more").symlink_to("/")
        before = (path / "src/one.py").stat().st_mtime_ns
        assert list(checkout.restore(lambda name, _: covers(PROTECTED, name))) == []
        assert (path / "build/out").exists()
        assert not (path / "tests/conftest.py").exists()
        assert not (path / "tests/more").is_symlink()
        assert (path / "src/one.py").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", [".git/config", "a" * 300])
def test_a_commit_that_no_machine_can_check_out_is_told_from_a_fault_of_ours(origin, judge, name):
    one = origin.at(origin.work, "hash-object", "-w", "--stdin", data=b"x").strip()
    data = f"100644 blob {one}\t{name.split('/')[-1]}\0".encode()
    tree = origin.at(origin.work, "mktree", "-z", data=data).strip()
    if "/" in name:
        data = f"040000 tree {tree}\t{name.split('/')[0]}\0".encode()
        tree = origin.at(origin.work, "mktree", "-z", data=data).strip()
    commit = origin.git("commit-tree", tree, "-m", "x")
    origin.git("push", "-q", "-f", "origin", f"{commit}:refs/heads/{BRANCH}")
    prepared = judge.prepare(judge.find(BRANCH, None), None, ())
    with pytest.raises(UnusableCommitError) as error, judge.checkout(prepared):
        pass
    assert "\n" not in str(error.value)
    assert list((judge.clone.parent / "checkouts").iterdir()) == []


def test_a_pointer_of_git_lfs_is_not_followed_unless_configured(origin, judge):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5\n"
    origin.write("picture.bin", pointer)
    origin.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    origin.commit()
    origin.push()
    with judge.checkout(judge.prepare(judge.find(BRANCH, None), None, ())) as checkout:
        assert (checkout.path / "picture.bin").read_text() == pointer


@pytest.mark.skipif(not shutil.which("git-lfs"), reason="git-lfs is not installed")
def test_files_of_git_lfs_are_fetched_from_the_remote_where_configured(origin, tmp_path):
    for name, value in {"clean": "git-lfs clean -- %f", "required": "true"}.items():
        origin.git("config", f"filter.lfs.{name}", value)
    origin.git("remote", "set-url", "origin", f"file://{origin.bare}")
    origin.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    origin.write("picture.bin", "x" * 5000)
    origin.commit()
    origin.git("lfs", "push", "--all", "origin", BRANCH)
    origin.push()
    judge = GitCheckouts(f"file://{origin.bare}", tmp_path / "judge", lfs=True)
    with judge.checkout(judge.prepare(judge.find(BRANCH, None), None, ())) as checkout:
        assert (checkout.path / "picture.bin").stat().st_size == 5000
        (checkout.path / "picture.bin").write_text("mine")
        assert list(checkout.restore(nothing)) == ["picture.bin"]
        assert (checkout.path / "picture.bin").stat().st_size == 5000


@pytest.mark.parametrize("wanted", [True, False])
def test_submodules_are_filled_where_configured(origin, tmp_path, wanted):
    (tmp_path / "other").mkdir()
    other = Origin.new(tmp_path / "other")
    allowed = ("-c", "protocol.file.allow=always")
    origin.git(*allowed, "submodule", "--quiet", "add", "./../other/origin.git", "lib")
    origin.commit()
    origin.push()
    judge = GitCheckouts(str(origin.bare), tmp_path / "judge", submodules=wanted)
    with judge.checkout(judge.prepare(judge.find(BRANCH, None), None, ())) as checkout:
        path = checkout.path
        for _ in range(2):
            assert (path / "lib/src/one.py").exists() == wanted
            assert list(checkout.restore(lambda name, _: covers(("lib/**",), name))) == []
        if wanted:
            head = origin.at(path / "lib", "rev-parse", "HEAD").strip()
            assert head == other.git("rev-parse", "main")


def test_what_a_killed_host_left_is_removed_and_what_another_one_uses_stays(judge, tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / "judge/checkouts"
    for owner in (dead.pid, os.getppid()):
        (left / f"{owner}-0123abcd/tree").mkdir(parents=True)
    (left / f"{dead.pid}-0123abcd/tree").chmod(0)
    judge.find(None, None)
    assert [one.name for one in left.iterdir()] == [f"{os.getppid()}-0123abcd"]


def test_several_hosts_share_the_folder(origin, tmp_path):
    commit = origin.git("rev-parse", BRANCH)
    faults = []

    def work():
        own = GitCheckouts(str(origin.bare), tmp_path / "judge")
        try:
            found = own.find(BRANCH, commit)
            with own.checkout(own.prepare(found, base_of(origin), PROTECTED)) as checkout:
                assert (checkout.path / "src/one.py").read_text() == "changed\n"
        except Exception as error:  # noqa: BLE001 - shown below
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_an_objects_replacement_is_not_followed(origin, judge):
    """A command has found our repository and written into it: `git replace`."""
    commit = judge.find(BRANCH, None)
    one = origin.at(judge.clone, "rev-parse", f"{commit}:src/one.py").strip()
    other = origin.at(judge.clone, "hash-object", "-w", "--stdin", data=b"evil\n").strip()
    origin.at(judge.clone, "replace", one, other)
    with judge.checkout(judge.prepare(commit, None, ())) as checkout:
        assert (checkout.path / "src/one.py").read_text() == "changed\n"
