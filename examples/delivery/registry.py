"""A registry on loopback: Debian's `docker-registry` where it is installed, else a small own one.

The own one speaks the same part of the OCI distribution API and keeps everything in memory.
"""

import json
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import httpx

from examples.delivery.images import digest_of

PROGRAM: Final = "docker-registry"
_PATIENCE: Final = 15.0
_PATH: Final = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<rest>.+)")
_TAGS: Final = re.compile(r"/v2/(?P<name>.+)/tags/list")
_CONFIG: Final = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  filesystem: {{rootdirectory: "{root}"}}
http:
  addr: 127.0.0.1:{port}
  secret: loopback
{auth}"""


def installed() -> str | None:
    """Where the real registry is, if it is installed."""
    return shutil.which(PROGRAM)


@contextmanager
def real_registry(program: str, auth: str = "") -> Iterator[str]:
    """The address of a real registry that keeps its blobs in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="wavekeeper-registry-") as folder:
        port = _free_port()
        config = Path(folder) / "config.yml"
        config.write_text(
            _CONFIG.format(root=f"{folder}/blobs", port=port, auth=auth), encoding="utf-8"
        )
        process = subprocess.Popen(
            [program, "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"},
            start_new_session=True,
        )
        try:
            _wait_for(process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def own_registry() -> Iterator[str]:
    """The address of a registry in a thread of this process."""
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_Held = dict[tuple[str, str, str], tuple[bytes, str]]
"""Repository, kind and reference: bytes and their media type."""


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.held: _Held = {}


class _Handler(BaseHTTPRequestHandler):
    """Blobs, manifests and uploads of one request each; nothing is ever deleted."""

    protocol_version = "HTTP/1.1"

    @property
    def _held(self) -> _Held:
        if not isinstance(self.server, _Server):
            raise TypeError("the handler belongs to the registry's own server")
        return self.server.held

    def do_GET(self) -> None:
        """A manifest or a blob, or the tags of a repository."""
        if self.path in ("/v2/", "/v2"):
            self._answer(200, b"{}", "application/json")
            return
        if listed := _TAGS.fullmatch(urlsplit(self.path).path):
            self._list_tags(listed["name"])
            return
        found = _PATH.fullmatch(urlsplit(self.path).path)
        held = self._held.get((found["name"], found["kind"], found["rest"])) if found else None
        if held is None:
            self._answer(404, b'{"errors":[{"code":"NOT_FOUND"}]}', "application/json")
        else:
            self._answer(200, *held)

    do_HEAD = do_GET  # noqa: N815 - http.server's own name

    def _list_tags(self, name: str) -> None:
        kept = [(kind, rest) for its, kind, rest in self._held if its == name]
        tags = [rest for kind, rest in kept if kind == "manifests" and ":" not in rest]
        body = json.dumps({"name": name, "tags": tags}).encode()
        self._answer(200 if kept else 404, body, "application/json")

    def do_POST(self) -> None:
        """Begin an upload."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        where = f"{urlsplit(self.path).path.rstrip('/')}/{uuid.uuid4()}"
        self._answer(202, b"", "text/plain", location=where)

    def do_PUT(self) -> None:
        """End an upload, or put a manifest."""
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        found = _PATH.fullmatch(parts.path)
        digest = digest_of(raw)
        if found is None or parse_qs(parts.query).get("digest", [digest]) != [digest]:
            self._answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}', "application/json")
            return
        name = found["name"].removesuffix("/blobs")
        kind = self.headers.get("content-type", "application/octet-stream")
        for reference in {digest, digest if found["kind"] == "blobs" else found["rest"]}:
            self._held[name, found["kind"], reference] = (raw, kind)
        self._answer(201, b"", "text/plain", digest=digest, location=parts.path)

    def _answer(
        self, status: int, body: bytes, kind: str, *, location: str = "", digest: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if location:
            self.send_header("location", location)
        if digest or body:
            self.send_header("docker-content-digest", digest or digest_of(body))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """It is silent."""


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False, timeout=1)
        except httpx.HTTPError:
            time.sleep(0.02)
        else:
            return
    raise OSError(f"{PROGRAM} did not begin to listen on 127.0.0.1:{port}")
