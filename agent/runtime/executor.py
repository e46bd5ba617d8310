"""Step 6 of the tick: look again, clear again, write the intent, act once, write the outcome.

The only way to an effect leads through `Executor.carry_out`, which takes a `Cleared` and nothing
else. What was done and what is remembered of it are one transaction with the outcome's record. If
it cannot be written, or nobody knows whether the effect took place, the intent stays open; killed
at any point and started again, `settle` reads back by idempotency key what happened.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from agent.core.assess.assessment import Assessment, assess
from agent.core.assess.branches import OnRemote, refusals
from agent.core.guard import guard
from agent.core.journal.records import Record, RecordKind
from agent.core.journal.replay import Consent
from agent.core.model.actions import VERBS, Action, Cleared, Proposal, digest
from agent.core.model.nouns import Failing
from agent.core.plan import decision_basis, planner
from agent.errors import (
    KeyReusedError,
    NothingDoneError,
    UnusableStoreError,
    describe_error,
)
from agent.runtime import reviewing
from agent.runtime.context import Ports, Supervision
from agent.runtime.drafting import is_self_contained
from agent.runtime.effects import EFFECTS, Happened
from agent.runtime.observe import Observer

_SAID: Final = 300
"""Characters of a failure's words that are kept."""
_NUMBER: Final = re.compile("[0-9]+")
_NOTHING_DONE = (NothingDoneError, KeyReusedError)
"""The only errors after which it is known that the effect did not take place."""


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

    def __init__(self, ports: Ports, supervision: Supervision, observer: Observer) -> None:
        self._ports = ports
        self._supervision = supervision
        self._observer = observer
        self._used: set[tuple[str, datetime]] = set()
        self._errors: dict[str, str] = {}
        """What an act said after which nobody knows whether it took effect, by key."""
        self._assessed: Assessment | None = None
        """The last assessment, so that looking again at one task assesses that one."""

    def begin(self, assessment: Assessment) -> None:
        """Take over what this tick has assessed."""
        self._assessed = assessment

    def carry_out(self, cleared: Cleared, tick: int, consent: Consent | None = None) -> Done:
        """Do it, unless something changed since it was cleared.

        `consent`: the approval that the clearance rests on, if it needs one.
        """
        proposal = cleared.proposal
        if proposal.action is Action.REVIEW:
            return self.carry_out_reviews([cleared], tick)[0]
        begun = self._begun(cleared, tick, consent)
        if isinstance(begun, Done):
            return begun
        return self._act(begun, self._key(begun, tick), tick, _named(consent))

    def carry_out_reviews(self, batch: Sequence[Cleared], tick: int) -> list[Done]:
        """The same for several reviews: they wait for a provider, so they are asked at once."""
        begun = [self._begun(cleared, tick) for cleared in batch]
        asked = [one for one in begun if isinstance(one, Proposal)]
        read = iter(reviewing.read(self._ports, self._supervision, asked))
        return [
            one if isinstance(one, Done) else self._read(one, next(read), tick) for one in begun
        ]

    def _read(self, proposal: Proposal, read: reviewing.Read, tick: int) -> Done:
        result = "done" if read.review else "failed"
        body: dict[str, object] = {"result": result, "said": read.said}
        if read.review is not None:
            body["review"] = read.review.model_dump(mode="json", exclude_none=True)
            body["reused"] = read.reused
        try:
            with self._ports.state.transaction():
                reviewing.remember(self._ports, proposal.task or "", read)
                self._write("outcome", self._key(proposal, tick), tick, proposal, body)
        except Exception as error:  # noqa: BLE001 - the intent stays open, and says why
            return Done(proposal, "open", describe_error(error))
        return Done(proposal, result, read.said)

    def _begun(
        self, cleared: Cleared, tick: int, consent: Consent | None = None
    ) -> Proposal | Done:
        """Look again, and write down what is about to be done; else why it is not."""
        proposal, key = cleared.proposal, self._key(cleared.proposal, tick)
        now = self._ports.clock.now()
        try:
            why = self._void(cleared, now, consent)
            if why is None:
                proposal = self._with_baseline(proposal, now)
        except UnusableStoreError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing is begun, and the record says why
            return self._failed(
                "outcome", proposal, key, tick, _named(consent), describe_error(error)
            )
        if why is not None:
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
        return proposal

    def _with_baseline(self, proposal: Proposal, now: datetime) -> Proposal:
        """What an attempt finds on the remote is noted before it is sent, in the intent's record.

        Later it could not be told from what the attempt brought.

        Raises:
            RemoteUnavailableError: it cannot be seen, so nothing is sent.
            NothingDoneError: the branch of a new task is there already.

        """
        remote, task = self._ports.remote, proposal.task
        if remote is None or task is None or not VERBS[proposal.action].sends:
            return proposal
        record = self._ports.store.task_record(task)
        spec = proposal.spec or (record.spec if record is not None else None)
        if spec is None:
            return proposal
        if proposal.spec is not None or proposal.action is Action.SUBMIT:
            # It was free when the wave was submitted, which may be long ago.
            heads = remote.heads(now)
            seen = OnRemote(heads.default_name, frozenset(heads.branches))
            for _, why in refusals((spec,), {}, seen):
                raise NothingDoneError(why)
        baseline = remote.baseline(spec.branch, now)
        if baseline.branch is None and spec.continues is not None:
            # Its work begins there, so whatever that branch has already is none of it.
            begun = remote.baseline(spec.continues, now).branch
            baseline = baseline.model_copy(update={"branch": begun})
        return proposal.model_copy(update={"baseline": baseline})

    def settle(self, tick: int) -> list[Done]:
        """Find out what became of every intent that has no outcome; nothing is done again.

        What cannot be read back now stays open, and its task waits: nothing is put on top of it.
        """
        return [self._settled(record, tick) for record in self._ports.journal.unresolved()]

    def _settled(self, record: Record, tick: int) -> Done:
        key = record.key or ""
        try:
            proposal = Proposal.model_validate(record.body["proposal"])
        except (KeyError, ValidationError):
            said = "this version cannot read what was begun; look at the queue yourself"
            proposal = Proposal(action=Action.LEAVE_ALONE, task=record.task, reason=said)
            self._write("settled", key, tick, proposal, {"result": "failed", "said": said})
            return Done(proposal, "failed", said)
        effect = EFFECTS.get(proposal.action)
        whose = {"consent": record.body["consent"]} if "consent" in record.body else {}
        try:
            happened = effect.find(self._ports, proposal, key) if effect is not None else None
            if happened is not None:
                return self._remember("settled", proposal, key, tick, whose, happened)
            said = "it had not taken effect, or is safe to do again"
            if (error := self._errors.get(key)) is not None:
                said = f"{said}: {error}"
            with self._ports.state.transaction():
                if error is not None:
                    self._count(proposal, error)
                body = {"result": "void", "said": said, **whose}
                self._write("settled", key, tick, proposal, body)
        except NothingDoneError as error:
            # It took effect, and what it belongs to is not known here: nobody can remember it.
            return self._failed("settled", proposal, key, tick, whose, str(error))
        except Exception as error:  # noqa: BLE001 - the intent stays open, and says why
            return Done(proposal, "open", describe_error(error))
        return Done(proposal, "void", said)

    def _void(self, cleared: Cleared, now: datetime, consent: Consent | None) -> str | None:
        if _once(cleared) in self._used:
            return f"{guard.STALE_CLEARANCE}: it has been used"
        proposal = cleared.proposal
        probe = proposal.action is Action.ACCEPT
        again = self._observer.look_again(proposal.task, probe=probe)
        assessment = assess(again, self._supervision.policy, self._assessed)
        self._assessed = assessment
        assessed = assessment.tasks.get(proposal.task) if proposal.task else None
        if assessed is not None and assessed.task.attempt != proposal.attempt:
            return f"{guard.STALE_CLEARANCE}: the task has moved on to another attempt"
        if (
            assessed is not None
            and assessed.task.probe != "ok"
            and proposal.action is Action.ACCEPT
        ):
            return f"{guard.STALE_CLEARANCE}: the queue does not show the task just now"
        prompt_ok = is_self_contained(assessment, proposal, self._ports.store)
        person = consent is not None and consent.by == "person"
        _, answer = planner.clear(
            assessment,
            proposal,
            prompt_ok=prompt_ok,
            approved=person,
            consented=consent is not None and not person,
        )
        rests_on = digest(decision_basis.derive(assessed, proposal))
        if consent is not None and consent.ground not in (None, rests_on):
            return f"{guard.STALE_CLEARANCE}: what {consent.name} rests on has changed"
        return guard.void(cleared, answer, now)

    def _act(self, proposal: Proposal, key: str, tick: int, whose: Mapping[str, object]) -> Done:
        do = EFFECTS[proposal.action].do if proposal.action in EFFECTS else _not_here
        try:
            happened = do(self._ports, proposal, key)
        except _NOTHING_DONE as error:
            return self._failed("outcome", proposal, key, tick, whose, str(error))
        except Exception as error:  # noqa: BLE001 - whether it took effect is unknown, so it is read back
            self._errors[key] = describe_error(error)
            return Done(proposal, "open", self._errors[key])
        try:
            return self._remember("outcome", proposal, key, tick, whose, happened)
        except Exception as error:  # noqa: BLE001 - it is done and not remembered, so it is read back
            return Done(proposal, "open", describe_error(error))

    def _remember(
        self,
        kind: RecordKind,
        proposal: Proposal,
        key: str,
        tick: int,
        whose: Mapping[str, object],
        happened: Happened,
    ) -> Done:
        """All that follows from the effect, in the file together with its record or not at all."""
        with self._ports.state.transaction():
            at = self._ports.clock.now()
            EFFECTS[proposal.action].remember(self._ports, proposal, key, at, happened)
            self._errors.pop(key, None)
            self._forget_failures(proposal)
            body = {"result": "done", "said": happened.said, **whose}
            self._write(kind, key, tick, proposal, body)
        for task in {proposal.task, proposal.spec.id if proposal.spec else None} - {None}:
            self._observer.refresh(str(task))
        return Done(proposal, "done", happened.said)

    def _failed(
        self,
        kind: RecordKind,
        proposal: Proposal,
        key: str,
        tick: int,
        whose: Mapping[str, object],
        said: str,
    ) -> Done:
        """It did nothing; how often in a row is counted together with the record."""
        with self._ports.state.transaction():
            self._count(proposal, said)
            self._write(kind, key, tick, proposal, {"result": "failed", "said": said, **whose})
        return Done(proposal, "failed", said)

    def _count(self, proposal: Proposal, said: str) -> None:
        task = self._ports.store.task_record(proposal.task) if proposal.task else None
        if task is None or self._assessed is None:
            return
        rests_on = decision_basis.derive(self._assessed.tasks.get(task.spec.id), proposal)
        failing = Failing(
            action=proposal.action.value, basis=digest(rests_on), times=1, said=said[:_SAID],
            at=self._ports.clock.now(),
        )  # fmt: skip
        if (before := task.failing) is not None and _alike(before, failing):
            failing = failing.model_copy(update={"times": before.times + 1})
        self._ports.store.save(task.model_copy(update={"failing": failing}))

    def _forget_failures(self, proposal: Proposal) -> None:
        task = self._ports.store.task_record(proposal.task) if proposal.task else None
        if task is not None and task.failing and task.failing.action == proposal.action:
            self._ports.store.save(task.model_copy(update={"failing": None}))

    def _write(
        self, kind: RecordKind, key: str, tick: int, proposal: Proposal, body: Mapping[str, object]
    ) -> None:
        record = Record(
            kind=kind,
            at=self._ports.clock.now(),
            tick=tick,
            task=proposal.task,
            key=key,
            body={"action": proposal.action.value, **body},
        )
        self._ports.journal.append([record])

    def _key(self, proposal: Proposal, tick: int) -> str:
        task = self._ports.store.task_record(proposal.task) if proposal.task else None
        wave = task.wave if task is not None else "-"
        return key_of(proposal, tick, self._ports.state.installation, wave)


