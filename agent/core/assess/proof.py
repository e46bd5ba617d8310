"""Whether "done" is proven. Each kind of task has a ladder: the list of what must be proven.

Policy: "A Code Queue task is not complete merely because it pushed code." What a worker says is a
claim; what the supervisor fetched itself is observed; only observed evidence proves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from agent.core.model.actions import digest
from agent.core.model.nouns import Criterion, Evidence, JudgeRecord, ProofKind, Review, Task
from agent.core.model.policy import CompletionPolicy

RungState = Literal["proven", "missing", "claimed", "contradicted", "stale", "unknown"]

_WORST_FIRST: tuple[RungState, ...] = ("contradicted", "stale", "claimed", "missing", "unknown")
_JUDGED = (ProofKind.CHECKS_PASSED, ProofKind.BLOCKED_WORKFLOW_PROCEEDS)
_COMMITS: Final = {
    ProofKind.COMMIT_PUSHED: "pushed",
    ProofKind.ARTIFACT_BUILT: "built",
    ProofKind.LIVE_VERSION: "live",
}
"""The kinds whose value is a commit, and where that commit is."""
_DIGESTS: Final = {
    ProofKind.DIGEST_RECORDED: "recorded",
    ProofKind.DEV_DIGEST: "in dev",
    ProofKind.PROD_DIGEST: "in production",
}
"""The kinds whose value is a digest, and where that digest is."""
_AFTER_BUILD: Final = frozenset({
    ProofKind.DIGEST_RECORDED, ProofKind.DEV_DIGEST, ProofKind.PROD_DIGEST,
    ProofKind.NO_SOURCE_REBUILD, ProofKind.LIVE_HEALTH, ProofKind.LIVE_VERSION,
})  # fmt: skip
"""What a delivery shows only once its artifact was built."""

_SENTENCES: Final[Mapping[ProofKind, tuple[str, str]]] = {
    ProofKind.COMMIT_PUSHED: ("a commit was pushed", "no commit was pushed"),
    ProofKind.SCOPE_RESPECTED: (
        "only files in the write scope changed",
        "files outside the write scope changed",
    ),
    ProofKind.CHECKS_PASSED: ("the checks passed", "the checks did not pass"),
    ProofKind.ARTIFACT_BUILT: ("the artifact was built", "the artifact was not built"),
    ProofKind.DIGEST_RECORDED: ("the digest was recorded", "the digest was not recorded"),
    ProofKind.DEV_DIGEST: ("dev runs the artifact", "dev does not run the artifact"),
    ProofKind.PROD_DIGEST: (
        "production runs the artifact",
        "production does not run the artifact",
    ),
    ProofKind.NO_SOURCE_REBUILD: (
        "production was not rebuilt from source",
        "production was rebuilt from source",
    ),
    ProofKind.LIVE_HEALTH: ("the live service is healthy", "the live service is not healthy"),
    ProofKind.LIVE_VERSION: (
        "the live service runs the commit",
        "the live service does not run the commit",
    ),
    ProofKind.BLOCKED_WORKFLOW_PROCEEDS: (
        "the blocked workflow proceeds",
        "the blocked workflow does not proceed",
    ),
    ProofKind.REMAINING_STEP_NAMED: (
        "the remaining deployment step is named",
        "the remaining deployment step is not named",
    ),
    ProofKind.CHANGE_SHOWN: (
        "what was asked for is shown to work",
        "nothing shows that what was asked for works",
    ),
    ProofKind.LANDED: (
        "the default branch has the work",
        "the default branch does not have the work",
    ),
}
"""What each kind proves, and its opposite, as a person reads it."""


def assertion(kind: ProofKind) -> str:
    """What evidence of this kind proves, as a clause: `a commit was pushed`."""
    return _SENTENCES[kind][0]


def denial(kind: ProofKind, detail: str | None = None) -> str:
    """Evidence of this kind says no: one sentence, with what was seen if that is known."""
    no = _SENTENCES[kind][1]
    if detail is None or detail.startswith(no):
        return detail or no
    return f"{no}: {detail}"


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder, or one criterion's own proof."""

    kinds: tuple[ProofKind, ...]
    state: RungState
    detail: str
    unseen: Evidence | None = None
    """Where the state is unknown: the look that did not show it."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What stays unknown, and how long that goes on without a person."""

    rung: Rung
    since: datetime
    ask_at: datetime
    """From then on a person is asked."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What is proven, and what is not."""

    state: RungState
    """The worst state of any rung."""
    rungs: tuple[Rung, ...]
    criteria: Literal["none", "met", "unmet", "needs-review", "cannot-tell"]
    unmet: tuple[str, ...] = ()
    """Ids of the criteria that are not met, in the order of the task."""
    doubt: Doubt | None = None
    """Of what is unknown, that which a person is asked about first."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is unknown through a fault of the installation, one sentence each."""
        return tuple(one.detail for one in self.rungs if one.unseen and one.unseen.fault)

    @property
    def gaps(self) -> tuple[str, ...]:
        """What is not proven, one sentence each, in the ladder's order."""
        return tuple(rung.detail for rung in self.rungs if rung.state != "proven")

    @property
    def next_rung(self) -> Rung | None:
        """The one step to ask for."""
        return next((rung for rung in self.rungs if rung.state != "proven"), None)


