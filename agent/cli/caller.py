"""Who gives a command: what answers or acts is a person's, and never an agent's.

Behind bubblewrap, or as another user, an agent cannot reach the questions at all. Else an agent
and the commands that check its work are known by the mark in their environment, or in that of what
started them: who clears its own environment, or leaves its parent, still descends from the process
that looks after the run. It stops an agent that tries the obvious; one that hides from the system
is not stopped.
"""

import os
from contextlib import suppress
from typing import Final

from agent import wiring
from agent.adapters.files.config import Settings
from agent.errors import NeedsAPersonError, WavekeeperError

_MARK: Final = "WAVEKEEPER_MARK"


def refuse_agents(settings: Settings | None, command: str) -> None:
    """NeedsAPersonError if this process belongs to an agent; that is recorded first.

    `settings`: of the state where it is recorded; None: there is none.
    """
    mark = _mark()
    if mark is None:
        return
    if settings is not None:
        # A state that cannot be written is no reason to obey.
        with suppress(WavekeeperError):
            wiring.note_refusal(settings, mark, command)
    raise NeedsAPersonError(
        f"`wavekeeper {command}` came from an agent, and only a person may give it; nothing was "
        "done, and it was reported",
    )


def _mark() -> str | None:
    if (own := os.environ.get(_MARK)) is not None:
        return own
    # Not before: most commands come from a shell, and the library takes its time.
    import psutil  # noqa: PLC0415

    for process in psutil.Process().parents():
        with suppress(psutil.Error):
            if (inherited := process.environ().get(_MARK)) is not None:
                return inherited
    return None
