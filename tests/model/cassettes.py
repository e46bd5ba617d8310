"""Recording and strict replay of the Messages API; the same rules for both sides.

Bodies are canonical JSON, headers go by an allow-list, the stand-in's address becomes the real one,
and each file says where it came from. Nothing that looks like a key is ever saved.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest
import vcr
import vcr.stubs.httpx_stubs as stubs
from vcr.errors import CannotOverwriteExistingCassetteException

API = "https://api.anthropic.com"
FOLDER = Path(__file__).parents[2] / "cassettes" / "model"
REQUEST_HEADERS = {"anthropic-version", "content-type"}
RESPONSE_HEADERS = {"content-type", "request-id", "retry-after", "x-should-retry", "x-standin"}
SECRET = re.compile(
    r"sk-ant-[\w-]{8,}|Bearer\s+[\w.-]{8,}|AKIA[0-9A-Z]{16}|ghp_\w{20,}|BEGIN \w+ KEY"
)
LABEL = {
    "standin": "SYNTHETIC: answers scripted in tests/model, never produced by Anthropic",
    "live": "recorded from api.anthropic.com",
}


class DriftError(pytest.fail.Exception):
    """A request that was never recorded. No `except Exception` on the way can swallow it."""


def clean_request(request: Any) -> Any:
    request.uri = re.sub(r"^http://127\.0\.0\.1:\d+", API, request.uri)
    if request.uri.startswith(f"{API}/v1/"):
        kept = {one.lower(): value for one, value in request.headers.items()}
        request.headers = {one: kept[one] for one in sorted(REQUEST_HEADERS & kept.keys())}
        body = request.body.decode() if isinstance(request.body, bytes) else request.body
        request.body = json.dumps(json.loads(body), sort_keys=True, ensure_ascii=False).encode()
    return request


def clean_response(response: Any) -> Any:
    kept = {one.lower(): value for one, value in response["headers"].items()}
    response["headers"] = {one: kept[one] for one in sorted(RESPONSE_HEADERS & kept.keys())}
    return response


class Labelled:
    """How a cassette is written: where it came from beside what was recorded, and never a key."""

    def __init__(self, provenance: dict[str, str]) -> None:
        self._provenance = provenance

    def serialize(self, cassette: dict[str, Any]) -> str:
        whole = {**cassette, "metadata": {"provenance": self._provenance}}
        text = json.dumps(whole, indent=4) + "\n"
        if SECRET.search(text):
            raise RuntimeError("not saved: it looks as if it holds a credential")
        return text

    @staticmethod
    def deserialize(text: str) -> Any:
        return json.loads(text)


def recorder(folder: Path, mode: str, provenance: dict[str, str]) -> vcr.VCR:
    made = vcr.VCR(
        cassette_library_dir=str(folder),
        path_transformer=vcr.VCR.ensure_suffix(".json"),
        serializer="labelled",
        record_mode=mode,
        match_on=("method", "scheme", "host", "port", "path", "query", "version", "same body"),
        decode_compressed_response=True,
        before_record_request=clean_request,
        before_record_response=clean_response,
        record_on_exception=False,
    )
    made.register_matcher("version", _same_version)
    made.register_matcher("same body", _same_body)
    made.register_serializer("labelled", Labelled(provenance))
    return made


def _same_version(one: Any, other: Any) -> None:
    assert one.headers.get("anthropic-version") == other.headers.get("anthropic-version")


def _same_body(one: Any, other: Any) -> None:
    lines = [each.body.decode().replace("\\n", "\n").splitlines() for each in (one, other)]
    assert one.body == other.body, "\n".join(unified_diff(*lines, n=0, lineterm=""))


@contextmanager
def replayed(name: str, folder: Path = FOLDER) -> Iterator[Any]:
    """Only what was recorded is answered, and all that was recorded must be asked for."""

    def drift(**told: Any) -> None:
        raise DriftError(str(CannotOverwriteExistingCassetteException(**told)), pytrace=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stubs, "CannotOverwriteExistingCassetteException", drift)
        with recorder(folder, "none", {}).use_cassette(name) as cassette:
            yield cassette
    assert len(cassette) > 0, f"{name} holds nothing"
    assert cassette.all_played, f"{name}: a recorded exchange was never asked for"
