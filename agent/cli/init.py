"""`wavekeeper init`: the one file that is meant to be edited."""

from pathlib import Path

from agent.adapters.files.config import NAME, SAMPLE
from agent.cli.console import Console
from agent.errors import ConfigurationError


def init(console: Console, folder: Path) -> None:
    """Write the settings file into `folder`; ConfigurationError if it is there already."""
    path = folder / NAME
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(SAMPLE)
    except FileExistsError as error:
        raise ConfigurationError(f"{path} is there already; edit it, or move it away") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror})") from error
    console.line(f"wrote {NAME}; name your coding agent under [worker] in it")
    if not any((above / ".git").exists() for above in (folder, *folder.parents)):
        console.line(
            f"{folder} is in no git repository; name one as `repository` in {NAME}, or run "
            "`git init` and add a remote",
        )
    console.line("next: `wavekeeper doctor` says what is still missing,")
    console.line("then `wavekeeper submit WAVE.toml` checks a wave and plans its tasks")
