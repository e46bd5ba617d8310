"""A task with its worktree, for a real coding agent whose model follows a script on loopback."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from agent.adapters.agents import isolation
from agent.adapters.git.worktrees import GitWorktrees
from agent.backends import AgentBackend, Boundary, Context, find
from agent.ports import Exit, Run, Runner, RunSpec
from tests.adapters import git_person
from tests.adapters.loopback import Asked, Reply, Server
from tests.adapters.processes import until

MODES = [
    pytest.param("none", id="as the person"),
    pytest.param(
        "bubblewrap",
        id="behind bubblewrap",
        marks=pytest.mark.skipif(isolation.fault() is not None, reason="bubblewrap does not work"),
    ),
]
PUSH = "git push -q origin HEAD:refs/heads/work/T-1"

Follow = Callable[[list[Reply], Asked], Reply]


@dataclass
class World:
    """`table`: the agent's settings, as they stand in `wavekeeper.toml`."""

    place: Path
    model: Server
    kind: str
    table: Mapping[str, object]
    follow: Follow
    boundary: Boundary = field(init=False)
    worktree: Path = field(init=False)

    def __post_init__(self) -> None:
        git_person.found(self.place)
        origin, state = self.place / "origin.git", self.place / "state"
        clones = state / "clone"
        trees = GitWorktrees(str(origin), self.place / "trees", clones, str(origin))
        self.worktree = trees.prepare("T-1", "work/T-1")
        self.boundary = Boundary(
            clones=clones.resolve(), hidden=(state, self.place / "trees"), remotes=(origin,)
        )

    def runner(self, mode: str) -> Runner:
        backend = find(AgentBackend, self.kind)
        own = backend.settings.model_validate(dict(self.table), context={"folder": self.place})
        boundary = Boundary(**{**vars(self.boundary), "isolation": mode})
        now = partial(datetime.now, UTC)
        return backend.open(own, Context(state=self.place, now=now, boundary=boundary))

    def start(self, mode: str, script: list[Reply], attempt: int = 1, **more: object) -> Run:
        self.model.otherwise = partial(self.follow, script)
        spec = RunSpec(
            mark=f"T-1/{attempt}/{uuid.uuid4().hex}",
            folder=self.place / "runs" / f"T-1-{attempt}",
            cwd=self.worktree,
            prompt=f"Do the work, attempt {attempt}.",
            **more,
        )
        return self.runner(mode).start(spec)

    def ended(self, mode: str, script: list[Reply], **more: object) -> tuple[Run, Exit]:
        run = self.start(mode, script, **more)
        return run, until(run.poll, 60)

    def pushed(self) -> str:
        """What is in the file `f1.txt` of the task's branch."""
        return git_person.git(self.place / "origin.git", "show", "work/T-1:f1.txt")
