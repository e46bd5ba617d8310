"""One tick: observe, assess, review, plan, clear, act. It ends in one sentence of English."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.core.assess.assessment import Assessment
from agent.core.assess.liveness import polls_after
from agent.core.journal.records import SETTLED_RECORDS, Record
from agent.core.journal.replay import DecisionRecord, record_body
from agent.core.model.actions import Action, Cleared, digest
from agent.core.model.nouns import Snapshot
from agent.core.model.policy import Policy
from agent.core.plan import planner
from agent.core.plan.planner import Decision, Decisions
from agent.errors import UnusableStoreError, describe_error
from agent.runtime.approval_queue import ApprovalQueue
from agent.runtime.context import Ports, Supervision
from agent.runtime.executor import Done, Executor
from agent.runtime.observe import Observer, unreadable


def decide(snapshot: Snapshot, policy: Policy) -> tuple[Snapshot, Decisions]:
    """What `planner.decide` says, and of which snapshot.

    If it fails, each task with which it fails alone is unreadable in that snapshot, and the others
    go on; if there is none, the error is raised.
    """
    try:
        return snapshot, planner.decide(snapshot, policy)
    except Exception:
        faults = {
            task.id: why
            for task in snapshot.tasks
            if (why := _fault(snapshot.model_copy(update={"tasks": (task,)}), policy)) is not None
        }
        if not faults:
            raise
        snapshot = _mark(snapshot, faults)
        return snapshot, planner.decide(snapshot, policy)


def _fault(snapshot: Snapshot, policy: Policy) -> str | None:
    try:
        planner.decide(snapshot, policy)
    except Exception as error:  # noqa: BLE001 - shown as the reason why the task cannot be read
        return describe_error(error)
    return None


def _mark(snapshot: Snapshot, faults: Mapping[str, str]) -> Snapshot:
    tasks = (
        unreadable(task, faults[task.id]) if task.id in faults else task for task in snapshot.tasks
    )
    return snapshot.model_copy(update={"tasks": tuple(tasks)})


@dataclass(frozen=True, slots=True)
class TickResult:
    """What one tick saw, decided and did."""

    number: int
    sentence: str
    snapshot: Snapshot
    decisions: tuple[Decision, ...]
    done: tuple[Done, ...]
    policy: Policy
    """The one that was in force."""
    policy_said: str | None = None
    """One line if the policy was edited before this tick: taken up, or refused and why."""
    clock: str | None = None
    """One line if the clock was set back since the last tick."""
    requests: Mapping[str | None, str] = field(default_factory=dict)
    """The question put to a person about a task's decision, by task."""

    @property
    def changed(self) -> bool:
        """Something was done, so another look is worth while soon."""
        return any(one.result == "done" for one in self.done)


def _cause_in(intent: Record) -> str | None:
    """The fingerprint of the cause that was to be recorded; None: it is another action."""
    proposal = intent.body.get("proposal")
    cause = proposal.get("cause") if isinstance(proposal, dict) else None
    return cause.get("fingerprint") if isinstance(cause, dict) else None


