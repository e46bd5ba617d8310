"""The commands around a person and the record: what is asked, answered, told and decided again."""

# ruff: noqa: PLC0415 - each command imports its own module, so that --help answers at once

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import Json, Own, console_of

record_app = typer.Typer()
rules_app = typer.Typer()


@record_app.command(epilog="Example: wavekeeper approve A-7 --digest 7f3a91c2")
def approve(
    context: typer.Context,
    request: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Say yes to this one; none: ask.")
    ] = None,
    *,
    digest: Annotated[
        str | None, typer.Option(metavar="D", help="What is approved, as --list shows it.")
    ] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="TASK", help="The task's id, where the risk is high.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show what waits for a person.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: one JSON object.")] = False,
) -> None:
    """Answer what waits for a person, one question after the other."""
    from agent import wiring
    from agent.cli.approval import command

    console, settings = console_of(context), wiring.settings_above(Path.cwd())
    if listed or as_json:
        command.listing(console, settings, as_json=as_json)
    elif request is not None:
        command.approve(console, settings, request, digest, confirm)
    else:
        raise typer.Exit(command.at_terminal(console, settings))


@record_app.command(epilog='Example: wavekeeper reject A-7 -m "use the fake clock"')
def reject(
    context: typer.Context,
    request: Annotated[str, typer.Argument(metavar="ID", help="The question.")],
    *,
    message: Annotated[str, typer.Option("-m", metavar="WHY", help="Why; for the record.")],
    digest: Annotated[str | None, typer.Option(metavar="D", help="Only if it is this.")] = None,
) -> None:
    """Say no to a question; it is asked again only if something changes."""
    from agent import wiring
    from agent.cli.approval.command import reject as command

    command(console_of(context), wiring.settings_above(Path.cwd()), request, message, digest)


@record_app.command(epilog="Example: wavekeeper defer A-7 --for 30m")
def defer(
    context: typer.Context,
    request: Annotated[str, typer.Argument(metavar="ID", help="The question.")],
    *,
    how_long: Annotated[
        str | None, typer.Option("--for", metavar="30m", help="Else: until something changes.")
    ] = None,
) -> None:
    """Put a question off."""
    from agent import wiring
    from agent.cli.approval.command import defer as command

    command(console_of(context), wiring.settings_above(Path.cwd()), request, how_long)


@record_app.command(epilog="Example: wavekeeper log -f --task T-1")
def log(
    context: typer.Context,
    *,
    task: Annotated[str | None, typer.Option(metavar="T", help="Only of this task.")] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on with what is recorded, until Ctrl-C.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every record, one JSON object a line.")
    ] = False,
) -> None:
    """Show what was seen, decided, answered and done."""
    from agent import wiring
    from agent.cli.record import log as command

    settings = wiring.settings_above(Path.cwd())
    command(console_of(context), settings, task=task, follow=follow, as_json=as_json)


@record_app.command(epilog="Example: wavekeeper explain T-1")
def explain(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="TASK|#RECORD", help="A task, or a decision of the log.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Say why a task was accepted, sent back, left alone or refused, or waits."""
    from agent import wiring
    from agent.cli.record import explain as command

    command(console_of(context), wiring.settings_above(Path.cwd()), name, as_json=as_json)


@record_app.command(epilog="Example: wavekeeper verify")
def verify(
    context: typer.Context,
    *,
    head: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:DIGEST", help="Hold it to a head that was printed before."),
    ] = None,
) -> None:
    """Say whether the record of what was done is whole; else name the first bad record."""
    from agent import wiring
    from agent.cli.record import verify as command

    command(console_of(context), wiring.settings_above(Path.cwd()), head)


@record_app.command(epilog="Example: wavekeeper replay last --policies ours --check")
def replay(
    context: typer.Context,
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="One run of the supervisor: S-1, last or all.")
    ],
    *,
    policies: Own = None,
    check: Annotated[
        bool, typer.Option("--check", help="Verify the record first; print findings only.")
    ] = False,
) -> None:
    """Decide again what was decided, offline; 5 if anything comes out otherwise."""
    from agent import wiring
    from agent.cli.record import again as command

    settings = wiring.settings_above(Path.cwd())
    raise typer.Exit(command(console_of(context), settings, session, policies, check=check))


@rules_app.command("rules", epilog="Example: wavekeeper policy rules")
def policy_rules(
    context: typer.Context,
    *,
    as_json: Json = False,
    revoke: Annotated[str | None, typer.Option(metavar="ID", help="End this rule now.")] = None,
) -> None:
    """Show the rules that persons made, with their uses."""
    from agent import wiring
    from agent.cli.policy import listing
    from agent.cli.policy import revoke as command

    settings = wiring.settings_above(Path.cwd())
    if revoke is not None:
        command(console_of(context), settings, revoke)
    else:
        listing(console_of(context), settings, as_json=as_json)
