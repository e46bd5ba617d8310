"""Questions to a person as tables of the state's file, which supervisor and terminals share.

A change reads and writes in one transaction that no other process can enter, so of two answers to
one card exactly one is first.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

from agent.adapters.state.shared import SharedFile, sequence
from agent.core.approval.requests import LIVE, ApprovalRequest, StandingRule, same_digest
from agent.core.journal.records import Damaged
from agent.core.model.actions import Action, canonical
from agent.errors import ChangedMeanwhileError, UserError

SCHEMA: Final = (
    """CREATE TABLE request(
        place INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT, action TEXT NOT NULL,
        digest TEXT NOT NULL, state TEXT NOT NULL, live INTEGER NOT NULL, seen INTEGER NOT NULL,
        recorded INTEGER NOT NULL, sequence INTEGER NOT NULL, body TEXT NOT NULL)""",
    "CREATE INDEX request_about ON request(task, action, place)",
    "CREATE INDEX request_live ON request(place) WHERE live",
    "CREATE INDEX request_unseen ON request(place) WHERE NOT (seen AND recorded)",
    "CREATE INDEX request_declined ON request(place) WHERE state IN ('rejected', 'deferred')",
    "CREATE INDEX request_sequence ON request(sequence)",
    """CREATE TABLE rule(
        place INTEGER PRIMARY KEY AUTOINCREMENT, sequence INTEGER NOT NULL, body TEXT NOT NULL)""",
)
_INSERT: Final = """INSERT INTO request(
        place, task, action, digest, state, live, seen, recorded, sequence, body)
    VALUES (:place, :task, :action, :digest, :state, :live, :seen, :recorded, :sequence, :body)"""
_UPDATE: Final = """UPDATE request SET task = :task, action = :action, digest = :digest,
    state = :state, live = :live, seen = :seen, recorded = :recorded, sequence = :sequence,
    body = :body WHERE place = :place"""
_DECLINED: Final = """FROM request AS mine WHERE state IN ('rejected', 'deferred')
    AND NOT EXISTS (SELECT 1 FROM request AS later WHERE later.place > mine.place
        AND later.task IS mine.task AND later.action = mine.action) ORDER BY place"""
_UNSEEN: Final = "FROM request WHERE NOT (seen AND recorded) ORDER BY place"
_NO_REQUEST: Final = "there is no request {!r:.40}; `wavekeeper approve --list` shows them"
_NO_RULE: Final = "there is no rule {!r:.40}; `wavekeeper policy rules` shows them"


class SqliteApprovals:
    """The queue of questions in `file`.

    Raises:
        UnusableStoreError: the file cannot be read or written, by any method.

    """

    def __init__(self, file: SharedFile) -> None:
        self._file = file

    def ask(self, request: ApprovalRequest) -> ApprovalRequest:
        with self._file.transaction() as db:
            query = "SELECT CAST(body AS BLOB) FROM request WHERE digest = ? AND live"
            if same := self._read(db.execute(query, (request.digest,)).fetchall()):
                return same[0]
            place = _next(db, "request")
            kept = request.model_copy(update={"id": f"A-{place}"})
            db.execute(_INSERT, _row(place, kept, sequence(db)))
        return kept

    def request(self, request: str) -> ApprovalRequest | None:
        with self._file.using() as db:
            rows = db.execute(
                "SELECT CAST(body AS BLOB) FROM request WHERE place = ?", (_place(request),)
            ).fetchall()
        return next(iter(self._read(rows)), None)

    def last(self, task: str | None, action: Action) -> ApprovalRequest | None:
        query = """SELECT CAST(body AS BLOB) FROM request WHERE task IS ? AND action = ?
            ORDER BY place DESC LIMIT 1"""
        with self._file.using() as db:
            rows = db.execute(query, (task, action.value)).fetchall()
        return next(iter(self._read(rows)), None)

    def requests(self, *, live: bool) -> Sequence[ApprovalRequest]:
        where = "WHERE live" if live else ""
        return self._all(f"SELECT CAST(body AS BLOB) FROM request {where} ORDER BY place")  # noqa: S608 - a constant

    def declined(self) -> Sequence[ApprovalRequest]:
        return self._all(f"SELECT CAST(body AS BLOB) {_DECLINED}")

    def change(
        self, request: str, digest: str, how: Callable[[ApprovalRequest], ApprovalRequest]
    ) -> ApprovalRequest:
        with self._file.transaction() as db:
            place = _place(request)
            row = db.execute(
                "SELECT CAST(body AS BLOB) FROM request WHERE place = ?", (place,)
            ).fetchone()
            if row is None:
                raise UserError(_NO_REQUEST.format(request))
            known = self._file.parse(ApprovalRequest, row[0])
            if isinstance(known, str):
                raise ChangedMeanwhileError(f"{request} cannot be read: {known}; nothing was done")
            if not same_digest(known, digest):
                raise ChangedMeanwhileError(
                    f"{request} is now {known.digest[:12]} and not {digest:.12}; nothing was done"
                )
            changed = how(known)
            db.execute(_UPDATE, _row(place, changed, sequence(db)))
        return changed

    def unseen(self) -> Sequence[ApprovalRequest]:
        return self._all(f"SELECT CAST(body AS BLOB) {_UNSEEN}")

    def rules(self) -> Sequence[StandingRule]:
        rows = self._rows("SELECT CAST(body AS BLOB) FROM rule ORDER BY place")
        parsed = [self._file.parse(StandingRule, row[0]) for row in rows]
        return [one for one in parsed if not isinstance(one, str)]

    def add_rule(self, rule: StandingRule) -> StandingRule:
        with self._file.transaction() as db:
            place = _next(db, "rule")
            kept = rule.model_copy(update={"id": f"R-{place}"})
            row = (place, sequence(db), canonical(kept).decode())
            db.execute("INSERT INTO rule(place, sequence, body) VALUES (?, ?, ?)", row)
        return kept

    def change_rule(self, rule: str, how: Callable[[StandingRule], StandingRule]) -> StandingRule:
        with self._file.transaction() as db:
            place = _place(rule)
            row = db.execute(
                "SELECT CAST(body AS BLOB) FROM rule WHERE place = ?", (place,)
            ).fetchone()
            if row is None:
                raise UserError(_NO_RULE.format(rule))
            known = self._file.parse(StandingRule, row[0])
            if isinstance(known, str):
                raise UserError(f"{rule} covers nothing, because it cannot be read: {known}")
            changed = how(known)
            values = (sequence(db), canonical(changed).decode(), place)
            db.execute("UPDATE rule SET sequence = ?, body = ? WHERE place = ?", values)
        return changed

    def _all(self, query: str) -> list[ApprovalRequest]:
        return self._read(self._rows(query))

    def _read(self, rows: Sequence[tuple[Any, ...]]) -> list[ApprovalRequest]:
        parsed = [self._file.parse(ApprovalRequest, row[0]) for row in rows]
        return [one for one in parsed if not isinstance(one, str)]

    def damaged(self) -> list[Damaged]:
        """Rules that cannot be read, and requests that wait for something and cannot be read."""
        found: dict[str, Damaged] = {}
        # A task waits for a request that is live or declined; of others only the record is missing.
        for where, waits in (("FROM request WHERE live", 1), (_DECLINED, 1), (_UNSEEN, 0)):
            for place, task, body in self._rows(f"SELECT place, task, CAST(body AS BLOB) {where}"):
                if isinstance(why := self._file.parse(ApprovalRequest, body), str):
                    held = task if waits else None
                    one = Damaged(kind="request", id=f"A-{place}", task=held, why=why)
                    found.setdefault(one.id, one)
        for place, body in self._rows("SELECT place, CAST(body AS BLOB) FROM rule"):
            if isinstance(bad := self._file.parse(StandingRule, body), str):
                found[f"R-{place}"] = Damaged(kind="rule", id=f"R-{place}", why=bad)
        return list(found.values())

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        """A body is read as bytes, so that what is no text is the fault of one row."""
        with self._file.using() as db:
            return db.execute(query).fetchall()


def _row(place: int, request: ApprovalRequest, follows: int) -> dict[str, object]:
    return {
        "place": place,
        "task": request.proposal.task,
        "action": request.proposal.action.value,
        "digest": request.digest,
        "state": request.state,
        "live": request.state in LIVE,
        "seen": request.seen,
        "recorded": request.recorded,
        "sequence": follows,
        "body": canonical(request).decode(),
    }


def _next(db: sqlite3.Connection, table: str) -> int:
    query = f"SELECT coalesce(max(place), 0) + 1 FROM {table}"  # noqa: S608 - one of two constants
    return int(db.execute(query).fetchone()[0])


def _place(name: str) -> int:
    """The number in `A-7`; 0, which nothing has, for anything else."""
    number = name.partition("-")[2]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 18 else 0  # noqa: PLR2004 - digits of SQLite's integers
