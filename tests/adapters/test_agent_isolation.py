"""The boundary around agents: real bubblewrap, real git, and an agent that tries what it can."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from agent.adapters.agents import isolation
from agent.adapters.agents.command import CommandRunner
from agent.adapters.git.checkouts import GitCheckouts
from agent.adapters.git.worktrees import GitWorktrees
from agent.backends import Boundary
from agent.core.model.nouns import CommandResult
from agent.errors import ConfigurationError, SpawnError
from agent.ports import Run, RunSpec
from tests.adapters.git_person import IDENTITY, found, git
from tests.adapters.processes import until
from tests.adapters.runner_contract import ended, never, texts

SECRET = "s3cret-5f1c"  # noqa: S105 - nobody's
works = pytest.mark.skipif(
    isolation.fault() is not None, reason=f"no boundary here: {isolation.fault()}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied: that is faster than to make it anew."""
    place = tmp_path_factory.mktemp("model")
    found(place)
    return place


def sleeping(seconds: str) -> list[psutil.Process]:
    """The processes of this machine that sleep for so many seconds."""
    everything = psutil.process_iter(["cmdline"])
    return [one for one in everything if seconds in (one.info["cmdline"] or ())]


class Machine:
    """A state folder, a remote given by its path, two tasks, and a person's home."""

    def __init__(self, place: Path, home: Path) -> None:
        self.place, self.home = place, home
        self.scope = uuid.uuid4().hex
        self.state, self.remote = place / "state", place / "origin.git"
        self.trees = GitWorktrees(str(self.remote), place / "work", self.state / "clone")
        self.cwd = self.trees.prepare("t1", "work/t1")
        self.other = self.trees.prepare("t2", "work/t2")
        (self.state / "runs").mkdir()
        for name in ("state.db", "queue.db"):
            (self.state / name).write_text(SECRET)
        (place / "wavekeeper.toml").write_text(SECRET)
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh" / "id").write_text(SECRET)
        (home / ".gitconfig").write_text("[user]\n\tname = Ann\n\temail = ann@example.org\n")
        self.boundary = Boundary(
            isolation="bubblewrap",
            clones=self.state / "clone",
            hidden=(self.state, place / "work", place / "wavekeeper.toml"),
            remotes=(self.remote,),
        )
        # What the person's own shell would have; IDENTITY would hide the person's git.
        self.env = {k: v for k, v in IDENTITY.items() if not k.startswith("GIT_CONFIG")}

    def runner(self, *argv: str, **changed: object) -> CommandRunner:
        return CommandRunner(
            argv or ("sh", "-s"),
            prompt="file" if "{prompt_file}" in argv else "stdin",
            output="text",
            env=self.env,
            now=lambda: datetime.now(UTC),
            scope=self.scope,
            boundary=replace(self.boundary, **changed),
        )

    def spec(self, script: str, attempt: int = 1) -> RunSpec:
        script = f"STATE={self.state} REMOTE={self.remote} OTHER={self.other}\n{script}"
        folder = self.state / "runs" / f"t1-{attempt}"
        return RunSpec(
            mark=f"t1/{attempt}/{self.scope}", folder=folder, cwd=self.cwd, prompt=script
        )

    def run(self, script: str, **changed: object) -> Run:
        return self.runner(**changed).start(self.spec(script))

    def check(
        self, *argv: str, readable: tuple[Path, ...] = (), **changed: object
    ) -> CommandResult:
        """In the checkout of a judge host, of `main`."""
        checkouts = GitCheckouts(str(self.remote), self.state / "judge")
        commit = checkouts.find("main", None)
        assert commit is not None
        with checkouts.checkout(checkouts.prepare(commit, None, ())) as checkout:
            return self.runner(**changed).check(
                argv,
                cwd=checkout.path,
                mark=f"t1/1/{self.scope}",
                timeout=20,
                stop=never,
                readable=(*checkout.readable, *readable),
            )


