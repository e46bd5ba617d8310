"""Against Debian's docker-registry where it is on PATH, and against what was recorded from it."""

import base64
import json

import pytest

from agent.adapters.evidence.oci import OciEvidence
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


@pytest.fixture
def guarded():
    """A registry that wants a token from another address, and the tokens' service."""
    with served() as registry, served() as tokens:
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
    with served() as registry:
        registry.otherwise = reply
        found = probing(tmp_path, registry.url).probe(TASK, view(), LATE)
    assert {one.holds for one in found} == {None}
    assert words in found[0].detail


def test_a_head_without_a_digest_is_read_whole(tmp_path):
    with served() as registry:
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
    with served() as registry:
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
