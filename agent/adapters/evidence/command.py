"""Evidence from a program, for a system that has no API: an argument list in, one JSON object out.

The program must only read; `wavekeeper doctor` shows what is run. Its answer is
`{"holds": true | false | null, "value": "...", "detail": "...", "at": "2026-03-01T09:00:00Z"}`,
where `at` is when it was true, if that was before. An exit status other than 0, more than one
object, or none in time is no answer, and what is not answered is unknown.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import PurePath
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from agent.adapters.common.http import HttpError
from agent.adapters.common.process import Bounds, ProgramError, environment, filled, run
from agent.adapters.evidence.oci import relation
from agent.adapters.evidence.probe import Finding, evidence, short, whole
from agent.adapters.evidence.settings import (
    COMMIT_PROOFS,
    DIGEST_PROOFS,
    SERVICE_PROOFS,
    Question,
    ServiceSettings,
)
from agent.backends import Check, Context, EvidenceBackend, Known, program_check
from agent.core.model.nouns import Evidence, ProofKind
from agent.core.model.queueing import TaskSpec, TaskView


class _Printed(BaseModel):
    """What the program prints."""

    model_config = ConfigDict(strict=True, extra="forbid")

    holds: bool | None
    value: str | None = None
    detail: str | None = None
    at: AwareDatetime | None = None


class CommandEvidence:
    """Runs the `command`s of `services`. `pushed` and `recorded` fill `{commit}` and `{digest}`."""

    kinds = frozenset(SERVICE_PROOFS)

    def __init__(
        self, services: Mapping[str, ServiceSettings], pushed: Known, recorded: Known
    ) -> None:
        self._services = services
        self._pushed = pushed
        self._recorded = recorded

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        """One item per command, in the order of the configuration."""
        service = self._services.get(spec.service or "")
        if service is None or not service.command:
            return ()
        needed = " ".join(" ".join(one.argv) for one in service.command)
        names = {
            "branch": spec.branch,
            "task": spec.id,
            "service": spec.service,
            "commit": self._pushed(spec, view, now) if "{commit}" in needed else None,
            "digest": self._recorded(spec, view, now) if "{digest}" in needed else None,
        }
        found = [_finding(one, names) for one in service.command]
        found = [self._recognised(one, service, spec, view, now) for one in found]
        return evidence("command", found, view, now, service.ask_after)

    def _recognised(
        self,
        found: Finding,
        service: ServiceSettings,
        spec: TaskSpec,
        view: TaskView,
        now: datetime,
    ) -> Finding:
        """With the whole name of the commit, and with the digest that is meant by the settings."""
        if not found.holds or found.value is None:
            return found
        if found.kind in COMMIT_PROOFS:
            return replace(found, value=whole(found.value, self._pushed(spec, view, now)))
        meant = self._recorded(spec, view, now) if found.kind in DIGEST_PROOFS else None
        if meant is None:
            return found
        try:
            how = relation(service, meant, found.value)
        except HttpError as error:
            detail = f"whether {short(found.value)} is {short(meant)} is not known: {error}"
            return replace(found, holds=None, detail=detail)
        if how is None:
            return found
        return replace(found, value=meant, detail=f"{found.detail}: {short(found.value)}, {how}")


def _finding(question: Question, names: Mapping[str, str | None]) -> Finding:
    program = PurePath(question.argv[0]).name
    finding = partial(Finding, kind=question.proof, source=" ".join(question.argv))
    try:
        argv = filled(question.argv, names)
        ended = run(argv, Bounds(question.timeout), env=environment(question.environment))
    except ProgramError as error:
        return finding(holds=None, detail=str(error))
    finding = partial(finding, answer=sha256(ended.output).hexdigest())
    if ended.code != 0:
        return finding(holds=None, detail=f"{program} {ended.summary}")
    if not ended.whole:
        return finding(holds=None, detail=f"{program} printed more than one small JSON object")
    try:
        # What JSON has no word for, a moment, is read from a string even though it is strict.
        printed = _Printed.model_validate_json(ended.output)
    except ValidationError:
        return finding(holds=None, detail=f'{program} printed no {{"holds": ...}} object')
    named: frozenset[ProofKind] = DIGEST_PROOFS | COMMIT_PROOFS
    if printed.holds and question.proof in named and not printed.value:
        detail = f"{program} printed true but no value that could be compared"
        return finding(holds=None, detail=detail)
    detail = printed.detail or f"{program} printed {json.dumps(printed.holds)}"
    return finding(holds=printed.holds, value=printed.value, detail=detail, at=printed.at)


def _check(service: ServiceSettings, _context: Context) -> Iterable[Check]:
    for one in service.command:
        yield program_check(str(one.proof), one.argv, one.environment, "reads with")


BACKEND: Final = EvidenceBackend[ServiceSettings](
    settings=Question,
    many=True,
    proofs=lambda service: [one.proof for one in service.command],
    open=lambda services, context: CommandEvidence(services, context.pushed, context.recorded),
    check=_check,
)
