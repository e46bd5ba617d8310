"""A stand-in Code Queue on top of the embedded queue: command line, HTTP, and faults to switch on.

It names its tasks itself, knows nothing of waves, and answers as contract and policy describe a
Code Queue. `python -m tests.standins.code_queue FILE` serves one and prints its address.
"""

import hashlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.nouns import ACTIVE, TERMINAL, JudgeRecord
from agent.core.model.queueing import Order, TaskView
from agent.errors import WavekeeperError

ORDER = Order(kind="code-change", branch="main")
"""A Code Queue knows a task's prompt, and nothing of what we call an order."""
HTML = "<!doctype html><title>502 Bad Gateway</title><h1>upstream went away</h1>"
PROGRAM = (sys.executable, "-I", "-S", str(Path(__file__).with_name("code_queue_cli.py")))
"""The command line; it finds the service by the environment variable CODE_QUEUE_STANDIN."""


@dataclass
class Fault:
    """What goes wrong; `way` and `call` narrow it, `skip` lets some pass, `times` ends it."""

    kind: str
    way: str | None = None
    call: str | None = None
    times: int | None = None
    skip: int = 0
    seconds: float = 30.0

    def hits(self, kind: str, way: str, call: str) -> bool:
        fits = self.kind == kind and self.way in (None, way) and self.call in (None, call)
        if not fits or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class RefusedError(Exception):
    """It was understood and not done."""


