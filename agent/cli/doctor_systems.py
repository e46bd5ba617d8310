"""What `wavekeeper doctor` says of the systems outside that are configured. It only reads.

Registries, CI, addresses and the issue tracker are asked as a tick would ask them; programs are
shown and looked for, and not run.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Literal

from agent import wiring
from agent.adapters.common.http import HttpError
from agent.adapters.evidence.git import GitEvidence
from agent.adapters.evidence.github_actions import Actions
from agent.adapters.evidence.http import look_once, value_at
from agent.adapters.evidence.judge import JudgeEvidence
from agent.adapters.evidence.oci import Registry
from agent.adapters.evidence.settings import Look, ServiceSettings
from agent.adapters.files.config import NAME, ModelSettings, Settings
from agent.adapters.files.toml import did_you_mean
from agent.adapters.issues.github import GitHubIssues
from agent.adapters.remedies.settings import RemedySettings
from agent.core.model.nouns import Noun, TaskKind
from agent.core.model.policy import Policy
from agent.errors import WavekeeperError

State = Literal["ok", "warn", "fail"]


class Check(Noun):
    """One thing that was looked at."""

    name: str
    state: State
    said: str
    fix: str | None = None
    """What to do about it; None: nothing, or `said` tells."""


def tried(name: str, look: Callable[[], str | Check]) -> Check:
    """What `look` says; an error's message says what is wrong and what to do."""
    try:
        said = look()
    except WavekeeperError as error:
        return Check(name=name, state="fail", said=str(error))
    return said if isinstance(said, Check) else Check(name=name, state="ok", said=said)


def systems(settings: Settings) -> Iterator[Check]:
    """One check for each system of each service, each remedy, and the home of issues."""
    policy = cache(partial(wiring.policy_of, settings))
    for name, service in settings.services.items():
        yield tried(f"service {name}", partial(_ladder, policy, name, service))
        yield from _service(name, service)
    for name, remedy in settings.remedies.items():
        yield tried(f"remedy {name}", partial(_remedy, policy, f"remedy {name}", remedy))
    model = settings.model
    if (model.reviewer, model.drafter) != ("none", "none"):
        yield tried("model", partial(_model, model))
    own_issues = settings.issues
    if own_issues.home == "github" and own_issues.repository is not None:
        github = GitHubIssues(
            own_issues.repository,
            token=own_issues.token,
            api=own_issues.api,
            authority=own_issues.authority,
        )
        yield tried("issues", lambda: f"{own_issues.repository}: {github.check()}")


def _model(model: ModelSettings) -> str:
    """Whether there is a key; the model itself is not asked, because every question costs."""
    model.key()
    asked = [
        f"{job} {name}"
        for job, who, name in (
            ("reviews by", model.reviewer, model.review_model),
            ("drafts by", model.drafter, model.draft_model),
        )
        if who != "none"
    ]
    return f"{' and '.join(asked)} at {model.base_url}; {model.key_variable} is set, not tried"


def _ladder(policy: Callable[[], Policy], name: str, service: ServiceSettings) -> str | Check:
    """Whether a delivery of this service could be proven at all."""
    ladder = policy().completion.ladder[TaskKind.ARTIFACT_DELIVERY].rungs
    others = service.proofs | GitEvidence.kinds | JudgeEvidence.kinds
    open_rungs = [" or ".join(rung) for rung in ladder if not others & set(rung)]
    if not open_rungs:
        return "every rung of an artifact delivery is looked at"
    said = f"nothing tells {', '.join(open_rungs)}, so no delivery can be accepted"
    fix = f"add [services.{name}.image], .ci, [[.look]] or [[.command]]; docs/systems.md says which"
    return Check(name=f"service {name}", state="warn", said=said, fix=fix)


def _service(name: str, service: ServiceSettings) -> Iterator[Check]:
    if (image := service.image) is not None:
        where = f"{image.registry}/v2/{image.repository}"
        registry = Registry(service, image)
        yield _asked(f"service {name}: registry", lambda: f"{where} {registry.check()}")
    if (ci := service.ci) is not None:
        actions = Actions(service, ci)

        def repository() -> str:
            actions.get("")
            return f"{ci.repository} answers"

        yield _asked(f"service {name}: CI", repository)
    for look in service.look:
        yield _asked(f"service {name}: {look.proof}", partial(_seen, service, look))
    for question in service.command:
        title = f"service {name}: {question.proof}"
        yield _program(title, question.argv, question.environment, "reads with")


def _seen(service: ServiceSettings, look: Look) -> str:
    answer = look_once(service, look)
    if answer.status != look.status:
        raise HttpError(f"{answer.url} answered {answer.status}, not {look.status}")
    if look.pointer is None and look.header is None:
        return f"{answer.url} answers"
    if value_at(answer, look) is None:
        raise HttpError(f"{answer.url} has nothing at {look.pointer or look.header}")
    return f"{answer.url} answers, with {look.pointer or look.header}"


def _asked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, state="ok", said=look())
    except HttpError as error:
        fix = f"until it answers, what it knows is unknown and nothing is accepted; see {NAME}"
        return Check(name=name, state="fail", said=str(error), fix=fix)


def _remedy(policy: Callable[[], Policy], name: str, own: RemedySettings) -> Check:
    reasons = policy().failures.by_id
    if unknown := [one for one in own.reasons if one not in reasons]:
        hint = did_you_mean(unknown[0], reasons) or f"; known are {', '.join(sorted(reasons))}"
        said = f"no failure has the reason {unknown[0]!r}, so it is never proposed{hint}"
        return Check(name=name, state="warn", said=said, fix=f"correct its reasons in {NAME}")
    for argv in (own.dry_run, own.command, own.verify):
        check = _program(name, argv, own.variables, "runs")
        if check.state != "ok":
            return check
    what = "a live remedy in dev" if own.environment == "dev" else "a deploy to production"
    said = f"{what}, at {own.target}: {' '.join(own.command)}, after {' '.join(own.dry_run)}"
    return Check(name=name, state="ok", said=said)


def _program(name: str, argv: Sequence[str], variables: Sequence[str], verb: str) -> Check:
    if shutil.which(argv[0]) is None:
        fix = f"install it, or write its full path into {NAME}"
        return Check(name=name, state="fail", said=f"{argv[0]} is not on PATH", fix=fix)
    for variable in variables:
        if not os.environ.get(variable):
            fix = f"set {variable} where `wavekeeper run` is started"
            return Check(name=name, state="fail", said=f"{variable} is not set", fix=fix)
    return Check(name=name, state="ok", said=f"{verb} {' '.join(argv)}")
