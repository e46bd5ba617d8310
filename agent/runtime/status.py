"""The live map, `wavekeeper.status/1`: one picture of the wave, made of what was decided anyway.

It decides nothing and changes nothing. Policy: "Maintain a live map of queues, active tasks,
recently completed tasks, unread terminal tasks, evidence gaps, blockers, and next action."
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from agent.core.approval.requests import ApprovalRequest
from agent.core.assess import remote_watch
from agent.core.assess.assessment import Assessment, TaskAssessment
from agent.core.assess.liveness import WORKING
from agent.core.journal.records import SETTLED_RECORDS, Damaged, Record, TaskRecord, WaveRecord
from agent.core.model.actions import Action, ClearanceWord, NeedsApproval, word
from agent.core.model.nouns import (
    TERMINAL,
    AgentUsage,
    Defect,
    Mode,
    Noun,
    Queue,
    Status,
    Supervisor,
    Task,
    TaskKind,
)
from agent.core.plan import planner
from agent.core.plan.planner import Decision, Decisions
from agent.runtime.context import Ports, Supervision
from agent.runtime.observe import OUTCOMES, Observer
from agent.runtime.tick import decide

Group = Literal["needs-you", "working", "waiting", "done"]
GROUPS: Final[tuple[Group, ...]] = ("needs-you", "working", "waiting", "done")
"""In the order in which they are shown."""
REFUSED: Final = "refused/"
"""Notes that begin like this are each the last refused command of a task."""
_RECENT: Final = timedelta(days=1)
UNKNOWN_AFTER: Final = timedelta(minutes=30)
"""For so long an effect that cannot be read back is tried again quietly; then a person is shown it,
because its task waits for the answer and nothing else is done about it."""


class Next(Noun):
    """What the supervisor would do about a task now, and what the guard says of it."""

    action: Action
    clearance: ClearanceWord
    rules: tuple[str, ...]
    """The rules that permit or refuse it."""
    reason: str


class Asked(Noun):
    """The live question to a person about a task."""

    request: str
    state: Literal["pending", "deferred", "approved"]
    action: Action
    at: AwareDatetime
    expires_at: AwareDatetime
    answered_by: str | None = None


class UnknownEffect(Noun):
    """An action that was begun and could not be read back since, so nobody knows if it happened."""

    action: Action
    since: AwareDatetime


class MappedTask(Noun):
    """One task on the map. Its texts are as they came: whoever shows them cleans them."""

    id: str
    title: str
    wave: str
    queue: str
    kind: TaskKind | None = None
    """None: its record cannot be read."""
    group: Group
    status: str | None = None
    """The supervisor's word where it has one (`parked`, `accepted`, ...), else the queue's."""
    queue_status: Status | None = None
    """The queue's own word, always."""
    attempt: int | None = None
    attempts_left: int | None = None
    used: AgentUsage | None = None
    """Of the attempt, once it has ended, as its agent's program counts it."""
    age: float | None = None
    """Seconds in this state: since the attempt began, ended, or the task was last acted upon."""
    silent_for: float | None = None
    """Seconds since the trace of a running attempt advanced; None: it does not run."""
    effective_liveness: Literal["live", "at-risk", "not-running"] | None = None
    split_brain_live: bool = False
    recommended_action: str | None = None
    unread: bool = False
    """There is a result of it that nobody has read."""
    evidence_gaps: tuple[str, ...] = ()
    """What of "done" is not proven, one sentence each, in the ladder's order."""
    unmet: tuple[str, ...] = ()
    """Ids of the criteria that are not met."""
    tokens: int = 0
    """What models have used on it, over all attempts."""
    waits_for: tuple[str, ...] = ()
    """Tasks it depends on that are not accepted."""
    blocked_by: str | None = None
    """The id of the defect it waits for."""
    next: Next | None = None
    """None: the task is settled."""
    asked: Asked | None = None
    """None: no question about it waits for a person, or for being carried out."""
    unknown: UnknownEffect | None = None
    """Set once the bound `UNKNOWN_AFTER` has passed."""
    refused: str | None = None
    """The command of its agent that was refused last, because only a person may give it."""
    why: str | None = None
    """How it came to this, where the supervisor noted it."""


class MappedWave(Noun):
    """One wave and how far it is."""

    id: str
    goal: str
    tasks: int
    accepted: int
    open: int
    tokens: int = 0
    """What models have used on all of its tasks."""


class Blocker(Noun):
    """One shared cause and who waits for its end."""

    id: str
    status: str
    reason: str | None = None
    subject: str | None = None
    issue: str | None = None
    fixed_by: str | None = None
    waiting: tuple[str, ...] = ()


