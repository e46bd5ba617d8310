"""What adapters that start a configured program share: one bounded run, without a shell.

The program gets its own process group, which is gone when the call returns; a small environment,
in which a secret stands only if it was named; and nothing on standard input. No port stands behind
this module.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from agent.core.model.text import one_line

_GIVEN: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
_GRACE: Final = 2.0
_SHOWN: Final = 200


class ProgramError(Exception):
    """The program did not come to an end of its own, and why, in one line."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    code: int
    output: bytes
    """Its standard output, at most `most` bytes."""
    whole: bool
    """False: it printed more than that."""
    errors: str
    """The last line of its standard error, made visible."""


def filled(argv: Sequence[str], names: Mapping[str, str | None]) -> list[str]:
    """`argv` with each `{name}` filled in. ProgramError for one that is not known now."""

    def value(found: re.Match[str]) -> str:
        known = names.get(found[1])
        if known is None:
            raise ProgramError(f"the {found[1]} is not known, so {argv[0]} is not run")
        return known

    return [re.sub(r"\{(" + "|".join(names) + r")\}", value, argument) for argument in argv]


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    pass_on: Sequence[str] = (),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    most: int = 64 * 1024,
) -> Ended:
    """Run it to its end. ProgramError if it does not start or takes longer than `timeout` s.

    It is given the variables that are named in `pass_on`, and those of `env`.
    """
    given = {name: os.environ[name] for name in (*_GIVEN, *pass_on) if name in os.environ}
    given |= env or {}
    if absent := [name for name in pass_on if name not in os.environ]:
        raise ProgramError(f"the environment variable {absent[0]} is not set, which it needs")
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ProgramError(f"{one_line(argv[0])} does not start ({reason})") from None
        with process:
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise ProgramError(
                    f"{one_line(argv[0])} took longer than {timeout:g} s and was stopped",
                ) from None
            finally:
                _end(process)
        said = _head(output, most + 1)
        return Ended(code, said[:most], len(said) <= most, _last_line(errors))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Whatever it started goes with it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _head(file: IO[bytes], most: int) -> bytes:
    file.seek(0)
    return file.read(most)


def _last_line(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
    lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return one_line(lines[-1])[:_SHOWN] if lines else ""
