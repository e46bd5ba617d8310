"""The journal in memory, for tests and simulation; it keeps the same contract."""

import threading
from collections.abc import Iterable, Sequence

from agent.core.journal.records import GENESIS, Entry, Record, chain
from agent.core.model.actions import canonical, digest
from agent.core.model.nouns import Snapshot


class MemoryJournal:
    """Forgets everything at the end of the process; may be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: list[Entry] = []
        self._snapshots: dict[str, bytes] = {}
        self._open: dict[str, Record] = {}

    def append(self, records: Sequence[Record], snapshot: Snapshot | None = None) -> None:
        """Chain the records and store the snapshot once, all or nothing.

        An intent stays unresolved until an outcome or settled record with its key follows it.
        """
        for record in records:
            if record.kind == "intent" and record.key is None:
                raise ValueError("an intent needs a key, or it could never be resolved")
        # Through JSON, as from a file: what the caller changes later is not the journal's.
        kept = [Record.model_validate_json(canonical(record)) for record in records]
        with self._lock:
            if snapshot is not None:
                self._snapshots[digest(snapshot)] = canonical(snapshot)
            for record in kept:
                previous = self._entries[-1].digest if self._entries else GENESIS
                self._entries.append(chain(len(self._entries) + 1, previous, record))
                if record.key is not None and record.kind == "intent":
                    self._open.setdefault(record.key, record)
                elif record.key is not None and record.kind in ("outcome", "settled"):
                    self._open.pop(record.key, None)

    def entries(
        self,
        *,
        after: int = 0,
        task: str | None = None,
        kinds: Sequence[str] = (),
    ) -> Iterable[Entry]:
        """Oldest first."""
        with self._lock:
            later = self._entries[max(after, 0) :]
        for entry in later:
            record = entry.record
            if (task is None or record.task == task) and (not kinds or record.kind in kinds):
                yield entry

    def unresolved(self) -> Sequence[Record]:
        """One record per key, the oldest."""
        with self._lock:
            return list(self._open.values())

    def last_tick(self) -> int:
        """The highest tick of any record; 0 when there is none."""
        with self._lock:
            return max((entry.record.tick for entry in self._entries), default=0)

    def snapshot(self, digest: str) -> Snapshot | None:
        """The snapshot as it was appended; None when no snapshot has this digest."""
        with self._lock:
            plain = self._snapshots.get(digest)
        return None if plain is None else Snapshot.model_validate_json(plain)

    def verify(self) -> str | None:
        """Walk the whole chain."""
        previous = GENESIS
        for place, entry in enumerate(self.entries(), start=1):
            if entry != chain(place, previous, entry.record):
                return f"record {place} was edited after it was written"
            previous = entry.digest
        return None
