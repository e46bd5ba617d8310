"""Against Debian's docker-registry where it is on PATH, and against what was recorded from it."""

import base64
import json

import pytest

from agent.adapters.evidence.command import CommandEvidence
from agent.adapters.evidence.http import HttpEvidence
from agent.adapters.evidence.oci import OciEvidence, parse_challenges
from examples.delivery.images import (
    INDEX,
    MANIFEST,
    REVISION,
    Pusher,
    digest_of,
    image,
    index,
)
from examples.delivery.registry import installed, own_registry, real_registry
from tests.adapters.evidence_contract import EvidenceContract
from tests.adapters.loopback import HTML, Reply, nobody, served
from tests.adapters.service_world import (
    COMMIT,
    LATE,
    NOW,
    OTHER,
    TASK,
    knows,
    services,
    told,
    view,
)
from tests.adapters.tapes import RECORDING, REPLAYED, named, tape

LABEL = (
    "Recorded against docker-registry 2.8.2 (Debian) on loopback by "
    "tests/adapters/test_evidence_oci.py"
)

HERE = image({"app/version": b"one"}, {REVISION: COMMIT})
ARM = image({"app/version": b"one"}, {REVISION: COMMIT}, "arm64")
OLD = image({"app/version": b"zero"}, {REVISION: OTHER})
SHORT = image({"app/version": b"short"}, {REVISION: COMMIT[:12]})
BARE = image({"app/version": b"bare"}, {})
WORDS = image({"app/version": b"words"}, {REVISION: "v1.2\x1b[2J"})
BOTH = index([("amd64", HERE), ("arm64", ARM)])
MIXED = index([("amd64", HERE), ("arm64", OLD)])


def fill(address):
    pusher = Pusher(address, "team/shop")
    for one in (HERE, ARM, OLD, SHORT, BARE, WORDS):
        pusher.push(one)
    for tag, raw, kind in (
        (COMMIT, HERE.manifest, MANIFEST), ("old", OLD.manifest, MANIFEST),
        ("short", SHORT.manifest, MANIFEST), ("bare", BARE.manifest, MANIFEST),
        ("words", WORDS.manifest, MANIFEST), ("both", BOTH, INDEX), ("mixed", MIXED, INDEX),
    ):  # fmt: skip
        pusher.manifest(raw, kind, tag)
    pusher.close()


@pytest.fixture(scope="module")
def real():
    if installed() is None:
        yield None
        return
    with real_registry(installed()) as address:
        fill(address)
        yield address


def _real(request):
    address = request.getfixturevalue("real")
    if address is None:
        pytest.skip("docker-registry is not on PATH")
    return address


@pytest.fixture
def replayed(request):
    """The address of a registry with the images above, as it answered once."""
    address = _real(request) if RECORDING else REPLAYED
    with tape(named(request), LABEL):
        yield address


@pytest.fixture(params=["replayed", "real"])
def registry(request):
    """The address of a registry with the images above."""
    return request.getfixturevalue("replayed") if request.param == "replayed" else _real(request)


def probing(folder, address, more="", commit=COMMIT):
    text = f'[services.shop.image]\nregistry = "{address}"\nrepository = "team/shop"\n{more}\n'
    return OciEvidence(services(folder, text), knows(commit))


class TestContract(EvidenceContract):
    @pytest.fixture
    def task(self):
        return TASK

    @pytest.fixture
    def probe(self, tmp_path, replayed):
        return probing(tmp_path, replayed)

    @pytest.fixture
    def blind(self, tmp_path):
        (tmp_path / "blind").mkdir()
        return probing(tmp_path / "blind", nobody())