class LaneUse(Noun):
    """The window: how many lanes there are, and how many are busy."""

    limit: int
    busy: int
    free: int
    advice: Literal["hold", "widen", "narrow"]
    reason: str


class Counts(Noun):
    """How many tasks each group has."""

    needs_you: int
    working: int
    waiting: int
    done: int


class Supervised(Noun):
    """Who looks after the wave."""

    by: str | None = None
    """None: nobody at the moment."""
    last_tick_at: AwareDatetime | None = None


class RefusedCommand(Noun):
    """A command that came from an agent and would have answered or acted."""

    command: str
    task: str | None = None
    at: AwareDatetime


class LiveMap(Noun):
    """The whole picture at one moment."""

    schema_: Annotated[Literal["wavekeeper.status/1"], Field(alias="schema")] = (
        "wavekeeper.status/1"
    )
    now: AwareDatetime
    mode: Mode | None = None
    supervisor: Supervised = Supervised()
    waves: tuple[MappedWave, ...] = ()
    """Those with open tasks; when there are none, the last one."""
    sentence: str
    suspended: str | None = None
    lanes: LaneUse
    queues: tuple[Queue, ...] = ()
    counts: Counts
    needs_you: tuple[str, ...] = ()
    damaged: tuple[Damaged, ...] = ()
    """What of the supervisor's own state a person has to repair, because nobody can read it."""
    remote: tuple[str, ...] = ()
    """What happened on the git remote beside the tasks' own work, one sentence each."""
    refused: tuple[RefusedCommand, ...] = ()
    """The last of each task: while the task is open, and for a day."""
    agents: str | None = None
    """Set where bubblewrap does not keep the agents of this machine apart: a sentence."""
    unread: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    tasks: tuple[MappedTask, ...] = ()
    """By group, then by id."""

    @property
    def goal(self) -> str | None:
        """What the wave is for; None: no wave was ever submitted."""
        return "; ".join(wave.goal for wave in self.waves) or None


@dataclass(frozen=True, slots=True)
class Troubles:
    """What a person should know beside the tasks."""

    unresolved: Sequence[Record] = ()
    """The intents whose outcome is not known, oldest first."""
    damaged: Sequence[Damaged] = ()
    """Rows of the state that cannot be read."""
    refused: Sequence[RefusedCommand] = ()
    """Commands of agents; an open task with one is shown to a person."""


def live_map(
    decisions: Decisions,
    waves: Sequence[WaveRecord],
    task_records: Sequence[TaskRecord],
    supervised: Supervised,
    requests: Sequence[ApprovalRequest] = (),
    troubles: Troubles | None = None,
) -> LiveMap:
    """The map of all `task_records`, the settled ones included, as `decisions` saw them.

    `requests`: the live ones; one that waits for an answer comes before one that has it.
    """
    known_troubles = troubles or Troubles()
    assessment = decisions.assessment
    decided = {one.proposal.task: one for one in decisions.tasks}
    by_task = {one.proposal.task: one for one in sorted(requests, key=_open_last)}
    unknown = _unknown(known_troubles.unresolved, assessment.snapshot.now)
    tasks = [
        _task(
            one,
            assessment,
            decided.get(one.spec.id),
            by_task.get(one.spec.id),
            unknown.get(one.spec.id),
        )
        for one in task_records
    ]
    known = {one.spec.id for one in task_records}
    tried = {one.task: one.command for one in known_troubles.refused}
    tasks = [
        one.model_copy(update={"group": "needs-you", "refused": tried[one.id]})
        if one.id in tried and one.group != "done"
        else one
        for one in tasks
    ]
    tasks += [
        _without_record(one.task, decided.get(task))
        for task, one in assessment.tasks.items()
        if task not in known and one.task.unreadable
    ]
    tasks.sort(key=lambda one: (GROUPS.index(one.group), _natural(one.id)))
    counted = Counter(one.group for one in tasks)
    return LiveMap(
        now=assessment.snapshot.now,
        mode=assessment.snapshot.mode,
        supervisor=supervised,
        waves=_waves(waves, task_records),
        sentence=decisions.sentence,
        suspended=assessment.suspended,
        lanes=LaneUse(
            limit=assessment.lanes.limit,
            busy=assessment.lanes.occupied,
            free=assessment.lanes.free,
            advice=assessment.lanes.action,
            reason=assessment.lanes.reason,
        ),
        queues=assessment.snapshot.queues,
        counts=Counts(**{group.replace("-", "_"): counted[group] for group in GROUPS}),
        needs_you=tuple(one.id for one in tasks if one.group == "needs-you"),
        damaged=tuple(known_troubles.damaged),
        remote=tuple(said for _, said in remote_watch.reports(assessment.snapshot)),
        refused=tuple(known_troubles.refused),
        unread=tuple(one.id for one in tasks if one.unread),
        blockers=tuple(_blockers(assessment)),
        tasks=tuple(tasks),
    )


