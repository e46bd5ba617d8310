import gzip
import itertools
import logging
import ssl
import subprocess
import sys
import threading
from hashlib import sha256

import pytest

from agent.adapters.common.http import Http, HttpError, close_connections, origin, secret
from tests.adapters.loopback import HTML, PEM, Reply, dripping, nobody, served
from tests.adapters.processes import until

TOKEN = "tok-0123456789abcdef"  # noqa: S105


@pytest.fixture
def server():
    with served() as one:
        yield one


def refused(http, url, **options):
    with pytest.raises(HttpError) as caught:
        http.ask(options.pop("method", "GET"), url, **options)
    words = str(caught.value)
    assert len(words.splitlines()) == 1
    assert len(words) <= 200
    return words


def test_an_answer_says_where_it_came_from_and_what_it_hashes_to(server):
    server.replies["/live"] = Reply({"ok": True}, headers={"X-Build": "7"})
    answer = Http([server.url]).ask("GET", f"{server.url}/live?key=secret")
    assert (answer.status, answer.json(), answer.headers["x-build"]) == (200, {"ok": True}, "7")
    assert answer.url == f"{server.url}/live"
    assert answer.digest == sha256(b'{"ok": true}').hexdigest()
    assert server.asked[0].path == "/live?key=secret"


@pytest.mark.parametrize("status", [204, 400, 401, 404, 500])
def test_a_status_is_the_callers_to_judge(server, status):
    server.otherwise = Reply(status=status)
    assert Http([server.url]).ask("GET", f"{server.url}/x").status == status
    assert len(server.asked) == 1


def test_only_configured_origins_are_asked(server):
    other = "http://127.0.0.1:1"
    assert "is not configured" in refused(Http([other]), f"{server.url}/live")
    assert server.asked == []


REDIRECTS = [
    pytest.param("/there", 0, "redirects to", id="none allowed"),
    pytest.param("/there", 1, None, id="the same origin"),
    pytest.param("http://127.0.0.1:1/there", 1, "http://127.0.0.1:1 is not configured",
                 id="another port"),
    pytest.param("http://metadata.invalid/token", 1, "http://metadata.invalid:80 is not configured",
                 id="another host"),
    pytest.param("//metadata.invalid/token", 1, "is not configured", id="without a scheme"),
    pytest.param("file:///etc/passwd", 1, "no address of http", id="a file"),
    pytest.param("/here", 2, "redirects to", id="in a circle"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "allowed", "words"), REDIRECTS)
def test_redirects_are_bounded(server, target, allowed, words):
    server.replies["/here"] = Reply(status=307, headers={"Location": target})
    server.replies["/there"] = Reply({"ok": True})
    http = Http([server.url])
    if words is None:
        assert http.ask("GET", f"{server.url}/here", redirects=allowed).json() == {"ok": True}
    else:
        assert words in refused(http, f"{server.url}/here", redirects=allowed)
    assert len(server.asked) <= allowed + 1


def test_a_token_does_not_follow_a_redirect_to_another_origin(server):
    with served() as store:
        store.otherwise = Reply(b"blob")
        server.replies["/blob"] = Reply(status=307, headers={"Location": f"{store.url}/b"})
        http = Http([server.url, store.url])
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert http.ask("GET", f"{server.url}/blob", headers=headers, redirects=1).body == b"blob"
        assert server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert "authorization" not in store.asked[0].headers


BOUNDS = [
    pytest.param(Reply(b"x" * 5_001), "more than 5000 bytes", id="too large"),
    pytest.param(Reply(gzip.compress(b"0" * 10**6), headers={"Content-Encoding": "gzip"}),
                 "compressed", id="a compressed bomb"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "words"), BOUNDS)
def test_a_body_is_bounded(server, reply, words):
    server.otherwise = reply
    assert words in refused(Http([server.url], most=5_000), f"{server.url}/x")


DRIPS = [
    pytest.param(lambda: iter(()), id="not a word"),
    pytest.param(lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], (b"A: b\r\n" for _ in "x" * 99)),
                 id="headers without an end"),
    pytest.param(lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"], (b"x" for _ in range(900))),
        id="a body byte by byte"),
]  # fmt: skip


@pytest.mark.parametrize("pieces", DRIPS)
def test_time_is_bounded_however_the_server_dawdles(pieces):
    with dripping(pieces()) as url:
        assert "no whole answer within 0.2 s" in refused(Http([url], timeout=0.2), f"{url}/x")


BROKEN = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort", id="cut short"),
]


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_answer_is_no_answer(said):
    with dripping(iter([said]), hold=False) as url:
        words = refused(Http([url]), f"{url}/x")
    assert words.startswith(url)


def test_a_page_is_no_json(server):
    server.otherwise = Reply(HTML, headers={"Content-Type": "text/html"})
    answer = Http([server.url]).ask("GET", f"{server.url}/api")
    with pytest.raises(HttpError, match=r"answered no JSON \(text/html\)"):
        answer.json()


def test_nobody_there():
    url = nobody()
    assert "cannot be reached" in refused(Http([url]), f"{url}/x")


def test_what_passes_is_asked_again_if_it_only_reads(server):
    times = itertools.count(1)
    server.otherwise = lambda _: Reply({"n": next(times)}, 503 if len(server.asked) < 3 else 200)
    assert Http([server.url]).ask("GET", f"{server.url}/x").json() == {"n": 3}
    server.otherwise = Reply(status=503)
    server.asked.clear()
    assert Http([server.url]).ask("GET", f"{server.url}/x").status == 503
    assert len(server.asked) == 3


def test_what_changes_something_is_sent_once(server):
    server.otherwise = Reply(status=503)
    assert Http([server.url]).ask("POST", f"{server.url}/x", body=b"{}").status == 503
    assert [one.method for one in server.asked] == ["POST"]


