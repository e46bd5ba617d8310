"""Sets the scene of the demonstration: a repository, its bare origin, hosts, an accident."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.adapters.common import git

HERE: Final = Path(__file__).parent

TESTS: Final = {
    "discount": "from shop.discount import discounted\n",
    "rounding": "from shop.rounding import to_cents\n",
    "table": "from shop.table import prices\n",
    "gift": "from shop.gift import wrapped\n",
}
CHECKS: Final = {
    "discount": "self.assertEqual(discounted(200, 10), 180)",
    "rounding": "self.assertEqual(to_cents(2.675), 2.68)",
    "table": "self.assertEqual(len(prices()), 1000)",
    "gift": "self.assertEqual(wrapped(10), 13)",
}

SETTINGS: Final = """\
repository = {repository}
remote = {origin}
state = {state}

[supervisor]
mode = "auto"
interval = "0.5s"

[[queue]]
id = "main"
max_running = 5

[[queue]]
id = "edge"
max_running = 2

[[queue]]
id = "infra"
kind = "infrastructure"
risk = "low"

[model]
reviewer = "anthropic"
base_url = {address}

[worker]
command = [{python}, {agent}]
prompt = "stdin"
output = "jsonl"
workspace = {workspace}
slots = 5
lease = "5s"
heartbeat = "0.5s"
grace = "2s"
time_limit = "60s"
path = [{toolbox}]
queues = [{queues}]
# The agents are ours, and the accident kills one of them by its process id.
isolation = "none"

# The judge host beside the one that is killed may have a judgement in hand.
[judge]
lease = "5s"
heartbeat = "0.5s"

[worker.environment]
DEMO_SCENE = {scene}
GIT_AUTHOR_NAME = "demo agent"
GIT_AUTHOR_EMAIL = "agent@example.invalid"
GIT_COMMITTER_NAME = "demo agent"
GIT_COMMITTER_EMAIL = "agent@example.invalid"
GIT_AUTHOR_DATE = "{date}"
GIT_COMMITTER_DATE = "{date}"
"""
AGENTS_GIT: Final = """\
# Agents have the git of the person who starts them; these end in the same way for everybody.
GIT_CONFIG_GLOBAL = "/dev/null"
GIT_CONFIG_NOSYSTEM = "1"
GIT_CONFIG_COUNT = "0"
GIT_ATTR_NOSYSTEM = "1"
XDG_CONFIG_HOME = {scene}
"""
DATE: Final = "2026-01-01T00:00:00+00:00"
"""Of every commit, so that a recording of the demonstration can be made again, byte for byte."""


@dataclass
class Scene:
    """A folder with everything in it; nothing outside is touched."""

    folder: Path
    address: str
    """Of the API that the reviewer asks."""
    hosts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def repository(self) -> Path:
        """The user's own checkout, which nobody touches."""
        return self.folder / "shop"

    @property
    def origin(self) -> Path:
        """The bare repository that everybody pushes to."""
        return self.folder / "origin.git"

    @property
    def settings(self) -> Path:
        """The configuration of the supervisor."""
        return self.repository / "wavekeeper.toml"

    def build(self) -> None:
        """Make the repository, its bare origin, the toolbox and the configurations."""
        bare = ("init", "--quiet", "--bare", "--initial-branch=main", "--template=")
        git.run(*bare, str(self.origin), folder=self.folder)
        cloned = ("clone", "--quiet", "--template=", str(self.origin), str(self.repository))
        git.run(*cloned, folder=self.folder)
        self._seed()
        git.run("add", "--all", folder=self.repository)
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (
                ("NAME", "demo"), ("EMAIL", "demo@example.invalid"), ("DATE", DATE),
            )
        }  # fmt: skip
        git.run("commit", "--quiet", "-m", "Open the shop", folder=self.repository, env=who)
        git.run("push", "--quiet", "origin", "HEAD:refs/heads/main", folder=self.repository)
        toolbox = self.folder / "toolbox"
        toolbox.mkdir()
        (toolbox / "python3").symlink_to(sys.executable)
        self._configure(self.settings, ("main", "edge", "infra"))

    def ask(self, shipped: Path, expires: float) -> None:
        """Have a person asked, by questions that wait for so many seconds."""
        own = self.folder / "policies"
        own.mkdir()
        text = re.sub(
            r"(?m)^(low|medium|high) = .*", rf"\1 = {expires}", shipped.read_text("utf-8")
        )
        (own / shipped.name).write_text(text, encoding="utf-8")
        settings = self.settings.read_text(encoding="utf-8")
        asking = settings.replace('mode = "auto"', 'mode = "approve"')
        self.settings.write_text(f"policies = {quoted(own)}\n{asking}", encoding="utf-8")

    def start_host(self, name: str, queues: tuple[str, ...]) -> None:
        """Start a worker host as a process of its own, as `wavekeeper work` does."""
        folder = self.folder / "hosts" / name
        folder.mkdir(parents=True)
        self._configure(folder / "wavekeeper.toml", queues)
        with (folder / "log").open("ab") as log:
            self.hosts[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "agent", "-C", str(folder), "work", "--name", name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def accident(self) -> bool:
        """Once the dying task asks for it: its host and its agent are killed, as by a power cut."""
        asked = self.folder / "accident"
        if "host-b" not in self.hosts or not asked.exists():
            return False
        host = self.hosts.pop("host-b")
        host.send_signal(signal.SIGKILL)
        host.wait()
        os.kill(int(asked.read_text(encoding="utf-8")), signal.SIGKILL)
        return True

    def blocked(self) -> None:
        """Let the fix of the shared fault begin: both tasks that need it wait for it."""
        (self.folder / "blocked").touch()

    def close(self) -> None:
        """Stop every host; each stops its agents first."""
        for host in self.hosts.values():
            host.terminate()
        for host in self.hosts.values():
            try:
                host.wait(timeout=15)
            except subprocess.TimeoutExpired:
                host.kill()
                host.wait()

    def _seed(self) -> None:
        for name in ("shop", "tests"):
            (self.repository / name).mkdir()
            (self.repository / name / "__init__.py").touch()
        (self.repository / "README.md").write_text("# A small shop\n", encoding="utf-8")
        for name, imports in TESTS.items():
            body = (
                f"import unittest\n\n{imports}\n\nclass Test(unittest.TestCase):\n"
                f"    def test_{name}(self):\n        {CHECKS[name]}\n"
            )
            path = self.repository / "tests" / f"test_{name}.py"
            path.write_text(body, encoding="utf-8")

    def _configure(self, path: Path, queues: tuple[str, ...]) -> None:
        text = (SETTINGS + AGENTS_GIT).format(
            repository=quoted(self.repository),
            origin=quoted(self.origin),
            state=quoted(self.folder / "state"),
            python=quoted(sys.executable),
            agent=quoted(HERE / "scripted_agent.py"),
            workspace=quoted(self.folder / "worktrees"),
            toolbox=quoted(self.folder / "toolbox"),
            scene=quoted(self.folder),
            address=quoted(self.address),
            date=DATE,
            queues=", ".join(quoted(queue) for queue in queues),
        )
        path.write_text(text, encoding="utf-8")


@contextmanager
def staged(folder: Path, address: str) -> Iterator[Scene]:
    """A built scene with its first two hosts; all hosts are stopped at the end."""
    scene = Scene(folder, address)
    scene.build()
    try:
        scene.start_host("host-a", ("main", "infra"))
        scene.start_host("host-b", ("edge",))
        yield scene
    finally:
        scene.close()


def quoted(value: object) -> str:
    """As a TOML string."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
