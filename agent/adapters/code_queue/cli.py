"""A Code Queue by its command line: an argument list and no shell, bounded in time and size."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from agent.adapters.code_queue.answers import SIZE, parsed, refused_option
from agent.core.model.text import one_line
from agent.errors import NoAnswerError, UnreadableAnswerError

_SHOWN: Final = 200
"""Characters of standard error that an error message shows."""
_GLANCE: Final = 0.2
"""Seconds between two looks at how much was printed."""


class CommandLine:
    """Runs `command` in `folder`, with the arguments of one call appended.

    NoAnswerError: it does not start, or has not ended after `timeout` seconds (its process group
    is killed then). UnreadableAnswerError: another exit code than 0, or not one JSON object.
    """

    name = "command line"

    def __init__(
        self,
        command: Sequence[str],
        *,
        calls: Mapping[str, Sequence[str]],
        folder: Path,
        timeout: float,
        keys: bool,
    ) -> None:
        self._command = tuple(command)
        self._calls = calls
        self._folder = folder
        self._timeout = timeout
        self._keys = keys

    def ask(self, call: str, fills: Mapping[str, str], body: str | None = None) -> dict[str, Any]:
        """The object that `call` prints; `body` goes to its standard input."""
        arguments = _filled(self._calls[call], fills, keys=self._keys)
        # Files, not pipes: a grandchild that outlives the program would keep a pipe open.
        with (
            tempfile.TemporaryFile() as told,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            told.write((body or "").encode())
            told.seek(0)
            code = self._run(arguments, told, out, err)
            out.seek(0)
            err.seek(0)
            printed, complaint = out.read(SIZE + 1), err.read(SIZE)
        if code != 0:
            words = one_line(complaint.decode(errors="replace"))[-_SHOWN:]
            raise UnreadableAnswerError(
                f"{self._what(call)} ended with {code}: {words or 'it gave no reason'}",
            )
        return parsed(printed, self._what(call))

    def _run(
        self, arguments: Sequence[str], told: IO[bytes], out: IO[bytes], err: IO[bytes]
    ) -> int:
        try:
            process = subprocess.Popen(
                [*self._command, *arguments],
                cwd=self._folder,
                stdin=told,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise NoAnswerError(
                f"{self._command[0]} does not start in {self._folder} ({reason}); "
                "see `command` and `folder` under [queue]",
            ) from error
        with process:
            end = time.monotonic() + self._timeout
            try:
                while True:
                    try:
                        return process.wait(max(0.0, min(_GLANCE, end - time.monotonic())))
                    except subprocess.TimeoutExpired:
                        self._refuse(arguments, end, out, err)
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise

    def _refuse(self, arguments: Sequence[str], end: float, out: IO[bytes], err: IO[bytes]) -> None:
        what = f"{self._command[0]} {' '.join(arguments[:2])}"
        if max(os.fstat(out.fileno()).st_size, os.fstat(err.fileno()).st_size) > SIZE:
            raise UnreadableAnswerError(f"{what} printed more than {SIZE} bytes and was stopped")
        if time.monotonic() >= end:
            raise NoAnswerError(f"{what} gave no answer within {self._timeout:g} s")

    def _what(self, call: str) -> str:
        return f"{self._command[0]} ({call})"


def _filled(arguments: Sequence[str], fills: Mapping[str, str], *, keys: bool) -> list[str]:
    """The arguments with each `{name}` filled; without keys, what carries the key is left out."""
    found: list[str] = []
    for argument in arguments:
        if "{key}" in argument and not keys:
            if argument == "{key}" and found and found[-1].startswith("-"):
                found.pop()
            continue
        text = argument
        for name, value in fills.items():
            if f"{{{name}}}" in argument:
                refused_option(name, value)
            text = text.replace(f"{{{name}}}", value)
        found.append(text)
    return found
