"""Agents as other users of this machine: real users, and an agent that tries what it can."""

import os
import pwd
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from agent.adapters.agents import users
from agent.adapters.agents.command import CommandRunner
from agent.adapters.git.checkouts import GitCheckouts
from agent.adapters.git.worktrees import GitWorktrees
from agent.backends import AgentBackend, Boundary, Context, find
from agent.core.model.nouns import CommandResult
from agent.errors import ConfigurationError, SpawnError
from agent.paths import SharedPlaces
from agent.ports import CleanCheckout, Run, RunSpec
from tests.adapters.git_person import IDENTITY, found, git
from tests.adapters.other_users import NAMED, let_push, open_folder, works
from tests.adapters.processes import until
from tests.adapters.runner_contract import ended, never

SECRET = "s3cret-90cd"  # noqa: S105 - nobody's


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied: that is faster than to make it anew."""
    place = tmp_path_factory.mktemp("model")
    found(place)
    let_push(place / "origin.git")
    return place


class Machine:
    """A closed state folder, a workspace outside of it, a remote given by its path, two tasks."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.scope = uuid.uuid4().hex
        self.open = ExitStack()
        self.state, self.remote, self.work = place / "state", place / "origin.git", place / "work"
        self.shared = SharedPlaces(self.work)
        self.state.mkdir(mode=0o700)
        self.boundary = Boundary(
            isolation="user", users=NAMED[:3], workspace=self.work, remotes=(self.remote,)
        )
        self.guarded = users.Guarded(
            state=self.state, kept=(place / "wavekeeper.toml", self.work), remote=self.remote
        )
        self.env = {k: v for k, v in IDENTITY.items() if not k.startswith("GIT_CONFIG")}
        for name in ("state.db", "judgements.db"):
            (self.state / name).write_text(SECRET)
        (place / "wavekeeper.toml").write_text(SECRET)
        self.runner()
        self.trees = GitWorktrees(str(self.remote), self.work, self.shared.clone)
        self.cwd = self.trees.prepare("t1", "work/t1")
        self.other = self.trees.prepare("t2", "work/t2")

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

    def spec(self, script: str, attempt: int = 1, task: str = "t1") -> RunSpec:
        names = {"PLACE": self.place, "STATE": self.state, "REMOTE": self.remote, "W": self.work}
        front = " ".join(f"{name}={value}" for name, value in names.items())
        return RunSpec(
            mark=f"{task}/{attempt}/{self.scope}",
            folder=self.state / "runs" / f"{task}-{attempt}",
            cwd=self.cwd if task == "t1" else self.other,
            prompt=f"{front} OTHER={self.other}\n{script}",
        )

    def run(self, script: str, attempt: int = 1, task: str = "t1", **changed: object) -> Run:
        return self.runner(**changed).start(self.spec(script, attempt, task))

    def says(self, script: str, attempt: int = 1, task: str = "t1") -> str:
        """What an agent prints that ends well."""
        end = ended(self.run(script, attempt, task))
        assert end.code == 0, end
        return end.final_response or ""

    def checkout(self) -> CleanCheckout:
        """That of a judge host, of `main`."""
        checkouts = GitCheckouts(str(self.remote), self.shared.judge)
        commit = checkouts.find("main", None)
        assert commit is not None
        return self.open.enter_context(checkouts.checkout(checkouts.prepare(commit, None, ())))

    def check(self, cwd: Path, script: str, **changed: object) -> CommandResult:
        return self.runner(**changed).check(
            ("sh", "-c", script), cwd=cwd, mark=f"t1/1/{self.scope}", timeout=20, stop=never
        )


