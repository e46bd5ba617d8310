"""A loopback stand-in for the Messages API. It is not the service, and says so in every answer.

It checks each request against the SDK's own types and the rules of version 2026-10-21, and each of
its own answers against a strict reading of the SDK's models, whose plain use would accept anything.
"""

import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, get_type_hints

import pydantic
from anthropic.types import Message
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

VERSION = "2026-10-21"
REMOVED = ("temperature", "top_p", "top_k")
MARK = "loopback; not recorded from Anthropic"
ALWAYS = {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
COUNTED = {
    "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
}  # fmt: skip
_REQUEST = pydantic.TypeAdapter(MessageCreateParamsNonStreaming)
_KNOWN = set(get_type_hints(MessageCreateParamsNonStreaming))
_MESSAGE = pydantic.TypeAdapter(Message)


@dataclass
class Reply:
    """An answer that is not simply a message."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None


Brain = Callable[[dict[str, Any], int], "dict[str, Any] | Reply"]
"""The request's JSON and its number, from 1 on."""


def name(prefix: str, *parts: Any) -> str:
    """An opaque id that shows where it comes from; the same parts give the same id."""
    seed = json.dumps(parts, sort_keys=True, default=str).encode()
    return f"{prefix}_standin_{hashlib.sha256(seed).hexdigest()[:20]}"


def message(request: dict[str, Any], text: str | None, stop: str = "end_turn") -> dict[str, Any]:
    """A whole answer; the counts of tokens follow from the lengths."""
    size = len(json.dumps(request)) // 4
    blocks = [] if text is None else [{"type": "text", "text": text}]
    return {
        "id": name("msg", request, text, stop),
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": size,
            "output_tokens": len(text or "") // 4 + 1,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "service_tier": "standard",
        },
    }


def fault(status: int, kind: str, **headers: str) -> Reply:
    """An error in the API's form."""
    body = {"type": "error", "error": {"type": kind, "message": kind}}
    return Reply(status, body, {one.replace("_", "-"): value for one, value in headers.items()})


def check_message(raw: str) -> None:
    """AssertionError or ValidationError for what the service would never send."""
    data = json.loads(raw)
    told = _MESSAGE.validate_json(raw, strict=True)
    assert not told.model_extra, told.model_extra
    assert data.keys() >= ALWAYS
    assert data["usage"].keys() >= COUNTED
    assert data["stop_reason"] is not None
    for block in told.content:
        assert not block.model_extra, block.model_extra


def wrong(raw: bytes, headers: Mapping[str, str], path: str) -> Reply | None:
    """What the service would refuse; None: nothing."""
    if not headers.get("authorization", "").startswith("Bearer "):
        return fault(401, "authentication_error")
    if path.partition("?")[0] != "/v1/messages":
        return fault(404, "not_found_error")
    try:
        request = json.loads(raw)
        _REQUEST.validate_json(raw)
    except ValueError:
        return fault(400, "invalid_request_error")
    odd = [one for one in REMOVED if one in request] or sorted(set(request) - _KNOWN)
    if odd or headers.get("anthropic-version") != VERSION:
        return fault(400, "invalid_request_error")
    return None


class StandIn:
    """Answers on 127.0.0.1, on a port of its own, with what `brain` says."""

    def __init__(self, brain: Brain) -> None:
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []
        """Headers (in small letters) and JSON of each request."""
        self._brain = brain
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", "0")))
                sent = {one.lower(): value for one, value in self.headers.items()}
                reply = wrong(raw, sent, self.path) or outer.answer(raw, sent)
                self.send(reply)

            def send(self, reply: Reply) -> None:
                if reply.status == 200 and reply.raw is None:
                    check_message(json.dumps(reply.body))
                body = reply.raw if reply.raw is not None else json.dumps(reply.body).encode()
                extra = {"content-type": "application/json", **reply.headers}
                # From the plain body: what gzip makes of it depends on the zlib at hand.
                extra |= {"request-id": name("req", body.hex(), reply.status)}
                if "gzip" in self.headers.get("accept-encoding", ""):
                    body, extra = (
                        gzip.compress(body, mtime=0),
                        {**extra, "content-encoding": "gzip"},
                    )
                self.send_response(reply.status)
                extra |= {"x-standin": MARK, "content-length": str(len(body))}
                for one, value in extra.items():
                    self.send_header(one, value)
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, raw: bytes, headers: dict[str, str]) -> Reply:
        with self._lock:
            self.seen.append((headers, json.loads(raw)))
            number = len(self.seen)
        told = self._brain(json.loads(raw), number)
        return told if isinstance(told, Reply) else Reply(body=told)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
