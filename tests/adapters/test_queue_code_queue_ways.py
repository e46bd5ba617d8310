"""The two ways to a Code Queue, one call at a time: bounded, plain, and no shell in between."""

import http.server
import ssl
import threading
from contextlib import contextmanager

import pytest

from agent.adapters.code_queue import ways
from agent.adapters.code_queue.queue import CAREFUL, SubmitDiscipline
from agent.adapters.code_queue.ways import CommandLine, Proxy, token_of
from agent.adapters.code_queue.words import COMMANDS, PATHS
from agent.errors import (
    ConfigurationError,
    NoAnswerError,
    NothingDoneError,
    UnreadableAnswerError,
    UnusableStoreError,
    UserError,
)
from tests.adapters.loopback import PEM, Reply, served
from tests.adapters.processes import pids, running, until
from tests.adapters.queue_world import Clock

FILLS = {"task": "t-1", "queue": "svc a", "key": "submit/T-1/0", "limit": "20"}


def line(script, tmp_path, *, timeout=20.0, keys=True, calls=COMMANDS):
    command = ["sh", "-c", script, "code-queue"]
    return CommandLine(command, calls=calls, folder=tmp_path, timeout=timeout, keys=keys)


TOKEN = "s3cret"  # noqa: S105 - nobody's
ECHO = 'for one; do printf "%s\\n" "$one"; done >argv; cat >stdin; echo "{}"'


@pytest.mark.parametrize(
    ("call", "keys", "argv"),
    [
        ("queues", True, "codex queues --json"),
        ("task", True, "codex task t-1 --json"),
        ("trace", True, "codex task t-1 --trace --limit 20 --json"),
        ("output", True, "codex output t-1 --json"),
        ("submit", True,
         "codex submit --queue svc_a --idempotency-key submit/T-1/0 --prompt-file - --json"),
        ("submit", False, "codex submit --queue svc_a --prompt-file - --json"),
        ("retry", True, "codex retry t-1 --idempotency-key submit/T-1/0 --prompt-file - --json"),
        ("retry", False, "codex retry t-1 --prompt-file - --json"),
        ("cancel", False, "codex cancel t-1 --json"),
        ("move", True,
         "codex move t-1 --queue svc_a --idempotency-key submit/T-1/0 --json"),
        ("read", True, "codex read t-1 --json"),
    ],
)  # fmt: skip
def test_each_call_is_an_argument_list_and_the_prompt_goes_to_standard_input(
    tmp_path, call, keys, argv
):
    prompt = "do $(it)\n`well`\n"
    assert line(ECHO, tmp_path, keys=keys).ask(call, FILLS, prompt) == {}
    given = (tmp_path / "argv").read_text().splitlines()
    assert given == [one.replace("svc_a", "svc a") for one in argv.split(" ")]
    assert (tmp_path / "stdin").read_text() == prompt


@pytest.mark.parametrize("queue", ["--force", "-q", "a\0b"])
def test_a_value_that_would_be_an_option_is_refused_before_anything_starts(tmp_path, queue):
    with pytest.raises(UserError, match="cannot be an argument"):
        line("touch started", tmp_path).ask("submit", FILLS | {"queue": queue}, "p")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param("echo not today >&2; exit 3", "ended with 3: not today", id="exit code"),
        pytest.param("exit 1", "ended with 1: it gave no reason", id="no reason"),
        pytest.param("kill -9 $$", "ended with -9", id="killed"),
        pytest.param("echo '<html>'", "answered no JSON but '<html>'", id="HTML"),
        pytest.param("true", "answered no JSON but ''", id="nothing"),
        pytest.param("echo '[1]'", "JSON, but no object", id="a list"),
        pytest.param(r"printf '\033[31m' >&2; exit 1", "ended with 1", id="colours"),
    ],
)
def test_anything_but_one_object_and_exit_0_is_no_answer(tmp_path, script, said):
    with pytest.raises(UnreadableAnswerError) as refusal:
        line(script, tmp_path).ask("queues", {})
    assert said in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_a_program_that_takes_too_long_is_killed_with_all_it_started(tmp_path):
    script = "sleep 60 & echo $! >pids; echo $$ >>pids; wait"
    with pytest.raises(NoAnswerError, match=r"queues took longer than 0\.3 s"):
        line(script, tmp_path, timeout=0.3).ask("queues", {})
    until(lambda: not running(tmp_path / "pids"))
    assert len(pids(tmp_path / "pids")) == 2


