"""Step 1 of the tick: read what changed and build one immutable snapshot. It decides nothing."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeVar

from agent.core.approval.requests import with_declined
from agent.core.assess.liveness import polls_before
from agent.core.journal.records import Standing, WaveRecord
from agent.core.model.nouns import (
    TERMINAL,
    ControlPlane,
    Defect,
    Evidence,
    Grants,
    LateReport,
    Noun,
    Outcome,
    ProofKind,
    Queue,
    Snapshot,
    Status,
    Supervisor,
    Task,
    Wave,
    Window,
)
from agent.core.model.policy import LivenessPolicy, Policy
from agent.core.model.queueing import Changes, Cursor, TaskView
from agent.core.plan.lessons import durable
from agent.errors import QueueUnavailableError
from agent.runtime.context import Supervision, World, spent_by

Clamped = TypeVar("Clamped", bound=Noun)
_CANCEL_REQUESTED = {None: False, "interrupt": True, "cancel": True, "unknown": None}
OUTCOMES = 20
"""The latest outcomes that the window is judged by."""


class Observer:
    """Keeps the last view of each unsettled task, so that a tick reads only what changed."""

    def __init__(self, world: World, supervision: Supervision, *, probing: bool = True) -> None:
        self._world = world
        self._supervision = supervision
        self._probing = probing
        self._views: dict[str, TaskView] = {}
        self._late: set[str] = set()
        self._old: set[str] = set()
        """Tasks whose last view is old, because the queue said nothing of them that counts."""
        self.cursor: Cursor | None = None
        """How far this observer has read; the tick notes it once it is done with what it saw."""

    def observe(self) -> Snapshot:
        """Look at the whole wave."""
        reachable = self._read_changes()
        standings = {one.spec.id: one for one in self._world.store.standings(settled=False)}
        for task in sorted(self._late - set(standings)):
            standing = self._world.store.standing(task)
            if standing is not None and _unread_late(standing, self._views[task]):
                standings[task] = standing
            else:
                self._late.discard(task)
        self._forget(set(standings))
        for task, standing in standings.items():
            unseen = task not in self._views and task not in self._old
            if standing.status != "planned" and unseen:
                reachable = self._read_one(task) and reachable
        # The clock is read after the queue: nothing it reported may lie in the future.
        now = self._world.clock.now()
        tasks = [self._task(standing, now, reachable=reachable) for standing in standings.values()]
        tasks = with_declined(tasks, self._world.approvals.declined())
        tasks += self._settled_dependencies(standings)
        tasks += self._fixers(standings, now, reachable=reachable)
        return self._snapshot(now, tasks, reachable=reachable)

    def observe_again(self, snapshot: Snapshot, task: str | None, *, probe: bool) -> Snapshot:
        """Look again at that one task, directly before acting on it; the rest as last seen."""
        reachable = task is None or self._read_one(task)
        now = self._world.clock.now()
        seen = {one.id: one for one in snapshot.tasks}
        standings = {one.spec.id: one for one in self._world.store.standings(settled=False)}
        if task is not None and (settled := self._world.store.standing(task)) is not None:
            standings[task] = settled
        tasks = [one for one in snapshot.tasks if one.id not in standings]
        for standing in standings.values():
            one = standing.spec.id
            if one == task and probe:
                tasks.append(self._task(standing, now, reachable=reachable))
                continue
            evidence = seen[one].evidence if one in seen else ()
            view = self._views.get(one)
            policy = self._supervision.policy.liveness
            again = task_of(standing, view, evidence, now, policy, reachable=reachable)
            tasks.append(self._priced(again, standing))
        fresh = self._snapshot(now, tasks, reachable=reachable)
        return fresh.model_copy(update={"supervisor": snapshot.supervisor, "mode": snapshot.mode})

    def refresh(self, task: str) -> None:
        """Read one task again, because it was just acted upon."""
        self._read_one(task)

    def _read_changes(self) -> bool:
        notes = self._world.store.notes()
        if self.cursor is None and "cursor" in notes:
            self.cursor = Cursor(position=notes["cursor"])
        try:
            changes = self._changes()
        except QueueUnavailableError:
            return False
        self._old = set(changes.unreadable)
        for view in changes.tasks:
            self._views[view.id] = view
            if view.late_reports:
                self._late.add(view.id)
        self.cursor = changes.cursor
        return True

    def _changes(self) -> Changes:
        try:
            return self._world.queue.changed_since(self.cursor)
        except ValueError:
            # The cursor is of another queue (its file was replaced): everything is read again.
            return self._world.queue.changed_since(None)

    def _read_one(self, task: str) -> bool:
        try:
            view = self._world.queue.get(task)
        except QueueUnavailableError:
            return False
        if view is not None:
            self._views[task] = view
        self._old.discard(task)
        return True

    def _forget(self, wanted: set[str]) -> None:
        for task in self._views.keys() - wanted:
            del self._views[task]

    def _task(self, standing: Standing, now: datetime, *, reachable: bool) -> Task:
        view = self._views.get(standing.spec.id)
        evidence: Iterable[Evidence] = standing.evidence
        if self._probing and view is not None and _wants_proof(standing, view):
            evidence = self._probe(standing, view, now)
        policy = self._supervision.policy.liveness
        seen = reachable and standing.spec.id not in self._old
        task = task_of(standing, view, evidence, now, policy, reachable=seen)
        return self._priced(task, standing)

    def _priced(self, task: Task, standing: Standing) -> Task:
        """The task with what its own and its wave's budget leave for models."""
        left = self._supervision.reading.tokens_left(
            standing.spent, spent_by(self._world.store.notes(), standing.wave)
        )
        return task.model_copy(update={"tokens_left": left})

    def _probe(self, standing: Standing, view: TaskView, now: datetime) -> tuple[Evidence, ...]:
        wanted = wanted_proof(standing, self._supervision.policy)
        return tuple(
            item
            for probe in self._world.probes
            if probe.kinds & wanted
            for item in probe.probe(standing.spec, view, now)
            if item.kind in wanted
        )

    def _settled_dependencies(self, standings: Mapping[str, Standing]) -> list[Task]:
        """What a waiting task depends on must be seen, even when it is long accepted."""
        needed = {
            one
            for standing in standings.values()
            if standing.status == "planned"
            for one in standing.spec.depends_on
            if one not in standings
        }
        found = (self._world.store.standing(one) for one in sorted(needed))
        return [
            Task(id=one.spec.id, kind=one.spec.kind, status=status_of(one, None))
            for one in found
            if one is not None
        ]

    def _fixers(
        self, standings: Mapping[str, Standing], now: datetime, *, reachable: bool
    ) -> list[Task]:
        """Tasks that fixed a defect whose lesson is still to be written down."""
        known = self._supervision.policy
        found = []
        for task in durable(self._world.store.defects(), known.failures).keys() - standings.keys():
            standing = self._world.store.standing(task)
            if standing is not None and self._read_one(task):
                view = self._views.get(task)
                evidence = standing.evidence
                found.append(
                    task_of(standing, view, evidence, now, known.liveness, reachable=reachable)
                )
        return found

    def _known(self, defect: Defect) -> Defect:
        """Whoever mends a defect by hand says so by closing its issue; a released task shows it.

        Policy: "then fix the infrastructure manually if Code Queue cannot move past it, and only
        then resume the delivery wave."
        """
        if not self._probing or defect.status != "recorded" or defect.issue is None:
            return defect
        if self._world.issues.is_open(defect.issue) is not False:
            return defect
        fixed = defect.model_copy(update={"status": "fixed", "proven_by": None})
        self._world.store.save_defect(fixed)
        return fixed

    def _low_memory(self) -> bool | None:
        machine = self._world.machine
        free = machine.free_memory() if machine is not None else None
        return self._supervision.policy.submit.is_low(free)

    def _snapshot(self, now: datetime, tasks: list[Task], *, reachable: bool) -> Snapshot:
        store = self._world.store
        notes = store.notes()
        last = notes.get("last_tick_at")
        queues = self._queues(reachable=reachable)
        return Snapshot(
            now=now,
            mode=self._supervision.mode,
            supervisor=Supervisor(
                last_tick_at=_by(now, datetime.fromisoformat(last)) if last else None,
                interval=self._supervision.interval,
                host=_host(self._supervision.host),
                low_memory=self._low_memory(),
            ),
            wave=_wave(self._waves_at_work()),
            window=_window(notes, store.outcomes(OUTCOMES), self._supervision.policy, now),
            control_plane=self._control_plane(reachable=reachable),
            queues=queues,
            remedies=tuple(self._world.remedies.known()) if self._world.remedies else (),
            defects=tuple(self._known(defect) for defect in store.defects()),
            tasks=tuple(tasks),
        )

    def _waves_at_work(self) -> Sequence[WaveRecord]:
        """The waves with open tasks; when all is settled, the latest one."""
        waves = self._world.store.waves()
        at_work = {one.wave for one in self._world.store.standings(settled=False)}
        return [wave for wave in waves if wave.id in at_work] or waves[-1:]

    def _control_plane(self, *, reachable: bool) -> ControlPlane:
        """What the queue last said of itself; a queue that does not answer is not reachable."""
        said = self._world.queue.control_plane()
        if reachable:
            return said
        return said.model_copy(update={"reachable": False, "submit_lock": "unknown"})

    def _queues(self, *, reachable: bool) -> tuple[Queue, ...]:
        if not reachable:
            return ()
        try:
            views = self._world.queue.queues()
        except QueueUnavailableError:
            return ()
        return tuple(
            Queue(
                id=view.id, kind=view.kind, risk=view.risk, counts=view.counts, unread=view.unread
            )
            for view in views
        )


