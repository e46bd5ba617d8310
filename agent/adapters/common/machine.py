"""The machine's memory, as its system knows it."""

import psutil


class SystemMachine:
    """A `Machine`. A system that says nothing of use is None and never an error."""

    def free_memory(self) -> int | None:
        try:
            # Not "free", which leaves out what the system would give back at once.
            return int(psutil.virtual_memory().available)
        except (OSError, LookupError, ValueError, psutil.Error):
            return None
