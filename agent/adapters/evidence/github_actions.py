"""Evidence from GitHub's CI: the build of the artifact, and the checks of the pushed commit.

Policy: "the CI artifact producer ran from a pushed commit". The REST API is asked about the commit
itself; a run of another commit is no answer, and neither is one that built another tree: for a pull
request GitHub checks out its test merge, and reports the branch's head all the same. What still
runs, and what ended without a judgement, is not failed: it is not known.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from agent.adapters.common.http import Answer, Http, HttpError, InstallationError, bearer
from agent.adapters.evidence.probe import (
    FRESH,
    Finding,
    absent,
    asked,
    dated,
    evidence,
    short,
    unanswered,
)
from agent.adapters.evidence.settings import CiSettings, ServiceSettings
from agent.backends import Check, Context, EvidenceBackend, Known
from agent.core.model.nouns import Evidence, ProofKind
from agent.core.model.queueing import TaskSpec, TaskView

_PAGE: Final = 100
_PAGES: Final = 10
_VERSION: Final = "2022-11-28"
_JUDGED: Final = {"success": True, "failure": False, "timed_out": False}
"""The conclusions of whoever has looked. Skipped, neutral, cancelled, stale, startup_failure,
action_required and words of tomorrow mean that nobody did: neither a yes nor the worker's fault."""
_STATUSES: Final = {"success": True, "failure": False}
"""The same for the states of commit statuses; `error` is the CI's own trouble."""
_WAITS: Final = {
    "queued": "waits for a runner",
    "in_progress": "still runs",
    "requested": "was asked for and has not begun",
    "waiting": "waits for the approval of a deployment",
    "pending": "waits for its turn in a concurrency group",
}
_TEST_MERGES: Final = frozenset({
    "pull_request", "pull_request_review", "pull_request_review_comment", "pull_request_target",
})  # fmt: skip
"""Events for which something else than `head_sha` is checked out: the test merge, or the target."""


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
        actions = Actions(service, service.ci)
        if commit is None:
            why = "the pushed commit is not known, so CI cannot be asked about it"
            found = [
                Finding(kind=kind, holds=None, detail=why, source=actions.address(""))
                for kind in _proofs(service)
            ]
        else:
            late = absent(view, now, service.patience) is False
            look = _Look(actions, service.ci, spec.branch, commit, late)
            found = [look.at(kind, now) for kind in _proofs(service)]
        return evidence("github-actions", found, view, now, service.ask_after)


class Actions:
    """One repository of GitHub, read only."""

    def __init__(self, service: ServiceSettings, ci: CiSettings) -> None:
        self._ci = ci
        self._http = Http(
            (ci.api,), timeout=service.timeout, most=8 * 1024 * 1024, authority=service.authority
        )
        self.answers: list[Answer] = []
        """All that was answered so far."""

    def address(self, what: str) -> str:
        """The address of `what` of this repository."""
        return f"{self._ci.api}/repos/{self._ci.repository}/{what}".rstrip("/")

    def get(self, what: str) -> Answer:
        """One answer. HttpError for everything else; InstallationError: it is not for us."""
        headers = {"accept": "application/vnd.github+json", "x-github-api-version": _VERSION}
        headers |= FRESH | bearer(self._ci.token)
        answer = self._http.ask("GET", self.address(what), headers=headers)
        if answer.status == 429 or (answer.status == 403 and _is_limited(answer)):  # noqa: PLR2004
            raise HttpError(
                f"{answer.url} answered {answer.status}: the rate limit is used up; "
                "it is asked again later"
            )
        if answer.status in (401, 403, 404):
            raise InstallationError(f"{answer.url} answered {answer.status}: {self._remedy()}")
        if answer.status != 200:  # noqa: PLR2004
            raise HttpError(f"{answer.url} answered {answer.status}")
        self.answers.append(answer)
        return answer

    def every(self, what: str, key: str | None) -> tuple[list[dict[str, Any]], Answer]:
        """All items of a list that comes in pages, and the last answer.

        The list stands under `key`; None: it is all there is. A page may be smaller than asked
        for, so the end is where the server says it is: no next page, and all that it counted.
        """
        items: list[dict[str, Any]] = []
        mark = "&" if "?" in what else "?"
        for page in range(1, _PAGES + 1):
            answer = self.get(f"{what}{mark}per_page={_PAGE}&page={page}")
            found = answer.object() if key else {}
            batch = found.get(key) if key else answer.json()
            if not isinstance(batch, list) or not all(isinstance(one, dict) for one in batch):
                raise HttpError(f"{answer.url} has no list of {key or 'items'}")
            items += batch
            total = found.get("total_count")
            # A list that counts nothing goes on after each full page.
            more = len(items) < total if isinstance(total, int) else len(batch) >= _PAGE
            if 'rel="next"' in answer.headers.get("link", "") or (more and batch):
                continue
            if more:
                raise HttpError(f"{answer.url} counts {total} {key} and lists {len(items)}")
            return items, answer
        raise HttpError(f"{answer.url} has more than {_PAGE * _PAGES} {key or 'items'}")

    def _remedy(self) -> str:
        if self._ci.token is None:
            return "check that it exists and is public, or name the variable that holds a token"
        return f"see whether the token in {self._ci.token} may read it"


