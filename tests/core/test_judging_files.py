import pytest

from agent.core.assess.judging_files import changed_judges, configures, to_put_back

TREE = {
    "Cargo.toml", "CMakeLists.txt", "Makefile", "check.sh", "conftest.py", "go.mod",
    "jest.config.js", "lib/x.go", "lib/x_test.go", "mypy.ini", "package.json", "pkg/__init__.py",
    "pkg/mod.py", "pom.xml", "pyproject.toml", "pytest.ini", "pytest.py", "real/t.py", "src/a.py",
    "src/app/__main__.py", "src/test/java/A.java", "test/a.test.js", "tests/__init__.py",
    "tests/conftest.py", "tests/it.rs", "tests/test_x.py", "tools/rules.mk",
}  # fmt: skip
PYTEST = {"conftest.py", "tests/conftest.py", "pyproject.toml", "pytest.ini"}


@pytest.mark.parametrize(
    ("command", "found"),
    [
        pytest.param("./check.sh", {"check.sh"}, id="a-script"),
        pytest.param("sh check.sh", {"check.sh"}, id="a-script-by-a-shell"),
        pytest.param("python tests/../check.sh", {"check.sh"}, id="a-crooked-path"),
        pytest.param("python -m pkg.mod", {"pkg/__init__.py", "pkg/mod.py"}, id="a-module"),
        pytest.param("python -m app", {"src/app/__main__.py"}, id="a-package-below-src"),
        pytest.param(
            "python -m pytest -q tests/test_x.py::T::test_a",
            {*PYTEST, "tests/test_x.py", "pytest.py"},
            id="a-node-id-and-a-module-that-shadows-the-runner",
        ),
        pytest.param(
            "pytest tests/",
            {*PYTEST, "pytest.py", "tests/__init__.py", "tests/it.rs", "tests/test_x.py"},
            id="a-folder",
        ),
        pytest.param("pytest", {*PYTEST, "pytest.py", "tests/test_x.py"}, id="what-it-collects"),
        pytest.param("pytest -k x -n 2", {*PYTEST, "pytest.py", "tests/test_x.py"}, id="options"),
        pytest.param("pytest .", {*PYTEST, "pytest.py", "tests/test_x.py"}, id="the-root"),
        pytest.param(
            "pytest -c=mypy.ini src/a.py",
            {*PYTEST, "pytest.py", "mypy.ini", "src/a.py"},
            id="the-value-of-an-option",
        ),
        pytest.param(
            "python -m unittest tests.test_x.T.test_a",
            {"tests/__init__.py", "tests/test_x.py"},
            id="a-dotted-test",
        ),
        pytest.param("make check", {"Makefile", "tools/rules.mk"}, id="make"),
        pytest.param(
            "npm test",
            {"package.json", "jest.config.js", "test/a.test.js", "src/test/java/A.java"}
            | {one for one in TREE if one.startswith("tests/")},
            id="npm",
        ),
        pytest.param("npm ci", {"package.json"}, id="npm-that-runs-nothing"),
        pytest.param("cargo test", {"Cargo.toml", "tests/it.rs"}, id="cargo"),
        pytest.param("go test ./...", {"go.mod", "lib/x_test.go"}, id="go"),
        pytest.param(
            "go test ./lib/...", {"go.mod", "lib/x.go", "lib/x_test.go"}, id="go-one-folder"
        ),
        pytest.param("ctest", {"CMakeLists.txt"}, id="ctest"),
        pytest.param("mvn test", {"pom.xml", "src/test/java/A.java"}, id="maven"),
        pytest.param("mypy", {"mypy.ini", "pyproject.toml"}, id="a-type-checker"),
        pytest.param("/bin/check.sh", set(), id="outside"),
        pytest.param("python ../check.sh", set(), id="above"),
        pytest.param("true", set(), id="nothing"),
    ],
)
def test_what_a_command_runs_or_reads_by_name(command, found):
    assert set(changed_judges([command.split()], TREE, {})) == found


def test_a_script_for_the_shell_is_read_for_paths():
    script = ["sh", "-c", "cd . && ./check.sh --strict; python -m pkg.mod <real/t.py"]
    assert changed_judges([script], TREE, {}) == ("check.sh", "real/t.py")


