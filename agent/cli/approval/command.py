"""`wavekeeper approve`, `reject` and `defer`: a person answers, at a terminal or by a command."""

import sys
from datetime import UTC, datetime
from typing import Final

from agent import wiring
from agent.adapters.files.config import NAME, Settings
from agent.adapters.files.policy import rule_lines
from agent.cli.approval.panel import describe_deferral, parse_deferral, what, what_follows
from agent.cli.approval.prompt import ApprovalPrompt
from agent.cli.approval.terminal import Keys
from agent.cli.console import Console
from agent.cli.views import duration
from agent.errors import NeedsAPersonError, UserError

_DIGEST: Final = 12


def at_terminal(console: Console, settings: Settings) -> int:
    """Ask one question after the other; the exit code."""
    policy = wiring.policy_of(settings)
    with wiring.open_answering(settings, policy) as answering:
        waiting = answering.waiting()
        if not waiting:
            console.line("nothing waits for you")
            return 0
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            first = waiting[0]
            verb = "question waits" if len(waiting) == 1 else "questions wait"
            how = (
                f"`wavekeeper approve {first.id} --digest {first.digest[:_DIGEST]}` approves the "
                "first"
                if settings.approvals.scripted
                else "`wavekeeper approve` at a terminal answers"
            )
            raise NeedsAPersonError(
                f"{len(waiting)} {verb} for a person and this is no terminal; `wavekeeper approve "
                f"--list --json` shows them, {how}",
            )
        held_by = wiring.holder(settings)
        places = rule_lines(wiring.shipped("policies"), settings.policies)
        supervised = held_by is not None
        return ApprovalPrompt(
            console, Keys(), answering, policy, places, supervised=supervised
        ).run()


def listing(console: Console, settings: Settings, *, as_json: bool) -> None:
    """What waits for an answer: a line each, or one JSON object `wavekeeper.cards/1`."""
    with wiring.open_answering(settings, wiring.policy_of(settings)) as answering:
        waiting, damaged = answering.waiting(), answering.damaged()
    if as_json:
        requests = [request.model_dump(mode="json", exclude_none=True) for request in waiting]
        odd = [one.model_dump(mode="json", exclude_none=True) for one in damaged]
        listed = {"damaged": odd} if odd else {}
        console.json({"schema": "wavekeeper.cards/1", "cards": requests, **listed})
        return
    for one in damaged:
        console.line(f"{one.id} cannot be read: {one.why}")
    if not (waiting or damaged):
        console.line("nothing waits for you")
    now = datetime.now(UTC)
    for request in waiting:
        left = duration((request.expires_at - now).total_seconds())
        state = "" if request.state == "pending" else f" {request.state},"
        console.line(
            f"{request.id} {request.digest[:_DIGEST]} {request.tier}:{state} "
            f"{request.proposal.action} {request.proposal.task or 'window'}: "
            f"{what(request.proposal)} (expires in {left})",
        )


def approve(
    console: Console, settings: Settings, name: str, digest: str | None, confirm: str | None
) -> None:
    """Approve one request by its digest, where the settings permit it."""
    if not settings.approvals.scripted:
        raise NeedsAPersonError(
            f"approving {name} by a command needs no person, so it is off; answer with `wavekeeper "
            f"approve` at a terminal, or write scripted = true under [approvals] in {NAME}",
        )
    if digest is None:
        raise UserError(f"name what you approve: --digest, as `approve --list` shows it for {name}")
    with wiring.open_answering(settings, wiring.policy_of(settings)) as answering:
        request = answering.request(name, digest)
        if request.tier == "high" and confirm != request.proposal.task:
            raise UserError(f"{name} is of high risk: add --confirm with the id of its task")
        answering.approve(request, via="command", looked=None)
    console.line(f"{name} approved; {what_follows(supervised=wiring.holder(settings) is not None)}")


def reject(
    console: Console, settings: Settings, name: str, reason: str, digest: str | None
) -> None:
    """Reject one request, and say why."""
    if not reason.strip():
        raise UserError("-m: say why; the reason goes into the record")
    with wiring.open_answering(settings, wiring.policy_of(settings)) as answering:
        answering.reject(
            answering.request(name, digest), reason.strip(), via="command", looked=None
        )
    console.line(f"{name} rejected; it is asked again only if something changes")


def defer(console: Console, settings: Settings, name: str, how_long: str | None) -> None:
    """Put one request off."""
    with wiring.open_answering(settings, wiring.policy_of(settings)) as answering:
        deferred = answering.defer(answering.request(name), parse_deferral(how_long))
    console.line(f"{name} {describe_deferral(deferred)}")
