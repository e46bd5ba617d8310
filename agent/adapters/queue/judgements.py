"""The judgements that were ordered: one SQLite file, safe for several processes and for threads."""

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from agent.adapters.common.sqlite import SqliteFile, statements_of
from agent.core.model.actions import digest
from agent.core.model.nouns import JudgeRecord
from agent.core.model.queueing import JudgeLease, Judgement, JudgementOrder
from agent.core.queue.rules import clean, clean_noun, stamp, time_of, to_json
from agent.errors import KeyReusedError, QueueUnavailableError, UnreadableAnswerError

_FREE: Final = (
    "SELECT * FROM judgement WHERE record IS NULL AND heavy <= :heavy"
    " AND (lease_until IS NULL OR lease_until <= :now) ORDER BY place"
)
_HELD: Final = "SELECT token, record FROM judgement WHERE key = ?"
_ODD: Final = (ValueError, OverflowError)
"""What a damaged row raises: no JSON of ours, or a time that there never was."""
_SEEN_EVERY: Final = timedelta(seconds=30)
"""A host that asks for work each second is noted only so often: each note is a write."""


@dataclass(frozen=True, slots=True)
class SeenHost:
    """A judge host that asked for work."""

    name: str
    heavy: bool
    """Whether it takes orders with heavy commands."""
    at: datetime
    """When it asked last, to half a minute."""


class SqliteJudgements(SqliteFile):
    """Implements `Judgements` and `JudgeSource` in the file `path`, made when it is not there.

    `now` gives aware datetimes and is its only clock. A row that cannot be read is one judgement's
    trouble: it is not waited for, nobody claims it, and `latest` says so.

    Raises:
        UnusableStoreError: the file cannot be what it should, or is none any more.
        QueueUnavailableError: it cannot be read or written just now.
        UnreadableAnswerError: the row of this judgement is damaged.

    """

    APPLICATION = 0x574B4A47  # "WKJG"
    VERSION = 1
    UNAVAILABLE = QueueUnavailableError

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        super().__init__(path)
        self._now = now
        self._db.row_factory = sqlite3.Row
        # Bytes that are no UTF-8 are one row's trouble, too.
        self._db.text_factory = lambda data: data.decode("utf-8", "replace")

    def _schema(self) -> Sequence[str]:
        return statements_of("agent.adapters.queue", "judgements.sql")

    def order(self, order: JudgementOrder, *, key: str) -> None:
        key, order = clean(key), clean_noun(order)
        with self._transaction() as db:
            row = db.execute("SELECT digest FROM judgement WHERE key = ?", (key,)).fetchone()
            if row is None:
                db.execute(
                    'INSERT INTO judgement (key, digest, task, attempt, heavy, "order", ordered_at)'
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        key,
                        digest(order),
                        order.task,
                        order.attempt,
                        int(order.heavy),
                        to_json(order),
                        stamp(self._now()),
                    ),
                )
            elif row["digest"] != digest(order):
                raise KeyReusedError(
                    f"key {key!r} was used for another judgement of task {order.task!r}; "
                    "give each order a key of its own",
                )

    def ordered(self, key: str) -> bool:
        with self._using() as db:
            found = db.execute("SELECT 1 FROM judgement WHERE key = ?", (clean(key),)).fetchone()
            return found is not None

    def latest(self, task: str, attempt: int) -> Judgement | None:
        with self._using() as db:
            row = db.execute(
                "SELECT * FROM judgement WHERE task = ? AND attempt = ?"
                " ORDER BY place DESC LIMIT 1",
                (clean(task), attempt),
            ).fetchone()
        if row is None:
            return None
        try:
            return _judgement(row)
        except _ODD as error:
            why = " ".join(str(error).split())[:200]
            raise UnreadableAnswerError(
                f"{self._path}: the judgement of {task} attempt {attempt} cannot be read: {why}",
            ) from error

    def waiting(self) -> Sequence[Judgement]:
        with self._using() as db:
            rows = db.execute(
                "SELECT * FROM judgement WHERE record IS NULL ORDER BY place"
            ).fetchall()
        found = []
        for row in rows:
            with suppress(*_ODD):
                found.append(_judgement(row))
        return found

    def claim(self, host: str, *, lease: float, heavy: bool) -> JudgeLease | None:
        host = clean(host)
        asked = {"heavy": int(heavy), "now": stamp(self._now())}
        with self._using() as db:
            # Most looks find nothing, and a look must not wait for who is writing.
            if _is_known(db, host, asked) and db.execute(_FREE, asked).fetchone() is None:
                return None
        with self._transaction() as db:
            now = self._now()
            asked["now"] = stamp(now)
            db.execute("REPLACE INTO host VALUES (:host, :heavy, :now)", asked | {"host": host})
            for row in db.execute(_FREE, asked).fetchall():
                try:
                    order = JudgementOrder.model_validate_json(row["order"])
                except ValidationError:
                    continue
                token, until = secrets.token_hex(16), now + timedelta(seconds=lease)
                db.execute(
                    "UPDATE judgement SET host = ?, token = ?, lease_until = ?, started_at = ?"
                    " WHERE place = ?",
                    (host, token, stamp(until), stamp(now), row["place"]),
                )
                return JudgeLease(key=row["key"], token=token, order=order, expires_at=until)
            return None

    def beat(self, lease: JudgeLease, *, extend: float) -> bool:
        with self._transaction() as db:
            row = db.execute(_HELD, (lease.key,)).fetchone()
            if row is None or row["token"] != lease.token or row["record"] is not None:
                return False
            until = self._now() + timedelta(seconds=extend)
            db.execute(
                "UPDATE judgement SET lease_until = ? WHERE key = ?", (stamp(until), lease.key)
            )
            return True

    def finish(self, lease: JudgeLease, record: JudgeRecord) -> bool:
        kept = to_json(record)
        with self._transaction() as db:
            row = db.execute(_HELD, (lease.key,)).fetchone()
            if row is None or row["token"] != lease.token:
                return False
            if row["record"] is None:
                db.execute("UPDATE judgement SET record = ? WHERE key = ?", (kept, lease.key))
                return True
            return bool(row["record"] == kept)

    def hosts(self) -> Sequence[SeenHost]:
        """The judge hosts that ever asked for work, the latest first."""
        with self._using() as db:
            rows = db.execute("SELECT * FROM host ORDER BY seen_at DESC, name").fetchall()
        return [SeenHost(row["name"], bool(row["heavy"]), time_of(row["seen_at"])) for row in rows]


def _is_known(db: sqlite3.Connection, host: str, asked: dict[str, int]) -> bool:
    """Whether this host was noted a moment ago, just as it is."""
    row = db.execute("SELECT heavy, seen_at FROM host WHERE name = ?", (host,)).fetchone()
    if row is None or row["heavy"] != asked["heavy"]:
        return False
    age = time_of(asked["now"]) - time_of(row["seen_at"])
    return timedelta() <= age < _SEEN_EVERY


def _judgement(row: sqlite3.Row) -> Judgement:
    """The row; any of `_ODD`: it is damaged."""
    record, started = row["record"], row["started_at"]
    return Judgement(
        order=JudgementOrder.model_validate_json(row["order"]),
        ordered_at=time_of(row["ordered_at"]),
        host=row["host"],
        started_at=None if started is None else time_of(started),
        record=None if record is None else JudgeRecord.model_validate_json(record),
    )