@pytest.fixture
def machine(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    shutil.copytree(model, tmp_path / "all")
    monkeypatch.setenv("HOME", str(tmp_path / "all" / "home"))
    monkeypatch.setenv("SUPERVISORS_KEY", SECRET)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    machine = Machine(tmp_path / "all", tmp_path / "all" / "home")
    yield machine
    machine.runner().sweep("t1", before=1_000_000, grace=0)


ATTACKS = {
    "reads the state": "cat $STATE/state.db",
    "writes the state": "[ -e $STATE/state.db ] && echo x >$STATE/state.db",
    "writes beside the state": "echo x >$STATE/state.db; echo x >$STATE/runs/x; false",
    "reads the lease": "cat $STATE/runs/*/lease.json $STATE/runs/*/prompt",
    "reads the settings": "cat {place}/wavekeeper.toml",
    "reads another worktree": "ls $OTHER/README",
    "writes another worktree": "[ -e $OTHER/README ] && echo x >$OTHER/README",
    "reads another clone": "ls $STATE/clone/agents/t2.git/config",
    "reads what the judge checks out": "ls $STATE/clone/checkouts.git",
    "configures the shared clone": "git --git-dir=$STATE/clone/origin.git config a.b c",
    "sees more of the shared clone": "ls $STATE/clone/origin.git/HEAD",
    "forges a shared object": "echo x >$STATE/clone/origin.git/objects/forged",
    "configures the remote": "git --git-dir=$REMOTE config core.fsmonitor evil",
    "hooks the remote": "echo 'touch /x' >$REMOTE/hooks/post-receive",
    "reads the person's keys": "cat $HOME/.ssh/id",
    "writes the person's git": "echo '[alias] x = y' >>$HOME/.gitconfig; false",
    "sends the address elsewhere": "git config --global url./fake.insteadOf $REMOTE; false",
    "finds a secret in an environment": f"grep -l {SECRET} /proc/[0-9]*/environ",
    "finds a secret in its own": f"env | grep {SECRET}",
    "is told where the state is": "env | grep -v -e ^STATE= -e ^PWD= -e ^OLDPWD= | grep $STATE",
    "goes through process 1": f"grep {SECRET} /proc/1/root/$STATE/queue.db",
    "sees a process of the host": "grep -l 5432[1] /proc/[0-9]*/cmdline",
    "kills process 1": "kill -9 1 && sleep 0.1 && [ ! -e /proc/1 ]",
    "takes the boundary away": "umount /etc || umount $HOME || umount /tmp",
    "makes the system writable": "mount -o remount,bind,rw /usr",
    "writes the system": "touch /usr/evil || touch /etc/evil || touch /evil",
    "reads the passwords": "cat /etc/shadow",
    # What it writes is what is there, in case it works.
    "changes the kernel": "K=/proc/sys/kernel/core_pattern; W=$(cat $K); echo $W >$K",
    "makes a device": "mknod /tmp/disk b 8 0",
}  # fmt: skip


@works
def test_a_hostile_agent_gets_nowhere(machine: Machine) -> None:
    """One agent that tries everything: its answer names what worked."""
    files = [one for one in machine.place.rglob("*") if one.is_file() and "runs" not in one.parts]
    before = {one: one.read_bytes() for one in files}
    tries = "\n".join(
        f"({attack.replace('{place}', str(machine.place))}) >/dev/null 2>&1 "
        f"&& echo {shlex.quote(name)}"
        for name, attack in ATTACKS.items()
    )
    with subprocess.Popen([shutil.which("sleep") or "", "54321"]) as outside:
        end = ended(machine.run(f"{tries}\necho end"))
        outside.kill()
    assert (end.code, end.final_response) == (0, "end")
    changed = {one for one in files if not one.exists() or one.read_bytes() != before[one]}
    own = machine.state / "clone" / "agents" / "t1.git"
    assert not {one for one in changed if not one.is_relative_to(own)}


@pytest.mark.parametrize("name", ["reads the state", "reads another worktree", "writes the state"])
def test_without_a_boundary_these_attacks_work(machine: Machine, name: str) -> None:
    """So a failure of theirs above says something."""
    end = ended(machine.run(f"{ATTACKS[name]} && echo did", isolation="none"))
    assert "did" in (end.final_response or "")


HONEST = """
git checkout -q -b mine && echo work >>done && git add done && git commit -q -m work &&
echo later >>README && git stash -q && git stash pop -q && git fetch -q origin &&
git config user.signingkey none && git push -q -u origin HEAD:refs/heads/work/t1 &&
echo more >$TMPDIR/more && echo more >$HOME/more && cat - </dev/null && git log -1 --format=%an
"""


@works
def test_an_honest_agent_commits_and_pushes_as_the_person(machine: Machine) -> None:
    machine.env = {}
    run = machine.run(HONEST)
    end = ended(run)
    assert (end.code, end.last_error, end.final_response) == (0, None, "Ann")
    assert texts(run.events()) == ["Ann"]
    assert git(machine.remote, "log", "-1", "--format=%an", "work/t1") == "Ann"
    assert git(machine.remote, "show", "work/t1:done") == "work"
    assert (machine.cwd / "done").read_text() == "work\n"
    folder = machine.state / "runs" / "t1-1"
    assert (folder / "home" / "more").exists()
    assert not (folder / "tmp").exists()


@works
@pytest.mark.long
def test_what_one_attempt_leaves_the_next_one_finds(machine: Machine) -> None:
    ended(machine.run("git checkout -q -b mine; echo x >new; git add new; git commit -q -m kept"))
    second = machine.runner().start(machine.spec("git log -1 --format=%s mine; ls $HOME", 2))
    assert (ended(second).final_response or "").splitlines() == ["kept"]


@works
@pytest.mark.long
@pytest.mark.parametrize(
    "turned",
    [
        pytest.param("{state}/clone/agents/t2.git/worktrees/t2", id="to another task's"),
        pytest.param("{state}/runs/worktrees/x", id="to a folder of the state"),
        pytest.param("/etc/worktrees/x", id="to the system"),
    ],
)
def test_a_worktree_that_an_agent_turned_elsewhere_is_not_followed(
    machine: Machine, turned: str
) -> None:
    (machine.cwd / ".git").write_text(f"gitdir: {turned.format(state=machine.state)}\n")
    with pytest.raises(SpawnError, match="which is no clone of ours: move it away"):
        machine.run("true")


@works
def test_nothing_an_agent_starts_outlives_it(machine: Machine) -> None:
    hidden = "env -i setsid sleep 98765"
    end = ended(machine.run(f"({hidden} &) ; (setsid {hidden} >/dev/null 2>&1 &); echo done"))
    assert end.final_response == "done"
    assert not sleeping("98765")


STUBBORN = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.02; done"


@works
@pytest.mark.parametrize("adopted", [False, True], ids=["its host", "a later host"])
def test_an_agent_is_asked_before_it_is_killed(machine: Machine, *, adopted: bool) -> None:
    run = machine.run(STUBBORN)
    until(lambda: "ready" in (machine.state / "runs" / "t1-1" / "output").read_text())
    if adopted:
        later = machine.runner().adopt(machine.spec(STUBBORN))
        assert later is not None
        run = later
    assert run.poll() is None
    run.stop(5)
    end = ended(run)
    assert (end.code, end.final_response) == (7, "ready\nasked")


@works
@pytest.mark.long
def test_an_agent_that_a_signal_ended(machine: Machine) -> None:
    end = ended(machine.run("kill -SEGV $$"))
    assert (end.code, end.signal) == (None, signal.SIGSEGV)


@works
@pytest.mark.long
def test_a_killed_shim_takes_the_agent_with_it(machine: Machine) -> None:
    run = machine.run("trap '' TERM; exec sleep 87654")
    found = until(lambda: sleeping("87654"))
    shim = psutil.Process(int((machine.state / "runs" / "t1-1" / "group").read_text())).parent()
    assert shim is not None
    shim.kill()
    # Nobody stops it: bubblewrap goes with the shim, and the agent with bubblewrap.
    until(lambda: not any(one.is_running() and one.status() != "zombie" for one in found))
    assert ended(run).last_error == "the agent's end was not seen"


@works
@pytest.mark.long
def test_an_older_attempt_is_swept(machine: Machine) -> None:
    run = machine.run("exec sleep 76543")
    until(lambda: sleeping("76543"))
    assert machine.runner().sweep("t1", before=2, grace=10) == 1
    assert ended(run).signal == signal.SIGTERM


@works
@pytest.mark.long
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param(["no-such-agent"], "No such file or directory: no-such-agent", id="none"),
        pytest.param(["/dev/null"], "Permission denied: /dev/null", id="not executable"),
    ],
)
def test_an_agent_that_is_not_there(machine: Machine, argv: list[str], words: str) -> None:
    with pytest.raises(SpawnError, match=f"cannot start .*: {words}$"):
        machine.runner(*argv).start(machine.spec(""))


