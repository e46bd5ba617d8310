import re

import pytest

from agent.core.assess.closing_lines import Closing, closing, program

# Recorded from pytest 9.2, Python 3.11, cargo 1.95, go 1.19, node 20.20, jest 30, ctest 3.25; the
# lines of maven are those of its own documentation.
PYTEST = """\
============================= test session starts ==============================
collected 7 items

tests/test_a.py .sx                                                      [ 42%]
tests/test_u.py .s.x                                                     [100%]

=================== 3 passed, 2 skipped, 2 xfailed in 1.86s ====================
"""
PYTEST_COLOUR = (
    "tests/test_a.py \x1b[32m.\x1b[0m\x1b[33ms\x1b[0m\x1b[33mx\x1b[0m\x1b[32m    [100%]\x1b[0m\n"
    "\x1b[32m=================== \x1b[32m\x1b[1m1 passed\x1b[0m, \x1b[33m1 skipped\x1b[0m, "
    "\x1b[33m1 xfailed\x1b[0m\x1b[32m in 1.69s\x1b[0m\x1b[32m ====================\x1b[0m\n"
)
PYTEST_QUIET = ".sx        [100%]\n1 passed, 1 skipped, 1 xfailed in 1.78s\n"
PYTEST_XDIST = """\
created: 2/2 workers
2 workers [3 items]

s.x                                                                      [100%]
=================== 1 passed, 1 skipped, 1 xfailed in 14.84s ===================
"""
PYTEST_SUBTESTS = "====== 2 passed, 1 skipped, 1 xfailed, 2 subtests passed in 0.86s ======\n"
PYTEST_LONG = "= 12 passed, 3 deselected, 1 warning in 3665.12s (1:01:05) =\n"
PYTEST_DAYS = "= 12 passed in 90065.12s (1 day, 1:01:05) =\n"
UNITTEST = """\
.s.x
----------------------------------------------------------------------
Ran 4 tests in 0.001s

OK (skipped=1, expected failures=1)
"""
UNITTEST_NONE = """
----------------------------------------------------------------------
Ran 0 tests in 0.000s

OK
"""
CARGO = """\
     Running unittests src/lib.rs (target/debug/deps/rs-a35a48c092d3f767)

running 2 tests
test t::b ... ignored
test t::a ... ok

test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/e.rs (target/debug/deps/e-6c28a265904a1a0e)

running 1 test
{middle}   Doc-tests rs

running 1 test
test src/lib.rs - f (line 1) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

all doctests ran in 0.24s; merged doctests compilation took 0.24s
"""
CARGO_MIDDLE = """\
test x ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

"""
CARGO_COLOUR = (
    "running 2 tests\ntest t::b ... \x1b[33mignored\x1b(B\x1b[m\ntest t::a ... \x1b[32mok\x1b(B"
    "\x1b[m\n\ntest result: \x1b[32mok\x1b(B\x1b[m. 1 passed; 0 failed; 1 ignored; 0 measured; "
    "0 filtered out; finished in 0.00s\n"
)
CARGO_NONE = (
    "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 2 filtered "
    "out; finished in 0.00s\n"
)
GO = "ok  \tx/n\t0.005s [no tests to run]\n?   \tx/p\t[no test files]\nok  \tx\t(cached)\n"
GO_VERBOSE = "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\nok  \tx\t0.002s\n"
GO_NONE = "ok  \tx\t0.004s [no tests to run]\n"
GO_COVER = "ok  \tx\t0.002s\tcoverage: [no statements]\n?   \tx/p\t[no test files]\n"
NODE = """\
1..4
# tests 5
# suites 0
# pass 3
# fail 0
# cancelled 0
# skipped 1
# todo 1
# duration_ms 159.775632
"""
NODE_SPEC = NODE.replace("# ", "\u2139 ")
NODE_SKIPPED = "# tests 1\n# pass 0\n# fail 0\n# cancelled 0\n# skipped 1\n# todo 0\n"
JEST = """\
PASS ./a.test.js

Test Suites: 1 skipped, 1 passed, 1 of 2 total
Tests:       2 skipped, 1 passed, 3 total
Snapshots:   0 total
Time:        0.337 s, estimated 1 s
Ran all test suites matching a.test.js|s.test.js.
"""
JEST_COLOUR = (
    "\x1b[1mTest Suites: \x1b[22m\x1b[1m\x1b[32m1 passed\x1b[39m\x1b[22m, 1 total\n"
    "\x1b[1mTests:       \x1b[22m\x1b[1m\x1b[33m1 skipped\x1b[39m\x1b[22m, \x1b[1m\x1b[32m1 passed"
    "\x1b[39m\x1b[22m, 2 total\n\x1b[1mSnapshots:   \x1b[22m0 total\n"
)
JEST_SKIPPED = "Test Suites: 1 skipped, 0 of 1 total\nTests:       1 skipped, 1 total\n"
JEST_EXIT = '  ●  process.exit called with "0"\n\n    > 1 | process.exit(0)\n'
JEST_NONE = "No tests found, exiting with code 0\n"
CTEST = """\
1/2 Test #1: a ................................   Passed    0.00 sec
    Start 2: b
2/2 Test #2: b ................................***Skipped   0.00 sec

100% tests passed, 0 tests failed out of 2

Total Test time (real) =   0.00 sec

The following tests did not run:
\t  2 - b (Skipped)
"""
CTEST_NONE = "Test project /build\nNo tests were found!!!\n"
MAVEN = """\
[INFO] Running x.ATest
[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 1, Time elapsed: 0.05 s -- in x.ATest
[INFO]
[INFO] Results:
[INFO]
[WARNING] Tests run: 2, Failures: 0, Errors: 0, Skipped: 1
[INFO]
[INFO] BUILD SUCCESS
"""
MAVEN_NONE = "[INFO] No tests to run.\n[INFO] BUILD SUCCESS\n"
MAVEN_MODULES = MAVEN.replace("[INFO] BUILD SUCCESS\n", "") * 2 + "[INFO] BUILD SUCCESS\n"
CUT_OFF = "."


