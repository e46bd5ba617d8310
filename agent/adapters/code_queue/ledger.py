"""What has to be remembered beside a Code Queue: its names of our tasks, and what was asked of it.

A Code Queue names its tasks itself and cannot be asked what became of an idempotency key. Both are
written down here: a request before it is sent, and its receipt once it is known.
"""

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter

from agent.adapters.common.sqlite import SqliteFile
from agent.core.model.actions import digest
from agent.core.model.queueing import Order, Receipt, TaskView
from agent.core.queue.rules import Halt, Move, Request, Retry, Submit, to_json

_TASKS: Final = "SELECT id, remote, task_order, submitted_at, view, output FROM task"
_ACTS: Final = "SELECT key, request, digest, state, begun_at, receipt FROM act"
_REQUEST: Final[TypeAdapter[Request]] = TypeAdapter(Request)


@dataclass(frozen=True, slots=True)
class Tracked:
    """One task of ours, and what the Code Queue calls it."""

    task: str
    remote: str
    order: Order
    submitted_at: datetime
    view: TaskView | None
    """As it was last seen."""
    output: str | None
    """What `view.final_response` was read from, so that it need not be read again."""


@dataclass(frozen=True, slots=True)
class Act:
    """One request. `begun`: sent, and nobody knows; `void`: it had not taken effect."""

    key: str
    request: Request
    digest: str
    state: Literal["begun", "void", "settled"]
    begun_at: datetime
    receipt: Receipt | None


def attempt_of(request: Request) -> int | None:
    """The attempt that a request creates or stops."""
    if isinstance(request, Move):
        return None
    return 1 if isinstance(request, Submit) else request.attempt


