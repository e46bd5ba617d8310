"""One SQLite file whose tables belong to several parts, which may act in one transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from agent.adapters.common.sqlite import SqliteFile
from agent.core.model.nouns import Noun
from agent.errors import JournalBrokenError, UnusableStoreError

_N = TypeVar("_N", bound=Noun)
_LOST: Final = "the transaction was lost and nothing of it was kept: check the disk and start again"


class SharedFile(SqliteFile):
    """The file, and the transaction that its parts join.

    One thread at a time: whoever comes while another thread is in a transaction waits for its end.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._depth = 0

    @property
    def path(self) -> Path:
        """Where the file is, for messages."""
        return self._path

    def using(self) -> AbstractContextManager[sqlite3.Connection]:
        """To read; in a transaction of this thread it reads what was written in it."""
        return self._using()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, with everything that is done in it through any part.

        Inside another one of the same thread it joins that one: what an inner one wrote is undone
        with an exception that leaves the inner one, and kept only if the outermost ends well.
        """
        with self._lock:
            inner, self._depth = self._depth > 0, self._depth + 1
            try:
                with self._savepoint() if inner else self._transaction() as db:
                    yield db
                    self._refuse_lost(db)
            except BaseException:
                self.undone()
                raise
            finally:
                self._depth -= 1

    def parse(self, noun: type[_N], body: bytes) -> _N | str:
        """What a row's body says, or in one line why it cannot be read."""
        try:
            return noun.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            return f"its row in {self._path}: {where}: {first['msg']}"

    def undone(self) -> None:
        """Something was rolled back: what a part keeps beside the file may be untrue now."""

    @contextmanager
    def _savepoint(self) -> Iterator[sqlite3.Connection]:
        with self._using() as db:
            self._refuse_lost(db)
            db.execute("SAVEPOINT inner")
            try:
                yield db
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK TO inner")
                    db.execute("RELEASE inner")
                raise
            db.execute("RELEASE inner")

    def _refuse_lost(self, db: sqlite3.Connection) -> None:
        """A full disk makes SQLite roll back by itself, whatever is done with its error."""
        if not db.in_transaction:
            raise UnusableStoreError(f"{self._path}: {_LOST}")


def sequence(db: sqlite3.Connection) -> int:
    """How many records the journal has: what a row that is written now follows from."""
    head = db.execute("SELECT count FROM head").fetchone()
    if head is None:
        raise JournalBrokenError("the journal's head is missing; restore the file from a backup")
    return int(head[0])
