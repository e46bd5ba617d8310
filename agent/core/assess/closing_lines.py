"""Test runners by their closing line: whether a run came to its end, and how many tests it ran.

A run that ends with 0 proves little by itself: a module under test that calls `os._exit(0)` ends
it so, and so does a run that found no test. Every runner known here prints a last line that counts
its tests. A test that was skipped did not run; one that failed as expected did.

Only a known runner is expected to close with its line, and only where nothing on the command line
takes that line away; of all other programs the exit code alone says how it went.
"""

import re
import shlex
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\([A-Z0-9])")
"""What colours a terminal."""
_NUMBER: Final = r"(\d+)"


@dataclass(frozen=True, slots=True)
class Closing:
    """What a known runner printed at its end."""

    runner: str
    ran: int | None
    """How many tests it says it ran; for go, which does not say, how many packages with tests.
    None: it closed without its line."""


def closing(argv: Sequence[str], output: str) -> Closing | None:
    """How the run of `argv` closed; None: it runs no known runner, or one told not to say."""
    words = program(argv)
    text = _ESCAPES.sub("", output).replace("\r\n", "\n")
    if words and words[0] == _SCRIPT:
        # What the script runs is in a file; a line of one of these shows what it was.
        read = ((name, _RUNNERS[name].read(text)) for name in ("jest", "node"))
        return next((Closing(name, ran) for name, ran in read if ran is not None), None)
    for name, runner in _RUNNERS.items():
        if runner.runs(words):
            return None if runner.silent(words) else Closing(name, runner.read(text))
    return None


def closes(output: str) -> bool:
    """Whether the closing line of any known runner is in the output, whatever was run."""
    text = _ESCAPES.sub("", output).replace("\r\n", "\n")
    return any(runner.read(text) is not None for runner in _RUNNERS.values())


def program(argv: Sequence[str]) -> tuple[str, ...]:
    """What `argv` runs in the end: without wrappers, and a Python module by its name.

    A script such as `npm test` is `npm-script`, because what it runs is in a file.
    """
    words = tuple(argv)
    while words:
        name = words[0].rpartition("/")[2]
        inner = _inner(name, words[1:])
        if inner is None:
            return (name, *words[1:])
        words = inner
    return ()


def _inner(name: str, rest: tuple[str, ...]) -> tuple[str, ...] | None:
    """The words that `name` runs; None: it is no wrapper, or one that cannot be read."""
    if re.fullmatch(r"python[\d.]*|pypy[\d.]*|py", name):
        return _module(rest)
    if name in ("coverage", "coverage3") and rest[:1] == ("run",):
        return _module(rest[1:])
    if name in ("sh", "bash", "dash", "zsh"):
        return _simple_script(rest)
    if name in _WRAPPERS:
        return _after(name, rest)
    if name in ("npm", "pnpm", "yarn", "bun"):
        return _package_script(name, rest)
    return None


def _module(rest: tuple[str, ...]) -> tuple[str, ...] | None:
    """What follows `-m`; None: a file or an expression is run."""
    for index, word in enumerate(rest):
        if word == "-m":
            return rest[index + 1 :]
        if not word.startswith("-") and (index == 0 or rest[index - 1] not in _WITH_VALUE):
            return None
    return None


_WITH_VALUE: Final = ("-X", "-W", "--source", "--rcfile", "--data-file", "--omit", "--include")
"""Options of Python and of coverage whose value is a word of its own."""


def _simple_script(rest: tuple[str, ...]) -> tuple[str, ...] | None:
    """The last command of a plain `-c` script, whose exit code is the script's."""
    for index, word in enumerate(rest[:-1]):
        if re.fullmatch(r"-[a-z]*c", word):
            script = rest[index + 1]
            if re.search(r"[|;<>()`$\n]|(?<!&)&(?!&)", script):
                return None
            try:
                return tuple(shlex.split(script.rpartition("&&")[2])) or None
            except ValueError:
                return None
    return None


