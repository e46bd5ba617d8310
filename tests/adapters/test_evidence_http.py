from datetime import timedelta
from email.utils import format_datetime

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
    with served(has_clock=False) as one:
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
    assert found.fault
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


HOUR = 3600
SEEN_AT = NOW + timedelta(hours=2)
"""The attempt ended two hours before."""


def on(ago, form=None):
    """So many seconds before `SEEN_AT`, as a server writes it."""
    at = SEEN_AT - timedelta(seconds=ago)
    return at.strftime(form) if form else format_datetime(at, usegmt=True)


def kept(seconds, expired):
    return {"Cache-Control": f"public, max-age={seconds}", "Expires": on(expired)}


TIMES = [
    # What an answer says of its age, and how old that makes it; None: nobody knows, or it is from
    # before the end of the attempt.
    pytest.param({}, 0, id="no word of it"),
    pytest.param({"Date": on(0)}, 0, id="made now"),
    pytest.param({"Date": on(HOUR)}, HOUR, id="made an hour ago"),
    pytest.param({"Date": on(HOUR, "%A, %d-%b-%y %H:%M:%S GMT")}, HOUR, id="RFC 850's form"),
    pytest.param({"Date": on(HOUR, "%a %b %e %H:%M:%S %Y")}, HOUR, id="the form of C"),
    pytest.param({"Date": on(2 * HOUR)}, 2 * HOUR, id="made as the attempt ended"),
    pytest.param({"Date": on(2 * HOUR + 1)}, None, id="made a second before"),
    pytest.param({"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}, None, id="a clock that was never set"),
    pytest.param({"Date": on(-86400 * 3650)}, 0, id="made in ten years"),
    pytest.param({"Date": "Mon, 31 Feb 2026 99:00:00 GMT"}, 0, id="no such date"),
    pytest.param({"Date": "Fri, 31 Dec 99999 00:00:00 GMT"}, 0, id="no such year"),
    pytest.param({"Date": "soon"}, 0, id="a word for a date"),
    pytest.param({"Age": "0"}, 0, id="age 0"),
    pytest.param({"Age": "3600"}, HOUR, id="an hour old"),
    pytest.param({"Age": "7200"}, 2 * HOUR, id="as old as the end"),
    pytest.param({"Age": "7201"}, None, id="a second older"),
    pytest.param({"Age": "86400", "Cache-Control": "public, s-maxage=604800", "X-Cache": "HIT"},
                 None, id="a day old"),
    pytest.param({"Age": "9" * 400}, None, id="older than the world"),
    pytest.param({"Age": "0" * 20 + "7201"}, None, id="leading zeros"),
    pytest.param({"Age": "-60"}, None, id="less than no age"),
    pytest.param({"Age": "1h"}, None, id="an age in words"),
    pytest.param({"Age": ""}, None, id="an empty age"),
    pytest.param({"Age": "\u00b2"}, None, id="a digit that is none"),
    pytest.param({"Age": "3600, 9000"}, HOUR, id="two ages"),
    pytest.param({"Age": "60", "Date": on(HOUR)}, HOUR, id="the older of age and date"),
    pytest.param({"Age": "86400", "Date": on(0)}, None, id="an age beside a proxy's date"),
    pytest.param({"Age": "5", "X-Cache": "HIT"}, 5, id="a young hit"),
    pytest.param({"X-Cache": "MISS from edge"}, 0, id="a miss"),
    pytest.param({"X-Cache": "HIT"}, None, id="a hit of no age"),
    pytest.param({"X-Cache": "HIT", "Date": on(0)}, None, id="a hit beside a proxy's date"),
    pytest.param({"X-Cache": "MISS, HIT"}, None, id="a hit at the edge"),
    pytest.param({"X-Cache": "Hit from cloudfront"}, None, id="CloudFront's words"),
    pytest.param({"X-Cache": "TCP_MEM_HIT from a1.example"}, None, id="Akamai's words"),
    pytest.param({"X-Cache": "MISS from p", "X-Cache-Lookup": "HIT from p:3128"}, 0,
                 id="Squid had one and asked anew"),
    pytest.param({"X-Cache-Hits": "0, 0"}, 0, id="no hits"),
    pytest.param({"X-Cache-Hits": "0, 2"}, None, id="some hits"),
    pytest.param({"CF-Cache-Status": "DYNAMIC"}, 0, id="Cloudflare passed it on"),
    pytest.param({"CF-Cache-Status": "UPDATING"}, None, id="Cloudflare's old one"),
    pytest.param({"X-Proxy-Cache": "EXPIRED"}, 0, id="nginx asked anew"),
    pytest.param({"X-Cache-Status": "STALE"}, None, id="nginx's old one"),
    pytest.param({"Cache-Status": "edge; fwd=stale; stored"}, 0, id="RFC 9211: passed on"),
    pytest.param({"Cache-Status": "a; fwd=miss, b; hit; ttl=30"}, None, id="RFC 9211: a hit"),
    pytest.param({"Warning": '110 - "Response is Stale"'}, None, id="a warning"),
    pytest.param({"Warning": '214 - "Transformation Applied"'}, 0, id="another warning"),
    pytest.param(kept(600, -600), 0, id="may be kept, and was not"),
    pytest.param(kept(600, HOUR - 600), HOUR, id="past its end, and young enough"),
    pytest.param(kept(600, 2 * HOUR - 599), None, id="past its end"),
    pytest.param({"Cache-Control": "no-store, max-age=9", "Expires": on(86400)}, 0,
                 id="never to be kept"),
    pytest.param({"Expires": "0"}, 0, id="the usual 0"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "age"), TIMES)
def test_evidence_says_when_the_fact_was_true(server, tmp_path, headers, age):
    probe = probing(tmp_path, look(f"{server.url}/live", "live-health", OK))
    for said in ("ok", "down"):
        server.otherwise = Reply({"at": said}, headers=headers)
        (found,) = probe.probe(TASK, view(), SEEN_AT)
        assert found.holds is (None if age is None else said == "ok")
        assert found.observed_at <= SEEN_AT
        assert age is None or found.observed_at == SEEN_AT - timedelta(seconds=age)
        assert f'"{said}"' in found.detail


@pytest.mark.parametrize(
    ("proof", "more"), [("prod-digest", AT), ("live-version", AT), ("live-health", "")]
)
def test_what_a_cache_kept_from_before_the_attempt_proves_nothing_of_any_kind(
    server, tmp_path, proof, more
):
    values = {"prod-digest": DIGEST, "live-version": COMMIT}
    server.otherwise = Reply({"at": values.get(proof)}, headers={"Age": "7201"})
    (found,) = probing(tmp_path, look(f"{server.url}/x", proof, more)).probe(TASK, view(), SEEN_AT)
    assert (found.holds, found.value) == (None, None)
    assert found.detail.startswith("that is of 2026-03-01 08:59:59Z, before the attempt ended: ")


def test_every_cache_on_the_way_is_asked_to_ask_the_service(server, tmp_path):
    """A cache that does so answers anew, and only that answer counts."""

    def cache(asked):
        if "no-cache" in (asked.headers.get("cache-control"), asked.headers.get("pragma")):
            return Reply({"at": "down"}, headers={"Age": "0"})
        return Reply({"at": "ok"}, headers={"Age": "86400"})

    server.otherwise = cache
    probe = probing(tmp_path, look(f"{server.url}/live", "live-health", OK))
    assert told(probe.probe(TASK, view(), SEEN_AT)) == [("live-health", False, None)]
    (asked,) = server.asked
    assert (asked.headers["cache-control"], asked.headers["pragma"]) == ("no-cache", "no-cache")


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
