"""`wavekeeper policy suggest`: which questions were always answered the same way."""

from typing import Final

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console
from agent.core.suggesting import ENOUGH, HASTY, Answers, tally

_SAID: Final = {
    "make a rule": "`R` in `wavekeeper approve` would spare these for a while",
    "look longer": f"yes in under {HASTY:g} s to what cannot be taken back; read before you answer",
    "keep asking": "the answers differ; keep asking",
    "too few answers": f"fewer than {ENOUGH} answers; nothing to say yet",
}


def suggest(console: Console, settings: Settings, *, as_json: bool) -> None:
    """A line for each kind of question, or one JSON object `wavekeeper.suggestions/1`."""
    with wiring.open_journal(settings) as journal:
        found = tally(entry.record.body for entry in journal.entries(kinds=("answered",)))
    if as_json:
        told = [
            {
                "action": one.action, "tier": one.tier, "asked": one.asked,
                "approvedUnchanged": one.unchanged, "edited": one.edited,
                "rejected": one.rejected, "inARow": one.in_a_row, "medianLooked": one.median,
                "advice": one.advice,
            }
            for one in found
        ]  # fmt: skip
        console.json({"schema": "wavekeeper.suggestions/1", "suggestions": told})
        return
    if not found:
        console.line("nobody has answered a question yet")
    for one in found:
        console.line(f"{_counts(one)}: {_SAID[one.advice]}")


def _counts(one: Answers) -> str:
    looked = "" if one.median is None else f", median {one.median:.0f} s"
    rest = f", {one.edited} edited, {one.rejected} rejected" if one.unchanged < one.asked else ""
    front = f"{one.action}/{one.tier}: {one.unchanged} of {one.asked}"
    return f"{front} approved unchanged{rest}{looked}"