def words(command):
    """A command as one writes it, with single quotes around a word that has spaces."""
    return [one.strip("'") for one in re.findall(r"'[^']*'|\S+", command)]


@pytest.mark.parametrize(
    ("command", "output", "runner", "ran"),
    [
        pytest.param("pytest", PYTEST, "pytest", 5, id="pytest"),
        pytest.param("pytest --color=yes", PYTEST_COLOUR, "pytest", 2, id="pytest-colour"),
        pytest.param("pytest -q", PYTEST_QUIET, "pytest", 2, id="pytest-quiet"),
        pytest.param("pytest -qq", ".sx.s.x      [100%]\n", "pytest", 5, id="pytest-very-quiet"),
        pytest.param("pytest -n 2", PYTEST_XDIST, "pytest", 2, id="pytest-xdist"),
        pytest.param("pytest -x", PYTEST_SUBTESTS, "pytest", 3, id="pytest-subtests"),
        pytest.param("pytest", PYTEST_LONG, "pytest", 12, id="pytest-for-an-hour"),
        pytest.param("pytest", PYTEST_DAYS, "pytest", 12, id="pytest-for-a-day"),
        pytest.param("pytest", PYTEST.replace("\n", "\r\n"), "pytest", 5, id="windows-line-ends"),
        pytest.param("pytest", PYTEST + "wrote cov.xml\n", "pytest", 5, id="a-plugin-says-more"),
        pytest.param("pytest", "== 1 skipped in 0.88s ==\n", "pytest", 0, id="pytest-all-skipped"),
        pytest.param("pytest", "no tests ran in 0.01s\n", "pytest", 0, id="pytest-none"),
        pytest.param("pytest -q", CUT_OFF, "pytest", None, id="pytest-cut-off"),
        pytest.param("pytest -qq", "...... [ 42%]\n..", "pytest", None, id="pytest-cut-off-late"),
        pytest.param("pytest", "", "pytest", None, id="pytest-silent"),
        pytest.param("python -m pytest", PYTEST, "pytest", 5, id="as-a-module"),
        pytest.param("uv run --with x pytest -q", PYTEST_QUIET, "pytest", 2, id="uv-run"),
        pytest.param("sh -c 'cd a && pytest -q'", CUT_OFF, "pytest", None, id="plain-shell"),
        pytest.param("python -m unittest", UNITTEST, "unittest", 3, id="unittest"),
        pytest.param("python -m unittest -q", UNITTEST, "unittest", 3, id="unittest-quiet"),
        pytest.param("python -m unittest a", UNITTEST_NONE, "unittest", 0, id="unittest-none"),
        pytest.param("python -m unittest a", CUT_OFF, "unittest", None, id="unittest-cut-off"),
        pytest.param(
            "cargo test", CARGO.format(middle=CARGO_MIDDLE), "cargo", 3, id="cargo-many-targets"
        ),
        pytest.param("cargo test", CARGO.format(middle=""), "cargo", None, id="cargo-one-cut-off"),
        pytest.param("cargo +beta test", CARGO_COLOUR, "cargo", 1, id="cargo-colour"),
        pytest.param("cargo test nosuch", CARGO_NONE, "cargo", 0, id="cargo-none"),
        pytest.param("go test ./...", GO, "go", 1, id="go-packages"),
        pytest.param("go test -v", GO_VERBOSE, "go", 1, id="go-verbose"),
        pytest.param("go test -cover ./...", GO_COVER, "go", 1, id="go-cover"),
        pytest.param("go test -run=X .", GO_NONE, "go", 0, id="go-none"),
        pytest.param("go test .", "", "go", None, id="go-cut-off"),
        pytest.param("node --test", NODE, "node", 3, id="node"),
        pytest.param("node --test --test-reporter=spec", NODE_SPEC, "node", 3, id="node-spec"),
        pytest.param("node --test", NODE_SKIPPED, "node", 0, id="node-all-skipped"),
        pytest.param("node --test", "TAP version 13\n", "node", None, id="node-cut-off"),
        pytest.param("npx jest", JEST, "jest", 1, id="jest"),
        pytest.param("npx jest --colors", JEST_COLOUR, "jest", 1, id="jest-colour"),
        pytest.param("jest", JEST_SKIPPED, "jest", 0, id="jest-all-skipped"),
        pytest.param("jest", JEST_EXIT, "jest", None, id="jest-cut-off"),
        pytest.param("jest --passWithNoTests", JEST_NONE, "jest", 0, id="jest-none"),
        pytest.param("npm test", JEST, "jest", 1, id="npm-script-of-jest"),
        pytest.param("npm run unit", NODE_SKIPPED, "node", 0, id="npm-script-of-node"),
        pytest.param("ctest --test-dir build", CTEST, "ctest", 1, id="ctest"),
        pytest.param("ctest", CTEST_NONE, "ctest", 0, id="ctest-none"),
        pytest.param("mvn -B test", MAVEN, "maven", 1, id="maven"),
        pytest.param("./mvnw verify", MAVEN_MODULES, "maven", 2, id="maven-modules"),
        pytest.param("mvn test", MAVEN_NONE, "maven", 0, id="maven-none"),
        pytest.param("mvn test", "[INFO] Running x.ATest\n", "maven", None, id="maven-cut-off"),
    ],
)
def test_a_known_runner_says_how_many_tests_it_ran(command, output, runner, ran):
    assert closing(words(command), output) == Closing(runner, ran)


