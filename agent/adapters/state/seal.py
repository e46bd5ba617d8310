"""What was last known of the state, in a small file beside it: an older state is noticed by it.

A file that is whole says nothing of a newer one that was there before. The seal is written after
the state and read before it is opened, so the state is never behind its seal.
"""

import json
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from agent.core.model.nouns import Noun
from agent.errors import UnusableStoreError


class Seal(Noun):
    """One installation's journal at one moment."""

    installation: str
    count: Annotated[int, Field(ge=0)]
    """How many records it had."""
    digest: str
    """Of the last of them."""


def beside(path: Path) -> Path:
    """Where the seal of the state at `path` is."""
    return path.with_suffix(".seal")


def read_seal(path: Path) -> Seal | None:
    """The seal of the state at `path`; None: there is none.

    Raises:
        UnusableStoreError: it cannot be read, or its state is gone.

    """
    file = beside(path)
    try:
        seal = Seal.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise UnusableStoreError(
            f"{file}: it cannot be read: restore it together with {path.name}, or delete it to go "
            f"on with {path.name} as it is",
        ) from error
    if not path.exists() or path.stat().st_size == 0:
        what = "is empty" if path.exists() else "is gone"
        raise UnusableStoreError(
            f"{path}: it {what}; restore it from a backup, or delete {file.name} to begin anew",
        )
    return seal


def write_seal(path: Path, seal: Seal) -> None:
    """Keep the seal of the state at `path`; after a crash it is the old one or the new one."""
    # The process's own name: two that open the state at once must not take each other's file.
    file, new = beside(path), path.with_suffix(f".seal.{os.getpid()}.new")
    with new.open("w", encoding="utf-8") as stream:
        json.dump(seal.model_dump(mode="json"), stream)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def unsealed(path: Path, seal: Seal, installation: str, digest: str | None) -> str | None:
    """Why the state at `path` is not the sealed one and does not follow from it, in one line.

    `digest`: of its record number `seal.count`; None: it has fewer.
    """
    name = beside(path).name
    if installation != seal.installation:
        what = f"it is of another installation than {name}, or it was emptied"
    elif digest is None:
        what = f"it is older than {name}, which knows {seal.count} records"
    elif digest != seal.digest:
        what = f"its record {seal.count} is not the one that {name} knows"
    else:
        return None
    return f"{what}; restore the latest backup, or delete {name} to go on with this one"
