"""What the results of acceptance commands say: of one command, of a commit, of the change."""

import shlex
from collections.abc import Callable, Sequence
from typing import Final, Literal

from agent.core.assess.closing_lines import closes, closing
from agent.core.model.nouns import Command, CommandResult

SameFailure = Callable[[CommandResult, str], bool]
"""Whether a command failed with the failure of this fingerprint."""
Verdict = Literal["pass", "fail", "unknown"]

_NOT_STARTED: Final = (126, 127)
"""A shell's exit codes for a program that is not there or cannot be run."""


def assess(command: Command, result: CommandResult, same_failure: SameFailure) -> CommandResult:
    """The result with `ok` as this command means it, and with the number of tests that ran.

    A known runner that ends with 0 is not ok if it closed without its line or ran no test. Tests
    that were all skipped are none: nothing was checked.
    """
    closed = closing(result.argv, result.output)
    ran = result.ran if result.ran is not None or closed is None else closed.ran
    if command.expect == "proceeds" and command.fingerprint is not None:
        ended = result.exit_code is not None
        ok = ended and not same_failure(result, command.fingerprint)
    else:
        ok = result.exit_code == 0 and ran != 0 and (closed is None or ran is not None)
    return result.model_copy(update={"ok": ok, "ran": ran})


def conclude(
    commands: Sequence[Command], results: Sequence[CommandResult]
) -> tuple[Verdict, str | None]:
    """The verdict on a commit, and why it is no pass.

    `results` are assessed, in the order of `commands`, up to the first that is not ok. What ended
    with 0 and is not ok did not fail: nothing shows that it checked anything.
    """
    for command, result in zip(commands, results, strict=False):
        if result.ok:
            continue
        argv = shlex.join(result.argv)
        if result.exit_code is None:
            return "fail", f"{argv} did not end"
        if not _is_unproven(command, result):
            return "fail", f"{argv} ended with {result.exit_code}"
        if result.ran == 0:
            return "unknown", f"{argv} ended with 0 and ran no test, so nothing was checked"
        return "unknown", (
            f"{argv} ended with 0 without the line that its runner closes with, so nothing shows "
            "that a test ran"
        )
    return "pass", None


def change_shown(
    commands: Sequence[Command], before: Sequence[CommandResult], after: Sequence[CommandResult]
) -> bool | None:
    """Whether some command failed on the base (`before`) and passes now (`after`), both assessed.

    None: nobody knows, because a command could not be run on the base to its end, or none is asked
    to pass. A test that the base does not have yet fails there, and that is right: it is new.
    """
    pairs = list(zip(commands, before, after, strict=False))
    told = [(was, now) for command, was, now in pairs if command.expect == "passes"]
    if any(failed(was) and now.ok and not _fell_silent(was, now) for was, now in told):
        return True
    tried = len(pairs) == len(commands) and all(failed(was) or was.ok for was, _ in told)
    return False if told and tried else None


def _fell_silent(was: CommandResult, now: CommandResult) -> bool:
    """Whether tests were counted before and none are now: `make test`, cut off by what it tests."""
    known = closing(now.argv, now.output) is not None
    return not known and closes(was.output) and not closes(now.output)


def failed(result: CommandResult) -> bool:
    """Whether it ran to its end and failed: not stopped, and not without its program."""
    if result.exit_code in (None, 0):
        return False
    program = result.argv[0]
    # A script of the repository that is not there yet is a check that is new.
    missing = result.exit_code in _NOT_STARTED and "/" not in program
    last = result.output.rpartition("\n")[2]
    return not (missing and last.startswith(f"{program}: "))


def _is_unproven(command: Command, result: CommandResult) -> bool:
    named = command.expect == "proceeds" and command.fingerprint is not None
    return result.exit_code == 0 and not named
