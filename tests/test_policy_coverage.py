"""docs/policy-coverage.md points only to what is there, and quotes the policy word for word."""

import ast
import re
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agent.adapters.common.lock import FileLock
from agent.runtime.context import Supervision
from agent.runtime.loop import SOON, Loop
from tests.simulation.small_world import POLICY as IN_FORCE
from tests.simulation.small_world import SmallWorld, spec

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "policy-coverage.md"
POLICY = ROOT.parent / "shared" / "policy" / "code-queue-supervision.md"
HEADER = ["sentence", "what it became", "where", "test"]
NOT_YET = "not yet: "
KINDS = {"rule: ": r"\w+", "number: ": r"[\w-]+\.toml: .+"} | dict.fromkeys(
    ("function: ", "prompt section: "), r".+\.py::\w+"
)
"""How each kind of row begins, and what its first reference looks like."""


class Row(NamedTuple):
    sentence: str
    became: str
    where: str
    test: str


def table() -> list[Row]:
    lines = [line for line in DOCUMENT.read_text(encoding="utf-8").split("\n") if line[:1] == "|"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [Row(*row) for row in cells if row != HEADER and set(row) != {"---"}]


def hold(faults: Callable[[Row], Iterable[str]]) -> None:
    """Fail with what is wrong with each row, headed by the sentence it is about."""
    found = [f"{row.sentence[:60]}: {fault}" for row in table() for fault in faults(row)]
    assert not found, "\n".join(["", *found])


def references(cell: str) -> list[str]:
    """What a cell points to; `-` points to nothing."""
    return [] if cell == "-" else [one.strip("`") for one in cell.split("; ")]


@cache
def names_in(path: str) -> frozenset[str]:
    """Every function, class and constant that is defined in a file."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_bytes())):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.Name(ctx=ast.Store()):
                found.add(node.id)
    return frozenset(found)


@cache
def toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "policies" / name).read_text(encoding="utf-8"))


def is_there(reference: str) -> bool:
    if "::" in reference:
        path, name = reference.split("::")
        return (ROOT / path).is_file() and name in names_in(path)
    if ".toml: " not in reference:
        return reference in {rule["id"] for rule in toml("guard.toml")["rule"]}
    name, key = reference.split(": ")
    value: Any = toml(name)
    for part in key.split("."):
        if isinstance(value, list):
            value = {one["id"]: one for one in value}
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def squeezed(text: str) -> str:
    return " ".join(text.replace("&lt;", "<").replace("&gt;", ">").split())


def dangling(row: Row) -> Iterator[str]:
    if not all(row):
        yield "no cell may be empty"
    for one in references(row.where):
        if not is_there(one):
            yield f"{one} is not there"
    for one in references(row.test):
        if not (one.partition("::")[2].startswith("test_") and is_there(one)):
            yield f"{one} is no test that is there"


def test_every_row_points_to_what_is_there():
    hold(dangling)


def misshapen(row: Row) -> Iterator[str]:
    if row.became.startswith(NOT_YET):
        if not row.became.endswith("."):
            yield "what is missing is a sentence"
        return
    shape = next((shape for kind, shape in KINDS.items() if row.became.startswith(kind)), None)
    if shape is None:
        yield f"{row.became} is of no kind"
    elif not re.fullmatch(shape, next(iter(references(row.where)), "")):
        yield f"{row.where} does not begin with what it became"
    if not references(row.test):
        yield "names no test"


def test_every_row_is_of_one_kind_and_only_what_is_not_built_points_nowhere():
    hold(misshapen)


def test_the_counts_agree():
    rows = table()
    assert rows
    missing = sum(row.became.startswith(NOT_YET) for row in rows)
    said = f"{len(rows)} sentences: {len(rows) - missing} built, {missing} not yet"
    assert said in DOCUMENT.read_text(encoding="utf-8").split("\n")


def test_no_sentence_is_there_twice():
    sentences = [row.sentence for row in table()]
    assert len(sentences) == len(set(sentences))


def misquoted(row: Row) -> Iterator[str]:
    policy = squeezed(POLICY.read_text(encoding="utf-8"))
    parts = [squeezed(part) for part in row.sentence.split("…") if part.strip()]
    if not parts:
        yield "quotes nothing"
    for part in parts:
        if part not in policy:
            yield f"{part!r} is not in the policy"


@pytest.mark.skipif(not POLICY.is_file(), reason="the policy's text is not beside the repository")
def test_every_sentence_is_quoted_word_for_word():
    hold(misquoted)


def test_an_artifact_delivery_is_asked_for_every_evidence():
    assert toml("completion.toml")["ladder"]["artifact-delivery"]["rungs"] == [
        ["commit-pushed"],
        ["artifact-built"],
        ["digest-recorded"],
        ["dev-digest"],
        ["prod-digest"],
        ["no-source-rebuild"],
        ["live-health"],
        ["live-version"],
    ]


class Stop(threading.Event):
    """Notes how long the loop wants to wait, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return False


@pytest.mark.parametrize(
    ("tasks", "waits"),
    [
        pytest.param((), [300.0, 300.0], id="nothing changes: the cadence"),
        pytest.param((spec(),), [SOON, 300.0], id="a submit: soon, then the cadence"),
    ],
)
def test_the_loop_keeps_its_cadence_unless_something_changed(tmp_path, tasks, waits):
    world = SmallWorld(tmp_path, {})
    if tasks:
        world.submit(*tasks)
    stop, ticks = Stop(), []
    how = Supervision(policy=IN_FORCE, mode="auto", interval=300.0)
    loop = Loop(world.world, how, FileLock(tmp_path / "lock"), "me", ticks.append, print)
    loop.run(stop, until=lambda _: len(ticks) > len(waits))
    assert stop.waits == waits
