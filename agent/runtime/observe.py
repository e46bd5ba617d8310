"""Step 1 of the tick: read what changed and build one immutable snapshot. It decides nothing."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, TypeVar

from agent.core.approval.requests import add_declined
from agent.core.assess.assessment import durable
from agent.core.assess.judgement import MUST_SHOW
from agent.core.assess.liveness import polls_before
from agent.core.assess.proof import commit_of
from agent.core.journal.records import Damaged, TaskRecord, WaveRecord
from agent.core.model.nouns import (
    TERMINAL,
    BranchMoved,
    ControlPlane,
    Defect,
    Evidence,
    Grants,
    Held,
    LateReport,
    Noun,
    Outcome,
    ProofKind,
    Queue,
    RemoteSeen,
    Snapshot,
    Status,
    Supervisor,
    Task,
    Wave,
    Window,
    contradiction,
)
from agent.core.model.policy import LivenessPolicy, Policy
from agent.core.model.queueing import Changes, Cursor, Judgement, TaskView
from agent.errors import (
    QueueUnavailableError,
    RemoteUnavailableError,
    UnreadableAnswerError,
    UnusableStoreError,
    describe_error,
)
from agent.ports import Heads
from agent.runtime.context import Ports, Supervision, spent_by

Clamped = TypeVar("Clamped", bound=Noun)
_CANCEL_REQUESTED = {None: False, "interrupt": True, "cancel": True, "unknown": None}
OUTCOMES = 20
"""The latest outcomes that the window is judged by."""


class Observer:
    """Keeps the last view of each unsettled task, so that a tick reads only what changed."""

    def __init__(self, ports: Ports, supervision: Supervision, *, probing: bool = True) -> None:
        self._ports = ports
        self._supervision = supervision
        self._probing = probing
        self._views: dict[str, TaskView] = {}
        self._settled: set[str] = set()
        """Settled tasks of which the queue shows something new: a late report, another attempt."""
        self._unread: dict[str, str] = {}
        """Tasks of which the queue said nothing that can be relied on, and why."""
        self._damaged: Sequence[Damaged] = ()
        """What the state holds and nobody can read; whatever rests on it waits for a person."""
        self._open: set[str] | None = None
        self._accepted: list[TaskRecord] = []
        """The accepted tasks, read again when the open ones are others."""
        self._seen: Snapshot | None = None
        """The last snapshot, with every single task that was looked at again since."""
        self._spent: Mapping[str, str] = {}
        """The notes that say what each wave has spent, read once for a look."""
        self.cursor: Cursor | None = None
        """How far this observer has read; the tick notes it once it is done with what it saw."""

    def observe(self) -> Snapshot:
        """Look at the whole wave."""
        reachable = self._read_changes()
        self._damaged = self._ports.state.damaged(OUTCOMES)
        task_records = {one.spec.id: one for one in self._ports.store.task_records(settled=False)}
        for task in sorted(self._settled - set(task_records)):
            task_record = self._ports.store.task_record(task)
            if task_record is not None and _is_news(task_record, self._views[task]):
                task_records[task] = task_record
            else:
                self._settled.discard(task)
        self._forget(set(task_records))
        for task, task_record in task_records.items():
            unseen = task not in self._views and task not in self._unread
            if task_record.status != "planned" and unseen:
                reachable = self._read_one(task) and reachable
        # The clock is read after the queue: nothing it reported may lie in the future.
        now = self._ports.clock.now()
        self._spent = self._ports.store.notes()
        # First, so that one question serves every task's evidence as well.
        heads = self._heads(now) if task_records else None
        tasks = [
            self._task(task_record, now, reachable=reachable)
            for task_record in task_records.values()
        ]
        tasks = add_declined(tasks, self._ports.approvals.declined())
        tasks += self._settled_dependencies(task_records)
        tasks += self._fixers({task.id for task in tasks}, now, reachable=reachable)
        tasks += self._unreadable({task.id for task in tasks})
        around = self._around(now, reachable=reachable)
        watched = self._watch(task_records.values(), heads) if heads is not None else None
        if watched is not None:
            tasks = [self._with_pushes(one, watched) for one in tasks]
        self._seen = Snapshot(
            **around, remote=watched, defects=tuple(self._defects()), tasks=tuple(tasks)
        )
        return self._seen

    def look_again(self, task: str | None, *, probe: bool) -> Snapshot:
        """Look again at that one task, directly before acting on it; the others as last seen.

        With `probe` its evidence is fetched anew. What concerns no single task is read again, too.
        """
        before = self._seen or self.observe()
        reachable = task is None or self._read_one(task)
        now = self._ports.clock.now()
        self._spent, tasks = self._ports.store.notes(), before.tasks
        if task is not None and (task_record := self._ports.store.task_record(task)) is not None:
            known = next((one for one in before.tasks if one.id == task), None)
            evidence = None if probe else known.evidence if known is not None else ()
            fresh = self._task(task_record, now, evidence, reachable=reachable)
            if known is not None:
                kept = {"declined": known.declined, "pushed_to_default": known.pushed_to_default}
                fresh = fresh.model_copy(update=kept)
            tasks = tuple(fresh if one.id == task else one for one in before.tasks)
            tasks = tasks if known is not None else (*tasks, fresh)
        open_issues = {one.id: one.issue_open for one in before.defects}
        defects = [
            one.model_copy(update={"issue_open": open_issues.get(one.id)})
            for one in self._ports.store.defects()
        ]
        again = self._around(now, reachable=reachable)
        # Copied and not built anew: the other tasks were looked through when they were observed. A
        # supervisor that works on its tick is not away, however long that takes.
        self._seen = before.model_copy(
            update={**again, "supervisor": before.supervisor, "defects": tuple(defects),
                    "tasks": tasks}
        )  # fmt: skip
        return self._seen

    def go_on_with(self, snapshot: Snapshot) -> None:
        """Take this as what was seen, because of a task nothing can be decided from all of it."""
        self._seen = snapshot

    def refresh(self, task: str) -> None:
        """Read one task again, because it was just acted upon."""
        if self._seen is not None:
            self.look_again(task, probe=False)

    def _read_changes(self) -> bool:
        notes = self._ports.store.notes()
        if self.cursor is None and "cursor" in notes:
            self.cursor = Cursor(position=notes["cursor"])
        try:
            changes = self._changes()
        except QueueUnavailableError:
            return False
        before, self._unread = self._unread, dict(changes.unreadable)
        for view in changes.tasks:
            self._views[view.id] = view
            self._settled.add(view.id)
        self.cursor = changes.cursor
        # What could not be read and has not changed since is not among the changes.
        again = before.keys() - self._unread.keys() - {view.id for view in changes.tasks}
        return all(self._read_one(task) for task in sorted(again))

    def _changes(self) -> Changes:
        try:
            return self._ports.queue.changed_since(self.cursor)
        except ValueError:
            # The cursor is of another queue (its file was replaced): everything is read again.
            return self._ports.queue.changed_since(None)

    def _read_one(self, task: str) -> bool:
        try:
            view = self._ports.queue.get(task)
        except UnreadableAnswerError as error:
            self._unread[task] = str(error)
            return True
        except QueueUnavailableError:
            return False
        except UnusableStoreError:
            raise
        except Exception as error:  # noqa: BLE001 - shown as the reason why it cannot be read
            self._unread[task] = describe_error(error)
            return True
        if view is not None:
            self._views[task] = view
        self._unread.pop(task, None)
        return True

    def _forget(self, wanted: set[str]) -> None:
        for task in self._views.keys() - wanted:
            del self._views[task]

    def _task(
        self,
        task_record: TaskRecord,
        now: datetime,
        evidence: Iterable[Evidence] | None = None,
        *,
        reachable: bool,
    ) -> Task:
        """The task; its evidence is fetched unless it is given. A bug makes it unreadable."""
        try:
            if evidence is None:
                evidence = self._evidence(task_record, now)
            return self._shown(task_record, evidence, now, reachable=reachable)
        except UnusableStoreError:
            raise
        except Exception as error:  # noqa: BLE001 - shown as the reason why it cannot be read
            spec, why = task_record.spec, describe_error(error)
            return unreadable(Task(id=spec.id, queue=spec.queue, kind=spec.kind), why)

    def _evidence(self, task_record: TaskRecord, now: datetime) -> Iterable[Evidence]:
        view = self._views.get(task_record.spec.id)
        if self._probing and view is not None and _wants_proof(task_record, view):
            return self._probe(task_record, view, now)
        return task_record.evidence

    def _shown(
        self,
        task_record: TaskRecord,
        evidence: Iterable[Evidence],
        now: datetime,
        *,
        reachable: bool,
    ) -> Task:
        """The task, with what its own and its wave's budget leave for models.

        A task that cannot be as it is shown is unreadable, and nobody else pays for that.
        """
        view, policy = self._views.get(task_record.spec.id), self._supervision.policy.liveness
        judgement = self._judgement(view)
        left = self._supervision.review_limits.tokens_left(
            task_record.spent, spent_by(self._spent, task_record.wave)
        )
        task = task_of(task_record, view, judgement, evidence, now, policy, reachable=reachable)
        why = self._unread.get(task.id) or _not_it(task_record, view) or contradiction(task, now)
        if why is not None:
            return unreadable(Task(id=task.id, queue=task.queue, kind=task.kind), why)
        return task.model_copy(update={"tokens_left": left, "unreadable": self._torn(task_record)})

    def _judgement(self, view: TaskView | None) -> Judgement | None:
        """The one that was ordered last for the attempt that is over."""
        judgements = self._ports.judgements
        if judgements is None or view is None or view.state not in TERMINAL:
            return None
        return judgements.latest(view.id, view.attempt)

    def _torn(self, task_record: TaskRecord) -> str | None:
        """What this task rests on and cannot be read; None: nothing."""
        spec = task_record.spec
        rests_on = {
            ("wave", task_record.wave),
            ("defect", task_record.blocked_by),
            ("defect", spec.fixes),
        }
        for one in self._damaged:
            if (one.kind, one.id) in rests_on or one.task == spec.id:
                return f"{one.kind} {one.id}: {one.why}"
        return None

    def _probe(
        self, task_record: TaskRecord, view: TaskView, now: datetime
    ) -> tuple[Evidence, ...]:
        wanted = wanted_proof(task_record, self._supervision.policy)
        before = {item.id: item for item in task_record.evidence}
        return tuple(
            _unknown_since(item, before.get(item.id), now)
            for probe in self._ports.probes
            if probe.kinds & wanted
            for item in probe.probe(task_record.spec, view, now)
            if item.kind in wanted
        )

    def _settled_dependencies(self, task_records: Mapping[str, TaskRecord]) -> list[Task]:
        """What a waiting task depends on must be seen, even when it is long accepted."""
        needed = {
            one
            for task_record in task_records.values()
            if task_record.status == "planned"
            for one in task_record.spec.depends_on
            if one not in task_records
        }
        found = (self._ports.store.task_record(one) for one in sorted(needed))
        return [
            Task(id=one.spec.id, kind=one.spec.kind, status=status_of(one, None), held=_held(one))
            for one in found
            if one is not None
        ]

    def _fixers(self, shown: set[str], now: datetime, *, reachable: bool) -> list[Task]:
        """Tasks that fixed a defect whose lesson is still to be written down."""
        found = []
        lessons = durable(self._ports.store.defects(), self._supervision.policy.failures)
        for task in lessons.keys() - shown:
            task_record = self._ports.store.task_record(task)
            if task_record is not None and self._read_one(task):
                found.append(
                    self._task(task_record, now, task_record.evidence, reachable=reachable)
                )
        return found

    def _unreadable(self, shown: set[str]) -> list[Task]:
        """Tasks whose row in the state file cannot be read; their ids are all that is known."""
        return [
            Task(id=task, unreadable=why)
            for task, why in self._ports.store.unreadable().items()
            if task not in shown
        ]

    def _defects(self) -> list[Defect]:
        """Every defect, and whether the issue of one that waits for its fix is still open."""
        return [
            one.model_copy(update={"issue_open": self._ports.issues.is_open(one.issue)})
            if self._probing and one.status == "recorded" and one.issue is not None
            else one
            for one in self._ports.store.defects()
        ]

    def _heads(self, now: datetime) -> Heads | None:
        if not self._probing or self._ports.remote is None:
            return None
        with suppress(RemoteUnavailableError):
            return self._ports.remote.heads(now)
        return None

    def _watch(self, open_records: Collection[TaskRecord], heads: Heads) -> RemoteSeen | None:
        """What happened on the remote beside the tasks' own work. None: nobody looks there."""
        remote, waves = self._ports.remote, {one.wave for one in open_records}
        if remote is None:
            return None
        if (names := {one.spec.id for one in open_records}) != self._open:
            settled = self._ports.store.task_records(settled=True)
            self._accepted = [one for one in settled if one.status == "accepted"]
            self._open = names
        accepted = [one for one in self._accepted if one.wave in waves]
        begun = (one.started_from for one in (*accepted, *open_records))
        since = next((one for one in begun if one is not None), None)
        commits = {one.spec.id: commit_of(one.evidence) for one in accepted}
        foreign: Sequence[str] | None = ()
        if since is not None and since.default is not None:
            foreign = remote.foreign(since.default, heads, [one for one in commits.values() if one])
        moved = []
        for one in accepted:
            commit = commits[one.spec.id]
            fate = remote.fate(one.spec.branch, commit, heads) if commit else None
            if commit and fate in ("moved-on", "rewritten", "deleted"):
                task, branch = one.spec.id, one.spec.branch
                moved.append(BranchMoved(task=task, branch=branch, commit=commit, fate=fate))
        return RemoteSeen(
            default_name=heads.default_name, foreign=tuple(foreign or ()), moved=tuple(moved)
        )

    def _with_pushes(self, task: Task, seen: RemoteSeen) -> Task:
        """The task, with what its own worktree made of the default branch."""
        if self._ports.own_commits is None or not seen.foreign or task.attempt is None:
            return task
        short = [line.partition(" ")[0] for line in seen.foreign]
        made = self._ports.own_commits.made_in(task.id)
        own = tuple(one for one in short if any(full.startswith(one) for full in made))
        return task.model_copy(update={"pushed_to_default": own}) if own else task

    def _low_memory(self) -> bool | None:
        machine = self._ports.machine
        free = machine.free_memory() if machine is not None else None
        return self._supervision.policy.submit.is_low(free)

    def _around(self, now: datetime, *, reachable: bool) -> dict[str, Any]:
        """What a snapshot says beside tasks and defects."""
        store = self._ports.store
        notes = store.notes()
        last = notes.get("last_tick_at")
        queues = self._queues(reachable=reachable)
        return {
            "now": now,
            "mode": self._supervision.mode,
            "supervisor": Supervisor(
                last_tick_at=_by(now, datetime.fromisoformat(last)) if last else None,
                interval=self._supervision.interval,
                host=_host(self._supervision.host),
                low_memory=self._low_memory(),
            ),
            "wave": self._wave(),
            "window": _window(notes, store.outcomes(OUTCOMES), self._supervision.policy, now),
            "control_plane": self._control_plane(reachable=reachable),
            "queues": queues,
            "remedies": tuple(self._ports.remedies.known()) if self._ports.remedies else (),
        }

    def _wave(self) -> Wave:
        """The waves with open tasks; when all is settled, the latest one."""
        waves = self._ports.store.waves()
        at_work = {one.wave for one in self._ports.store.task_records(settled=False)}
        wave = _wave([wave for wave in waves if wave.id in at_work] or waves[-1:])
        if any(one.kind == "wave" and one.id in at_work for one in self._damaged):
            return wave.model_copy(update={"grants": Grants()})  # what it granted nobody knows
        return wave

    def _control_plane(self, *, reachable: bool) -> ControlPlane:
        """What the queue last said of itself; a queue that does not answer is not reachable."""
        said = self._ports.queue.control_plane()
        if reachable:
            return said
        return said.model_copy(update={"reachable": False, "submit_lock": "unknown"})

    def _queues(self, *, reachable: bool) -> tuple[Queue, ...]:
        if not reachable:
            return ()
        try:
            views = self._ports.queue.queues()
        except QueueUnavailableError:
            return ()
        return tuple(
            Queue(
                id=view.id, kind=view.kind, risk=view.risk, counts=view.counts, unread=view.unread
            )
            for view in views
        )


