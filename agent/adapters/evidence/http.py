"""Evidence from a service's own addresses: what runs in dev and production, and is it well.

Policy: "live health and live commit or image label evidence match the requested commit"; "the dev
environment consumed the same artifact; production CD consumed the artifact without source rebuild".
Each look is one configured address, one value in the answer and one expectation.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from agent.adapters.common.http import Answer, Http, HttpError, InstallationError, bearer
from agent.adapters.evidence.oci import relation
from agent.adapters.evidence.probe import (
    COMMIT,
    FRESH,
    Finding,
    absent,
    asked,
    dated,
    evidence,
    named,
    short,
    unanswered,
    whole,
)
from agent.adapters.evidence.settings import COMMIT_PROOFS, DIGEST_PROOFS, Look, ServiceSettings
from agent.backends import Check, Context, EvidenceBackend, Known
from agent.core.model.nouns import Evidence, ProofKind
from agent.core.model.queueing import TaskSpec, TaskView

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}(?![0-9a-f])")
_SHOWN: Final = 80


class HttpEvidence:
    """Probes the `look`s of `services`. `pushed` and `recorded` give what was to be delivered."""

    kinds = DIGEST_PROOFS | COMMIT_PROOFS | {
        ProofKind.NO_SOURCE_REBUILD, ProofKind.LIVE_HEALTH,
        ProofKind.BLOCKED_WORKFLOW_PROCEEDS, ProofKind.REMAINING_STEP_NAMED,
    }  # fmt: skip

    def __init__(
        self, services: Mapping[str, ServiceSettings], pushed: Known, recorded: Known
    ) -> None:
        self._services = services
        self._pushed = pushed
        self._recorded = recorded

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        """One item per look, in the order of the configuration."""
        service = self._services.get(spec.service or "")
        if service is None:
            return ()
        wanted: dict[ProofKind, Known] = dict.fromkeys(DIGEST_PROOFS, self._recorded)
        wanted |= dict.fromkeys(COMMIT_PROOFS, self._pushed)

        def found(look: Look) -> Finding:
            ask = wanted.get(look.proof)
            late = absent(view, now, service.patience)
            try:
                answer = look_once(service, look)
                known = ask and partial(ask, spec, view, now)
                return dated(_finding(service, answer, look, known, late), answer, now)
            except HttpError as error:
                return unanswered(look.proof, error, look.url)

        return evidence("http", [found(one) for one in service.look], view, now, service.ask_after)


def look_once(service: ServiceSettings, look: Look) -> Answer:
    """The answer at the look's address. HttpError if there is none, or if we are refused."""
    headers = {"accept": "application/json, */*"} | FRESH | bearer(look.token)
    http = Http((look.url,), timeout=service.timeout, authority=service.authority)
    answer = http.ask("GET", look.url, headers=headers)
    if answer.status in (401, 403) and answer.status != look.status:
        named = f"the token in {look.token}" if look.token else "a token; name its variable"
        raise InstallationError(f"{answer.url} refuses us ({answer.status}): it needs {named}")
    return answer


def _finding(
    service: ServiceSettings,
    answer: Answer,
    look: Look,
    wanted: Callable[[], str | None] | None,
    late: bool | None,  # noqa: FBT001 - from `absent`
) -> Finding:
    place = f"{answer.url}{_where(look)}"
    found = partial(Finding, kind=look.proof, source=place, answer=answer.digest)
    if answer.status != look.status:
        # Only of its health is this an observation; of the rest nothing could be read.
        holds = late if look.proof is ProofKind.LIVE_HEALTH else None
        return found(detail=f"{place} answered {answer.status}, not {look.status}", holds=holds)
    if look.pointer is None and look.header is None:
        return found(detail=f"{place} answered {answer.status}", holds=True)
    value = value_at(answer, look)
    if value is None:
        return found(detail=f"{place} says nothing", holds=None)
    if wanted is None:
        fine = type(value) is type(look.expect) and value == look.expect
        detail = f"{place} says {_shown(value)}"
        if fine:
            return found(detail=detail, holds=True)
        return found(detail=f"{detail}, not {_shown(look.expect)}", holds=late)
    expected = wanted()
    name = _name(value, look.proof, expected)
    if name is None:
        kind = "digest" if look.proof in DIGEST_PROOFS else "commit"
        return found(detail=f"{place} names no {kind}: {_shown(value)}", holds=late)
    if expected is not None and look.proof in DIGEST_PROOFS:
        try:
            how = relation(service, expected, name)
        except HttpError as error:
            which = (
                f"{place} says {short(name)}, and whether that is {short(expected)} is not known"
            )
            return found(detail=f"{which}: {error}", holds=None)
        if how is not None:
            return found(detail=f"{place} says {short(name)}, {how}", holds=True, value=expected)
    return named(look.proof, name, expected, late, place=place, source=place, answer=answer.digest)


def _where(look: Look) -> str:
    if look.pointer is not None:
        return f" at {look.pointer}"
    return f" in {look.header}" if look.header is not None else ""


def value_at(answer: Answer, look: Look) -> Any:  # noqa: ANN401 - JSON of somebody else's
    """The value at the look's pointer or in its header; None: nothing."""
    if look.header is not None:
        return answer.headers.get(look.header)
    return resolve_pointer(answer.json(), look.pointer or "")


def resolve_pointer(document: Any, pointer: str) -> Any:  # noqa: ANN401 - JSON of somebody else's
    """The value at an RFC 6901 pointer; None where there is none."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(key)
        elif isinstance(document, list) and re.fullmatch("0|[1-9][0-9]{0,8}", key):
            document = document[int(key)] if int(key) < len(document) else None
        else:
            return None
    return document


def _name(value: object, proof: ProofKind, expected: str | None) -> str | None:
    """The digest, alone or at the end of a reference, or the commit."""
    if not isinstance(value, str):
        return None
    if proof in DIGEST_PROOFS:
        found = _DIGEST.findall(value)
        return found[0] if len(found) == 1 else None
    text = value.strip()
    return whole(text, expected) if COMMIT.fullmatch(text) else None


def _shown(value: object) -> str:
    return json.dumps(value)[:_SHOWN]


def _seen(service: ServiceSettings, look: Look) -> str:
    answer = look_once(service, look)
    if answer.status != look.status:
        raise HttpError(f"{answer.url} answered {answer.status}, not {look.status}")
    if look.pointer is None and look.header is None:
        return f"{answer.url} answers"
    if value_at(answer, look) is None:
        raise HttpError(f"{answer.url} has nothing at {look.pointer or look.header}")
    return f"{answer.url} answers, with {look.pointer or look.header}"


def _check(service: ServiceSettings, _context: Context) -> Iterable[Check]:
    for look in service.look:
        yield asked(str(look.proof), partial(_seen, service, look))


BACKEND: Final = EvidenceBackend[ServiceSettings](
    settings=Look,
    many=True,
    proofs=lambda service: [one.proof for one in service.look],
    open=lambda services, context: HttpEvidence(services, context.pushed, context.recorded),
    check=_check,
)
