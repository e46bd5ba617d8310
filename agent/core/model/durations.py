"""Durations as a person writes them in TOML: "90s", "10m", "2h". Everything else is in seconds."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(s|m|h)")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: object) -> float:
    """The seconds that `text` means. ValueError, one line, unless it is a duration above zero.

    A bare number is refused too: `time_limit = 10` does not say which unit.
    """
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'{text!r:.60} is not a duration; write text like "90s", "10m" or "2h"')
    value = float(found[1]) * _UNITS[found[2]]
    if value <= 0:
        raise ValueError(f"{text!r} is zero; write a duration above zero")
    return value


Seconds = Annotated[float, BeforeValidator(seconds)]
"""A field that is written as a duration and read as seconds."""
