"""What adapters that speak HTTP share: one bounded request, to configured origins only.

Bounded in time (headers included), size and number of redirects; TLS is verified; neither proxies
nor passwords are taken from the environment, and no cookie is kept. A secret is given by the name
of an environment variable and is in no message. Connections stay open for the next request, of any
`Http`. This module implements no port.
"""

import asyncio
import atexit
import json
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final

import httpx
from tenacity import (
    Retrying,
    retry_if_exception,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
)
from tenacity.wait import wait_random_exponential

from agent.core.model.text import one_line

_TRIES: Final = 3
_SHOWN: Final = 200
"""Characters of a server's text that are shown."""
_SAFE: Final = frozenset({"GET", "HEAD"})
_PASSING: Final = frozenset({502, 503, 504})
"""Answers that a proxy gives for a moment; to a request that only reads, it is asked again."""
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_USERINFO: Final = re.compile(r"://[^/\s]*@")
_LAST_PORT: Final = 65535
_PORTS: Final = {"http": 80, "https": 443}


class HttpError(Exception):
    """There is no answer that could be read, and why, in one line."""

    def __init__(
        self, message: str, *, passing: bool = False, taken: bool = True, answered: bool = True
    ) -> None:
        super().__init__(one_line(message)[:_SHOWN])
        self.passing = passing
        """It may be gone in a moment."""
        self.answered = answered
        """The server answered, but its answer is of no use; False: no whole answer came."""
        self.taken = taken
        """The request may have reached the server; False: it certainly did not."""


class InstallationError(HttpError):
    """The place refuses us, is not there or is not configured: a person can repair that."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    url: str
    """Where it came from, without its query."""
    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes
    digest: str
    """The sha256 of the body as it came, as 64 hexadecimal digits; of the headers for HEAD."""

    def json(self) -> Any:  # noqa: ANN401 - whatever the server sends
        """The body as JSON. HttpError for anything else, such as a login page."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            kind = self.headers.get("content-type") or "no content type"
            raise HttpError(f"{self.url} answered no JSON ({kind})") from None

    def object(self) -> dict[str, Any]:
        """The body as a JSON object. HttpError for anything else."""
        found = self.json()
        if not isinstance(found, dict):
            raise HttpError(f"{self.url} answered no JSON object")
        return found


