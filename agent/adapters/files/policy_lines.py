"""Where each rule of the guard stands in its file, for whoever has to read it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agent.adapters.files.toml_text import TomlFaultError, parse

_FILE: Final = "guard.toml"


def rule_lines(folder: Path, over: Path | None = None) -> Mapping[str, str]:
    """`guard.toml:17` by the rule's id, the first of its name; empty if the file cannot be read.

    `over` is the folder whose file takes the place of the shipped one, as in `read_policy`.
    """
    path = over / _FILE if over is not None and (over / _FILE).exists() else folder / _FILE
    try:
        document = parse(path.read_bytes())
    except (OSError, TomlFaultError):
        return {}
    rules: list[dict[str, Any]] = document.data.get("rule", [])
    found: dict[str, str] = {}
    for place, rule in enumerate(rules):
        line = document.line(("rule", place, "id"))
        found.setdefault(str(rule.get("id")), f"{path.name}:{line}")
    return found
