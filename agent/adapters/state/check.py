"""Whether the tables say what the journal says: asked whenever the product opens the state.

By indexes, so that it costs what was done and not what was ever looked at. Whether every record is
as it was written is another question, which `verify` of the journal answers.
"""

import sqlite3
from collections.abc import Callable
from typing import Final

from agent.core.journal.records import GENESIS
from agent.core.model.actions import VERBS

# What a record says, for indexes and queries alike: SQLite uses an index on an expression only
# where the expression is the same, word for word.
_ACTION: Final = "json_extract(entry.body, '$.action')"
_REQUEST: Final = (
    "coalesce(json_extract(entry.body, '$.request'), json_extract(entry.body, '$.card'))"
)
"""As `request_in` reads it."""
_DONE: Final = (
    "entry.kind IN ('outcome', 'settled') AND json_extract(entry.body, '$.result') = 'done'"
)
SCHEMA: Final = tuple(
    statement.replace("entry.", "")
    for statement in (
        "CREATE INDEX entry_key ON entry(key, sequence, kind) WHERE key IS NOT NULL",
        f"CREATE INDEX entry_done ON entry(task, {_ACTION}, sequence) WHERE {_DONE}",
        f"CREATE INDEX entry_answered ON entry({_REQUEST}) WHERE kind = 'answered'",
    )
)

SETTLES: Final = tuple(
    (verb.settles, action.value) for action, verb in VERBS.items() if verb.settles
)
"""How a task may be settled, each with an action that does it: one must be done before it is so."""
_GOES_ON: Final = tuple(action.value for action, verb in VERBS.items() if verb.goes_on)
"""What opens an accepted task again."""
TAKEN_OVER: Final = -1
"""The `sequence` of a row of an earlier format that its journal does not explain."""


def fault(db: sqlite3.Connection) -> str | None:
    """The first thing that does not fit, as one line without the file's name; None: all fits."""
    try:
        return next((said for one in _CHECKS if (said := one(db)) is not None), None)
    except sqlite3.OperationalError as error:
        if "malformed JSON" not in str(error):
            raise
        return "a record of the journal cannot be read: it was edited after it was written"


def has_submitted(db: sqlite3.Connection) -> bool:
    """Whether the journal says that a task went into a queue, or is on its way there."""
    query = f"""SELECT 1 FROM entry WHERE {_ACTION} = 'submit' AND {_DONE}
        UNION ALL SELECT 1 FROM open_intent JOIN entry USING (sequence)
            WHERE {_ACTION} = 'submit' LIMIT 1"""  # noqa: S608
    return db.execute(query).fetchone() is not None


def _head(db: sqlite3.Connection) -> str | None:
    head = db.execute("SELECT count, digest FROM head").fetchone()
    if head is None:
        return "the journal's head is missing: nothing says how many records were written"
    query = "SELECT sequence, digest FROM entry WHERE sequence = (SELECT max(sequence) FROM entry)"
    last, digest = db.execute(query).fetchone() or (0, GENESIS)
    if last < head[0]:
        return f"record {last + 1} is missing: {head[0]} were written and the end is cut off"
    if (last, digest) != head:
        return f"record {last} is not the one that was written last"
    return None


def _ahead(db: sqlite3.Connection) -> str | None:
    (count,) = db.execute("SELECT count FROM head").fetchone()
    for table in ("wave", "task", "defect", "outcome", "note", "request", "rule"):
        query = f"SELECT max(sequence) FROM {table}"  # noqa: S608 - one of our tables
        (follows,) = db.execute(query).fetchone()
        if (follows or 0) > count:
            return (
                f"the journal has {count} records, and what is known of a {table} follows from "
                f"record {follows}: the journal is older"
            )
    return None


def _acts_without_a_task(db: sqlite3.Connection) -> str | None:
    query = f"""SELECT DISTINCT entry.task FROM entry WHERE {_DONE} AND entry.task IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM task WHERE task.id = entry.task) LIMIT 1"""  # noqa: S608
    found = db.execute(query).fetchone()
    return found and f"the journal says what was done with task {found[0]!r}, which is not there"


