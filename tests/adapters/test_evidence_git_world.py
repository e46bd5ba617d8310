"""The world around the probe: remotes that do not answer, other processes, odd environments."""

import fcntl
import os
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.adapters.git_origin import BRANCH, Origin, Prober


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    return Origin.new(tmp_path_factory.mktemp("pattern"))


@pytest.fixture
def origin(pattern, tmp_path):
    return pattern.copy(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "evidence"


@pytest.fixture
def probe(origin, folder):
    return Prober(origin.bare, folder)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What git was called for: a stand-in writes it down and starts the real one."""
    log, real = tmp_path / "calls", shutil.which("git")
    script = tmp_path / "bin" / "git"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {real} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")

    def read():
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        names = ("init", "ls-remote", "fetch")
        return [line for line in lines for name in names if f" {name} " in f" {line}"]

    return read


def unknown(answers, words):
    assert [one.holds for one in answers] == [None, None]
    assert [one.value for one in answers] == [None, None]
    assert all(words in one.detail for one in answers)
    assert all("secret" not in one.detail for one in answers)


def test_one_fetch_of_two_branches_and_then_only_a_question(origin, probe, calls):
    origin.pushed("src/one.py")
    calls()
    first = probe()
    init, asked, fetched = calls()
    assert init.startswith("init ")
    assert asked.endswith("HEAD refs/heads/*")
    words = fetched.split()
    assert [word.split(":")[0] for word in words[words.index("--") + 2 :]] == [
        "+refs/heads/main",
        f"+refs/heads/{BRANCH}",
    ]

    assert probe() == first
    [asked] = calls()
    assert " ls-remote " in asked

    origin.write("src/two.py", "2\n")
    head = origin.commit()
    origin.push()
    calls()
    assert [one.value for one in probe()] == [head, head]
    assert len(calls()) == 2


def test_another_scope_is_another_question(origin, probe):
    origin.pushed("src/one.py")
    assert probe()[1].holds is True
    assert probe(write_scope=("docs/**",))[1].holds is False


def test_a_remote_that_goes_and_comes_back(origin, probe):
    origin.pushed("src/one.py")
    first = probe()
    moved = origin.bare.rename(origin.bare.with_name("gone.git"))
    unknown(probe(), "does not appear to be a git repository")
    moved.rename(origin.bare)
    assert probe() == first


def test_a_remote_that_never_answers(folder):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        began = monotonic()
        answers = Prober(f"git://127.0.0.1:{port}/origin.git", folder, timeout=0.3)()
        assert monotonic() - began < 5
    unknown(answers, "git ls-remote took longer than 0.3 s")


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        pytest.param("http://me:secret@127.0.0.1:1/x.git", "git ls-remote: fatal:", id="refused"),
        pytest.param("git://me:secret@127.0.0.1:1/x", "git ls-remote: fatal:", id="no such host"),
        pytest.param("--upload-pack=touch {mark}", "git ls-remote: fatal:", id="an option"),
        pytest.param("/no/such/remote", "git ls-remote: fatal:", id="nowhere"),
    ],
)
def test_a_remote_that_is_none(tmp_path, folder, remote, words):
    mark = tmp_path / "mark"
    unknown(Prober(remote.format(mark=mark), folder)(), words)
    assert not mark.exists()


def test_a_remote_with_another_kind_of_commit_ids(tmp_path, folder):
    bare = tmp_path / "sha256.git"
    Origin.at(tmp_path, "init", "-q", "--bare", "--object-format=sha256", str(bare))
    tree = Origin.at(bare, "hash-object", "-w", "-t", "tree", "--stdin", data=b"").strip()
    commit = Origin.at(bare, "commit-tree", "-m", "a commit", tree).strip()
    Origin.at(bare, "update-ref", f"refs/heads/{BRANCH}", commit)
    unknown(Prober(bare, folder)(), "git fetch: fatal:")


class AsksForAPassword(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="origin"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_remote_that_asks_for_a_password(folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), AsksForAPassword) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/x.git"
            unknown(Prober(address, folder)(), "terminal prompts disabled")
        finally:
            server.shutdown()
            thread.join()


STUBBORN = """#!/bin/sh
case "$*" in *ls-remote*) ;; *) exec {real} "$@" ;; esac
trap '' TERM
sleep 600 &
echo $! > {folder}/child
echo $$ > {folder}/git
while :; do sleep 0.05; done
"""


def test_a_git_that_will_not_end_is_killed_with_what_it_started(
    origin, folder, monkeypatch, tmp_path
):
    script = tmp_path / "bin" / "git"
    script.parent.mkdir()
    script.write_text(STUBBORN.format(real=shutil.which("git"), folder=tmp_path))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("agent.adapters.common.process._GRACE", 0.2)
    unknown(Prober(origin.bare, folder, timeout=0.5)(), "took longer than 0.5 s")
    for name in ("git", "child"):
        pid = int((tmp_path / name).read_text())
        wait_until(lambda pid=pid: not runs(pid))


def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_until(true):
    deadline = monotonic() + 10
    while not true():
        assert monotonic() < deadline
        sleep(0.01)


def test_no_git(probe, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    unknown(probe(), "No such file or directory: 'git'")


def test_a_folder_that_cannot_be_made(origin, tmp_path):
    (tmp_path / "file").write_text("")
    unknown(Prober(origin.bare, tmp_path / "file" / "evidence")(), "Not a directory")


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"GIT_DIR": "{other}/.git"}, id="GIT_DIR"),
        pytest.param({"GIT_DIR": "{other}/.git", "GIT_WORK_TREE": "{other}"}, id="in a hook"),
        pytest.param({"GIT_OBJECT_DIRECTORY": "{other}/x"}, id="objects elsewhere"),
        pytest.param({"GIT_NAMESPACE": "other"}, id="a namespace"),
        pytest.param({"GIT_TRACE": "1", "GIT_TRACE_SETUP": "1"}, id="traces"),
        pytest.param({"LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de"}, id="another language"),
    ],
)
def test_the_environment_does_not_lead_elsewhere(origin, probe, monkeypatch, variables):
    head = origin.pushed("src/one.py")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(other=origin.work))
    assert [one.value for one in probe()] == [head, head]
    assert probe(branch="nobodys")[0].detail == "origin has no branch nobodys"


def configure(monkeypatch, **settings):
    """What a user may have in their own settings of git."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
    for number, (name, value) in enumerate(settings.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name.replace("_", "."))
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)