def assess(task: Task, policy: CompletionPolicy) -> Proof:
    """Check the ladder of the task's kind, then its own criteria."""
    if task.kind is None:
        return Proof("unknown", (Rung((), "unknown", "the task's kind is unknown"),), "cannot-tell")
    wanted = list(policy.ladder[task.kind].rungs)
    climbed = {kind for rung in wanted for kind in rung}
    for criterion in task.criteria or ():
        if isinstance(criterion.proof, ProofKind) and criterion.proof not in climbed:
            wanted.append((criterion.proof,))
            climbed.add(criterion.proof)
    rungs = [_rung(kinds, task) for kinds in wanted]
    rungs += _identities(task)
    open_states = {rung.state for rung in _due(rungs)} - {"proven"}
    state: RungState = next((one for one in _WORST_FIRST if one in open_states), "proven")
    criteria, unmet = _criteria(task)
    doubts = [doubt for rung in rungs if (doubt := _doubt(rung, task, policy)) is not None]
    first = min(doubts, key=lambda doubt: doubt.ask_at, default=None)
    return Proof(state, tuple(rungs), criteria, unmet, first)


def _due(rungs: Sequence[Rung]) -> Sequence[Rung]:
    """Those that can be judged: while a build is on its way, nothing that follows it can be there.

    So a slow CI is not held against the task whose image it has not made.
    """
    on_its_way = any(
        rung.state == "unknown" and rung.kinds == (ProofKind.ARTIFACT_BUILT,) for rung in rungs
    )
    return [rung for rung in rungs if not on_its_way or _AFTER_BUILD.isdisjoint(rung.kinds)]


def _doubt(rung: Rung, task: Task, policy: CompletionPolicy) -> Doubt | None:
    """Unknown has an age: how long the source has not known, at the longest since the end."""
    if rung.unseen is None:
        return None
    since = rung.unseen.unknown_since or task.finished_at or task.started_at
    if since is None:
        return None
    patience = timedelta(seconds=rung.unseen.ask_after or policy.ask_after)
    return Doubt(rung, since, since + patience)


def _rung(kinds: tuple[ProofKind, ...], task: Task) -> Rung:
    """The best of the alternatives counts."""
    found = [_one(kind, task) for kind in kinds]
    for rung in found:
        if rung.state == "proven":
            return Rung(kinds, "proven", rung.detail)
    states = [rung.state for rung in found]
    best = next(state for state in (*_WORST_FIRST[:3], "unknown", "missing") if state in states)
    unseen = next((rung.unseen for rung in found if rung.unseen), None)
    detail = "; ".join(rung.detail for rung in found)
    return Rung(kinds, best, detail, unseen if best == "unknown" else None)


