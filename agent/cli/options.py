"""What several commands have in common: options, and the console they were given."""

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.console import Console

Own = Annotated[
    Path | None, typer.Option("--policies", metavar="DIR", help="Policy files of your own.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def console_of(context: typer.Context) -> Console:
    """The console that `call` was given."""
    console: Console = context.obj
    return console
