"""A Code Queue by its command line: an argument list and no shell, bounded in time and size."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agent.adapters.code_queue.answers import SIZE, parsed, refused_option
from agent.adapters.common import process
from agent.core.model.text import one_line
from agent.errors import NoAnswerError, UnreadableAnswerError

_SHOWN: Final = 200
"""Characters of standard error that an error message shows."""


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
        try:
            ended = process.run(
                [*self._command, *arguments],
                process.Bounds(self._timeout, kept=SIZE + 1, flood=SIZE),
                name=f"{self._command[0]} {' '.join(arguments[:2])}",
                env=os.environ,
                cwd=self._folder,
                stdin=(body or "").encode(),
                # Its command may have started the queue's own server.
                spare_daemons=True,
            )
        except process.NotStartedError as error:
            raise NoAnswerError(f"{error}; see `command` and `folder` under [queue]") from error
        except process.TooMuchError as error:
            raise UnreadableAnswerError(str(error)) from error
        except process.ProgramError as error:
            raise NoAnswerError(str(error)) from error
        if ended.code != 0:
            words = one_line(ended.errors)[-_SHOWN:]
            raise UnreadableAnswerError(
                f"{self._what(call)} ended with {ended.code}: {words or 'it gave no reason'}",
            )
        return parsed(ended.output, self._what(call))

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
