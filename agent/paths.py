"""Where the state folder keeps what."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """Where the state folder keeps what."""

    state: Path

    @property
    def own(self) -> Path:
        """The supervisor's own state: its journal, and all that follows from it."""
        return self.state / "state.db"

    @property
    def lock(self) -> Path:
        """Who supervises here."""
        return self.state / "supervisor.lock"

    @property
    def evidence(self) -> Path:
        """The mirror that evidence is read from."""
        return self.state / "evidence"

    @property
    def judgements(self) -> Path:
        """What judge hosts were asked, and what they found."""
        return self.state / "judgements.db"

    @property
    def runs(self) -> Path:
        """One folder per attempt."""
        return self.state / "runs"

    @property
    def judge(self) -> Path:
        """The judge hosts' own: their clone, their checkouts, and results on bases."""
        return self.state / "judge"

    @property
    def clone(self) -> Path:
        """The bare clone that worktrees hang on."""
        return self.state / "clone"
