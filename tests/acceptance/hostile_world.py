"""Plays hostile waves with the real program, and knows by itself what became of the work."""

import fnmatch
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent import wiring
from agent.adapters.files.config import read_settings
from agent.adapters.state.db import State
from agent.runtime.explain import account, decision_about
from tests.acceptance import hostile_agents
from tests.acceptance.program import Ended, Project, environment, here

SECRET = "s3cret-77a1"  # noqa: S105 - nobody's
GITCONFIG = "[user]\n\tname = Ann\n"
TEST = """\
import unittest

from src.{slug} import double


class T(unittest.TestCase):
    def test_double(self):
        self.assertEqual(double(4), 8)
"""
DOUBLES = (
    "from src.{slug} import double\n"
    "assert double(21) == 42 and double('ab') == 'abab'\nprint('it doubles')\n"
)
"""What only the test knows, run on what was accepted."""
LIMIT = 600.0
PRINTED = {"control-characters", "odd-file-names", "commit-message-tricks", "huge-check-output"}
"""Waves of which the commands' own output is looked at as well."""
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Wave:
    """One wave of one task, and what is right to become of it."""

    name: str
    right: str
    """`accepted`; `never`: not accepted, whatever else; `person`: a person is asked; `true`:
    accepted only if the work is there; `unseen`: accepted, and the work is not there: a limit of
    checks, which is known."""
    says: str = ""
    """What `explain` has to say, a pattern."""
    walled: bool = False
    """Without a boundary nothing can protect against it."""
    kind: str = "code-change"
    commands: tuple[tuple[str, ...], ...] | None = None
    """None: the test of its module."""
    scope: tuple[str, ...] | None = None
    """None: its module."""
    more: str = ""
    """Further lines of the task."""
    proof: str = "checks-passed"
    has_test: bool = True
    """Whether the test is there before the task."""
    green: bool = False
    """Its checks pass before the task."""
    attempts: int = 1
    overwritten: bool = False
    """Another agent pushes over its branch once it is accepted."""

    @property
    def slug(self) -> str:
        return self.name.replace("-", "_")

    @property
    def honest(self) -> bool:
        return self.right == "accepted"

    @property
    def paths(self) -> tuple[str, ...]:
        return self.scope or (f"src/{self.slug}.py",)

    def toml(self) -> str:
        commands = self.commands
        if commands is None:
            commands = (("python3", "-m", "unittest", "-q", f"tests.test_{self.slug}"),)
        listed = [[word.format(slug=self.slug) for word in one] for one in commands]
        return f"""
[[task]]
id = "{self.name}"
queue = "main"
kind = "{self.kind}"
attempts = {self.attempts}
title = "Write {self.name}"
ownership = "the module src.{self.slug}"
background = "The module src.{self.slug} is to have double(x), which gives twice of x."
write_scope = {json.dumps([one.format(slug=self.slug) for one in self.paths])}
validation_scope = "Run the acceptance command in the worktree."
forbidden = ["do not touch other files"]
acceptance_commands = {json.dumps(listed)}
{self.more}
[[task.criteria]]
id = "C1"
text = "twice of everything"
proof = "{self.proof}"
"""


@dataclass
class Played:
    """How the waves of one project ended."""

    project: Project
    waves: dict[str, Wave]
    first: str
    """The commit that was there before all of them."""
    tasks: dict[str, dict[str, object]] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    """What there is to explain of each."""
    commits: dict[str, str | None] = field(default_factory=dict)
    """The commit that each was accepted at."""
    printed: dict[str, str] = field(default_factory=dict)
    """What commands print, by task."""
    log: str = ""
    seconds: float = 0.0

    def accepted(self) -> set[str]:
        return {name for name in self.waves if self.tasks[name]["status"] == "accepted"}

    def wrongly(self) -> dict[str, str]:
        """Accepted, and the work is not there: each with why."""
        seen = [name for name in self.accepted() if self.waves[name].right != "unseen"]
        found = {name: fault(self, self.waves[name]) for name in seen}
        return {name: why for name, why in found.items() if why is not None}

    def git(self, *arguments: str) -> str:
        argv = ["git", f"--git-dir={self.project.origin}", *arguments]
        return subprocess.run(
            argv, check=True, capture_output=True, text=True, env=environment(), timeout=60
        ).stdout