@pytest.fixture
def machine(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("SUPERVISORS_KEY", SECRET)
    with open_folder() as folder:
        place = folder / "all"
        shutil.copytree(model, place, symlinks=True)
        place.chmod(0o755)
        machine = Machine(place)
        with machine.open:
            yield machine
        for task in ("t1", "t2") if (machine.state / "runs").exists() else ():
            machine.runner().sweep(task, before=1_000_000, grace=0)


def running(uid: int) -> list[psutil.Process]:
    """By the way of the product's library, and not by its code."""
    everything = psutil.process_iter(["uids", "status"])
    alive = [one for one in everything if one.info["uids"] and one.info["status"] != "zombie"]
    return [one for one in alive if one.info["uids"].real == uid]


ATTACKS = {
    "reads the state": "cat $STATE/state.db",
    "lists the state": "ls $STATE",
    "writes the journal": "echo x >>$STATE/state.db",
    "makes a file in the state": "echo x >$STATE/new",
    "goes into the state": "cd $STATE",
    "takes the state away": "mv $STATE $STATE.old",
    "reads the prompt and the lease": "cat $STATE/runs/*/prompt",
    "writes the settings": "echo x >>$PLACE/wavekeeper.toml",
    "replaces the settings": "mv $PLACE/wavekeeper.toml $PLACE/old",
    "reads another worktree": "cat $OTHER/README",
    "writes another worktree": "echo x >>$OTHER/README",
    "replaces another worktree": "mv $OTHER $OTHER.old",
    "replaces its own worktree": "mv $W/t1 $W/t1.old || rmdir $W/t1 || ln -sT $STATE $W/t1",
    "reads another clone": "cat $W/.clone/agents/t2.git/config",
    "configures the shared clone": "git --git-dir=$W/.clone/origin.git config a.b c",
    "forges a shared object": "echo x >$W/.clone/origin.git/objects/forged",
    "holds the lock of the clones": "flock -n $W/.clone/lock true",
    "holds the lock of the judge": "flock -n $W/.judge/lock true",
    "writes the judge's clone": "echo x >>$W/.judge/clone.git/config",
    "configures the judge's clone": "git --git-dir=$W/.judge/clone.git config a.b c",
    "reads the judge's checkout": "cat $W/.judge/checkouts/*/tree/README",
    "writes the judge's checkout": "echo x >>$W/.judge/checkouts/*/tree/README",
    "writes the judge's index": "echo x >>$W/.judge/checkouts/*/index",
    "configures the remote": "git --git-dir=$REMOTE config core.fsmonitor evil",
    "hooks the remote": "mkdir $REMOTE/hooks; echo 'touch /x' >$REMOTE/hooks/post-receive",
    "reads the host's environment": "cat /proc/$HOST/environ",
    "reads the shim's environment": "cat /proc/$PPID/environ",
    "looks through the host's eyes": "cat /proc/$HOST/root/etc/shadow",
    "finds a secret in an environment": f"grep -l {SECRET} /proc/[0-9]*/environ",
    "finds a secret in its own": f"env | grep {SECRET}",
    "is told where the state is": "env | grep -v -e ^PWD= -e ^OLDPWD= | grep $STATE",
    "signals the host": "kill -0 $HOST",
    "signals the shim": "kill -0 $PPID",
    "takes a lock on its user": "ls /run/wavekeeper",
    "inherits a lock": "ls -l /proc/self/fd | grep lock",
    "becomes root": "su -c true || sudo -n true",
    "gains from a program of root's": "! grep -q 'NoNewPrivs:.1' /proc/self/status",
    "reads the passwords": "cat /etc/shadow",
    "gives a file away": "touch mine && chown 0 mine",
    "links to a file of root's": "ln $PLACE/wavekeeper.toml linked",
}


def attempts() -> str:
    lines = [
        f"({attack}) >/dev/null 2>&1 && echo {shlex.quote(name)}"
        for name, attack in ATTACKS.items()
    ]
    return "\n".join([f"HOST={os.getpid()}", *lines, "echo end"])


@works
def test_a_hostile_agent_gets_nowhere(machine: Machine) -> None:
    """One agent that tries everything: its answer names what worked."""
    checkout = machine.checkout()
    files = [one for one in machine.place.rglob("*") if one.is_file() and "runs" not in one.parts]
    before = {one: one.read_bytes() for one in files}
    assert machine.says(attempts()) == "end"
    changed = {one for one in files if not one.exists() or one.read_bytes() != before[one]}
    own = (machine.shared.clone / "agents" / "t1.git", machine.cwd)
    assert not {one for one in changed if not any(one.is_relative_to(its) for its in own)}
    assert checkout.restore(lambda _path, _beside: False) == []


@works
@pytest.mark.parametrize("name", ["reads the state", "writes another worktree", "signals the host"])
def test_without_a_boundary_these_attacks_work(machine: Machine, name: str) -> None:
    """So a failure of theirs above says something."""
    end = ended(machine.run(f"HOST={os.getpid()}\n{ATTACKS[name]} && echo did", isolation="none"))
    assert "did" in (end.final_response or "")


@works
def test_a_check_gets_nowhere_either(machine: Machine) -> None:
    checkout = machine.checkout()
    end = machine.check(
        checkout.path,
        f"STATE={machine.state} W={machine.work}; cat README && git log -1 --format=%s; id -u;"
        "cat $STATE/state.db; cat $W/t1/README; echo x >>$W/.judge/clone.git/config;"
        "echo x >>../index; touch ../beside; echo x >>README; echo more >new; ls -A $HOME; env",
    )
    lines = end.output.splitlines()
    assert (end.exit_code, lines[:2]) == (0, ["hello", "work"])
    assert int(lines[2]) in NAMED
    assert end.output.count("ermission denied") == 5
    assert SECRET not in end.output
    assert end.output.count("hello") == 1
    assert list(checkout.restore(lambda path, _beside: path == "new")) == ["README"]
    again = machine.check(checkout.path, "cat README; ls; echo x >>README")
    assert (again.exit_code, again.output) == (0, "hello\nREADME")


HONEST = """
git checkout -q -b mine && echo work >>done && git add done && git commit -q -m work &&
echo later >>README && git stash -q && git stash pop -q && git fetch -q origin &&
git config user.signingkey none && git push -q -u origin HEAD:refs/heads/work/t1 &&
echo more >$TMPDIR/more && echo more >$HOME/more && git log -1 --format=%an
"""


@works
def test_an_honest_agent_commits_and_pushes_and_goes_on_as_another_user(machine: Machine) -> None:
    assert machine.says(HONEST) == "Ann"
    assert git(machine.remote, "show", "work/t1:done") == "work"
    first = machine.cwd.stat().st_uid
    rooms = machine.shared.rooms / "t1-1"
    assert ((rooms / "home" / "more").exists(), (rooms / "tmp").exists()) == (True, False)
    with held(first):
        machine.trees.prepare("t1", "work/t1")
        more = "git log -1 --format=%s; cat README; echo 2 >>done; git commit -qam again && "
        said = machine.says(f"{more} git push -q origin HEAD:refs/heads/work/t1; id -u", 2)
    assert said.splitlines()[:-1] == ["work", "hello", "later"]
    assert int(said.splitlines()[-1]) in set(NAMED[:3]) - {first}
    assert git(machine.remote, "show", "work/t1:done") == "work\n2"


@contextmanager
def held(uid: int) -> Iterator[None]:
    """A user that has a run elsewhere."""
    user = users.User(str(uid), uid, uid, ())
    # A shim holds it for a moment after it wrote down how the run ended.
    lock = until(lambda: users._lock(user))
    yield
    os.close(lock)


@works
def test_two_runs_at_a_time_are_two_users(machine: Machine) -> None:
    theirs = machine.run("echo $$; echo kept >kept; exec sleep 60", task="t2")
    pid = int(until(lambda: (machine.state / "runs" / "t2-1" / "output").read_text().strip()))
    tries = f"kill -0 {pid}; cat /proc/{pid}/environ $OTHER/kept; ls /proc/{pid}/fd; id -u"
    end = ended(machine.run(f"({tries}) 2>/dev/null"))
    assert [int(line) for line in (end.final_response or "").split()] == [machine.cwd.stat().st_uid]
    assert machine.other.stat().st_uid != machine.cwd.stat().st_uid
    assert theirs.poll() is None
    theirs.stop(1)


@works
def test_a_user_finds_nothing_of_its_last_run(machine: Machine) -> None:
    """Not the worktree, not the clone, not the home of the other task, which it once owned."""
    left = f"wavekeeper-left-{machine.scope}"
    leaves = f"for one in /tmp /var/tmp /dev/shm; do mkdir $one/{left}; echo x >$one/{left}/x; done"
    machine.says(
        f"echo kept >kept; chmod 777 . kept $HOME; {leaves}; echo x >/tmp/{left}-x", task="t2"
    )
    uid = machine.other.stat().st_uid
    tries = "cat $OTHER/kept $W/.clone/agents/t2.git/config; ls $W/.rooms/t2-1/home; id -u"
    tries += f"; ls -d /tmp/{left}* /var/tmp/{left} /dev/shm/{left}"
    assert machine.says(f"({tries}) 2>/dev/null; true") == str(uid)
    assert machine.other.stat().st_uid == 0


@works
def test_what_a_killed_judge_host_left_is_removed(machine: Machine) -> None:
    room = machine.shared.rooms / ".check-left"
    (room / "home").mkdir(parents=True)
    os.chown(room, NAMED[0], NAMED[0])
    machine.runner().sweep("t1", before=1, grace=0)
    assert not room.exists()


@works
def test_nothing_that_a_run_starts_outlives_it(machine: Machine) -> None:
    hidden = "env -i setsid sleep 600"
    said = machine.says(f"({hidden} &); (setsid {hidden} >/dev/null 2>&1 &); id -u")
    assert not running(int(said))
    checkout = machine.checkout()
    end = machine.check(checkout.path, f"({hidden} >/dev/null 2>&1 &); id -u")
    assert not running(int(end.output))


@works
def test_what_lost_its_shim_and_its_mark_is_swept(machine: Machine) -> None:
    machine.run("(env -i setsid sleep 600 >/dev/null 2>&1 &); exec sleep 60")
    uid = machine.cwd.stat().st_uid
    until(lambda: len(running(uid)) == 2)
    group = int((machine.state / "runs" / "t1-1" / "group").read_text())
    shim = psutil.Process(group).parent()
    assert shim is not None
    shim.kill()
    shim.wait(10)
    machine.runner().sweep("t1", before=2, grace=0)
    assert not running(uid)


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
    run.stop(5)
    end = ended(run)
    assert (end.code, end.final_response) == (7, "ready\nasked")


@works
@pytest.mark.long
def test_a_check_that_takes_too_long_ends_with_all_it_started(machine: Machine) -> None:
    script = "trap '' TERM; id -u; (env -i setsid sleep 600 &); while :; do sleep 0.05; done"
    end = machine.runner().check(
        ("sh", "-c", script), cwd=machine.checkout().path, mark=f"t1/1/{machine.scope}",
        timeout=0.3, stop=never,
    )  # fmt: skip
    assert (end.exit_code, "time limit of 0.3 s reached" in end.output) == (None, True)
    assert not any(running(one) for one in NAMED)


@works
def test_an_agent_whose_program_is_known_has_its_own_settings(machine: Machine) -> None:
    """Its settings and its home are its user's, and it can write both."""
    script = machine.work / "codex"
    script.write_text(
        "#!/bin/sh\necho x >$CODEX_HOME/auth && id -u >$HOME/uid && echo $CODEX_HOME >&2; exit 3\n"
    )
    script.chmod(0o755)
    backend = find(AgentBackend, "codex")
    own = backend.settings.model_validate(
        {"program": str(script)}, context={"folder": machine.work}
    )
    context = Context(state=machine.state, now=lambda: datetime.now(UTC), boundary=machine.boundary)
    end = ended(backend.open(own, context).start(machine.spec("")))
    home, kept = (machine.shared.rooms / one for one in ("t1-1/home", "t1.agent/.codex"))
    assert (end.code, end.last_error) == (3, str(kept))
    assert int((home / "uid").read_text()) == machine.cwd.stat().st_uid == kept.stat().st_uid
    shared = own.model_copy(update={"home": machine.place / "login"})
    with pytest.raises(ConfigurationError, match="leave out `home`"):
        backend.open(shared, context)


KILLS = "while kill -s KILL -- -1; do :; done"


@works
@pytest.mark.long
def test_the_end_comes_for_those_who_resist(machine: Machine) -> None:
    # None of them forks without end: where that is not limited, the machine goes with it.
    run = machine.run(f"trap '' TERM; {KILLS}; sleep 60")
    uid = machine.cwd.stat().st_uid
    until(lambda: running(uid))
    run.stop(0)
    machine.runner().sweep("t1", before=2, grace=0)
    assert not running(uid)


LINKS = """
ln -s $STATE linked; ln -s $STATE/state.db link; ln -sf $STATE/state.db README
OWN=$W/.clone/agents/t1.git; ln -s $STATE $OWN/refs/state; ln -sf $STATE/state.db $OWN/config
cd $HOME; rm .gitconfig; ln -s $STATE/state.db .gitconfig; rm -r $TMPDIR; ln -s $STATE $TMPDIR
"""


@works
def test_no_link_is_followed_when_a_task_goes_on(machine: Machine) -> None:
    machine.says(LINKS)
    machine.trees.prepare("t1", "work/t1")
    machine.says("true", 2)
    state = machine.state / "state.db"
    assert (state.read_text(), state.stat().st_uid, machine.state.stat().st_uid) == (SECRET, 0, 0)


HOOKS = """
cd $W/.clone/agents/t1.git && mkdir -p hooks
for name in post-checkout reference-transaction pre-auto-gc post-index-change fsmonitor; do
    printf '#!/bin/sh\\nid -u >>%s/ran; chmod 666 %s/ran\\n' $HOME $HOME >hooks/$name
    chmod 755 hooks/$name
done
git config core.hooksPath $PWD/hooks; git config core.fsmonitor $PWD/hooks/fsmonitor
git config filter.x.smudge $PWD/hooks/fsmonitor; git config filter.x.clean $PWD/hooks/fsmonitor
cd $W/t1; echo '* filter=x' >.gitattributes; git checkout -q -b hooked; git add . ; id -u
"""


@works
def test_no_hook_of_an_agent_is_run_by_the_host(machine: Machine) -> None:
    uid = machine.says(HOOKS)
    ran = machine.shared.rooms / "t1-1" / "home" / "ran"
    assert set(ran.read_text().split()) == {uid}
    ran.unlink()
    machine.trees.prepare("t1", "work/t1")
    machine.trees.made_in("t1")
    machine.trees.prepare("t3", "work/t3")
    machine.checkout()
    assert not ran.exists()


@works
def test_what_is_given_is_all_of_a_folder_and_nothing_else(tmp_path: Path) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").touch()
    (top / "link").symlink_to(outside)
    (top / "folder-link").symlink_to(tmp_path)
    os.mkfifo(top / "pipe")
    for name in ("outside", "linked", "agents"):
        (tmp_path / name).touch()
    os.link(tmp_path / "linked", top / "linked")
    os.link(tmp_path / "agents", top / "agents")
    os.chown(tmp_path / "agents", NAMED[1], NAMED[1])
    user = users.find_users(NAMED[:1])[0]
    users._give(top, user, frozenset(NAMED))
    owners = {str(one.relative_to(tmp_path)): one.lstat().st_uid for one in tmp_path.rglob("*")}
    mine = {one for one, uid in owners.items() if uid == user.uid}
    within = {"a", "a/b", "a/b/file", "link", "folder-link", "pipe", "agents"}
    assert mine == {"top", "agents", *(f"top/{one}" for one in within)}
    assert top.stat().st_mode & 0o777 == 0o700
    (tmp_path / "turned").symlink_to(top)
    with pytest.raises(OSError, match="turned"):
        users._give(tmp_path / "turned", user, frozenset(NAMED))


@works
def test_what_is_outside_of_the_workspace_is_not_given(machine: Machine) -> None:
    machine.cwd = machine.state
    with pytest.raises(SpawnError, match="is not in the workspace"):
        machine.run("true")
    assert machine.state.stat().st_uid == 0


@works
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
@pytest.mark.parametrize("named", ["tool", "{closed}/tool"], ids=["by name", "by path"])
def test_a_program_that_no_agent_may_run_is_no_verdict(machine: Machine, named: str) -> None:
    closed = machine.place / "closed"
    closed.mkdir(mode=0o700)
    shutil.copy(shutil.which("true") or "", closed / "tool")
    machine.env["PATH"] = f"{closed}:{os.environ['PATH']}"
    words = r"the user \d+ may not run it: .*/closed/tool$"
    checkout = machine.checkout()
    with pytest.raises(SpawnError, match=words):
        machine.runner().check(
            (named.format(closed=closed),),
            cwd=checkout.path,
            mark=f"t1/1/{machine.scope}",
            timeout=20,
            stop=never,
        )
    with pytest.raises(SpawnError, match=words):
        machine.runner(named.format(closed=closed)).start(machine.spec(""))


@works
@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        pytest.param(["no-such-tool"], 127, "no-such-tool: command not found", id="not there"),
        pytest.param(["./README"], 126, "./README: permission denied", id="no program"),
        pytest.param(["sh", "-c", "kill -11 $$"], 139, "", id="a signal"),
        pytest.param(["sh", "-c", "exit 5"], 5, "", id="a code"),
    ],
)
def test_how_a_check_ends(machine: Machine, argv: list[str], code: int, words: str) -> None:
    checkout = machine.checkout()
    said = machine.runner().check(
        argv, cwd=checkout.path, mark=f"t1/1/{machine.scope}", timeout=20, stop=never
    )
    assert (said.exit_code, words in said.output) == (code, True)


