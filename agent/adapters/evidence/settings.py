"""`[services.NAME]` of `wavekeeper.toml`: where the evidence of one service's delivery is found.

Everything that may be asked stands here: an address that is not written down is never asked. A
token is named by its environment variable. No port stands behind this module.
"""

import re
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    model_validator,
)

from agent.adapters.files.toml import (
    Argument,
    Folder,
    Text,
    TomlModel,
    Variable,
    did_you_mean,
    fault_at,
)
from agent.backends import EvidenceBackend, find, names
from agent.core.model.durations import Seconds
from agent.core.model.nouns import ProofKind

_LOOPBACK: Final = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PLACEHOLDERS: Final = ("commit", "digest", "branch", "task", "service")
DIGEST_PROOFS: Final = frozenset(
    {ProofKind.DIGEST_RECORDED, ProofKind.DEV_DIGEST, ProofKind.PROD_DIGEST}
)
COMMIT_PROOFS: Final = frozenset({ProofKind.ARTIFACT_BUILT, ProofKind.LIVE_VERSION})
SERVICE_PROOFS: Final = (
    ProofKind.ARTIFACT_BUILT, ProofKind.DIGEST_RECORDED, ProofKind.DEV_DIGEST,
    ProofKind.PROD_DIGEST, ProofKind.NO_SOURCE_REBUILD, ProofKind.LIVE_HEALTH,
    ProofKind.LIVE_VERSION, ProofKind.BLOCKED_WORKFLOW_PROCEEDS, ProofKind.REMAINING_STEP_NAMED,
)  # fmt: skip
"""What a delivery's own systems can tell; the rest is git's and the judge's."""


def _address(value: str) -> str:
    """An address of http or https; plain http only on this machine, where nobody listens in."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{value!r:.80} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", value):
        raise ValueError(f"{value!r:.80} is no address; write one like 'https://shop.example/live'")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or a password; put it into an environment variable")
    if parts.fragment:
        raise ValueError(f"{value!r:.80} has a '#', which is never sent; remove it")
    if parts.scheme == "http" and not _LOOPBACK.fullmatch(host):
        raise ValueError(f"{value!r:.80} is not encrypted, so anybody could answer; write https")
    return value


def _base(value: str) -> str:
    if "?" in value:
        raise ValueError(f"{value!r:.80} has a '?'; write only where the API begins")
    return value.rstrip("/")


def _repository(value: str) -> str:
    if not _REPOSITORY.fullmatch(value):
        raise ValueError(
            f"{value!r:.80} is no repository of a registry; write one like 'team/shop'"
        )
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(
            f"{value!r:.80} is no service's name; use letters, digits, dots, dashes, underscores"
        )
    return value


def _github(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", value) or ".." in value:
        raise ValueError(f"{value!r:.80} is no repository of GitHub; write 'owner/name'")
    return value


def _reference(value: str) -> str:
    if not _TAG.fullmatch(value.replace("{commit}", "0" * 40)):
        raise ValueError(f"{value!r:.80} is no tag; write '{{commit}}', or one like 'main'")
    return value


def _pointer(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{value!r:.80} is no JSON pointer; write one like '/image/digest'")
    return value


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value):
        raise ValueError(f"{value!r:.80} is no name of a header; write one like 'X-Image-Digest'")
    return value


def _filled(value: str) -> str:
    for name in re.findall(r"\{([A-Za-z_]+)\}", value):
        if name not in _PLACEHOLDERS:
            hint = did_you_mean(name, _PLACEHOLDERS) or f"; known are {', '.join(_PLACEHOLDERS)}"
            raise ValueError(f"{'{' + name + '}'!r:.80} is never filled in{hint}")
    return value


def _proof(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in SERVICE_PROOFS:
        hint = did_you_mean(value, [str(one) for one in SERVICE_PROOFS])
        known = ", ".join(SERVICE_PROOFS)
        raise ValueError(f"{value!r:.80} cannot be looked up there; known are {known}{hint}")
    return ProofKind(value)


Address = Annotated[Text, AfterValidator(_address)]
Api = Annotated[Address, AfterValidator(_base)]
ServiceName = Annotated[Text, AfterValidator(_name)]
GitHubName = Annotated[Text, AfterValidator(_github)]
_Argv = Annotated[
    tuple[Annotated[Argument, AfterValidator(_filled)], ...], Field(strict=False, min_length=1)
]
_Proof = Annotated[ProofKind, BeforeValidator(_proof)]
_Literal = Annotated[str | bool | int | float, Field(union_mode="left_to_right")]


class ImageSettings(TomlModel):
    """`[services.NAME.image]`: the artifact in a registry of the OCI distribution API."""

    registry: Api
    repository: Annotated[Text, AfterValidator(_repository)]
    reference: Annotated[Text, AfterValidator(_reference)] = "{commit}"
    """The tag that CI gives it; `{commit}` is the pushed commit."""
    platform: Annotated[str, Field(pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$")] | None = None
    """The one of an image index whose digest counts, like `linux/amd64`. None: the index's own."""
    revision_label: str = "org.opencontainers.image.revision"
    """The label that names the commit the image was built from; `""` is no label."""
    token_service: Api | None = None
    """Where the registry sends those who need a token; its own address if it is not said."""
    blobs: Annotated[tuple[Api, ...], Field(strict=False)] = ()
    """Where else the registry may send those who fetch a blob."""
    user: Variable | None = None
    """The environment variable that holds the user's name."""
    token: Variable | None = None
    """The environment variable that holds the user's password or token."""

    @model_validator(mode="after")
    def _both_or_token(self) -> Self:
        if self.user is not None and self.token is None:
            raise fault_at(("user",), "a user needs a token; name its environment variable")
        return self


