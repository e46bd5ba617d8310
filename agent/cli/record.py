"""What was recorded: `wavekeeper log`, `explain`, `verify` and `replay`.

`log` prints the journal; `explain` says why a task was accepted, sent back, left alone, refused or
still waits; `verify` checks the chain; `replay` decides again what was decided, offline, under this
policy or another.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from agent import wiring
from agent.adapters.files.config import Settings
from agent.adapters.files.policy import rule_lines
from agent.cli.console import Console
from agent.cli.views import duration
from agent.core.journal.records import Entry, RecordKind, request_in
from agent.core.journal.replay import Difference
from agent.errors import JournalBrokenError, UserError
from agent.ports import Journal
from agent.runtime.explain import Account, PersonSaid, account, approved_by, decision_about
from agent.runtime.replay import replay, select_sessions, sessions

_BETWEEN_LOOKS: Final = 0.2
"""Seconds between two looks for new records when following."""


def log(
    console: Console, settings: Settings, *, task: str | None, follow: bool, as_json: bool
) -> None:
    """Print every record, oldest first; as text a decision that is the same as before is left out.

    `follow` goes on until Ctrl-C, or until nobody reads the output any more.
    """
    lines = _LogLines()
    with wiring.open_journal(settings) as journal:
        for entry in _entries(journal, task, follow=follow):
            if as_json:
                console.json_line(entry.model_dump(mode="json", exclude_none=True))
            elif (line := lines.line(entry)) is not None:
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


class _LogLines:
    """Remembers each task's last decision, so that a decision is printed once, not every tick."""

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
        said = SENTENCES[record.kind](record.body)
        about = f" {record.task}" if record.task else ""
        when = f"{record.at:%Y-%m-%dT%H:%M:%SZ}"
        return f"{entry.sequence} {when} tick {record.tick} {record.kind}{about}: {said}"


def _decision(body: dict[str, Any]) -> str:
    proposal = body["proposal"]
    rules = "" if body["clearance"] == "cleared" else f": {', '.join(body['rules'])}"
    asked = request_in(body)
    request = f", asked as {asked}" if asked is not None else ""
    return f"{proposal['action']} ({body['clearance']}{rules}{request}): {proposal['reason']}"


def _intent(body: dict[str, Any]) -> str:
    approver = approved_by(body)
    yes = f", approval {approver}" if approver else ""
    return f"{body['action']} by {', '.join(body['rules'])}{yes}"


def _outcome(body: dict[str, Any]) -> str:
    return f"{body['action']} {body['result']}: {body['said']}"


def _answered(body: dict[str, Any]) -> str:
    why = f": {body['reason']}" if body.get("reason") else ""
    looked = f", looked {body['looked']:.0f} s" if body.get("looked") is not None else ""
    return f"{body['action']} {body['verdict']} by {body['who']} ({request_in(body)}{looked}){why}"


def _run(body: dict[str, Any]) -> str:
    refused = f"; an edit was refused: {body['refused']}" if "refused" in body else ""
    return f"{body['who']}, mode {body['mode']}, policy {str(body['policy'])[:12]}{refused}"


SENTENCES: Final[dict[RecordKind, Callable[[dict[str, Any]], str]]] = {
    "start": _run,
    "stop": _run,
    "policy": _run,
    "tick": lambda body: str(body.get("sentence")),
    "decision": _decision,
    "intent": _intent,
    "outcome": _outcome,
    "settled": _outcome,
    "answered": _answered,
    "closed": lambda body: f"{body['action']} {body['state']} ({request_in(body)}): {body['why']}",
    "fixed": lambda body: f"{body['defect']}: {body['why']}",
    "refused": lambda body: f"`wavekeeper {body['command']}` came from the agent {body['mark']}",
}


_MARK: Final = {True: "ok", False: "NO", None: "??"}
_SHORT: Final = 12


def explain(console: Console, settings: Settings, name: str, *, as_json: bool) -> None:
    """Print the account of a task or of one record, as text or as `wavekeeper.explain/1`."""
    policy = wiring.policy_of(settings)
    places = rule_lines(wiring.shipped("policies"), settings.policies)
    with wiring.open_journal(settings) as journal, wiring.open_reading(settings) as ports:
        task_record = ports.store.task_record(name)
        entry = decision_about(journal, name, task_record)
        if task_record is None and entry.record.task is not None:
            task_record = ports.store.task_record(entry.record.task)
        shown = account(journal, entry, task_record, policy, places)
        broken = journal.verify()
    agents = wiring.unprotected(settings)
    if as_json:
        console.json({**shown.model_dump(mode="json"), "chain": broken or "ok", "agents": agents})
        return
    for line in _lines(shown, policy.hash, broken, agents):
        console.line_as_it_is(line)


