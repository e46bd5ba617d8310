"""Reads a folder of policy files into a `Policy`. A folder that fails is refused whole."""

import hashlib
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from agent.core.gate import Survey, survey
from agent.core.guard import lint
from agent.core.policy import (
    ApprovalPolicy,
    CompletionPolicy,
    FailuresPolicy,
    GuardPolicy,
    LivenessPolicy,
    Policy,
    SubmitPolicy,
    WindowPolicy,
)
from agent.core.text import one_line
from agent.core.toml_text import TomlDocument, TomlFaultError, did_you_mean, parse
from agent.errors import PolicyError

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
    "# All that the guard permits, one state a line; a fact that is not named does not matter.",
    "# The policy is refused when it permits anything else, or less. Change it by review only.",
)


def read_policy(folder: Path, over: Path | None = None, *, locked: bool = True) -> Policy:
    """The policy in `folder`; a file of the same name in `over` takes the place of the shipped one.

    `locked=False` leaves out the comparison with `authority.lock`, for whoever writes a new one.

    Raises PolicyError with one line: file, line, what is wrong.
    """
    seal = hashlib.sha256()
    tables: dict[str, Any] = {}
    for name, model in FILES.items():
        path = _either(folder, over, f"{name}.toml")
        raw = _read(path)
        seal.update(f"{name}\0{len(raw)}\0".encode() + raw)
        document = _parsed(path, raw)
        tables[name] = _table(path, document, model)
        if isinstance(tables[name], GuardPolicy):
            lock = _either(folder, over, LOCK) if locked else None
            _refuse_unsafe(path, document, tables[name], lock)
        if isinstance(tables[name], ApprovalPolicy) and path.parent != folder:
            _refuse_loosened(folder, path, document, tables[name])
    if over is not None:
        _refuse_strangers(over)
    return Policy(**tables, hash=seal.hexdigest())


def _refuse_unsafe(
    path: Path, document: TomlDocument, guard: GuardPolicy, lock: Path | None
) -> None:
    """The load gate: lint, then every state, then what a person has reviewed."""
    if wrong := lint(guard):
        where, what = wrong[0]
        raise PolicyError(f"{path}:{document.line(where)}: {one_line(what)}")
    found = survey(guard)
    if found.problems:
        raise PolicyError(f"{path}: {found.problems[0]}; the policy is refused")
    if lock is not None:
        _compare(found, path, lock)


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
    """The text of `authority.lock`: every permitted state, one line each, for a person to read."""
    lines = (one.line() for one in survey(policy.guard).permitted)
    return "".join(f"{line}\n" for line in (*_LOCK_HEAD, *lines))


def _compare(found: Survey, path: Path, lock: Path) -> None:
    """What may be done is what a person has reviewed, cell by cell."""
    reviewed = reviewed_in(lock)
    permitted = {one.line() for one in found.permitted}
    for line in sorted(permitted ^ reviewed):
        what = "is permitted but not in" if line in permitted else "is not permitted, but in"
        raise PolicyError(
            f"{path}: {one_line(line)!r} {what} {lock}; `wavekeeper policy lock` records a review",
        )


def reviewed_in(lock: Path) -> frozenset[str]:
    """The permitted states that a lock file lists."""
    lines = _read(lock).decode(errors="replace").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def _either(folder: Path, over: Path | None, name: str) -> Path:
    own = over / name if over is not None else None
    return own if own is not None and own.exists() else folder / name


def _read(path: Path) -> bytes:
    try:
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
        # A misspelt key looks like a missing one as well; the misspelling is what to mend.
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
