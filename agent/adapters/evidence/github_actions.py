"""Evidence from GitHub Actions: the build of the artifact and the checks of the pushed commit.

Policy: "the CI artifact producer ran from a pushed commit". What still runs is not failed: it is
not known yet. The REST API is asked about the commit itself; a run of another commit is no answer.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from agent.adapters.common.http import Answer, Http, HttpError, bearer
from agent.adapters.evidence.probe import Finding, absent, asked, evidence, short
from agent.adapters.evidence.settings import CiSettings, ServiceSettings
from agent.backends import Check, Context, EvidenceBackend, Known
from agent.core.model.nouns import Evidence, ProofKind
from agent.core.model.queueing import TaskSpec, TaskView

_PAGE: Final = 100
_PAGES: Final = 10
_VERSION: Final = "2022-11-28"
_FINE: Final = frozenset({"success", "neutral", "skipped"})
"""Conclusions of a check run that block nothing; a build must be a `success`."""


class GitHubActionsEvidence:
    """Probes the `ci` of `services`; `pushed` gives a task's commit as git shows it."""

    kinds = frozenset({ProofKind.ARTIFACT_BUILT, ProofKind.CHECKS_PASSED})

    def __init__(self, services: Mapping[str, ServiceSettings], pushed: Known) -> None:
        self._services = services
        self._pushed = pushed

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        """The build if a workflow is configured, the checks if any are."""
        service = self._services.get(spec.service or "")
        if service is None or service.ci is None:
            return ()
        commit = self._pushed(spec, view, now)
        late = absent(view, now, service.patience)
        return evidence("github-actions", _findings(service, service.ci, commit, late), view, now)


class Actions:
    """One repository of GitHub, read only."""

    def __init__(self, service: ServiceSettings, ci: CiSettings) -> None:
        self._ci = ci
        self._http = Http(
            (ci.api,), timeout=service.timeout, most=8 * 1024 * 1024, authority=service.authority
        )

    def address(self, what: str) -> str:
        """The address of `what` of this repository."""
        return f"{self._ci.api}/repos/{self._ci.repository}/{what}".rstrip("/")

    def get(self, what: str) -> tuple[Any, Answer]:
        """One object. HttpError for everything else."""
        headers = {"accept": "application/vnd.github+json", "x-github-api-version": _VERSION}
        headers |= bearer(self._ci.token)
        answer = self._http.ask("GET", self.address(what), headers=headers)
        if answer.status in (401, 403, 404, 429):
            raise HttpError(f"{answer.url} answered {answer.status}: {self._remedy(answer)}")
        if answer.status != 200:  # noqa: PLR2004
            raise HttpError(f"{answer.url} answered {answer.status}")
        return answer.object(), answer

    def every(self, what: str, key: str) -> tuple[list[Any], Answer]:
        """All items of a list that comes in pages, and the last answer."""
        items: list[Any] = []
        mark = "&" if "?" in what else "?"
        for page in range(1, _PAGES + 1):
            found, answer = self.get(f"{what}{mark}per_page={_PAGE}&page={page}")
            batch = found.get(key)
            if not isinstance(batch, list) or not all(isinstance(one, dict) for one in batch):
                raise HttpError(f"{answer.url} has no list of {key}")
            items += batch
            total = found.get("total_count")
            if len(batch) < _PAGE or (isinstance(total, int) and len(items) >= total):
                return items, answer
        raise HttpError(f"{answer.url} has more than {_PAGE * _PAGES} {key}")

    def _remedy(self, answer: Answer) -> str:
        if answer.status == 429 or answer.headers.get("x-ratelimit-remaining") == "0":  # noqa: PLR2004
            return "the rate limit is used up; it is asked again later"
        if self._ci.token is None:
            return "check that it exists and is public, or name the variable that holds a token"
        return f"see whether the token in {self._ci.token} may read it"


def _findings(
    service: ServiceSettings,
    ci: CiSettings,
    commit: str | None,
    late: bool | None,  # noqa: FBT001 - from `absent`
) -> Iterator[Finding]:
    actions = Actions(service, ci)
    looks = []
    if ci.workflow is not None:
        looks.append((ProofKind.ARTIFACT_BUILT, _built))
    if ci.checks:
        looks.append((ProofKind.CHECKS_PASSED, _checked))
    for kind, look in looks:
        if commit is None:
            why = "the pushed commit is not known, so CI cannot be asked about it"
        else:
            try:
                yield look(actions, ci, commit, late)
                continue
            except HttpError as error:
                why = str(error)
        yield Finding(kind=kind, holds=None, detail=why, source=actions.address(""))