def _not_here(_ports: Ports, proposal: Proposal, _key: str) -> Happened:
    raise NothingDoneError(f"{proposal.action} is not available here; do it by hand")


def _alike(before: Failing, now: Failing) -> bool:
    """Whether both failed in the same way; numbers in the words tell only one time from another."""
    same = (before.action, before.basis) == (now.action, now.basis)
    return same and _NUMBER.sub("", before.said) == _NUMBER.sub("", now.said)


def _named(consent: Consent | None) -> dict[str, object]:
    """Who approved it, for the journal."""
    return {} if consent is None else {"consent": consent.model_dump(exclude_none=True)}


def _once(cleared: Cleared) -> tuple[str, datetime]:
    """What tells one clearance from every other."""
    return cleared.digest, cleared.deadline


def key_of(proposal: Proposal, tick: int, installation: str, wave: str) -> str:
    """The idempotency key: the same act on the same attempt has the same key for ever.

    It begins with the installation and the wave, because a queue or an issue tracker may serve
    several. What may rightly happen twice to one attempt (reading a late report, recording a defect
    that came back, moving, the window) carries the tick as well.
    """
    once = proposal.task is not None and VERBS[proposal.action].once
    subject = proposal.spec.id if proposal.spec else proposal.task
    where = f"{subject or 'window'}/{proposal.attempt or 0}"
    return f"{installation}/{wave}/{proposal.action}/{where}" + ("" if once else f"/{tick}")