_WRAPPERS: Final[Mapping[str, tuple[str, ...]]] = {
    "uv": ("run",),
    "poetry": ("run",),
    "pipenv": ("run",),
    "pdm": ("run",),
    "rye": ("run",),
    "npx": (),
    "bunx": (),
    "env": (),
    "timeout": (),
    "nice": (),
    "time": (),
    "xvfb-run": (),
}
"""Programs that run another one, and the words before it."""
_VALUES: Final = frozenset(
    {
        "-n", "--adjustment", "-k", "--kill-after", "-s", "--signal", "-p", "--package", "--with",
        "--extra", "--group", "--python", "-u", "--unset", "--directory", "--project", "--env-file",
    }
)  # fmt: skip
"""Their options whose value is a word of its own."""


def _after(name: str, rest: tuple[str, ...]) -> tuple[str, ...] | None:
    """The command that a wrapper runs: after its own words, options and their values."""
    begin = _WRAPPERS[name]
    if rest[: len(begin)] != begin:
        return None
    words = list(rest[len(begin) :])
    limits = int(name == "timeout")
    while words:
        word = words[0]
        if word == "--":
            words.pop(0)
            break
        if word.startswith("-"):
            words.pop(0)
            if word in _VALUES and words:
                words.pop(0)
        elif re.fullmatch(r"[A-Za-z_]\w*=.*", word, re.DOTALL):
            words.pop(0)
        elif limits:
            words.pop(0)
            limits -= 1
        else:
            break
    return tuple(words) or None


_SCRIPT: Final = "npm-script"


def _package_script(name: str, rest: tuple[str, ...]) -> tuple[str, ...] | None:
    """A runner that is named, or a script of package.json."""
    words = tuple(word for word in rest if not word.startswith("-"))
    if words[:1] in (("exec",), ("x",), ("dlx",)):
        return words[1:] or None
    if words[:1] in (("test",), ("t",), ("tst",), ("run",), ("run-script",)):
        return (_SCRIPT, *words)
    if name in ("yarn", "pnpm") and words[:1] in (("jest",), ("node",)):
        return words
    return None


# What each runner prints. The last closing line counts, except where one is printed for each part.


def _last(pattern: str, text: str) -> re.Match[str] | None:
    return next(iter(deque(re.finditer(pattern, text, re.MULTILINE), maxlen=1)), None)


def _pytest(text: str) -> int | None:
    end = r" in \d+\.\d+s(?: \([\d:, day]+\))?(?: =+)?[ \t]*$"
    closed = _last(r"^(?:=+ )?(no tests ran|\d+ [a-z][^\n]*?)" + end, text)
    if closed is None:
        # With -qq the dots are all there is, and the last line of them is complete.
        done = _last(r"^[.sxXFEpP,]+ +\[100%\][ \t]*$", text)
        if done is None or "test session starts" in text:
            return None
        dots = "".join(re.findall(r"^([.sxXFEpP,]+) +\[ *\d+%\][ \t]*$", text, re.MULTILINE))
        return sum(dots.count(one) for one in ".xXFE")
    ran = re.findall(r"(\d+) (?:passed|failed|xfailed|xpassed|errors?)\b", closed[1])
    return sum(map(int, ran))


def _unittest(text: str) -> int | None:
    closed = _last(
        r"^Ran (\d+) tests? in [\d.]+s\s+(?:OK|FAILED|NO TESTS RAN)\b(?: \(([^)\n]*)\))?", text
    )
    if closed is None:
        return None
    skipped = re.search(r"skipped=(\d+)", closed[2] or "")
    return max(0, int(closed[1]) - int(skipped[1] if skipped else 0))


def _cargo(text: str) -> int | None:
    closed = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed;", text, re.MULTILINE)
    begun = re.findall(r"^running \d+ tests?$", text, re.MULTILINE)
    # One for each test program, and any of them may be the one that was cut off.
    if not closed or len(closed) < len(begun):
        return None
    return sum(int(passed) + int(failed) for passed, failed in closed)


def _go(text: str) -> int | None:
    packages = re.findall(r"^(ok|FAIL|---|\?) *\t[^\n]*$", text, re.MULTILINE)
    if not packages and not re.search(r"^\s+\S+\s+coverage: ", text, re.MULTILINE):
        return None
    ran = re.findall(r"^ok *\t(?![^\n]*\[no tests to run\])[^\n]*$", text, re.MULTILINE)
    return len(ran)


def _node(text: str) -> int | None:
    closed = {
        name: int(count)
        for name, count in re.findall(
            r"^(?:#|\u2139) (tests|pass|fail|cancelled) (\d+)$", text, re.MULTILINE
        )
    }
    if "tests" not in closed or "pass" not in closed:
        return None
    return closed["pass"] + closed.get("fail", 0)


