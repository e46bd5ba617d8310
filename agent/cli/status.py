"""`wavekeeper status`: the live map, read without the lock and without changing anything."""

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.console import Console
from agent.cli.views import page, prompt
from agent.runtime.status import LiveMap, Onlooker


def status(console: Console, settings: Settings, *, as_json: bool, line: bool) -> None:
    """Show the map as a page, in one short line, or as one JSON object `wavekeeper.status/1`."""
    here = _look(settings)
    if line:
        console.line(prompt(here))
    elif as_json:
        console.json(here.model_dump(mode="json"))
    elif not here.waves:
        console.line("no wave here yet; `wavekeeper submit WAVE.toml` plans one")
    else:
        for part in page(console, here):
            console.show(part)


def _look(settings: Settings) -> LiveMap:
    policy = wiring.policy_of(settings)
    held_by = wiring.holder(settings)
    with wiring.open_reading(settings) as world:
        how = wiring.supervision_seen(settings, policy, world, held_by)
        return Onlooker(world, how).look(held_by)