def _wants_proof(standing: Standing, view: TaskView) -> bool:
    """Evidence is fetched for a result that has been read and is not settled."""
    return (
        standing.status == "submitted"
        and view.state in TERMINAL
        and standing.inspected_attempt >= view.attempt
    )


def wanted_proof(standing: Standing, policy: Policy) -> frozenset[ProofKind]:
    """The kinds of evidence this task's ladder and criteria ask for."""
    ladder = policy.completion.ladder[standing.spec.kind].rungs
    own = {one.proof for one in standing.spec.criteria if isinstance(one.proof, ProofKind)}
    return frozenset(kind for rung in ladder for kind in rung) | own


def status_of(standing: Standing, view: TaskView | None) -> Status | None:
    """The supervisor's word where it has one, else the queue's; None: neither knows."""
    if standing.status != "submitted":
        return Status(standing.status)
    return view.state if view is not None else None


def task_of(
    standing: Standing,
    view: TaskView | None,
    evidence: Iterable[Evidence],
    now: datetime,
    policy: LivenessPolicy,
    *,
    reachable: bool,
) -> Task:
    """One task from what the supervisor remembers and what the queue shows, nothing after `now`."""
    spec = standing.spec
    common = Task(
        id=spec.id,
        queue=spec.queue,
        kind=spec.kind,
        status=status_of(standing, view),
        attempts_left=max(0, spec.attempts - 1 - len(standing.charged)),
        session_continuable=True,
        probe="ok" if reachable else "failed",
        at_risk_polls=polls_before(
            standing.at_risk_polls, standing.at_risk_counted_at, now, policy
        ),
        last_interrupt_at=_by(now, standing.last_interrupt_at),
        write_scope=spec.write_scope,
        prompt=standing.prompt,
        criteria=spec.criteria,
        evidence=tuple(_clamped(item, now, "observed_at") for item in evidence),
        review=standing.review,
        blocked_by=standing.blocked_by,
        canary=standing.canary,
        depends_on=spec.depends_on,
        production_adjacent=spec.production_adjacent,
        fixes=spec.fixes,
    )
    return common if view is None else common.model_copy(update=_of_view(standing, view, now))


