"""What judges: the paths that acceptance commands run or read by name.

Where an attempt changed one of them, it changed its own judge. That can be right (a new test is
part of the task), so it is shown. It shows nothing of the change, though, if the commands pass only
with what the attempt made of a judge that was there before: what they run is put back to see that.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from agent.core.assess.closing_lines import program

_MOST_LINKS: Final = 40
"""Symbolic links that one path may lead through, as for Linux."""

_PYTHON: Final = ("pyproject.toml", "setup.cfg")
_NODE: Final = ("package.json", ".npmrc")
_TESTED_BY_NODE: Final = (r".*\.(test|spec)\.\w+", r"(.*/)?(test|tests|__tests__)/.*")
_CONFIGURES: Final[Mapping[str, tuple[str, ...]]] = {
    "pytest": (*_PYTHON, "tox.ini", r"\.?pytest\.(ini|toml)", r"(.*/)?conftest\.py"),
    "unittest": (),
    "tox": (*_PYTHON, "tox.ini", r"tox\.toml"),
    "nox": (r"noxfile\.py",),
    "ruff": (*_PYTHON, r"(.*/)?\.?ruff\.toml"),
    "mypy": (*_PYTHON, r"\.?mypy\.ini"),
    "flake8": (r"setup\.cfg", r"tox\.ini", r"\.flake8"),
    "pylint": (*_PYTHON, r"\.?pylintrc(\.toml)?"),
    "make": (r"(GNUm|m|M)akefile", r"(.*/)?[^/]+\.mk"),
    "just": (r"\.?justfile",),
    "cargo": (r"(.*/)?(Cargo\.toml|build\.rs)", r"\.cargo/config(\.toml)?", r"rust-toolchain.*"),
    "go": (r"(.*/)?go\.(mod|work)",),
    "node": _NODE,
    "jest": (*_NODE, r"(.*/)?(jest|babel)\.config\.\w+"),
    "vitest": (*_NODE, r"(.*/)?(vite|vitest)\.config\.\w+"),
    "eslint": (*_NODE, r"(.*/)?(\.eslintrc.*|eslint\.config\.\w+)"),
    "tsc": (r"(.*/)?tsconfig.*\.json",),
    "playwright": (*_NODE, r"(.*/)?playwright.*\.config\.\w+"),
    "npm-script": (*_NODE, r"(.*/)?(jest|babel|vite|vitest)\.config\.\w+"),
    "ctest": (r"(.*/)?(CMakeLists\.txt|[^/]+\.cmake)", r"CMake\w*Presets\.json"),
    "cmake": (r"(.*/)?(CMakeLists\.txt|[^/]+\.cmake)", r"CMake\w*Presets\.json"),
    "mvn": (r"(.*/)?pom\.xml", r"\.mvn/.*"),
    "mvnw": (r"(.*/)?pom\.xml", r"\.mvn/.*"),
    "gradle": (r"(.*/)?[^/]+\.gradle(\.kts)?", r"gradle(\.properties|/.*)"),
    "gradlew": (r"(.*/)?[^/]+\.gradle(\.kts)?", r"gradle(\.properties|/.*)"),
    "pre-commit": (r"\.pre-commit-config\.yaml",),
}
"""What a runner reads without being told: patterns of whole paths, by the runner's name."""
_CONFIGURED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "npm": _NODE,
    "pnpm": _NODE,
    "yarn": _NODE,
    "npx": _NODE,
    "bun": _NODE,
    "uv": (r"pyproject\.toml", r"uv\.(lock|toml)"),
    "poetry": (r"pyproject\.toml", r"poetry\.lock"),
    "coverage": (*_PYTHON, "tox.ini", r"\.coveragerc"),
}
"""The same for a wrapper."""
_COLLECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "pytest": (r"(.*/)?(test_[^/]*|[^/]*_test)\.py",),
    "unittest": (r"(.*/)?test[^/]*\.py",),
    "cargo": (r"(.*/)?tests/.*\.rs",),
    "go": (r"(.*/)?[^/]*_test\.go",),
    "node": (*_TESTED_BY_NODE, r".*[-_.]test\.\w+"),
    "jest": _TESTED_BY_NODE,
    "vitest": _TESTED_BY_NODE,
    "npm-script": _TESTED_BY_NODE,
    "mvn": (r"(.*/)?src/test/.*",),
    "mvnw": (r"(.*/)?src/test/.*",),
}
"""The tests that a runner finds by itself; of no use where the command line names some."""
_INDIRECT: Final = frozenset(
    {"make", "just", "tox", "nox", "gradle", "gradlew", "cmake", "coverage", "pre-commit"}
)
"""Programs that run other ones, which are named in a file."""
_INTERPRETER: Final = re.compile(
    r"(ba|da|z|k)?sh|python[\d.]*|pypy[\d.]*|node|deno|bun|ruby|perl|php|lua|Rscript"
)
_ANY_TEST: Final = tuple(
    one for patterns in _COLLECTS.values() for one in patterns if one != _TESTED_BY_NODE[1]
)
_BESIDE_TESTS: Final = r"(.*/)?(tests?|__tests__|specs?|testing|testdata)/.*"
"""What tests are made of, besides themselves."""
_NAMES_MANY: Final = frozenset({"", ".", "..."})
"""Words for the whole repository, which would make everything a judge."""


