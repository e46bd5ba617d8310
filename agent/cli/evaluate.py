"""`wavekeeper eval`: run the configured reviewer over labelled cases and say how it did."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.table import Table

from agent import wiring
from agent.adapters.files.config import Settings
from agent.cli.cassette_server import replayed
from agent.cli.console import Console
from agent.cli.evaluation import Case, Score, case_of, cost, scores
from agent.errors import UserError
from agent.ports import Reviewer
from agent.wiring import review_limits, reviewer_of

_HEADINGS = (
    "SOURCE", "CASES", "ACCEPTED", "FALSELY", "SENT BACK", "FALSELY", "ABSTAINED", "TOKENS", "US$",
)  # fmt: skip


def evaluate(
    console: Console, settings: Settings, path: Path, recorded: Path | None, *, as_json: bool
) -> None:
    """Print one line for each source and one for all, or one JSON object."""
    cases = _read(path)
    limits = review_limits(settings.model).limits
    with _reviewer(settings, recorded) as reviewer:
        reviews = reviewer.review([case.brief(limits) for case in cases])
        name = reviewer.name
    counted = scores(zip(cases, reviews, strict=True))
    prices = settings.model.price_in, settings.model.price_out
    if as_json:
        told = [
            {**one.model_dump(mode="json"), "dollars": cost(one.usage, *prices)} for one in counted
        ]
        console.json({"schema": "wavekeeper.eval/1", "reviewer": name, "scores": told})
        return
    console.line(f"reviewer: {name}")
    console.show(_table(console, counted, prices))
    reasons = [f"{count} {code}" for code, count in counted[-1].reasons.items()]
    console.line(f"abstentions: {', '.join(reasons) or 'none'}")


@contextmanager
def _reviewer(settings: Settings, recorded: Path | None) -> Iterator[Reviewer]:
    prompts = wiring.shipped("prompts")
    if recorded is None:
        yield reviewer_of(settings.model, prompts)
        return
    with replayed(recorded) as address:
        asked = settings.model.model_copy(update={"reviewer": "anthropic", "base_url": address})
        yield reviewer_of(asked, prompts, "not-a-key")


def _read(path: Path) -> list[Case]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"{path}: {reason}; name a readable file of cases") from error
    cases = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                cases.append(case_of(line))
            except ValueError as error:
                raise UserError(f"{path}:{number}: {error}; mend this case") from error
    if not cases:
        raise UserError(f"{path}: there is no case in it; write one JSON object a line")
    return cases


def _table(console: Console, counted: Sequence[Score], prices: tuple[float, float]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for place, heading in enumerate(_HEADINGS):
        table.add_column(heading, no_wrap=True, justify="right" if place else "left")
    for one in counted:
        cells = (
            one.source,
            str(one.cases),
            str(one.accepts),
            str(one.false_accepts),
            str(one.retries),
            str(one.false_retries),
            str(one.abstentions),
            str(one.usage.total),
            f"{cost(one.usage, *prices):.2f}",
        )
        table.add_row(*(console.text(cell) for cell in cells))
    return table
