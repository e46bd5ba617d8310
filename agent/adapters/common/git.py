"""The one way the product runs git: bounded, the same on every machine, one line for every fault.

The product's git does not see a person's configuration: whoever signs commits, has hooks of their
own or rewrites addresses must get the same wave as everybody else. What it takes to reach a remote
is kept: credentials, proxies and certificates, ssh, and which folders of others are safe. So git is
given no file of the person's, and what is kept of them by name, as variables.

No `url.*.insteadOf` is among it. A remote's address is asked for once, in the repository of the
user (see `remote_of`), and there their rewriting belongs. Git rewrites an address once; if what
came out of it were rewritten again at every call, it could lead to another place.

Agents, and the commands that check their work, are not run by this module: their git is the
person's.
"""

import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

from agent.adapters.common import process
from agent.core.model.text import one_line
from agent.errors import ConfigurationError, WorktreeError

HEADS: Final = "refs/heads/"
CLONE: Final = "origin.git"
"""In the folder of the clones: what the clones of the agents borrow their objects from."""
AGENTS: Final = "agents"
"""In the folder of the clones: one clone per task, which is its agent's to write."""
LIMIT: Final = 300.0
"""Seconds for one call, which may fetch a whole history."""
OTHER_REPOSITORY: Final = re.compile(
    "GIT_(DIR|WORK_TREE|INDEX_FILE|COMMON_DIR|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES"
    "|NAMESPACE|PREFIX|QUARANTINE_PATH|SHALLOW_FILE|GRAFT_FILE|REPLACE_REF_BASE"
    "|CONFIG|CONFIG_PARAMETERS)",
)
"""Variables that are set inside a git hook: they would turn any git to that hook's repository."""

_KEPT_VARIABLES: Final = re.compile(
    "GIT_(SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|PROXY_COMMAND|PROXY_SSL_.*|SSL_.*|HTTP_.*|EXEC_PATH)",
)
"""Of those that begin with GIT_: how a remote is reached, and where git's own programs are."""
_KEPT_SETTINGS: Final = re.compile(
    r"(credential|http|ssh)\..*|core\.(askpass|gitproxy|sshcommand)|protocol\.version"
    r"|safe\.directory"
    # Where git-lfs is in use, a checkout without it holds pointers in place of the files.
    r"|lfs\..*|filter\.lfs\..*",
)
_OWN_SETTINGS: Final = {
    # An agent can set these in the clone that its worktree hangs on, and its tools do.
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "core.eol": "native",
    "core.safecrlf": "false",
    "commit.gpgSign": "false",
    "submodule.recurse": "false",
    # Git looks for these below ~/.config/git, even if no file of its configuration names them.
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    # An address may name a program to run, in this way.
    "protocol.ext.allow": "never",
    # A collection would go on in the background, in a clone that we think is at rest.
    "gc.auto": "0",
    "maintenance.auto": "false",
}
_PERSONS: Final = ("system", "global", "command")
"""The scopes of settings that are not the repository's."""
_OWN_VARIABLES: Final = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_READING: Final = 60.0
"""Seconds for a question about the configuration, which asks no other machine."""
_MOST: Final = 64 * 1024**2
"""Bytes of an answer; a larger one is an error."""
_CREDENTIALS: Final = re.compile(r"[^\s/'\"]+@")
"""Whatever comes before a host's name; git leaves it out of most of its messages, not of all."""
_SHOWN: Final = 300
"""Characters of git's own message that are shown."""


class GitError(WorktreeError):
    """Git failed, and why, in one line without credentials."""


