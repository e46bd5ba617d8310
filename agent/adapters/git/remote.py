"""Where a repository's remote is: asked of git once, when a command starts."""

import os
import subprocess
from pathlib import Path

from agent.errors import ConfigurationError


def remote_of(repository: Path, remote: str) -> str:
    """The address of `remote`: as it is if it is an address or a path, else what git knows of it.

    Raises ConfigurationError where there is no such repository or remote.
    """
    if "://" in remote or "/" in remote or (":" in remote and "@" in remote):
        return remote
    asked = subprocess.run(
        ["git", "-C", str(repository), "remote", "get-url", "--", remote],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if asked.returncode == 0:
        address = asked.stdout.strip()
        local = repository / address
        return str(local.resolve()) if "://" not in address and local.exists() else address
    if "not a git repository" in asked.stderr:
        raise ConfigurationError(
            f"{repository} is no git repository; name one as `repository` in wavekeeper.toml",
        )
    raise ConfigurationError(
        f"{repository} has no remote {remote!r}; add it (git remote add {remote} URL), or name "
        "another as `remote` in wavekeeper.toml",
    )