def changed_judges(
    commands: Iterable[Sequence[str]], changed: Iterable[str], links: Mapping[str, str]
) -> tuple[str, ...]:
    """Those of the `changed` paths that a command runs or reads by name, sorted.

    `commands` are argument lists that run in the repository's root; `links` are its symbolic links,
    each path with its target as it is written.
    """
    judges = [_Judges(argv, links) for argv in commands]
    return tuple(sorted({path for path in changed if any(one.has(path) for one in judges)}))


def to_put_back(
    commands: Iterable[Sequence[str]],
    changed: Iterable[str],
    links: Mapping[str, str],
    before: Collection[str],
) -> tuple[str, ...]:
    """Those of the `changed` paths without which the commands are judges of the base, sorted.

    `before` has every path of the base. What a command only reads by name is its subject. A test
    that is new stays, unless it hides one that was there; what configures the runner, what takes
    the runner's own name and what is new beside tests that were there does not.
    """
    judges = [_Judges(argv, links) for argv in commands]
    paths = list(changed)
    return tuple(sorted({path for one in judges for path in paths if one.undone(path, before)}))


def configures(argv: Sequence[str], path: str) -> bool:
    """Whether the program of `argv` reads `path` without being told to."""
    names = {program(argv)[:1], tuple(argv[:1])}
    patterns = [
        pattern
        for name in (one[0].rpartition("/")[2] for one in names if one)
        for pattern in (*_CONFIGURES.get(name, ()), *_CONFIGURED_BY.get(name, ()))
    ]
    return any(re.fullmatch(pattern, path) for pattern in patterns)


class _Judges:
    """What one command runs or reads by name."""

    def __init__(self, argv: Sequence[str], links: Mapping[str, str]) -> None:
        self._argv = argv
        words = program(argv)
        self._runner = words[0] if words else ""
        self._named = {
            found for name in _names(argv, words) for found in (name, *_resolved(name, links))
        }
        self._run = {
            found for name in _executed(argv, words) for found in (name, *_resolved(name, links))
        }
        self._shadows = set(_module_paths(self._runner))
        self._is_indirect = self._runner not in _COLLECTS and (
            self._runner in _INDIRECT or bool(self._run)
        )
        named = self._runner in _BY_PATH and any(map(_is_test, pairwise(words)))
        self._collects = () if named else _COLLECTS.get(self._runner, ())

    def has(self, path: str) -> bool:
        if any(path == name or path.startswith(f"{name}/") for name in self._named):
            return True
        if configures(self._argv, path):
            return True
        return any(re.fullmatch(pattern, path) for pattern in self._collects)

    def undone(self, path: str, before: Collection[str]) -> bool:
        """Whether `path`, which was changed, is put back for what was there before to judge."""
        indirect = self._is_indirect
        if configures(self._argv, path) or path in self._shadows:
            return True
        if indirect and _fits(_CONFIGURES["pytest"], path):
            return True
        collects = _ANY_TEST if indirect else _COLLECTS.get(self._runner, ())
        is_test = path in self._run or _fits(collects, path)
        beside = bool(collects) and re.fullmatch(_BESIDE_TESTS, path)
        if not (is_test or beside or any(path.startswith(f"{name}/") for name in self._run)):
            return False
        if path in before:
            return True
        # A package comes before a module of its name, so what is new may hide what was there.
        return f"{path.removesuffix('/__init__.py')}.py" in before if is_test else self._had(before)

    def _had(self, before: Collection[str]) -> bool:
        """Whether there was a test to run before."""
        if any(name in before for name in self._run if not name.endswith("/__init__.py")):
            return True
        collects = _ANY_TEST if self._is_indirect else self._collects
        return any(_fits(collects, path) for path in before)


