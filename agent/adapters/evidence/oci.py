"""Evidence from an artifact registry: which digest a reference is, and of which commit it is made.

Policy: "the artifact reference and digest are recorded". The registry is asked by the OCI
distribution API: HEAD of a manifest for the digest, then what the digest names, image indexes
included, down to the configuration with its labels. Whatever is fetched by digest is hashed here,
so nobody between can put another thing in its place.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

from agent.adapters.common.http import Answer, Http, HttpError, InstallationError, origin, secret
from agent.adapters.evidence.probe import (
    COMMIT,
    FRESH,
    Finding,
    absent,
    asked,
    dated,
    evidence,
    named,
    short,
    unanswered,
    whole,
)
from agent.adapters.evidence.settings import ImageSettings, ServiceSettings
from agent.backends import Check, Context, EvidenceBackend, Known
from agent.core.model.nouns import Evidence, ProofKind
from agent.core.model.queueing import TaskSpec, TaskView

_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_IMAGES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT: Final = ", ".join((*_INDEXES, *_IMAGES))
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME: Final = re.compile(
    rf"[ \t,]*({_NAME})(?=[ \t,]|$)(?:[ \t]+[0-9A-Za-z._~+/-]+=*[ \t]*(?=,|$))?"
)
"""The name of a scheme, and its `token68` if it has that instead of parameters."""
_PARAMETER: Final = re.compile(
    rf'[ \t,]*({_NAME})[ \t]*=[ \t]*(?:({_NAME})|"((?:[^"\\]|\\.)*)")[ \t]*(?=,|$)'
)
_MOST_IMAGES: Final = 32
"""Images of one index whose labels are read."""
_REDIRECTS: Final = 3
_NOT_FOUND: Final = 404


class OciEvidence:
    """Probes the registries of `services`; `pushed` gives a task's commit as git shows it."""

    kinds = frozenset({ProofKind.DIGEST_RECORDED, ProofKind.ARTIFACT_BUILT})

    def __init__(self, services: Mapping[str, ServiceSettings], pushed: Known) -> None:
        self._services = services
        self._pushed = pushed

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        """The digest, and the commit in the label; nothing for a task without a registry."""
        service = self._services.get(spec.service or "")
        if service is None or service.image is None:
            return ()
        commit = self._pushed(spec, view, now)
        found = _Look(service, service.image, view, now).findings(commit)
        return evidence("oci", found, view, now, service.ask_after)


