import pytest

from agent.adapters.evidence.http import HttpEvidence, resolve_pointer
from tests.adapters.evidence_contract import EvidenceContract
from tests.adapters.loopback import HTML, Reply, nobody, served
from tests.adapters.service_world import (
    COMMIT,
    DIGEST,
    LATE,
    NOW,
    OTHER,
    TASK,
    knows,
    services,
    told,
    view,
)

ELSE = "sha256:" + "e" * 64


@pytest.fixture
def server():
    with served() as one:
        yield one


def probing(folder, looks, commit=COMMIT, digest=DIGEST):
    return HttpEvidence(services(folder, looks), knows(commit), knows(digest))


def look(url, proof, more=""):
    return f'[[services.shop.look]]\nproof = "{proof}"\nurl = "{url}"\n{more}\n'


class TestContract(EvidenceContract):
    def looks(self, url):
        pointer = 'pointer = "/digest"'
        return look(f"{url}/a", "dev-digest", pointer) + look(f"{url}/b", "prod-digest", pointer)

    @pytest.fixture
    def task(self):
        return TASK

    @pytest.fixture
    def probe(self, tmp_path, server):
        server.otherwise = Reply({"digest": DIGEST})
        return probing(tmp_path, self.looks(server.url))

    @pytest.fixture
    def blind(self, tmp_path):
        (tmp_path / "blind").mkdir()
        return probing(tmp_path / "blind", self.looks(nobody()))


AT = 'pointer = "/at"'
BUILT = f"{AT}\nexpect = false"
OK = f'{AT}\nexpect = "ok"'
ANSWERS = [
    pytest.param("dev-digest", AT, DIGEST, (True, DIGEST), id="the digest"),
    pytest.param("dev-digest", AT, f"r.example/shop@{DIGEST}", (True, DIGEST),
                 id="a reference with the digest"),
    pytest.param("prod-digest", AT, ELSE, (True, ELSE), id="another digest"),
    pytest.param("prod-digest", AT, "shop:local", (False, None), id="an image without a digest"),
    pytest.param("prod-digest", AT, f"{DIGEST} {ELSE}", (False, None), id="two digests"),
    pytest.param("prod-digest", AT, DIGEST + "0", (False, None), id="a digest that is too long"),
    pytest.param("prod-digest", AT, 17, (False, None), id="a number for a digest"),
    pytest.param("prod-digest", AT, None, (None, None), id="no digest at all"),
    pytest.param("live-version", AT, COMMIT, (True, COMMIT), id="the commit"),
    pytest.param("live-version", AT, COMMIT[:7].upper(), (True, COMMIT), id="its beginning"),
    pytest.param("live-version", AT, COMMIT[:6], (False, None), id="too little of it"),
    pytest.param("live-version", AT, OTHER, (True, OTHER), id="another commit"),
    pytest.param("live-version", AT, "main", (False, None), id="a branch"),
    pytest.param("no-source-rebuild", BUILT, False, (True, None), id="not built from source"),
    pytest.param("no-source-rebuild", BUILT, True, (False, None), id="built from source"),
    pytest.param("no-source-rebuild", BUILT, 0, (False, None), id="a number is no truth"),
    pytest.param("no-source-rebuild", BUILT, "false", (False, None), id="a word is no truth"),
    pytest.param("live-health", OK, "ok", (True, None), id="well"),
    pytest.param("live-health", OK, "degraded", (False, None), id="not well"),
    pytest.param("live-health", OK, None, (None, None), id="it does not say how it is"),
    pytest.param("live-health", "", "whatever", (True, None), id="only the status counts"),
]  # fmt: skip


@pytest.mark.parametrize(("proof", "more", "value", "expected"), ANSWERS)
def test_what_an_answer_proves(server, tmp_path, proof, more, value, expected):
    server.replies["/at"] = Reply({"at": value} if value is not None else {"other": 1})
    probe = probing(tmp_path, look(f"{server.url}/at", proof, more))
    assert told(probe.probe(TASK, view(), LATE)) == [(proof, *expected)]


EARLY = [
    pytest.param("prod-digest", AT, ELSE, None, id="still the old digest"),
    pytest.param("live-version", AT, OTHER, None, id="still the old commit"),
    pytest.param("live-health", OK, "starting", None, id="not well yet"),
    pytest.param("prod-digest", AT, DIGEST, True, id="there already"),
]