@pytest.mark.parametrize(
    "command",
    [
        "pytest --collect-only",
        "pytest --co -q",
        "pytest --version",
        "pytest -p no:terminal",
        "python check.py",
        "python -c 'import pytest'",
        "python tools/run.py -m pytest",
        "python -m doctest mod.py",
        "python -m compileall src",
        "make test",
        "npm test",
        "npm ci",
        "node check.js",
        "node --test --test-reporter=dot",
        "node --test --test-reporter dot",
        "cargo build",
        "cargo test --no-run",
        "go vet ./...",
        "go test -c",
        "go test -json ./...",
        "jest --json",
        "ctest -Q",
        "ctest -N",
        "mvn -q test",
        "mvn package",
        "mvn verify -DskipTests",
        "sh -c 'pytest | tee log'",
        "sh -c 'pytest || true'",
        "sh -c 'pytest & wait'",
        "sh -c",
        "true",
    ],
)
def test_of_all_others_the_exit_code_alone_counts(command):
    assert closing(words(command), "all is well\n") is None


@pytest.mark.parametrize(
    ("command", "inner"),
    [
        ("/usr/bin/python3.12 -X dev -m pytest -q", "pytest -q"),
        ("coverage run --source src -m pytest", "pytest"),
        ("env A=1 timeout -k 5 60 nice -n 5 poetry run pytest", "pytest"),
        ("node_modules/.bin/jest a", "jest a"),
        ("pnpm exec jest", "jest"),
        ("yarn jest", "jest"),
        ("xvfb-run -a npx playwright test", "playwright test"),
        ("bash -lc 'make a && cargo test'", "cargo test"),
        ("npm run test:unit", "npm-script run test:unit"),
        ("uv sync", "uv sync"),
        ("env", "env"),
    ],
)
def test_wrappers_are_taken_off(command, inner):
    assert program(words(command)) == tuple(inner.split())