@pytest.mark.parametrize(
    ("links", "found"),
    [
        pytest.param({"link": "real"}, {"link", "real/t.py"}, id="a-folder-that-leads-elsewhere"),
        pytest.param(
            {"link": "b/c", "b/c": "../real"}, {"link", "b/c", "real/t.py"}, id="through-two-links"
        ),
        pytest.param({"link/t.py": "../real/t.py"}, {"link/t.py", "real/t.py"}, id="a-file"),
        pytest.param({"link": "../../etc"}, {"link"}, id="out-of-the-repository"),
        pytest.param({"link": "link"}, {"link"}, id="a-circle"),
    ],
)
def test_symbolic_links_are_followed(links, found):
    changed = {*TREE, *links}
    assert set(changed_judges([["sh", "link/t.py"]], changed, links)) == found


@pytest.mark.parametrize(
    ("command", "path", "yes"),
    [
        ("pytest tests", "tests/new.py", False),
        ("pytest tests", "tests/conftest.py", True),
        ("uv run pytest", "uv.toml", True),
        ("uv run pytest", "pytest.ini", True),
        ("npm test", "node_modules/x/package.json", False),
        ("ctest --test-dir build", "build/out", False),
    ],
)
def test_what_is_named_is_not_what_configures(command, path, yes):
    assert configures(command.split(), path) == yes


@pytest.mark.parametrize(
    ("command", "changed", "before", "found"),
    [
        pytest.param("pytest t/test_x.py", "t/test_x.py", "t/test_x.py", True, id="its-test"),
        pytest.param("pytest t/test_x.py", "t/test_x.py", "t/__init__.py", False, id="a-new-test"),
        pytest.param("pytest", "t/test_y.py", "t/test_x.py", False, id="one-more-test"),
        pytest.param("pytest t/test_x.py", "conftest.py", "", True, id="what-configures"),
        pytest.param("python -m pytest", "pytest/__init__.py", "", True, id="the-runner-s-name"),
        pytest.param("python -m unittest t.test_x", "t/test_x.py", "", False, id="a-new-module"),
        pytest.param(
            "python -m unittest t.test_x", "t/test_x/__init__.py", "t/test_x.py", True,
            id="a-package-over-its-module",
        ),
        pytest.param("python -m unittest t.test_x", "unittest.py", "", True, id="unittest-itself"),
        pytest.param("make t", "Makefile", "Makefile", True, id="make"),
        pytest.param("make t", "t/test_x.py", "t/test_x.py", True, id="what-make-may-run"),
        pytest.param("make t", "t/test_x.py", "", False, id="a-new-test-for-make"),
        pytest.param("make t", "src/x.py", "src/x.py", False, id="what-make-tests"),
        pytest.param("npm test", "package.json", "package.json", True, id="npm"),
        pytest.param("./check.sh", "check.sh", "check.sh", True, id="a-script"),
        pytest.param("sh -e check.sh", "check.sh", "", False, id="a-new-script"),
        pytest.param("python tools/check.py x", "tools/check.py", "tools/check.py", True, id="py"),
        pytest.param("pytest tests/test_x.py", "tests/base.py", "tests/base.py", True, id="helper"),
        pytest.param("pytest", "tests/src/__init__.py", "tests/test_x.py", True, id="new-helper"),
        pytest.param("pytest tests/test_x.py", "tests/a.py", "a.py", False, id="helper-of-new"),
        pytest.param("make t", "tests/base.py", "tests/base.py", True, id="helper-for-make"),
        pytest.param("grep -q x tests/a", "tests/a", "tests/a", False, id="no-helper"),
        pytest.param("grep -q x docs/a.md", "docs/a.md", "docs/a.md", False, id="its-subject"),
        pytest.param("ruff check src/a.py", "src/a.py", "src/a.py", False, id="what-is-linted"),
    ],
)  # fmt: skip
def test_what_is_put_back_to_see_what_was_there_before_pass(command, changed, before, found):
    paths = to_put_back([command.split()], [changed], {}, {before})
    assert paths == ((changed,) if found else ())


def test_a_script_for_the_shell_is_read_for_what_it_runs():
    script = ["sh", "-c", "cd . && ./check.sh --strict; cat docs/a.md | python tools/x.py"]
    paths = ["check.sh", "docs/a.md", "tools/x.py"]
    assert to_put_back([script], paths, {}, set(paths)) == ("check.sh", "tools/x.py")
