"""What of the person's configuration is kept: how a remote is reached. And what an error says."""

import os
import threading
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent.adapters.common import git
from agent.errors import WorktreeError
from tests.adapters.git_origin import Origin

COMMIT = "1" * 40
BASIC = "Basic " + b64encode(b"ann:secret").decode()
BEARER = "Bearer secret"


class Guarded(BaseHTTPRequestHandler):
    """A remote with one branch, for whoever shows that they may read it."""

    def do_GET(self):
        self.server.asked.append(self.path)
        known = self.headers["Authorization"] in (BASIC, BEARER)
        body = (
            f"{COMMIT}\trefs/heads/main\n" if "info/refs" in self.path else "ref: refs/heads/main"
        )
        self.send_response(200 if known else 401)
        if not known:
            self.send_header("WWW-Authenticate", 'Basic realm="origin"')
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@contextmanager
def guarded():
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty one; nothing of whoever runs the tests is in force."""
    for name in list(os.environ):
        if name.startswith(("GIT_", "SSH_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


def program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


HELPER = 'helper = "!f() { echo username=ann; echo password=secret; }; f"'
WAYS = {
    "a helper": {".gitconfig": f"[credential]\n{HELPER}"},
    "a helper of one host": {".gitconfig": '[credential "{address}"]\n' + HELPER},
    "a helper after others": {".gitconfig": f"[credential]\nhelper = !false\nhelper =\n{HELPER}"},
    "in the other place": {".config/git/config": f"[credential]\n{HELPER}"},
    "included": {".gitconfig": "[include]\npath = other", "other": f"[credential]\n{HELPER}"},
    "included for this repository": {
        ".gitconfig": '[includeIf "gitdir:{folder}/"]\npath = other',
        "other": f"[credential]\n{HELPER}",
    },
    "a header": {".gitconfig": f'[http "{{address}}"]\nextraHeader = Authorization: {BEARER}'},
    "a program that is asked": {".gitconfig": "[core]\naskPass = {asks}"},
    "a variable that names it": {"GIT_ASKPASS": "{asks}"},
    "variables": {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: {BEARER}",
    },
}


@pytest.mark.parametrize("way", [pytest.param(way, id=name) for name, way in WAYS.items()])
def test_credentials_are_kept(way, home, tmp_path, monkeypatch):
    script = 'case "$1" in User*) echo ann ;; *) echo secret ;; esac'
    asks = str(program(tmp_path / "asks", script))
    mirror = tmp_path / "mirrors" / "mirror.git"
    mirror.parent.mkdir()
    git.run("init", "--bare", "-q", str(mirror), folder=tmp_path)
    with guarded() as (_, address):
        asked = ("ls-remote", "--", f"{address}/x.git", "refs/heads/main")
        with pytest.raises(git.GitError, match="terminal prompts disabled"):
            git.run(*asked, folder=tmp_path, git_dir=mirror)
        fills = {"{address}": address, "{asks}": asks, "{folder}": str(mirror.parent)}
        for name, text in way.items():
            for place, value in fills.items():
                text = text.replace(place, value)  # noqa: PLW2901 - filled step by step
            if name.startswith("GIT_"):
                monkeypatch.setenv(name, text)
            else:
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                (home / name).write_text(f"{text}\n")
        # It was refused, so the next call looks what has changed.
        assert git.run(*asked, folder=tmp_path, git_dir=mirror) == f"{COMMIT}\trefs/heads/main\n"


def test_a_proxy_is_kept(home, tmp_path):
    with guarded() as (server, address):
        (home / ".gitconfig").write_text(
            f"[http]\nproxy = {address}\nextraHeader = Authorization: {BEARER}\n"
        )
        said = git.run("ls-remote", "--", "http://nowhere.invalid/x.git", folder=tmp_path)
        assert COMMIT in said
        assert server.asked[0].startswith("http://nowhere.invalid/x.git/info/refs")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(".gitconfig", "[core]\nsshCommand = {ssh}", id="setting"),
        pytest.param("GIT_SSH_COMMAND", "{ssh}", id="command"),
        pytest.param("GIT_SSH", "{ssh}", id="program"),
    ],
)
def test_the_way_to_ssh_is_kept(name, text, home, tmp_path, monkeypatch):
    ssh = program(tmp_path / "ssh", f'echo "$@" >{tmp_path}/called; echo nobody there >&2; exit 1')
    text = text.replace("{ssh}", str(ssh))
    if name.startswith("GIT_"):
        monkeypatch.setenv(name, text)
    else:
        (home / name).write_text(text)
    with pytest.raises(git.GitError, match="git ls-remote: fatal: Could not read from remote"):
        git.run("ls-remote", "ssh://example.invalid/x.git", folder=tmp_path)
    assert "git-upload-pack '/x.git'" in (tmp_path / "called").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folders_of_others_that_are_safe_are_kept_so(home, tmp_path):
    origin = Origin.new(tmp_path)
    bare = origin.bare.rename(tmp_path / 'a "quoted" \\ name.git')
    os.chown(bare, 4321, 4321)
    with pytest.raises(git.GitError, match="dubious ownership"):
        git.run("ls-remote", "--", str(bare), folder=tmp_path)
    Origin.at(tmp_path, "config", "--file", str(home / ".gitconfig"), "safe.directory", str(bare))
    assert "refs/heads/main" in git.run("ls-remote", "--", str(bare), folder=tmp_path)
    assert git.run("rev-parse", "main", folder=bare)


ERRORS = [
    pytest.param(
        ("ls-remote", "http://ann:p@ss@127.0.0.1:9/x"),
        "git ls-remote: fatal: unable to access 'http://127.0.0.1:9/x/'",
        id="no password",
    ),
    pytest.param(
        ("ls-remote", "no\x1b[2Jwhere"),
        "git ls-remote: fatal: 'no?[2Jwhere' does not appear",
        id="no colours",
    ),
    pytest.param(("rev-parse", "HEAD"), "git rev-parse: fatal: not a git repository", id="nowhere"),
    pytest.param(("none-such",), "git none-such: git: 'none-such' is not a git", id="no command"),
]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("arguments", "words"), ERRORS)
def test_an_error_is_one_line_without_secrets(arguments, words, tmp_path):
    with pytest.raises(WorktreeError) as caught:
        git.run(*arguments, folder=tmp_path)
    assert str(caught.value).startswith(words)
    assert str(caught.value).isprintable()
    assert "p@" not in str(caught.value)


def test_a_configuration_that_git_cannot_read_is_named(home, tmp_path):
    (home / ".gitconfig").write_text("[core\n")
    with pytest.raises(
        git.GitError, match=r"git config: fatal: bad config line 1 in file .*config"
    ):
        git.run("ls-remote", str(tmp_path), folder=tmp_path)


@pytest.mark.usefixtures("home")
def test_other_exit_codes_may_be_fine(tmp_path):
    assert git.run("config", "core.editor", folder=tmp_path, fine=(0, 1)) == ""
    with pytest.raises(git.GitError, match=r"^git config: it ended with 1$"):
        git.run("config", "core.editor", folder=tmp_path)


@pytest.mark.usefixtures("home")
def test_too_much_is_an_error_and_no_part_of_an_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(git, "_MOST", 100)
    with pytest.raises(git.GitError, match=r"^git help printed more than 100 bytes$"):
        git.run("help", "-a", folder=tmp_path)


@pytest.mark.usefixtures("home")
def test_bytes_are_kept(tmp_path):
    (tmp_path / "file").write_bytes(b"\xff\r\n\x00")
    git.run("init", "-q", folder=tmp_path)
    blob = git.run("hash-object", "-w", "file", folder=tmp_path).strip()
    said = git.run("cat-file", "blob", blob, folder=tmp_path)
    assert said.encode("utf-8", "surrogateescape") == b"\xff\r\n\x00"