_SETTLING: Final = ", ".join(f"('{status}', '{action}')" for status, action in SETTLES)
UNEXPLAINED: Final = f"""task.settled = 1 AND task.sequence <> {TAKEN_OVER} AND NOT EXISTS (
    WITH settling(status, action) AS (VALUES {_SETTLING})
    SELECT 1 FROM settling WHERE settling.status = task.status AND (
        EXISTS (SELECT 1 FROM entry
            WHERE entry.task = task.id AND {_ACTION} = settling.action AND {_DONE})
        OR EXISTS (SELECT 1 FROM open_intent JOIN entry USING (sequence)
            WHERE entry.task = task.id AND {_ACTION} = settling.action)))"""  # noqa: S608 - constants of this file
"""Of a task: it is settled, and the act that settles it is neither done nor under way."""


def _settled_without_an_act(db: sqlite3.Connection) -> str | None:
    query = f"SELECT id, status FROM task WHERE {UNEXPLAINED} ORDER BY place LIMIT 1"  # noqa: S608
    found = db.execute(query).fetchone()
    if found is None:
        return None
    return f"task {found[0]!r} is {found[1]}, and the journal has no record of how it became so"


def _accepted_and_open(db: sqlite3.Connection) -> str | None:
    latest = f"""SELECT max(entry.sequence) FROM entry
        WHERE entry.task = task.id AND {_ACTION} = '%s' AND {_DONE}"""  # noqa: S608 - constants
    later = ", ".join(f"coalesce(({latest % action}), 0)" for action in _GOES_ON)
    query = f"""SELECT task.id FROM task WHERE task.settled = 0
        AND ({latest % "accept"}) > max({later}) ORDER BY task.place LIMIT 1"""  # noqa: S608
    found = db.execute(query).fetchone()
    return found and f"the journal says that task {found[0]!r} was accepted, and here it is open"


def _intents(db: sqlite3.Connection) -> str | None:
    ended = "CASE WHEN kind IN ('outcome', 'settled') THEN sequence ELSE 0 END"
    query = f"""SELECT key, (
            SELECT min(sequence) FROM entry AS first
            WHERE first.key = found.key AND first.kind = 'intent' AND first.sequence > found.ended)
        FROM (SELECT key, max({ended}) AS ended, max((kind = 'intent') * sequence) AS begun
            FROM entry WHERE key IS NOT NULL GROUP BY key) AS found
        WHERE begun > ended"""  # noqa: S608 - constants of this file
    written = dict(db.execute(query).fetchall())
    kept = dict(db.execute("SELECT key, sequence FROM open_intent").fetchall())
    if odd := sorted(key for key in kept if kept[key] != written.get(key)):
        return f"intent {odd[0]!r} is listed as under way, and the journal says otherwise"
    if lost := sorted(written.keys() - kept.keys()):
        return f"the journal says that intent {lost[0]!r} is under way, and it is not listed"
    return None


def _approved_without_an_answer(db: sqlite3.Connection) -> str | None:
    query = f"""SELECT place FROM request
        WHERE live AND state = 'approved' AND sequence <> {TAKEN_OVER} AND NOT EXISTS (
            SELECT 1 FROM entry WHERE {_REQUEST} = 'A-' || request.place AND entry.kind = 'answered'
                AND json_extract(entry.body, '$.digest') = request.digest
                AND json_extract(entry.body, '$.verdict') = 'approved')
        ORDER BY place LIMIT 1"""  # noqa: S608 - constants of this file
    found = db.execute(query).fetchone()
    return found and f"A-{found[0]} is approved, and the journal has no such answer to it"


_CHECKS: Final[tuple[Callable[[sqlite3.Connection], str | None], ...]] = (
    _head,  # first: the others compare with it
    _ahead,
    _intents,  # before the acts, which an open intent may explain
    _acts_without_a_task,
    _settled_without_an_act,
    _accepted_and_open,
    _approved_without_an_answer,
)
