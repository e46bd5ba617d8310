"""Reads a wave file. Every complaint is one line: FILE:LINE: what is wrong; what to do.

Policy: "Every Code Queue task must have a narrow ownership boundary." What a task's prompt must
say is asked for here; whether it stands on its own is for the linter in `core/prompts.py`.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from agent.adapters.files.toml import (
    Text,
    TomlDocument,
    TomlFaultError,
    TomlModel,
    Where,
    did_you_mean,
    parse,
)
from agent.core.assess import branches, write_scopes
from agent.core.model.durations import Seconds
from agent.core.model.nouns import Command, Criterion, Grants, ProofKind, TaskKind
from agent.core.model.queueing import ATTEMPTS, TaskSpec
from agent.errors import WaveFileError

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_SHELL_WORDS: Final = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"})
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_PROOFS: Final = (*(str(kind) for kind in ProofKind), "judgement")
_NEEDS_A_PUSH: Final = frozenset({ProofKind.COMMIT_PUSHED, ProofKind.SCOPE_RESPECTED})


@dataclass(frozen=True, slots=True)
class WaveFile:
    """A wave as a person wrote it, checked and complete."""

    id: str
    goal: str
    grants: Grants
    tasks: tuple[TaskSpec, ...]
    lines: Mapping[str, int]
    """The line of each task's table by the task's id, for later complaints about a task."""


def _id(value: str) -> str:
    if not _ID.fullmatch(value) or ".." in value or value.endswith((".", ".lock")):
        raise ValueError(
            f"{value!r:.80} is no id; use up to 64 letters, digits, dots, dashes and underscores,"
            " beginning with a letter or digit, such as 'T-1'",
        )
    return value


def _branch(value: str) -> str:
    parts = value.split("/")
    if (
        not _BRANCH.fullmatch(value)
        or ".." in value
        or any(not part or part[0] == "." or part.endswith((".", ".lock")) for part in parts)
    ):
        raise ValueError(f"{value!r:.80} is no branch name that git takes; write one like 'fix/a'")
    return value


def _pattern(value: str) -> str:
    if objection := write_scopes.fault(value):
        raise ValueError(objection)
    return value


def _proof(value: str) -> str:
    if value not in _PROOFS:
        hint = did_you_mean(value, _PROOFS)
        raise ValueError(f"{value!r:.80} is no proof; known are {', '.join(_PROOFS)}{hint}")
    return value


def _argv(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value[0].strip() or "\0" in "".join(value):
        raise ValueError(f"{value!r:.80} names no program, or holds a NUL character")
    return value


class _Command(TomlModel):
    """One acceptance command. No shell ever sees it."""

    argv: Annotated[tuple[str, ...], Field(strict=False, min_length=1), AfterValidator(_argv)]
    timeout: Seconds = 600.0
    heavy: bool = False


def _as_table(value: object) -> object:
    """A command may be written as a line, as a list of arguments, or as a table."""
    match value:
        case str():
            return {"argv": _split(value)}
        case list():
            return {"argv": value}
        case _:
            return value


def _split(line: str) -> tuple[str, ...]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ValueError(f"{line!r:.80}: {error}; close the quote, or write a list") from error
    if not words:
        raise ValueError("an empty command; write a program and its arguments")
    for word in words:
        if word in _SHELL_WORDS or (word is words[0] and _ASSIGNMENT.fullmatch(word)):
            raise ValueError(
                f"{line!r:.80} needs a shell for {word!r}, and none is used;"
                ' write two commands, or ["sh", "-c", "..."]',
            )
    return tuple(words)


_Words = Annotated[tuple[Text, ...], Field(strict=False)]
_Some = Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]
_Kind = Annotated[TaskKind, Field(strict=False)]
_Attempts = Annotated[int, Field(ge=1, le=10)]
_Id = Annotated[Text, AfterValidator(_id)]
_Patterns = tuple[Annotated[Text, AfterValidator(_pattern)], ...]
_ShownBy = Literal["check", "push"]


class _Grants(TomlModel):
    production_repair: bool | None = None
    established_deploy_path: bool | None = None
    manual_takeover: _Words = ()


class _Wave(TomlModel):
    id: _Id
    goal: Text
    grants: _Grants = _Grants()


class _Defaults(TomlModel):
    """What holds for every task that says nothing else; `forbidden` is added to the task's own."""

    queue: Text | None = None
    kind: _Kind | None = None
    validation_scope: Text | None = None
    forbidden: _Words = ()
    protected: Annotated[_Patterns, Field(strict=False)] | None = None
    shown_by: _ShownBy | None = None
    attempts: _Attempts | None = None


class _Criterion(TomlModel):
    id: _Id
    text: Text
    proof: Annotated[str, AfterValidator(_proof)]