def unreadable(task: Task, why: str) -> Task:
    """What is left of a task about which nothing can be decided. If it was begun, it has a lane."""
    return Task(
        id=task.id,
        queue=task.queue,
        kind=task.kind,
        status=Status.PLANNED if task.status is Status.PLANNED else None,
        held=task.held,
        attempt=task.attempt,
        probe="failed",
        unreadable=why,
    )


def _wants_proof(task_record: TaskRecord, view: TaskView) -> bool:
    """Evidence is fetched for a result that has been read and is not settled."""
    return (
        _held(task_record, view) is None
        and view.state in TERMINAL
        and task_record.inspected_attempt >= view.attempt
    )


def wanted_proof(task_record: TaskRecord, policy: Policy) -> frozenset[ProofKind]:
    """The kinds of evidence this task's ladder and criteria ask for, and what shows its change."""
    ladder = policy.completion.ladder[task_record.spec.kind].rungs
    own = {one.proof for one in task_record.spec.criteria if isinstance(one.proof, ProofKind)}
    shown = {ProofKind.CHANGE_SHOWN} if task_record.spec.kind in MUST_SHOW else set()
    return frozenset(kind for rung in ladder for kind in rung) | own | shown


def status_of(task_record: TaskRecord, view: TaskView | None) -> Status | None:
    """The queue's word; None: it has none, or says nothing that counts."""
    if view is not None:
        return view.state
    return Status.PLANNED if task_record.status == "planned" else None


