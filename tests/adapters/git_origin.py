"""A real bare origin and somebody who works on it."""

import os
import shutil
import subprocess

from agent.adapters.evidence.git import GitEvidence
from agent.core.model.queueing import Order, TaskView
from tests.adapters.waves_contract import NOW, spec

BRANCH = "wave/a"
DOCUMENTS = ("**/*.md", "docs/**")

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_NAME": "Somebody" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "somebody@example.invalid" for who in ("AUTHOR", "COMMITTER")},
}


class Origin:
    """`bare` is the remote, `work` a checkout of it, with `main` pushed and checked out."""

    def __init__(self, folder):
        self.bare = folder / "origin.git"
        self.work = folder / "work"

    @classmethod
    def empty(cls, folder):
        origin = cls(folder)
        cls.at(folder, "init", "-q", "--bare", "--initial-branch=main", str(origin.bare))
        cls.at(folder, "init", "-q", "--initial-branch=main", str(origin.work))
        origin.git("remote", "add", "origin", "../origin.git")
        return origin

    @classmethod
    def new(cls, folder):
        origin = cls.empty(folder)
        origin.write("src/one.py", "1\n")
        origin.write("README.md", "read\n")
        origin.write("other/one.py", "a file that is long enough to be seen as renamed\n" * 9)
        origin.commit()
        origin.push("main")
        return origin

    def copy(self, folder):
        """A good deal faster than another new one."""
        shutil.copytree(self.bare, folder / "origin.git")
        shutil.copytree(self.work, folder / "work")
        return Origin(folder)

    @staticmethod
    def at(folder, *arguments, data=None):
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=ENVIRONMENT,
            input=data,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout.decode()

    def git(self, *arguments, data=None):
        return self.at(self.work, *arguments, data=data).strip()

    def write(self, path, text=""):
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.git("add", "--", path)

    def index(self, mode, commit, path):
        """Put something into the index that need not be in the folder; `path` may be bytes."""
        raw = path if isinstance(path, bytes) else path.encode()
        self.git("update-index", "-z", "--index-info", data=f"{mode} {commit}\t".encode() + raw)

    def commit(self, *options):
        self.git("commit", "-q", "--allow-empty", "-m", "a commit", *options)
        return self.git("rev-parse", "HEAD")

    def branch(self, name=BRANCH, start="HEAD"):
        self.git("checkout", "-q", "-f", "-B", name, start)

    def push(self, *what):
        self.git("push", "-q", "--force", "origin", *(what or (BRANCH,)))

    def pushed(self, *paths):
        """One commit that changes `paths`, pushed to the task's branch."""
        self.branch()
        for path in paths:
            self.write(path, "changed\n")
        commit = self.commit()
        self.push()
        return commit


class Prober:
    """Probes like a tick does, and gives back the two answers."""

    def __init__(self, remote, folder, **options):
        self.evidence = GitEvidence(str(remote), folder, DOCUMENTS, **options)

    def diff(self, pushed=None):
        """Of what a probe has seen of the branch: just now, if nothing is named."""
        pushed = pushed or self()[0]
        return self.evidence.diff(pushed.base, pushed.value or "0" * 40)

    def __call__(self, pushed=None, **changes):
        task = spec("a", **({"branch": BRANCH} | changes))
        order = Order(kind=task.kind, branch=task.branch)
        view = TaskView(
            id="a",
            queue="delivery",
            state="succeeded",
            attempt=2,
            prompt="Do a.",
            order=order,
            created_at=NOW,
            updated_at=NOW,
            pushed=pushed,
        )
        commit, scope = self.evidence.probe(task, view, NOW)
        assert (commit.id, scope.id) == ("commit-pushed@2", "scope-respected@2")
        assert all(
            (one.origin, one.observed_at, one.attempt) == ("observed", NOW, 2)
            for one in (commit, scope)
        )
        assert all(one.detail is not None and one.detail.isprintable() for one in (commit, scope))
        return commit, scope
