"""Real servers on loopback that say what a test tells them to."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PEM = Path(__file__).parent / "tls" / "loopback.pem"
"""A key and its certificate for 127.0.0.1, made for these tests and trusted by nobody else."""
HTML = b"<!doctype html><title>Sign in</title>"


@dataclass
class Reply:
    """One answer. `body` may be anything that JSON can say, or bytes as they are."""

    body: object = b""
    status: int = 200
    headers: dict[str, str | list[str]] = field(default_factory=dict)
    """A list is a header that comes several times."""

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    """With its query."""
    headers: dict[str, str]
    body: bytes


Answering = Callable[[Asked], Reply]


class Server:
    """Answers by path; keeps what it was asked."""

    def __init__(self) -> None:
        self.connections = 0
        """How many were opened so far."""
        self.hangs_up = False
        """After each answer, without having said so."""
        self.has_clock = True
        """It dates its answers; a test in which it is another time turns that off."""
        self.replies: dict[str, Reply | Answering] = {}
        self.otherwise: Reply | Answering = Reply({"message": "Not Found"}, 404)
        self.asked: list[Asked] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else a kept connection waits 40 ms for each answer

            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def answer(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, self.rfile.read(size))
                server.asked.append(asked)
                where = urlsplit(self.path).path
                found = server.replies.get(self.path) or server.replies.get(where)
                found = found or server.otherwise
                reply = found(asked) if callable(found) else found
                self.send_response_only(reply.status)
                if server.has_clock and "Date" not in reply.headers:
                    self.send_header("Date", self.date_time_string())
                self.send_header("Content-Length", str(len(reply.raw)))
                for name, value in reply.headers.items():
                    for one in [value] if isinstance(value, str) else value:
                        self.send_header(name, one)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.raw)
                self.close_connection = self.close_connection or server.hangs_up

            do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = answer  # noqa: N815 - theirs

            def log_message(self, *_: object) -> None:
                """Its log is `asked`."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    def secure(self, context) -> None:
        """Speak TLS from now on."""
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.url = self.url.replace("http://", "https://")

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextmanager
def served(*, has_clock: bool = True) -> Iterator[Server]:
    server = Server()
    server.has_clock = has_clock
    try:
        yield server
    finally:
        server.close()


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def dripping(pieces: Iterator[bytes], *, hold: bool = True) -> Iterator[str]:
    """A server that sends the pieces to the first who asks, and then holds the connection."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if not hold:
            listener.close()
        with connection:
            try:
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)
                    if hold and stop.wait(0.05):
                        return
                if hold:
                    stop.wait(20)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield url
    finally:
        stop.set()
        listener.close()
        thread.join()
