"""The machine's memory, as Linux tells it in `/proc/meminfo`; elsewhere it is unknown."""

from pathlib import Path

MEMINFO = Path("/proc/meminfo")


class ProcMachine:
    """A `Machine`. A file that is not there, or says nothing of use, is None and never an error."""

    def __init__(self, meminfo: Path = MEMINFO) -> None:
        self._meminfo = meminfo

    def free_memory(self) -> int | None:
        try:
            text = self._meminfo.read_text(encoding="ascii")
        except (OSError, ValueError):
            return None
        for line in text.splitlines():
            name, _, value = line.partition(":")
            amount = value.split()
            # Not "MemFree", which leaves out what the system would give back at once.
            if name == "MemAvailable" and amount and amount[0].isdecimal():
                return int(amount[0]) * 1024
        return None