@pytest.mark.parametrize(("proof", "more", "value", "holds"), EARLY)
def test_what_may_be_on_its_way_is_unknown(server, tmp_path, proof, more, value, holds):
    server.replies["/at"] = Reply({"at": value})
    probe = probing(tmp_path, look(f"{server.url}/at", proof, more))
    (found,) = probe.probe(TASK, view(), NOW)
    assert found.holds is holds
    if holds is None and proof != "live-health":
        assert "it may be on its way" in found.detail


def test_how_long_it_may_take_is_configured(server, tmp_path):
    server.replies["/at"] = Reply({"at": ELSE})
    text = f'patience = "2h"\n{look(f"{server.url}/at", "prod-digest", AT)}'
    assert told(probing(tmp_path, text).probe(TASK, view(), LATE)) == [("prod-digest", None, None)]


WRONG = [
    pytest.param(Reply(HTML, headers={"Content-Type": "text/html"}), "no JSON", id="a login page"),
    pytest.param(Reply({"at": DIGEST}, 500), "answered 500, not 200", id="a fault"),
    pytest.param(Reply({}, 403), "refuses us (403)", id="forbidden"),
    pytest.param(Reply([DIGEST]), "says nothing", id="another shape"),
    pytest.param(Reply(b"[" * 50_000), "no JSON", id="nested without an end"),
    pytest.param(Reply(status=302, headers={"Location": "https://sso.invalid/"}),
                 "redirects to https://sso.invalid/, and is not followed", id="sent elsewhere"),
    pytest.param(Reply(b"x" * 2_000_000), "more than", id="too much"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "words"), WRONG)
def test_what_cannot_be_read_is_unknown(server, tmp_path, reply, words):
    server.otherwise = reply
    probe = probing(tmp_path, look(f"{server.url}/at", "prod-digest", AT))
    (found,) = probe.probe(TASK, view(), LATE)
    assert found.holds is None
    assert words in found.detail


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_health_endpoint_that_says_no_is_not_healthy(server, tmp_path, status):
    server.otherwise = Reply(status=status)
    probe = probing(tmp_path, look(f"{server.url}/live", "live-health"))
    (found,) = probe.probe(TASK, view(), LATE)
    assert found.holds is False
    assert found.detail == f"{server.url}/live answered {status}, not 200"


def test_a_header_is_read_as_well(server, tmp_path):
    server.otherwise = Reply(b"", headers={"X-Image": DIGEST})
    probe = probing(tmp_path, look(f"{server.url}/x", "dev-digest", 'header = "x-image"'))
    (found,) = probe.probe(TASK, view(), LATE)
    assert (found.value, found.source) == (DIGEST, f"{server.url}/x in x-image")


def test_a_token_is_sent_and_not_shown(server, tmp_path, monkeypatch):
    text = look(f"{server.url}/live", "live-health", 'token = "SHOP_TOKEN"')
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    (found,) = probing(tmp_path, text).probe(TASK, view(), LATE)
    assert found.holds is None
    assert "SHOP_TOKEN is not set" in found.detail
    assert server.asked == []
    monkeypatch.setenv("SHOP_TOKEN", "hunter2-hunter2")
    server.replies["/live"] = Reply({"ok": True})
    (found,) = probing(tmp_path, text).probe(TASK, view(), LATE)
    assert found.holds is True
    assert server.asked[0].headers["authorization"] == "Bearer hunter2-hunter2"
    assert "hunter2" not in found.model_dump_json()


def test_words_of_a_service_are_shown_without_control_characters(server, tmp_path):
    server.otherwise = Reply({"at": "\x1b[2Jok\u202e"})
    probe = probing(tmp_path, look(f"{server.url}/live", "live-health", OK))
    (found,) = probe.probe(TASK, view(), LATE)
    assert found.detail.isprintable()


DOCUMENT = {"a/b": [{"m~n": 1}], "": 2, "n": None, "0": 3}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/a~1b/0/m~0n", 1),
        ("/", 2),
        ("/0", 3),
        ("/a~1b/1", None),
        ("/a~1b/-", None),
        ("/a~1b/00", None),
        ("/n/x", None),
        ("/missing", None),
    ],
)
def test_pointers(pointer, value):
    assert resolve_pointer(DOCUMENT, pointer) == value
