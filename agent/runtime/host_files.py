"""What worker hosts and judge hosts keep in a folder of their own."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from agent.errors import LockHeldError, UnusableStoreError


@contextmanager
def only_one(folder: Path, name: str, kind: str) -> Iterator[None]:
    """The only host of this name in `folder`, for the block; `kind` is what it is called.

    LockHeldError: another one is at work. UnusableStoreError: the folder cannot be written.
    """
    path = folder / f".host-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(path, blocking=False, fallback_to_soft=False).acquire()
    except Timeout:
        raise LockHeldError(
            f"a {kind} host named {name!r} is at work in {folder}: stop it, or give this one "
            "another name",
        ) from None
    except OSError as error:
        raise UnusableStoreError(f"cannot write {path}: {error.strerror}") from error
    with held:
        yield


def replace_file(path: Path, text: str) -> None:
    """Whole or not at all, whenever we are killed."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
