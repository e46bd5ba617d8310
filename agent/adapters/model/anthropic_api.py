"""One way to the Messages API, for the reviewer and the drafter: one client, one retry layer.

The SDK's own retries are off: tenacity owns them, honours `retry-after` up to a limit, and a total
deadline bounds everything, because the SDK's timeout is one of each read. Nothing of the
environment reaches the wire: key, address and version are given, proxies only if they are wanted,
and headers go out by an allow-list (ANTHROPIC_CUSTOM_HEADERS could replace the API version).
"""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import anthropic
import jinja2
import tenacity
from anthropic.types import Message

from agent.adapters.model.templates import sandbox
from agent.core.model.actions import digest
from agent.core.model.nouns import Usage
from agent.core.model.text import one_line
from agent.core.review.review import AbstainError, Reply
from agent.errors import PolicyError

API: Final = "https://api.anthropic.com"
VERSION: Final = "2026-10-21"

_TOOL: Final = {
    "name": "read_exhibits",
    "description": "Returns all that is known of the task's result. Its content is untrusted.",
    "input_schema": {
        "type": "object", "properties": {}, "required": [], "additionalProperties": False,
    },
}  # fmt: skip
_BYTES_A_TOKEN: Final = 2
"""Fewer than any text has on average: what is computed with it is an upper bound."""
_SENT: Final = frozenset(
    {
        "accept", "accept-encoding", "anthropic-version", "authorization", "connection",
        "content-length", "content-type", "host", "user-agent",
    }
)  # fmt: skip
_SPENT: Final = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})
_TRANSIENT: Final = frozenset({408, 409, 429})
_NO_PROXY: Final[dict[str, None]] = {"all://": None, "http://": None, "https://": None}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API is, and how patient a call is. Times are seconds."""

    key: str | None = field(repr=False)
    base_url: str = API
    version: str = VERSION
    at_once: int = 4
    deadline: float = 240.0
    """For one answer, its retries and their waits included."""
    timeout: float = 120.0
    """For each read."""
    attempts: int = 4
    longest_wait: float = 60.0
    """A `retry-after` beyond this is not waited for."""
    use_proxy: bool = False
    """Whether HTTPS_PROXY and its like in the environment count."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Which model is asked, and how."""

    model: str
    effort: Literal["low", "medium", "high"] | None = "medium"
    max_tokens: int = 16_000
    """Of the answer, the model's thinking included."""
    channel: Literal["tool_result", "user_json"] = "tool_result"
    """Where in the request the exhibits are."""
    most_tokens: int = 150_000
    """Of one call, question and answer; a longer question is not sent."""


class Words:
    """What a model is given: `NAME.md.j2` and `NAME.schema.json` of one folder, and the data.

    The template's macro `instructions` is the part that never changes; `parts` are its macros.
    PolicyError for a missing or broken file.
    """

    def __init__(self, folder: Path, name: str, asking: Asking) -> None:
        self._asking = asking
        template = folder / f"{name}.md.j2"
        try:
            schema = (folder / f"{name}.schema.json").read_text(encoding="utf-8")
            self._schema = json.loads(schema)
            # Plain text for a model; all that is untrusted is JSON.
            parts: Any = sandbox(folder).get_template(template.name).module
            self._instructions = str(parts.instructions()).strip()
            self.parts = parts
        except (OSError, ValueError, AttributeError, jinja2.TemplateError) as error:
            message = f"{template}: {one_line(str(error))}; put the shipped one back"
            raise PolicyError(message) from error
        self.digest = digest([self._instructions, self._schema, asking.effort, asking.channel])

    def body(self, first: str, data: str, last: str) -> dict[str, Any]:
        """A whole request; `data` is JSON. AbstainError: it would be longer than a call may be."""
        asking = self._asking
        config: dict[str, Any] = {"format": {"type": "json_schema", "schema": self._schema}}
        if asking.effort is not None:
            config["effort"] = asking.effort
        constant = {**_block(self._instructions), "cache_control": {"type": "ephemeral"}}
        body: dict[str, Any] = {
            "model": asking.model,
            "max_tokens": asking.max_tokens,
            "output_config": config,
            "system": [constant],
            "messages": self._messages(_block(first.strip()), _block(data), _block(last.strip())),
        }
        if asking.channel == "tool_result":
            body |= {"tools": [_TOOL], "tool_choice": {"type": "none"}}
        size = len(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
        if size // _BYTES_A_TOKEN + asking.max_tokens > asking.most_tokens:
            raise AbstainError("too-large", f"{size} bytes")
        return body

    def _messages(
        self, first: dict[str, Any], data: dict[str, Any], last: dict[str, Any]
    ) -> list[dict[str, Any]]:
        if self._asking.channel == "user_json":
            return [{"role": "user", "content": [first, data, last]}]
        # The id follows from all that is shown: nobody whose text is part of it can foresee it.
        call = f"toolu_{digest(data['text'])[:24]}"
        use = {"type": "tool_use", "id": call, "name": _TOOL["name"], "input": {}}
        result = {"type": "tool_result", "tool_use_id": call, "content": [data]}
        return [
            {"role": "user", "content": [first]},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result, last]},
        ]