def _built(actions: Actions, ci: CiSettings, commit: str, late: bool | None) -> Finding:  # noqa: FBT001
    what = f"actions/workflows/{ci.workflow}/runs?head_sha={commit}"
    runs, answer = actions.every(what, "workflow_runs")
    runs = [run for run in runs if run.get("head_sha") == commit]
    found = partial(_seen, ProofKind.ARTIFACT_BUILT, answer)
    if not runs:
        return found(f"{ci.workflow} has not run from {short(commit)}", holds=late)
    run = max(runs, key=_latest)
    name = f"{ci.workflow} run {_number(run.get('run_number'))} of {short(commit)}"
    if run.get("status") != "completed":
        return found(f"{name} is {_word(run.get('status'))}, not over", holds=None)
    if run.get("conclusion") != "success":
        return found(f"{name} ended in {_word(run.get('conclusion'))}", holds=False)
    if ci.artifact is None:
        return found(f"{name} ended in success", holds=True, value=commit)
    artifacts, answer = actions.every(
        f"actions/runs/{_number(run.get('id'))}/artifacts", "artifacts"
    )
    found = partial(_seen, ProofKind.ARTIFACT_BUILT, answer)
    mine = [one for one in artifacts if one.get("name") == ci.artifact]
    if not mine:
        return found(f"{name} left no artifact {ci.artifact}", holds=False)
    if all(one.get("expired") for one in mine):
        return found(f"the artifact {ci.artifact} of {name} has expired", holds=False)
    runs = [one.get("workflow_run") for one in mine]
    if not all(isinstance(run, dict) and run.get("head_sha") == commit for run in runs):
        return found(f"the artifact {ci.artifact} of {name} is of another commit", holds=False)
    return found(f"{name} left the artifact {ci.artifact}", holds=True, value=commit)


def _checked(actions: Actions, ci: CiSettings, commit: str, late: bool | None) -> Finding:  # noqa: FBT001
    found, answer = actions.every(f"commits/{commit}/check-runs?filter=latest", "check_runs")
    states: dict[str, bool | None] = {}
    words: dict[str, str] = {}
    for name in ci.checks:
        mine = [one for one in found if one.get("name") == name and one.get("head_sha") == commit]
        if not mine:
            states[name], words[name] = late, "is not there"
            continue
        run = max(mine, key=_latest)
        if run.get("status") != "completed":
            states[name], words[name] = None, f"is {_word(run.get('status'))}"
        else:
            states[name] = _word(run.get("conclusion")) in _FINE
            words[name] = f"ended in {_word(run.get('conclusion'))}"
    holds: bool | None = True
    if not all(states.values()):
        holds = False if False in states.values() else None
    shown = [name for name in ci.checks if states[name] is holds]
    detail = ", ".join(f"{name} {words[name]}" for name in shown)
    detail = f"checks of {short(commit)}: {detail}"
    return _seen(ProofKind.CHECKS_PASSED, answer, detail, holds=holds, value=commit)


def _seen(
    kind: ProofKind, answer: Answer, detail: str, *, holds: bool | None, value: str | None = None
) -> Finding:
    return Finding(
        kind=kind, holds=holds, value=value, detail=detail, source=answer.url, answer=answer.digest
    )


def _latest(run: Mapping[str, Any]) -> tuple[int, int, int]:
    """Of several runs, and of several attempts of one run, the latest counts."""
    numbers = [run.get(key) for key in ("run_number", "run_attempt", "id")]
    first, second, third = (one if isinstance(one, int) else 0 for one in numbers)
    return first, second, third


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise HttpError("GitHub sent a run without a number")
    return value


def _word(value: object) -> str:
    """One of GitHub's own words; any other text is not shown."""
    return value if isinstance(value, str) and re.fullmatch("[a-z_]{1,30}", value) else "unknown"


def _proofs(service: ServiceSettings) -> Iterator[ProofKind]:
    if service.ci is not None:
        if service.ci.workflow is not None:
            yield ProofKind.ARTIFACT_BUILT
        if service.ci.checks:
            yield ProofKind.CHECKS_PASSED


def _check(service: ServiceSettings, _context: Context) -> Iterable[Check]:
    if (ci := service.ci) is not None:
        actions = Actions(service, ci)

        def repository() -> str:
            actions.get("")
            return f"{ci.repository} answers"

        yield asked("CI", repository)


BACKEND: Final = EvidenceBackend(
    settings=CiSettings,
    proofs=_proofs,
    open=lambda services, context: GitHubActionsEvidence(services, context.pushed),
    check=_check,
)
