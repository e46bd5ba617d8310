"""`wavekeeper policy`: check a policy, show its authority, record that a person has reviewed it."""

from pathlib import Path

from agent import wiring
from agent.adapters.files.policy import LOCK, lock_of, reviewed_in
from agent.cli.console import Console
from agent.core.guard.baseline import authority_of
from agent.core.guard.check import survey
from agent.errors import PolicyError


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