def test_the_users_settings_hide_nothing(origin, probe, monkeypatch):
    configure(
        monkeypatch,
        diff_renames="copies",
        diff_ignoreSubmodules="all",
        diff_noprefix="true",
        fetch_prune="true",
        fetch_recurseSubmodules="true",
    )
    origin.branch()
    origin.git("mv", "other/one.py", "src/moved.py")
    origin.index("160000", origin.git("rev-parse", "HEAD"), "vendored")
    origin.commit()
    origin.push()
    assert probe()[1].detail == (
        "2 of 3 changed paths outside the write scope, first `other/one.py`"
    )


def test_the_users_settings_allow_no_command(tmp_path, folder, monkeypatch):
    configure(monkeypatch, protocol_ext_allow="always")
    unknown(Prober(f"ext::touch {tmp_path}/mark", folder)(), "transport 'ext' not allowed")
    assert not (tmp_path / "mark").exists()


def test_no_hook_is_run(origin, probe, folder, tmp_path):
    probe()
    hook = folder / "mirror.git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    origin.pushed("src/one.py")
    assert probe()[0].holds is True
    assert not (tmp_path / "hooked").exists()


def test_a_relative_remote_is_meant_from_where_we_started(origin, folder, monkeypatch, tmp_path):
    origin.pushed("src/one.py")
    monkeypatch.chdir(tmp_path)
    probe = Prober("origin.git", folder)
    monkeypatch.chdir("/")
    assert probe()[0].holds is True


def test_the_folder_we_started_in_may_go(origin, probe, monkeypatch, tmp_path):
    origin.pushed("src/one.py")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert probe()[0].holds is True


def test_a_lost_mirror_is_made_again(origin, probe, folder):
    origin.pushed("src/one.py")
    assert probe()[0].holds is True
    shutil.rmtree(folder)
    origin.pushed("src/two.py")
    assert probe()[0].holds is True


@pytest.mark.parametrize(
    ("age", "holds"),
    [pytest.param(3_600, True, id="of a killed git"), pytest.param(0, None, id="in use")],
)
def test_lock_files_of_git(origin, probe, folder, age, holds):
    origin.pushed("src/one.py")
    probe()
    origin.pushed("src/two.py")
    [*refs] = (folder / "mirror.git" / "refs" / "evidence").iterdir()
    for ref in refs:
        lock = ref.with_name(f"{ref.name}.lock")
        lock.touch()
        os.utime(lock, (lock.stat().st_atime, lock.stat().st_mtime - age))
    answers = probe()
    assert answers[0].holds is holds
    if holds is None:
        unknown(answers, "git fetch: error:")


def test_a_mirror_that_is_busy(origin, folder):
    origin.pushed("src/one.py")
    probe = Prober(origin.bare, folder, timeout=0.2)
    probe.evidence._make_mirror()
    with (folder / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        unknown(probe(), f"another process kept {folder} for over 0.2 s")


def test_many_probers_share_one_mirror(origin, folder):
    origin.pushed("src/one.py")
    heads = {}
    for number in range(4):
        origin.branch(f"wave/{number}", "main")
        origin.write(f"src/{number}.py", "x\n")
        heads[f"wave/{number}"] = origin.commit()
    origin.push(*heads)
    found = {}

    def look(branch):
        found[branch] = [one.value for one in Prober(origin.bare, folder)(branch=branch)]

    threads = [threading.Thread(target=look, args=(branch,)) for branch in heads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {branch: [head, head] for branch, head in heads.items()}
