"""The commands and their options; what each one does is in the module of its name."""

# ruff: noqa: PLC0415 - each command imports its own module, so that --help answers at once

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent import __version__
from agent.cli.console import Console, standard
from agent.cli.errors import run_command
from agent.errors import UserError

if TYPE_CHECKING:
    from agent.adapters.files.config import Settings

Own = Annotated[
    Path | None, typer.Option("--policies", metavar="DIR", help="Policy files of your own.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]

app = typer.Typer(
    name="wavekeeper",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def call(arguments: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Run the command that `arguments` name, by default those of the process; the exit code."""
    console = console or standard()
    return run_command(
        lambda: app(arguments, prog_name="wavekeeper", standalone_mode=False, obj=console),
        console,
    )


def console_of(context: typer.Context) -> Console:
    """The console that `call` was given."""
    console: Console = context.obj
    return console


def _here(context: typer.Context) -> "tuple[Console, Settings]":
    """The console, and the settings that hold in this folder."""
    from agent import wiring

    console, settings = console_of(context), wiring.settings_above(Path.cwd())
    console.hide(wiring.redactor(settings))
    return console, settings


def _as_person(context: typer.Context) -> "tuple[Console, Settings]":
    """The same, for a command that acts or answers: it is refused if it comes from an agent."""
    from agent.cli.caller import refuse_agents

    console, settings = _here(context)
    refuse_agents(settings, context.info_name or "")
    return console, settings


def _version(context: typer.Context, *, asked: bool) -> None:
    if asked:
        console_of(context).line(f"wavekeeper {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog="Example: wavekeeper -C ~/project status")
def root(
    context: typer.Context,
    *,
    folder: Annotated[
        Path | None, typer.Option("-C", metavar="DIR", help="Work as if started in DIR.")
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Supervises a wave of coding-agent tasks: accepts only what is proven, sends the rest back."""
    if folder is not None:
        try:
            os.chdir(folder)
        except OSError as error:
            raise UserError(f"-C {folder}: {error.strerror}; name a folder") from error
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog="Example: wavekeeper init")
def init(
    context: typer.Context,
) -> None:
    """Write a short wavekeeper.toml into this folder."""
    from agent.cli.wave import init as command

    command(console_of(context), Path.cwd())


@app.command(epilog="Example: wavekeeper submit w7.toml")
def submit(
    context: typer.Context,
    wave: Annotated[Path, typer.Argument(metavar="WAVE.toml", help="The wave file.")],
    *,
    check: Annotated[bool, typer.Option("--check", help="Only check it; store nothing.")] = False,
) -> None:
    """Check a wave file and plan its tasks."""
    from agent.cli.wave import submit as command

    command(*(_here if check else _as_person)(context), wave, check=check)


@app.command(epilog="Example: wavekeeper run --mode auto --interval 90s")
def run(
    context: typer.Context,
    *,
    mode: Annotated[
        str | None,
        typer.Option(metavar="observe|auto|approve", help="Instead of the configured mode."),
    ] = None,
    interval: Annotated[
        str | None, typer.Option(metavar="5m", help="Between two looks at the queues.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look and act once, then end.")] = False,
    until_done: Annotated[
        bool,
        typer.Option(
            "--until-done",
            help="End when every task is settled: 0 if all are accepted, else 1.",
        ),
    ] = False,
) -> None:
    """Supervise: look at the queues, decide, act, until Ctrl-C."""
    from agent.cli.run import Asked
    from agent.cli.run import run as command

    asked = Asked(mode=mode, interval=interval, once=once, until_done=until_done)
    raise typer.Exit(command(*_as_person(context), asked))


@app.command(epilog="Example: wavekeeper work --name build-1")
def work(
    context: typer.Context,
    *,
    name: Annotated[
        str | None,
        typer.Option(help="Its name; the next host of this name takes over what it left."),
    ] = None,
    judge: Annotated[
        bool, typer.Option("--judge/--no-judge", help="Judge beside it, or leave that to others.")
    ] = True,
) -> None:
    """Run tasks on this machine, until Ctrl-C, and judge what was pushed."""
    from agent.cli.hosts import work as command

    raise typer.Exit(command(*_as_person(context), name, judge=judge))


@app.command(epilog="Example: wavekeeper judge --name checks-1 --heavy")
def judge(
    context: typer.Context,
    *,
    name: Annotated[
        str | None,
        typer.Option(help="Its name; the next host of this name gives back what it had."),
    ] = None,
    heavy: Annotated[
        bool | None,
        typer.Option("--heavy/--no-heavy", help="Take commands that are marked heavy, or not."),
    ] = None,
) -> None:
    """Check what was pushed, on clean checkouts, until Ctrl-C."""
    from agent.cli.hosts import judge as command

    raise typer.Exit(command(*_as_person(context), name, heavy=heavy))


@app.command(epilog="Example: wavekeeper status --json")
def status(
    context: typer.Context,
    *,
    as_json: Json = False,
    line: Annotated[
        bool, typer.Option("--line", help="A few words, for a prompt or tmux.")
    ] = False,
) -> None:
    """Show the live map of the wave, and what comes next."""
    from agent.cli.wave import status as command

    command(*_here(context), as_json=as_json, line=line)


@app.command(epilog="Example: wavekeeper doctor")
def doctor(context: typer.Context, *, as_json: Json = False) -> None:
    """Show what is missing on this machine, and how to fix it."""
    from agent.cli.doctor import doctor as command

    raise typer.Exit(command(console_of(context), Path.cwd(), as_json=as_json))


@app.command(epilog="Example: wavekeeper demo --keep")
def demo(
    context: typer.Context,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave its folder, to look around.")] = False,
    approve: Annotated[
        bool, typer.Option("--approve", help="Ask you; answer in another terminal.")
    ] = False,
) -> None:
    """Play a whole wave on a repository of its own; no key, nothing of yours is touched."""
    from agent.cli.demo import demo as command

    raise typer.Exit(command(console_of(context), keep=keep, approve=approve))


@app.command(epilog="Example: wavekeeper decide snapshot.json --ask interrupt:T-1")
def decide(
    context: typer.Context,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT.json", help="- is standard input.")],
    policies: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Policy files of your own.")
    ] = None,
    ask: Annotated[
        list[str] | None,
        typer.Option(metavar="ACTION:TASK", help="Would this be allowed, and if not, why?"),
    ] = None,
) -> None:
    """Decide on one snapshot, offline: the same file in, the same bytes out."""
    from agent.cli.decide import decide as command

    command(console_of(context), snapshot, policies, ask or [])


@app.command("eval", epilog="Example: wavekeeper eval cases.jsonl")
def evaluate(
    context: typer.Context,
    tasks: Annotated[Path, typer.Argument(metavar="CASES.jsonl", help="Labelled cases.")],
    *,
    recorded: Annotated[
        Path | None,
        typer.Option(metavar="CASSETTE.json", help="Recorded answers instead of the real API."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the configured reviewer on labelled cases; the labels are not shown to it."""
    from agent.cli.evaluate import evaluate as command

    command(*_here(context), tasks, recorded, as_json=as_json)


@app.command(epilog="Example: wavekeeper approve A-7 --digest 7f3a91c2")
def approve(
    context: typer.Context,
    request: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Approve this one; none: ask.")
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
    """Answer what waits for a person, one request after the other."""
    from agent.cli.approval import command

    console, settings = (_here if listed or as_json else _as_person)(context)
    if listed or as_json:
        command.listing(console, settings, as_json=as_json)
    elif request is not None:
        command.approve(console, settings, request, digest, confirm)
    else:
        raise typer.Exit(command.at_terminal(console, settings))


@app.command(epilog='Example: wavekeeper reject A-7 -m "use the fake clock"')
def reject(
    context: typer.Context,
    request: Annotated[str, typer.Argument(metavar="ID", help="The request.")],
    *,
    message: Annotated[str, typer.Option("-m", metavar="WHY", help="Why; for the record.")],
    digest: Annotated[str | None, typer.Option(metavar="D", help="Only if it is this.")] = None,
) -> None:
    """Reject a request; it is asked again only if something changes."""
    from agent.cli.approval.command import reject as command

    command(*_as_person(context), request, message, digest)


@app.command(epilog="Example: wavekeeper defer A-7 --for 30m")
def defer(
    context: typer.Context,
    request: Annotated[str, typer.Argument(metavar="ID", help="The request.")],
    *,
    how_long: Annotated[
        str | None, typer.Option("--for", metavar="30m", help="Else: until something changes.")
    ] = None,
) -> None:
    """Put a request off."""
    from agent.cli.approval.command import defer as command

    command(*_as_person(context), request, how_long)


@app.command(epilog="Example: wavekeeper log -f --task T-1")
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
    from agent.cli.record import log as command

    command(*_here(context), task=task, follow=follow, as_json=as_json)


@app.command(epilog="Example: wavekeeper logs T-1 -f")
def logs(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task of the queue.")],
    *,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the attempt has ended.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(metavar="N", help="An earlier attempt, not the latest.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every event, one JSON object a line.")
    ] = False,
) -> None:
    """Show what the agent of a task did, event by event."""
    from agent.cli.logs import logs as command

    command(*_here(context), task, attempt=attempt, follow=follow, as_json=as_json)


@app.command(epilog="Example: wavekeeper explain T-1")
def explain(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="TASK|#RECORD", help="A task, or a decision of the log.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Show why a task was accepted, sent back, left alone or refused, or waits."""
    from agent.cli.record import explain as command

    command(*_here(context), name, as_json=as_json)


@app.command(epilog="Example: wavekeeper verify")
def verify(
    context: typer.Context,
    *,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER:DIGEST", help="Compare it with a head that was printed before."
        ),
    ] = None,
) -> None:
    """Check that the record of what was done is whole; else name the first bad record."""
    from agent.cli.record import verify as command

    command(*_here(context), head)


@app.command(epilog="Example: wavekeeper replay last --policies ours --check")
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
    """Decide again what was decided, offline; exit code 5 if any decision differs."""
    from agent.cli.record import again as command

    raise typer.Exit(command(*_here(context), session, policies, check=check))


policy_app = typer.Typer(help="Check a policy, show what it permits, record a review.")
app.add_typer(policy_app, name="policy")


@policy_app.command("check", epilog="Example: wavekeeper policy check --policies ours")
def policy_check(context: typer.Context, policies: Own = None) -> None:
    """Load a policy as `run` would: every rule, every state, the reviewed lock."""
    from agent.cli.policy import check as command

    command(console_of(context), policies)


@policy_app.command("show", epilog="Example: wavekeeper policy show")
def policy_show(context: typer.Context, policies: Own = None) -> None:
    """Show all that the guard permits, for a person to review."""
    from agent.cli.policy import show as command

    command(console_of(context), policies)


@policy_app.command("lock", epilog="Example: wavekeeper policy lock --policies ours")
def policy_lock(
    context: typer.Context,
    policies: Annotated[Path, typer.Option(metavar="DIR", help="Your own policy files.")],
) -> None:
    """Record in DIR that a person has reviewed what its policy permits."""
    from agent import wiring
    from agent.cli.caller import refuse_agents
    from agent.cli.policy import lock as command

    refuse_agents(wiring.settings_if_any(Path.cwd()), "policy lock")
    command(console_of(context), policies)


@policy_app.command("rules", epilog="Example: wavekeeper policy rules")
def policy_rules(
    context: typer.Context,
    *,
    as_json: Json = False,
    revoke: Annotated[str | None, typer.Option(metavar="ID", help="End this rule now.")] = None,
) -> None:
    """Show the rules that persons made, with their uses."""
    from agent.cli.policy import listing
    from agent.cli.policy import revoke as command

    if revoke is not None:
        command(*_as_person(context), revoke)
    else:
        listing(*_here(context), as_json=as_json)
