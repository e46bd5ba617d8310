"""`[targets.NAME]` of `wavekeeper.toml`: where a supervisor may act on infrastructure, and how.

Policy: "When the defect is only in the Code Queue execution environment and the service can be
safely patched live in dev without touching prod, prefer the smallest temporary live remedy first."
Which target is production is written down, and no name is guessed at. No port stands behind this
module.
"""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from agent.adapters.base_services import ServiceName, Variable
from agent.adapters.base_toml import Argument, Folder
from agent.core.durations import Seconds
from agent.core.toml_text import TomlModel, did_you_mean, fault_at

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


class ActSettings(TomlModel):
    """One act: what shows that it would work, what does it, what shows that it did."""

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


class TargetSettings(TomlModel):
    """`[targets.NAME]`."""

    environment: Literal["dev", "production"]
    live_remedy: ActSettings | None = None
    deploy: ActSettings | None = None

    @model_validator(mode="after")
    def _touches_no_production_live(self) -> Self:
        if self.environment == "production" and self.live_remedy is not None:
            message = "a live remedy is for dev alone; production is only deployed to"
            raise fault_at(("live_remedy",), message)
        if self.live_remedy is None and self.deploy is None:
            raise fault_at((), "nothing can be done there; add live_remedy or deploy")
        return self


TargetName = ServiceName
