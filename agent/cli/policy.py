"""`wavekeeper policy`: check a policy, show its authority, review it, and keep a person's rules.

A person's rules are TOML in an editor, always with an end date and a use count.
"""

import tomllib
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from pydantic import ValidationError

from agent import wiring
from agent.adapters.files.config import Settings
from agent.adapters.files.policy import LOCK, lock_of, reviewed_in
from agent.cli.console import Console
from agent.core.approval.requests import ApprovalRequest, StandingRule, check_rule
from agent.core.guard.baseline import authority_of
from agent.core.guard.check import survey
from agent.core.model.policy import Policy
from agent.core.model.text import one_line
from agent.errors import PolicyError, UserError


def check(console: Console, own: Path | None) -> None:
    """Load the policy as `run` would, and say what was looked at."""
    policy = wiring.policy_in(own)
    found = survey(policy.guard)
    console.line(
        f"policy {policy.hash[:12]} may take effect: {len(policy.guard.rule)} rules, "
        f"{found.states:,} states looked at, {len(found.permitted)} kinds of state permitted",
    )


def show(console: Console, own: Path | None) -> None:
    """The whole authority of the supervisor: permitted states, then limits, one a line."""
    policy = wiring.policy_in(own)
    for line in authority_of(policy, survey(policy.guard)).lines():
        console.line(line)


def lock(console: Console, own: Path) -> None:
    """Write the lock of the policy in `own`, and say what it allows more and what less."""
    policy, held = wiring.policy_unlocked(own)
    before = reviewed_in(held)
    after = authority_of(policy, survey(policy.guard))
    changes = [f"loosened: {line}" for line in after.beyond(before)]
    changes += [f"tightened: {line}" for line in before.beyond(after)]
    for line in changes or ["nothing is allowed more or less than before"]:
        console.line(line)
    path = own / LOCK
    try:
        path.write_text(lock_of(policy), encoding="utf-8")
    except OSError as error:
        raise PolicyError(
            f"{path}: cannot be written ({error.strerror}); mend its rights"
        ) from error
    console.line(f"wrote {path}; commit it with the name of whoever reviewed it")


_DAYS: int = 7
_USES: int = 5


def drafted(request: ApprovalRequest, now: datetime) -> str:
    """What the editor shows: the narrowest rule that would have covered this card."""
    until = now + timedelta(days=_DAYS)
    return (
        "# Say yes to this action without being asked. Save to make the rule; leave the file as\n"
        "# it is, or empty it, to make none. `wavekeeper policy rules` lists and revokes rules.\n"
        f'action = "{request.proposal.action}"\n'
        f'tasks = "{request.proposal.task or "*"}"  # a glob over task ids, such as "T-4*"\n'
        f"until = {until:%Y-%m-%d}\n"
        f"most_uses = {_USES}\n"
    )


def made(text: str, request: ApprovalRequest, who: str, policy: Policy) -> StandingRule:
    """The rule in `text`. UserError, one line, for anything that is not one."""
    try:
        data = tomllib.loads(text)
    except ValueError as error:
        raise UserError(one_line(f"no rule was made: {error}")) from error
    day = data.get("until")
    if isinstance(day, date):
        day = day if isinstance(day, datetime) else datetime.combine(day, time())
        data["until"] = day if day.tzinfo else day.replace(tzinfo=UTC)
    try:
        rule = StandingRule.model_validate({**data, "made_by": who, "made_at": datetime.now(UTC)})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(one_line(f"no rule was made: {where}: {first['msg']}")) from error
    if rule.action is not request.proposal.action:
        raise UserError(f"no rule was made: this question is about {request.proposal.action}")
    return check_rule(rule, policy.approval.rules, policy.approval.tier)


def listing(console: Console, settings: Settings, *, as_json: bool) -> None:
    """Every rule with its uses."""
    with wiring.open_answering(settings, wiring.policy_of(settings)) as answering:
        rules = answering.rules()
    if as_json:
        console.json(
            {
                "schema": "wavekeeper.rules/1",
                "rules": [one.model_dump(mode="json") for one in rules],
            }
        )
        return
    if not rules:
        console.line("no rules; `R` in `wavekeeper approve` makes one")
    now = datetime.now(UTC)
    for rule in rules:
        over = "revoked" if rule.revoked else "in force"
        if not rule.revoked and not (now < rule.until and rule.used < rule.most_uses):
            over = "used up or over"
        console.line(
            f"{rule.id} {over}: {rule.action} of {rule.tasks} until {rule.until:%Y-%m-%d}, "
            f"used {rule.used} of {rule.most_uses}, made by {rule.made_by}",
        )


def revoke(console: Console, settings: Settings, name: str) -> None:
    """End a rule before its time."""
    with wiring.open_answering(settings, wiring.policy_of(settings)) as answering:
        answering.revoke(name)
    console.line(f"{name} is revoked; what it covered is asked again")