def _fits(patterns: Iterable[str], path: str) -> bool:
    return any(re.fullmatch(pattern, path) for pattern in patterns)


_ORDERED: Final = frozenset(
    {"cargo", "go", "npm", "pnpm", "yarn", "bun", "npx", "uv", "poetry", "make", "just", "mvn"}
    | {"mvnw", "gradle", "gradlew", "tox", "nox", "cmake"}
)
"""Programs whose plain words are orders, goals and names of their own."""
_BY_PATH: Final = frozenset({"pytest", "unittest"})
"""Runners of which a word on the command line is a path or a module."""


def _is_test(pair: tuple[str, str]) -> bool:
    """Whether the second word names tests; after an option it may be the value of that."""
    before, word = pair
    if word.startswith("-") or word in _NAMES_MANY:
        return False
    return not before.startswith("-") or "/" in word or "." in word


def _names(argv: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """Every path that a word of the command may be, relative to the root."""
    shell = [part for word in argv if " " in word for part in re.split(r"[\s;&|()<>'\"`$]+", word)]
    for word in (*_paths(argv), *shell):
        for part in {word, word.rpartition("=")[2], re.sub(r"^-[A-Za-z]", "", word)}:
            path = _plain(part.partition("::")[0])
            if path is not None:
                yield path
    if words and words[0] == "unittest":
        modules = [word for word in words[1:] if not word.startswith("-")]
    else:
        modules = list(words[:1])
    modules += _after_m(argv)
    for module in modules:
        yield from _module_paths(module)


def _executed(argv: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """Every path that the command may run: what its words only name is its subject."""
    for before, word in pairwise(("", *argv)):
        name = before.rpartition("/")[2]
        if re.search(r"\s", word):
            for script in re.split(r"[;&|()`\n]+|\$\(", word):
                inner = script.split()
                yield from _executed(inner, program(inner))
        elif not word.startswith("-") and (
            ("/" in word and not before) or _INTERPRETER.fullmatch(name) or before in ("-f", "-C")
        ):
            yield from filter(None, [_plain(word)])
    if words and words[0] in _BY_PATH:
        plain = [word for word in words[1:] if not word.startswith("-")]
        if words[0] == "unittest":
            plain = [path for word in plain for path in (word, *_module_paths(word))]
        yield from filter(None, (_plain(word.partition("::")[0]) for word in plain))
    for module in _after_m(argv):
        yield from _module_paths(module)


def _paths(argv: Sequence[str]) -> Iterator[str]:
    """The words that may be paths: `test` in `cargo test` is none, whatever folders there are."""
    orders = argv and argv[0].rpartition("/")[2] in _ORDERED
    for before, word in pairwise(("", *argv)):
        plain = "/" not in word and "." not in word
        if not (orders and plain) or before in ("-C", "-f", "--directory", "--file"):
            yield word


def _after_m(argv: Sequence[str]) -> list[str]:
    return [two for one, two in pairwise(argv) if one == "-m"]


def _plain(word: str) -> str | None:
    """The path from the root; None: it names everything, or leads out of the repository."""
    if word in _NAMES_MANY or word.startswith("/") or "\0" in word:
        return None
    parts: list[str] = []
    for part in word.removesuffix("/...").split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return None if not parts or parts[0] in ("..", "...") else "/".join(parts)


def _module_paths(module: str) -> Iterator[str]:
    """The files that `import module` may run, from the root or from `src`.

    Of `tests.test_a.Case.test_b` the last two are no modules, which only the tree could tell.
    """
    if not re.fullmatch(r"\w+(\.\w+)*", module):
        return
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        path = "/".join(parts[:length])
        for root in ("", "src/"):
            yield f"{root}{path}.py"
            yield f"{root}{path}/__init__.py"
            yield f"{root}{path}/__main__.py"


def _resolved(path: str, links: Mapping[str, str]) -> Iterator[str]:
    """Where `path` leads through symbolic links: each step of it, as long as it stays inside."""
    for _ in range(_MOST_LINKS):
        link = next((one for one in _beginnings(path) if one in links), None)
        if link is None:
            return
        rest = path[len(link) :]
        target = links[link]
        above = link.rpartition("/")[0]
        found = _plain(target if target.startswith("/") else f"{above or '.'}/{target}{rest}")
        yield link
        if found is None:
            return
        yield found
        path = found


def _beginnings(path: str) -> Iterator[str]:
    parts = path.split("/")
    yield from ("/".join(parts[:length]) for length in range(1, len(parts) + 1))
