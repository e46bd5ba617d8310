"""How many lanes have been earned, and whether one is free.

Policy: "A target around five concurrent lanes is the normal operating point; the supervisor should
push toward ten concurrent lanes when the active tasks have distinct write scopes, heartbeat/trace
evidence is healthy, and the observed success rate stays acceptable. If success quality starts to
slip, back off before expanding further."
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt
from typing import Literal

from agent.core.assess.liveness import Liveness
from agent.core.assess.write_scopes import distinct
from agent.core.model.nouns import ACTIVE, TERMINAL, Held, Snapshot, Task
from agent.core.model.policy import WindowPolicy


@dataclass(frozen=True, slots=True)
class Lanes:
    """The window now, and how it should change."""

    limit: int
    """What is in force; the policy's start when the snapshot does not say."""
    known: bool
    occupied: int
    action: Literal["hold", "widen", "narrow"]
    reason: str
    quality: Literal["unknown", "slipping", "steady"]
    scopes: Literal["unknown", "overlapping", "distinct"]
    ceiling: Literal["unknown", "reached", "below"]
    target: int
    """What the limit becomes when the action is carried out."""

    @property
    def free(self) -> int | None:
        """Lanes that may be given to another attempt; None: nobody knows the limit."""
        return max(0, self.limit - self.occupied) if self.known else None


def assess(
    snapshot: Snapshot,
    verdicts: Mapping[str, Liveness],
    policy: WindowPolicy,
    *,
    throttled: bool = False,
) -> Lanes:
    """Judge the window by the outcomes that the tasks themselves caused.

    `throttled`: since the last change a provider's rate limit ended an attempt.
    """
    known = snapshot.window.limit is not None
    limit = min(snapshot.window.limit or policy.start, policy.maximum)
    occupied = sum(holds_a_lane(task) for task in snapshot.tasks)
    quality = _quality(snapshot, policy)
    scopes = _scopes(snapshot)
    ceiling: Literal["unknown", "reached", "below"] = (
        "unknown" if not known else "reached" if limit >= policy.maximum else "below"
    )

    def verdict(
        action: Literal["hold", "widen", "narrow"], reason: str, target: int = limit
    ) -> Lanes:
        return Lanes(limit, known, occupied, action, reason, quality, scopes, ceiling, target)

    if not known:
        return verdict("hold", "the window's limit is not known")
    # Backing off comes first, and needs neither healthy tasks nor distinct scopes.
    if throttled and limit > policy.minimum:
        half = max(policy.minimum, limit // 2)
        return verdict("narrow", "a provider limits the rate, so the lanes are halved", half)
    if quality == "slipping" and limit > policy.minimum and _settled(snapshot, policy):
        return verdict("narrow", "the success rate is slipping", limit - 1)
    if quality == "slipping":
        return verdict(
            "hold", "the success rate is slipping; the window changed just now or is at its minimum"
        )
    if quality == "unknown":
        return verdict("hold", "too few outcomes, or too few successes, for another lane")
    if ceiling == "reached":
        return verdict("hold", "the window is at its maximum")
    if not _settled(snapshot, policy):
        return verdict("hold", "the last change is too recent")
    if (why := _not_yet(snapshot, verdicts, free=occupied < limit, scopes=scopes)) is not None:
        return verdict("hold", why)
    return verdict("widen", "the success rate has earned another lane", limit + 1)


def _not_yet(
    snapshot: Snapshot, verdicts: Mapping[str, Liveness], *, free: bool, scopes: str
) -> str | None:
    """Why an earned lane is not opened now; None: nothing blocks it."""
    if free:
        return "there are free lanes"
    if any(_unread(task) for task in snapshot.tasks):
        return "results are unread"
    if any(verdicts[task.id].effective == "at-risk" for task in snapshot.tasks):
        return "a task is at risk"
    return "write scopes overlap or are unknown" if scopes != "distinct" else None


def holds_a_lane(task: Task) -> bool:
    """Active, or finished and unread: a place is refilled only when its result has been read."""
    return task.word is None or task.status in ACTIVE or _unread(task)


def _unread(task: Task) -> bool:
    return task.status in TERMINAL and not task.inspected


def _quality(snapshot: Snapshot, policy: WindowPolicy) -> Literal["unknown", "slipping", "steady"]:
    changed = snapshot.window.changed_at
    counted = [
        outcome
        for outcome in snapshot.window.outcomes
        if outcome.attributable is not False and (changed is None or outcome.at >= changed)
    ]
    if len(counted) < policy.least_outcomes:
        return "unknown"
    good = sum(outcome.result == "accepted" for outcome in counted)
    if good / len(counted) < policy.narrow_at:
        return "slipping"
    if wilson_lower_bound(good, len(counted), policy.confidence) >= policy.widen_at:
        return "steady"
    return "unknown"


def wilson_lower_bound(good: int, total: int, z: float) -> float:
    """The lower end of the Wilson score interval of `good` out of `total`; 0 for no trials."""
    if total == 0:
        return 0.0
    rate = good / total
    spread = z * sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    return (rate + z * z / (2 * total) - spread) / (1 + z * z / total)


def _scopes(snapshot: Snapshot) -> Literal["unknown", "overlapping", "distinct"]:
    active = [task for task in snapshot.tasks if task.word is None or task.status in ACTIVE]
    if any(not task.write_scope for task in active):
        return "unknown"
    return "distinct" if distinct(task.write_scope or () for task in active) else "overlapping"


def _settled(snapshot: Snapshot, policy: WindowPolicy) -> bool:
    changed = snapshot.window.changed_at
    return changed is None or snapshot.now - changed >= timedelta(seconds=policy.settle)


def waits_for_dependencies(task: Task, held_as: Mapping[str, Held | None]) -> tuple[str, ...]:
    """The tasks it depends on that are not accepted yet."""
    return tuple(one for one in task.depends_on if held_as.get(one) != "accepted")