class Registry:
    """One repository of one registry, read only."""

    def __init__(self, service: ServiceSettings, image: ImageSettings) -> None:
        realm = image.token_service or image.registry
        self._realm = origin(realm)
        self._image = image
        self._http = Http(
            (image.registry, realm, *image.blobs),
            timeout=service.timeout,
            most=4 * 1024 * 1024,
            authority=service.authority,
        )
        self._authorization: str | None = None

    def address(self, what: str) -> str:
        """The address of `what` of this repository."""
        return f"{self._image.registry}/v2/{self._image.repository}/{what}"

    def resolve(self, reference: str) -> tuple[str | None, Answer]:
        """The digest of a tag, or None if there is no such tag, and the answer."""
        answer = self._ask("HEAD", f"manifests/{reference}", _ACCEPT)
        if answer.status == _NOT_FOUND:
            return None, answer
        digest = answer.headers.get("docker-content-digest", "")
        if not digest:
            # The header may be left out, but where it is given it must be a digest.
            answer = self._ask("GET", f"manifests/{reference}", _ACCEPT)
            digest = f"sha256:{answer.digest}"
        if not _DIGEST.fullmatch(digest):
            raise HttpError(f"{answer.url} names no digest")
        return digest, answer

    def manifest(self, digest: str) -> Any:  # noqa: ANN401 - JSON of somebody else's
        """The manifest or index with this digest, and with no other."""
        return self._whole(self._ask("GET", f"manifests/{digest}", _ACCEPT), digest)

    def configuration(self, digest: str) -> Any:  # noqa: ANN401 - JSON of somebody else's
        """The configuration of an image."""
        return self._whole(self._ask("GET", f"blobs/{digest}", "*/*"), digest)

    def has_repository(self) -> bool:
        """Whether the repository is there. HttpError if the registry does not say so, to us."""
        answer = self._ask("GET", "tags/list?n=1", "application/json")
        return answer.status != _NOT_FOUND

    def check(self) -> str:
        """One line: the registry answers, to us. HttpError if it does not."""
        return f"answers, {'has' if self.has_repository() else 'has not yet'} the repository"

    def _whole(self, answer: Answer, digest: str) -> Any:  # noqa: ANN401
        if answer.status == _NOT_FOUND:
            raise HttpError(f"{answer.url} is not there")
        if sha256(answer.body).hexdigest() != digest.removeprefix("sha256:"):
            raise HttpError(f"{answer.url} answered something that has another digest")
        return answer.object()

    def _ask(self, method: str, what: str, accept: str) -> Answer:
        url = self.address(what)
        answer = self._send(method, url, accept)
        if answer.status == 401 and self._authorization is None:  # noqa: PLR2004
            self._authorization = self._authorize(answer)
            answer = self._send(method, url, accept)
        if answer.status in (401, 403):
            raise InstallationError(f"{answer.url} refuses us ({answer.status}): {self._remedy()}")
        if answer.status not in (200, _NOT_FOUND):
            raise HttpError(f"{answer.url} answered {answer.status}")
        return answer

    def _send(self, method: str, url: str, accept: str) -> Answer:
        headers = {"accept": accept} | FRESH
        if self._authorization:
            headers["authorization"] = self._authorization
        return self._http.ask(method, url, headers=headers, redirects=_REDIRECTS)

    def _authorize(self, refused: Answer) -> str:
        """What one of the challenges asks for, from the configured token service only.

        A token comes before a password: it is good for one repository and a short time.
        """
        if origin(refused.url) != origin(self._image.registry):
            raise InstallationError(f"{refused.url} refuses us, and is not the registry")
        challenges = parse_challenges(refused.headers.get("www-authenticate", ""))
        offered = [one for scheme, one in challenges if scheme == "bearer" and "realm" in one]
        elsewhere = None
        for challenge in offered:
            if (where := origin(challenge["realm"])) == self._realm:
                return self._token(challenge)
            elsewhere = elsewhere or where
        basic = self._basic()
        if any(scheme == "basic" for scheme, _ in challenges):
            if basic is not None:
                return basic
            if elsewhere is None:
                raise InstallationError(f"{refused.url} asks for a password: {self._remedy()}")
        if elsewhere is None:
            raise InstallationError(f"{refused.url} refuses us and names no way to sign in")
        raise InstallationError(
            f"{refused.url} sends us to {elsewhere} for a token, which is not "
            "configured; name it as token_service",
        )

    def _token(self, challenge: Mapping[str, str]) -> str:
        """From the very realm that the registry names."""
        basic = self._basic()
        query = {k: v for k, v in challenge.items() if k in ("service", "scope")}
        url = f"{challenge['realm']}{'&' if '?' in challenge['realm'] else '?'}{urlencode(query)}"
        answer = self._http.ask("GET", url, headers={"authorization": basic} if basic else {})
        given = answer.json() if answer.status == 200 else None  # noqa: PLR2004
        token = (given.get("token") or given.get("access_token")) if isinstance(given, dict) else 0
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            kind = InstallationError if answer.status in (401, 403, _NOT_FOUND) else HttpError
            raise kind(f"{answer.url} gave no token ({answer.status}): {self._remedy()}")
        return f"Bearer {token}"

    def _basic(self) -> str | None:
        token, user = secret(self._image.token), secret(self._image.user)
        if token is None:
            return None
        return "Basic " + base64.b64encode(f"{user or 'token'}:{token}".encode()).decode()

    def _remedy(self) -> str:
        if self._image.token is None:
            return "name the variable that holds a token as `token` of the image"
        return f"see whether the token in {self._image.token} may pull"