RECORDED = "digest-recorded"
BUILT = "artifact-built"
LOOKS = [
    pytest.param("{commit}", "", [(RECORDED, True, HERE.digest), (BUILT, True, COMMIT)],
                 id="the image of the commit"),
    pytest.param("old", "", [(RECORDED, True, OLD.digest), (BUILT, True, OTHER)],
                 id="an image of another commit"),
    pytest.param("short", "", [(RECORDED, True, SHORT.digest), (BUILT, True, COMMIT)],
                 id="an abbreviated label"),
    pytest.param("bare", "", [(RECORDED, True, BARE.digest), (BUILT, False, None)], id="no label"),
    pytest.param("words", "", [(RECORDED, True, WORDS.digest), (BUILT, False, None)],
                 id="a label that is no commit"),
    pytest.param("bare", 'revision_label = ""', [(RECORDED, True, BARE.digest)],
                 id="a label is not asked for"),
    pytest.param("both", "", [(RECORDED, True, "sha256:*"), (BUILT, True, COMMIT)], id="an index"),
    pytest.param("both", 'platform = "linux/arm64"',
                 [(RECORDED, True, ARM.digest), (BUILT, True, COMMIT)], id="one image of an index"),
    pytest.param("both", 'platform = "linux/riscv64"',
                 [(RECORDED, None, None), (BUILT, None, None)],
                 id="an index without the platform"),
    pytest.param("mixed", "", [(RECORDED, True, "sha256:*"), (BUILT, False, None)],
                 id="an index of two commits"),
    pytest.param("mixed", 'platform = "linux/amd64"',
                 [(RECORDED, True, HERE.digest), (BUILT, True, COMMIT)],
                 id="the right image of an index of two commits"),
    pytest.param("none", "", [(RECORDED, False, None), (BUILT, False, None)], id="no such tag"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "more", "expected"), LOOKS)
def test_what_a_reference_is(registry, tmp_path, reference, more, expected):
    probe = probing(tmp_path, registry, f'reference = "{reference}"\n{more}')
    found = probe.probe(TASK, view(), LATE)
    whole = [(k, h, v.replace("sha256:*", digest_of(BOTH if reference == "both" else MIXED)) if v
              else v) for k, h, v in expected]  # fmt: skip
    assert told(found) == whole
    assert all(one.detail.isprintable() for one in found)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        pytest.param("none", [(RECORDED, None, None), (BUILT, None, None)], id="no image yet"),
        pytest.param(
            "old", [(RECORDED, True, OLD.digest), (BUILT, None, None)], id="still the old"
        ),
    ],
)
def test_what_may_be_on_its_way_is_unknown(registry, tmp_path, reference, expected):
    probe = probing(tmp_path, registry, f'reference = "{reference}"')
    assert told(probe.probe(TASK, view(), NOW)) == expected


def test_without_a_commit_no_image_can_be_named(tmp_path):
    found = probing(tmp_path, nobody(), commit=None).probe(TASK, view(), LATE)
    assert told(found) == [(RECORDED, None, None), (BUILT, None, None)]
    assert found[0].detail == "the pushed commit is not known, so no image can be named"


def test_the_small_registry_of_the_demonstration_answers_alike(tmp_path):
    with own_registry() as address:
        fill(address)
        found = probing(tmp_path, address).probe(TASK, view(), LATE)
        assert told(found) == [(RECORDED, True, HERE.digest), (BUILT, True, COMMIT)]