def _held(task_record: TaskRecord, view: TaskView | None = None) -> Held | None:
    """What the supervisor adds to the queue's word."""
    held = task_record.status
    if held in ("accepted", "replaced"):
        return held
    if held in ("parked", "handed-over"):
        return None if view is not None and task_record.is_started_again(view) else held
    return None


def _not_it(task_record: TaskRecord, view: TaskView | None) -> str | None:
    """Why what the queue shows is not this task as it is now; None: it is, or nobody can say."""
    if view is None:
        return None
    wave = view.order.labels.get("wave")
    if wave is not None and wave != task_record.wave:
        return f"the queue's task of this id is of wave {wave}, not of {task_record.wave}"
    if view.attempt < task_record.sent_attempt:
        sent = task_record.sent_attempt
        return f"the queue shows attempt {view.attempt}, and attempt {sent} was sent to it"
    return None


def task_of(
    task_record: TaskRecord,
    view: TaskView | None,
    judgement: Judgement | None,
    evidence: Iterable[Evidence],
    now: datetime,
    policy: LivenessPolicy,
    *,
    reachable: bool,
) -> Task:
    """One task from what the supervisor remembers and what others show, nothing after `now`."""
    spec = task_record.spec
    common = Task(
        id=spec.id,
        queue=spec.queue,
        kind=spec.kind,
        status=status_of(task_record, view),
        held=_held(task_record, view),
        attempts_left=max(0, spec.attempts - 1 - len(task_record.charged)),
        freed={why: len(attempts) for why, attempts in task_record.freed.items()},
        session_continuable=True,
        probe="ok" if reachable else "failed",
        at_risk_polls=polls_before(
            task_record.at_risk_polls, task_record.at_risk_counted_at, now, policy
        ),
        last_interrupt_at=_by(now, task_record.last_interrupt_at),
        write_scope=spec.write_scope,
        prompt=task_record.prompt,
        criteria=spec.criteria,
        evidence=tuple(_clamped(item, now, "observed_at") for item in evidence),
        review=task_record.review,
        blocked_by=task_record.blocked_by,
        canary=task_record.canary,
        failing=task_record.failing and _clamped(task_record.failing, now, "at"),
        depends_on=spec.depends_on,
        production_adjacent=spec.production_adjacent,
        fixes=spec.fixes,
        baseline=task_record.baseline,
        acceptance_commands=spec.acceptance_commands,
        shown_by=spec.shown_by,
        **_judged(judgement, now),
    )
    return common if view is None else common.model_copy(update=_of_view(task_record, view, now))


