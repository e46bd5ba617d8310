"""The system's clock: the only module that asks what time it is."""

from datetime import UTC, datetime


class SystemClock:
    """Wall-clock time; it may be set back, so durations are measured elsewhere."""

    def now(self) -> datetime:
        """An aware UTC time."""
        return datetime.now(UTC)
