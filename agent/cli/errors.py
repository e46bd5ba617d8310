"""How a command ends: one line on standard error for what went wrong, and the exit code."""

import os
import signal
import traceback
from collections.abc import Callable
from typing import Final, cast

import typer

from agent.cli.console import Console, OutputLostError
from agent.cli.stopping import SIGNALLED, AtOnce
from agent.errors import UserError, WavekeeperError

_UsageError: Final = cast("type[Exception]", typer.BadParameter.__base__)
"""Typer brings its own click in some versions; this is the parent of all its usage errors."""
_SHOWN: Final = 300
"""Characters of an unexpected exception's own words."""


def run_command(command: Callable[[], object], console: Console) -> int:
    """Run `command`; its exit code, as `agent.errors` lists them. It never raises.

    A command says its own code by `typer.Exit`, which Typer turns into a return value.
    """
    try:
        code = command()
    except AtOnce as stopped:
        return stopped.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return SIGNALLED + signal.SIGINT
    except OutputLostError as lost:
        console.give_up_output()
        if lost.quiet:
            return SIGNALLED + signal.SIGPIPE
        console.error(str(lost))
        return lost.exit_code
    except WavekeeperError as error:
        console.error(str(error))
        return error.exit_code
    except _UsageError as error:
        console.error(_usage(error))
        return UserError.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: reported, and the command is over
        if os.environ.get("WAVEKEEPER_DEBUG") == "1":
            console.trace(traceback.format_exc())
        console.error(_bug(error))
        return WavekeeperError.exit_code
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> str:
    """Click's sentence, and where to read on."""
    words = cast("Callable[[], str]", getattr(error, "format_message", lambda: str(error)))()
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "wavekeeper")
    return f"{words.rstrip('.')}; see `{path} --help`"


def _bug(error: Exception) -> str:
    words = f": {error}"[:_SHOWN] if str(error) else ""
    return (
        f"{type(error).__name__}{words}; this is a bug, please report it "
        "(WAVEKEEPER_DEBUG=1 shows where it is)"
    )
