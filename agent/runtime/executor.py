"""Step 6 of the tick: look again, clear again, write the intent, act once, write the outcome.

The only way to an effect leads through `Executor.carry_out`, which takes a `Cleared` and nothing
else. Killed at any point and started again, `settle` reads the world back by idempotency key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.core.assess.assessment import assess
from agent.core.guard import guard
from agent.core.journal.records import Record, RecordKind
from agent.core.journal.replay import Consent
from agent.core.model.actions import Action, Cleared, Proposal, digest
from agent.core.model.nouns import Snapshot
from agent.core.plan import decision_basis, planner
from agent.errors import NothingDoneError, QueueUnavailableError, WavekeeperError
from agent.runtime import reviewing
from agent.runtime.context import Supervision, World
from agent.runtime.drafting import stands_on_its_own
from agent.runtime.effects import ACT, HAPPENED
from agent.runtime.observe import Observer
from agent.runtime.remembering import REMEMBER


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one cleared proposal."""

    proposal: Proposal
    result: str
    """`done`, `void`, `failed` or `open` (whether it took effect is not known yet)."""
    said: str
    """One sentence."""


class Executor:
    """Carries out cleared proposals, one at a time, each at most once."""

    def __init__(self, world: World, supervision: Supervision, observer: Observer) -> None:
        self._world = world
        self._supervision = supervision
        self._observer = observer
        self._used: set[tuple[str, datetime]] = set()

    def carry_out(
        self, cleared: Cleared, snapshot: Snapshot, tick: int, consent: Consent | None = None
    ) -> Done:
        """Do it, unless the world has moved on since it was cleared.

        `consent`: whose yes the clearance rests on, if it rests on one.
        """
        proposal = cleared.proposal
        if proposal.action is Action.REVIEW:
            return self.carry_out_reviews([cleared], snapshot, tick)[0]
        if (void := self._begun(cleared, snapshot, tick, consent)) is not None:
            return void
        return self._act(proposal, key_of(proposal, tick), tick, _named(consent))

    def carry_out_reviews(
        self, batch: Sequence[Cleared], snapshot: Snapshot, tick: int
    ) -> list[Done]:
        """The same for several reviews: they wait for a provider, so they are asked at once."""
        begun = [(cleared.proposal, self._begun(cleared, snapshot, tick)) for cleared in batch]
        asked = [proposal for proposal, void in begun if void is None]
        read = iter(reviewing.read(self._world, self._supervision, asked))
        return [void or self._read(proposal, next(read), tick) for proposal, void in begun]

    def _read(self, proposal: Proposal, read: reviewing.Read, tick: int) -> Done:
        body: dict[str, object] = {"result": "done" if read.review else "failed", "said": read.said}
        if read.review is not None:
            body["review"] = read.review.model_dump(mode="json", exclude_none=True)
            body["reused"] = read.reused
        self._write("outcome", key_of(proposal, tick), tick, proposal, body)
        return Done(proposal, str(body["result"]), read.said)

    def _begun(
        self, cleared: Cleared, snapshot: Snapshot, tick: int, consent: Consent | None = None
    ) -> Done | None:
        """Look again, and write down what is about to be done; else why it is not."""
        proposal, key = cleared.proposal, key_of(cleared.proposal, tick)
        now = self._world.clock.now()
        if (why := self._void(cleared, snapshot, now, consent)) is not None:
            said = {"result": "void", "said": why, **_named(consent)}
            self._write("outcome", key, tick, proposal, said)
            return Done(proposal, "void", why)
        self._used = {one for one in self._used if one[1] >= now} | {_once(cleared)}
        intent = {
            "proposal": proposal.model_dump(mode="json", exclude_none=True),
            "clearance": cleared.digest,
            "policy": cleared.policy,
            "rules": list(cleared.rules),
            **_named(consent),
        }
        self._write("intent", key, tick, proposal, intent)
        return None

    def settle(self, tick: int) -> list[Done]:
        """Find out what became of every intent that has no outcome; nothing is done again."""
        settled = []
        for record in self._world.journal.unresolved():
            proposal = Proposal.model_validate(record.body["proposal"])
            key = record.key or ""
            try:
                result, said = self._became(proposal, key)
            except QueueUnavailableError:
                continue
            except WavekeeperError as error:
                result, said = "failed", str(error)
            whose = {"consent": record.body["consent"]} if "consent" in record.body else {}
            self._write("settled", key, tick, proposal, {"result": result, "said": said, **whose})
            settled.append(Done(proposal, result, said))
        return settled

    def _became(self, proposal: Proposal, key: str) -> tuple[str, str]:
        """Read back whether it took effect, and remember it if it did."""
        happened = HAPPENED.get(proposal.action)
        if happened is None or not happened(self._world, proposal, key):
            return "void", "it had not taken effect"
        REMEMBER[proposal.action](self._world, proposal, key, self._world.clock.now())
        return "done", "it had taken effect"

    def _void(
        self, cleared: Cleared, snapshot: Snapshot, now: datetime, consent: Consent | None
    ) -> str | None:
        if _once(cleared) in self._used:
            return f"{guard.STALE_CLEARANCE}: it has been used"
        proposal = cleared.proposal
        probe = proposal.action is Action.ACCEPT
        again = self._observer.observe_again(snapshot, proposal.task, probe=probe)
        board = assess(again, self._supervision.policy)
        case = board.cases.get(proposal.task) if proposal.task else None
        if case is not None and case.task.attempt != proposal.attempt:
            return f"{guard.STALE_CLEARANCE}: the task has moved on to another attempt"
        if case is not None and case.task.probe != "ok" and proposal.action is Action.ACCEPT:
            return f"{guard.STALE_CLEARANCE}: the queue does not show the task just now"
        stands = stands_on_its_own(board, proposal, self._world.store)
        person = consent is not None and consent.by == "person"
        _, answer = planner.clear(
            board,
            proposal,
            prompt_stands=stands,
            approved=person,
            consented=consent is not None and not person,
        )
        if consent is not None and consent.ground not in (
            None,
            digest(decision_basis.of(case, proposal)),
        ):
            return f"{guard.STALE_CLEARANCE}: what {consent.name} rests on has changed"
        return guard.void(cleared, answer, now)

    def _act(self, proposal: Proposal, key: str, tick: int, whose: Mapping[str, object]) -> Done:
        try:
            if proposal.action not in ACT:
                raise NothingDoneError(f"{proposal.action} is not available here; do it by hand")
            said = ACT[proposal.action](self._world, proposal, key)
            REMEMBER[proposal.action](self._world, proposal, key, self._world.clock.now())
        except QueueUnavailableError as error:
            # Whether it took effect is unknown: the intent stays open and is settled by reading.
            return Done(proposal, "open", str(error))
        except WavekeeperError as error:
            failed = {"result": "failed", "said": str(error), **whose}
            self._write("outcome", key, tick, proposal, failed)
            return Done(proposal, "failed", str(error))
        self._write("outcome", key, tick, proposal, {"result": "done", "said": said, **whose})
        for task in {proposal.task, proposal.spec.id if proposal.spec else None} - {None}:
            self._observer.refresh(str(task))
        return Done(proposal, "done", said)

    def _write(
        self, kind: RecordKind, key: str, tick: int, proposal: Proposal, body: Mapping[str, object]
    ) -> None:
        record = Record(
            kind=kind,
            at=self._world.clock.now(),
            tick=tick,
            task=proposal.task,
            key=key,
            body={"action": proposal.action.value, **body},
        )
        self._world.journal.append([record])


