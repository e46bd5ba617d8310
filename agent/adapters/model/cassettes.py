"""Plays a model's recorded answers on loopback, so that nobody needs a key to see them used.

The client, the requests and the HTTP are the real ones. A request that was never recorded is
refused: nothing is made up here. What differs from run to run, the hashes of commits and what is
derived from them, is left out of the comparison.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from agent.errors import ConfigurationError

_HASH: Final = re.compile(r"[0-9a-f]{12,64}")
_UNKNOWN: Final = {
    "type": "error",
    "error": {"type": "not_found_error", "message": "this request was never recorded"},
}


@contextmanager
def play_back(cassette: Path) -> Iterator[str]:
    """The address at which the recorded answers are given. ConfigurationError: no recording."""
    answers = _read(cassette)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing: standard error belongs to the command line."""

        def do_POST(self) -> None:
            """Answer what was recorded of this request."""
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            status, body = answers.get(_key(raw.decode()), (404, json.dumps(_UNKNOWN)))
            said = body.encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _read(cassette: Path) -> dict[str, tuple[int, str]]:
    """Status and body by the request's key."""
    try:
        told: Any = json.loads(cassette.read_text(encoding="utf-8"))
        return {
            _key(one["request"]["body"]): (
                int(one["response"]["status"]["code"]),
                str(one["response"]["body"]["string"]),
            )
            for one in told["interactions"]
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigurationError(
            f"{cassette}: no recording of a model; name one that is"
        ) from error


def _key(body: str) -> str:
    canonical = json.dumps(json.loads(body), sort_keys=True, ensure_ascii=False)
    return _HASH.sub("<hash>", canonical)
