"""Everything that goes wrong by name, on one page. The message is one line that says what to do.

Exit codes: 0 done as asked; 1 it ran, and not every task ended as it should, or a bug; 2 the user
can fix it (usage, configuration, wave file, policy, lock); 3 a person is needed, and no terminal is
there, or the command came from an agent; 5 a difference was found; 6 the guard refuses it; 7 what
was approved has changed, and nothing was done; 130 and 143 interrupted and terminated, with
everything left in a resumable state; 141 nobody reads the output any more.
"""


class WavekeeperError(Exception):
    """The root; `exit_code` is what the command line ends with."""

    exit_code = 1


def describe_error(error: Exception) -> str:
    """One line; what is none of ours is named as a bug, so that it can be reported."""
    said = " ".join(str(error).split())
    return said if isinstance(error, WavekeeperError) else f"a bug: {type(error).__name__}: {said}"


class UserError(WavekeeperError):
    """The user can fix it, and the message says how."""

    exit_code = 2


class ConfigurationError(UserError):
    """`wavekeeper.toml` is missing, unreadable or wrong."""


class WaveFileError(UserError):
    """A wave file is missing, unreadable or wrong; nothing was enqueued."""


class PolicyError(UserError):
    """A policy file is missing, unreadable or unsafe; the policy in force stays in force."""


class LockHeldError(UserError):
    """Another supervisor is at work here; the message says who and since when."""


class UnusableStoreError(UserError):
    """A file of the state folder cannot be opened or written (rights, disk, another version)."""


class QueueUnavailableError(WavekeeperError):
    """The queue did not answer; whether it acted is unknown, and it must be read back."""


class NoAnswerError(QueueUnavailableError):
    """Nothing came in time, or nothing could be asked: the queue as a whole cannot be seen."""


class UnreadableAnswerError(QueueUnavailableError):
    """An answer came and says nothing that can be relied on; other answers may be fine."""


class IssuesUnavailableError(WavekeeperError):
    """The issue tracker did not do what was asked; asking again is safe and doubles nothing."""


class KeyReusedError(WavekeeperError):
    """An idempotency key came again with another request: a bug in the caller, nothing was done."""


class JournalBrokenError(WavekeeperError):
    """The journal's chain does not hold; nothing is done on top of it."""


class WorktreeError(WavekeeperError):
    """git could not make or refresh a checkout; the message carries git's own last line."""


class RemoteUnavailableError(WavekeeperError):
    """The git remote cannot be asked where its branches are; the message says why."""


class UnusableCommitError(WorktreeError):
    """A commit cannot be checked out as it is, on any machine; the message says why."""


class SpawnError(WavekeeperError):
    """A program could not be started; the message names it."""


class GuardRefusesError(WavekeeperError):
    """The guard refuses it, and nobody can approve it; the message names the rules."""

    exit_code = 6


class NeedsAPersonError(WavekeeperError):
    """Only a person at a terminal may do this; nothing was done."""

    exit_code = 3


class ChangedMeanwhileError(WavekeeperError):
    """A question is no longer what was answered; nothing was done."""

    exit_code = 7


class NothingDoneError(WavekeeperError):
    """The port refused or the task had moved on; the world is as it was."""
