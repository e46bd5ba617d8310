"""The one way to run a program to its end: without a shell, bounded in time and in output.

The program gets a process group of its own and is waited for; its output goes to files, because a
grandchild that outlives it would keep a pipe open. This module implements no port.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from agent.core.model.text import one_line

_GIVEN: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
_GRACE: Final = 2.0
"""Seconds between SIGTERM and SIGKILL; git removes its lock files in that time."""
_GLANCE: Final = 0.2
"""Seconds between two looks at how much was printed."""
_ERRORS: Final = 64 * 1024
"""Bytes of standard error that are kept: the last ones."""
_SHOWN: Final = 200


class ProgramError(Exception):
    """The program did not come to an end of its own, and why, in one line."""


class NotStartedError(ProgramError):
    """There is no such program or folder, or it may not be run."""


class TooSlowError(ProgramError):
    """It took longer than its time limit and was stopped."""


class TooMuchError(ProgramError):
    """It printed more than its limit and was stopped."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a program may take before it is stopped, and how much of its output is kept."""

    seconds: float
    kept: int = 64 * 1024
    """Bytes of standard output."""
    flood: int = 256 * 1024**2
    """Bytes of either stream, on the disk while it runs."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    code: int
    """Its exit code; -n if the signal n ended it."""
    output: bytes
    """Its standard output, as far as it is kept."""
    whole: bool
    """False: it printed more than that."""
    errors: str
    """The end of its standard error, as it was printed."""

    @property
    def summary(self) -> str:
        """Its exit code and its reason, after its name."""
        return (
            f"ended with {self.code}: {self.reason}" if self.reason else f"ended with {self.code}"
        )

    @property
    def reason(self) -> str:
        """The last line of its standard error, made visible; "" if there is none."""
        lines = [line for line in self.errors.splitlines() if line.strip()]
        return one_line(lines[-1])[:_SHOWN] if lines else ""


def filled(argv: Sequence[str], names: Mapping[str, str | None]) -> list[str]:
    """`argv` with each `{name}` filled in. ProgramError for one that is not known now."""

    def value(found: re.Match[str]) -> str:
        known = names.get(found[1])
        if known is None:
            raise ProgramError(f"the {found[1]} is not known, so {argv[0]} is not run")
        return known

    return [re.sub(r"\{(" + "|".join(names) + r")\}", value, argument) for argument in argv]


def environment(pass_on: Sequence[str]) -> dict[str, str]:
    """A small environment, with a secret in it only if `pass_on` names it.

    ProgramError for a name that is not set.
    """
    if absent := [name for name in pass_on if name not in os.environ]:
        raise ProgramError(f"the environment variable {absent[0]} is not set, which it needs")
    return {name: os.environ[name] for name in (*_GIVEN, *pass_on) if name in os.environ}


def run(
    argv: Sequence[str],
    bounds: Bounds,
    *,
    env: Mapping[str, str],
    name: str | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    spare_daemons: bool = False,
) -> Ended:
    """Run it to its end with `env` and no other variables. `name`: what errors call this run.

    What it started goes with it; `spare_daemons`: but stays if the program ended by itself.

    Raises:
        NotStartedError, TooSlowError, TooMuchError: see there.

    """
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        given.write(stdin)
        given.seek(0)
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=dict(env),
                stdin=given,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise NotStartedError(f"{one_line(argv[0])} does not start ({_why(error)})") from None
        try:
            code = _wait(process, one_line(name or argv[0]), bounds, (output, errors))
        finally:
            _end(process, spare_daemons=spare_daemons)
        output.seek(0)
        printed = output.read(bounds.kept + 1)
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _ERRORS))
        tail = errors.read().decode("utf-8", "replace")
        return Ended(code, printed[: bounds.kept], len(printed) <= bounds.kept, tail)


def _wait(
    process: "subprocess.Popen[bytes]",
    name: str,
    bounds: Bounds,
    streams: Sequence[IO[bytes]],
) -> int:
    deadline = time.monotonic() + bounds.seconds
    while True:
        try:
            return process.wait(max(0.0, min(_GLANCE, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if any(os.fstat(one.fileno()).st_size > bounds.flood for one in streams):
                raise TooMuchError(
                    f"{name} printed more than {bounds.flood} bytes and was stopped"
                ) from None
            if time.monotonic() >= deadline:
                raise TooSlowError(
                    f"{name} took longer than {bounds.seconds:g} s and was stopped"
                ) from None


def _end(process: "subprocess.Popen[bytes]", *, spare_daemons: bool) -> None:
    """Whatever still runs of it is ended; a program that we may not signal is not waited for."""
    ended = process.poll() is not None
    if ended and spare_daemons:
        return
    for number in (signal.SIGKILL,) if ended else (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        place = f": {str(error.filename)!r}" if error.filename else ""
        return one_line(f"{error.strerror}{place}")
    return str(error)
