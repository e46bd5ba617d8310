import pytest

from agent.core.assess.check_results import assess, change_shown, conclude, failed
from agent.core.model.nouns import Command, CommandResult

PYTEST = Command(argv=("pytest", "-q"))
PLAIN = Command(argv=("./check.sh",))
KNOWN = Command(argv=("make", "image"), expect="proceeds", fingerprint="x")
UNNAMED = Command(argv=("make", "image"), expect="proceeds")


def ran(command, code, output="", tests=None):
    return CommandResult(argv=command.argv, exit_code=code, output=output, ok=code == 0, ran=tests)


def same(result, mark):
    return mark == "x" and "known" in result.output


@pytest.mark.parametrize(
    ("command", "code", "output", "verdict", "tests"),
    [
        pytest.param(PLAIN, 0, "", "pass", None, id="it-passes"),
        pytest.param(PLAIN, 3, "", "fail", None, id="it-fails"),
        pytest.param(PLAIN, None, "", "fail", None, id="it-does-not-end"),
        pytest.param(PYTEST, 0, "2 passed in 0.1s", "pass", 2, id="tests-pass"),
        pytest.param(PYTEST, 1, "1 failed in 0.1s", "fail", 1, id="tests-fail"),
        pytest.param(PYTEST, 1, "", "fail", None, id="tests-fail-and-are-cut-off"),
        pytest.param(PYTEST, 0, "..", "unknown", None, id="tests-are-cut-off"),
        pytest.param(PYTEST, 0, "2 skipped in 0.1s", "unknown", 0, id="tests-are-all-skipped"),
        pytest.param(KNOWN, 0, "", "pass", None, id="a-blocked-workflow-passes"),
        pytest.param(KNOWN, 1, "a new fault", "pass", None, id="another-failure"),
        pytest.param(KNOWN, 1, "known", "fail", None, id="the-failure-that-was-to-go"),
        pytest.param(KNOWN, 0, "known", "fail", None, id="the-failure-is-printed-all-the-same"),
        pytest.param(KNOWN, None, "", "fail", None, id="a-blocked-workflow-has-no-end"),
        pytest.param(UNNAMED, 1, "", "fail", None, id="no-failure-is-named"),
    ],
)
def test_what_one_command_says(command, code, output, verdict, tests):
    result = assess(command, ran(command, code, output), same)
    assert (result.ok, result.ran) == (verdict == "pass", tests)
    found, reason = conclude([command], [result])
    assert found == verdict
    assert (reason is None) == (verdict == "pass")


def test_what_the_runner_was_seen_to_say_counts_where_its_line_was_cut():
    cut = ran(PYTEST, 0, "the end of a long output", tests=7)
    assert assess(PYTEST, cut, same).ok
    script = Command(argv=("npm", "test"))
    assert not assess(script, ran(script, 0, "", tests=0), same).ok


def test_the_first_that_is_not_ok_decides():
    commands = [PLAIN, PYTEST, PLAIN]
    results = [ran(PLAIN, 0), assess(PYTEST, ran(PYTEST, 0, ""), same)]
    assert conclude(commands, results)[0] == "unknown"
    assert conclude(commands, [ran(PLAIN, 2)]) == ("fail", "./check.sh ended with 2")


MISSING = "ruff: command not found"


@pytest.mark.parametrize(
    ("commands", "before", "shown"),
    [
        pytest.param([PLAIN], [ran(PLAIN, 1)], True, id="failed-before"),
        pytest.param([PLAIN], [ran(PLAIN, 0)], False, id="passed-before"),
        pytest.param(
            [PLAIN], [ran(PLAIN, 127, "./check.sh: command not found")], True, id="a-new-script"
        ),
        pytest.param([PYTEST], [ran(PYTEST, 4, "file not found")], True, id="a-new-test"),
        pytest.param([PYTEST], [ran(PYTEST, 0, "")], None, id="cut-off-before"),
        pytest.param([PLAIN], [ran(PLAIN, None)], None, id="out-of-time-before"),
        pytest.param(
            [Command(argv=("ruff",))],
            [ran(Command(argv=("ruff",)), 127, MISSING)],
            None,
            id="no-such-program-here",
        ),
        pytest.param([PLAIN, PLAIN], [ran(PLAIN, 0), ran(PLAIN, 1)], True, id="the-second"),
        pytest.param([PLAIN, PLAIN], [ran(PLAIN, 0), ran(PLAIN, None)], None, id="one-unknown"),
        pytest.param([PLAIN, PLAIN], [ran(PLAIN, 0)], None, id="one-not-run"),
        pytest.param([KNOWN], [ran(KNOWN, 1)], None, id="none-is-asked-to-pass"),
        pytest.param([KNOWN, PLAIN], [ran(KNOWN, 1), ran(PLAIN, 0)], False, id="a-blocked-one"),
        pytest.param([PLAIN], [], None, id="nothing-was-run"),
    ],
)
def test_whether_the_change_is_shown(commands, before, shown):
    was = [assess(one, result, same) for one, result in zip(commands, before, strict=False)]
    now = [ran(one, 0).model_copy(update={"ok": True}) for one in commands]
    assert change_shown(commands, was, now) is shown


def test_a_change_is_not_shown_by_what_does_not_pass_now():
    assert change_shown([PLAIN], [ran(PLAIN, 1)], [ran(PLAIN, 2)]) is False


@pytest.mark.parametrize(
    ("before", "now", "shown"),
    [
        pytest.param("Ran 1 test in 0.1s\n\nFAILED (errors=1)", "", False, id="cut-off"),
        pytest.param("Ran 1 test in 0.1s\n\nFAILED", "Ran 1 test in 0.1s\n\nOK", True, id="ran"),
        pytest.param("1 failed in 0.1s", "cached\n1 passed in 0.1s", True, id="another-runner"),
        pytest.param("make: *** No rule", "", True, id="nothing-was-counted-before"),
    ],
)
def test_tests_that_are_not_counted_any_more_show_nothing(before, now, shown):
    make = Command(argv=("make", "test"))
    was, is_ = ran(make, 2, before), ran(make, 0, now)
    assert change_shown([make], [was], [is_]) is shown


def test_a_program_that_is_missing_did_not_fail():
    tool = Command(argv=("ruff",))
    assert not failed(ran(tool, 127, MISSING))
    assert failed(ran(tool, 127, "sub: not found"))