class Ticker:
    """Runs ticks, one at a time. The numbers go on where the journal left off."""

    def __init__(self, ports: Ports, supervision: Supervision) -> None:
        self._ports = ports
        self._supervision = supervision
        self._observer = Observer(ports, supervision)
        self._executor = Executor(ports, supervision, self._observer)
        self._approvals = ApprovalQueue(ports)
        self._number = ports.journal.last_tick()

    def tick(self, stop: Callable[[], bool] = lambda: False) -> TickResult:
        """One whole tick. `stop` is asked before each action; what was begun is finished."""
        self._number += 1
        settled = self._executor.settle(self._number)
        self._approvals.begin(self._number, self._ports.clock.now())
        jumped = self._clock_set_back()
        snapshot, decisions, everything = self._decide(self._observer.observe())
        assessment = decisions.assessment
        self._approvals.end(assessment, everything)
        with self._ports.state.transaction():
            self._journal(snapshot, decisions, everything)
            self._remember_fixes(assessment)
            self._remember_polls(decisions)
        self._executor.begin(assessment)
        done = list(settled)
        # What an earlier action did is not known yet: nothing is put on top of it, and what another
        # task may have recorded already is not recorded again.
        unresolved = self._ports.journal.unresolved()
        unsure = {record.task for record in unresolved}
        recording = {_cause_in(record) for record in unresolved}
        cleared = [
            (one, one.decision.clearance)
            for one in everything
            if isinstance(one.decision.clearance, Cleared)
            and one.decision.proposal.action is not Action.LEAVE_ALONE
            and one.decision.proposal.task not in unsure
            and not ((cause := one.decision.proposal.cause) and cause.fingerprint in recording)
        ]
        done += self._carried_out(cleared, stop)
        self._end()
        return TickResult(
            self._number,
            decisions.sentence,
            snapshot,
            tuple(ruled.decision for ruled in everything),
            tuple(done),
            self._supervision.policy,
            clock=jumped,
            requests={one.decision.proposal.task: one.request for one in everything if one.request},
        )

    def _decide(self, snapshot: Snapshot) -> tuple[Snapshot, Decisions, tuple[DecisionRecord, ...]]:
        """Decide, draft and ask. A task with which that fails is unreadable in this tick.

        It is so in the snapshot, from which a replay decides the same.
        """
        while True:
            snapshot, decisions = decide(snapshot, self._supervision.policy)
            self._observer.go_on_with(snapshot)
            seen, ruled = digest(snapshot), []
            wanted = (*decisions.in_order, *([decisions.window] if decisions.window else []))
            for one in wanted:
                try:
                    ruled.append(self._approvals.rule(decisions.assessment, one, seen))
                except UnusableStoreError:
                    raise
                except Exception as error:
                    known = {task.id: task for task in snapshot.tasks}
                    task = known.get(one.proposal.task or "")
                    if task is None or task.unreadable is not None:
                        raise
                    snapshot = _mark(snapshot, {task.id: describe_error(error)})
                    break
            else:
                return snapshot, decisions, tuple(ruled)

    def _carried_out(
        self,
        cleared: Sequence[tuple[DecisionRecord, Cleared]],
        stop: Callable[[], bool],
    ) -> Iterator[Done]:
        """One action after the other; then the reviews, several at once."""
        reviews = [one for _, one in cleared if one.proposal.action is Action.REVIEW]
        for ruled, one in cleared:
            if stop():
                return
            if one.proposal.action is not Action.REVIEW:
                yield self._carry_out(ruled, one)
        most = self._supervision.review_limits.at_once
        for first in range(0, len(reviews), most):
            if stop():
                return
            batch = reviews[first : first + most]
            yield from self._executor.carry_out_reviews(batch, self._number)

    def _carry_out(self, ruled: DecisionRecord, cleared: Cleared) -> Done:
        """Act with the approval there is, and close its request."""
        proposal, now = cleared.proposal, self._ports.clock.now()
        if not self._approvals.may(ruled.consent, now, proposal):
            return Done(proposal, "void", "the rule that covered it has no use left")
        done = self._executor.carry_out(cleared, self._number, ruled.consent)
        self._approvals.carried_out(ruled.consent, done)
        return done

    def _journal(
        self, snapshot: Snapshot, decisions: Decisions, everything: tuple[DecisionRecord, ...]
    ) -> None:
        """One record per task, doing nothing included, and the snapshot they rest on."""
        seen = digest(snapshot)
        tick = Record(
            kind="tick",
            at=snapshot.now,
            tick=self._number,
            body={
                "sentence": decisions.sentence,
                "mode": snapshot.mode,
                "suspended": decisions.assessment.suspended,
                "snapshot": seen,
                "policy": self._supervision.policy.hash,
            },
        )
        records = [self._record(snapshot.now, seen, ruled) for ruled in everything]
        self._ports.journal.append([tick, *records], snapshot)

    def _record(self, at: datetime, seen: str, ruled: DecisionRecord) -> Record:
        task, body = ruled.decision.proposal.task, record_body(ruled, seen)
        return Record(kind="decision", at=at, tick=self._number, task=task, body=body)

    def _remember_fixes(self, assessment: Assessment) -> None:
        """A defect that counts as fixed from now on is written down with what was seen."""
        for defect in assessment.fixed_by_hand:
            body = {"defect": defect.id, "issue": defect.issue, "why": "its issue was closed"}
            at = assessment.snapshot.now
            self._ports.journal.append([Record(kind="fixed", at=at, tick=self._number, body=body)])
            self._ports.store.save_defect(defect.model_copy(update={"issue_open": None}))

    def _clock_set_back(self) -> str | None:
        """The clock may be set back under a running supervisor; it goes on, and says so."""
        last = self._ports.store.notes().get("last_tick_at")
        if last is None:
            return None
        back = (datetime.fromisoformat(last) - self._ports.clock.now()).total_seconds()
        return f"the clock was set back by {back:.0f} s" if back >= 1 else None

    def _remember_polls(self, decisions: Decisions) -> None:
        """Keep what the next tick needs: evidence that was fetched, and polls that found a risk."""
        store, now = self._ports.store, decisions.assessment.snapshot.now
        for task, assessed in decisions.assessment.tasks.items():
            task_record = store.task_record(task)
            # A settled task is there for those that depend on it: its evidence is not fetched, and
            # must not take the place of what it was accepted on.
            if task_record is None or task_record.status in SETTLED_RECORDS:
                continue
            update: dict[str, object] = {}
            count = polls_after(
                assessed.liveness,
                task_record.at_risk_polls,
                task_record.at_risk_counted_at,
                now,
                self._supervision.policy.liveness,
            )
            if count != (task_record.at_risk_polls, task_record.at_risk_counted_at):
                update = {"at_risk_polls": count[0], "at_risk_counted_at": count[1]}
            # Of a task that cannot be read none was seen, which takes nothing away.
            seen = assessed.task.unreadable is None
            if seen and assessed.task.evidence != task_record.evidence:
                update["evidence"] = assessed.task.evidence
            if update:
                store.save(task_record.model_copy(update=update))

    def _end(self) -> None:
        notes = {"last_tick_at": self._ports.clock.now().isoformat()}
        if self._observer.cursor is not None:
            notes["cursor"] = self._observer.cursor.position
        self._ports.store.note(notes)