class CiSettings(TomlModel):
    """`[services.NAME.ci]`: workflow runs, check runs and commit statuses on GitHub."""

    api: Api = "https://api.github.com"
    repository: GitHubName
    workflow: Text | None = None
    """The file name of the workflow that builds the artifact, such as `image.yml`."""
    artifact: Text | None = None
    """The artifact that the workflow must have left behind."""
    checks: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """What must have passed on the pushed commit: names of check runs, contexts of statuses."""
    app: Text = "github-actions"
    """The slug of the app whose check runs count; anybody else's of the same name does not."""
    status_by: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """The logins whose commit statuses count; none: those of all who may write there."""
    pull_requests: bool = False
    """Whether a run that built a pull request's test merge counts for the branch as well."""
    token: Variable | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.workflow is None and not self.checks:
            raise fault_at((), "nothing to look at; name a workflow, or checks")
        if self.artifact is not None and self.workflow is None:
            raise fault_at(("artifact",), "an artifact is a workflow's; name the workflow as well")
        if self.workflow is not None and not re.fullmatch(r"[\w.-]+", self.workflow):
            message = (
                f"{self.workflow!r:.80} is no workflow's file name; write one like 'image.yml'"
            )
            raise fault_at(("workflow",), message)
        return self


class Look(TomlModel):
    """`[[services.NAME.look]]`: one address, one value in its answer, one expectation."""

    proof: _Proof
    url: Address
    pointer: Annotated[Text, AfterValidator(_pointer)] | None = None
    """RFC 6901, into the JSON of the body."""
    header: Annotated[Text, AfterValidator(_header)] | None = None
    expect: _Literal | None = None
    """What must stand there. A digest or commit is compared with the artifact's instead."""
    status: Annotated[int, Field(ge=100, le=599)] = 200
    token: Variable | None = None
    """Sent as a bearer token."""

    @model_validator(mode="after")
    def _is_decidable(self) -> Self:
        named = self.proof in DIGEST_PROOFS | COMMIT_PROOFS
        placed = self.pointer is not None or self.header is not None
        if self.pointer is not None and self.header is not None:
            raise fault_at(("header",), "a pointer and a header; keep one of the two")
        if named and not placed:
            raise fault_at((), f"{self.proof} must be read somewhere; add a pointer or a header")
        if named and self.expect is not None:
            message = f"{self.proof} is compared with what was delivered; remove 'expect'"
            raise fault_at(("expect",), message)
        if placed and not named and self.expect is None:
            raise fault_at((), f"add 'expect': what must stand there for {self.proof}")
        if self.expect is not None and not placed:
            raise fault_at(("expect",), "add a pointer or a header: where is it to be found?")
        if self.proof is ProofKind.NO_SOURCE_REBUILD and not placed:
            raise fault_at((), f"{self.proof} must be read somewhere; add a pointer or a header")
        return self


