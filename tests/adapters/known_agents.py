"""Runners of the known kinds of agents, with a stand-in as their program."""

import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from agent.backends import AgentBackend, Boundary, Context, find
from agent.ports import Runner

STANDIN = Path(__file__).parents[1] / "standins" / "coding_agent.py"


def opened(place: Path, kind: str, behaviour: str, boundary: Boundary, **table: object) -> Runner:
    """A runner of this kind, whose program is the stand-in; its state is in `place`."""
    program = place / f"{kind}-{Path(behaviour).stem}"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {STANDIN} {kind} {behaviour} "$@"\n')
    program.chmod(0o755)
    backend = find(AgentBackend, kind)
    values = {"program": str(program), **table}
    own = backend.settings.model_validate(values, context={"folder": place})
    now = partial(datetime.now, UTC)
    return backend.open(own, Context(state=place, now=now, boundary=boundary))
