"""The journal as tables of the state's file: append-only, hash-chained, all of an append or none.

What `verify` notices: a record that was edited, removed, moved, replaced or added, a cut-off end,
and a snapshot that was changed or removed. The last two need the `head` row, which counts what was
written. What it cannot notice: somebody who rewrites the records *and* the head to match, unless a
digest of the old chain was kept elsewhere, as the seal does; and a change of `open_intent`, which
is no record but an index of the records. Opening the state compares that one (`check`).
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

from pydantic import ValidationError

from agent.adapters.state.shared import SharedFile
from agent.core.journal.records import GENESIS, Entry, Record, chain
from agent.core.model.actions import canonical
from agent.core.model.nouns import Snapshot
from agent.errors import JournalBrokenError, UnusableStoreError

_PAGE: Final = 500
"""Records read at once; no read transaction stays open while the caller works on them."""
_COLUMNS: Final = "sequence, previous, digest, kind, at, tick, task, key, body"

_REFUSE: Final = "BEGIN SELECT RAISE(ABORT, 'append-only'); END"
# Triggers keep the rules, so that every writer keeps them: nothing is changed or removed
# (REPLACE deletes without a delete trigger, hence the checks before insert), and head and
# open_intent change in the transaction of the record they follow from.
SCHEMA: Final = (
    f"""CREATE TABLE head(
        one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL DEFAULT 0,
        digest TEXT NOT NULL DEFAULT '{GENESIS}', last_tick INTEGER NOT NULL DEFAULT 0,
        snapshots INTEGER NOT NULL DEFAULT 0)""",
    "INSERT INTO head(one) VALUES (1)",
    """CREATE TABLE entry(
        sequence INTEGER PRIMARY KEY, previous TEXT NOT NULL, digest TEXT NOT NULL,
        kind TEXT NOT NULL, at TEXT NOT NULL, tick INTEGER NOT NULL, task TEXT, key TEXT,
        body TEXT NOT NULL)""",
    "CREATE INDEX entry_task ON entry(task, sequence) WHERE task IS NOT NULL",
    "CREATE TABLE snapshot(digest TEXT PRIMARY KEY, body BLOB NOT NULL)",
    "CREATE TABLE open_intent(key TEXT PRIMARY KEY, sequence INTEGER NOT NULL)",
    f"CREATE TRIGGER entry_keeps BEFORE UPDATE ON entry {_REFUSE}",
    f"CREATE TRIGGER entry_stays BEFORE DELETE ON entry {_REFUSE}",
    """CREATE TRIGGER entry_follows BEFORE INSERT ON entry
        WHEN NEW.sequence IS NOT (SELECT count + 1 FROM head)
            OR NEW.previous IS NOT (SELECT digest FROM head)
        BEGIN SELECT RAISE(ABORT, 'append-only'); END""",
    """CREATE TRIGGER entry_counted AFTER INSERT ON entry
        BEGIN UPDATE head SET count = NEW.sequence, digest = NEW.digest,
            last_tick = max(last_tick, NEW.tick); END""",
    """CREATE TRIGGER entry_opens AFTER INSERT ON entry WHEN NEW.kind = 'intent'
        BEGIN INSERT OR IGNORE INTO open_intent VALUES (NEW.key, NEW.sequence); END""",
    """CREATE TRIGGER entry_closes AFTER INSERT ON entry WHEN NEW.kind IN ('outcome', 'settled')
        BEGIN DELETE FROM open_intent WHERE key = NEW.key; END""",
    f"CREATE TRIGGER snapshot_keeps BEFORE UPDATE ON snapshot {_REFUSE}",
    f"CREATE TRIGGER snapshot_stays BEFORE DELETE ON snapshot {_REFUSE}",
    """CREATE TRIGGER snapshot_new BEFORE INSERT ON snapshot
        WHEN EXISTS (SELECT 1 FROM snapshot WHERE digest = NEW.digest)
        BEGIN SELECT RAISE(ABORT, 'append-only'); END""",
    """CREATE TRIGGER snapshot_counted AFTER INSERT ON snapshot
        BEGIN UPDATE head SET snapshots = snapshots + 1; END""",
)

_Row = tuple[Any, ...]


class SqliteJournal:
    """The journal in `file`.

    Raises:
        UnusableStoreError: the file cannot be read or written, by any method.
        JournalBrokenError: records or snapshots do not hold, by the method that stumbles on it.

    """

    def __init__(self, file: SharedFile) -> None:
        self._file = file

    def append(self, records: Sequence[Record], snapshot: Snapshot | None = None) -> None:
        """Chain the records and store the snapshot once, all or nothing.

        An intent stays unresolved until an outcome or settled record with its key follows it.
        """
        for record in records:
            if record.kind == "intent" and record.key is None:
                raise ValueError("an intent needs a key, or it could never be resolved")
        plain = None if snapshot is None else canonical(snapshot)
        name = None if plain is None else sha256(plain).hexdigest()
        with self._file.transaction() as db:
            count, digest = self._head(db)
            rows: list[_Row] = []
            for record in records:
                entry = chain(count + 1, digest, record)
                count, digest = entry.sequence, entry.digest
                rows.append(_row(entry))
            db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            known = db.execute("SELECT 1 FROM snapshot WHERE digest = ?", (name,)).fetchone()
            if plain is not None and known is None:
                db.execute("INSERT INTO snapshot VALUES (?, ?)", (name, zlib.compress(plain)))

    def entries(
        self, *, after: int = 0, task: str | None = None, kinds: Sequence[str] = ()
    ) -> Iterable[Entry]:
        """Oldest first; read page by page, so what is appended meanwhile is seen, too."""
        for row in self._pages(after=after, task=task, kinds=kinds):
            yield self._read(row)

    def unresolved(self) -> Sequence[Record]:
        """One record per key, the oldest; read from `open_intent`, never from the whole journal."""
        query = (
            f"SELECT {_COLUMNS} FROM entry "  # noqa: S608 - column names of this file
            "WHERE sequence IN (SELECT sequence FROM open_intent) ORDER BY sequence"
        )
        with self._file.using() as db:
            rows = db.execute(query).fetchall()
        return [self._read(row).record for row in rows]

    def last_tick(self) -> int:
        """The highest tick of any record; 0 when there is none."""
        with self._file.using() as db:
            row = db.execute("SELECT last_tick FROM head").fetchone()
        return int(row[0]) if row else 0

    def snapshot(self, digest: str) -> Snapshot | None:
        """The snapshot as it was appended; None when no snapshot has this digest."""
        with self._file.using() as db:
            row = db.execute("SELECT body FROM snapshot WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            return None
        plain = _unpacked(digest, row[0])
        if plain is None:
            raise JournalBrokenError(f"{self._file.path}: {_changed(digest)}")
        try:
            return Snapshot.model_validate_json(plain)
        except ValidationError as error:
            raise UnusableStoreError(
                f"{self._file.path}: snapshot {digest[:12]} does not fit this version of "
                "wavekeeper: read it with the version that wrote it",
            ) from error

    def verify(self) -> str | None:
        """Walk the whole chain, then the snapshots; the module says what cannot be noticed."""
        with self._file.using() as db:
            head = db.execute(
                """SELECT count, digest, snapshots, (SELECT max(sequence) FROM entry),
                    (SELECT count(*) FROM snapshot) FROM head""",
            ).fetchone()
        if head is None:
            return "the head is missing: nothing says how many records were written"
        count, sealed, snapshots, last, found = head
        if last is not None and last > count:
            return f"record {count + 1} was added behind the journal's back"
        expected, previous = 1, GENESIS
        for row in self._pages():
            if expected > count:
                break
            if fault := _fault(row, expected, previous):
                return fault
            expected, previous = expected + 1, row[2]
        if expected <= count:
            return f"record {expected} is missing: {count} were written and the end is cut off"
        if previous != sealed:
            return f"record {count} is not the one that was written: the end was replaced"
        if found != snapshots:
            return f"after record {count}: {found} snapshots are there, {snapshots} were written"
        return self._bad_snapshot()

    def _bad_snapshot(self) -> str | None:
        with self._file.using() as db:
            digests = [row[0] for row in db.execute("SELECT digest FROM snapshot ORDER BY rowid")]
        for digest in digests:
            with self._file.using() as db:
                query = "SELECT body FROM snapshot WHERE digest = ?"
                row = db.execute(query, (digest,)).fetchone()
            if row is None or _unpacked(digest, row[0]) is None:
                return _changed(digest)
        return None

    def _read(self, row: _Row) -> Entry:
        try:
            return _entry(row)
        except (ValueError, TypeError) as error:
            raise JournalBrokenError(f"{self._file.path}: {_edited(row[0])}") from error

    def _pages(
        self, *, after: int = 0, task: str | None = None, kinds: Sequence[str] = ()
    ) -> Iterator[_Row]:
        wanted, values = "", list[str]()
        if task is not None:
            wanted, values = " AND task = ?", [task]
        if kinds:
            wanted += f" AND kind IN ({', '.join('?' * len(kinds))})"
            values += kinds
        query = (
            f"SELECT {_COLUMNS} FROM entry WHERE sequence > ?{wanted} "  # noqa: S608 - placeholders
            f"ORDER BY sequence LIMIT {_PAGE}"
        )
        while True:
            with self._file.using() as db:
                page = db.execute(query, (after, *values)).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def _head(self, db: sqlite3.Connection) -> tuple[int, str]:
        """How many records there are, and the last one's digest; refuses a cut-off end."""
        head = db.execute("SELECT count, digest FROM head").fetchone()
        query = "SELECT sequence, digest FROM entry ORDER BY sequence DESC LIMIT 1"
        last = db.execute(query).fetchone()
        if head is None or (last or (0, GENESIS)) != head:
            raise JournalBrokenError(
                f"{self._file.path}: the last record is not the one that was written last; "
                "restore the file from a backup, or move it away to begin a new journal",
            )
        return head[0], head[1]


