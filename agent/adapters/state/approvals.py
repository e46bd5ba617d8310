"""Questions to a person as tables of the state's file, which supervisor and terminals share.

A change reads and writes in one transaction that no other process can enter, so of two answers to
one card exactly one is first.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import ValidationError

from agent.adapters.state.shared import SharedFile, sequence
from agent.core.approval.requests import LIVE, ApprovalRequest, StandingRule, same_digest
from agent.core.model.actions import Action, canonical
from agent.errors import ChangedMeanwhileError, UnusableStoreError, UserError

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
            query = "SELECT body FROM request WHERE digest = ? AND live LIMIT 1"
            if (row := db.execute(query, (request.digest,)).fetchone()) is not None:
                return self._request(row[0])
            place = _next(db, "request")
            kept = request.model_copy(update={"id": f"A-{place}"})
            db.execute(_INSERT, _row(place, kept, sequence(db)))
        return kept

    def request(self, request: str) -> ApprovalRequest | None:
        with self._file.using() as db:
            row = db.execute(
                "SELECT body FROM request WHERE place = ?", (_place(request),)
            ).fetchone()
        return None if row is None else self._request(row[0])

    def last(self, task: str | None, action: Action) -> ApprovalRequest | None:
        query = """SELECT body FROM request WHERE task IS ? AND action = ?
            ORDER BY place DESC LIMIT 1"""
        with self._file.using() as db:
            row = db.execute(query, (task, action.value)).fetchone()
        return None if row is None else self._request(row[0])

    def requests(self, *, live: bool) -> Sequence[ApprovalRequest]:
        where = "WHERE live" if live else ""
        return self._all(f"SELECT body FROM request {where} ORDER BY place")  # noqa: S608 - a constant

    def declined(self) -> Sequence[ApprovalRequest]:
        return self._all(
            """SELECT body FROM request AS mine WHERE state IN ('rejected', 'deferred')
                AND NOT EXISTS (SELECT 1 FROM request AS later WHERE later.place > mine.place
                    AND later.task IS mine.task AND later.action = mine.action)
                ORDER BY place""",
        )

    def change(
        self, request: str, digest: str, how: Callable[[ApprovalRequest], ApprovalRequest]
    ) -> ApprovalRequest:
        with self._file.transaction() as db:
            place = _place(request)
            row = db.execute("SELECT body FROM request WHERE place = ?", (place,)).fetchone()
            if row is None:
                raise UserError(_NO_REQUEST.format(request))
            known = self._request(row[0])
            if not same_digest(known, digest):
                raise ChangedMeanwhileError(
                    f"{request} is now {known.digest[:12]} and not {digest:.12}; nothing was done"
                )
            changed = how(known)
            db.execute(_UPDATE, _row(place, changed, sequence(db)))
        return changed

    def unseen(self) -> Sequence[ApprovalRequest]:
        return self._all("SELECT body FROM request WHERE NOT (seen AND recorded) ORDER BY place")

    def rules(self) -> Sequence[StandingRule]:
        with self._file.using() as db:
            rows = db.execute("SELECT body FROM rule ORDER BY place").fetchall()
        return [self._rule(row[0]) for row in rows]

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
            row = db.execute("SELECT body FROM rule WHERE place = ?", (place,)).fetchone()
            if row is None:
                raise UserError(_NO_RULE.format(rule))
            changed = how(self._rule(row[0]))
            values = (sequence(db), canonical(changed).decode(), place)
            db.execute("UPDATE rule SET sequence = ?, body = ? WHERE place = ?", values)
        return changed

    def _all(self, query: str) -> list[ApprovalRequest]:
        with self._file.using() as db:
            rows = db.execute(query).fetchall()
        return [self._request(row[0]) for row in rows]

    def _request(self, body: str) -> ApprovalRequest:
        try:
            return ApprovalRequest.model_validate_json(body)
        except ValidationError as error:
            raise self._unreadable("card") from error

    def _rule(self, body: str) -> StandingRule:
        try:
            return StandingRule.model_validate_json(body)
        except ValidationError as error:
            raise self._unreadable("rule") from error

    def _unreadable(self, what: str) -> UnusableStoreError:
        return UnusableStoreError(
            f"{self._file.path}: a stored {what} cannot be read: it was edited or written by "
            "another version; restore the file from a backup",
        )


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
