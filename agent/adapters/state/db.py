"""The supervisor's own state in one file: the journal, and all that follows from it.

What was done and what is remembered of it is one transaction with the record of its outcome, so
the tables cannot say otherwise than the journal.
"""

from pathlib import Path
from typing import Final

from agent.adapters.state import approvals, journal, waves
from agent.adapters.state.approvals import SqliteApprovals
from agent.adapters.state.journal import SqliteJournal
from agent.adapters.state.shared import SharedFile
from agent.adapters.state.waves import SqliteWaves

_INSTALLATION: Final = (
    """CREATE TABLE installation(
        one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL)""",
    "INSERT INTO installation VALUES (1, lower(hex(randomblob(8))))",
)


class State(SharedFile):
    """The file `path`, which is made when it is not there, or `MEMORY`.

    An object may be used from several threads, and the file by several processes.

    Raises:
        UnusableStoreError: the file cannot be opened, read or written, by any method.

    """

    APPLICATION = 0x574B5354  # WKST
    VERSION = 1
    SCHEMA = (*_INSTALLATION, *journal.SCHEMA, *waves.SCHEMA, *approvals.SCHEMA)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.journal = SqliteJournal(self)
        self.waves = SqliteWaves(self)
        self.approvals = SqliteApprovals(self)
        with self._using() as db:
            self._installation = str(db.execute("SELECT name FROM installation").fetchone()[0])

    @property
    def installation(self) -> str:
        """16 hexadecimal digits, drawn with the file: they tell this state from every other."""
        return self._installation

    def undone(self) -> None:
        """Let no part go on with what was rolled back."""
        self.waves.forget()
