"""Change one thing at a time in the guard's code, and see whether a test notices.

A driver of its own, because the tests read `policies/` and the tree itself beside the package, and
because a fresh interpreter for each mutant would cost more than the tests: third-party packages
are imported once and each mutant runs in a fork, in a copy of the package. The wording of messages,
types and docstrings are left alone. Target: 95 % killed; survivors are printed, and explained in
docs/guard.md.

    python benchmarks/mutants.py [--every 1] [--jobs 2] [FILE ...]
"""

import argparse
import ast
import copy
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis  # noqa: F401 - imported once, for all forks
import jinja2  # noqa: F401
import pydantic  # noqa: F401
import pytest

ROOT = Path(__file__).parents[1]
FILES = ("agent/core/guard/guard.py", "agent/core/guard/facts.py")
TESTS = (
    "tests/core/test_guard.py",
    "tests/core/test_guard_lint.py",
    "tests/core/test_facts.py",
    "tests/core/test_judgement.py",
    "tests/core/test_injection.py",
    "tests/core/test_gate.py",
    "tests/adapters/test_policy_files.py",
)
TARGET = 0.95
PATIENCE = 300
"""Seconds; a mutant that runs longer is killed, too."""

_COMPARE = {
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt,
}  # fmt: skip
_BINARY = {ast.BitOr: ast.BitAnd, ast.Sub: ast.Add, ast.Add: ast.Sub, ast.BitAnd: ast.BitOr}
_NAMES = {"any": "all", "all": "any", "sorted": "list"}


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, what was changed, and the source with the change."""
    tree = ast.parse(source)
    for place, node in enumerate(_inside(tree)):
        for what, change in _changes(node):
            other = copy.deepcopy(tree)
            change(_inside(other)[place])
            yield node.lineno, what, ast.unparse(ast.fix_missing_locations(other))


def _inside(tree: ast.Module) -> list[ast.AST]:
    """Every node that means something when a decision is made, always in the same order."""
    left: list[ast.AST] = []

    def walk(node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases"):
                continue
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.arg):
                    continue
                if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                    continue
                if isinstance(one, ast.AST):
                    if hasattr(one, "lineno"):
                        left.append(one)
                    walk(one)

    walk(tree)
    return left


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARE:
            swapped = _COMPARE[type(op)]
            yield swapped.__name__, lambda one: setattr(one, "ops", [swapped()])
        case ast.BoolOp(op=op):
            other = ast.Or if isinstance(op, ast.And) else ast.And
            yield other.__name__, lambda one: setattr(one, "op", other())
        case ast.BinOp(op=op) if type(op) in _BINARY:
            other = _BINARY[type(op)]
            yield other.__name__, lambda one: setattr(one, "op", other())
    yield from _of_a_value(node)
    yield from _of_the_flow(node)
    yield from _shorter(node)


def _of_a_value(node: ast.AST) -> Iterator[tuple[str, object]]:
    match node:
        case ast.Constant(value=bool(value)):
            yield str(not value), lambda one: setattr(one, "value", not value)
        case ast.Constant(value=int(value)):
            yield f"{value + 1}", lambda one: setattr(one, "value", value + 1)
        case ast.Constant(value=str(value)) if value:
            yield f"{value!r} spoilt", lambda one: setattr(one, "value", value + "x")
        case ast.Name(id=name) if name in _NAMES:
            yield _NAMES[name], lambda one: setattr(one, "id", _NAMES[name])


def _of_the_flow(node: ast.AST) -> Iterator[tuple[str, object]]:
    match node:
        case ast.IfExp(body=body, orelse=orelse):
            yield (
                "branches swapped",
                lambda one: one.__dict__.update(
                    body=copy.deepcopy(orelse), orelse=copy.deepcopy(body)
                ),
            )
        case ast.If() | ast.While():
            yield "negated", lambda one: setattr(one, "test", ast.UnaryOp(ast.Not(), one.test))
        case ast.Return(value=ast.expr()):
            yield "returns None", lambda one: setattr(one, "value", ast.Constant(None))
        case ast.UnaryOp(op=ast.Not()):
            yield "not dropped", lambda one: setattr(one, "op", ast.UAdd())
        case ast.AugAssign():
            yield "dropped", lambda one: setattr(one, "value", _empty_like(one))
        case ast.comprehension(ifs=[_, *_]):
            yield "filter dropped", lambda one: setattr(one, "ifs", [])


def _shorter(node: ast.AST) -> Iterator[tuple[str, object]]:
    """A literal without one of its entries."""
    if isinstance(node, ast.Tuple | ast.Set | ast.List) and len(node.elts) > 1:
        for at, gone in enumerate(node.elts):
            yield f"without {ast.unparse(gone)[:40]}", lambda one, at=at: one.elts.pop(at)
    if isinstance(node, ast.Dict) and len(node.keys) > 1:
        for at, key in enumerate(node.keys):
            yield (
                f"without {ast.unparse(key)[:40] if key else '**'}",
                lambda one, at=at: (one.keys.pop(at), one.values.pop(at)),
            )


def _empty_like(node: ast.AugAssign) -> ast.expr:
    return (
        ast.Set([ast.Starred(ast.Tuple([], ast.Load()))])
        if isinstance(node.op, ast.BitOr)
        else ast.List([], ast.Load())
    )


def killed(name: str, text: str) -> bool:
    """Whether a test fails on the package with this file in it."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        shutil.copytree(ROOT / "agent", there / "agent", ignore=shutil.ignore_patterns("__pyc*"))
        for one in ("tests", "policies", "prompts", "pyproject.toml", "benchmarks"):
            (there / one).symlink_to(ROOT / one)
        (there / name).write_text(text, encoding="utf-8")
        child = os.fork()
        if child == 0:
            _in_the_fork(there)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def _in_the_fork(there: Path) -> None:
    signal.alarm(PATIENCE)
    os.chdir(there)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    sys.dont_write_bytecode = True
    tests = [name for name in TESTS if (there / name).exists()]
    arguments = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-m", "not long"]
    code = pytest.main([*arguments, "--rootdir", str(there), *tests])
    os._exit(int(code))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--every", type=int, default=1, help="one in so many, for a quick look")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    failed = False
    for name in chosen.files:
        source = (ROOT / name).read_text(encoding="utf-8")
        if killed(name, ast.unparse(ast.parse(source))):
            sys.exit(f"{name}: the tests fail without any change")
        todo = list(mutants(source))[:: chosen.every]
        with ThreadPoolExecutor(chosen.jobs) as pool:
            dead = list(pool.map(lambda one, name=name: killed(name, one[2]), todo))
        for (line, what, _), gone in zip(todo, dead, strict=True):
            if not gone:
                print(f"survived {name}:{line}: {what}", flush=True)
        share = sum(dead) / len(todo)
        print(f"{name}: {sum(dead)} of {len(todo)} killed = {share:.1%}", flush=True)
        failed |= share < TARGET
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
