"""What the supervisor remembers, in memory, for tests and simulation; the same contract."""

import threading
from collections.abc import Mapping, Sequence

from agent.core.journal.records import SETTLED_STANDINGS, Standing, WaveRecord
from agent.core.model.nouns import Defect, Grants, Outcome
from agent.core.model.queueing import TaskSpec
from agent.errors import WaveFileError

_Content = tuple[str, Grants, list[TaskSpec]]


class MemoryWaves:
    """Forgets everything at the end of the process; may be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waves: dict[str, tuple[WaveRecord, _Content]] = {}
        self._standings: dict[str, Standing] = {}
        self._defects: dict[str, Defect] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._notes: dict[str, str] = {}

    def add_wave(self, wave: WaveRecord, standings: Sequence[Standing]) -> bool:
        """All or nothing. A wave's content is its goal, its grants and its tasks as written.

        Raises:
            WaveFileError: the wave's id stands for other content, or a task's id is taken.

        """
        content = _content(wave, standings)
        with self._lock:
            if wave.id in self._waves:
                if self._waves[wave.id][1] == content:
                    return False
                raise WaveFileError(
                    f"wave {wave.id!r} was submitted before with other content: "
                    "give the changed wave an id of its own",
                )
            known = dict(self._standings)
            for standing in standings:
                task = standing.spec.id
                if task in known:
                    raise WaveFileError(
                        f"task {task!r} is there already, in wave {known[task].wave!r}: "
                        "give it another id",
                    )
                known[task] = standing
            self._standings = known
            self._waves[wave.id] = (wave, content)
        return True

    def waves(self) -> Sequence[WaveRecord]:
        """In the order they were submitted."""
        with self._lock:
            return [wave for wave, _ in self._waves.values()]

    def standings(self, *, settled: bool | None = None) -> Sequence[Standing]:
        """In the order they were added."""
        with self._lock:
            return [
                standing
                for standing in self._standings.values()
                if settled is None or (standing.status in SETTLED_STANDINGS) == settled
            ]

    def standing(self, task: str) -> Standing | None:
        """One task; None: no wave has it."""
        with self._lock:
            return self._standings.get(task)

    def save(self, standing: Standing) -> None:
        """Overwrite what is known of the task, or add it behind the others."""
        with self._lock:
            self._standings[standing.spec.id] = standing

    def defects(self) -> Sequence[Defect]:
        """In the order they were first saved."""
        with self._lock:
            return list(self._defects.values())

    def save_defect(self, defect: Defect) -> None:
        """Overwrite what is known of the defect, or add it."""
        with self._lock:
            self._defects[defect.id] = defect

    def outcomes(self, limit: int) -> Sequence[Outcome]:
        """The `limit` that were added last, oldest first."""
        with self._lock:
            kept = list(self._outcomes.values())
        return kept[max(len(kept) - max(limit, 0), 0) :]

    def add_outcome(self, outcome: Outcome, *, key: str) -> None:
        """The first outcome with a key stays."""
        with self._lock:
            self._outcomes.setdefault(key, outcome)

    def notes(self) -> Mapping[str, str]:
        """All of them; the mapping is the caller's own."""
        with self._lock:
            return dict(self._notes)

    def note(self, values: Mapping[str, str]) -> None:
        """Overwrite these and leave the others."""
        with self._lock:
            self._notes.update(values)


def _content(wave: WaveRecord, standings: Sequence[Standing]) -> _Content:
    """What makes it this very wave: not when it was submitted, nor from which file."""
    tasks = sorted((standing.spec for standing in standings), key=lambda spec: spec.id)
    return wave.goal, wave.grants, tasks
