"""Reads a folder of policy files into a `Policy`. A folder that fails is refused whole."""

import hashlib
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from agent.core.guard import lint
from agent.core.policy import (
    CompletionPolicy,
    FailuresPolicy,
    GuardPolicy,
    LivenessPolicy,
    Policy,
    SubmitPolicy,
    WindowPolicy,
)
from agent.core.text import one_line
from agent.core.toml_text import TomlFaultError, parse
from agent.errors import PolicyError

FILES: Final[dict[str, type[BaseModel]]] = {
    "completion": CompletionPolicy,
    "failures": FailuresPolicy,
    "guard": GuardPolicy,
    "liveness": LivenessPolicy,
    "submit": SubmitPolicy,
    "window": WindowPolicy,
}


def read_policy(folder: Path, over: Path | None = None) -> Policy:
    """The policy in `folder`; a file of the same name in `over` takes the place of the shipped one.

    Raises PolicyError with one line: file, line, what is wrong.
    """
    seal = hashlib.sha256()
    tables: dict[str, Any] = {}
    for name, model in FILES.items():
        path = folder / f"{name}.toml"
        if over is not None and (over / f"{name}.toml").exists():
            path = over / f"{name}.toml"
        raw = _read(path)
        seal.update(f"{name}\0{len(raw)}\0".encode() + raw)
        tables[name] = _table(path, raw, model)
    if over is not None:
        _refuse_strangers(over)
    policy = Policy(**tables, hash=seal.hexdigest())
    if wrong := lint(policy.guard):
        raise PolicyError(f"guard.toml: {wrong[0]}; the policy is refused")
    return policy


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror}); restore the file") from error


def _table(path: Path, raw: bytes, model: type[BaseModel]) -> BaseModel:
    try:
        document = parse(raw)
    except TomlFaultError as fault:
        raise PolicyError(f"{path}:{fault.line}: {fault}") from fault
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = tuple(part for part in first["loc"] if part != "[key]")
        name = ".".join(str(part) for part in where) or "the file"
        said = one_line(f"{name}: {first['msg']}")
        raise PolicyError(f"{path}:{document.line(where)}: {said}") from error


def _refuse_strangers(over: Path) -> None:
    """A misnamed file would be a rule that nobody follows."""
    known = {f"{name}.toml" for name in FILES}
    for path in sorted(over.glob("*.toml")):
        if path.name not in known:
            names = ", ".join(sorted(known))
            raise PolicyError(f"{path}: not a policy file; the names are {names}")