class _Task(TomlModel):
    id: _Id
    queue: Text
    kind: _Kind
    title: Text
    ownership: Text
    background: Text
    write_scope: Annotated[_Patterns, Field(strict=False, min_length=1)]
    validation_scope: Text
    branch: Annotated[Text, AfterValidator(_branch)] | None = None
    continues: Annotated[Text, AfterValidator(_branch)] | None = None
    commit: Literal["required", "none"] = "required"
    protected: Annotated[_Patterns, Field(strict=False)] = ()
    shown_by: _ShownBy = "check"
    forbidden: _Some
    criteria: Annotated[tuple[_Criterion, ...], Field(strict=False, min_length=1)]
    acceptance_commands: Annotated[
        tuple[Annotated[_Command, BeforeValidator(_as_table)], ...],
        Field(strict=False),
    ] = ()
    depends_on: _Words = ()
    production_adjacent: bool = False
    service: Text | None = None
    attempts: _Attempts = ATTEMPTS


class _File(TomlModel):
    wave: _Wave
    defaults: _Defaults = _Defaults()
    task: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()


def read_wave(path: Path) -> WaveFile:
    """The wave in the file at `path`; WaveFileError, one line, if anything in it is wrong."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise WaveFileError(f"{path}: no such file; give the path of a wave file") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise WaveFileError(f"{path}: {reason}; give the path of a readable file") from error
    try:
        return _wave(parse(raw))
    except TomlFaultError as fault:
        raise WaveFileError(f"{path}:{fault.line}: {fault}") from fault


def _wave(document: TomlDocument) -> WaveFile:
    file = document.read(_File, document.data)
    if not file.task:
        raise document.fault(("task",), "the wave is empty; add a [[task]]")
    tasks = [
        _spec(document.read(_Task, _with_defaults(task, file.defaults), ("task", index)))
        for index, task in enumerate(file.task)
    ]
    for where, message in _contradictions(tasks):
        raise document.fault(where, message)
    return WaveFile(
        id=file.wave.id,
        goal=file.wave.goal,
        grants=Grants(**dict(file.wave.grants)),
        tasks=tuple(tasks),
        lines={task.id: document.line(("task", index)) for index, task in enumerate(tasks)},
    )


def _with_defaults(task: dict[str, Any], defaults: _Defaults) -> dict[str, Any]:
    """The task's own words, and for what it leaves out the wave's."""
    given = {name: value for name, value in dict(defaults).items() if value is not None}
    merged = {**given, **task}
    if isinstance(own := task.get("forbidden"), list):
        merged["forbidden"] = [*own, *(one for one in defaults.forbidden if one not in own)]
    return merged


def _spec(task: _Task) -> TaskSpec:
    return TaskSpec(
        **{
            **dict(task),
            "branch": task.branch or f"wavekeeper/{task.id}",
            "criteria": tuple(Criterion(**dict(one)) for one in task.criteria),
            "acceptance_commands": tuple(
                Command(argv=one.argv, timeout=one.timeout, heavy=one.heavy)
                for one in task.acceptance_commands
            ),
        },
    )


def _contradictions(tasks: Sequence[TaskSpec]) -> Iterator[tuple[Where, str]]:
    """What is wrong although each value on its own is right."""
    seen: set[str] = set()
    taken: dict[str, str] = {}
    for index, task in enumerate(tasks):
        if task.id in seen:
            yield ("task", index, "id"), f"the id {task.id!r} is there twice; give it another"
        seen.add(task.id)
        # One push would look like the proof of both.
        for _, message in branches.refusals((task,), taken, None):
            yield ("task", index, "branch"), message
        taken.setdefault(task.branch, f"task {task.id}")
        for where, message in _contradictions_within(task):
            yield ("task", index, *where), message
    yield from _broken_dependencies(tasks)


def _contradictions_within(task: TaskSpec) -> Iterator[tuple[Where, str]]:
    seen: set[str] = set()
    for index, criterion in enumerate(task.criteria):
        where: Where = ("criteria", index)
        if criterion.id in seen:
            yield (*where, "id"), f"the criterion {criterion.id!r} is there twice; give it another"
        seen.add(criterion.id)
        if criterion.proof == ProofKind.CHECKS_PASSED and not task.acceptance_commands:
            yield (*where, "proof"), "checks-passed needs something to run; add acceptance_commands"
        if criterion.proof in _NEEDS_A_PUSH and task.commit == "none":
            message = (
                f"{criterion.proof} can not be proven with commit = 'none'; change one of them"
            )
            yield (*where, "proof"), message


def _broken_dependencies(tasks: Sequence[TaskSpec]) -> Iterator[tuple[Where, str]]:
    places = {task.id: index for index, task in enumerate(tasks)}
    for index, task in enumerate(tasks):
        for place, wanted in enumerate(task.depends_on):
            if wanted not in places:
                hint = did_you_mean(wanted, places) or "; name a task of this wave"
                message = f"there is no task {wanted!r:.80} to depend on{hint}"
                yield ("task", index, "depends_on", place), message
    try:
        TopologicalSorter({task.id: task.depends_on for task in tasks}).prepare()
    except CycleError as error:
        circle = error.args[1]
        where = ("task", places[circle[0]], "depends_on")
        message = f"{' -> '.join(circle)} depend on one another in a circle; drop one dependency"
        yield where, message
