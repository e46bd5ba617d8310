"""The settings that agents share, and those of the kind `command`: any program as an agent."""

import json
import os
import shlex
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from agent.adapters.files.toml import Argument, Folder, TomlModel, Variable, fault_at


def _as_list(value: object) -> object:
    if isinstance(value, str):
        try:
            example = json.dumps(shlex.split(value) or ["my-agent"])
        except ValueError:
            example = '["my-agent", "--flag"]'
        raise fault_at((), f"'command' must be a list of arguments; write {example:.200}")
    return value


Command = Annotated[
    tuple[Argument, ...], BeforeValidator(_as_list), Field(strict=False, min_length=1)
]


class ProgramSettings(TomlModel):
    """What every agent's program gets to see."""

    environment: dict[Variable, Argument] = {}
    """Added to the agent's environment."""
    variables: Annotated[tuple[Variable, ...], Field(strict=False)] = ()
    """Variables of the worker host that are added as they are, such as SSH_AUTH_SOCK."""
    path: Annotated[tuple[Folder, ...], Field(strict=False)] = ()
    """Folders put in front of PATH."""

    @property
    def search_path(self) -> str:
        """Where the agent and acceptance commands find programs."""
        inherited = self.environment.get("PATH", os.environ.get("PATH", os.defpath))
        return os.pathsep.join([*(str(folder) for folder in self.path), inherited])

    @property
    def given(self) -> dict[str, str]:
        """What the agent gets beside what every agent gets."""
        passed = {name: os.environ[name] for name in self.variables if name in os.environ}
        return {**passed, **self.environment, "PATH": self.search_path}


class CommandSettings(ProgramSettings):
    """How the program is called, and what it prints."""

    command: Command | None = None
    """The agent's argument list. None: this machine runs no worker."""
    prompt: Literal["stdin", "file"] = "stdin"
    output: Literal["text", "jsonl"] = "text"


class CommandAgentSettings(CommandSettings):
    """The same as `[[agents]]` with `kind = "command"`, where a command must be named."""

    command: Command
