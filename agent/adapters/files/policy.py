"""Reads a folder of policy files into a `Policy`. A folder that fails is refused whole."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from agent.adapters.files.toml import TomlDocument, TomlFaultError, did_you_mean, parse
from agent.core.guard.baseline import Authority, authority_of, read_lock
from agent.core.guard.check import Survey, survey
from agent.core.guard.guard import lint
from agent.core.model.policy import (
    ApprovalPolicy,
    CompletionPolicy,
    FailuresPolicy,
    GuardPolicy,
    LivenessPolicy,
    Policy,
    SubmitPolicy,
    WindowPolicy,
)
from agent.core.model.text import one_line
from agent.errors import PolicyError

_FILE: Final = "guard.toml"


def rule_lines(folder: Path, over: Path | None = None) -> Mapping[str, str]:
    """`guard.toml:17` by the rule's id, the first of its name; empty if the file cannot be read.

    `over` is the folder whose file takes the place of the shipped one, as in `read_policy`.
    """
    path = over / _FILE if over is not None and (over / _FILE).exists() else folder / _FILE
    try:
        document = parse(path.read_bytes())
    except (OSError, TomlFaultError):
        return {}
    rules: list[dict[str, Any]] = document.data.get("rule", [])
    found: dict[str, str] = {}
    for place, rule in enumerate(rules):
        line = document.line(("rule", place, "id"))
        found.setdefault(str(rule.get("id")), f"{path.name}:{line}")
    return found


FILES: Final[dict[str, type[BaseModel]]] = {
    "approval": ApprovalPolicy,
    "completion": CompletionPolicy,
    "failures": FailuresPolicy,
    "guard": GuardPolicy,
    "liveness": LivenessPolicy,
    "submit": SubmitPolicy,
    "window": WindowPolicy,
}


LOCK: Final = "authority.lock"
_LOCK_HEAD: Final = (
    "# All that the policy allows, to be changed by review only. First the permitted states, no",
    "# more and no fewer; a fact that is not named does not matter. Then the limits: a number or a",
    "# list that is stricter is taken as well.",
)


def read_policy(
    folder: Path, over: Path | None = None, *, locked: bool = True, project: bool = False
) -> Policy:
    """The policy in `folder`; a file of the same name in `over` takes the place of the shipped one.

    `locked=False` leaves out the comparison with `authority.lock`, for whoever writes a new one.
    `project=True`: `over` lies in the repository under supervision, where whoever works on it could
    change it. It may take away and not add, and a lock in it is nobody's review.

    Raises PolicyError with one line: file, line, what is wrong.
    """
    paths = {name: _either(folder, over, f"{name}.toml") for name in FILES}
    raw = {name: _read(path) for name, path in paths.items()}
    documents = {name: _parsed(path, raw[name]) for name, path in paths.items()}
    tables: dict[str, Any] = {
        name: _table(paths[name], documents[name], model) for name, model in FILES.items()
    }
    if paths["approval"].parent != folder:
        _refuse_loosened(folder, paths["approval"], documents["approval"], tables["approval"])
    found = _surveyed(paths["guard"], documents["guard"], tables["guard"])
    policy = Policy(**tables, hash=_hash(raw))
    if locked:
        own = None if project else over
        authority, lock = authority_of(policy, found), _either(folder, own, LOCK)
        reviewed = reviewed_in(lock)
        if project:
            _refuse_more(authority, reviewed, over or folder)
        else:
            _refuse_unreviewed(authority, reviewed, paths, lock)
    if over is not None:
        _refuse_strangers(over)
    if any(_read(path) != raw[name] for name, path in paths.items()):
        raise PolicyError(f"{over or folder}: changed while it was read; load it again")
    return policy


class WatchedPolicy:
    """Port `PolicySource`: a folder of policy files that may be edited while a supervisor runs."""

    def __init__(self, read: Callable[[], Policy], folders: Sequence[Path], in_force: str) -> None:
        """`read` loads what `folders` hold; `in_force` is the hash of the policy now at work."""
        self._read = read
        self._folders = folders
        self._in_force = in_force
        self._seen: dict[Path, bytes | None] | None = None

    def changed(self) -> Policy | None:
        contents = self._contents()
        if contents == self._seen:
            return None
        self._seen = contents
        policy = self._read()
        if policy.hash == self._in_force:
            return None
        self._in_force = policy.hash
        return policy

    def _contents(self) -> dict[Path, bytes | None]:
        names = [*(f"{name}.toml" for name in FILES), LOCK]
        return {folder / name: _bytes(folder / name) for folder in self._folders for name in names}


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None


def _hash(raw: Mapping[str, bytes]) -> str:
    seal = hashlib.sha256()
    for name, text in raw.items():
        seal.update(f"{name}\0{len(text)}\0".encode() + text)
    return seal.hexdigest()


def _surveyed(path: Path, document: TomlDocument, guard: GuardPolicy) -> Survey:
    """Lint, then every state."""
    if wrong := lint(guard):
        where, what = wrong[0]
        raise PolicyError(f"{path}:{document.line(where)}: {one_line(what)}")
    found = survey(guard)
    if found.problems:
        raise PolicyError(f"{path}: {found.problems[0]}; the policy is refused")
    return found


def _refuse_loosened(folder: Path, path: Path, document: TomlDocument, own: ApprovalPolicy) -> None:
    """A repository that was cloned must not switch its own questions off."""
    shipped = folder / path.name
    known = ApprovalPolicy.model_validate(_parsed(shipped, _read(shipped)).data)
    if (found := own.loosened(known)) is not None:
        where, what = found
        raise PolicyError(
            f"{path}:{document.line(where)}: {'.'.join(where)}: {what}; a file of your own may "
            "tighten approvals, not loosen them (`R` in `wavekeeper approve` makes a rule)",
        )


def lock_of(policy: Policy) -> str:
    """The text of `authority.lock`: all that the policy allows, for a person to read."""
    lines = authority_of(policy, survey(policy.guard)).lines()
    return "".join(f"{line}\n" for line in (*_LOCK_HEAD, *lines))


def _refuse_unreviewed(
    authority: Authority, reviewed: Authority, paths: Mapping[str, Path], lock: Path
) -> None:
    """What may be done is what a person has reviewed, state by state; no limit is looser."""
    fewer = reviewed.beyond(replace(authority, limits=reviewed.limits))
    for line, what in (
        *((line, "is allowed but not in") for line in authority.beyond(reviewed)),
        *((line, "is not permitted, but in") for line in fewer),
    ):
        path = paths.get(line.partition(".")[0], paths["guard"])
        raise PolicyError(
            f"{path}: {one_line(line)!r} {what} {lock}; `wavekeeper policy lock` records a review",
        )


def _refuse_more(authority: Authority, shipped: Authority, over: Path) -> None:
    for line in authority.beyond(shipped):
        raise PolicyError(
            f"{over}: {one_line(line)!r} is more than the shipped policy allows; a folder in the "
            "repository under supervision may only take away; keep this one outside of it",
        )


def reviewed_in(lock: Path) -> Authority:
    """What a lock file records."""
    try:
        return read_lock(_read(lock).decode(errors="replace"))
    except ValueError as error:
        raise PolicyError(f"{lock}:{one_line(str(error))}; restore it") from error


def _either(folder: Path, over: Path | None, name: str) -> Path:
    own = over / name if over is not None else None
    return own if own is not None and own.exists() else folder / name


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise PolicyError(f"{path}: cannot be read (no regular file); restore the file")
        return path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror}); restore the file") from error


def _parsed(path: Path, raw: bytes) -> TomlDocument:
    try:
        return parse(raw)
    except TomlFaultError as fault:
        raise PolicyError(f"{path}:{fault.line}: {fault}") from fault


def _table(path: Path, document: TomlDocument, model: type[BaseModel]) -> BaseModel:
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        # A misspelt key looks like a missing one as well; the misspelling is what to fix.
        errors = error.errors(include_url=False)
        first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
        where = tuple(part for part in first["loc"] if part != "[key]")
        name = ".".join(str(part) for part in where) or "the file"
        said = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            wanted = [str(one["loc"][-1]) for one in errors if one["type"] == "missing"]
            said = f"unknown key{did_you_mean(str(where[-1]), wanted)}"
        raise PolicyError(
            f"{path}:{document.line(where)}: {one_line(f'{name}: {said}')}",
        ) from error


def _refuse_strangers(over: Path) -> None:
    """A misnamed file would be a rule that nobody follows."""
    known = {f"{name}.toml" for name in FILES}
    for path in sorted(over.glob("*.toml")):
        if path.name not in known:
            names = ", ".join(sorted(known))
            raise PolicyError(f"{path}: not a policy file; the names are {names}")