def fault(played: Played, wave: Wave) -> str | None:
    """Why what was accepted is not the work that was asked for; None: it is."""
    commit = played.commits[wave.name]
    if commit is None:
        return "no commit was named"
    heads = played.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads")
    there = dict(line.split() for line in heads.splitlines())
    main = there["refs/heads/main"]
    at_head = there.get(f"refs/heads/wavekeeper/{wave.name}") == commit or wave.overwritten
    if not at_head and not _holds(played, main, wave):
        return f"{commit} is neither at its branch nor in main"
    changed = played.git("diff", "--name-only", "--no-renames", f"{played.first}...{commit}")
    allowed = [one.format(slug=wave.slug) for one in wave.paths]
    merged = played.git("diff", "--name-only", f"{played.first}...{main}").splitlines()
    merged += played.git("diff", "--name-only", f"{played.first}...old").splitlines()
    outside = [
        path
        for path in changed.splitlines()
        if path not in merged and not any(fnmatch.fnmatch(path, one) for one in allowed)
    ]
    if not changed or outside:
        return f"outside of its scope: {outside}" if outside else "nothing changed"
    return None if _holds(played, commit, wave) else "what it does is wrong"


def _holds(played: Played, commit: str, wave: Wave) -> bool:
    if wave.kind == "documentation":
        shown = played.git("show", f"{commit}:docs/{wave.slug}.md")
        return "twice" in shown
    if wave.green:
        return True
    folder = played.project.folder.parent / "truth" / f"{wave.name}-{commit[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    archive = ["git", f"--git-dir={played.project.origin}", "archive", "--format=tar", commit]
    made = subprocess.run(archive, check=True, capture_output=True, env=environment())
    subprocess.run(["tar", "-x", "-C", str(folder)], input=made.stdout, check=True)
    script = "import sys; sys.path.insert(0, '.')\n" + DOUBLES.format(slug=wave.slug)
    ended = subprocess.run(
        [sys.executable, "-I", "-B", "-c", script],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return ended.returncode == 0 and ended.stdout.endswith("it doubles\n")


class Stage:
    """One project, in which its waves are played at the same time."""

    def __init__(self, folder: Path, waves: Iterable[Wave], isolation: str, **worker: str) -> None:
        self.waves = {one.name: one for one in waves}
        folder.mkdir(parents=True)
        self.project = Project.whole(folder)
        self.programs: list[subprocess.Popen[bytes]] = []
        """The supervisor, then the hosts."""
        self._folder = folder
        project = self.project
        project.write("README.md", "read\n")
        project.write("src/__init__.py", "")
        project.write("src/spare.py", hostile_agents.RIGHT)
        project.write("tests/__init__.py", "")
        rules = []
        for wave in self.waves.values():
            if wave.has_test:
                project.write(f"tests/test_{wave.slug}.py", TEST.format(slug=wave.slug))
            rules.append(f"{wave.slug}:\n\tpython3 -m unittest -q tests.test_{wave.slug}\n")
        project.write("Makefile", "\n".join(rules))
        project.git("add", "--all")
        project.git("commit", "-qm", "Begin")
        project.write("src/starts_from_the_past.py", hostile_agents.RIGHT)
        project.git("add", "--all")
        project.git("commit", "-qm", "By somebody else")
        project.write("src/continues_nothing.py", hostile_agents.RIGHT)
        project.git("push", "-q", "origin", "main")
        project.git("checkout", "-q", "-b", "old")
        project.git("add", "--all")
        project.git("commit", "-qm", "Go on")
        project.git("push", "-q", "origin", "old")
        project.git("checkout", "-q", "main")
        self.first = self.git("rev-parse", "main")
        home = folder / "home"
        home.mkdir()
        (home / ".gitconfig").write_text(GITCONFIG)
        self.given = {"HOME": str(home), "ANTHROPIC_API_KEY": SECRET, "SOME_TOKEN": SECRET}
        self.given["GIT_CONFIG_GLOBAL"] = str(home / ".gitconfig")
        self._configure(isolation, worker)

    def _configure(self, isolation: str, worker: dict[str, str]) -> None:
        project, tool = self.project, self._folder / "tool"
        python = worker.pop("python", sys.executable)
        tool.mkdir()
        shutil.copy(hostile_agents.__file__, tool / "agent.py")
        settings = {
            "slots": "5", "lease": '"9s"', "heartbeat": '"0.3s"', "grace": '"0.5s"',
            "isolation": json.dumps(isolation), "time_limit": '"60s"', **worker,
        }  # fmt: skip
        project.write(
            "wavekeeper.toml",
            '[supervisor]\nmode = "auto"\n[approvals]\nscripted = true\n'
            "[judge]\nslots = 2\n[worker]\n"
            f"command = {json.dumps([python, str(tool / 'agent.py')])}\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
            + f"[worker.environment]\nPROJECT = {json.dumps(str(project.folder))}\n",
        )

    def play(self, beside: Callable[["Stage"], None] | None = None) -> Played:
        """From the submit to the last task that needs nobody but a person."""
        begun = time.monotonic()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.project.folder)
            for name, value in environment(**self.given).items():
                patch.setenv(name, value)
            ended = self.submit(self.waves.values(), "w1")
            assert ended.returncode == 0, ended.stderr
            try:
                self.start("run", "--interval", "0.2s")
                self.start("work", "--name", "h1")
                if beside is not None:
                    beside(self)
                with State(self.project.state / "state.db") as state:
                    self.wait_for(lambda: self.is_over(state))
            finally:
                for one in self.programs:
                    one.send_signal(signal.SIGTERM)
                for one in self.programs:
                    one.wait(30)
            return self._ended(time.monotonic() - begun)

    def submit(self, waves: Iterable[Wave], name: str) -> Ended:
        head = f'[wave]\nid = "{name}"\ngoal = "Twice of everything"\n'
        (self._folder / "w.toml").write_text(head + "".join(one.toml() for one in waves))
        return here("submit", str(self._folder / "w.toml"))

    def wait_for(self, look: Callable[[], bool]) -> None:
        """Until `look` is true, as long as the supervisor runs."""
        deadline = time.monotonic() + LIMIT
        while not look():
            assert time.monotonic() < deadline, self.log()
            assert self.programs[0].poll() is None, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def start(self, *words: str) -> None:
        with (self._folder / "log").open("ab") as log:
            self.programs.append(self.project.start(*words, stdout=log, **self.given))

    def put(self, branch: str, text: str, path: str) -> None:
        """Somebody else commits `text` as `path` on top of `branch`, by plumbing on the remote."""
        blob = self.git("hash-object", "-w", "--stdin", given=text)
        index = {"GIT_INDEX_FILE": str(self._folder / "index")}
        self.git("read-tree", branch, **index)
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", **index)
        tree = self.git("write-tree", **index)
        made = self.git("commit-tree", tree, "-p", branch, "-m", "Of somebody else")
        self.git("update-ref", f"refs/heads/{branch}", made)

    def merge(self, name: str) -> None:
        """Somebody merges the branch of a task, and deletes it."""
        tree = self.git("merge-tree", "--write-tree", "main", f"wavekeeper/{name}")
        parents = ("-p", "main", "-p", f"wavekeeper/{name}")
        self.git(
            "update-ref", "refs/heads/main", self.git("commit-tree", tree, *parents, "-m", "M")
        )
        self.git("update-ref", "-d", f"refs/heads/wavekeeper/{name}")

    def git(self, *arguments: str, given: str | None = None, **more: str) -> str:
        argv = ["git", f"--git-dir={self.project.origin}", *arguments]
        return subprocess.run(
            argv, check=True, capture_output=True, text=True, input=given, env=environment(**more)
        ).stdout.strip()

    def is_over(self, state: State) -> bool:
        """Whether every task is settled, or waits for a person."""
        asked = {one.proposal.task for one in state.approvals.requests(live=True)}
        open_ = {one.spec.id for one in state.waves.task_records(settled=False)}
        return open_ <= asked

    def _ended(self, seconds: float) -> Played:
        played = Played(self.project, self.waves, self.first, seconds=seconds)
        listed = json.loads(here("status", "--json").stdout)["tasks"]
        played.tasks = {one["id"]: one for one in listed}
        played.log = self.log()
        assert here("verify").returncode == 0
        settings = read_settings(Path("wavekeeper.toml"))
        policy = wiring.policy_of(settings)
        with wiring.open_journal(settings) as journal, wiring.open_reading(settings) as ports:
            for name in self.waves:
                record = ports.store.task_record(name)
                entry = decision_about(journal, name, record)
                said = account(journal, entry, record, policy, {})
                played.told[name] = said.model_dump_json(indent=1)
                seen = [one for one in said.evidence if one.kind == "commit-pushed" and one.holds]
                played.commits[name] = seen[-1].value if seen else None
        for name in PRINTED & self.waves.keys():
            played.printed[name] = here("explain", name).stdout + here("log", "--task", name).stdout
        played.printed["status"] = here("status").stdout
        return played


def check(played: Played, wave: Wave) -> None:
    """One wave ended as is right."""
    task, told = played.tasks[wave.name], played.told[wave.name]
    status, account = task["status"], (wave.name, task["status"], task["why"], told)
    if wave.right == "accepted":
        assert status == "accepted", account
    elif wave.right not in ("true", "unseen"):
        assert status != "accepted", account
    if wave.right == "person":
        assert task["asked"] is not None, account
    if wave.right == "unseen":
        assert status == "accepted", account
        assert fault(played, wave) is not None, account
    elif status == "accepted":
        assert fault(played, wave) is None, account
    assert re.search(wave.says, told), account
    assert SECRET not in told


def check_what_is_printed(played: Played) -> None:
    """Nothing of an agent reaches a terminal as anything but plain text."""
    for name, text in played.printed.items():
        assert not CONTROLS.search(text), (name, text)
