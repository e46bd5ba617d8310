"""`wavekeeper explain`: why a task was accepted, sent back, left alone, refused or still waits."""

from collections.abc import Iterable
from typing import Final

from agent import wiring
from agent.adapters.files.config import Settings
from agent.adapters.files.policy_lines import rule_lines
from agent.cli.console import Console
from agent.cli.views import duration
from agent.runtime.explain import Account, PersonSaid, account, decision_about

_MARK: Final = {True: "ok", False: "NO", None: "??"}
_SHORT: Final = 12


def explain(console: Console, settings: Settings, name: str, *, as_json: bool) -> None:
    """Print the account of a task or of one record, as text or as `wavekeeper.explain/1`."""
    policy = wiring.policy_of(settings)
    places = rule_lines(wiring.shipped("policies"), settings.policies)
    with wiring.open_journal(settings) as journal, wiring.open_reading(settings) as world:
        standing = world.store.standing(name)
        entry = decision_about(journal, name, standing)
        if standing is None and entry.record.task is not None:
            standing = world.store.standing(entry.record.task)
        told = account(journal, entry, standing, policy, places)
        broken = journal.verify()
    if as_json:
        console.json({**told.model_dump(mode="json"), "chain": broken or "ok"})
        return
    for line in _lines(told, policy.hash, broken):
        console.line_as_it_is(line)


def _lines(told: Account, policy: str, broken: str | None) -> Iterable[str]:
    wave = f" of wave {told.wave}" if told.wave else ""
    mode = f", mode {told.mode}" if told.mode else ""
    yield f"{told.task or 'the window'}{wave}: {told.title}".rstrip(": ")
    yield f"{told.verdict.upper()} at {told.at:%Y-%m-%d %H:%M:%SZ}{mode}"
    yield f"  because  {told.reason}"
    card = f", asked as {told.asked}" if told.asked else ""
    yield f"  guard    {told.action} {told.clearance}{card}"
    for rule in told.rules:
        where = f" ({rule.where})" if rule.where else ""
        yield f"    rule   {rule.id}{where}: {rule.why or 'not in the policy of now'}"
        if rule.source:
            yield f'    policy "{rule.source}"'
    yield from _evidence(told)
    if told.attempts:
        counted = f"{told.attempts}, {told.charged} of them counted"
        yield f"  attempts {counted}; {told.tokens:,} tokens for reviews and drafts"
    for step in told.steps:
        by = f", yes of {step.by}" if step.by else ""
        why = f" ({step.reason})" if step.reason else ""
        yield f"  {step.at:%H:%M:%S} {step.action} {step.result}{by}: {step.said}{why}"
    for said in told.persons:
        yield f"  person   {_person(said)}"
    if not told.persons:
        yield "  person   nobody was asked, or nobody has answered"
    if told.not_chosen:
        yield f"  instead  not chosen: {', '.join(told.not_chosen)}"
    chain = f"the journal does not hold: {broken}" if broken else "chain ok"
    yield f"  record   {told.record} of tick {told.tick}, sha256 {told.digest[:_SHORT]}, {chain}"
    if told.policy is not None and told.policy != policy:
        yield f"  policy   decided under {told.policy[:_SHORT]}, in force now {policy[:_SHORT]}"
    yield f"see: wavekeeper log --task {told.task or 'T'}   wavekeeper verify"


def _evidence(told: Account) -> Iterable[str]:
    for item in told.evidence:
        if item.origin == "observed":
            value = f" {item.value:.{_SHORT}}" if item.value else ""
            detail = f": {item.detail}" if item.detail else ""
            yield f"    {_MARK[item.holds]}     {item.kind}{value}{detail}"
    if told.claimed:
        yield "    --     the worker's own words were not used as evidence"


def _person(said: PersonSaid) -> str:
    parts = [f"{said.action} {said.verdict} by {said.who} at {said.at:%H:%M:%SZ}", said.card]
    if said.looked is not None:
        parts.append(f"looked {duration(said.looked) or '0s'}")
    if said.edited:
        parts.append("prompt edited")
    if said.reason:
        parts.append(f'note "{said.reason}"')
    return ", ".join(parts)
