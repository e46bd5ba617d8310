"""Real cases made by others: where they lie, how they are read, and how a measurement ends."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.core import worlds as w

FOLDER = w.ROOT.parent / "shared" / "evaldata"

Row = tuple[str, str, str, bool]
"""What was measured, the figure, its target (none: empty), and whether that is met."""


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def report(
    about: str | None, needed: Sequence[str], measure: Callable[[Path], Iterable[Row]]
) -> None:
    """Print every row; end with 1 if a target is missed, with 2 if a collection is not there."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder = parser.parse_args().folder
    for name in needed:
        if not (folder / f"{name}.jsonl").is_file():
            print(
                f"there is no {name}.jsonl in {folder}; name the folder of the collections",
                file=sys.stderr,
            )
            sys.exit(2)
    # The tests ask their helper for the rows, which looks in one place only; here the caller says.
    w.collected = partial(rows_of, folder)
    missed = False
    for what, figure, target, met in measure(folder):
        print(f"{what:<56} {figure:>22}  {target:<10} {'' if met else 'MISSED'}".rstrip())
        missed = missed or not met
    sys.exit(1 if missed else 0)


def one_after_another(
    *measures: Callable[[Path], Iterable[Row]],
) -> Callable[[Path], Iterator[Row]]:
    def both(folder: Path) -> Iterator[Row]:
        for measure in measures:
            yield from measure(folder)

    return both
