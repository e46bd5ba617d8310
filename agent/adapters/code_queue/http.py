"""A Code Queue by HTTP, behind the microservice proxy: one address, no redirects, bounded.

Policy: "submit, retry, interrupt, or cancel through the normal Code Queue and microservice proxy
APIs".
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from agent.adapters.code_queue.answers import SIZE, parsed
from agent.adapters.code_queue.words import READING
from agent.adapters.common.http import Answer, Http, HttpError, trust
from agent.errors import ConfigurationError, NoAnswerError, UnreadableAnswerError

_BODY: Final[Mapping[str, tuple[str, ...]]] = {
    "submit": ("queue", "prompt", "idempotencyKey"),
    "retry": ("prompt", "idempotencyKey"),
    "interrupt": ("idempotencyKey",),
    "cancel": ("idempotencyKey",),
    "move": ("queue", "idempotencyKey"),
    "read": (),
}
"""What the body of each acting call tells; the key goes into the header of that name as well."""


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
        return parsed(answer.body, self._what(call))

    def _send(self, call: str, url: str, fills: Mapping[str, str], body: str | None) -> Answer:
        if call in READING:
            return self._http.ask("GET", url, headers=self._headers)
        known = {"queue": fills.get("queue"), "prompt": body, "idempotencyKey": fills.get("key")}
        if not self._keys:
            del known["idempotencyKey"]
        told = {name: known[name] for name in _BODY[call] if known.get(name) is not None}
        headers = self._headers | {"content-type": "application/json"}
        if (key := told.get("idempotencyKey")) is not None:
            headers["idempotency-key"] = key
        sent = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
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
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigurationError(
            f"the environment variable {variable} holds no usable token; set it, "
            "or drop `token_variable` under [queue.http]",
        )
    return token
