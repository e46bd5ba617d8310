"""Durations as a person writes them in TOML: "90s", "10m", "2h". Everything else is in seconds."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(s|m|h)")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: object) -> float:
    """How many seconds `text` says. ValueError, one line, for what is no duration above zero.

    A bare number is refused too: nobody who reads `time_limit = 10` knows of which unit.
    """
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'{text!r:.60} is no duration; write text like "90s", "10m" or "2h"')
    value = float(found[1]) * _UNITS[found[2]]
    if value <= 0:
        raise ValueError(f"{text!r} is no time at all; write a duration above zero")
    return value


Seconds = Annotated[float, BeforeValidator(seconds)]
"""A field that is written as a duration and read as seconds."""
