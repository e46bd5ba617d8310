"""Where the state folder, and the workspace of other users, keep what."""

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


@dataclass(frozen=True, slots=True)
class SharedPlaces:
    """Where the workspace keeps what agents need that run as other users.

    Nothing of it can lie in the state folder, which no other user may pass. No task id begins with
    a dot, so no worktree has one of these names.
    """

    workspace: Path

    @property
    def clone(self) -> Path:
        """The bare clones that worktrees hang on."""
        return self.workspace / ".clone"

    @property
    def rooms(self) -> Path:
        """One folder per run, with its home and its temporary files."""
        return self.workspace / ".rooms"

    @property
    def judge(self) -> Path:
        """The judge hosts' clone and their checkouts."""
        return self.workspace / ".judge"