def run(
    *arguments: str,
    folder: Path | None = None,
    git_dir: Path | None = None,
    timeout: float | None = None,
    fine: Sequence[int] = (0,),
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> str:
    """The standard output of git in `folder`, where bytes that are no UTF-8 are surrogates.

    Without `folder`, git runs where we do. `git_dir`: the repository, which is otherwise looked for
    from there upwards. `timeout`: in seconds, `LIMIT` by default. `fine`: the exit codes that are
    no error. `env` is added to the environment.

    Raises:
        GitError: any other exit code, or no end in time; git does not start.

    """
    where = () if git_dir is None else (f"--git-dir={git_dir}",)
    settings = _reaching(folder, where, _person())
    with _readable(settings) as file:
        own = _neutral(settings, file) | _OWN_VARIABLES | dict(env or {})
        try:
            limit = LIMIT if timeout is None else timeout
            return _output(arguments, where, folder, own, limit, fine, stdin)
        except GitError:
            # They may have changed since they were read: that a remote refuses is what would show.
            _reaching.cache_clear()
            raise


def _ask(*arguments: str, folder: Path | None, fine: Sequence[int] = (0,)) -> str:
    """What git answers in `folder` under the person's own configuration; only for questions on it.

    Raises:
        GitError: as in `run`.

    """
    front = ("-c", "safe.bareRepository=all")
    return _output(arguments, front, folder, dict(_person()), _READING, fine)


def remote_of(repository: Path, remote: str, *, push: bool = False) -> str:
    """The address that the person's git would fetch from, or push to, in `repository`.

    `remote` is a name, an address or a path. ConfigurationError: no such repository or remote.
    """
    if Path(remote).exists():
        return remote
    try:
        if "://" in remote or "/" in remote or (":" in remote and "@" in remote):
            return _rewrite(remote, repository if repository.is_dir() else None, push=push)
        asked = ("remote", "get-url", *(("--push",) if push else ()), "--", remote)
        found = _ask(*asked, folder=repository).strip()
    except GitError as error:
        raise ConfigurationError(_no_remote(error, repository, remote)) from error
    local = repository / found
    return str(local.resolve()) if "://" not in found and local.exists() else found


def _rewrite(address: str, folder: Path | None, *, push: bool) -> str:
    """As git does it for an address that no remote has: once, and the longest prefix counts."""
    pattern = r"^url\..*\.(push)?insteadof$"
    configured = _ask("config", "-z", "--get-regexp", pattern, folder=folder, fine=(0, 1))
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


def _no_remote(error: GitError, repository: Path, remote: str) -> str:
    if isinstance(error.__cause__, process.NotStartedError) and repository.is_dir():
        return "git is not on PATH; install it"
    if "not a git repository" in str(error) or not repository.is_dir():
        return f"{repository} is no git repository; name one as `repository` in wavekeeper.toml"
    if "No such remote" in str(error):
        return (
            f"{repository} has no remote {remote!r}; add it (git remote add {remote} URL), or name "
            "another as `remote` in wavekeeper.toml"
        )
    return f"{repository}: {error}"


def parse_refs(listed: str) -> tuple[str | None, dict[str, str]]:
    """What `ls-remote --symref` printed: the ref that HEAD is, and the commit of each ref."""
    symbol, commits = None, {}
    for line in listed.splitlines():
        value, _, name = line.partition("\t")
        if not value.startswith("ref: "):
            commits[name] = value
        elif name == "HEAD":
            symbol = value.removeprefix("ref: ")
    return symbol, commits


def likely_default(branches: Collection[str]) -> str | None:
    """The default branch, where HEAD names none that is there: the only one, main or master."""
    likely = branches if len(branches) == 1 else ("main", "master")
    return next((one for one in likely if one in branches), None)


def heads(repository: Path, remote: str) -> tuple[dict[str, str], str | None]:
    """The commit of each branch of the remote, and the branch to start from if none is named."""
    asked = ("ls-remote", "--symref", "--", remote, "HEAD", f"{HEADS}*")
    symbol, commits = parse_refs(run(*asked, folder=repository, git_dir=repository))
    branches = {
        name.removeprefix(HEADS): at for name, at in commits.items() if name.startswith(HEADS)
    }
    default = (symbol or "").removeprefix(HEADS)
    # The remote's HEAD may name a branch that nobody has pushed yet.
    return branches, default if default in branches else likely_default(branches)


_PATCH: Final = ("-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")


def change_id(repository: Path, base: str, commit: str) -> str | None:
    """Git's patch id of what is different at `commit`; None: nothing is."""
    diff = run("diff-tree", *_PATCH, base, commit, "--", folder=repository, git_dir=repository)
    return next(iter(_patch_ids(repository, diff)), None)


def commits_by_change(repository: Path, since: str, head: str, most: int) -> dict[str, str]:
    """By patch id: the newest `most` commits on the way from `since` to `head`, merges left out."""
    options = (f"--max-count={most}", "--no-merges", "--format=commit %H", *_PATCH)
    log = run("log", *options, f"{since}..{head}", "--", folder=repository, git_dir=repository)
    return _patch_ids(repository, log)


def _patch_ids(repository: Path, patches: str) -> dict[str, str]:
    text = patches.encode("utf-8", "surrogateescape")
    found = run("patch-id", "--stable", folder=repository, git_dir=repository, stdin=text)
    return dict(line.split() for line in found.splitlines())


def hidden(text: str) -> str:
    """One line in which no address shows who may use it."""
    return _CREDENTIALS.sub("", one_line(text))


def address(remote: str) -> str:
    """`remote` if it is an address; a path that is there is made absolute."""
    return str(Path(remote).resolve()) if Path(remote).exists() else remote


def _person() -> tuple[tuple[str, str], ...]:
    """The person's environment, less what leads to another repository."""
    kept = {
        name: value for name, value in os.environ.items() if not OTHER_REPOSITORY.fullmatch(name)
    }
    return tuple(sorted((kept | _OWN_VARIABLES).items()))


@lru_cache(maxsize=32)
def _reaching(
    folder: Path | None, where: tuple[str, ...], person: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """The person's settings for reaching a remote; an `includeIf` may ask for the repository."""
    asked = ("config", "--list", "-z", "--show-scope")
    front = ("-c", "safe.bareRepository=all", *where)
    fields = _output(asked, front, folder, dict(person), _READING).split("\0")
    pairs = zip(fields[::2], fields[1::2], strict=False)
    found = (entry.partition("\n") for scope, entry in pairs if scope in _PERSONS)
    # An entry without a line end has no value, which is git's short form for true.
    return tuple(
        (key, value if is_set else "true")
        for key, is_set, value in found
        if _KEPT_SETTINGS.fullmatch(key)
    )


@contextmanager
def _readable(settings: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A file with the folders that are safe; nothing else is in it, least of all a secret.

    The git that serves a remote on this machine is given no settings in variables, but it is the
    one that asks whether the folder of another user is safe.
    """
    folders = [value for key, value in settings if key == "safe.directory"]
    if not folders:
        yield os.devnull
        return
    with tempfile.NamedTemporaryFile(prefix="wavekeeper-", suffix=".gitconfig") as file:
        file.write(safe_directories(folders))
        file.flush()
        yield file.name


def safe_directories(folders: Iterable[str]) -> bytes:
    """Lines of a configuration file: repositories of other users in which git may work."""
    quoted = (re.sub(r'(["\\])', r"\\\1", one).replace("\n", r"\n") for one in folders)
    lines = "".join(f'[safe]\n\tdirectory = "{one}"\n' for one in quoted)
    return lines.encode("utf-8", "surrogateescape")


def _neutral(settings: Sequence[tuple[str, str]], file: str) -> dict[str, str]:
    """The whole environment of a git that knows `settings` and our own, in this order."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or _KEPT_VARIABLES.fullmatch(name)
    }
    variables |= {
        "GIT_CONFIG_GLOBAL": file,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": str(len(settings) + len(_OWN_SETTINGS)),
    }
    for number, (key, value) in enumerate((*settings, *_OWN_SETTINGS.items())):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _output(
    arguments: Sequence[str],
    front: Sequence[str],
    folder: Path | None,
    env: Mapping[str, str],
    timeout: float,
    fine: Sequence[int] = (0,),
    stdin: bytes = b"",
) -> str:
    name = f"git {arguments[0]}"
    try:
        ended = process.run(
            ["git", *front, *arguments],
            process.Bounds(timeout, kept=_MOST), name=name, env=env, cwd=folder, stdin=stdin,
            spare_daemons=True,
        )  # fmt: skip
    except process.ProgramError as error:
        raise GitError(hidden(str(error))) from error
    if ended.code not in fine:
        raise GitError(f"{name}: {_reason(ended)}")
    if not ended.whole:
        raise GitError(f"{name} printed more than {_MOST} bytes")
    return ended.output.decode("utf-8", "surrogateescape")


def _reason(ended: process.Ended) -> str:
    """Git's own line: the first that names a fault, else the last; it may be the remote's text."""
    lines = [line for line in ended.errors.splitlines() if line.strip()]
    faults = [line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))]
    return hidden(next(iter([*faults, *lines[-1:]]), f"it ended with {ended.code}"))[:_SHOWN]