@works
def test_a_prompt_in_a_file(machine: Machine) -> None:
    run = machine.runner("sh", "{prompt_file}").start(machine.spec("echo read $HOME"))
    assert ended(run).final_response == f"read {machine.shared.rooms}/t1-1/home"


@works
def test_a_later_host_goes_on_with_a_run_and_starts_none(machine: Machine) -> None:
    spec = machine.spec("until [ -e go ]; do sleep 0.02; done; id -u")
    machine.runner().start(spec)
    uid = machine.cwd.stat().st_uid
    second = machine.runner().start(spec)
    (machine.cwd / "go").touch()
    assert ended(second).final_response == str(uid)


@works
def test_when_every_user_has_a_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_FREE", 0.1)
    words = "every one of the 3 `agent_users` has a run"
    with held(NAMED[0]), held(NAMED[1]), held(NAMED[2]), pytest.raises(SpawnError, match=words):
        machine.run("true")


def opened(path: Path, mode: int) -> None:
    path.chmod(mode)


WRONG: dict[str, tuple[Callable[[Machine], None], str]] = {
    "a state that others may pass": (
        lambda m: opened(m.state, 0o711), r"can reach the state folder .*/state; make it root's",
    ),
    "a state of the user's own": (
        lambda m: os.chown(m.state, NAMED[1], 0), r"can reach the state folder",
    ),
    "settings that others may write": (
        lambda m: opened(m.place / "wavekeeper.toml", 0o666), r"can change .*wavekeeper.toml; take",
    ),
    "settings that others may replace": (
        lambda m: opened(m.place, 0o777), r"can change .*/all, and so replace .*; take that right",
    ),
    "settings that others may make": (
        lambda m: (m.place / "wavekeeper.toml").unlink() or opened(m.place, 0o1777),
        r"can change .*/all; take that right",
    ),
    "a workspace out of reach": (
        lambda m: opened(m.place, 0o700), r"cannot get to the workspace",
    ),
    "a workspace that others may write": (
        lambda m: opened(m.work, 0o777), r"can change .*/work; take that right away",
    ),
    "a remote that cannot be written": (
        lambda m: opened(m.remote / "refs", 0o755), r"cannot push to .*: it needs .*/refs$",
    ),
    "a remote where branches are somebody's own": (
        lambda m: (m.remote / "refs" / "heads" / "wavekeeper").mkdir(mode=0o755),
        r"cannot push to .*: it needs .*/refs/heads/wavekeeper$",
    ),
    "a remote whose hooks can be written": (
        lambda m: (m.remote / "hooks").mkdir(mode=0o700) or opened(m.remote / "hooks", 0o777),
        r"can change .*/hooks, where a hook of its own would be run by others",
    ),
    "a remote that can be written whole": (
        lambda m: opened(m.remote, 0o777), r"can change .*/origin.git, where a hook",
    ),
    "a remote that one user has for itself": (
        lambda m: git(m.remote, "config", "core.sharedRepository", "false"),
        r"run `git --git-dir=.*/origin.git config core.sharedRepository group`",
    ),
}  # fmt: skip


