"""A Code Queue by its command line, or by HTTP behind the microservice proxy: both bounded.

The command line is an argument list and no shell. HTTP knows one address and follows no redirect.
Policy: "submit, retry, interrupt, or cancel through the normal Code Queue and microservice proxy
APIs".
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from agent.adapters.code_queue.words import READING, SIZE, parse, refuse_option
from agent.adapters.common import process
from agent.adapters.common.http import Answer, Http, HttpError, secret, trust
from agent.core.model.text import one_line
from agent.errors import ConfigurationError, NoAnswerError, UnreadableAnswerError

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
        arguments = _fill(self._calls[call], fills, keys=self._keys)
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
        return parse(ended.output, self._what(call))

    def _what(self, call: str) -> str:
        return f"{self._command[0]} ({call})"


def _fill(arguments: Sequence[str], fills: Mapping[str, str], *, keys: bool) -> list[str]:
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
                refuse_option(name, value)
            text = text.replace(f"{{{name}}}", value)
        found.append(text)
    return found


_BODY: Final[Mapping[str, tuple[str, ...]]] = {
    "submit": ("queue", "prompt", "idempotencyKey"),
    "retry": ("prompt", "idempotencyKey"),
    "interrupt": ("idempotencyKey",),
    "cancel": ("idempotencyKey",),
    "move": ("queue", "idempotencyKey"),
    "read": (),
}
"""What the body of each acting call holds; the key goes into the header of that name as well."""


class Proxy:
    """Asks `url` and nobody else; no redirect is followed.

    `ca` is a file with the only certificates that are trusted. NoAnswerError: no connection, or not
    all of the answer within `timeout` seconds. UnreadableAnswerError: another status than 200-202,
    another type than JSON, not one JSON object, or more than `SIZE` bytes.
    """

    name = "proxy"

    def __init__(
        self,
        url: str,
        *,
        paths: Mapping[str, str],
        timeout: float,
        keys: bool,
        token: str | None = None,
        ca: Path | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._paths = paths
        self._keys = keys
        self._headers = {"accept": "application/json"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        try:
            self._http = Http((self._url,), timeout=timeout, most=SIZE, authority=ca, alone=True)
        except HttpError as error:
            raise ConfigurationError(f"{error}; correct `url` under [queue.http]") from error
        if ca is not None and self._url.startswith("https:"):
            _refuse_unreadable(ca)

    def ask(self, call: str, fills: Mapping[str, str], body: str | None = None) -> dict[str, Any]:
        """The object that `call` answers; `body` is the prompt of those that send one."""
        path = self._paths[call]
        for name, value in fills.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        try:
            answer = self._send(call, f"{self._url}{path}", fills, body)
        except HttpError as error:
            unusable = UnreadableAnswerError if error.answered else NoAnswerError
            raise unusable(str(error)) from error
        if answer.status not in (httpx.codes.OK, httpx.codes.CREATED, httpx.codes.ACCEPTED):
            raise UnreadableAnswerError(
                f"{self._what(call)} answered with the status {answer.status}",
            )
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not (kind == "application/json" or kind.endswith("+json")):
            raise UnreadableAnswerError(f"{self._what(call)} answered {kind!r:.60} and no JSON")
        return parse(answer.body, self._what(call))

    def _send(self, call: str, url: str, fills: Mapping[str, str], body: str | None) -> Answer:
        if call in READING:
            return self._http.ask("GET", url, headers=self._headers)
        known = {"queue": fills.get("queue"), "prompt": body, "idempotencyKey": fills.get("key")}
        if not self._keys:
            del known["idempotencyKey"]
        fields = {name: known[name] for name in _BODY[call] if known.get(name) is not None}
        headers = self._headers | {"content-type": "application/json"}
        if (key := fields.get("idempotencyKey")) is not None:
            headers["idempotency-key"] = key
        sent = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        return self._http.ask("POST", url, headers=headers, body=sent)

    def _what(self, call: str) -> str:
        return f"{self._url} ({call})"


def _refuse_unreadable(ca: Path) -> None:
    """ConfigurationError, before anything is asked, for certificates that cannot be read."""
    try:
        trust(ca, alone=True)
    except OSError as error:
        raise ConfigurationError(
            f"the certificates in {ca} cannot be read ({error.strerror or error}); "
            "correct `ca` under [queue.http]",
        ) from error


def token_of(variable: str | None) -> str | None:
    """The token in that environment variable. ConfigurationError, without it, if there is none."""
    try:
        return secret(variable)
    except HttpError as error:
        raise ConfigurationError(
            f"{error}, or drop `token_variable` under [queue.http]",
        ) from error