def test_a_certificate_must_be_known(server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    server.secure(context)
    server.otherwise = Reply({"ok": True})
    assert "certificate verify failed" in refused(Http([server.url]), f"{server.url}/x").lower()
    trusting = Http([server.url], authority=PEM)
    assert trusting.ask("GET", f"{server.url}/x").json() == {"ok": True}
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    words = refused(Http([elsewhere], authority=PEM), f"{elsewhere}/x")
    assert "certificate verify failed" in words.lower()


def test_an_authority_that_is_not_there(tmp_path):
    http = Http(["https://127.0.0.1:1"], authority=tmp_path / "none.pem")
    assert "cannot be asked" in refused(http, "https://127.0.0.1:1/x")


def test_a_token_stands_in_no_log_no_message_and_no_kept_answer(server, caplog):
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    server.replies["/echo"] = lambda asked: Reply({"sent": asked.headers["authorization"]})
    server.replies["/head"] = Reply(b"", headers={"X-Token": TOKEN})
    for path in ("/echo", "/head"):
        words = refused(Http([server.url]), f"{server.url}{path}", headers=headers)
        assert "repeats our token" in words
        assert TOKEN not in words
    refused(Http([server.url]), f"{nobody()}/{TOKEN}?t={TOKEN}", headers=headers)
    assert not any(f"Bearer {TOKEN}" in record.getMessage() for record in caplog.records)


def test_connections_are_kept_for_the_next_request_of_whoever(server):
    server.otherwise = Reply({"ok": True})
    for n in range(6):
        Http([server.url]).ask("POST" if n % 2 else "GET", f"{server.url}/x", body=b"{}")
    assert (len(server.asked), server.connections) == (6, 1)
    close_connections()
    Http([server.url]).ask("GET", f"{server.url}/x")
    assert (len(server.asked), server.connections) == (7, 2)


def test_threads_ask_one_after_another_and_in_time(server):
    open_, words = threading.Event(), []

    def late(_):
        open_.wait(20)
        return Reply({"late": True})

    server.replies |= {"/late": late, "/x": Reply({"ok": True})}
    slow = Http([server.url], timeout=20)
    first = threading.Thread(target=lambda: words.append(slow.ask("GET", f"{server.url}/late")))
    first.start()
    until(lambda: server.asked)
    assert "no whole answer within 0.2 s" in refused(Http([server.url], timeout=0.2), server.url)
    open_.set()
    first.join()
    assert Http([server.url]).ask("GET", f"{server.url}/x").json() == {"ok": True}
    assert [one.path for one in server.asked] == ["/late", "/x"]
    assert (len(words), server.connections) == (1, 1)


def test_a_connection_that_the_server_gave_up_is_opened_anew(server):
    server.otherwise = Reply({"ok": True})
    server.hangs_up = True
    http = Http([server.url])
    assert [http.ask("GET", f"{server.url}/x").status for _ in range(4)] == [200] * 4
    assert server.connections == len(server.asked) == 4


@pytest.mark.parametrize("path", ["/large", "/late"])
def test_a_request_that_failed_leaves_nothing_to_the_next_one(server, path):
    slow = threading.Event()

    def late(_):
        slow.wait(20)
        return Reply({"late": True})

    server.replies |= {"/large": Reply(b"x" * 5_001), "/late": late, "/x": Reply({"ok": True})}
    http = Http([server.url], most=5_000, timeout=0.5)
    refused(http, f"{server.url}{path}")
    assert http.ask("GET", f"{server.url}/x").json() == {"ok": True}
    assert server.connections == 2
    slow.set()


def test_no_cookie_is_kept(server):
    server.otherwise = Reply({}, headers={"Set-Cookie": "session=1; Path=/"})
    for _ in range(2):
        Http([server.url]).ask("GET", f"{server.url}/x")
    assert "cookie" not in server.asked[1].headers


FORGETFUL = """
import sys, threading
from agent.adapters.common.http import Http

def ask():
    print(Http([sys.argv[1]]).ask("GET", sys.argv[1] + "/x").status, flush=True)

ask()
thread = threading.Thread(target=ask)
thread.start()
thread.join()
url = sys.argv[1].replace("127.0.0.1", "localhost")
print(Http([url]).ask("GET", url + "/x").status, flush=True)
"""


def test_who_closes_nothing_leaves_nothing_open(server):
    """The end of the process does; a name to resolve brings a pool of threads."""
    server.otherwise = Reply({"ok": True})
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORGETFUL, server.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "200\n" * 3, "")


def test_the_environment_names_no_proxy(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nobody())
    server.otherwise = Reply({"ok": True})
    assert Http([server.url]).ask("GET", f"{server.url}/x").json() == {"ok": True}


def test_a_secret_is_named_not_written(monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", f" {TOKEN}\n")
    assert (secret("SHOP_TOKEN"), secret(None)) == (TOKEN, None)
    for held, words in (("", "is not set"), ("a\tb", "no usable token")):
        monkeypatch.setenv("SHOP_TOKEN", held)
        with pytest.raises(HttpError, match=words):
            secret("SHOP_TOKEN")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://a.example/x", "https://a.example:443", id="default port"),
        pytest.param("HTTPS://A.Example:443", "https://a.example:443", id="case"),
        pytest.param("http://[::1]:5000/v2", "http://::1:5000", id="IPv6"),
    ],
)
def test_origins_compare(url, expected):
    assert origin(url) == expected


def test_bytes_that_are_no_address():
    for url in ("ftp://a", "http://", "no", "http://a:99999999/"):
        with pytest.raises(HttpError, match="is no address"):
            origin(url)