@works
def test_an_agent_elsewhere_on_this_machine_is_found_with_its_modules(machine: Machine) -> None:
    """A script in a folder of its own, with an interpreter outside of the system's folders."""
    folder = machine.place / "tool" / "bin"
    folder.mkdir(parents=True)
    (folder.parent / "lib").mkdir()
    (folder.parent / "lib" / "words.py").write_text("said = 'found'")
    (folder / "agent").write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(folder.parent / 'lib')!r})\n"
        "import words\nprint(words.said, open(sys.argv[1]).read())\n"
    )
    (folder / "agent").chmod(0o755)
    (machine.place / "link").symlink_to(folder / "agent")
    run = machine.runner(str(machine.place / "link"), "{prompt_file}").start(machine.spec("do it"))
    end = ended(run)
    assert (end.last_error, (end.final_response or "")[-5:]) == (None, "do it")
    assert (end.final_response or "").startswith("found")


@works
@pytest.mark.long
def test_a_person_may_let_it_see_and_write_more(machine: Machine) -> None:
    for name in ("in", "out"):
        (machine.place / name).mkdir()
    (machine.place / "in" / "known").write_text("known")
    script = "cat ../../in/known && ! touch ../../in/x && echo kept >../../out/kept && echo did"
    script = script.replace("../..", str(machine.place))
    seen = {"readable": (machine.place,), "writable": (machine.place / "out",)}
    end = ended(machine.run(f"{script}; cat $STATE/state.db; cat $OTHER/README", **seen))
    assert (end.final_response or "").splitlines()[0] == "knowndid"
    assert SECRET not in (end.final_response or "")
    assert "hello" not in (end.final_response or "")
    assert (machine.place / "out" / "kept").read_text() == "kept\n"