def _named(consent: Consent | None) -> dict[str, object]:
    """Whose yes it was, for the journal."""
    return {} if consent is None else {"consent": consent.model_dump(exclude_none=True)}


def _once(cleared: Cleared) -> tuple[str, datetime]:
    """What tells one clearance from every other."""
    return cleared.digest, cleared.deadline


def key_of(proposal: Proposal, tick: int) -> str:
    """The idempotency key: the same act on the same attempt has the same key for ever.

    What may rightly happen twice to one attempt (reading a late report, recording a defect that
    came back, moving, the window) carries the tick as well.
    """
    once = proposal.task is not None and proposal.action in _ONCE
    subject = proposal.spec.id if proposal.spec else proposal.task
    where = f"{subject or 'window'}/{proposal.attempt or 0}"
    return f"{proposal.action}/{where}" + ("" if once else f"/{tick}")


_ONCE = frozenset(
    {
        Action.SUBMIT,
        Action.RETRY,
        Action.RELEASE,
        Action.REPLACE,
        Action.SPLIT_DEFECT,
        Action.INTERRUPT,
        Action.CANCEL,
        Action.ACCEPT,
        Action.PARK,
        Action.HAND_OVER,
        Action.LIVE_REMEDY,
        Action.DEPLOY,
        Action.WRITE_REFERENCE,
    },
)
