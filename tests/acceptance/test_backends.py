"""Backends of another package: the examples of docs/backends.md, installed and used."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent import backends
from agent.adapters.files.config import read_settings
from agent.adapters.state.db import State
from agent.backends import (
    AgentBackend,
    EvidenceBackend,
    IssuesBackend,
    QueueBackend,
    find,
    names,
)
from agent.errors import ConfigurationError
from tests.acceptance.program import COMMAND, GOOD, SETTINGS, Project, environment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/backends.md").read_text("utf-8")
DECLARED, USED = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
GROUPS = (QueueBackend, AgentBackend, EvidenceBackend, IssuesBackend)
MODULES = dict(re.findall(r"`(\w+\.py)`: .*?```python\n(.*?)```", PAGE, re.DOTALL))


def install(site, package, groups, modules):
    """What an installer leaves behind, without one: modules, metadata and entry points."""
    info = site / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, text in modules.items():
        (site / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    project = Project.whole(tmp_path_factory.mktemp("backends"))
    project.push_a_first_commit()
    return project


@pytest.fixture
def project(bare, tmp_path):
    return bare.copy(tmp_path)


@pytest.fixture
def site(tmp_path):
    return tmp_path / "site"


def program(project, site, *arguments):
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=project.folder,
        env=environment(PYTHONPATH=f"{site}:{ROOT}"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


DELIVERS = """
import pathlib, subprocess
path = pathlib.Path("services/mailer/one.py")
path.parent.mkdir(parents=True)
path.write_text("x = 1")
for command in (["add", "."], ["commit", "-qm", "Name it"],
                ["push", "-q", "origin", "HEAD:refs/heads/wavekeeper/T-1"]):
    subprocess.run(["git", *command], check=True)
"""


def entry_points():
    return tomllib.loads(DECLARED)["project"]["entry-points"]


def test_the_examples_of_the_documentation_work_as_another_package(project, site):
    install(site, "acme-backends", entry_points(), MODULES)
    assert len(MODULES) == len(entry_points()) == 4
    settings = USED.replace("\"print('nothing to do')\"", f"'''{DELIVERS}'''")
    project.write("wavekeeper.toml", SETTINGS + settings)
    wave = GOOD.replace('queue = "main"', 'queue = "main"\nservice = "shop"').replace(
        "code-change", "artifact-delivery"
    )
    project.write("w.toml", wave.replace('["python3", "services/mailer/check.py"]', '["true"]'))
    project.write("shop.json", '{"digest": "sha256:1"}')

    ended = program(project, site, "doctor", "--json")
    checks = {one["name"]: one for one in json.loads(ended.stdout)["checks"]}
    assert ended.returncode == 0, checks
    assert "is made with the first task" in checks["shared queue"]["said"]
    assert checks["agent"]["said"] == "python3 is found"
    assert "sha256:1" in checks["service shop: manifest"]["said"]
    assert "prod-digest" not in checks["service shop"]["said"]
    assert checks["issues"]["said"] == f"in {project.folder / 'notebook'}"
    assert {"worker", "queues"}.isdisjoint(checks)

    ended = program(project, site, "submit", "w.toml")
    assert (ended.returncode, ended.stderr) == (0, "")
    ended = program(project, site, "run", "--once")
    assert "submitted to main" in ended.stdout, ended.stderr
    assert (project.folder / "shared/queue.db").exists()
    assert not (project.state / "queue.db").exists()

    assert work_until(project, site, "finished") == 143
    for _ in ("inspect the result", "fetch its evidence"):
        ended = program(project, site, "run", "--once")
        assert ended.returncode == 0, ended.stderr
    (shown,) = json.loads(program(project, site, "status", "--json").stdout)["tasks"]
    assert shown["id"] == "T-1"
    with State(project.state / "state.db") as state:
        ticks = [one.record.body for one in state.journal.entries(kinds=["tick"])]
        (task,) = state.journal.snapshot(ticks[-1]["snapshot"]).tasks
    assert [(one.id, one.value) for one in task.evidence if one.kind == "prod-digest"] == [
        ("prod-digest@1.manifest", "sha256:1")
    ]


def work_until(project, site, word):
    """Run the workers' host until it reports this."""
    with subprocess.Popen(
        [*COMMAND, "work", "--name", "host"],
        cwd=project.folder,
        env=environment(PYTHONPATH=f"{site}:{ROOT}"),
        stdout=subprocess.PIPE,
        text=True,
    ) as host:
        try:
            assert any(word in line for line in iter(host.stdout.readline, ""))
            host.terminate()
            host.communicate(timeout=30)
        finally:
            host.kill()
    return host.returncode


