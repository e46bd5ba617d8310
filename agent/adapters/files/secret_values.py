"""The values of the variables that `wavekeeper.toml` names, so that they can be taken out of text.

A setting names a variable by the type `Variable`, in whatever backend's table it stands. A single
one holds a key or a token. Of a list, and of `[worker.environment]`, those count whose name says
so: PATH and HOME stand in such lists as well.
"""

from collections.abc import Iterator, Mapping

from agent.adapters.files.config import Settings
from agent.adapters.files.toml import VariableNames, variable_fields
from agent.core.model.secrets import is_secret_name


def secret_values(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Each configured secret by the name of its variable; what is not set is left out."""
    found: dict[str, str] = {}
    for held in variable_fields(settings):
        for name, given in _named(held):
            if (value := environ.get(name) if given is None else given) and value.strip():
                found[name] = value
    return found


def _named(held: VariableNames) -> Iterator[tuple[str, str | None]]:
    """Name, and the value where the settings themselves give it."""
    match held:
        case str():
            yield held, None
        case Mapping():
            yield from (one for one in held.items() if is_secret_name(one[0]))
        case tuple():
            yield from ((name, None) for name in held if is_secret_name(name))