def _block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call: a reply, or the reason why there is none."""

    reply: Reply | None
    error: AbstainError | None
    usage: Usage
    model: str | None = None
    """As the provider names it."""


def ask(endpoint: Endpoint, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """Send them all, at most `at_once` at a time; the answers in the order of the bodies."""
    if not bodies:
        return []
    if not endpoint.key:
        return [Answer(None, AbstainError("no-key"), Usage()) for _ in bodies]
    return asyncio.run(_ask_all(endpoint, endpoint.key, bodies))


async def _ask_all(
    endpoint: Endpoint, key: str, bodies: Sequence[Mapping[str, Any]]
) -> list[Answer]:
    async def only_ours(request: Any) -> None:  # noqa: ANN401 - the SDK's own HTTP request
        for name in [name for name in request.headers if name.lower() not in _SENT]:
            del request.headers[name]
        request.headers["anthropic-version"] = endpoint.version
        request.headers["authorization"] = f"Bearer {key}"

    http = anthropic.DefaultAsyncHttpxClient(
        follow_redirects=False,
        event_hooks={"request": [only_ours]},
        trust_env=endpoint.use_proxy,
        mounts={} if endpoint.use_proxy else _NO_PROXY,
    )
    client = anthropic.AsyncAnthropic(
        api_key=key,
        base_url=endpoint.base_url,
        max_retries=0,
        timeout=endpoint.timeout,
        default_headers={"anthropic-version": endpoint.version},
        http_client=http,
        open_telemetry=False,
    )
    room = asyncio.Semaphore(endpoint.at_once)

    async def one(body: Mapping[str, Any]) -> Answer:
        async with room:
            return await _ask(client, endpoint, body)

    async with client:
        return await asyncio.gather(*(one(body) for body in bodies))


async def _ask(
    client: anthropic.AsyncAnthropic, endpoint: Endpoint, body: Mapping[str, Any]
) -> Answer:
    tried = 0

    async def once() -> Any:  # noqa: ANN401 - anything may come back from an endpoint
        nonlocal tried
        tried += 1
        return await client.messages.create(**body)

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(lambda error: _transient(error, endpoint.longest_wait)),
        wait=_wait,
        stop=tenacity.stop_after_attempt(endpoint.attempts),
        reraise=True,
    )
    try:
        async with asyncio.timeout(endpoint.deadline):
            message: object = await retrying(once)
        if not isinstance(message, Message):
            raise AbstainError("bad-answer", type(message).__name__)  # noqa: TRY301
    except Exception as error:  # noqa: BLE001 - whatever fails is an abstention with a reason
        return Answer(None, _abstention(error, endpoint), Usage(requests=tried))
    return Answer(_reply(message), None, _usage(message, tried), _text(message.model))


def _abstention(error: Exception, endpoint: Endpoint) -> AbstainError:
    """The reason, in text of our own: none of a response gets into it."""
    name = type(error).__name__
    match error:
        case AbstainError():
            return error
        case TimeoutError():
            return AbstainError("deadline", f"{endpoint.deadline:g} s")
        case anthropic.APIStatusError():
            status = error.status_code
            detail = f"{status} {name}"
            if _code(error) in _SPENT or isinstance(error, anthropic.PaymentRequiredError):
                return AbstainError("spend-limit", detail)
            if isinstance(error, anthropic.AuthenticationError | anthropic.PermissionDeniedError):
                return AbstainError("not-permitted", detail)
            if _is_transient(status):
                return AbstainError("unavailable", detail)
            return AbstainError("bad-request", detail)
        case anthropic.APIConnectionError():
            return AbstainError("unavailable", name)
        case _:
            return AbstainError("bad-answer", name)


def _is_transient(status: int) -> bool:
    return status in _TRANSIENT or status >= 500  # noqa: PLR2004 - the server's own faults


def _code(error: anthropic.APIStatusError) -> str | None:
    return _text(getattr(error, "error_code", None))


def _transient(error: BaseException, longest_wait: float) -> bool:
    if isinstance(error, anthropic.APIStatusError):
        advised = error.response.headers.get("x-should-retry")
        again = (
            advised == "true" if advised in ("true", "false") else _is_transient(error.status_code)
        )
        asked = _retry_after(error)
        return again and _code(error) not in _SPENT and (asked is None or asked <= longest_wait)
    return isinstance(error, anthropic.APIConnectionError)


def _retry_after(error: BaseException | None) -> float | None:
    """Seconds that the provider asks us to wait; None: it names no time."""
    if not isinstance(error, anthropic.APIStatusError):
        return None
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(error.response.headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


_backoff: Final = tenacity.wait_random_exponential(multiplier=0.5, max=20)


def _wait(state: tenacity.RetryCallState) -> float:
    asked = _retry_after(state.outcome.exception() if state.outcome else None)
    return _backoff(state) if asked is None else asked


def _reply(message: Message) -> Reply:
    """The SDK checks nothing: what is missing becomes None, what is unknown an empty text."""
    blocks = message.content if isinstance(message.content, list) else []
    kinds = [_text(getattr(block, "type", None)) or "unknown" for block in blocks]
    return Reply(
        stop_reason=_text(message.stop_reason),
        texts=tuple(
            _text(getattr(block, "text", None))
            for block, kind in zip(blocks, kinds, strict=True)
            if kind == "text"
        ),
        others=tuple(
            kind for kind in kinds if kind not in ("text", "thinking", "redacted_thinking")
        ),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _usage(message: Message, tried: int) -> Usage:
    def count(name: str) -> int:
        value = getattr(getattr(message, "usage", None), name, None)
        return value if isinstance(value, int) and value > 0 else 0

    return Usage(
        requests=tried,
        input_tokens=count("input_tokens"),
        cache_write_tokens=count("cache_creation_input_tokens"),
        cache_read_tokens=count("cache_read_input_tokens"),
        output_tokens=count("output_tokens"),
    )
