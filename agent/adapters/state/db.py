"""The supervisor's own state in one file: the journal, and all that follows from it.

What was done and what is remembered of it is one transaction with the record of its outcome, so
the tables cannot say otherwise than the journal.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from agent.adapters.common.sqlite import MEMORY
from agent.adapters.state import approvals, check, journal, waves
from agent.adapters.state.approvals import SqliteApprovals
from agent.adapters.state.journal import SqliteJournal
from agent.adapters.state.seal import Seal, read_seal, unsealed, write_seal
from agent.adapters.state.shared import SharedFile
from agent.adapters.state.waves import SqliteWaves
from agent.core.journal.records import GENESIS, Damaged
from agent.errors import UnusableStoreError

_INSTALLATION: Final = (
    """CREATE TABLE installation(
        one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL,
        took_over INTEGER NOT NULL DEFAULT 0)""",
    "INSERT INTO installation(one, name) VALUES (1, lower(hex(randomblob(8))))",
)
_RESTORE: Final = "restore the file from a backup"


class State(SharedFile):
    """The file `path`, which is made when it is not there, or `MEMORY`.

    An object may be used from several threads, and the file by several processes. `sealed`: a
    small file beside it notices an older state in its place.

    Raises:
        UnusableStoreError: the file cannot be opened, read or written, by any method.

    """

    APPLICATION = 0x574B5354  # WKST
    VERSION = 1
    SCHEMA = (*_INSTALLATION, *journal.SCHEMA, *waves.SCHEMA, *approvals.SCHEMA, *check.SCHEMA)

    def __init__(self, path: Path, *, sealed: bool = True) -> None:
        self._sealed = sealed and path != MEMORY
        # Before the file is opened: what is written meanwhile is then newer than the seal.
        self._seal = read_seal(path) if self._sealed else None
        self._written = False
        super().__init__(path)
        self.journal = SqliteJournal(self)
        self.waves = SqliteWaves(self)
        self.approvals = SqliteApprovals(self)

    @property
    def installation(self) -> str:
        """16 hexadecimal digits, drawn with the file: they tell this state from every other."""
        with self._using() as db:
            return self._name(db)

    @property
    def took_over(self) -> bool:
        """Whether it was made of the files of an earlier format."""
        with self._using() as db:
            return bool(db.execute("SELECT took_over FROM installation").fetchone()[0])

    @property
    def has_submitted(self) -> bool:
        """Whether the journal says that a task went into a queue, or is on its way there."""
        with self._using() as db:
            return check.has_submitted(db)

    def check(self) -> str | None:
        """What does not fit together, and what to do, in one line; None: all fits."""
        with self._using() as db:
            installation = self._name(db)
            if (fault := check.fault(db)) is not None:
                return f"{fault}; {_RESTORE}"
            if (seal := self._seal) is None:
                return None
            query = "SELECT digest FROM entry WHERE sequence = ?"
            row = (GENESIS,) if seal.count == 0 else db.execute(query, (seal.count,)).fetchone()
            return unsealed(self._path, seal, installation, row and row[0])

    def damaged(self, outcomes: int) -> Sequence[Damaged]:
        """What cannot be read beside tasks, of outcomes among the latest `outcomes`."""
        return [*self.waves.damaged(outcomes), *self.approvals.damaged()]

    def seal(self) -> None:
        """Write down beside the file how far it is. UnusableStoreError: that cannot be written."""
        if not self._sealed:
            return
        with self._using() as db:
            count, digest = db.execute("SELECT count, digest FROM head").fetchone() or (0, GENESIS)
            seal = Seal(installation=self._name(db), count=count, digest=digest)
        if seal != self._seal:
            try:
                write_seal(self._path, seal)
            except OSError as error:
                raise self._explained(error) from error
            self._seal = seal

    def close(self) -> None:
        """Seal the file if anything was written, and close it."""
        if self._written:
            self._written = False
            # An older seal is true as well, so that is no reason to end otherwise than asked.
            with suppress(UnusableStoreError):
                self.seal()
        super().close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, with everything that is done in it through any part."""
        with super().transaction() as db:
            yield db
        self._written = True

    def undone(self) -> None:
        """Let no part go on with what was rolled back."""
        self.waves.forget()

    def _name(self, db: sqlite3.Connection) -> str:
        row = db.execute("SELECT name FROM installation").fetchone()
        if row is None:
            raise UnusableStoreError(f"{self._path}: it has lost its name; {_RESTORE}")
        return str(row[0])
