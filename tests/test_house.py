"""The house's own rules. Each failure says what to do instead."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from agent.adapters.files.policy import read_policy
from agent.core.guard.guard import FLOOR, STALE_CLEARANCE
from agent.core.model.nouns import Snapshot

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "agent").rglob("*.py"))
CORE = sorted((ROOT / "agent" / "core").rglob("*.py"))

# What reaches outside, asks the time, draws chance or waits. The standard library's pure modules
# are the only others that the core may import.
PURE = {
    "abc", "bisect", "collections", "dataclasses", "datetime", "difflib", "enum", "fnmatch",
    "base64",
    "functools", "graphlib", "hashlib", "heapq", "itertools", "json", "math", "re", "shlex",
    "string", "tomllib", "types", "typing", "unicodedata", "pydantic", "pydantic_core", "agent",
    "operator",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "perf_counter"}


FORBIDDEN_CALLS = {"open", "print", "input", "exec", "eval", "id", "hash"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _walked(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(_tree(path)))


def _nodes(paths: Iterable[Path]) -> Iterator[tuple[Path, ast.AST]]:
    """Every node of these files with its file."""
    paths = list(paths)
    assert paths, "there is no file to look at"
    for path in paths:
        for node in _walked(path):
            yield path, node


def _at(path: Path, node: ast.AST) -> str:
    return f"{_name(path)}:{getattr(node, 'lineno', 0)}"


def _none(findings: Iterable[str]) -> None:
    """Fail with every finding, one a line."""
    found = list(findings)
    assert not found, "\n".join(["", *found])


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            return [node.module or ""]
    return []


def _reaching_outside() -> Iterator[str]:
    for path, node in _nodes(CORE):
        for name in _imported(node):
            if name.partition(".")[0] not in PURE:
                yield f"{_at(path, node)} imports {name}: pass what it gives as an argument"
            elif name.startswith("agent") and not name.startswith(("agent.core", "agent.errors")):
                yield f"{_at(path, node)} imports {name}: the core knows only itself"


def test_the_core_imports_nothing_that_reaches_outside():
    _none(_reaching_outside())


def _impure() -> Iterator[str]:
    for path, node in _nodes(CORE):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor():
                yield f"{_at(path, node)}: no async in the core; ask the world before, decide here"
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS:
                yield f"{_at(path, node)}: take `now` as an argument"
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                yield f"{_at(path, node)}: {name}() has no place in the core"


def test_the_core_asks_no_clock_opens_nothing_and_never_waits():
    _none(_impure())


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


def _swallowing() -> Iterator[str]:
    for path, node in _nodes(SOURCES):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            broad = caught in ("everything", "Exception", "BaseException")
            if broad and not any(isinstance(one, ast.Raise | ast.Call) for one in ast.walk(node)):
                yield f"{_at(path, node)} catches {caught} and drops it: record or re-raise"


def test_no_broad_except_swallows_what_it_caught():
    _none(_swallowing())


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
    _none(found)


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


def _past_the_executor() -> Iterator[str]:
    for path in SOURCES:
        name = _name(path)
        if name.startswith("agent/adapters/") or name == "agent/runtime/effects.py":
            continue
        for line, call in _acts(path):
            yield f"{name}:{line} calls {call}: propose it, and let the executor act"
        for node in _walked(path):
            if isinstance(node, ast.ImportFrom) and node.module == "agent.runtime.effects":
                names = {alias.name for alias in node.names}
                if name != "agent/runtime/executor.py" and names & {"EFFECTS"}:
                    yield f"{_at(path, node)} takes effects past the executor"


def test_only_the_effects_change_the_world_and_only_the_executor_has_them():
    """Complete mediation: the way to every effect leads through a clearance."""
    assert len(list(_acts(ROOT / "agent" / "runtime" / "effects.py"))) >= 8
    _none(_past_the_executor())


def test_the_executor_takes_a_clearance_and_nothing_else():
    tree = _tree(ROOT / "agent" / "runtime" / "executor.py")
    (method,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "carry_out"
    )
    assert ast.unparse(method.args.args[1].annotation) == "Cleared"
    callers = [_name(path) for path in SOURCES if "EFFECTS[" in path.read_text(encoding="utf-8")]
    assert callers == ["agent/runtime/executor.py"]


ONLY_DECIDE = {
    # No agent's adapter knows yet whether it waits, and whether its session can go on.
    "Task.waiting_for": "nobody",
    "Task.session_continuable": "always True",
    # What a worker says is kept as its final response; a claimed item comes in by `decide` alone.
    "Evidence.origin": "always 'observed'",
}
"""What a rule reads and the product never fills, or fills with one word: input of `decide` only."""


def _nouns(*kinds: type[BaseModel]) -> set[type[BaseModel]]:
    """These models and all that stand in their fields."""
    found: set[type[BaseModel]] = set()
    todo: list[Any] = list(kinds)
    while todo:
        one = todo.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            if one not in found:
                found.add(one)
                todo += [field.annotation for field in one.model_fields.values()]
        else:
            todo += get_args(one)
    return found


def _filled(nouns: Iterable[type[BaseModel]]) -> dict[str, set[str]]:
    """What `Noun.field` is given: by a call that makes the noun, or in a dict of its fields."""
    given: dict[str, set[str]] = {}
    for _, node in _nodes(SOURCES):
        match node:
            case ast.Call(func=ast.Name(id=name), keywords=keywords):
                for one in keywords:
                    given.setdefault(f"{name}.{one.arg}", set()).add(ast.unparse(one.value))
            case ast.Dict(keys=[_, *_] as keys, values=values) if all(
                isinstance(key, ast.Constant) for key in keys
            ):
                names = [key.value for key in keys]
                for noun in nouns:
                    if noun.model_fields.keys() >= set(names):
                        for name, value in zip(names, values, strict=True):
                            text = ast.unparse(value)
                            given.setdefault(f"{noun.__name__}.{name}", set()).add(text)
    return given


def _never_filled() -> Iterator[tuple[str, str]]:
    rules = [path for path in CORE if path.stem not in {"model", "contract"}]
    read = {node.attr for _, node in _nodes(rules) if isinstance(node, ast.Attribute)}
    nouns = _nouns(Snapshot)
    filled = _filled(nouns)
    for noun in nouns:
        for name in noun.model_fields.keys() & read:
            given = filled.get(f"{noun.__name__}.{name}", set())
            words = [ast.parse(text, mode="eval").body for text in given]
            if not words:
                yield f"{noun.__name__}.{name}", "nobody"
            elif len(words) == 1 and isinstance(words[0], ast.Constant):
                default = noun.model_fields[name].get_default()
                # What is left out means something, too, unless it means that nobody knows.
                if default in (None, PydanticUndefined, words[0].value):
                    yield f"{noun.__name__}.{name}", f"always {words[0].value!r}"


def test_what_a_rule_reads_is_filled_by_the_product():
    """A field that only tests fill makes a rule that no run can reach."""
    assert dict(_never_filled()) == ONLY_DECIDE