def _lines(shown: Account, policy: str, broken: str | None, agents: str | None) -> Iterable[str]:
    wave = f" of wave {shown.wave}" if shown.wave else ""
    mode = f", mode {shown.mode}" if shown.mode else ""
    yield f"{shown.task or 'the window'}{wave}: {shown.title}".rstrip(": ")
    yield f"{shown.verdict.upper()} at {shown.at:%Y-%m-%d %H:%M:%SZ}{mode}"
    yield f"  because  {shown.reason}"
    request = f", asked as {shown.asked}" if shown.asked else ""
    yield f"  guard    {shown.action} {shown.clearance}{request}"
    for rule in shown.rules:
        where = f" ({rule.where})" if rule.where else ""
        yield f"    rule   {rule.id}{where}: {rule.why or 'not in the present policy'}"
        if rule.source:
            yield f'    policy "{rule.source}"'
    yield from _evidence(shown)
    if shown.attempts:
        counted = f"{shown.attempts}, {shown.charged} of them counted"
        yield f"  attempts {counted}; {shown.tokens:,} tokens for reviews and drafts"
    if shown.used is not None and shown.used.words:
        yield f"  agent    {shown.used.words}"
    for step in shown.steps:
        by = f", approval {step.by}" if step.by else ""
        why = f" ({step.reason})" if step.reason else ""
        yield f"  {step.at:%H:%M:%S} {step.action} {step.result}{by}: {step.said}{why}"
    yield from _persons(shown)
    if shown.not_chosen:
        yield f"  instead  not chosen: {', '.join(shown.not_chosen)}"
    if agents is not None:
        yield f"  agents   {agents}"
    chain = f"the journal is broken: {broken}" if broken else "chain ok"
    yield f"  record   {shown.record} of tick {shown.tick}, sha256 {shown.digest[:_SHORT]}, {chain}"
    if shown.policy is not None and shown.policy != policy:
        yield f"  policy   decided under {shown.policy[:_SHORT]}, in force now {policy[:_SHORT]}"
    yield f"see: wavekeeper log --task {shown.task or 'T'}   wavekeeper verify"


def _persons(shown: Account) -> Iterable[str]:
    """What persons said, and what agents tried in their name."""
    for said in shown.persons:
        yield f"  person   {_person(said)}"
    if not shown.persons:
        yield "  person   nobody was asked, or nobody has answered"
    for one in shown.refused:
        yield f"  refused  `wavekeeper {one.command}` came from its agent at {one.at:%H:%M:%SZ}"


def _evidence(shown: Account) -> Iterable[str]:
    for item in shown.evidence:
        if item.origin == "observed":
            value = f" {item.value:.{_SHORT}}" if item.value else ""
            detail = f": {item.detail}" if item.detail else ""
            yield f"    {_MARK[item.holds]}     {item.kind}{value}{detail}"
    if shown.claimed:
        yield "    --     the worker's own words were not used as evidence"
    for said in (*shown.judgement, *shown.remote):
        yield f"    --     {said}"


def _person(said: PersonSaid) -> str:
    parts = [f"{said.action} {said.verdict} by {said.who} at {said.at:%H:%M:%SZ}", said.request]
    if said.looked is not None:
        parts.append(f"looked {duration(said.looked) or '0s'}")
    if said.edited:
        parts.append("prompt edited")
    if said.reason:
        parts.append(f'note "{said.reason}"')
    return ", ".join(parts)


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
        console.line("the journal is whole: it is empty")
        return
    console.line(
        f"the journal is whole: {last.sequence} records of {runs} session{'s' * (runs != 1)}, "
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


DIFFERS: Final = 5
"""The exit code when a decision differs."""


def again(
    console: Console, settings: Settings, name: str, policies: Path | None, *, check: bool
) -> int:
    """List every decision of the session that differs; the exit code.

    `check` verifies the journal's chain first and leaves out what is not a finding.
    """
    policy = wiring.policy_in(policies) if policies is not None else wiring.policy_of(settings)
    with wiring.open_journal(settings) as journal:
        runs = select_sessions(journal, name)
        if check and (broken := journal.verify()) is not None:
            raise JournalBrokenError(f"{broken}; nothing was decided again")
        found = replay(journal, runs, policy)
    which = runs[0].id if len(runs) == 1 else f"{runs[0].id} to {runs[-1].id}"
    under = "the policy it was decided under"
    if found.other_policy:
        before = ", ".join(sorted(one[:12] for one in found.other_policy))
        under = f"policy {policy.hash[:12]}, decided under {before}"
    if not check:
        console.line(
            f"replay {which} under {under}: {found.ticks} ticks, {found.decisions} decisions"
        )
    for one in found.differing:
        console.line(_line(one))
    same = found.decisions - len({one.record for one in found.differing})
    console.line(f"{which}: {same} same, {len(found.differing)} differ")
    return DIFFERS if found.differing else 0


def _line(one: Difference) -> str:
    """`record 322 tick 14 T-41: retry (cleared) -> hand-over (cleared), in action, reason`."""
    where = ", ".join(one.where)
    front = f"record {one.record} tick {one.tick} {one.task or 'window'}"
    return f"{front}: {one.recorded} -> {one.now}, in {where}"