class Ledger(SqliteFile):
    """The file beside the journal; UnusableStoreError from any method."""

    APPLICATION = 0x574B4351  # "WKCQ"
    VERSION = 1
    SCHEMA = (
        """CREATE TABLE task (
            id TEXT PRIMARY KEY, remote TEXT NOT NULL UNIQUE, task_order TEXT NOT NULL,
            submitted_at TEXT NOT NULL, revision INTEGER NOT NULL, view TEXT, output TEXT
        ) STRICT""",
        """CREATE TABLE act (
            key TEXT PRIMARY KEY, digest TEXT NOT NULL, request TEXT NOT NULL,
            verb TEXT NOT NULL, task TEXT NOT NULL, attempt INTEGER, state TEXT NOT NULL,
            begun_at TEXT NOT NULL, receipt TEXT, flagged INTEGER NOT NULL DEFAULT 0
        ) STRICT""",
        "CREATE INDEX act_of_task ON act (task, attempt)",
        "CREATE TABLE store (name TEXT NOT NULL, revision INTEGER NOT NULL) STRICT",
    )

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO store SELECT ?, 0 WHERE NOT EXISTS (SELECT 1 FROM store)",
                (secrets.token_hex(8),),
            )

    def store(self) -> tuple[str, int]:
        """The name of this ledger and its newest revision."""
        with self._using() as db:
            name, revision = db.execute("SELECT name, revision FROM store").fetchone()
        return name, revision

    def tracked(self, task: str) -> Tracked | None:
        """The task with our name `task`."""
        found = self._tracked("id = ?", task)
        return found[0] if found else None

    def all_tracked(self) -> list[Tracked]:
        """Every task, in the order of the last change."""
        return self._tracked("revision >= ?", 0)

    def changed(self, after: int) -> list[TaskView]:
        """The views that changed after a revision."""
        return [one.view for one in self._tracked("revision > ?", after) if one.view is not None]

    def owner(self, remote: str) -> str | None:
        """Our name of the task that the Code Queue calls `remote`."""
        found = self._tracked("remote = ?", remote)
        return found[0].task if found else None

    def track(self, task: str, remote: str, order: Order, at: datetime) -> None:
        """Remember that `remote` is our `task`; the same again changes nothing."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO task VALUES (?, ?, ?, ?, 0, NULL, NULL) ON CONFLICT DO NOTHING",
                (task, remote, to_json(order), at.isoformat()),
            )

    def save(self, view: TaskView, output: str | None) -> None:
        """Keep what was seen; only what differs is a change."""
        text = to_json(view)
        with self._transaction() as db:
            (before,) = db.execute("SELECT view FROM task WHERE id = ?", (view.id,)).fetchone()
            if before != text:
                db.execute("UPDATE store SET revision = revision + 1")
                db.execute(
                    "UPDATE task SET view = ?, revision = (SELECT revision FROM store)"
                    " WHERE id = ?",
                    (text, view.id),
                )
            db.execute("UPDATE task SET output = ? WHERE id = ?", (output, view.id))

    def act(self, key: str) -> Act | None:
        """The request with this key."""
        found = self._acts("key = ?", key)
        return found[0] if found else None

    def begun(self) -> list[Act]:
        """What was sent and is not known to have arrived."""
        return self._acts("state = ?", "begun")

    def begin(self, key: str, request: Request, at: datetime) -> Act:
        """Write a request down, before it is sent."""
        self._put(key, request, "begun", at, None)
        return Act(key, request, digest(request), "begun", at, None)

    def void(self, act: Act) -> None:
        """It had not taken effect; the same key may be used for it again."""
        self._put(act.key, act.request, "void", act.begun_at, None)

    def settle(
        self, receipt: Receipt, request: Request, at: datetime, *, flagged: bool = False
    ) -> Receipt:
        """What became of it, for ever. `flagged`: a retry began with a cancel flag set."""
        self._put(receipt.key, request, "settled", at, receipt, flagged=flagged)
        return receipt

    def asked(self, task: str, attempt: int) -> Literal["interrupt", "cancel"] | None:
        """The stop that was asked of this attempt; a cancel outdoes an interrupt."""
        done = self._done(task)
        verbs = {one.request.verb for one, receipt in done if receipt.attempt == attempt}
        if "cancel" in verbs:
            return "cancel"
        return "interrupt" if "interrupt" in verbs else None

    def reason(self, task: str, attempt: int) -> str | None:
        """Why the stop was asked for; the queue is not told, so only this remembers it."""
        halts = [one.request for one, receipt in self._done(task) if receipt.attempt == attempt]
        said = [one.reason for one in halts if isinstance(one, Halt)]
        return said[-1] if said else None

    def prompt(self, task: str, attempt: int) -> str | None:
        """The prompt that was sent for this attempt."""
        for act, _ in self._done(task):
            request = act.request
            number = 1 if isinstance(request, Submit) else getattr(request, "attempt", 0)
            if number == attempt and isinstance(request, Submit | Retry):
                return request.prompt
        return None

    def flagged(self, task: str, attempt: int) -> bool:
        """Whether our retry began with the cancel flag of an earlier attempt."""
        with self._using() as db:
            found = db.execute(
                "SELECT 1 FROM act WHERE task = ? AND attempt = ? AND flagged = 1", (task, attempt)
            ).fetchone()
        return found is not None

    def flag(self, task: str, attempt: int) -> None:
        """Note that."""
        with self._transaction() as db:
            db.execute(
                "UPDATE act SET flagged = 1 WHERE task = ? AND attempt = ? AND verb = 'retry'",
                (task, attempt),
            )

    def _done(self, task: str) -> list[tuple[Act, Receipt]]:
        """What took effect. A request that was stale or void says nothing about any attempt."""
        return [
            (one, one.receipt)
            for one in self._acts("task = ?", task)
            if one.receipt is not None and one.receipt.effect == "done"
        ]

    def _put(
        self,
        key: str,
        request: Request,
        state: str,
        at: datetime,
        receipt: Receipt | None,
        *,
        flagged: bool = False,
    ) -> None:
        text = None if receipt is None else to_json(receipt)
        values = (
            *(key, digest(request), to_json(request), request.verb, request.task),
            *(attempt_of(request), state, at.isoformat(), text, flagged),
        )
        with self._transaction() as db:
            db.execute("REPLACE INTO act VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _tracked(self, which: str, value: str | int) -> list[Tracked]:
        with self._using() as db:
            rows: Sequence[sqlite3.Row] = db.execute(
                f"{_TASKS} WHERE {which} ORDER BY revision, id", (value,)
            ).fetchall()
        return [
            Tracked(
                task=task,
                remote=remote,
                order=Order.model_validate_json(order),
                submitted_at=datetime.fromisoformat(at),
                view=None if view is None else TaskView.model_validate_json(view),
                output=output,
            )
            for task, remote, order, at, view, output in rows
        ]

    def _acts(self, which: str, value: str) -> list[Act]:
        with self._using() as db:
            rows = db.execute(f"{_ACTS} WHERE {which} ORDER BY begun_at", (value,)).fetchall()
        return [
            Act(
                key=key,
                request=_REQUEST.validate_json(request),
                digest=seal,
                state=state,
                begun_at=datetime.fromisoformat(at),
                receipt=None if receipt is None else Receipt.model_validate_json(receipt),
            )
            for key, request, seal, state, at, receipt in rows
        ]