@works
@pytest.mark.parametrize("name", WRONG)
def test_a_boundary_with_a_hole_is_refused_in_one_line(machine: Machine, name: str) -> None:
    users.inspect(machine.boundary, machine.guarded)
    spoil, words = WRONG[name]
    spoil(machine)
    with pytest.raises(ConfigurationError, match=words) as found:
        users.inspect(machine.boundary, machine.guarded)
    assert "\n" not in str(found.value)


@works
def test_a_user_with_a_home_that_it_can_write_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = machine.place / "home-of-agent"
    home.mkdir()
    known = pwd.struct_passwd(("agent1", "x", NAMED[0], NAMED[0], "", str(home), "/bin/sh"))
    find = pwd.getpwuid
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: known if uid == NAMED[0] else find(uid))
    users.inspect(machine.boundary, machine.guarded)
    os.chown(home, NAMED[0], NAMED[0])
    with pytest.raises(ConfigurationError, match=r"can write its home .*; make that root's"):
        users.inspect(machine.boundary, machine.guarded)


@works
def test_a_user_that_runs_something_else_is_refused(machine: Machine) -> None:
    user = users.find_users(NAMED)[1]
    with subprocess.Popen(user.start(["sleep", "60"])) as foreign:
        until(lambda: running(user.uid))
        words = rf"{user.name} also runs 'sleep' \(process {foreign.pid}\)"
        try:
            with pytest.raises(ConfigurationError, match=words):
                users.inspect(machine.boundary, machine.guarded)
        finally:
            foreign.kill()


