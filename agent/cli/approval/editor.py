"""A person's own editor for a short text."""

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import UserError


def edited(text: str, suffix: str) -> str | None:
    """`text` as it left `$VISUAL`, `$EDITOR` or vi; None: given up, emptied or left as it was.

    UserError: there is no such editor.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise UserError(f"$EDITOR {command!r:.80}: {error}; mend it") from error
    with tempfile.TemporaryDirectory(prefix="wavekeeper-edit-") as folder:
        path = Path(folder, f"edit{suffix}")
        path.write_text(text, encoding="utf-8", errors="replace")
        try:
            with _ours_to_keep():
                ended = subprocess.run([*argv, str(path)], check=False)
        except OSError as error:
            raise UserError(f"{argv[0]!r:.80}: {error.strerror}; set $EDITOR") from error
        if ended.returncode != 0:
            return None
        new = path.read_text(encoding="utf-8", errors="replace")
    return None if not new.strip() or new.strip() == text.strip() else new


@contextmanager
def _ours_to_keep() -> Iterator[None]:
    """Ctrl-C in the editor is the editor's. A handler, because ignoring would be inherited."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
