"""Where a repository's remote is: asked of git once, when a command starts.

The person's `url.*.insteadOf` and `pushInsteadOf` apply here, and nowhere after (see `common.git`).
"""

from pathlib import Path

from agent.adapters.common import git
from agent.adapters.common.process import NotStartedError
from agent.errors import ConfigurationError


def remote_of(repository: Path, remote: str, *, push: bool = False) -> str:
    """The address that the person's git would fetch from, or push to, in `repository`.

    `remote` is a name, an address or a path. ConfigurationError: no such repository or remote.
    """
    if Path(remote).exists():
        return remote
    try:
        if "://" in remote or "/" in remote or (":" in remote and "@" in remote):
            return _rewritten(remote, repository if repository.is_dir() else None, push=push)
        asked = ("remote", "get-url", *(("--push",) if push else ()), "--", remote)
        found = git.ask(*asked, folder=repository).strip()
    except git.GitError as error:
        raise ConfigurationError(_why(error, repository, remote)) from error
    local = repository / found
    return str(local.resolve()) if "://" not in found and local.exists() else found


def _rewritten(address: str, folder: Path | None, *, push: bool) -> str:
    """As git does it for an address that no remote has: once, and the longest prefix counts."""
    pattern = r"^url\..*\.(push)?insteadof$"
    configured = git.ask("config", "-z", "--get-regexp", pattern, folder=folder, fine=(0, 1))
    for kind in ("pushinsteadof", "insteadof") if push else ("insteadof",):
        rules = [entry.partition("\n") for entry in configured.split("\0")]
        fitting = [
            (prefix, key.removeprefix("url.").removesuffix(f".{kind}"))
            for key, _, prefix in rules
            if key.endswith(f".{kind}") and address.startswith(prefix)
        ]
        if fitting:
            prefix, base = max(fitting, key=lambda one: len(one[0]))
            return base + address.removeprefix(prefix)
    return address


def _why(error: git.GitError, repository: Path, remote: str) -> str:
    if isinstance(error.__cause__, NotStartedError) and repository.is_dir():
        return "git is not on PATH; install it"
    if "not a git repository" in str(error) or not repository.is_dir():
        return f"{repository} is no git repository; name one as `repository` in wavekeeper.toml"
    if "No such remote" in str(error):
        return (
            f"{repository} has no remote {remote!r}; add it (git remote add {remote} URL), or name "
            "another as `remote` in wavekeeper.toml"
        )
    return f"{repository}: {error}"