def _judged(judgement: Judgement | None, now: datetime) -> dict[str, Any]:
    if judgement is None:
        return {}
    if judgement.record is not None:
        return {"judge": _clamped(judgement.record, now, "at")}
    how = "running" if judgement.host is not None else "ordered"
    return {"judging": how, "judging_since": _by(now, judgement.ordered_at)}


def _unknown_since(item: Evidence, before: Evidence | None, now: datetime) -> Evidence:
    """With the time since when this source has not known it; an id is of one attempt."""
    if item.holds is not None:
        return item
    since = before.unknown_since if before is not None and before.holds is None else None
    return item.model_copy(update={"unknown_since": min(since or now, now)})


def _by(now: datetime, at: datetime | None) -> datetime | None:
    """`at`, but not after `now`: a clock that was set back must not stop the supervisor."""
    return at if at is None else min(at, now)


def _clamped(noun: Clamped, now: datetime, field: str) -> Clamped:
    at = getattr(noun, field)
    return noun if at is None or at <= now else noun.model_copy(update={field: now})


def _of_view(task_record: TaskRecord, view: TaskView, now: datetime) -> dict[str, object]:
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
        "failure": view.failure if over else None,
        "used": view.used if over else None,
        "final_response": view.final_response if over else None,
        "final_response_truncated": view.final_response_truncated,
        "queue_judge": _clamped(view.judge, now, "at") if over and view.judge else None,
        "tree_gone": view.tree_gone if over else None,
        "inspected": task_record.inspected_attempt >= view.attempt,
        "prompt": view.prompt,
        "late_reports": tuple(_late(task_record, late) for late in view.late_reports),
    }


def _is_news(task_record: TaskRecord, view: TaskView) -> bool:
    """Whether a settled task has a late report nobody has read, or was started again."""
    if any(late.attempt not in task_record.inspected_late for late in view.late_reports):
        return True
    return task_record.is_started_again(view)


def _late(task_record: TaskRecord, late: LateReport) -> LateReport:
    return late.model_copy(update={"inspected": late.attempt in task_record.inspected_late})


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
