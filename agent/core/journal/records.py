"""The records of the journal, and what the supervisor remembers of each task between ticks."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import AwareDatetime

from agent.core.model.actions import digest
from agent.core.model.nouns import (
    TERMINAL,
    Baseline,
    Evidence,
    Failing,
    Grants,
    Noun,
    Review,
)
from agent.core.model.queueing import TaskSpec, TaskView

GENESIS: Final = "0" * 64
"""The `previous` of the first record."""

RecordKind = Literal[
    "start", "tick", "decision", "intent", "outcome", "settled", "answered", "closed", "fixed",
    "policy", "stop", "refused",
]  # fmt: skip
"""`intent` is written before an effect and `outcome` after it; `settled` is the outcome of an
intent that a crash left open, found by reading the queue back; `answered` is a person's answer to
a request, `closed` how a request ended without being carried out; `fixed` is a defect that counts
as fixed because its issue was closed by hand; `policy` is a policy file that
was edited while the supervisor ran, and whether it took effect; `refused` is a command that acts
or answers and came from an agent, so that nothing was done."""


class Record(Noun):
    """One line of the journal, before it is chained."""

    kind: RecordKind
    at: AwareDatetime
    tick: int
    task: str | None = None
    key: str | None = None
    """The idempotency key that joins an intent, its effect and its outcome."""
    body: dict[str, Any] = {}


def request_in(body: Mapping[str, Any]) -> str | None:
    """The id of the approval request that a record's body names; None: none. Older ones: `card`."""
    named = body.get("request", body.get("card"))
    return None if named is None else str(named)


class Entry(Noun):
    """One record in its place in the chain."""

    sequence: int
    previous: str
    digest: str
    record: Record


def chain(sequence: int, previous: str, record: Record) -> Entry:
    """The entry that follows `previous`; its digest covers place, predecessor and record."""
    seal = digest(
        {
            "sequence": sequence,
            "previous": previous,
            "record": record.model_dump(mode="json", exclude_none=True),
        },
    )
    return Entry(sequence=sequence, previous=previous, digest=seal, record=record)


class WaveRecord(Noun):
    """A wave as it was submitted."""

    id: str
    goal: str
    grants: Grants = Grants()
    submitted_at: AwareDatetime
    source: str
    """The file it was read from."""


class Damaged(Noun):
    """A row of the supervisor's own state of which hardly more than its name can be read."""

    kind: Literal["wave", "defect", "outcome", "request", "rule"]
    id: str
    task: str | None = None
    """The task that waits for it to be repaired: the last word about it may stand in this row."""
    why: str


class TaskRecord(Noun):
    """What the supervisor remembers of one task; saved after every effect, never instead of it."""

    spec: TaskSpec
    wave: str
    status: Literal[
        "planned",
        "submitted",
        "parked",
        "accepted",
        "replaced",
        "cancelled",
        "handed-over",
    ] = "planned"
    """`submitted`: the queue's own status counts."""
    prompt: str
    """The prompt of the first attempt, rendered and linted when the wave was submitted."""
    sent_attempt: int = 0
    """The attempt that was sent last; a queue that shows an earlier one shows an old state."""
    started_from: Baseline | None = None
    """Where the branches were before the first attempt was sent."""
    baseline: Baseline | None = None
    """Where they were before the attempt that was sent last."""
    inspected_attempt: int = 0
    """The attempt whose final response and judge record have been read."""
    inspected_late: tuple[int, ...] = ()
    """Superseded attempts whose late reports have been read."""
    charged: tuple[int, ...] = ()
    """The attempts that ended by the task's own fault and were followed by another."""
    freed: dict[str, tuple[int, ...]] = {}
    """Those that cost nothing although that is so only a few times, by why."""
    at_risk_polls: int = 0
    at_risk_counted_at: AwareDatetime | None = None
    last_interrupt_at: AwareDatetime | None = None
    blocked_by: str | None = None
    canary: bool = False
    evidence: tuple[Evidence, ...] = ()
    review: Review | None = None
    spent: int = 0
    """Tokens that models have used on it, over all attempts."""
    why: str | None = None
    """One sentence for the outcome table."""
    failing: Failing | None = None
    """The action that failed last, until it succeeds."""
    changed_at: AwareDatetime

    def is_started_again(self, view: TaskView) -> bool:
        """Whether it waited or was handed over, and the queue shows that somebody started it again.

        What it was held for belongs to the attempt that was read last; the new one is read and
        judged like any other.
        """
        if self.status not in ("parked", "handed-over"):
            return False
        return view.attempt > self.inspected_attempt or view.state not in TERMINAL


SETTLED_RECORDS: Final = frozenset({"accepted", "replaced", "cancelled", "handed-over"})