@works
def test_a_check_sees_its_checkout_and_nothing_else(machine: Machine) -> None:
    tries = f"""
        cat README && git log -1 --format=%H && echo x >new
        cat {machine.state}/state.db {machine.cwd}/README {machine.remote}/config $HOME/.ssh/id
        ls $HOME; env; (setsid sleep 65432 &); git --git-dir={machine.remote} config a.b c
        rm -rf .git; echo gitdir: / >.git; git config a.b c; echo end"""
    said = machine.check("sh", "-c", tries)
    lines = said.output.splitlines()
    assert (said.exit_code, lines[0], lines[-1]) == (0, "hello", "end")
    assert lines[1] == git(machine.remote, "rev-parse", "main")
    assert SECRET not in said.output
    assert said.output.count("hello") == 1
    assert not sleeping("65432")
    assert "a.b" not in git(machine.remote, "config", "--list")


@works
@pytest.mark.parametrize("network", [False, True], ids=["without a network", "with one"])
def test_a_check_has_a_network_only_if_that_is_configured(
    machine: Machine, *, network: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        script = f"import socket; socket.create_connection({address!r}, 5).close()"
        said = machine.check("python3", "-c", script, network=network)
    assert (said.exit_code == 0) == network
    assert network or "refused" in said.output


@works
@pytest.mark.long
@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        pytest.param(["no-such-tool"], 127, "no-such-tool: command not found", id="not there"),
        pytest.param(["/etc"], 126, "/etc: permission denied", id="a folder"),
        pytest.param(["./README"], 126, "./README: permission denied", id="no program"),
        pytest.param(["sh", "-c", "kill -11 $$"], 139, "", id="a signal"),
        pytest.param(["sh", "-c", "exit 5"], 5, "", id="a code"),
    ],
)
def test_how_a_check_ends(machine: Machine, argv: list[str], code: int, words: str) -> None:
    said = machine.check(*argv)
    assert said.exit_code == code
    assert words in said.output


