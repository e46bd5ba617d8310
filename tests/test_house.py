"""The house's own rules. Each failure says what to do instead."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.adapters.files.policy import read_policy
from agent.core.guard.guard import FLOOR, STALE_CLEARANCE

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "agent").rglob("*.py"))
PYTHON = sorted(
    path for top in ("agent", "tests", "benchmarks") for path in (ROOT / top).rglob("*.py")
)
CORE = sorted((ROOT / "agent" / "core").rglob("*.py"))

# What reaches outside, asks the time, draws chance or waits. The standard library's pure modules
# are the only others that the core may import.
PURE = {
    "bisect", "collections", "dataclasses", "datetime", "difflib", "enum", "fnmatch", "functools",
    "graphlib", "hashlib", "heapq", "itertools", "json", "math", "re", "shlex", "string",
    "tomllib", "types", "typing", "unicodedata", "pydantic", "pydantic_core", "agent", "operator",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "perf_counter"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_the_core_imports_nothing_that_reaches_outside(path):
    for node in ast.walk(_tree(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            assert top in PURE, (
                f"{_name(path)}:{node.lineno} imports {name}: pass what it gives as an argument"
            )
            if top == "agent":
                assert name.startswith(("agent.core", "agent.errors")), (
                    f"{_name(path)}:{node.lineno} imports {name}: the core knows only itself"
                )


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_the_core_asks_no_clock_opens_nothing_and_never_waits(path):
    for node in ast.walk(_tree(path)):
        where = f"{_name(path)}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor), (
            f"{where}: no async in the core; ask the world before, decide here"
        )
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute):
            assert node.func.attr not in CLOCKS, f"{where}: take `now` as an argument"
        if isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval", "id", "hash"}, (
                f"{where}: {node.func.id}() has no place in the core"
            )


def test_deciding_opens_no_file_and_no_socket():
    """An audit hook sees what the imports and calls above might miss."""
    program = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from agent.adapters.files.policy import read_policy
from agent.core.model.nouns import Snapshot, Task
from agent.core.plan import planner
policy = read_policy(Path(sys.argv[1]))
snapshot = Snapshot(now=datetime(2026, 11, 22, tzinfo=UTC), mode="auto", tasks=(
    Task(id="T-1", kind="code-change", status="running", attempt=1),
    Task(id="T-2", kind="code-change", status="failed", attempt=1, inspected=True),
))
planner.decide(snapshot, policy)
watched = ("open", "socket.", "subprocess.", "os.", "sqlite3.", "time.", "shutil.")
def hook(event, arguments):
    if event.startswith(watched):
        raise SystemExit(f"the core did {event} {arguments}")
sys.addaudithook(hook)
said = planner.decide(snapshot, policy).sentence
sys.stdout.write(said)
"""
    asked = subprocess.run(
        [sys.executable, "-c", program, str(ROOT / "policies")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.endswith(".")


@pytest.mark.parametrize("path", PYTHON, ids=_name)
def test_files_and_functions_stay_short(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 700, f"{_name(path)} has {lines} lines: move one responsibility to its own file"
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 50, (
                f"{_name(path)}:{node.lineno} {node.name} has {length} lines: name its parts"
            )


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_broad_except_swallows_what_it_caught(path):
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else "everything"
        if caught in ("everything", "Exception", "BaseException"):
            assert any(isinstance(one, ast.Raise | ast.Call) for one in ast.walk(node)), (
                f"{_name(path)}:{node.lineno} catches {caught} and drops it: record or re-raise"
            )


def test_the_floor_has_the_same_names_everywhere():
    """One name in four places: guard, policy, test, journal."""
    names = {invariant.name for invariant in FLOOR}
    policy = read_policy(ROOT / "policies")
    forbids = {rule.id for rule in policy.guard.rule if rule.effect == "forbid"}
    assert names <= forbids
    tests = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))
    )
    missing = [name for name in sorted({*names, STALE_CLEARANCE}) if name not in tests]
    assert not missing, f"no test names {missing}: add one in which it is the only reason"


def test_nothing_names_a_machine():
    """Paths and hosts of one machine make a file untrue on the next."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=True, timeout=30
    ).stdout.decode()
    found = []
    private = re.compile(r"(?<![\w./])/(?:root|home/[a-z]+|Users/[A-Za-z]+|work)/[\w.-]+")
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".j2", ".yml", ".yaml", ""} and path.is_file():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if private.search(line) and name != "tests/test_house.py":
                    found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert not found, "paths of one machine: " + "; ".join(found)


ACTING = {
    "queue": {"submit", "retry", "interrupt", "cancel", "move", "mark_read"},
    "issues": {"open", "comment", "close"},
    "remedies": {"carry_out"},
    "references": {"propose"},
}


def _acts(path: Path):
    """Where a file calls what changes the world: line and call."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute | ast.Name):
            port = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
            if node.attr in ACTING.get(port.lstrip("_"), ()):
                yield node.lineno, f"{port}.{node.attr}"


def test_only_the_effects_change_the_world_and_only_the_executor_has_them():
    """Complete mediation: the way to every effect leads through a clearance."""
    assert len(list(_acts(ROOT / "agent" / "runtime" / "effects.py"))) >= 8
    for path in SOURCES:
        name = _name(path)
        if name.startswith("agent/adapters/") or name == "agent/runtime/effects.py":
            continue
        for line, call in _acts(path):
            pytest.fail(f"{name}:{line} calls {call}: propose it, and let the executor act")
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module == "agent.runtime.effects":
                names = {alias.name for alias in node.names}
                assert name == "agent/runtime/executor.py" or not names & {"ACT", "REMEMBER"}, (
                    f"{name}:{node.lineno} takes effects past the executor"
                )


def test_the_executor_takes_a_clearance_and_nothing_else():
    tree = _tree(ROOT / "agent" / "runtime" / "executor.py")
    (method,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "carry_out"
    )
    assert ast.unparse(method.args.args[1].annotation) == "Cleared"
    callers = [_name(path) for path in SOURCES if "ACT[" in path.read_text(encoding="utf-8")]
    assert callers == ["agent/runtime/executor.py"]