def _is_limited(answer: Answer) -> bool:
    return answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers


@dataclass(frozen=True, slots=True)
class _State:
    """What one check, or one run, comes to."""

    holds: bool | None
    words: str
    waits: bool = False
    absent: bool = False


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at one pushed commit."""

    actions: Actions
    ci: CiSettings
    branch: str
    commit: str
    late: bool
    """What CI would do by itself should have begun by now."""

    def at(self, kind: ProofKind, now: datetime) -> Finding:
        """One kind of evidence, dated by the oldest answer that it rests on."""
        self.actions.answers.clear()
        try:
            found = self._built() if kind is ProofKind.ARTIFACT_BUILT else self._checked()
        except HttpError as error:
            return unanswered(kind, error, self.actions.address(""), late=self.late)
        for answer in self.actions.answers:
            found = dated(found, answer, now)
        return found

    def _built(self) -> Finding:
        ci, commit = self.ci, self.commit
        what = f"actions/workflows/{ci.workflow}/runs?head_sha={commit}"
        runs, answer = self.actions.every(what, "workflow_runs")
        runs = [run for run in runs if run.get("head_sha") == commit]
        found = partial(_seen, ProofKind.ARTIFACT_BUILT, answer)
        if not runs:
            detail = f"{ci.workflow} has not run from {short(commit)}"
            return found(detail, holds=None, fault=self.late)
        counted = [
            run for run in runs if ci.pull_requests or _word(run.get("event")) not in _TEST_MERGES
        ]
        if not counted:
            detail = f"{ci.workflow} only ran for a pull request, and built its test merge"
            return found(f"{detail}, not {short(commit)}", holds=None, fault=self.late)
        run = self._witness(counted)
        name = f"{ci.workflow} run {_number(run.get('run_number'))} of {short(commit)}"
        state = _of_run(run)
        if not self._is_own(run):
            name += " for another branch or a tag"
        if state.holds is False and not self._is_own(run):
            return found(f"{name} {state.words}, which may be due to that", holds=None)
        if not state.holds or ci.artifact is None:
            value = commit if state.holds else None
            return found(f"{name} {state.words}", holds=state.holds, value=value)
        return self._left(run, name, ci.artifact)

    def _is_own(self, run: Mapping[str, Any]) -> bool:
        """GitHub names branches and tags alike; of a run that names neither, nobody can say."""
        return run.get("head_branch") in (None, self.branch)

    def _witness(self, runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The run that counts: the latest of the task's own branch that judges, or still may.

        Else one for another branch or a tag that succeeded: whatever name the commit was pushed
        under, the tree that was built is the same, and so is the workflow, which stands in it. Only
        that a run failed may be due to the name: what is deployed, or released, from a tag.
        """
        states = [(run, _of_run(run)) for run in runs]
        own = [
            run
            for run, state in states
            if self._is_own(run) and (state.holds is not None or state.waits)
        ]
        fine = [run for run, state in states if state.holds]
        return max(own or fine or runs, key=_latest)

    def _left(self, run: Mapping[str, Any], name: str, artifact: str) -> Finding:
        """Whether the run left the artifact, made of this commit. For a tag it may not have to."""
        what = f"actions/runs/{_number(run.get('id'))}/artifacts"
        artifacts, answer = self.actions.every(what, "artifacts")
        found = partial(_seen, ProofKind.ARTIFACT_BUILT, answer)
        mine = [one for one in artifacts if one.get("name") == artifact]
        if not mine:
            holds = False if self._is_own(run) else None
            return found(f"{name} left no artifact {artifact}", holds=holds)
        if all(one.get("expired") for one in mine):
            return found(f"the artifact {artifact} of {name} has expired", holds=False)
        runs = [one.get("workflow_run") for one in mine]
        if not all(isinstance(run, dict) and run.get("head_sha") == self.commit for run in runs):
            return found(f"the artifact {artifact} of {name} is of another commit", holds=False)
        return found(f"{name} left the artifact {artifact}", holds=True, value=self.commit)

    def _checked(self) -> Finding:
        commit, answers = self.commit, self.actions.answers
        what = f"commits/{commit}/check-runs?filter=latest"
        found = [
            one
            for one in self.actions.every(what, "check_runs")[0]
            if one.get("name") in self.ci.checks and one.get("head_sha") == commit
        ]
        mine = [one for one in found if _is_of(self.ci.app, one)]
        events = self._events(mine)
        states = {}
        for name in self.ci.checks:
            named = [one for one in mine if one["name"] == name]
            counted = [one for one in named if events.get(_suite(one)) not in _TEST_MERGES]
            if counted:
                states[name] = _latest_of_each_suite(counted, events)
            elif named:
                words = "only ran for a pull request, on its test merge"
                states[name] = _State(None, words, absent=True)
            elif any(one["name"] == name for one in found):
                words = f"is not of the app {self.ci.app}"
                states[name] = _State(None, words, absent=True)
            else:
                states[name] = _State(None, "is not there", absent=True)
        judged = [state.holds for state in states.values()]
        missing = [name for name, state in states.items() if state.absent]
        if missing and False not in judged:
            states |= self._statuses(missing)
            judged = [state.holds for state in states.values()]
        holds = False if False in judged else None if None in judged else True
        shown = {name: state for name, state in states.items() if state.holds is holds}
        detail = ", ".join(f"{name} {state.words}" for name, state in shown.items())
        return _seen(
            ProofKind.CHECKS_PASSED,
            answers[-1],
            f"checks of {short(commit)}: {detail}",
            holds=holds,
            value=commit,
            fault=holds is None and self.late and any(one.absent for one in shown.values()),
        )

    def _events(self, checks: Iterable[Mapping[str, Any]]) -> Mapping[int | None, str]:
        """What started the runs behind these checks, by their suites; empty if it does not matter.

        A suite that is not listed started nobody knows how, so its checks prove nothing.
        """
        suites = {_suite(one) for one in checks} - {None}
        if self.ci.pull_requests or self.ci.app != CiSettings.model_fields["app"].default:
            return {}
        if not suites:
            return {}
        runs, _ = self.actions.every(f"actions/runs?head_sha={self.commit}", "workflow_runs")
        known = {str(run.get("check_suite_id")): str(run.get("event")) for run in runs}
        return {suite: known.get(str(suite), _UNLISTED) for suite in suites}

    def _statuses(self, contexts: Sequence[str]) -> Mapping[str, _State]:
        """What commit statuses say of these; nothing of those that there is no status of."""
        if self.ci.status_by:
            found, _ = self.actions.every(f"commits/{self.commit}/statuses", None)
            found = [one for one in found if _login(one) in self.ci.status_by]
        else:
            found, answer = self.actions.every(f"commits/{self.commit}/status", "statuses")
            if answer.object().get("sha") not in (None, self.commit):
                raise HttpError(f"{answer.url} is about another commit")
        latest = {str(one.get("context")): one for one in sorted(found, key=_latest)}
        return {name: _of_status(latest[name]) for name in contexts if name in latest}