CHALLENGES = [
    # From RFC 9110, 11.6.1, the distribution specification's token authentication, and registries.
    pytest.param('Basic realm="simple", charset="UTF-8"',
                 [("basic", {"realm": "simple", "charset": "UTF-8"})], id="one"),
    pytest.param('Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
                 [("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
                  ("basic", {"realm": "simple"})], id="the RFC's own"),
    pytest.param('Bearer realm="https://a.example/token",service="r.example",scope="repository:'
                 'team/shop:pull,push"',
                 [("bearer", {"realm": "https://a.example/token", "service": "r.example",
                              "scope": "repository:team/shop:pull,push"})], id="a registry's"),
    pytest.param('Basic realm="r",Bearer realm="t"',
                 [("basic", {"realm": "r"}), ("bearer", {"realm": "t"})], id="no space between"),
    pytest.param(', ,Basic  realm = "r" ,, bEARER REALM="t" ,',
                 [("basic", {"realm": "r"}), ("bearer", {"realm": "t"})], id="empty elements"),
    pytest.param("Negotiate, Basic realm=r", [("negotiate", {}), ("basic", {"realm": "r"})],
                 id="a scheme alone"),
    pytest.param('Negotiate YII/+w==, NTLM, Basic realm="r"',
                 [("negotiate", {}), ("ntlm", {}), ("basic", {"realm": "r"})], id="token68"),
    pytest.param('Basic realm="Bearer realm=\\"https://evil.example\\", x"',
                 [("basic", {"realm": 'Bearer realm="https://evil.example", x'})],
                 id="a challenge inside of a string"),
    pytest.param('Bearer realm="a", realm="b", Basic realm="r"', [("basic", {"realm": "r"})],
                 id="two realms in one"),
    pytest.param('Basic realm="r", Bearer realm="t', [("basic", {"realm": "r"}), ("bearer", {})],
                 id="a string without an end"),
    pytest.param("", [], id="nothing"),
    pytest.param("=", [], id="no scheme"),
    pytest.param("Basic" + " ," * 60_000 + '"', [("basic", {})], id="much of nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "expected"), CHALLENGES)
def test_challenges_are_read_as_the_rfc_writes_them(header, expected):
    assert parse_challenges(header) == expected


BEARER, BASIC = 'Bearer realm="{tokens}/token",service="r"', 'Basic realm="Registry Realm"'
ALIEN = 'Bearer realm="https://evil.example/token",service="r"'
ORDERS = [
    pytest.param([BEARER], "Bearer short-lived", id="a token"),
    pytest.param([BASIC], "Basic", id="a password"),
    pytest.param([BEARER, BASIC], "Bearer short-lived", id="a token or a password"),
    pytest.param([BASIC, BEARER], "Bearer short-lived", id="a password or a token"),
    pytest.param([f"{BEARER}, {BASIC}"], "Bearer short-lived", id="both in one"),
    pytest.param([f"{BASIC}, {BEARER}"], "Bearer short-lived", id="both in one, turned round"),
    pytest.param(["Negotiate", f"{BASIC}, {BEARER}"], "Bearer short-lived", id="three in two"),
    pytest.param([ALIEN, BEARER], "Bearer short-lived", id="a token from elsewhere, or from here"),
    pytest.param([ALIEN, BASIC], "Basic", id="a token from elsewhere, or a password"),
    pytest.param([ALIEN], None, id="only from elsewhere"),
    pytest.param(['Bearer realm="nowhere"'], None, id="from no address"),
    pytest.param(["Negotiate", "NTLM"], None, id="nothing that we know"),
    pytest.param(['Bearer service="r"'], None, id="no realm"),
]


@pytest.mark.parametrize(("order", "met"), ORDERS)
def test_one_of_several_challenges_is_met(tmp_path, monkeypatch, order, met):
    monkeypatch.setenv("SHOP_TOKEN", "hunter2-hunter2")
    with served(has_clock=False) as registry, served(has_clock=False) as tokens:
        lines = [one.format(tokens=tokens.url) for one in order]

        def answer(asked):
            given = asked.headers.get("authorization", "")
            if met is None or not given.startswith(met):
                return Reply({}, 401, {"WWW-Authenticate": lines})
            raw = HERE.blobs.get(asked.path.rsplit("/", 1)[1], HERE.manifest)
            return Reply(raw, headers={"Docker-Content-Digest": digest_of(raw)})

        registry.otherwise = answer
        tokens.replies["/token"] = Reply({"token": "short-lived"})
        more = f'token_service = "{tokens.url}"\ntoken = "SHOP_TOKEN"'
        found = probing(tmp_path, registry.url, more).probe(TASK, view(), LATE)
        seen = [one.headers.get("authorization", "") for one in (*registry.asked, *tokens.asked)]
    assert told(found)[0] == (RECORDED, True if met else None, HERE.digest if met else None)
    assert any(one.startswith("Basic ") for one in seen) is bool(met)


@pytest.fixture
def guarded():
    """A registry that wants a token from another address, and the tokens' service."""
    with served(has_clock=False) as registry, served(has_clock=False) as tokens:
        held = {f"/v2/team/shop/manifests/{one}": HERE.manifest for one in (COMMIT, HERE.digest)}
        held |= {f"/v2/team/shop/blobs/{name}": raw for name, raw in HERE.blobs.items()}
        realm = f'Bearer realm="{tokens.url}/token",service="r",scope="repository:team/shop:pull"'

        def answer(asked):
            if asked.headers.get("authorization") != "Bearer short-lived":
                return Reply({}, 401, {"WWW-Authenticate": realm})
            raw = held[asked.path]
            return Reply(raw, headers={"Docker-Content-Digest": digest_of(raw)})

        registry.otherwise = answer
        tokens.replies["/token"] = Reply({"token": "short-lived"})
        yield registry, tokens


def test_a_token_is_fetched_where_it_is_configured(guarded, tmp_path, monkeypatch):
    registry, tokens = guarded
    monkeypatch.setenv("SHOP_USER", "robot")
    monkeypatch.setenv("SHOP_TOKEN", "hunter2-hunter2")
    more = f'token_service = "{tokens.url}"\nuser = "SHOP_USER"\ntoken = "SHOP_TOKEN"'
    found = probing(tmp_path, registry.url, more).probe(TASK, view(), LATE)
    assert told(found) == [(RECORDED, True, HERE.digest), (BUILT, True, COMMIT)]
    (asked,) = tokens.asked
    assert asked.path == "/token?service=r&scope=repository%3Ateam%2Fshop%3Apull"
    assert base64.b64decode(asked.headers["authorization"][6:]) == b"robot:hunter2-hunter2"
    sent = {one.headers.get("authorization") for one in registry.asked}
    assert sent == {None, "Bearer short-lived"}


def test_a_store_of_blobs_cannot_ask_for_a_token(guarded, tmp_path, monkeypatch):
    """What it says would be repeated to the token service, with our password."""
    registry, tokens = guarded
    monkeypatch.setenv("SHOP_TOKEN", "hunter2-hunter2")
    with served(has_clock=False) as store:
        realm = f'Bearer realm="{tokens.url}/token",scope="repository:secret:pull,push"'
        store.otherwise = Reply({}, 401, {"WWW-Authenticate": realm})
        registry.otherwise = Reply(status=307, headers={"Location": f"{store.url}/x"})
        more = f'token_service = "{tokens.url}"\ntoken = "SHOP_TOKEN"\nblobs = ["{store.url}"]'
        found = probing(tmp_path, registry.url, more).probe(TASK, view(), LATE)
        assert {one.headers.get("authorization") for one in store.asked} == {None}
    assert {one.holds for one in found} == {None}
    assert tokens.asked == []


def test_a_registry_cannot_send_us_elsewhere_for_a_token(guarded, tmp_path, monkeypatch):
    registry, tokens = guarded
    monkeypatch.setenv("SHOP_TOKEN", "hunter2-hunter2")
    found = probing(tmp_path, registry.url, 'token = "SHOP_TOKEN"').probe(TASK, view(), LATE)
    assert {one.holds for one in found} == {None}
    assert f"sends us to {tokens.url} for a token, which is not configured" in found[0].detail
    assert tokens.asked == []


FAULTS = [
    pytest.param(Reply(HTML), "answered no JSON", id="a login page"),
    pytest.param(Reply(status=500), "answered 500", id="a broken registry"),
    pytest.param(Reply({}, 401, {"WWW-Authenticate": 'Basic realm="r"'}), "asks for a password",
                 id="a password"),
    pytest.param(Reply({}, 403), "refuses us (403)", id="forbidden"),
    pytest.param(Reply(b"x", headers={"Docker-Content-Digest": "md5:1"}), "names no digest",
                 id="another kind of digest"),
    pytest.param(Reply(HERE.manifest, headers={"Docker-Content-Digest": OLD.digest}),
                 "another digest", id="a manifest under a false name"),
    pytest.param(Reply(status=302, headers={"Location": "http://169.254.169.254/"}),
                 "http://169.254.169.254:80 is not configured", id="sent elsewhere"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "words"), FAULTS)
def test_a_registry_that_answers_wrongly_proves_nothing(tmp_path, reply, words):
    with served(has_clock=False) as registry:
        registry.otherwise = reply
        found = probing(tmp_path, registry.url).probe(TASK, view(), LATE)
    assert {one.holds for one in found} == {None}
    assert words in found[0].detail


@pytest.mark.parametrize(
    ("now", "detail"),
    [
        pytest.param(NOW, "there is no team/shop:{commit} yet", id="for a while"),
        pytest.param(LATE, "{url} has no repository team/shop: see whether registry and repository "
                           "are right", id="for longer"),
    ],
)  # fmt: skip
def test_a_registry_without_the_repository_is_no_fault_of_a_task(tmp_path, now, detail):
    """Also where the address is of something else, that knows nothing of what it is asked."""
    for reply in (Reply(HTML, 404), Reply({"errors": [{"code": "NAME_UNKNOWN"}]}, 404)):
        with served(has_clock=False) as registry:
            registry.otherwise = reply
            found = probing(tmp_path, registry.url).probe(TASK, view(), now)
        assert {one.holds for one in found} == {None}
        assert {one.fault for one in found} == {True if now is LATE else None}
        assert found[0].detail == detail.format(url=registry.url, commit=COMMIT)


@pytest.mark.parametrize(("age", "holds"), [("3600", True), ("3601", None)])
def test_a_tag_that_a_cache_kept_from_before_the_attempt_proves_nothing(tmp_path, age, holds):
    """What has a digest may be as old as it likes."""
    with served(has_clock=False) as registry:

        def answer(asked):
            raw = HERE.blobs.get(asked.path.rsplit("/", 1)[1], HERE.manifest)
            is_tag = asked.path.endswith(COMMIT)
            return Reply(raw, headers={"Docker-Content-Digest": digest_of(raw),
                                       "Age": age if is_tag else "86400"})  # fmt: skip

        registry.otherwise = answer
        found = probing(tmp_path, registry.url).probe(TASK, view(), LATE)
        assert [one.holds for one in found] == [holds, holds]
        assert registry.asked[0].headers["cache-control"] == "no-cache"


V6, V7 = image({"v": b"6"}, {}, "arm"), image({"v": b"7"}, {}, "arm")
VARIANTS = json.loads(index([("arm", V6), ("arm", V7), ("amd64", HERE), ("unknown", BARE)]))
for entry, variant in zip(VARIANTS["manifests"], ("v6", "v7"), strict=False):
    entry["platform"]["variant"] = variant
VARIANTS["manifests"][3]["platform"]["os"] = "unknown"  # what is attached, as BuildKit writes it
VARIANTS = json.dumps(VARIANTS).encode()
ONE = [
    # The platform that is meant, what the registry has, what runs, and whether that is the same.
    pytest.param(None, VARIANTS, VARIANTS, True, id="the index itself"),
    pytest.param(None, VARIANTS, HERE.manifest, True, id="an image in the index"),
    pytest.param(None, VARIANTS, V7.manifest, True, id="any image in the index"),
    pytest.param(None, VARIANTS, OLD.manifest, False, id="an image that is not in it"),
    pytest.param(None, VARIANTS, BARE.manifest, False, id="what is attached to the index"),
    pytest.param(None, HERE.manifest, BOTH, False, id="an index around the image that is meant"),
    pytest.param("linux/amd64", BOTH, HERE.manifest, True, id="the platform's image"),
    pytest.param("linux/amd64", BOTH, ARM.manifest, False, id="another platform's image"),
    pytest.param("linux/amd64", BOTH, BOTH, True, id="the index of the platform's image"),
    pytest.param("linux/amd64", BOTH, VARIANTS, True, id="another index with the very image"),
    pytest.param("linux/arm64", BOTH, VARIANTS, False, id="an index without the image"),
    pytest.param("linux/amd64", BOTH, OLD.manifest, False, id="another image"),
    pytest.param("linux/arm/v7", VARIANTS, V7.manifest, True, id="the variant's image"),
    pytest.param("linux/arm/v7", VARIANTS, V6.manifest, False, id="another variant's image"),
]


def delivered(folder, world, more=""):
    """A service whose image is in the registry, and whose production says what it runs."""
    text = (f'[services.shop.image]\nregistry = "{world.url}"\nrepository = "team/shop"\n'
            f'revision_label = ""\n{more}\n[[services.shop.look]]\nproof = "prod-digest"\n'
            f'url = "{world.url}/version"\npointer = "/image"\n')  # fmt: skip
    return services(folder, text)


@pytest.mark.parametrize(("platform", "held", "runs", "same"), ONE)
def test_an_index_and_the_image_in_it_are_one_artifact(tmp_path, platform, held, runs, same):
    images = [one.manifest for one in (HERE, ARM, OLD, BARE, V6, V7)]
    known = {digest_of(raw): raw for raw in (VARIANTS, BOTH, *images)} | {COMMIT: held}
    with served(has_clock=False) as world:
        for name, raw in known.items():
            world.replies[f"/v2/team/shop/manifests/{name}"] = Reply(raw)
        world.replies["/version"] = Reply({"image": f"r.example/team/shop@{digest_of(runs)}"})
        which = f'platform = "{platform}"' if platform else ""
        both = delivered(tmp_path, world, which)
        (recorded,) = OciEvidence(both, knows(COMMIT)).probe(TASK, view(), LATE)
        probe = HttpEvidence(both, knows(COMMIT), knows(recorded.value))
        (found,) = probe.probe(TASK, view(), LATE)
        printed = json.dumps({"holds": True, "value": digest_of(runs)})
        argv = json.dumps(["printf", "%s", printed])
        command = f'[[services.shop.command]]\nproof = "prod-digest"\nargv = {argv}'
        program = delivered(tmp_path, world, f"{which}\n{command}")
        asked = CommandEvidence(program, knows(COMMIT), knows(recorded.value))
        assert told(asked.probe(TASK, view(), LATE)) == told([found])
    assert (recorded.holds, found.holds) == (True, True)
    assert (found.value == recorded.value) is same
    assert digest_of(runs)[:19] in found.detail
    if same and digest_of(runs) != recorded.value:
        assert "index" in found.detail


def test_an_index_that_the_registry_does_not_have_is_another_artifact(tmp_path):
    with served(has_clock=False) as world:
        world.replies["/version"] = Reply({"image": digest_of(BOTH)})
        probed = HttpEvidence(
            delivered(tmp_path, world, 'platform = "linux/amd64"'),
            knows(COMMIT),
            knows(HERE.digest),
        )
        found = probed.probe(TASK, view(), LATE)
    assert told(found) == [("prod-digest", True, digest_of(BOTH))]


def test_what_a_registry_does_not_say_of_an_index_is_not_known(tmp_path):
    with served(has_clock=False) as world:
        world.replies["/version"] = Reply({"image": HERE.digest})
        world.otherwise = Reply({}, 500)
        probe = HttpEvidence(delivered(tmp_path, world), knows(COMMIT), knows(digest_of(BOTH)))
        (found,) = probe.probe(TASK, view(), LATE)
    assert found.holds is None
    assert f"whether that is {digest_of(BOTH)[:19]} is not known: " in found.detail


def test_a_head_without_a_digest_is_read_whole(tmp_path):
    with served(has_clock=False) as registry:
        for reference in (COMMIT, HERE.digest):
            registry.replies[f"/v2/team/shop/manifests/{reference}"] = Reply(HERE.manifest)
        for name, raw in HERE.blobs.items():
            registry.replies[f"/v2/team/shop/blobs/{name}"] = Reply(raw)
        found = probing(tmp_path, registry.url).probe(TASK, view(), LATE)
    assert told(found) == [(RECORDED, True, HERE.digest), (BUILT, True, COMMIT)]


ODD = [None, [], {}, "x", 7, [[]], {"Labels": []}, {"Labels": {REVISION: [COMMIT]}}, {"Labels": 1}]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_no_shape_of_an_answer_is_an_error(tmp_path, odd):
    """Everything under its right digest, and none of it what the specification says."""
    config = json.dumps({"config": odd}).encode()
    described = {"digest": digest_of(config)}
    inner = json.dumps({"config": described}).encode()
    with served(has_clock=False) as registry:
        probe = probing(tmp_path, registry.url)
        registry.replies[f"/v2/team/shop/manifests/{digest_of(inner)}"] = Reply(inner)
        registry.replies[f"/v2/team/shop/blobs/{digest_of(config)}"] = Reply(config)
        for manifest in (
            {"config": described}, {"config": odd}, {"manifests": odd}, {"manifests": [odd]}, odd,
            {"manifests": [{"digest": digest_of(inner), "mediaType": MANIFEST, "platform": odd}]},
        ):  # fmt: skip
            raw = json.dumps(manifest).encode()
            for name in (COMMIT, digest_of(raw)):
                registry.replies[f"/v2/team/shop/manifests/{name}"] = Reply(raw)
            for item in probe.probe(TASK, view(), LATE):
                assert item.detail.isprintable()
                assert item.kind == RECORDED or not item.holds


@pytest.mark.parametrize(("now", "fault"), [(NOW, None), (LATE, True)], ids=["early", "late"])
def test_an_address_at_which_nobody_answers_is_looked_into_by_a_person(tmp_path, now, fault):
    found = probing(tmp_path, nobody()).probe(TASK, view(), now)
    assert {(one.holds, one.fault) for one in found} == {(None, fault)}
