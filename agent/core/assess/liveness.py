"""Whether a task is alive.

Two clocks per attempt: when the scheduler last received a heartbeat, and when the trace advanced.
Policy: "split-brain in queue diagnostics is a control-plane/execution-plane divergence signal, not
automatic evidence that the work is dead"; "expired, missing, or stale-recovery heartbeat evidence
should instead surface effectiveLiveness=at-risk".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from agent.core.model.nouns import Snapshot, Status, Task
from agent.core.model.policy import LivenessPolicy

BeatState = Literal["fresh", "expired", "missing", "stale-recovery"]
WORKING = frozenset({Status.RUNNING, Status.JUDGING})


@dataclass(frozen=True, slots=True)
class Liveness:
    """What is known about one task's liveness."""

    effective: Literal["live", "at-risk", "not-running"]
    reason: str
    split_brain_live: bool = False
    actionable: bool = False
    """Silent long enough, on two signals and enough polls: a stop may be proposed."""
    silent_for: float | None = None
    """Seconds since the last sign of life of this attempt; None: not running."""
    heartbeat: BeatState | None = None

    @property
    def recommended_action(self) -> str:
        """The `recommendedAction` of status output."""
        if self.effective == "live":
            return "continue-supervision"
        if self.effective == "at-risk":
            return "recover" if self.actionable else "watch"
        return "none"


def assess(task: Task, now: datetime, policy: LivenessPolicy) -> Liveness:
    """Judge one task by its two clocks."""
    if task.status not in WORKING:
        return Liveness("not-running", f"the task is {task.word or 'in an unknown state'}")
    beat = _heartbeat(task, now)
    silence = _silence(task, now)
    trace_silence = _trace_silence(task, now)
    split = _split_brain(task)
    # A task that waits for a person or for a provider's reset is not silent, and a judge step
    # writes no trace. For both, only the heartbeat counts.
    trace_counts = task.waiting_for is None and task.status is Status.RUNNING
    quiet = trace_counts and trace_silence >= policy.show_after
    if beat == "fresh" and not quiet:
        last = f"last output {trace_silence:.0f} s ago"
        why = f"heartbeat fresh, {last if trace_counts else _waits(task)}"
        if split:
            why += "; the planes disagree on its status, but it works"
        return Liveness("live", why, split_brain_live=split, silent_for=silence, heartbeat=beat)
    why = f"heartbeat {beat}, no sign of life for {silence:.0f} s"
    if beat == "fresh":
        why = f"heartbeat fresh, no output for {trace_silence:.0f} s"
    return Liveness(
        "at-risk",
        why,
        actionable=_actionable(task, now, policy, beat),
        silent_for=silence,
        heartbeat=beat,
    )


def _actionable(task: Task, now: datetime, policy: LivenessPolicy, beat: BeatState) -> bool:
    """Act late: two independent signals, enough polls in a row, and never twice in a cooldown.

    Both clocks must be known. A sign of life that may belong to another attempt protects the task.
    """
    if task.attempt is None or task.heartbeat is None or task.trace is None:
        return False
    signs = [task.started_at]
    if task.heartbeat.origin != "recovery" and task.heartbeat.attempt in (None, task.attempt):
        signs.append(task.heartbeat.at)
        expires = task.heartbeat.expires_at
        if expires is None or expires > now:
            return False
    if task.trace.attempt in (None, task.attempt):
        signs.append(task.trace.last_event_at)
    silence = _since(signs, now)
    if beat == "fresh" or silence == float("inf") or silence < policy.act_after:
        return False
    if task.waiting_for is not None:
        return False
    if task.probe != "ok":  # a failed probe proves neither life nor death
        return False
    if (task.at_risk_polls or 0) + 1 < policy.polls:
        return False
    last = task.last_interrupt_at
    return last is None or now - last >= timedelta(seconds=policy.cooldown)


def _heartbeat(task: Task, now: datetime) -> BeatState:
    beat = task.heartbeat
    if beat is None:
        return "missing"
    if beat.origin != "worker" or beat.attempt is None or beat.attempt != task.attempt:
        return "stale-recovery"
    if beat.expires_at is None or beat.expires_at <= now:
        return "expired"
    return "fresh"


def _silence(task: Task, now: datetime) -> float:
    """Seconds since the last sign of life on either clock; infinite if there was none."""
    signs = [task.started_at]
    if task.heartbeat and task.heartbeat.attempt == task.attempt:
        signs.append(task.heartbeat.at if task.heartbeat.origin == "worker" else None)
    if task.trace and task.trace.attempt == task.attempt:
        signs.append(task.trace.last_event_at)
    return _since(signs, now)


def _trace_silence(task: Task, now: datetime) -> float:
    signs = [task.started_at]
    if task.trace and task.trace.attempt == task.attempt:
        signs.append(task.trace.last_event_at)
    return _since(signs, now)


def _since(signs: list[datetime | None], now: datetime) -> float:
    known = [at for at in signs if at is not None]
    return (now - max(known)).total_seconds() if known else float("inf")


def _split_brain(task: Task) -> bool:
    planes = (task.control_plane, task.scheduler)
    return any(
        plane is not None and plane.status is not None and plane.status != task.status
        for plane in planes
    )


def _waits(task: Task) -> str:
    return f"waits for {task.waiting_for}" if task.waiting_for else "the judge step runs"


def suspension(
    snapshot: Snapshot, verdicts: Mapping[str, Liveness], policy: LivenessPolicy
) -> str | None:
    """Why the supervisor should only observe in this tick; None: it need not.

    One shared fault is more likely than many when the supervisor itself was away, or when many
    tasks turn at risk in the same tick.
    """
    last = snapshot.supervisor.last_tick_at
    if last is not None:
        interval = snapshot.supervisor.interval or policy.cadence
        gap = (snapshot.now - last).total_seconds()
        if gap > max(policy.away_intervals * interval, policy.away_floor):
            return f"the supervisor itself was away for {gap:.0f} s; this tick only observes"
    working = [task for task in snapshot.tasks if task.status in WORKING]
    turned = [
        task
        for task in working
        if verdicts[task.id].effective == "at-risk" and not task.at_risk_polls
    ]
    if len(turned) >= max(policy.shared_at_risk, policy.shared_share * len(working)):
        at_risk = f"{len(turned)} of {len(working)} tasks"
        return f"{at_risk} turned at risk at once, which suggests a shared fault"
    return None


def polls_before(
    count: int, counted_at: datetime | None, now: datetime, policy: LivenessPolicy
) -> int:
    """How many polls before this one found the task at risk; two close together are one poll."""
    same = counted_at is not None and now - counted_at < timedelta(seconds=policy.poll_spacing)
    return max(0, count - 1) if same else count


def polls_after(
    verdict: Liveness,
    count: int,
    counted_at: datetime | None,
    now: datetime,
    policy: LivenessPolicy,
) -> tuple[int, datetime | None]:
    """The count once this poll is over, and when it last rose."""
    if verdict.effective != "at-risk":
        return 0, None
    if counted_at is not None and now - counted_at < timedelta(seconds=policy.poll_spacing):
        return count, counted_at
    return count + 1, now