def origin(url: str) -> str:
    """`scheme://host:port` of `url`, for comparison. HttpError if it has none."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise HttpError(f"{url!r} is no address: {error}", taken=False) from None
    if parsed.scheme not in _PORTS or not parsed.host or (parsed.port or 0) > _LAST_PORT:
        raise HttpError(f"{url!r} is no address of http or https", taken=False)
    return f"{parsed.scheme}://{parsed.host}:{parsed.port or _PORTS[parsed.scheme]}"


def secret(name: str | None) -> str | None:
    """What the environment variable `name` holds. HttpError where it was named and is not set."""
    if name is None:
        return None
    value = os.environ.get(name, "").strip()
    if not value:
        message = f"the environment variable {name} is not set; put the token there"
        raise InstallationError(message)
    if not value.isascii() or not value.isprintable():
        message = f"the environment variable {name} holds no usable token; put one there"
        raise InstallationError(message)
    return value


def bearer(name: str | None) -> dict[str, str]:
    """The header with the token in that variable, none without a name. HttpError as in `secret`."""
    token = secret(name)
    return {} if token is None else {"authorization": f"Bearer {token}"}


class Http:
    """Asks the servers at `origins` and no others.

    `timeout` is in seconds for everything that one call does, tries and redirects included;
    `most` is the number of bytes of a body. `authority` is a file with further certificates, or
    `alone` with the only ones that are trusted.
    """

    def __init__(
        self,
        origins: Iterable[str],
        *,
        timeout: float = 10.0,
        most: int = 1024 * 1024,
        authority: Path | None = None,
        alone: bool = False,
    ) -> None:
        self._origins = frozenset(origin(one) for one in origins)
        self._timeout = timeout
        self._most = most
        secure = any(one.startswith("https:") for one in self._origins)
        self._trusted = (authority, alone) if secure else None

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        redirects: int = 0,
    ) -> Answer:
        """The answer, whatever its status. A request that changes something is sent once.

        Raises:
            HttpError: no answer, too late, too large, compressed, or a redirect too many.

        """
        deadline = time.monotonic() + self._timeout
        safe = method in _SAFE
        sent = {name.lower(): value for name, value in (headers or {}).items()}

        def once() -> Answer:
            left = max(0.05, deadline - time.monotonic())
            return self._follow(method, url, sent, body, redirects, left)

        def again(error: BaseException) -> bool:
            return isinstance(error, HttpError) and error.passing and (safe or not error.taken)

        retrying = Retrying(
            retry=retry_if_exception(again)
            | retry_if_result(lambda answer: safe and answer.status in _PASSING),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_after_attempt(_TRIES) | stop_after_delay(self._timeout / 2),
            # The last answer, or the last error, is what the caller gets.
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        return retrying(once)

    def _follow(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None,
        redirects: int,
        limit: float,
    ) -> Answer:
        deadline = time.monotonic() + limit
        for left in range(redirects, -1, -1):
            where = origin(url)
            if where not in self._origins:
                raise HttpError(f"{where} is not configured, and nothing is asked there")
            answer = self._send(method, url, headers, body, max(0.05, deadline - time.monotonic()))
            target = answer.headers.get("location")
            if answer.status not in _MOVED or method not in _SAFE or target is None:
                return answer
            try:
                new = str(httpx.URL(url).join(target))
            except (httpx.InvalidURL, ValueError):
                new = target
            if left == 0:
                raise HttpError(f"{answer.url} redirects to {_plain(new)}, and is not followed")
            if origin(new) != where:
                headers = {k: v for k, v in headers.items() if k != "authorization"}
            url = new
        raise HttpError(f"{_plain(url)} redirects too often")  # pragma: no cover - not reached

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, limit: float
    ) -> Answer:
        shown = _plain(url)
        try:
            exchange = partial(self._exchange, method, url, headers, body)
            return _CONNECTIONS.run(exchange, self._trusted, limit)
        except TimeoutError:
            raise HttpError(
                f"{shown} gave no whole answer within {self._timeout:g} s", answered=False
            ) from None
        except httpx.ConnectError as error:
            reason = f"{shown} cannot be reached: {error}"
            raise HttpError(reason, passing=True, taken=False, answered=False) from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise HttpError(f"{shown} broke off: {reason}", passing=True, answered=False) from None
        except (OSError, ValueError) as error:
            reason = f"{shown} cannot be asked: {error}"
            raise HttpError(reason, taken=False, answered=False) from None

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None,
        client: httpx.AsyncClient,
        limit: float,
    ) -> Answer:
        sent = {"accept-encoding": "identity", "user-agent": "wavekeeper", **headers}
        async with (
            # Over the whole of it: the client's own limits begin anew with every byte.
            asyncio.timeout(limit),
            client.stream(method, url, headers=sent, content=body, timeout=None) as response,
        ):
            if response.headers.get("content-encoding", "identity") != "identity":
                raise HttpError(f"{_plain(url)} answered compressed, which was not asked for")
            parts, size = [], 0
            async for part in response.aiter_raw():
                size += len(part)
                if size > self._most:
                    raise HttpError(f"{_plain(url)} answered more than {self._most} bytes")
                parts.append(part)
        raw = b"".join(parts)
        _refuse_an_echo(sent.get("authorization"), raw, response.headers, url)
        hashed = raw
        if method == "HEAD":
            kept = [one for one in response.headers.items() if one[0] != "date"]
            hashed = repr(sorted(kept)).encode()
        return Answer(
            url=_plain(url),
            status=response.status_code,
            headers=response.headers,
            body=raw,
            digest=sha256(hashed).hexdigest(),
        )


_Trusted = tuple[Path | None, bool] | None
"""What `trust` is given; None: TLS is not used."""
_Exchange = Callable[[httpx.AsyncClient, float], Coroutine[Any, Any, Answer]]
"""One request and its answer, by a client and in so many seconds."""


class _Connections:
    """What this process has open, one client for each way to trust; one asks at a time."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._runner: asyncio.Runner | None = None
        self._clients: dict[_Trusted, httpx.AsyncClient] = {}

    def run(self, exchange: _Exchange, trusted: _Trusted, limit: float) -> Answer:
        """TimeoutError after `limit` seconds, those in the queue included."""
        deadline = time.monotonic() + limit
        if not self._turn.acquire(timeout=limit):
            raise TimeoutError
        try:
            if self._runner is None:
                self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
                atexit.register(self.close)
            client = self._client(trusted)
            return self._runner.run(exchange(client, deadline - time.monotonic()))
        except BaseException as error:
            if not isinstance(error, Exception):
                # A signal came in between; the next request must not take up what it interrupted.
                self._hang_up()
            raise
        finally:
            self._turn.release()

    def close(self) -> None:
        with self._turn:
            self._hang_up()

    def _client(self, trusted: _Trusted) -> httpx.AsyncClient:
        if trusted not in self._clients:
            self._clients[trusted] = httpx.AsyncClient(
                # Reading certificates takes longer than most requests; a bare context has none.
                verify=trust(*trusted) if trusted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                trust_env=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            )
        return self._clients[trusted]

    def _hang_up(self) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            return
        atexit.unregister(self.close)
        try:
            while self._clients:
                runner.run(self._clients.popitem()[1].aclose())
        finally:
            # Closing wants a thread for a moment, and none starts any more when the process ends.
            with suppress(RuntimeError):
                runner.close()


_CONNECTIONS: Final = _Connections()


def close_connections() -> None:
    """Close all that are open; the next request opens anew. The end of the process does it too."""
    _CONNECTIONS.close()


@lru_cache
def trust(authority: Path | None, alone: bool) -> ssl.SSLContext:  # noqa: FBT001 - see `Http`
    """Whom to trust: the machine's certificates, and those in `authority`. OSError: unreadable."""
    context = ssl.create_default_context(cafile=authority if alone else None)
    if authority is not None and not alone:
        context.load_verify_locations(authority)
    return context


def _refuse_an_echo(given: str | None, raw: bytes, headers: httpx.Headers, url: str) -> None:
    """A server that repeats our token would bring it into the journal."""
    token = (given or "").rpartition(" ")[2]
    if token and (token.encode() in raw or any(token in value for value in headers.values())):
        raise HttpError(f"{_plain(url)} repeats our token in its answer, which is not kept")


def _plain(url: str) -> str:
    """Without user, password, query and fragment, which may hold secrets."""
    return one_line(_USERINFO.sub("://", re.split("[?#]", url, maxsplit=1)[0]))[:_SHOWN]