def _one(kind: ProofKind, task: Task) -> Rung:
    items = [item for item in task.evidence if item.kind is kind]
    observed = [item for item in items if item.origin == "observed"]
    yes = assertion(kind)
    if not observed:
        if any(item.holds for item in items):
            return Rung((kind,), "claimed", f"only the worker says that {yes}")
        return Rung((kind,), "missing", f"nothing shows yet that {yes}")
    last = _newest(observed)
    if last.holds is None:
        why = f": {last.detail}" if last.detail else ""
        fault = ", by a fault of the installation" if last.fault else ""
        return Rung((kind,), "unknown", f"it is unknown whether {yes}{fault}{why}", last)
    if not last.holds:
        return Rung((kind,), "contradicted", denial(kind, last.detail))
    if _stale(last, task):
        return Rung((kind,), "stale", f"{yes}, but this was seen before the last change")
    if last.value is None and (kind in _COMMITS or kind in _DIGESTS):
        what = "commit" if kind in _COMMITS else "digest"
        return Rung((kind,), "unknown", f"{yes}, but the evidence names no {what}", last)
    seen = last.detail or yes
    if kind is ProofKind.COMMIT_PUSHED and _was_there(last.value, task):
        return Rung((kind,), "contradicted", denial(kind, "it was there before this attempt"))
    denied = [one for one in _by_source(observed) if one.holds is False and not _stale(one, task)]
    if denied:
        no = denial(kind, _newest(denied).detail)
        return Rung((kind,), "contradicted", f"two sources disagree: {seen}; {no}")
    return Rung((kind,), "proven", seen)


def _by_source(items: Iterable[Evidence]) -> list[Evidence]:
    """The newest item of each source: a source supersedes only itself."""
    asked: dict[str | None, list[Evidence]] = {}
    for item in items:
        asked.setdefault(item.source, []).append(item)
    return [_newest(group) for group in asked.values()]


def _newest(items: Sequence[Evidence]) -> Evidence:
    """The latest item; of two at the same moment the one that denies, so that doubt wins.

    An undated denial may be the latest of all, an undated yes may not.
    """

    def place(item: Evidence) -> tuple[float, int, str, str]:
        undated = float("-inf") if item.holds else float("inf")
        at = item.observed_at.timestamp() if item.observed_at else undated
        doubt = {True: 0, None: 1, False: 2}[item.holds]
        return at, doubt, item.value or "", item.id

    return items[0] if len(items) == 1 else max(items, key=place)


def _stale(item: Evidence, task: Task) -> bool:
    """Evidence older than the last change; what is undated cannot show that it is newer.

    The judge's own checks run before the attempt ends; whatever else was seen before that end may
    have changed since.
    """
    if item.observed_at is None or task.started_at is None:
        return True
    if item.attempt is not None and item.attempt != task.attempt:
        return True
    changed = task.started_at if item.kind in _JUDGED else task.finished_at or task.started_at
    if item.observed_at < changed:
        return True
    pushed = commit_of(task.evidence)
    return (
        item.kind is ProofKind.CHECKS_PASSED
        and task.judge is not None
        and task.judge.commit is not None
        and pushed is not None
        and task.judge.commit != pushed
    )


def commit_of(evidence: Iterable[Evidence]) -> str | None:
    """The commit that was last seen on the remote branch."""
    return _value(ProofKind.COMMIT_PUSHED, evidence)


def pushed_commit(task: Task) -> str | None:
    """The commit that this attempt brought; one that was there before it is none."""
    commit = commit_of(task.evidence)
    return None if _was_there(commit, task) else commit


