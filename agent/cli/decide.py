"""`wavekeeper decide`: one snapshot in, its decisions out. No network, clock, model or state."""

import sys
from collections.abc import Sequence
from pathlib import Path

from agent import wiring
from agent.cli.console import Console
from agent.core.plan.contract import NotASnapshotError, answer, ask_of, read
from agent.errors import UserError


def decide(console: Console, path: str, policies: Path | None, asks: Sequence[str]) -> None:
    """Print the decisions on the snapshot in `path`, `-` being standard input."""
    policy = wiring.policy_in(policies)
    try:
        snapshot = read(sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes())
        asked = [ask_of(one, snapshot) for one in asks]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a readable snapshot") from error
    except NotASnapshotError as error:
        raise UserError(f"{path}: {error}") from error
    except ValueError as error:
        raise UserError(f"--ask {error}") from error
    console.json(answer(snapshot, policy, asked))
