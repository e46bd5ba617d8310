"""Recorded HTTP: each cassette says in its first lines what it was recorded against.

`RECORD_SYSTEMS=1 pytest` records anew, against the real servers on loopback; otherwise a cassette
is only read, and a request that it does not hold is an error.
"""

import os
import re
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import vcr
import yaml

ROOT = Path(__file__).parents[2] / "cassettes" / "systems"
RECORDING = os.environ.get("RECORD_SYSTEMS") == "1"
REPLAYED = "http://127.0.0.1:5000"
"""Where a replayed server seems to be; nobody is asked there."""
_LIVE = re.compile(r"http://127\.0\.0\.1:\d+")
_KEPT = {"accept", "authorization"}
_ANSWERED = {
    "content-type", "content-length", "docker-content-digest", "www-authenticate", "location",
    "retry-after", "x-ratelimit-remaining", "x-ratelimit-reset",
}  # fmt: skip


class _Labelled:
    def __init__(self, label: str) -> None:
        self._label = label

    def serialize(self, cassette):
        return f"# {self._label}\n{yaml.safe_dump(cassette, sort_keys=True, width=100)}"

    @staticmethod
    def deserialize(text):
        return yaml.safe_load(text)


def _where(request):
    parts = urlsplit(request.uri)
    return request.method, parts.path, parts.query


def _same_place(first, second):
    assert _where(first) == _where(second)


def _without_secrets(request):
    kept = {name: value for name, value in request.headers.items() if name.lower() in _KEPT}
    if "authorization" in {name.lower() for name in kept}:
        scheme = next(v for k, v in kept.items() if k.lower() == "authorization").split(" ")[0]
        kept = {k: v for k, v in kept.items() if k.lower() != "authorization"}
        kept["authorization"] = f"{scheme} [not recorded]"
    request.headers = kept
    request.uri = REPLAYED + request.uri.removeprefix(
        "{0.scheme}://{0.netloc}".format(urlsplit(request.uri))
    )
    return request


def _plain(response):
    response["headers"] = {
        name.lower(): [_LIVE.sub(REPLAYED, one) for one in values]
        for name, values in response["headers"].items()
        if name.lower() in _ANSWERED
    }
    return response


def named(request) -> str:
    """The cassette of one test: its file, then its name with its factors."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"{request.path.stem}/{slug}"


@contextmanager
def tape(name: str, label: str):
    """What is asked inside is recorded, or replayed from `cassettes/systems/NAME.yaml`."""
    path = ROOT / f"{name}.yaml"
    if RECORDING:
        path.unlink(missing_ok=True)
    machine = vcr.VCR(
        record_mode="once" if RECORDING else "none",
        match_on=["place"],
        before_record_request=_without_secrets,
        before_record_response=_plain,
    )
    machine.register_matcher("place", _same_place)
    machine.register_serializer("labelled", _Labelled(label))
    with machine.use_cassette(str(path), serializer="labelled") as cassette:
        yield cassette