def test_a_grandchild_that_goes_on_does_not_keep_us_waiting(tmp_path):
    assert line("sleep 5 & echo '{}'", tmp_path, timeout=4).ask("queues", {}) == {}


def test_a_program_that_prints_without_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(ways, "SIZE", 10_000)
    with pytest.raises(UnreadableAnswerError, match="printed more than 10000 bytes"):
        line("yes", tmp_path).ask("queues", {})


@pytest.mark.parametrize("folder", ["", "missing"])
def test_a_program_that_does_not_start_is_named(tmp_path, folder):
    way = CommandLine(
        ["no-such-program"], calls=COMMANDS, folder=tmp_path / folder, timeout=5, keys=True
    )
    with pytest.raises(
        NoAnswerError,
        match=r"^no-such-program does not start \(No such file.* see `command` and `folder`",
    ):
        way.ask("queues", {})


@contextmanager
def answering(respond):
    """A server whose handler is `respond(handler)`; what it was asked is in `asked`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            length = int(self.headers.get("content-length") or 0)
            here.asked.append((self.path, dict(self.headers), self.rfile.read(length)))
            respond(self)

        do_POST = do_GET  # noqa: N815 - the library's name

    here = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.asked = []
    here.handle_error = lambda *_: None
    thread = threading.Thread(target=lambda: here.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield here
    finally:
        here.shutdown()
        thread.join()
        here.server_close()


def sends(status=200, body=b"{}", **headers):
    def respond(handler):
        handler.send_response(status)
        for name, value in ({"content_type": "application/json"} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return respond


@contextmanager
def proxied(respond, **how):
    with answering(respond) as server:
        told = {"paths": PATHS, "timeout": 5.0, "keys": True} | how
        proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}/api/", **told)
        yield proxy, server


@pytest.mark.parametrize(
    ("respond", "said"),
    [
        pytest.param(sends(302, location="http://elsewhere/x"), "is not followed", id="redirect"),
        pytest.param(sends(500), "the status 500", id="error"),
        pytest.param(sends(404), "the status 404", id="not there"),
        pytest.param(sends(206), "the status 206", id="a part"),
        pytest.param(sends(body=b"<html>", content_type="text/html"), "text/html", id="HTML"),
        pytest.param(sends(body=b"<html>"), "no JSON but '<html>'", id="HTML named JSON"),
        pytest.param(sends(body=b"x" * 9_000_000), "more than 8388608 bytes", id="endless"),
    ],
)
def test_anything_but_one_object_and_200_is_no_answer_by_http(respond, said):
    with proxied(respond) as (proxy, server):
        with pytest.raises(UnreadableAnswerError) as refusal:
            proxy.ask("queues", {})
        assert said in str(refusal.value)
        assert len(server.asked) == 1


def test_an_answer_in_drops_is_given_up():
    over = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.05):
            handler.wfile.write(b" ")

    with proxied(drip, timeout=0.3) as (proxy, _):
        with pytest.raises(NoAnswerError, match=r"no whole answer within 0\.3 s"):
            proxy.ask("queues", {})
        over.set()


def test_nobody_there_is_one_line():
    proxy = Proxy("http://127.0.0.1:1", paths=PATHS, timeout=5, keys=True)
    with pytest.raises(NoAnswerError, match=r"^http://127.0.0.1:1/codex/queues cannot be reached"):
        proxy.ask("queues", {})


def test_no_other_address_is_asked_whatever_the_environment_says(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with proxied(sends()) as (proxy, server):
        assert proxy.ask("task", {"task": "t/../../x?y"}) == {}
        assert server.asked[0][0] == "/api/codex/tasks/t%2F..%2F..%2Fx%3Fy"


@pytest.mark.parametrize("keys", [True, False])
def test_what_a_submit_tells_by_http(keys):
    with proxied(sends(201), keys=keys, token=TOKEN) as (proxy, server):
        proxy.ask("submit", FILLS, "do it")
        (path, headers, body) = server.asked[0]
    known = {name.lower(): value for name, value in headers.items()}
    assert (path, known["authorization"]) == ("/api/codex/tasks", f"Bearer {TOKEN}")
    key = b',"idempotencyKey":"submit/T-1/0"' if keys else b""
    assert body == b'{"queue":"svc a","prompt":"do it"' + key + b"}"
    assert known.get("idempotency-key") == ("submit/T-1/0" if keys else None)


def test_the_token_is_in_no_message():
    with proxied(sends(500), token=TOKEN) as (proxy, _):
        with pytest.raises(UnreadableAnswerError) as refusal:
            proxy.ask("queues", {})
        assert TOKEN not in str(refusal.value)


def test_certificates_are_verified(tmp_path):
    with served() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
        server.secure(context)
        server.otherwise = Reply({}, headers={"Content-Type": "application/json"})

        def ask(url, ca):
            return Proxy(url, paths=PATHS, timeout=5, keys=True, ca=ca).ask("queues", {})

        assert ask(server.url, PEM) == {}
        for url, ca in (
            (server.url, None),
            (server.url.replace("127.0.0.1", "localhost"), PEM),
        ):
            with pytest.raises(NoAnswerError, match="certificate verify failed"):
                ask(url, ca)
    with pytest.raises(ConfigurationError, match="correct `ca`"):
        Proxy("https://a", paths=PATHS, timeout=5, keys=True, ca=tmp_path / "none.pem")


@pytest.mark.parametrize("value", [None, "", "  ", "two\nlines", "ключ"])
def test_a_token_that_cannot_be_one_is_refused_without_being_told(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("CQ_TOKEN", raising=False)
    else:
        monkeypatch.setenv("CQ_TOKEN", value)
    with pytest.raises(ConfigurationError, match="variable CQ_TOKEN ") as refusal:
        token_of("CQ_TOKEN")
    assert str(refusal.value).isprintable()
    assert token_of(None) is None


def discipline(tmp_path, clock, pauses, **how):
    told = {"spacing": 2.0, "low_memory": lambda: False} | how
    return SubmitDiscipline(tmp_path / "submit.lock", now=clock.now, pause=pauses.append, **told)


@pytest.mark.parametrize(
    ("low", "factor"),
    [
        pytest.param(False, 1, id="plenty"),
        pytest.param(True, CAREFUL, id="low"),
        pytest.param(None, CAREFUL, id="nobody knows"),
    ],
)
def test_a_host_with_little_memory_submits_more_slowly(tmp_path, low, factor):
    clock, pauses = Clock(), []
    turns = discipline(tmp_path, clock, pauses, low_memory=lambda: low)
    for _ in range(2):
        with turns.turn():
            pass
    assert pauses == [2.0 * factor]


def test_one_submits_at_a_time_on_this_machine(tmp_path):
    clock, pauses = Clock(), []
    one, other = (discipline(tmp_path, clock, pauses) for _ in range(2))
    with one.turn():
        assert other.held()
        with pytest.raises(NothingDoneError, match="another process"), other.turn():
            pass
    assert not other.held()


@pytest.mark.parametrize(
    ("noted", "pause"),
    [
        pytest.param("garbage", [], id="garbage"),
        pytest.param("9999999999.0", [2.0], id="in the future"),
    ],
)
def test_a_note_that_cannot_be_is_no_reason_to_wait_long(tmp_path, noted, pause):
    (tmp_path / "submit.lock").write_text(noted)
    pauses = []
    with discipline(tmp_path, Clock(), pauses).turn():
        pass
    assert pauses == pause


def test_a_lock_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    turns = SubmitDiscipline(tmp_path / "file" / "lock", spacing=1, now=Clock().now)
    with pytest.raises(UnusableStoreError, match="name another `lock`"):
        turns.held()
