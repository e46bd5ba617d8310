"""Dev or production of the demonstration: a small HTTP server that runs images by their digest.

`GET /SERVICE/version` says which image was deployed and how, `GET /SERVICE/live` what the running
program says of itself, and `POST /SERVICE/deploy` deploys: an image by its digest, or, as it must
not be done, out of a folder of sources.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from examples.delivery.images import REVISION, Pusher, image

_NOTHING: Final = {"status": "not deployed"}


class Environment(ThreadingHTTPServer):
    """What is deployed, and what runs: they differ until a program was started again."""

    def __init__(self, registry: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.registry = registry
        self.deployed: dict[str, dict[str, Any]] = {}
        self.running: dict[str, dict[str, Any]] = {}

    def deploy(self, service: str, order: dict[str, Any]) -> None:
        """Deploy an image by digest, or build one out of `source` at `commit`."""
        pusher = Pusher(self.registry, f"kiosk/{service}")
        try:
            if "source" in order:
                commit = order["commit"]
                root = Path(order["source"])
                files = {
                    path.relative_to(root).as_posix(): path.read_bytes()
                    for path in sorted((root / service).rglob("*"))
                    if path.is_file()
                }
                digest = pusher.push(image(files, {REVISION: commit}))
            else:
                digest = order["digest"]
                files, commit = pusher.pull(digest)
        finally:
            pusher.close()
        prices = json.loads(files[f"{service}/prices.json"])
        self.deployed[service] = {"image": digest, "builtFromSource": "source" in order}
        if order.get("restart", True):
            well = bool(prices) and all(price > 0 for price in prices.values())
            self.running[service] = {"status": "ok" if well else "ill", "commit": commit}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """What is deployed, or what runs."""
        service, _, what = self.path.strip("/").partition("/")
        known = {"version": self._environment.deployed, "live": self._environment.running}
        found = known.get(what, {}).get(service)
        self._answer(200 if found else 503, found or _NOTHING)

    def do_POST(self) -> None:
        """Deploy."""
        service, _, what = self.path.strip("/").partition("/")
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if what != "deploy":
            self._answer(404, _NOTHING)
            return
        self._environment.deploy(service, order)
        self._answer(200, self._environment.deployed[service])

    @property
    def _environment(self) -> Environment:
        if not isinstance(self.server, Environment):
            raise TypeError("the handler belongs to an environment")
        return self.server

    def _answer(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """It is silent."""


def main() -> None:
    """Serve until the end; the first line of standard output is the address."""
    server = Environment(os.environ["DEMO_REGISTRY"])
    sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
