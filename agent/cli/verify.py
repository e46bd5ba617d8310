"""`wavekeeper verify`: does the journal say what was written, from the first record to the last."""

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console
from agent.errors import JournalBrokenError, UserError
from agent.ports import Journal
from agent.runtime.replay import sessions


def verify(console: Console, settings: Settings, head: str | None) -> None:
    """Walk the whole chain. JournalBrokenError names the first bad record.

    `head` is `NUMBER:DIGEST` as an earlier call printed it: the one thing that also notices
    records and their count being rewritten together.
    """
    with wiring.open_journal(settings) as journal:
        if (broken := journal.verify()) is not None:
            raise JournalBrokenError(f"{broken}; restore the journal from a backup")
        if head is not None:
            _held_to(journal, head)
        last = None
        for entry in journal.entries():
            last = entry
        runs = len(sessions(journal))
    if last is None:
        console.line("the journal holds: it is empty")
        return
    console.line(
        f"the journal holds: {last.sequence} records of {runs} session{'s' * (runs != 1)}, "
        f"the last one of {last.record.at:%Y-%m-%d %H:%M:%SZ}",
    )
    console.line(f"head {last.sequence}:{last.digest}")


def _held_to(journal: Journal, head: str) -> None:
    number, _, digest = head.partition(":")
    if not (number.isascii() and number.isdecimal() and digest):
        raise UserError(
            f"--head {head!r:.80}: write NUMBER:DIGEST as `wavekeeper verify` prints it"
        )
    after = int(number) - 1
    entry = next(iter(journal.entries(after=after)), None)
    if entry is None or entry.sequence != int(number):
        raise JournalBrokenError(f"record {number} is missing: the end was cut off")
    if entry.digest != digest:
        raise JournalBrokenError(f"record {number} is not the one whose digest was kept")