def _jest(text: str) -> int | None:
    closed = _last(r"^Tests: +([^\n]*\b\d+ total)[ \t]*$", text)
    if closed is None:
        return (
            0 if re.search(r"^No tests found, exiting with code 0$", text, re.MULTILINE) else None
        )
    return sum(map(int, re.findall(r"(\d+) (?:passed|failed)", closed[1])))


def _ctest(text: str) -> int | None:
    if re.search(r"^No tests were found!!!$", text, re.MULTILINE):
        return 0
    closed = _last(r"^\d+% tests passed, \d+ tests? failed out of (\d+)$", text)
    if closed is None:
        return None
    idle = re.findall(r"^\t *\d+ - .* \((?:Skipped|Disabled|Not Run)\)$", text, re.MULTILINE)
    return max(0, int(closed[1]) - len(idle))


def _maven(text: str) -> int | None:
    if not re.search(r"^(?:\[INFO\] )?BUILD SUCCESS$", text, re.MULTILINE):
        return None
    # The line of a whole module is the one without a time and without a class.
    closed = re.findall(
        r"^(?:\[\w+\] )?Tests run: (\d+), Failures: \d+, Errors: \d+, Skipped: (\d+)[ \t]*$",
        text,
        re.MULTILINE,
    )
    return sum(int(run) - int(skipped) for run, skipped in closed)


@dataclass(frozen=True, slots=True)
class _Runner:
    runs: Callable[[tuple[str, ...]], bool]
    read: Callable[[str], int | None]
    quiet: str
    """Options with which it prints no closing line, or runs no test: a pattern for one word."""

    def silent(self, words: Sequence[str]) -> bool:
        return any(re.fullmatch(self.quiet, word) for word in _options(words))


def _options(words: Sequence[str]) -> Iterator[str]:
    """Each word, and each together with the one after it."""
    yield from words
    yield from (f"{one} {two}" for one, two in pairwise(words))


def _named(*names: str) -> Callable[[tuple[str, ...]], bool]:
    return lambda words: bool(words) and words[0] in names


def _is_cargo(words: tuple[str, ...]) -> bool:
    rest = [word for word in words[1:] if not word.startswith("+")]
    return words[:1] == ("cargo",) and rest[:1] in (["test"], ["t"])


def _is_maven(words: tuple[str, ...]) -> bool:
    # `package` and `install` are asked for a build as often as for its tests.
    goals = {"test", "verify", "integration-test", "surefire:test"}
    return words[:1] in (("mvn",), ("mvnw",)) and not goals.isdisjoint(words[1:])


_RUNNERS: Final[Mapping[str, _Runner]] = {
    "pytest": _Runner(
        _named("pytest", "py.test"),
        _pytest,
        r"--collect-only|--co|--version|-V|--help|-h|--fixtures(-per-test)?|--markers|--setup-plan"
        r"|--cache-show.*|-p ?no:terminal|--no-summary|--trace-config",
    ),
    "unittest": _Runner(_named("unittest"), _unittest, r"--help|-h"),
    "cargo": _Runner(_is_cargo, _cargo, r"--no-run|--list|--help|-h|--format.*|-Z.*"),
    "go": _Runner(
        lambda words: words[:2] == ("go", "test"),
        _go,
        r"--?(c|n|json|list|exec)(=.*)?|-h|--help",
    ),
    "node": _Runner(
        lambda words: words[:1] == ("node",) and "--test" in words,
        _node,
        r"--test-reporter(=| )(?!spec$|tap$).*|--test-reporter-destination.*|--watch",
    ),
    "jest": _Runner(
        _named("jest"),
        _jest,
        r"--json|--reporters.*|--listTests|--showConfig|--clearCache|--init"
        r"|--watch(All)?|--version|-v|--help|-h",
    ),
    "ctest": _Runner(
        _named("ctest"),
        _ctest,
        r"-Q|--quiet|-N|--show-only.*|-D.*|-M.*|-T.*|-S.*|--print-labels|--version|--help.*",
    ),
    "maven": _Runner(
        _is_maven,
        _maven,
        r"-q|--quiet|-DskipTests(=true)?|-Dmaven\.test\.skip(=true)?|-l.*|--log-file.*",
    ),
}
