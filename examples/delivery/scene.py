"""Sets the scene of the delivery: a repository with CI, a registry, dev, production and a host."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx

from agent.adapters.common import git
from agent.cli.demo.scene import AGENTS_GIT, Scene, quoted
from examples.delivery.ci import build
from examples.delivery.registry import installed, own_registry, real_registry
from examples.delivery.scripted_agent import SERVICES

ROOT: Final = str(Path(__file__).parents[2])
"""Where `examples` is found: the scene's programs start in folders of their own."""

SETTINGS: Final = """\
repository = {repository}
remote = {origin}
state = {state}

[supervisor]
mode = "auto"
interval = "0.5s"

[[queue]]
id = "main"
max_running = 4

[[queue]]
id = "infra"
kind = "infrastructure"
risk = "low"

[worker]
command = [{python}, "-P", "-m", "examples.delivery.scripted_agent"]
prompt = "stdin"
output = "jsonl"
workspace = {workspace}
slots = 4
lease = "10s"
heartbeat = "0.5s"
grace = "2s"
time_limit = "60s"

[worker.environment]
PYTHONPATH = {root}
DEMO_REGISTRY = {registry}
DEMO_DEV = {dev}
DEMO_PRODUCTION = {production}
GIT_AUTHOR_NAME = "demo agent"
GIT_AUTHOR_EMAIL = "agent@example.invalid"
GIT_COMMITTER_NAME = "demo agent"
GIT_COMMITTER_EMAIL = "agent@example.invalid"
"""

SERVICE: Final = """
[services.{name}]
patience = "1s"                       # a real one takes longer; here nothing is on its way
[services.{name}.image]
registry = "{registry}"
repository = "kiosk/{name}"
[[services.{name}.look]]
proof = "dev-digest"
url = "{dev}/{name}/version"
pointer = "/image"
[[services.{name}.look]]
proof = "prod-digest"
url = "{production}/{name}/version"
pointer = "/image"
[[services.{name}.look]]
proof = "no-source-rebuild"
url = "{production}/{name}/version"
pointer = "/builtFromSource"
expect = false
[[services.{name}.look]]
proof = "live-health"
url = "{production}/{name}/live"
pointer = "/status"
expect = "ok"
[[services.{name}.look]]
proof = "live-version"
url = "{production}/{name}/live"
pointer = "/commit"
"""

HOOK: Final = """\
#!{python} -P
import os
import runpy
import sys
sys.path.append({root!r})
os.environ.update(DEMO_REGISTRY={registry!r}, DEMO_SERVICES={services!r})
runpy.run_module("examples.delivery.ci", run_name="__main__")
"""


class DeliveryScene(Scene):
    """Everything in one folder and on loopback; nothing outside is touched."""

    registry = dev = production = ""

    def deliver_first(self) -> None:
        """Deploy what main holds everywhere: the old version that has to be replaced."""
        origin = self.origin
        first = git.run("rev-parse", "main", folder=origin).strip()
        for service in SERVICES.values():
            digest = build(self.registry, origin, first, service)
            for where in (self.dev, self.production):
                url = f"{where}/{service}/deploy"
                told = httpx.post(url, json={"digest": digest}, timeout=30, trust_env=False)
                told.raise_for_status()
        hook = origin / "hooks" / "post-receive"
        hook.parent.mkdir(exist_ok=True)
        text = HOOK.format(
            python=sys.executable,
            root=ROOT,
            registry=self.registry,
            services=" ".join(SERVICES.values()),
        )
        hook.write_text(text, encoding="utf-8")
        hook.chmod(0o755)

    def _seed(self) -> None:
        for service in SERVICES.values():
            (self.repository / service).mkdir()
            prices = json.dumps({"coffee": 2}, indent=1) + "\n"
            (self.repository / service / "prices.json").write_text(prices, encoding="utf-8")

    def _configure(self, path: Path, queues: tuple[str, ...]) -> None:
        del queues
        places = {"registry": self.registry, "dev": self.dev, "production": self.production}
        text = (SETTINGS + AGENTS_GIT).format(
            repository=quoted(self.repository),
            origin=quoted(self.origin),
            scene=quoted(self.folder),
            state=quoted(self.folder / "state"),
            python=quoted(sys.executable),
            root=quoted(ROOT),
            workspace=quoted(self.folder / "worktrees"),
            **{name: quoted(url) for name, url in places.items()},
        )
        text += "".join(SERVICE.format(name=name, **places) for name in SERVICES.values())
        path.write_text(text, encoding="utf-8")


@contextmanager
def staged(folder: Path) -> Iterator[DeliveryScene]:
    """A built scene with its registry, environments and host; all are stopped at the end."""
    program = installed()
    scene = DeliveryScene(folder, address="")
    with ExitStack() as stack:
        registry = real_registry(program) if program else own_registry()
        scene.registry = stack.enter_context(registry)
        scene.dev = stack.enter_context(_environment(scene.registry))
        scene.production = stack.enter_context(_environment(scene.registry))
        scene.build()
        scene.deliver_first()
        stack.callback(scene.close)
        scene.start_host("host-a", ("main", "infra"))
        yield scene


@contextmanager
def _environment(registry: str) -> Iterator[str]:
    """The address of a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "examples.delivery.environment"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ROOT, "DEMO_REGISTRY": registry},
        text=True,
    ) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()
