"""`[remedies.NAME]` of `wavekeeper.toml`: how a supervisor may act on infrastructure, and where.

Policy: "When the defect is only in the Code Queue execution environment and the service can be
safely patched live in dev without touching prod, prefer the smallest temporary live remedy first."
In dev it is a live remedy, in production a deploy; which of the two a target is, is written down,
and no name is guessed at. No port stands behind this module.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from agent.adapters.evidence.settings import ServiceName
from agent.adapters.files.toml import (
    Argument,
    Folder,
    Text,
    TomlModel,
    Variable,
    did_you_mean,
    fault_at,
)
from agent.core.model.durations import Seconds

NAMES: Final = ("target", "task", "defect", "commit", "digest")
"""What may be filled into an argument."""


def _filled(value: str) -> str:
    for name in re.findall(r"\{([A-Za-z_]+)\}", value):
        if name not in NAMES:
            hint = did_you_mean(name, NAMES) or f"; known are {', '.join(NAMES)}"
            raise ValueError(f"{'{' + name + '}'!r:.80} is never filled in{hint}")
    return value


_Argv = Annotated[
    tuple[Annotated[Argument, AfterValidator(_filled)], ...], Field(strict=False, min_length=1)
]


class RemedySettings(TomlModel):
    """What shows that it would work, what does it, and what shows that it did."""

    target: ServiceName
    """What it touches, by the name that it has for its owners."""
    environment: Literal["dev", "production"]
    reasons: Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]
    """The failure reasons of `policies/failures.toml` that it is for."""
    dry_run: _Argv
    """Changes nothing, and ends with 0 if `command` may be run."""
    command: _Argv
    verify: _Argv
    """Only reads, and ends with 0 once the target is as it should be."""
    timeout: Seconds = 600.0
    """Seconds for each of the three; `verify` is asked again until they are over."""
    variables: Annotated[tuple[Variable, ...], Field(strict=False)] = ()
    """The environment variables it is given beside PATH, HOME and LANG."""
    folder: Folder | None = None
    """Where it is run; None: the state folder."""

    @model_validator(mode="after")
    def _rehearses(self) -> Self:
        if self.dry_run == self.command:
            message = "the dry run is the command itself; add the option that changes nothing"
            raise fault_at(("dry_run",), message)
        if self.command == self.verify:
            raise fault_at(("verify",), "the verification is the command itself; it must only read")
        return self


RemedyName = ServiceName


def one_environment_each(remedies: Mapping[str, RemedySettings]) -> Mapping[str, RemedySettings]:
    """For a validator: a target that is dev for one remedy is not production for another."""
    seen: dict[str, str] = {}
    for name, one in remedies.items():
        known = seen.setdefault(one.target, one.environment)
        if known != one.environment:
            message = f"{one.target} is {known} for another remedy; give the two their own names"
            raise fault_at((name, "environment"), message)
    return remedies