@works
def test_a_umask_that_hides_the_clones_is_refused(machine: Machine) -> None:
    before = os.umask(0o077)
    try:
        with pytest.raises(ConfigurationError, match="the umask 077 hides the clones"):
            users.inspect(machine.boundary, machine.guarded)
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        pytest.param([0], "root is you or root; name users", id="root by number"),
        pytest.param(["root"], "root is you or root", id="root by name"),
        pytest.param(["no-such-user"], "no-such-user is no user of this machine", id="nobody's"),
        pytest.param([-1], "-1 is no user's number", id="a number below zero"),
        pytest.param([2**32 - 1], "is no user's number", id="the number of no user"),
        pytest.param([NAMED[0], NAMED[0]], "is there twice", id="twice"),
        pytest.param([0, NAMED[0]], "root is you or root", id="root among others"),
    ],
)
def test_users_that_no_agent_may_be(named: list[str | int], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        users.find_users(named)


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    users.fault.cache_clear()
    try:
        boundary = Boundary(isolation="user", users=(NAMED[0],), workspace=Path("/srv"))
        with pytest.raises(ConfigurationError, match="only root can start agents as other users"):
            users.inspect(boundary, users.Guarded(Path("/srv"), ()))
    finally:
        users.fault.cache_clear()


@works
def test_setpriv_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    users.fault.cache_clear()
    try:
        assert users.fault(users.find_users(NAMED)) == "setpriv is not on PATH"
    finally:
        users.fault.cache_clear()
