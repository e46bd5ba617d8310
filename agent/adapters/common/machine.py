"""The machine's clock and its memory: the only module that asks what time it is."""

from datetime import UTC, datetime

import psutil


class SystemMachine:
    """A `Machine`. A figure that the system does not give is None and never an error."""

    def free_memory(self) -> int | None:
        try:
            # Not "free", which leaves out what the system would give back at once.
            return int(psutil.virtual_memory().available)
        except (OSError, LookupError, ValueError, psutil.Error):
            return None


class SystemClock:
    """Wall-clock time; it may be set back, so durations are measured elsewhere."""

    def now(self) -> datetime:
        """An aware UTC time."""
        return datetime.now(UTC)
