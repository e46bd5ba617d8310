"""A Code Queue by HTTP, behind the microservice proxy: one address, no redirects, bounded.

Policy: "submit, retry, interrupt, or cancel through the normal Code Queue and microservice proxy
APIs".
"""

import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from agent.adapters.code_queue.answers import SIZE, parsed
from agent.adapters.code_queue.words import READING
from agent.core.model.text import one_line
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
    """Asks `url` and nobody else: no redirect is followed, no proxy of the environment is used.

    TLS certificates are verified, against `ca` if it is given. NoAnswerError: no connection, or
    not all of the answer within `timeout` seconds. UnreadableAnswerError: another status than
    200-202, another type than JSON, or not one JSON object.
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
        self._timeout = timeout
        self._keys = keys
        # One encoding: what is not unpacked cannot grow beyond the limit.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            verify=_trust(ca, needed=self._url.startswith("https:")),
            trust_env=False,
            follow_redirects=False,
            timeout=timeout,
            headers=headers,
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def ask(self, call: str, fills: Mapping[str, str], body: str | None = None) -> dict[str, Any]:
        """The object that `call` answers; `body` is the prompt of those that send one."""
        path = self._paths[call]
        for name, value in fills.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        request = self._request(call, f"{self._url}{path}", fills, body)
        try:
            return self._answer(call, request)
        except httpx.TimeoutException as error:
            raise NoAnswerError(f"{self._what(call)}: no answer in {self._timeout:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            reason = one_line(str(error)) or type(error).__name__
            raise NoAnswerError(f"{self._what(call)} cannot be reached ({reason:.120})") from error

    def _request(
        self, call: str, url: str, fills: Mapping[str, str], body: str | None
    ) -> httpx.Request:
        if call in READING:
            return self._client.build_request("GET", url)
        known = {"queue": fills.get("queue"), "prompt": body, "idempotencyKey": fills.get("key")}
        if not self._keys:
            del known["idempotencyKey"]
        told = {name: known[name] for name in _BODY[call] if known.get(name) is not None}
        key = told.get("idempotencyKey")
        headers = {} if key is None else {"Idempotency-Key": key}
        return self._client.build_request("POST", url, json=told, headers=headers)

    def _answer(self, call: str, request: httpx.Request) -> dict[str, Any]:
        end = time.monotonic() + self._timeout
        response = self._client.send(request, stream=True)
        try:
            if response.is_redirect:
                where = one_line(response.headers.get("location", ""))
                raise UnreadableAnswerError(
                    f"{self._what(call)} points to {where!r:.80}, which is not followed; "
                    "give the right `url` under [queue.http]",
                )
            raw = bytearray()
            for piece in response.iter_raw():
                raw += piece
                if len(raw) > SIZE:
                    raise UnreadableAnswerError(f"{self._what(call)}: more than {SIZE} bytes")
                if time.monotonic() > end:
                    raise NoAnswerError(f"{self._what(call)}: not all came in {self._timeout:g} s")
        finally:
            response.close()
        if response.status_code not in (httpx.codes.OK, httpx.codes.CREATED, httpx.codes.ACCEPTED):
            raise UnreadableAnswerError(
                f"{self._what(call)} answered with the status {response.status_code}",
            )
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not (kind == "application/json" or kind.endswith("+json")):
            raise UnreadableAnswerError(f"{self._what(call)} answered {kind!r:.60} and no JSON")
        return parsed(bytes(raw), self._what(call))

    def _what(self, call: str) -> str:
        return f"{self._url} ({call})"


def _trust(ca: Path | None, *, needed: bool) -> ssl.SSLContext:
    """Whom to trust; nobody where TLS is not used, because reading certificates takes long."""
    if not needed:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ConfigurationError(
            f"the certificates in {ca} cannot be read ({error.strerror or error}); "
            "mend `ca` under [queue.http]",
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