def _by(now: datetime, at: datetime | None) -> datetime | None:
    """`at`, but not after `now`: a clock that was set back must not stop the supervisor."""
    return at if at is None else min(at, now)


def _clamped(noun: Clamped, now: datetime, field: str) -> Clamped:
    at = getattr(noun, field)
    return noun if at is None or at <= now else noun.model_copy(update={field: now})


def _of_view(standing: Standing, view: TaskView, now: datetime) -> dict[str, object]:
    over = view.state in TERMINAL
    return {
        "queue": view.queue,
        "attempt": view.attempt,
        "started_at": _by(now, view.started_at),
        "finished_at": _by(now, view.finished_at),
        "control_plane": view.control_plane,
        "scheduler": view.scheduler,
        "heartbeat": view.heartbeat and _clamped(view.heartbeat, now, "at"),
        "trace": view.trace and _clamped(view.trace, now, "last_event_at"),
        "cancel_requested": _CANCEL_REQUESTED[view.stop_requested],
        "last_error": view.last_error,
        "final_response": view.final_response if over else None,
        "final_response_truncated": view.final_response_truncated,
        "judge": _clamped(view.judge, now, "at") if over and view.judge else None,
        "inspected": standing.inspected_attempt >= view.attempt,
        "prompt": view.prompt,
        "late_reports": tuple(_late(standing, late) for late in view.late_reports),
    }


def _unread_late(standing: Standing, view: TaskView) -> bool:
    return any(late.attempt not in standing.inspected_late for late in view.late_reports)


def _late(standing: Standing, late: LateReport) -> LateReport:
    return late.model_copy(update={"inspected": late.attempt in standing.inspected_late})


def _host(host: str) -> Literal["master", "worker"]:
    return "worker" if host == "worker" else "master"


def _wave(waves: Iterable[WaveRecord]) -> Wave:
    """All waves at work as one; a grant counts only if each of them has it."""
    known = list(waves)
    grants = [wave.grants for wave in known]
    return Wave(
        id=", ".join(wave.id for wave in known) or None,
        goal="; ".join(wave.goal for wave in known) or None,
        grants=Grants(
            production_repair=bool(grants) and all(one.production_repair for one in grants),
            established_deploy_path=bool(grants)
            and all(one.established_deploy_path for one in grants),
            manual_takeover=tuple(sorted({task for one in grants for task in one.manual_takeover})),
        ),
    )


def _window(
    notes: Mapping[str, str], outcomes: Iterable[Outcome], policy: Policy, now: datetime
) -> Window:
    changed = notes.get("window_changed_at")
    limit = int(notes["window_limit"]) if "window_limit" in notes else policy.window.start
    return Window.model_validate(
        {
            "limit": limit,
            "outcomes": tuple(_clamped(one, now, "at") for one in outcomes),
            "changed_at": _by(now, datetime.fromisoformat(changed)) if changed else None,
        },
    )
