"""Print pip constraints that pin each dependency of pyproject.toml to its lowest version."""

import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

_DECLARED = re.compile(r"([\w.-]+)(?:>=|==)([\d.]+)(?:,<[\d.]+)?")


def constraints(declared: dict) -> list[str]:
    """`NAME==VERSION` for each; SystemExit where a requirement names no lowest version."""
    project = declared["project"]
    made = []
    for requirement in chain(
        declared["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
    ):
        found = _DECLARED.fullmatch(requirement)
        if found is None:
            sys.exit(f"pyproject.toml: {requirement!r} names no lowest version: NAME>=VERSION")
        made.append("{}=={}".format(*found.groups()))
    return sorted(set(made))


if __name__ == "__main__":
    text = Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8")
    sys.stdout.write("\n".join(constraints(tomllib.loads(text))) + "\n")