def _without_record(task: Task, decision: Decision | None) -> MappedTask:
    """A task of whose record in the state only the id can be read: a person has to look."""
    return MappedTask(
        id=task.id,
        title="",
        wave="",
        queue=task.queue or "",
        group="needs-you",
        next=None if decision is None else _next(decision),
        why=task.unreadable,
    )


def _open_last(request: ApprovalRequest) -> bool:
    return request.state == "pending"


def _unknown(unresolved: Iterable[Record], now: datetime) -> dict[str | None, UnknownEffect]:
    found: dict[str | None, UnknownEffect] = {}
    for record in unresolved:
        if now - record.at >= UNKNOWN_AFTER:
            action = Action(record.body["proposal"]["action"])
            found.setdefault(record.task, UnknownEffect(action=action, since=record.at))
    return found


def _asked(request: ApprovalRequest) -> dict[str, object]:
    return {
        "request": request.id,
        "state": request.state,
        "action": request.proposal.action,
        "at": request.asked_at,
        "expires_at": request.expires_at,
        "answered_by": request.answer.who if request.answer else None,
    }


def _task(
    task_record: TaskRecord,
    assessment: Assessment,
    decision: Decision | None,
    request: ApprovalRequest | None,
    unknown: UnknownEffect | None,
) -> MappedTask:
    spec, assessed = task_record.spec, assessment.tasks.get(task_record.spec.id)
    settled = task_record.status in SETTLED_RECORDS
    seen: dict[str, object] = {}
    if assessed is not None:
        # Of a settled task that another one depends on hardly anything is looked at.
        seen = {
            k: v for k, v in _assessed(assessed, assessment.snapshot.now).items() if v is not None
        }
    if settled or assessed is None:
        seen |= {
            "status": None if task_record.status == "submitted" else task_record.status,
            "attempt": task_record.inspected_attempt or None,
            "age": _seconds(task_record.changed_at, assessment.snapshot.now),
        }
    return MappedTask.model_validate(
        {
            "id": spec.id,
            "title": spec.title,
            "wave": task_record.wave,
            "queue": spec.queue,
            "kind": spec.kind,
            "blocked_by": task_record.blocked_by,
            "why": task_record.why,
            "tokens": task_record.spent,
            **seen,
            "group": "needs-you" if unknown else _group(task_record, assessed, decision, request),
            "unknown": unknown,
            "asked": None if settled or request is None else _asked(request),
            "next": None if settled or decision is None else _next(decision),
        },
    )


def _assessed(assessed: TaskAssessment, now: datetime) -> dict[str, object]:
    task, alive = assessed.task, assessed.liveness
    began = task.finished_at or task.started_at
    return {
        "queue": task.queue,
        "status": task.word,
        "queue_status": task.status,
        "attempt": task.attempt,
        "attempts_left": task.attempts_left,
        "used": task.used,
        "age": None if began is None else _seconds(began, now),
        "silent_for": _quiet(task, now) if task.status in WORKING else None,
        "effective_liveness": alive.effective,
        "split_brain_live": alive.split_brain_live,
        "recommended_action": alive.recommended_action,
        "unread": _unread(task),
        "evidence_gaps": assessed.proof.gaps if task.attempt else (),
        "unmet": assessed.proof.unmet if task.attempt else (),
        "waits_for": assessed.waits_for,
        "blocked_by": assessed.defect.id if assessed.defect else task.blocked_by,
    }


def _quiet(task: Task, now: datetime) -> float | None:
    """Seconds without output of this attempt; a heartbeat proves life, not work."""
    trace = task.trace
    last = trace.last_event_at if trace and trace.attempt in (None, task.attempt) else None
    since = last or task.started_at
    return None if since is None else _seconds(since, now)


def _group(
    task_record: TaskRecord,
    assessed: TaskAssessment | None,
    decision: Decision | None,
    request: ApprovalRequest | None,
) -> Group:
    if task_record.status == "handed-over":
        return "needs-you"
    if task_record.status in SETTLED_RECORDS:
        return "done"
    if assessed is not None and (
        assessed.task.unreadable
        or assessed.task.waiting_for == "permission"
        or (assessed.task.status is Status.SUCCEEDED and assessed.proof.faults)
    ):
        return "needs-you"
    if decision is not None and planner.waits_after_failures(assessed, decision.proposal):
        return "needs-you"
    if assessed is not None and assessed.judged.too_heavy and assessed.judged.state == "missing":
        return "needs-you"
    if request is not None:
        decision = None
        if request.state == "pending":
            return "needs-you"
    if decision is not None and isinstance(decision.clearance, NeedsApproval):
        return "needs-you"
    return "working" if assessed is not None and assessed.task.status in WORKING else "waiting"