_UNLISTED: Final = "unlisted"


def _of_run(run: Mapping[str, Any]) -> _State:
    """What a workflow run or a check run comes to."""
    status = _word(run.get("status"))
    if status != "completed":
        what = _WAITS.get(status, "is not over")
        since = run.get("started_at") or run.get("run_started_at") or run.get("created_at")
        if isinstance(since, str) and re.fullmatch(r"[0-9T:Z-]{10,20}", since):
            what += f", since {since}"
        return _State(None, f"is {status}: it {what}", waits=True)
    conclusion = _word(run.get("conclusion"))
    holds = _JUDGED.get(conclusion)
    return _State(
        holds, f"ended in {conclusion}" + (", so nothing was judged" if holds is None else "")
    )


def _of_status(status: Mapping[str, Any]) -> _State:
    state = _word(status.get("state"))
    holds = _STATUSES.get(state)
    return _State(holds, f"is a commit status: {state}", waits=state == "pending")


def _latest_of_each_suite(
    checks: Iterable[Mapping[str, Any]], events: Mapping[int | None, str]
) -> _State:
    """Checks of one name: a no counts before one that still runs, and that before a yes.

    What nobody judged says nothing beside a check that was: a twin that was cancelled is no doubt.
    """
    latest = {_suite(one): one for one in sorted(checks, key=_latest)}
    states = [
        _State(None, "is of a run that is not listed") if events.get(suite) == _UNLISTED
        else _of_run(one)
        for suite, one in latest.items()
    ]  # fmt: skip

    def place(state: _State) -> int:
        return (state.holds is False) * 3 or state.waits * 2 or (state.holds is True) * 1

    return max(states, key=place)


def _is_of(app: str, check: Mapping[str, Any]) -> bool:
    """GitHub names each check's app; `null` is one that is gone, and counts for nobody.

    Servers of this API that know no apps name none, and then anybody's counts as there.
    """
    if "app" not in check:
        return True
    owner = check["app"]
    return isinstance(owner, dict) and owner.get("slug") == app


def _suite(check: Mapping[str, Any]) -> int | None:
    suite = check.get("check_suite")
    found = suite.get("id") if isinstance(suite, dict) else None
    return found if isinstance(found, int) else None


def _login(status: Mapping[str, Any]) -> object:
    creator = status.get("creator")
    return creator.get("login") if isinstance(creator, dict) else None


def _seen(
    kind: ProofKind,
    answer: Answer,
    detail: str,
    *,
    holds: bool | None,
    value: str | None = None,
    fault: bool = False,
) -> Finding:
    source, digest = answer.url, answer.digest
    return Finding(
        kind=kind, holds=holds, value=value, detail=detail, source=source, answer=digest,
        fault=fault,
    )  # fmt: skip


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
