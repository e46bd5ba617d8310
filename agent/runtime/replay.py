"""The journal read back: the runs of the supervisor, their ticks, and each decision again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.core.journal.records import Entry
from agent.core.journal.replay import Difference, differences
from agent.core.model.policy import Policy
from agent.errors import JournalBrokenError, UserError
from agent.ports import Journal

LAST = "last"
ALL = "all"


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the supervisor: from its `start` record to the next one, or to the end."""

    id: str
    """`S-1` is the first run in this journal."""
    begun_at: datetime
    mode: str
    policy: str
    """The hash of the policy it ran under."""
    first: int
    """The number of its `start` record."""
    last: int | None
    """The number of its last record; None: it is the latest run."""


@dataclass(slots=True)
class Replayed:
    """What came of deciding again."""

    ticks: int = 0
    decisions: int = 0
    other_policy: set[str] = field(default_factory=set)
    """Hashes of the policies under which it was decided, where they were not this one."""
    differing: list[Difference] = field(default_factory=list)


def sessions(journal: Journal) -> list[Session]:
    """Every run, the first one first."""
    starts = list(journal.entries(kinds=("start",)))
    ends = [one.sequence - 1 for one in starts[1:]]
    found = []
    for number, (entry, last) in enumerate(zip(starts, [*ends, None], strict=True), start=1):
        body = entry.record.body
        found.append(
            Session(
                f"S-{number}", entry.record.at, str(body.get("mode")), str(body.get("policy")),
                entry.sequence, last,
            ),
        )  # fmt: skip
    return found


def select_sessions(journal: Journal, name: str) -> list[Session]:
    """The runs that `name` means: one id, `last` or `all`. UserError: there is none."""
    found = sessions(journal)
    if name == ALL and found:
        return found
    if name == LAST and found:
        return found[-1:]
    one = [session for session in found if session.id == name]
    if not one:
        known = f"there are S-1 to {found[-1].id}" if found else "nothing was recorded yet"
        raise UserError(f"there is no session {name!r:.40}; {known}, `last` and `all`")
    return one


def replay(journal: Journal, runs: Sequence[Session], policy: Policy) -> Replayed:
    """Decide everything in `runs` again under `policy`, each tick from its own snapshot.

    JournalBrokenError: a snapshot is not there.
    """
    found = Replayed()
    for tick, decisions in _ticks(journal, runs):
        seen = str(tick.record.body["snapshot"])
        snapshot = journal.snapshot(seen)
        if snapshot is None:
            raise JournalBrokenError(f"record {tick.sequence}: its snapshot {seen[:12]} is missing")
        if tick.record.body["policy"] != policy.hash:
            found.other_policy.add(str(tick.record.body["policy"]))
        found.ticks += 1
        found.decisions += len(decisions)
        found.differing += differences(snapshot, policy, decisions)
    return found


def _ticks(journal: Journal, runs: Sequence[Session]) -> Iterator[tuple[Entry, list[Entry]]]:
    """Each tick's own record and the decisions that were written with it."""
    for run in runs:
        tick: Entry | None = None
        decisions: list[Entry] = []
        for entry in journal.entries(after=run.first, kinds=("tick", "decision")):
            if run.last is not None and entry.sequence > run.last:
                break
            if entry.record.kind == "decision":
                decisions.append(entry)
                continue
            if tick is not None:
                yield tick, decisions
            tick, decisions = entry, []
        if tick is not None:
            yield tick, decisions
