"""The values of the variables that `wavekeeper.toml` names, so that they can be taken out of text.

A setting names a variable by the type `Variable`, in whatever backend's table it stands. A single
one holds a key or a token. Of a list, and of `[worker.environment]`, those count whose name says
so: PATH and HOME stand in such lists as well.
"""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from agent.adapters.files.config import Settings
from agent.adapters.files.toml import names_variables
from agent.backends import Chosen
from agent.core.model.secrets import is_secret_name


def secret_values(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Each configured secret by the name of its variable; what is not set is left out."""
    found: dict[str, str] = {}
    for name, given in _variables(settings):
        if (value := environ.get(name) if given is None else given) and value.strip():
            found[name] = value
    return found


def _variables(value: object) -> Iterator[tuple[str, str | None]]:
    """Name, and the value where the settings themselves give it."""
    match value:
        case Chosen():
            yield from _variables(value.settings)
        case BaseModel():
            for name, field in type(value).model_fields.items():
                own = getattr(value, name)
                if names_variables(field.annotation, field.metadata):
                    yield from _named(own)
                else:
                    yield from _variables(own)
            yield from _variables(value.model_extra or {})
        case dict():
            for one in value.values():
                yield from _variables(one)
        case tuple() | list():
            for one in value:
                yield from _variables(one)


def _named(own: object) -> Iterator[tuple[str, str | None]]:
    match own:
        case str():
            yield own, None
        case dict():
            yield from ((str(name), str(one)) for name, one in own.items() if is_secret_name(name))
        case tuple() | list():
            yield from ((str(name), None) for name in own if is_secret_name(str(name)))