def parse_challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Scheme and parameters of each challenge, as in RFC 9110, 11.6.1; names are in lower case.

    Several fields are one list, several challenges may stand in one, and a comma separates both
    challenges and parameters. One that names a parameter twice is left out, because nobody could
    say which counts; what follows a fault of syntax is not read.
    """
    found: list[tuple[str, dict[str, str]]] = []
    place = 0
    while (scheme := _SCHEME.match(header, place)) is not None:
        place, names, values = scheme.end(), [], {}
        while (one := _PARAMETER.match(header, place)) is not None:
            name, plain, quoted = one.group(1).lower(), one[2], one[3]
            names.append(name)
            values[name] = re.sub(r"\\(.)", r"\1", quoted) if plain is None else plain
            place = one.end()
        if len(names) == len(values):
            found.append((scheme[1].lower(), values))
    return found


def relation(service: ServiceSettings, meant: str, seen: str) -> str | None:
    """How `seen` is the artifact `meant` under another digest; None: it is another one.

    An index and an image in it are one artifact. Where the index is meant, each of its images will
    do; where one platform's image is meant, an index that names it for that platform. HttpError if
    the registry does not say what they hold.
    """
    image = service.image
    if image is None or seen == meant or not _DIGEST.fullmatch(seen):
        return None
    registry = Registry(service, image)
    holder, held = (meant, seen) if image.platform is None else (seen, meant)
    if holder == seen and registry.resolve(seen)[0] is None:
        return None
    index = registry.manifest(holder)
    if "manifests" not in index:
        return None
    for digest, platform in _images(index):
        if digest == held and _is_for(image.platform, platform):
            if holder == meant:
                return f"which is the image for {platform} in the index {short(meant)}"
            return f"which is an index with the image {short(meant)} for {platform}"
    return None


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at one task's image."""

    service: ServiceSettings
    image: ImageSettings
    view: TaskView
    now: datetime

    def findings(self, commit: str | None) -> list[Finding]:
        """Of digest-recorded, and of artifact-built if a label is configured."""
        image = self.image
        if "{commit}" in image.reference and commit is None:
            return self._both(None, "the pushed commit is not known, so no image can be named")
        reference = image.reference.replace("{commit}", commit or "")
        name = f"{image.repository}:{reference}"
        try:
            registry = Registry(self.service, image)
            digest, answer = registry.resolve(reference)
            if digest is None:
                return [
                    dated(one, answer, self.now) for one in self._missing(registry, name, answer)
                ]
            manifest = registry.manifest(digest)
            chosen = self._chosen(manifest, digest)
        except HttpError as error:
            return [self._unanswered(kind, error) for kind in _proofs(self.service)]
        recorded = Finding(
            kind=ProofKind.DIGEST_RECORDED,
            holds=True,
            value=chosen,
            detail=f"{name} is {short(chosen)}",
            source=answer.url,
            answer=answer.digest,
        )
        found = [recorded]
        if image.revision_label:
            try:
                found.append(self._built(registry, manifest, chosen, digest, commit))
            except HttpError as error:
                found.append(self._unanswered(ProofKind.ARTIFACT_BUILT, error))
        # What has a digest never changes; only which one the reference names may be an old answer.
        return [dated(one, answer, self.now) for one in found]

    def _missing(self, registry: Registry, name: str, answer: Answer) -> list[Finding]:
        """There is no such tag; without the repository, no attempt could ever bring one."""
        there = absent(self.view, self.now, self.service.patience)
        if there is None:
            return self._both(None, f"there is no {name} yet", answer)
        if registry.has_repository():
            return self._both(there, f"there is no {name} in the registry", answer)
        where = f"{self.image.registry} has no repository {self.image.repository}"
        return self._both(
            None, f"{where}: see whether registry and repository are right", fault=True
        )

    def _unanswered(self, kind: ProofKind, error: HttpError) -> Finding:
        where = f"{self.image.registry}/v2/{self.image.repository}"
        late = absent(self.view, self.now, self.service.patience) is False
        return unanswered(kind, error, where, late=late)

    def _chosen(self, manifest: Any, digest: str) -> str:  # noqa: ANN401
        """The digest that counts: the configured platform's, or the reference's own."""
        if self.image.platform is None or "manifests" not in manifest:
            return digest
        fitting = [one for one, name in _images(manifest) if _is_for(self.image.platform, name)]
        if len(fitting) != 1:
            many = f"{len(fitting)} images" if fitting else "no image"
            raise HttpError(f"{short(digest)} is an index with {many} for {self.image.platform}")
        return fitting[0]

    def _built(
        self,
        registry: Registry,
        manifest: Any,  # noqa: ANN401
        chosen: str,
        digest: str,
        commit: str | None,
    ) -> Finding:
        """By the label of every image that counts; all must name the same commit."""
        if "manifests" not in manifest:
            wanted = [manifest]
        else:
            digests = [one for one, _ in _images(manifest) if chosen in (digest, one)]
            wanted = [registry.manifest(one) for one in digests]
        label, raw = self.image.revision_label, sha256()
        labels: set[str | None] = set()
        for one in wanted:
            config = _descriptor(one.get("config"))
            found = registry.configuration(config)
            for key in ("config", "Labels", label):
                found = found.get(key) if isinstance(found, dict) else None
            labels.add(found if isinstance(found, str) else None)
            raw.update(config.encode())
        source = registry.address(f"blobs (label {label})")
        place = f"the label {label} of {short(chosen)}"
        listed = ", ".join(sorted(f"{one!r:.80}" if one else "nothing" for one in labels))
        value = labels.pop() if len(labels) == 1 else None
        if not isinstance(value, str) or not COMMIT.fullmatch(value):
            return Finding(
                kind=ProofKind.ARTIFACT_BUILT,
                holds=False,
                detail=f"{place} names no commit: {listed}",
                source=source,
                answer=raw.hexdigest(),
            )
        late = absent(self.view, self.now, self.service.patience)
        return named(
            ProofKind.ARTIFACT_BUILT, whole(value, commit), commit, late,
            place=place, source=source, answer=raw.hexdigest(),
        )  # fmt: skip

    def _both(
        self,
        holds: bool | None,  # noqa: FBT001 - as in a finding
        detail: str,
        answer: Answer | None = None,
        *,
        fault: bool = False,
    ) -> list[Finding]:
        source = answer.url if answer else f"{self.image.registry}/v2/{self.image.repository}"
        return [
            Finding(
                kind=one,
                holds=holds,
                detail=detail,
                source=source,
                answer=answer.digest if answer else None,
                fault=fault,
            )
            for one in _proofs(self.service)
        ]