def _next(decision: Decision) -> Next:
    proposal, answer = decision.proposal, decision.clearance
    return Next(
        action=proposal.action,
        clearance=word(answer),
        rules=answer.rules,
        reason=proposal.reason,
    )


def _unread(task: Task) -> bool:
    if any(not late.inspected for late in task.late_reports):
        return True
    return task.status in TERMINAL and not task.inspected


def _blockers(assessment: Assessment) -> Iterable[Blocker]:
    for defect in assessment.snapshot.defects:
        waiting = _waiting_for(defect, assessment)
        if waiting or defect.status != "fixed":
            yield Blocker(
                id=defect.id,
                status=defect.status,
                reason=defect.reason,
                subject=defect.subject,
                issue=defect.issue,
                fixed_by=defect.fixed_by,
                waiting=waiting,
            )


def _waiting_for(defect: Defect, assessment: Assessment) -> tuple[str, ...]:
    """Parked behind it, or stopped by it and about to be parked."""
    stands_still = {"parked", *TERMINAL}
    found = (
        task
        for task, assessed in assessment.tasks.items()
        if assessed.defect is not None and assessed.defect.id == defect.id
        if assessed.task.word in stands_still
    )
    return tuple(sorted(found, key=_natural))


def _waves(
    waves: Sequence[WaveRecord], task_records: Sequence[TaskRecord]
) -> tuple[MappedWave, ...]:
    total = Counter(one.wave for one in task_records)
    accepted = Counter(one.wave for one in task_records if one.status == "accepted")
    unsettled = Counter(one.wave for one in task_records if one.status not in SETTLED_RECORDS)
    mapped = [
        MappedWave(
            id=wave.id,
            goal=wave.goal,
            tasks=total[wave.id],
            accepted=accepted[wave.id],
            open=unsettled[wave.id],
            tokens=sum(one.spent for one in task_records if one.wave == wave.id),
        )
        for wave in waves
    ]
    return tuple([wave for wave in mapped if wave.open] or mapped[-1:])


def _seconds(since: datetime, now: datetime) -> float:
    return round(max(0.0, (now - since).total_seconds()), 3)


def _natural(name: str) -> tuple[object, ...]:
    """T-2 before T-10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)


class StatusReader:
    """Makes live maps; changes nothing. Looking again reads only what changed."""

    def __init__(self, ports: Ports, supervision: Supervision) -> None:
        self._ports = ports
        self._policy = supervision.policy
        self._observer = Observer(ports, supervision, probing=False)
        self._open: set[str] | None = None
        self._settled: Sequence[TaskRecord] = ()

    def look(self, supervised_by: str | None) -> LiveMap:
        """The map of this moment. `supervised_by`: who holds the lock."""
        snapshot = self._observer.observe()
        last = snapshot.supervisor.last_tick_at
        if supervised_by is None:
            # The supervisor's absence is no fault of the wave: show what its next look is for.
            absent = Supervisor(
                interval=snapshot.supervisor.interval, host=snapshot.supervisor.host
            )
            snapshot = snapshot.model_copy(update={"supervisor": absent})
        task_records = self._task_records()
        return live_map(
            decide(snapshot, self._policy)[1],
            self._ports.store.waves(),
            task_records,
            Supervised(by=supervised_by, last_tick_at=last),
            [
                one
                for one in self._ports.approvals.requests(live=True)
                if snapshot.now < one.expires_at
            ],
            Troubles(
                self._ports.journal.unresolved(),
                self._ports.state.damaged(OUTCOMES),
                self._refused(snapshot.now),
            ),
        )

    def _refused(self, now: datetime) -> list[RefusedCommand]:
        """Those that a person should know of, oldest first."""
        found = [
            RefusedCommand.model_validate_json(value)
            for name, value in self._ports.store.notes().items()
            if name.startswith(REFUSED)
        ]
        recent = [one for one in found if one.task in (self._open or ()) or now - one.at < _RECENT]
        return sorted(recent, key=lambda one: one.at)

    def _task_records(self) -> list[TaskRecord]:
        """All of them; the settled ones are read again only when there are more of them."""
        open_ones = self._ports.store.task_records(settled=False)
        names = {one.spec.id for one in open_ones}
        if names != self._open:
            self._settled = self._ports.store.task_records(settled=True)
            self._open = names
        return [*self._settled, *open_ones]
