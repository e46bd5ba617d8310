"""How the systems outside are put together: which probe knows what from which other one.

`wiring` is the only module that uses it; it stands apart because it has one subject of its own.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from agent.adapters.evidence.command import CommandEvidence
from agent.adapters.evidence.git import GitEvidence
from agent.adapters.evidence.github_actions import GitHubActionsEvidence
from agent.adapters.evidence.http import HttpEvidence
from agent.adapters.evidence.judge import JudgeEvidence
from agent.adapters.evidence.oci import OciEvidence
from agent.adapters.evidence.probe import Known
from agent.adapters.evidence.settings import IssueSettings, ServiceSettings
from agent.adapters.files.config import Settings
from agent.adapters.files.toml import did_you_mean
from agent.adapters.files.wave import WaveFile
from agent.adapters.git.references import GitReferences
from agent.adapters.git.worktrees import GitWorktrees
from agent.adapters.issues.github import GitHubIssues
from agent.adapters.issues.local import LocalIssues
from agent.adapters.remedies.command import CommandRemedies
from agent.adapters.remedies.settings import RemedySettings
from agent.core.model.nouns import Evidence, ProofKind
from agent.core.model.queueing import TaskSpec, TaskView
from agent.errors import WaveFileError
from agent.ports import EvidenceProbe, Issues, References, Remedies

Probe = TypeVar("Probe", bound=EvidenceProbe)


class Remembered(Generic[Probe]):
    """A probe that is asked once for each task in each tick, and what it saw."""

    def __init__(self, probe: Probe) -> None:
        self.kinds = probe.kinds
        self._probe = probe
        self._seen: dict[str, tuple[TaskSpec, TaskView, datetime, Sequence[Evidence]]] = {}

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        """What it saw at `now`."""
        seen = self._seen.get(spec.id)
        if seen is None or seen[:3] != (spec, view, now):
            seen = (spec, view, now, self._probe.probe(spec, view, now))
            self._seen[spec.id] = seen
        return seen[3]

    def known(self, kind: ProofKind) -> Known:
        """The value of what it saw to hold, of this kind."""

        def value(spec: TaskSpec, view: TaskView, now: datetime) -> str | None:
            items = self.probe(spec, view, now)
            return next((one.value for one in items if one.kind is kind and one.holds), None)

        return value


def service_probes(
    services: Mapping[str, ServiceSettings], git: Remembered[GitEvidence]
) -> tuple[EvidenceProbe, ...]:
    """The probes of the configured services; none where there is no service."""
    if not services:
        return ()
    pushed = git.known(ProofKind.COMMIT_PUSHED)
    registry = Remembered(OciEvidence(services, pushed))
    recorded = registry.known(ProofKind.DIGEST_RECORDED)
    return (
        GitHubActionsEvidence(services, pushed),
        registry,
        HttpEvidence(services, pushed, recorded),
        CommandEvidence(services, pushed, recorded),
    )


def probes_of(
    services: Mapping[str, ServiceSettings], git: GitEvidence
) -> tuple[EvidenceProbe, ...]:
    """Every probe: git's and the judge's, and those of the configured services."""
    seen = Remembered(git)
    return (seen, JudgeEvidence(), *service_probes(services, seen))


def refuse_unknown_names(path: Path, wave: WaveFile, settings: Settings) -> None:
    """WaveFileError, one line, for a task whose queue or service is not configured."""
    known, services = {queue.id for queue in settings.queues}, settings.services
    for task in wave.tasks:
        if known and task.queue not in known:
            raise WaveFileError(
                f"{path}:{wave.lines[task.id]}: task {task.id} names the queue {task.queue!r}, "
                f"which wavekeeper.toml does not have; its queues are {', '.join(sorted(known))}",
            )
        if task.service is not None and task.service not in services:
            hint = did_you_mean(task.service, services) or (
                f"; its services are {', '.join(sorted(services))}"
                if services
                else "; add [services.NAME]"
            )
            raise WaveFileError(
                f"{path}:{wave.lines[task.id]}: task {task.id} names the service "
                f"{task.service!r:.80}, which wavekeeper.toml does not have{hint}",
            )


def issues_in(own: IssueSettings, folder: Path) -> Issues:
    """Where defects are written down: GitHub if it is configured, else files in `folder`."""
    if own.home == "local" or own.repository is None:
        return LocalIssues(folder)
    return GitHubIssues(
        own.repository, token=own.token, api=own.api, labels=own.labels, authority=own.authority
    )


def remedies_in(remedies: Mapping[str, RemedySettings], folder: Path) -> Remedies:
    """The configured remedies; what was done is noted in `folder`."""
    return CommandRemedies(remedies, folder)


def references_in(remote: tuple[str, str], folder: Path, documents: Sequence[str]) -> References:
    """Proposals out of checkouts of the supervisor's own, all of them below `folder`.

    `remote`: the address to fetch from, and the one to push to.
    """
    worktrees = GitWorktrees(remote[0], folder / "worktrees", folder / "clone")
    return GitReferences(worktrees, remote[1], documents)
