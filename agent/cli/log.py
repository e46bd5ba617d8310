"""`wavekeeper log`: the journal as lines, or as one JSON object a line."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console
from agent.core.journal.records import Entry, Record
from agent.ports import Journal
from agent.runtime.explain import whose_yes

_BETWEEN_LOOKS: Final = 0.2
"""Seconds between two looks for new records when following."""


def log(
    console: Console, settings: Settings, *, task: str | None, follow: bool, as_json: bool
) -> None:
    """Print every record, oldest first; as text a decision that is the same as before is left out.

    `follow` goes on until Ctrl-C, or until nobody reads the output any more.
    """
    told = _Told()
    with wiring.open_journal(settings) as journal:
        for entry in _entries(journal, task, follow=follow):
            if as_json:
                console.json_line(entry.model_dump(mode="json", exclude_none=True))
            elif (line := told.line(entry)) is not None:
                console.line(line)


def _entries(journal: Journal, task: str | None, *, follow: bool) -> Iterator[Entry]:
    after = 0
    while True:
        for entry in journal.entries(after=after, task=task):
            after = entry.sequence
            yield entry
        if not follow:
            return
        time.sleep(_BETWEEN_LOOKS)


class _Told:
    """Remembers each task's last decision, so that the same one is not told every five minutes."""

    def __init__(self) -> None:
        self._last: dict[str | None, tuple[object, ...]] = {}
        self._sentence = ""

    def line(self, entry: Entry) -> str | None:
        """One line; None: nothing new."""
        record = entry.record
        if record.kind == "decision":
            proposal = record.body["proposal"]
            key = (proposal["action"], proposal.get("attempt"), record.body["clearance"])
            before, self._last[record.task] = self._last.get(record.task), key
            if before == key:
                return None
        if record.kind == "tick":
            last, self._sentence = self._sentence, str(record.body.get("sentence"))
            if last == self._sentence:
                return None
        said = _SAID[record.kind](record.body)
        about = f" {record.task}" if record.task else ""
        when = f"{record.at:%Y-%m-%dT%H:%M:%SZ}"
        return f"{entry.sequence} {when} tick {record.tick} {record.kind}{about}: {said}"


def _decision(body: dict[str, Any]) -> str:
    proposal = body["proposal"]
    rules = "" if body["clearance"] == "cleared" else f": {', '.join(body['rules'])}"
    card = f", asked as {body['card']}" if "card" in body else ""
    return f"{proposal['action']} ({body['clearance']}{rules}{card}): {proposal['reason']}"


def _intent(body: dict[str, Any]) -> str:
    whose = whose_yes(body)
    yes = f", yes of {whose}" if whose else ""
    return f"{body['action']} by {', '.join(body['rules'])}{yes}"


def _outcome(body: dict[str, Any]) -> str:
    return f"{body['action']} {body['result']}: {body['said']}"


def _answered(body: dict[str, Any]) -> str:
    why = f": {body['reason']}" if body.get("reason") else ""
    looked = f", looked {body['looked']:.0f} s" if body.get("looked") is not None else ""
    return f"{body['action']} {body['verdict']} by {body['who']} ({body['card']}{looked}){why}"


def _run(body: dict[str, Any]) -> str:
    refused = f"; an edit was refused: {body['refused']}" if "refused" in body else ""
    return f"{body['who']}, mode {body['mode']}, policy {str(body['policy'])[:12]}{refused}"


_SAID: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "start": _run,
    "stop": _run,
    "policy": _run,
    "tick": lambda body: str(body.get("sentence")),
    "decision": _decision,
    "intent": _intent,
    "outcome": _outcome,
    "settled": _outcome,
    "answered": _answered,
    "closed": lambda body: f"{body['action']} {body['state']} ({body['card']}): {body['why']}",
}


def said(record: Record) -> str:
    """What a record says, in one sentence."""
    return _SAID[record.kind](record.body)
