"""`wavekeeper submit`: check a wave file and plan its tasks."""

from pathlib import Path

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console


def submit(console: Console, settings: Settings, path: Path, *, check: bool) -> None:
    """Store the wave, or with `check` only say whether it could be; WaveFileError if not."""
    if check:
        wave, standings = wiring.check(settings, path)
        console.line(f"wave {wave.id}: {_tasks(len(standings))}, nothing amiss; nothing was stored")
        return
    wave, count, new = wiring.submit(settings, path)
    if new:
        told = f"{_tasks(count)} planned; `wavekeeper run` submits them as the window allows"
    else:
        told = "already there, nothing changed"
    console.line(f"wave {wave.id}: {told}")


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"
