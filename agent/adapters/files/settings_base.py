"""Types that several settings files share. No port stands behind this module."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo


def _below(value: object, info: ValidationInfo) -> object:
    """A path as written, taken from the folder of the settings file."""
    if not isinstance(value, str | Path):
        return value
    text = str(value)
    if not text.strip() or "\0" in text:
        raise ValueError("must name a folder")
    if text.startswith("~"):
        raise ValueError(f"{text!r:.80}: '~' is not expanded here; write the full path")
    return Path((info.context or {}).get("folder", "."), text)


Folder = Annotated[Path, BeforeValidator(_below)]
"""A folder or file; a relative one is below the folder of the settings file."""


def _argument(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character; remove it")
    return value


Argument = Annotated[str, AfterValidator(_argument)]
"""One argument of a program."""
