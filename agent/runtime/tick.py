"""One tick: observe, assess, review, plan, clear, act. It ends in one sentence of English."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from agent.core import planner
from agent.core.actions import SENDS_PROMPT, Action, Cleared, Refused, digest, word
from agent.core.board import Board
from agent.core.liveness import polls_after
from agent.core.model import Snapshot
from agent.core.planner import Decision, Decisions
from agent.core.policy import Policy
from agent.core.records import Record
from agent.runtime.drafting import draft, stands_on_its_own
from agent.runtime.executor import Done, Executor
from agent.runtime.observe import Observer
from agent.runtime.world import Supervision, World


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
    """What became of a policy that was edited, if one was found before this tick."""

    @property
    def changed(self) -> bool:
        """Something was done, so another look is worth while soon."""
        return any(one.result == "done" for one in self.done)


class Ticker:
    """Runs ticks, one at a time. The numbers go on where the journal left off."""

    def __init__(self, world: World, supervision: Supervision) -> None:
        self._world = world
        self._supervision = supervision
        self._observer = Observer(world, supervision)
        self._executor = Executor(world, supervision, self._observer)
        self._number = world.journal.last_tick()

    def tick(self, stop: Callable[[], bool] = lambda: False) -> TickResult:
        """One whole tick. `stop` is asked before each action; what was begun is finished."""
        self._number += 1
        settled = self._executor.settle(self._number)
        snapshot = self._observer.observe()
        decisions = planner.decide(snapshot, self._supervision.policy)
        drafted = tuple(self._drafted(decisions.board, one) for one in decisions.in_order)
        everything = (*drafted, *([decisions.window] if decisions.window else []))
        self._journal(snapshot, decisions, everything)
        self._remember_polls(decisions)
        done = list(settled)
        # What an earlier action did is not known yet: nothing is put on top of it.
        unsure = {record.task for record in self._world.journal.unresolved()}
        cleared = [
            one.clearance
            for one in everything
            if isinstance(one.clearance, Cleared)
            and one.proposal.action is not Action.LEAVE_ALONE
            and one.proposal.task not in unsure
        ]
        done += self._carried_out(cleared, snapshot, stop)
        self._end()
        policy = self._supervision.policy
        return TickResult(
            self._number, decisions.sentence, snapshot, everything, tuple(done), policy
        )

    def _carried_out(
        self, cleared: Sequence[Cleared], snapshot: Snapshot, stop: Callable[[], bool]
    ) -> Iterator[Done]:
        """One action after the other; then the reviews, several at once."""
        reviews = [one for one in cleared if one.proposal.action is Action.REVIEW]
        for one in cleared:
            if stop():
                return
            if one.proposal.action is not Action.REVIEW:
                yield self._executor.carry_out(one, snapshot, self._number)
        most = self._supervision.reading.at_once
        for first in range(0, len(reviews), most):
            if stop():
                return
            batch = reviews[first : first + most]
            yield from self._executor.carry_out_reviews(batch, snapshot, self._number)

    def _drafted(self, board: Board, decision: Decision) -> Decision:
        """The same decision with the words that would be sent, cleared again with them."""
        world = self._world
        # A model is paid for words that may be sent, not for those that are refused anyway.
        writer = None if isinstance(decision.clearance, Refused) else world.writer
        proposal = draft(board, decision.proposal, world.store, world.drafter, writer)
        if proposal.action not in (*SENDS_PROMPT, Action.WRITE_REFERENCE):
            return decision
        stands = stands_on_its_own(board, proposal, self._world.store)
        facts, answer = planner.clear(board, proposal, prompt_stands=stands)
        if isinstance(decision.clearance, Cleared) or not isinstance(answer, Cleared):
            return replace(decision, proposal=proposal, clearance=answer, facts=facts)
        # Words can only take a permission away: what was refused for another reason stays so.
        return decision

    def _journal(
        self, snapshot: Snapshot, decisions: Decisions, everything: tuple[Decision, ...]
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
                "suspended": decisions.board.suspended,
                "snapshot": seen,
                "policy": self._supervision.policy.hash,
            },
        )
        records = [self._record(snapshot.now, seen, decision) for decision in everything]
        self._world.journal.append([tick, *records], snapshot)

    def _record(self, at: datetime, seen: str, decision: Decision) -> Record:
        answer, questions = decision.clearance, decision.questions
        body: dict[str, object] = {
            "snapshot": seen,
            "facts": dict(decision.facts),
            "proposal": decision.proposal.model_dump(mode="json", exclude_none=True),
            "clearance": word(answer),
            "rules": list(answer.rules),
        }
        if questions is not None:
            body["questions"] = {
                "completionQuality": questions.completion_quality,
                "completionState": questions.completion_state,
                "selfBlockingRisk": questions.self_blocking_risk,
                "nextAction": questions.next_action,
            }
        return Record(
            kind="decision", at=at, tick=self._number, task=decision.proposal.task, body=body
        )

    def _remember_polls(self, decisions: Decisions) -> None:
        """Keep what the next tick needs: evidence that was fetched, and polls that found a risk."""
        store, now = self._world.store, decisions.board.snapshot.now
        for task, case in decisions.board.cases.items():
            standing = store.standing(task)
            if standing is None:
                continue
            update: dict[str, object] = {}
            count = polls_after(
                case.liveness,
                standing.at_risk_polls,
                standing.at_risk_counted_at,
                now,
                self._supervision.policy.liveness,
            )
            if count != (standing.at_risk_polls, standing.at_risk_counted_at):
                update = {"at_risk_polls": count[0], "at_risk_counted_at": count[1]}
            if case.task.evidence != standing.evidence:
                update["evidence"] = case.task.evidence
            if update:
                store.save(standing.model_copy(update=update))

    def _end(self) -> None:
        notes = {"last_tick_at": self._world.clock.now().isoformat()}
        if self._observer.cursor is not None:
            notes["cursor"] = self._observer.cursor.position
        self._world.store.note(notes)