class Question(TomlModel):
    """`[[services.NAME.command]]`: a program that only reads and prints one JSON object."""

    proof: _Proof
    argv: _Argv
    timeout: Seconds = 30.0
    environment: Annotated[tuple[Variable, ...], Field(strict=False)] = ()
    """The variables it is given beside PATH, HOME and LANG."""


class ServiceSettings(TomlModel):
    """`[services.NAME]`: one service and the systems that know of its delivery.

    The section of a source that another package brings is read by that source's own model.
    """

    model_config = ConfigDict(extra="allow")

    timeout: Seconds = 10.0
    """Seconds for one request."""
    patience: Seconds = 900.0
    """Seconds after an attempt's end in which its delivery may still be on its way."""
    ask_after: Seconds | None = None
    """Seconds for which something may stay unknown before a person is asked; None: the policy's."""
    authority: Folder | None = None
    """A file with certificates of your own authority, in PEM."""
    image: ImageSettings | None = None
    ci: CiSettings | None = None
    look: Annotated[tuple[Look, ...], Field(strict=False)] = ()
    command: Annotated[tuple[Question, ...], Field(strict=False)] = ()

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: object, info: ValidationInfo) -> object:
        if not isinstance(data, dict):
            return data
        known, own = dict.fromkeys([*cls.model_fields, *names(EvidenceBackend)]), dict(data)
        for key in data.keys() - cls.model_fields.keys():
            if key not in known:
                hint = did_you_mean(key, known) or f"; known here: {', '.join(known)}"
                raise fault_at((key,), f"unknown key {key!r:.80}{hint}")
            source = find(EvidenceBackend, key)
            section: Any = source.settings
            if source.many:
                section = Annotated[tuple[section, ...], Field(strict=False)]
            # A table of one key, so that a fault is found at its line.
            read = TypeAdapter(dict[str, section]).validate_python(
                {key: data[key]}, context=info.context
            )
            own[key] = read[key]
        return own

    @model_validator(mode="after")
    def _tells_dev_from_production(self) -> Self:
        """The same place for both would prove production by dev."""
        places: dict[tuple[object, ...], ProofKind] = {}
        for index, one in enumerate(self.look):
            if one.proof not in (ProofKind.DEV_DIGEST, ProofKind.PROD_DIGEST):
                continue
            place = (one.url, one.pointer, (one.header or "").lower())
            if places.setdefault(place, one.proof) is not one.proof:
                message = "dev and production are asked in the same place; name one for each"
                raise fault_at(("look", index, "url"), message)
        return self

    @property
    def sections(self) -> tuple[str, ...]:
        """The sources that it configures, by the names of their backends."""
        given = {name: getattr(self, name) for name in ("image", "ci", "look", "command")}
        given |= self.model_extra or {}
        return tuple(name for name, value in given.items() if value not in (None, ()))

    @property
    def proofs(self) -> frozenset[ProofKind]:
        """Everything that this configuration can find evidence of."""
        sources = [find(EvidenceBackend, name) for name in self.sections]
        return frozenset(proof for one in sources for proof in one.proofs(self))