@dataclass
class CodeQueue:
    """The service. `now` gives aware times."""

    queue: SqliteQueue
    now: Callable[[], datetime]
    faults: list[Fault] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Every (way, call) that was asked, in order."""
    read: set[tuple[str, int]] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    """Tasks whose retry has inherited a cancel flag."""
    judges: dict[str, JudgeRecord] = field(default_factory=dict)
    """What the service's own judge found, by task."""
    numbers: Any = field(default_factory=itertools.count)
    quiet: threading.Event = field(default_factory=threading.Event)
    """Set at the end, so that nobody stays slow."""
    lock: Any = field(default_factory=threading.Lock)
    closed: bool = False

    def close(self) -> None:
        """Answer nothing any more; the embedded queue may be closed now."""
        self.quiet.set()
        with self.lock:
            self.closed = True

    def hit(self, kind: str, way: str = "", call: str = "") -> bool:
        return any(one.hits(kind, way, call) for one in self.faults)

    def answer(self, way: str, call: str, said: dict[str, Any]) -> dict[str, Any]:
        """The object of one call; RefusedError."""
        self.calls.append((way, call))
        if call == "queues":
            return self._queues()
        if call == "submit":
            return self._acted(self._submit(said), way)
        view = self._view(str(said["task"]))
        match call:
            case "task":
                return self.shown(view, way)
            case "trace":
                return self._trace(view, int(said.get("limit") or 100))
            case "output":
                return {"text": view.final_response or "", "truncated": self.hit("cut-response")}
            case "read":
                if view.state not in TERMINAL:
                    raise RefusedError("it is not over")
                self.read.add((view.id, view.attempt))
                return {"ok": True, "task": self.shown(view, way)}
        return self._acted(self._act(call, view, said), way)

    def _view(self, task: str) -> TaskView:
        view = self.queue.get(task)
        if view is None:
            raise RefusedError(f"no task {task}")
        return view

    def _key(self, said: dict[str, Any]) -> str:
        if self.hit("no-keys") or not said.get("key"):
            return f"own-{next(self.numbers)}"
        return str(said["key"])

    def _submit(self, said: dict[str, Any]) -> str:
        key = self._key(said)
        task = f"t-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        order = ORDER.model_copy(update={"labels": {"key": key}})
        self.queue.submit(task, queue=said["queue"], prompt=said["prompt"], order=order, key=key)
        return task

    def _act(self, call: str, view: TaskView, said: dict[str, Any]) -> str:
        key, attempt = f"{call} {self._key(said)}", view.attempt
        match call:
            case "retry":
                receipt = self.queue.receipt(key) or self.queue.retry(
                    view.id, attempt=attempt + 1, prompt=said["prompt"], fresh_session=False,
                    key=key,
                )  # fmt: skip
                if view.stop_requested and self.hit("stale-cancel"):
                    self.stale.add(view.id)
            case "interrupt" | "cancel":
                act = getattr(self.queue, call)
                receipt = self.queue.receipt(key) or act(
                    view.id, attempt=attempt, reason="asked", key=key
                )
            case "move":
                receipt = self.queue.move(view.id, queue=said["queue"], key=key)
            case _:
                raise RefusedError(f"no call {call}")
        if receipt.effect != "done":
            raise RefusedError(receipt.effect)
        return view.id

    def _acted(self, task: str, way: str) -> dict[str, Any]:
        return {"ok": True, "task": self.shown(self._view(task), way)}

    def _queues(self) -> dict[str, Any]:
        tasks = self.queue.changed_since(None).tasks
        split = self.hit("split-brain")
        told = {"reachable": True, "diagnostics": ["split-brain"] if split else []}
        if split:
            told |= {
                "effectiveLiveness": "live",
                "splitBrainLive": True,
                "recommendedAction": "continue-supervision",
            }
        return {
            "queues": [
                self._lane(queue, [one for one in tasks if one.queue == queue.id])
                for queue in self.queue.queues()
            ],
            "controlPlane": told,
        }

    def _lane(self, queue: Any, tasks: list[TaskView]) -> dict[str, Any]:
        return {
            "id": queue.id,
            "kind": queue.kind,
            "risk": queue.risk,
            "counts": queue.counts,
            "activeTaskIds": [one.id for one in tasks if one.state in ACTIVE],
            "unreadTerminalTaskIds": [
                one.id
                for one in tasks
                if one.state in TERMINAL and (one.id, one.attempt) not in self.read
            ],
            "recentTaskIds": [one.id for one in tasks[-50:]],
        }

    def _trace(self, view: TaskView, limit: int) -> dict[str, Any]:
        events = self.queue.trace(view.id, attempt=view.attempt, after=0, limit=10_000)
        shown = [one.model_dump(mode="json") for one in events[-limit:]]
        return {"events": shown, "truncated": len(events) > limit}

    def shown(self, view: TaskView, way: str) -> dict[str, Any]:
        """One task as the contract shows it."""
        judge = self.judges.get(view.id)
        found = view.model_copy(update={"judge": judge}).model_dump(mode="json")
        status = view.state.value
        if way == "cli" and self.hit("disagree", way, "task"):
            status = "failed" if status in ("queued", "running") else "running"
        control = "failed" if view.state == "running" and self.hit("split-brain") else status
        beat = found["heartbeat"]
        if beat and self.hit("recovery-beat"):
            beat["origin"] = "recovery"
        return {
            **{
                name: found[name]
                for name in (
                    "id", "queue", "attempt", "prompt", "createdAt", "startedAt", "finishedAt",
                    "updatedAt", "finalResponse", "judge", "lastError",
                )
            },
            "status": status,
            "maxAttempts": 3,
            "lastAssistantMessage": view.last_message,
            "cancelRequested": view.stop_requested is not None or view.id in self.stale,
            "controlPlane": {"status": control},
            "scheduler": {"status": status, "heartbeat": beat},
            "trace": None if self.hit("no-trace") else found["trace"],
            "read": (view.id, view.attempt) in self.read,
            "worktree": None,
            "labels": {},
        }  # fmt: skip

    def told(self, way: str, call: str, said: dict[str, Any]) -> tuple[int, bytes, str]:
        """What goes over the wire: status, body and type, faults included."""
        if self.hit("html", way, call):
            return 200, HTML.encode(), "text/html"
        if any(one.hits("slow", way, call) for one in self.faults):
            self.quiet.wait(max(one.seconds for one in self.faults if one.kind == "slow"))
        try:
            with self.lock:
                if self.closed:
                    return 0, b"", ""
                found = self.answer(way, call, said)
        except RefusedError as refusal:
            return 409, json.dumps({"ok": False, "error": str(refusal)}).encode(), JSON
        except (WavekeeperError, KeyError, ValueError) as error:
            return 400, json.dumps({"ok": False, "error": str(error)}).encode(), JSON
        body = json.dumps(found).encode()
        if self.hit("lost-answer", way, call):
            return 0, b"", ""
        if self.hit("truncated", way, call):
            body = body[: len(body) // 2]
        return 200, body, JSON


JSON = "application/json"
_HTTP = {"trace": "trace", "output": "output"}
_OPTIONS = {"--queue": "queue", "--idempotency-key": "key", "--limit": "limit"}


def from_path(method: str, target: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The call that an HTTP request makes."""
    url = urlsplit(target)
    said = {name: values[0] for name, values in parse_qs(url.query).items()}
    said |= {**body, "key": body.get("idempotencyKey")}
    match url.path.strip("/").split("/"):
        case ["codex", "queues"] if method == "GET":
            return "queues", said
        case ["codex", "tasks"] if method == "POST":
            return "submit", said
        case ["codex", "tasks", task] if method == "GET":
            return "task", {**said, "task": task}
        case ["codex", "tasks", task, call] if (call in _HTTP) == (method == "GET"):
            return call, {**said, "task": task}
    return "unknown", {"task": ""}


def from_arguments(argv: list[str], prompt: str) -> tuple[str, dict[str, Any]]:
    """The call that a command line makes."""
    words = iter(argv)
    plain, said = [], {"prompt": prompt}
    for word in words:
        if word in _OPTIONS:
            said[_OPTIONS[word]] = next(words, "")
        elif word == "--prompt-file":
            next(words, "")
        elif not word.startswith("--"):
            plain.append(word)
    if plain[:1] != ["codex"] or len(plain) < 2:
        return "unknown", {"task": ""}
    call = "trace" if "--trace" in argv else plain[1]
    return call, said | ({"task": plain[2]} if len(plain) > 2 else {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        service = self.server.service
        if service.hit("redirect"):
            return self._send(302, b"", JSON, location="http://elsewhere.invalid/login")
        if self.path == "/cli":
            call, said = from_arguments(body["argv"], body["stdin"])
            return self._send(*service.told("cli", call, said))
        call, said = from_path(self.command, self.path, body)
        return self._send(*service.told("http", call, said))

    do_GET = do_POST = _serve  # noqa: N815 - the library's names

    def _send(self, status: int, body: bytes, kind: str, location: str = "") -> None:
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Serves `service`, which may be exchanged."""

    daemon_threads = True
    service: CodeQueue

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that has gone away is no news."""


@contextmanager
def serving(port: int = 0) -> Iterator[Server]:
    """A server in a thread of its own."""
    server = Server(("127.0.0.1", port), _Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    with SqliteQueue(Path(sys.argv[1]), lambda: datetime.now(UTC)) as embedded, serving() as here:
        here.service = CodeQueue(embedded, lambda: datetime.now(UTC))
        sys.stdout.write(f"{here.url}\n")
        sys.stdout.flush()
        while sys.stdin.readline():
            time.sleep(0)
