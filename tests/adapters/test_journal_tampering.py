import sqlite3
import zlib
from contextlib import closing

import pytest

from agent.adapters.state.db import State
from agent.core.journal.records import GENESIS, chain
from agent.core.model.actions import digest
from agent.errors import JournalBrokenError
from tests.adapters.journal_contract import record, snapshot


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


def written(path, count=5):
    """A closed journal of `count` records and one snapshot."""
    with State(path) as state:
        state.journal.append(
            [record("decision", task=f"t{n}", n=n) for n in range(1, count + 1)], snapshot()
        )


def tamper(path, *statements):
    """Somebody edits the file behind the journal's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        triggers = [
            row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='trigger'")
        ]
        for trigger in triggers:
            db.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            db.execute(*statement) if isinstance(statement, tuple) else db.execute(statement)


def verdict(path):
    with State(path) as state:
        return state.journal.verify()


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE entry SET body = '{}' WHERE sequence = 2", id="update a record"),
        pytest.param("DELETE FROM entry WHERE sequence = 5", id="delete a record"),
        pytest.param(
            "REPLACE INTO entry SELECT sequence, previous, digest, kind, at, tick, task, key, '{}' "
            "FROM entry WHERE sequence = 2",
            id="replace a record",
        ),
        pytest.param(
            "INSERT INTO entry SELECT 9, digest, previous, kind, at, tick, task, key, body "
            "FROM entry WHERE sequence = 5",
            id="leave a gap",
        ),
        pytest.param(
            "INSERT INTO entry SELECT 6, previous, digest, kind, at, tick, task, key, body "
            "FROM entry WHERE sequence = 5",
            id="follow the wrong record",
        ),
        pytest.param("UPDATE snapshot SET body = x'00'", id="update a snapshot"),
        pytest.param("DELETE FROM snapshot", id="delete a snapshot"),
        pytest.param(
            "REPLACE INTO snapshot SELECT digest, x'00' FROM snapshot", id="replace a snapshot"
        ),
    ],
)
def test_the_file_itself_refuses_anything_but_appending(path, statement):
    written(path)
    with (
        closing(sqlite3.connect(path)) as db,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        db.execute(statement)
    assert verdict(path) is None


def sealed(sequence, previous, **body):
    """The statement that replaces a record and seals it again, as a careful forger would."""
    entry = chain(sequence, previous, record("decision", task=f"t{sequence}", **body))
    text = (
        "UPDATE entry SET previous = ?, digest = ?, body = json_object('n', ?) WHERE sequence = ?"
    )
    return (text, (previous, entry.digest, body["n"], sequence)), entry.digest


FORGED, FORGED_DIGEST = sealed(1, GENESIS, n=99)
LAST_MOVED = (
    "UPDATE entry SET sequence = 99 WHERE sequence = 2",
    "UPDATE entry SET sequence = 2 WHERE sequence = 4",
    "UPDATE entry SET sequence = 4 WHERE sequence = 99",
)


@pytest.mark.parametrize(
    ("statements", "line"),
    [
        pytest.param(
            ["UPDATE entry SET body = '{\"n\":7}' WHERE sequence = 3"],
            "record 3 was edited after it was written",
            id="edited body",
        ),
        pytest.param(
            ["UPDATE entry SET body = '{\"n\": 3}' WHERE sequence = 3"],
            "record 3 was edited after it was written",
            id="edited white space",
        ),
        pytest.param(
            ["UPDATE entry SET at = replace(at, 'Z', '+00:00') WHERE sequence = 2"],
            "record 2 was edited after it was written",
            id="same time in other words",
        ),
        pytest.param(
            ["UPDATE entry SET body = 'no json' WHERE sequence = 2"],
            "record 2 was edited after it was written",
            id="unreadable body",
        ),
        pytest.param(
            ["UPDATE entry SET kind = 'wish' WHERE sequence = 5"],
            "record 5 was edited after it was written",
            id="unknown kind",
        ),
        pytest.param(
            ["UPDATE entry SET task = NULL WHERE sequence = 1"],
            "record 1 was edited after it was written",
            id="edited column",
        ),
        pytest.param(
            [FORGED],
            "record 2 does not follow the one before it: moved or replaced",
            id="replaced and sealed again",
        ),
        pytest.param(
            LAST_MOVED,
            "record 2 does not follow the one before it: moved or replaced",
            id="reordered",
        ),
        pytest.param(
            ["DELETE FROM entry WHERE sequence = 3"],
            "record 3 is missing: record 4 stands in its place",
            id="missing in the middle",
        ),
        pytest.param(
            ["DELETE FROM entry WHERE sequence = 1"],
            "record 1 is missing: record 2 stands in its place",
            id="missing at the beginning",
        ),
        pytest.param(
            ["DELETE FROM entry WHERE sequence > 3"],
            "record 4 is missing: 5 were written and the end is cut off",
            id="cut-off end",
        ),
        pytest.param(
            ["DELETE FROM entry"],
            "record 1 is missing: 5 were written and the end is cut off",
            id="all gone",
        ),
        pytest.param(
            [
                "DELETE FROM entry WHERE sequence = 5",
                (
                    "INSERT INTO entry SELECT 5, previous, digest, kind, at, tick, task, key, body "
                    "FROM entry WHERE sequence = 4"
                ),
            ],
            "record 5 does not follow the one before it: moved or replaced",
            id="end replaced by a copy",
        ),
        pytest.param(
            [
                (
                    "INSERT INTO entry SELECT 6, digest, previous, kind, at, tick, task, key, body "
                    "FROM entry WHERE sequence = 5"
                ),
            ],
            "record 6 was added behind the journal's back",
            id="added",
        ),
        pytest.param(
            ["DELETE FROM head"],
            "the head is missing: nothing says how many records were written",
            id="no head",
        ),
        pytest.param(
            ["DELETE FROM snapshot"],
            "after record 5: 0 snapshots are there, 1 were written",
            id="snapshot gone",
        ),
        pytest.param(
            [("UPDATE snapshot SET body = ?", (zlib.compress(b"{}"),))],
            f"snapshot {digest(snapshot())[:12]} was changed after it was written",
            id="snapshot replaced",
        ),
        pytest.param(
            ["UPDATE snapshot SET body = x'00'"],
            f"snapshot {digest(snapshot())[:12]} was changed after it was written",
            id="snapshot changed",
        ),
    ],
)
def test_verify_names_the_first_bad_record(path, statements, line):
    written(path)
    assert verdict(path) is None
    tamper(path, *statements)
    assert verdict(path) == line


def test_a_whole_new_chain_is_noticed_by_the_head(path):
    written(path)
    statements, previous = [], GENESIS
    for sequence in range(1, 6):
        statement, previous = sealed(sequence, previous, n=sequence + 50)
        statements.append(statement)
    tamper(path, *statements)
    assert verdict(path) == "record 5 is not the one that was written: the end was replaced"


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("DELETE FROM entry WHERE sequence = 5", id="cut-off end"),
        pytest.param("UPDATE entry SET digest = 'x' WHERE sequence = 5", id="edited end"),
        pytest.param("DELETE FROM head", id="no head"),
    ],
)
def test_nothing_is_written_on_top_of_a_broken_end(path, statement):
    written(path)
    tamper(path, statement)
    with State(path) as state:
        before = list(state.journal.entries())
        with pytest.raises(JournalBrokenError, match="not the one that was written last"):
            state.journal.append([record("tick")])
        assert list(state.journal.entries()) == before


def test_reading_stumbles_over_what_cannot_be_read(path):
    with State(path) as state:
        state.journal.append([record("start"), record("intent", key="1")], snapshot())
    tamper(path, "UPDATE entry SET body = '[' WHERE sequence = 2", "UPDATE snapshot SET body = 'x'")
    with State(path) as state:
        for read in (
            lambda: list(state.journal.entries()),
            state.journal.unresolved,
            lambda: state.journal.snapshot(digest(snapshot())),
        ):
            with pytest.raises(JournalBrokenError, match="after it was written"):
                read()
