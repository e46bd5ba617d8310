"""Controlled acts on infrastructure by configured commands: dry run, act, verification.

Policy: "run controlled production deploys for infrastructure recovery when the user has allowed
production repair and the deploy path is already established". What is written down here is that
path; whether it may be taken is for the guard alone.

A note per key in `folder` is written before the act and after it. An act that was begun is never
begun again: after a crash only its verification is run, because that alone can tell.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from agent.adapters.common.process import Bounds, Ended, ProgramError, environment, filled, run
from agent.adapters.remedies.settings import NAMES, RemedySettings
from agent.core.model.nouns import Remedy
from agent.core.model.text import one_line
from agent.errors import NothingDoneError, UnusableStoreError
from agent.ports import Remedied

_VALUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,255}")
"""Never a dash in front, which a program would take for an option."""
_PAUSE: Final = 2.0


class _Note(BaseModel):
    """What is known of one act; `said` is None until its end was seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    remedy: str
    names: dict[str, str]
    said: str | None = None
    verified: bool | None = None


class CommandRemedies:
    """Implements `Remedies` with the configured `remedies`; notes are kept in `folder`.

    Raises:
        NothingDoneError: there is no such remedy, or its dry run did not pass.
        UnusableStoreError: the folder cannot be written.

    """

    def __init__(
        self,
        remedies: Mapping[str, RemedySettings],
        folder: Path,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._remedies = remedies
        self._folder = folder
        self._wait = wait

    def known(self) -> Sequence[Remedy]:
        return [
            Remedy(id=name, reasons=one.reasons, environment=one.environment)
            for name, one in sorted(self._remedies.items())
        ]

    def rehearse(self, remedy: str, names: Mapping[str, str]) -> str:
        own = self._of(remedy)
        argv = self._argv(own, own.dry_run, names)
        try:
            ended = self._run(argv, own)
        except ProgramError as error:
            raise NothingDoneError(f"the dry run of {remedy} failed: {error}") from error
        if ended.code != 0:
            raise NothingDoneError(f"the dry run of {remedy} {ended.summary}")
        return f"the dry run of {remedy} passed at {own.target}"

    def carry_out(self, remedy: str, names: Mapping[str, str], *, key: str) -> Remedied:
        own = self._of(remedy)
        argv = self._argv(own, own.command, names)
        if (before := self.done(key)) is not None:
            return before
        self.rehearse(remedy, names)
        note = _Note(key=key, remedy=remedy, names=dict(names))
        try:
            self._write(note)
        except UnusableStoreError:
            # It may be there although it failed, and would say that the act was begun.
            with suppress(OSError):
                self._path(key).unlink(missing_ok=True)
            raise
        what = f"{remedy} at {own.target} ({own.environment})"
        try:
            ended = self._run(argv, own)
            said = f"{what} {ended.summary if ended.code else 'ended with 0'}"
        except ProgramError as error:
            said = f"{what}: {error}"
        return self._verified(note, own, said)

    def done(self, key: str) -> Remedied | None:
        note = self._noted(key)
        if note is None:
            return None
        if note.said is not None:
            return Remedied(said=note.said, verified=note.verified)
        said = f"{note.remedy} was begun before and not seen to end"
        return self._verified(note, self._of(note.remedy), said)

    def _verified(self, note: "_Note", own: RemedySettings, said: str) -> Remedied:
        """A job may report a failure though the service is well, and the other way round."""
        verified, words = self._verify(own, note)
        outcome = f"{said}; {words}"
        self._write(note.model_copy(update={"said": outcome, "verified": verified}))
        return Remedied(said=outcome, verified=verified)

    def _verify(self, own: RemedySettings, note: "_Note") -> tuple[bool | None, str]:
        argv = self._argv(own, own.verify, note.names)
        deadline = time.monotonic() + own.timeout
        while True:
            try:
                ended = self._run(argv, own, max(0.1, deadline - time.monotonic()))
            except ProgramError as error:
                return None, f"the verification could not be made: {error}"
            if ended.code == 0:
                return True, "the verification passes"
            if time.monotonic() + _PAUSE >= deadline:
                return False, f"the verification {ended.summary}"
            self._wait(_PAUSE)

    def _run(self, argv: Sequence[str], own: RemedySettings, limit: float | None = None) -> Ended:
        try:
            folder = own.folder or self._folder
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProgramError(f"{own.folder or self._folder}: {error.strerror}") from error
        env = environment(own.variables)
        return run(argv, Bounds(limit or own.timeout), env=env, cwd=folder)

    def _of(self, remedy: str) -> RemedySettings:
        own = self._remedies.get(remedy)
        if own is None:
            there = ", ".join(sorted(self._remedies)) or "none"
            raise NothingDoneError(
                f"the remedy {one_line(remedy)!r:.80} is not configured; there are {there}",
            )
        return own

    def _argv(
        self, own: RemedySettings, argv: Sequence[str], names: Mapping[str, str]
    ) -> list[str]:
        for name, value in names.items():
            if name not in NAMES or not _VALUE.fullmatch(value):
                raise NothingDoneError(f"{one_line(value)!r:.80} is no value for {one_line(name)}")
        known = {**dict.fromkeys(NAMES), **names, "target": own.target}
        try:
            return filled(argv, known)
        except ProgramError as error:
            raise NothingDoneError(str(error)) from error

    def _path(self, key: str) -> Path:
        return self._folder / f"{sha256(key.encode()).hexdigest()}.json"

    def _noted(self, key: str) -> "_Note | None":
        try:
            return _Note.model_validate_json(self._path(key).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UnusableStoreError(
                f"{self._path(key)}: cannot be read; look whether its act was done, then remove it",
            ) from error

    def _write(self, note: "_Note") -> None:
        """All or nothing, and on the disk when it returns."""
        path = self._path(note.key)
        new = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                file.write(note.model_dump_json().encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            with suppress(OSError):
                new.unlink()
            raise UnusableStoreError(
                f"{self._folder}: what is done cannot be noted there ({error.strerror}), so "
                "nothing is done: check the rights of the folder and the disk",
            ) from error