def _was_there(commit: str | None, task: Task) -> bool:
    known = task.baseline
    return known is not None and commit is not None and commit in (known.branch, known.default)


def newest(
    kind: ProofKind, evidence: Iterable[Evidence], *, holds: bool | None = True
) -> Evidence | None:
    """The newest observed item of this kind that holds. `holds=None`: whatever it says."""
    seen = [one for one in evidence if one.kind is kind and one.origin == "observed"]
    seen = [one for one in seen if holds is None or one.holds is holds]
    return _newest(seen) if seen else None


def _value(kind: ProofKind, evidence: Iterable[Evidence]) -> str | None:
    held = newest(kind, evidence)
    return held.value if held is not None else None


def _identities(task: Task) -> list[Rung]:
    """One commit from push to production, and one digest: compared here, not by a reviewer."""
    rungs: list[Rung] = []
    if len(task.evidence) < 2:  # noqa: PLR2004 - one item cannot disagree with itself
        return rungs
    for name, kinds in (("commit", _COMMITS), ("digest", _DIGESTS)):
        named = [(kind, value) for kind in kinds for value in _values(kind, task)]
        if len({value for _, value in named}) > 1:
            listed = ", ".join(f"{value} {kinds[kind]}" for kind, value in named)
            where = tuple(dict.fromkeys(kind for kind, _ in named))
            rungs.append(Rung(where, "contradicted", f"the {name}s differ: {listed}"))
    return rungs


def _values(kind: ProofKind, task: Task) -> list[str]:
    """The value of the newest positive item, and different values from other sources."""
    newest = _value(kind, task.evidence)
    if newest is None:
        return []
    items = [one for one in task.evidence if one.kind is kind and one.origin == "observed"]
    others = [
        one.value for one in _by_source(items) if one.holds and one.value and not _stale(one, task)
    ]
    return sorted({newest, *others})


def _criteria(
    task: Task,
) -> tuple[Literal["none", "met", "unmet", "needs-review", "cannot-tell"], tuple[str, ...]]:
    """No criteria means unverified, never passed. A review can only lower what evidence allows."""
    if not task.criteria:
        return "none", ()
    given = task.review
    if given is not None and not in_force(given, task):
        given = None
    review = given if given and given.abstained is None else None
    verdicts = {one.id: one.verdict for one in review.criteria} if review else {}
    unmet: list[str] = []
    waiting = doubtful = False
    for criterion in task.criteria:
        verdict = verdicts.get(criterion.id)
        if verdict == "unmet" or not _evidence_allows(criterion, task):
            unmet.append(criterion.id)
        elif verdict == "cannot-tell" or (verdict is None and review is not None):
            doubtful = True
        elif criterion.proof == "judgement" and verdict is None:
            waiting = True
    if unmet:
        return "unmet", tuple(unmet)
    if doubtful or (waiting and given is not None and not given.pending):
        return "cannot-tell", ()
    return ("needs-review", ()) if waiting else ("met", ())


def in_force(review: Review, task: Task) -> bool:
    """A review counts for its own attempt, and only while what it rests on has not changed."""
    if review.attempt is not None and review.attempt != task.attempt:
        return False
    now = substance(task.final_response, task.judge, task.evidence)
    return review.seen is None or review.seen == now


def substance(
    final_response: str | None, judge: JudgeRecord | None, evidence: Iterable[Evidence]
) -> str:
    """The digest of what a review rests on; looking again without finding a change keeps it."""
    items = sorted(
        [one.kind, one.origin, str(one.holds), one.value or "", str(one.attempt)]
        for one in evidence
    )
    judged = judge.model_dump(mode="json", exclude_none=True) if judge else None
    return digest([final_response, judged, items])


def _evidence_allows(criterion: Criterion, task: Task) -> bool:
    """Its own kind of evidence must be proven; an alternative on the ladder does not count."""
    kind = criterion.proof
    return not isinstance(kind, ProofKind) or _one(kind, task).state == "proven"