def test_a_tracker_of_the_documentation_doubles_nothing(tmp_path):
    module = {}
    exec(MODULES["notebook.py"], module)  # noqa: S102 - our own page
    notebook = module["Notebook"](tmp_path / "notebook")
    assert notebook.find("f") is None
    issue = notebook.open("f", "title", "body")
    assert notebook.open("f", "title", "body") == notebook.find("f") == issue
    for _ in range(2):
        notebook.comment(issue.id, "again", key="k")
    notebook.close(issue.id, "fixed", key="c")
    assert notebook.is_open(issue.id) is False
    assert Path(issue.where).read_text().count("again") == 1
    assert notebook.open("f", "title", "seen again") == issue
    assert notebook.is_open(issue.id) is True


QUEUE = {"wavekeeper.queues": {"mine": "mine:BACKEND"}}
BAD = [
    pytest.param(QUEUE, {}, "of the package acme cannot be imported (ModuleNotFoundError: No "
                 "module named 'mine')", id="not there"),
    pytest.param(QUEUE, {"mine.py": "1 / 0"}, "cannot be imported (ZeroDivisionError",
                 id="an error in it"),
    pytest.param(QUEUE, {"mine.py": "BACKEND = object()"},
                 "of the package acme (mine:BACKEND) is no QueueBackend", id="another shape"),
    pytest.param(QUEUE, {"mine.py": "from agent.adapters.issues.local import BACKEND"},
                 "is no QueueBackend", id="of another group"),
]  # fmt: skip


@pytest.mark.parametrize(("groups", "modules", "says"), BAD)
def test_a_backend_that_cannot_be_used_is_one_line(project, site, groups, modules, says):
    install(site, "acme", groups, modules)
    project.write("wavekeeper.toml", '[queue]\nkind = "mine"\n')
    ended = program(project, site, "status")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "wavekeeper.toml: wavekeeper.queues: 'mine'" in ended.stderr
    assert says in ended.stderr


@pytest.mark.parametrize("name", ["mine", "embedded"])
def test_two_packages_with_one_name_are_named(project, site, name):
    groups = {"wavekeeper.queues": {name: "mine:BACKEND"}}
    install(site, "acme", groups, {})
    if name == "mine":
        install(site, "best", groups, {})
    project.write("wavekeeper.toml", '[queue]\nkind = "mine"\n' if name == "mine" else "")
    ended = program(project, site, "status")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    both = "acme and best" if name == "mine" else "acme and wavekeeper"
    assert f"comes from {both}; remove one of the two" in ended.stderr


def test_a_backend_that_nobody_names_is_not_imported(project, site):
    install(site, "acme", QUEUE, {"mine.py": "1 / 0"})
    assert program(project, site, "status").returncode == 0


FAULTS = [
    pytest.param("queues = [", "queeus = [", 7, "did you mean 'queues'?", id="a queue's key"),
    pytest.param('"shared-file"', '"shared-fil"', 5, "did you mean 'shared-file'?", id="a kind"),
    pytest.param('script = "', 'script = 1 #"', 13, "must be text in quotes", id="an agent's"),
    pytest.param('kind = "scripted"', 'kind = "script"', 11, "did you mean 'scripted'?",
                 id="an agent's kind"),
    pytest.param('agent = "mine"', 'agent = "mein"', 16, "no agent 'mein'; did you mean 'mine'?",
                 id="no such agent"),
    pytest.param('agent = "mine"', 'agent = "mine"\ncommand = ["a"]', 17,
                 "'command' is of no use to the agent 'mine'", id="agent and command"),
    pytest.param("[services.shop.manifest]\nfile", "[services.shop.manifest]\nfiel", 19,
                 "did you mean 'file'?", id="a source's"),
    pytest.param("shop.manifest", "shop.manifset", 18, "did you mean 'manifest'?", id="a source"),
    pytest.param('home = "notebook"', 'home = "notebok"', 22, "did you mean 'notebook'?",
                 id="a home"),
    pytest.param("folder = ", "foldr = ", 23, "did you mean 'folder'?", id="a tracker's"),
]  # fmt: skip


@pytest.fixture
def examples(site, monkeypatch):
    """The examples, found in this process."""
    install(site, "acme-backends", entry_points(), MODULES)
    monkeypatch.syspath_prepend(site)
    backends._declared.cache_clear()
    yield
    backends._declared.cache_clear()


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize(("old", "new", "line", "says"), FAULTS)
def test_a_fault_in_the_table_of_a_backend_has_its_line(tmp_path, old, new, line, says):
    path = tmp_path / "wavekeeper.toml"
    assert USED.count(old) == 1
    path.write_text(SETTINGS + USED.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        read_settings(path)
    assert str(caught.value).startswith(f"{path}:{line}: "), caught.value
    assert says in str(caught.value)


def test_what_asks_no_model_imports_no_model():
    """A model's SDK takes a second to import, and `status` is asked often."""
    asks = "import agent.wiring, agent.cli.doctor, sys; sys.exit('anthropic' in sys.modules)"
    command = [sys.executable, "-c", asks]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("group", GROUPS)
def test_every_built_in_backend_is_found_where_pyproject_declares_it(group):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(names(group)) >= set(declared["entry-points"][group.GROUP])
    for name in declared["entry-points"][group.GROUP]:
        assert isinstance(find(group, name), group)
