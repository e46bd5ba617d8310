"""From an empty repository to a wave at work: `wavekeeper init`, `submit` and `status`."""

from pathlib import Path

from agent import admission, wiring
from agent.adapters.files.config import NAME, SAMPLE, Settings
from agent.cli.console import Console
from agent.cli.views import page, prompt
from agent.errors import ConfigurationError
from agent.runtime.status import LiveMap, StatusReader


def init(console: Console, folder: Path) -> None:
    """Write the settings file into `folder`; ConfigurationError if it is there already."""
    path = folder / NAME
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(SAMPLE)
    except FileExistsError as error:
        raise ConfigurationError(f"{path} is there already; edit it, or move it away") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror})") from error
    console.line(f"wrote {NAME}; name your coding agent under [worker] in it")
    if not any((above / ".git").exists() for above in (folder, *folder.parents)):
        console.line(
            f"{folder} is in no git repository; name one as `repository` in {NAME}, or run "
            "`git init` and add a remote",
        )
    console.line("next: `wavekeeper doctor` says what is still missing,")
    console.line("then `wavekeeper submit WAVE.toml` checks a wave and plans its tasks")


def submit(console: Console, settings: Settings, path: Path, *, check: bool) -> None:
    """Store the wave, or with `check` only say whether it could be; WaveFileError if not."""
    if check:
        with admission.known_waves(settings) as known:
            checked = admission.check(settings, path, known)
        _warn(console, checked)
        count = _tasks(len(checked.task_records))
        console.line(f"wave {checked.record.id}: {count}, no errors; nothing was stored")
        return
    checked, new = admission.submit(settings, path)
    if new:
        _warn(console, checked)
        count = _tasks(len(checked.task_records))
        what = f"{count} planned; `wavekeeper run` submits them as the window allows"
    else:
        what = "already there, nothing changed"
    console.line(f"wave {checked.record.id}: {what}")


def _warn(console: Console, checked: admission.Checked) -> None:
    for line in checked.warnings:
        console.line(f"note: {line}")


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"


def status(console: Console, settings: Settings, *, as_json: bool, line: bool) -> None:
    """Show the map as a page, in one short line, or as one JSON object `wavekeeper.status/1`."""
    here = _look(settings)
    if line:
        console.line(prompt(here))
    elif as_json:
        console.json(here.model_dump(mode="json"))
    elif not (here.waves or here.tasks or here.damaged):
        console.line("no wave here yet; `wavekeeper submit WAVE.toml` plans one")
    else:
        for part in page(console, here):
            console.show(part)


def _look(settings: Settings) -> LiveMap:
    policy = wiring.policy_of(settings)
    held_by = wiring.holder(settings)
    with wiring.open_reading(settings) as ports:
        how = wiring.supervision_seen(settings, policy, ports, held_by)
        here = StatusReader(ports, how).look(held_by)
    return here.model_copy(update={"agents": wiring.unprotected(settings)})