@works
@pytest.mark.long
def test_a_check_that_the_boundary_fails_is_no_verdict(machine: Machine) -> None:
    folder = machine.place / "readable"
    folder.mkdir()
    (machine.place / "here").symlink_to(folder)
    with pytest.raises(SpawnError, match="cannot run true: bwrap: "):
        machine.check("true", readable=(machine.place / "here", Path("/proc/self/fd/0")))


def test_bubblewrap_by_name_where_it_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    isolation.fault.cache_clear()
    try:
        assert isolation.choose(None) == "none"
        assert isolation.choose("none") == "none"
        with pytest.raises(ConfigurationError, match=r"does not work here .*; install the package"):
            isolation.choose("bubblewrap")
    finally:
        isolation.fault.cache_clear()


KEPT = {
    "LANG": True, "LC_TIME": True, "TZ": True, "https_proxy": True, "NO_PROXY": True,
    "SSL_CERT_FILE": True, "GIT_AUTHOR_NAME": True, "GIT_DIR": False, "GITHUB_TOKEN": False,
    "ANTHROPIC_API_KEY": False, "SSH_AUTH_SOCK": False, "AWS_SECRET_ACCESS_KEY": False,
    "PYTHONPATH": False, "LD_PRELOAD": False, "PATHX": False, "WAVEKEEPER_MARK": False,
    "GIT_CONFIG_COUNT": False, "GIT_SSH_COMMAND": False, "DBUS_SESSION_BUS_ADDRESS": False,
}  # fmt: skip


@pytest.mark.parametrize(("name", "kept"), KEPT.items())
def test_the_environment_is_an_allow_list(
    monkeypatch: pytest.MonkeyPatch, name: str, *, kept: bool
) -> None:
    monkeypatch.setenv(name, "x")
    assert (name in isolation.environment()) == kept


@works
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_works_for_those_who_are_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the namespaces that they would be given."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 65534)
        argv = [*isolation._namespaces(), *isolation._system(network=True)]
    front = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    said = subprocess.run(
        [*front, shutil.which("bwrap") or "", *argv, "--", "sh", "-c", "id -u; cat /etc/shadow"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.stdout, "/etc/shadow" in said.stderr) == ("65534\n", True)


@works
@pytest.mark.long
def test_a_remote_of_this_machine_that_borrows_its_objects(machine: Machine) -> None:
    shared = machine.place / "shared.git"
    git(machine.place, "clone", "-q", "--bare", "--shared", str(machine.remote), str(shared))
    trees = GitWorktrees(str(shared), machine.place / "work2", machine.state / "clone2")
    machine.cwd = trees.prepare("t1", "work/t1")
    run = machine.run(
        "echo x >x; git add x; git commit -q -m x; git push -q origin HEAD:refs/heads/w; git log",
        clones=machine.state / "clone2",
        remotes=(shared,),
    )
    assert ended(run).last_error is None
    assert git(shared, "show", "w:x") == "x"


@works
@pytest.mark.long
def test_what_a_person_sets_is_stronger_than_what_is_private(machine: Machine) -> None:
    own = machine.place / "own"
    own.mkdir()
    machine.env |= {"XDG_CONFIG_HOME": str(own), "HOME": str(own)}
    run = machine.run('echo x >$HOME/kept; echo "$XDG_CONFIG_HOME"', writable=(own,))
    assert ended(run).final_response == str(own)
    assert (own / "kept").exists()


@works
@pytest.mark.long
def test_the_persons_ssh_agent_where_it_is_named(machine: Machine) -> None:
    (machine.home / ".ssh" / "known_hosts").write_text("example.org ssh-ed25519 AAAA\n")
    path = machine.home / "agent.sock"
    script = "import os, socket; socket.socket(socket.AF_UNIX).connect(os.environ['SSH_AUTH_SOCK'])"
    asks = f"python3 -c {shlex.quote(script)} && cat $HOME/.ssh/known_hosts; ls $HOME/.ssh"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        agent.listen()
        machine.env["SSH_AUTH_SOCK"] = str(path)
        end = ended(machine.run(asks))
    assert end.final_response == "example.org ssh-ed25519 AAAA\nknown_hosts"