def _is_for(wanted: str | None, platform: str) -> bool:
    """Whoever names no variant takes any."""
    return wanted is None or f"{platform}/".startswith(f"{wanted}/")


def _images(index: Any) -> list[tuple[str, str]]:  # noqa: ANN401
    """Digest and platform of each image of an index; what is attached to them is no image."""
    found = []
    entries = index["manifests"]
    if not isinstance(entries, list) or len(entries) > _MOST_IMAGES:
        raise HttpError(f"an index of more than {_MOST_IMAGES} images, or of none, is not read")
    for entry in entries:
        digest = _descriptor(entry)
        platform = entry.get("platform")
        platform = platform if isinstance(platform, dict) else {}
        parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
        name = "/".join(str(part) for part in parts if part)
        if entry.get("mediaType") in _IMAGES and not name.startswith("unknown/"):
            found.append((digest, name))
    if not found:
        raise HttpError("an index without any image")
    return found


def _descriptor(entry: Any) -> str:  # noqa: ANN401
    digest = entry.get("digest") if isinstance(entry, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise HttpError("a manifest lacks a digest that it must name")
    return digest


def _proofs(service: ServiceSettings) -> Iterator[ProofKind]:
    if service.image is not None:
        yield ProofKind.DIGEST_RECORDED
        if service.image.revision_label:
            yield ProofKind.ARTIFACT_BUILT


def _check(service: ServiceSettings, _context: Context) -> Iterable[Check]:
    if (image := service.image) is not None:
        registry = Registry(service, image)
        where = f"{image.registry}/v2/{image.repository}"
        yield asked("registry", lambda: f"{where} {registry.check()}")


BACKEND: Final = EvidenceBackend(
    settings=ImageSettings,
    proofs=_proofs,
    open=lambda services, context: OciEvidence(services, context.pushed),
    check=_check,
)