def _row(entry: Entry) -> _Row:
    plain = entry.record.model_dump(mode="json", exclude_none=True)
    return (
        entry.sequence,
        entry.previous,
        entry.digest,
        plain["kind"],
        plain["at"],
        plain["tick"],
        plain.get("task"),
        plain.get("key"),
        canonical(plain["body"]).decode(),
    )


def _entry(row: _Row) -> Entry:
    sequence, previous, digest, kind, at, tick, task, key, body = row
    plain = {"kind": kind, "at": at, "tick": tick, "task": task, "key": key}
    record = Record.model_validate(plain | {"body": json.loads(body)})
    return Entry(sequence=sequence, previous=previous, digest=digest, record=record)


def _fault(row: _Row, expected: int, previous: str) -> str | None:
    """What is wrong with the row that should be record `expected` after `previous`."""
    if row[0] != expected:
        return f"record {expected} is missing: record {row[0]} stands in its place"
    if row[1] != previous:
        return f"record {expected} does not follow the one before it: moved or replaced"
    try:
        again = _row(chain(expected, previous, _entry(row).record))
    except (ValueError, TypeError):
        return _edited(expected)
    # The whole row: a column that only reads the same would pass a comparison of digests.
    return None if again == row else _edited(expected)


def _edited(sequence: int) -> str:
    return f"record {sequence} was edited after it was written"


def _changed(digest: str) -> str:
    return f"snapshot {digest[:12]} was changed after it was written"


def _unpacked(digest: str, body: bytes) -> bytes | None:
    """The JSON of a snapshot; None when it is not what was stored."""
    try:
        plain = zlib.decompress(body)
    except (zlib.error, TypeError):
        return None
    return plain if sha256(plain).hexdigest() == digest else None
