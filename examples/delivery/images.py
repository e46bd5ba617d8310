"""Makes container images out of a few files and pushes them, by the registry's own API alone."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

import httpx

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
REVISION: Final = "org.opencontainers.image.revision"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
# Not compressed: the same files make the same digests with every zlib.
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


def digest_of(raw: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return f"sha256:{sha256(raw).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest and the blobs it names. The same input makes the same bytes."""

    manifest: bytes
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """What the image is known by."""
        return digest_of(self.manifest)


def image(
    files: Mapping[str, bytes], labels: Mapping[str, str], architecture: str = "amd64"
) -> Image:
    """One image of one layer."""
    layer = _tar(files)
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        },
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _described(_CONFIG, config),
        "layers": [_described(_LAYER, layer)],
    }
    return Image(_json(manifest), {digest_of(one): one for one in (config, layer)})


def index(images: Sequence[tuple[str, Image]]) -> bytes:
    """An image index: one image for each architecture."""
    entries = [
        {
            **_described(MANIFEST, one.manifest),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, one in images
    ]
    return _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


class Pusher:
    """Writes into one repository of the registry at `address`."""

    def __init__(self, address: str, repository: str) -> None:
        self._address = f"{address}/v2/{repository}"
        self._client = httpx.Client(trust_env=False, timeout=30)

    def push(self, one: Image, tag: str | None = None) -> str:
        """Blobs first, then the manifest under `tag`; the digest."""
        for digest, raw in one.blobs.items():
            self._blob(digest, raw)
        return self.manifest(one.manifest, MANIFEST, tag)

    def manifest(self, raw: bytes, kind: str, tag: str | None) -> str:
        """Put a manifest or an index; its digest as the registry says it."""
        reference = tag or digest_of(raw)
        answer = self._client.put(
            f"{self._address}/manifests/{reference}", content=raw, headers={"content-type": kind}
        )
        answer.raise_for_status()
        return str(answer.headers["docker-content-digest"])

    def pull(self, reference: str) -> tuple[dict[str, bytes], str]:
        """The files of an image and the commit in its label; every blob is what its digest says."""
        told = self._client.get(
            f"{self._address}/manifests/{reference}", headers={"accept": MANIFEST}
        )
        told.raise_for_status()
        files: dict[str, bytes] = {}
        for layer in told.json()["layers"]:
            with tarfile.open(fileobj=io.BytesIO(self._fetch(layer))) as tar:
                for member in tar.getmembers():
                    opened = tar.extractfile(member)
                    files[member.name] = opened.read() if opened else b""
        config = json.loads(self._fetch(told.json()["config"]))
        return files, str(config["config"]["Labels"].get(REVISION))

    def _fetch(self, described: Mapping[str, Any]) -> bytes:
        blob = self._client.get(f"{self._address}/blobs/{described['digest']}")
        blob.raise_for_status()
        if digest_of(blob.content) != described["digest"]:
            raise ValueError(f"{described['digest']} came as something else")
        return blob.content

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _blob(self, digest: str, raw: bytes) -> None:
        begun = self._client.post(f"{self._address}/blobs/uploads/")
        begun.raise_for_status()
        where = str(httpx.URL(self._address).join(begun.headers["location"]))
        mark = "&" if "?" in where else "?"
        ended = self._client.put(
            f"{where}{mark}digest={quote(digest)}",
            content=raw,
            headers={"content-type": "application/octet-stream"},
        )
        ended.raise_for_status()


def _described(kind: str, raw: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(raw), "size": len(raw)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _tar(files: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, raw in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return held.getvalue()
