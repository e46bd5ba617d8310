"""How good a reviewer is, measured on labelled cases. Labels never reach the reviewer.

A case is one finished task with what was observed of it, and whether it truly was done. Only a
false accept does harm; a false retry costs an attempt, an abstention a person's time.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent.core.model.nouns import Criterion, Noun, Review, Usage
from agent.core.model.text import one_line
from agent.core.review.brief import Brief, Limits, collect_exhibits

Decided = Literal["accept", "retry", "abstain"]


class Check(BaseModel):
    """One command that was run on the result."""

    command: str
    exit_code: int | None = None
    output: str = ""


class Observed(BaseModel):
    """What was fetched of the result; keys that are not known here are not shown."""

    patch: str | None = None
    checks: tuple[Check, ...] = ()


class Case(BaseModel):
    """One line of the file. Further keys are left out, so that no label can slip through."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(min_length=1)]
    source: str = "unnamed"
    title: str = ""
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    """A plain text stands for one criterion of judgement."""
    final_response: str
    evidence: Observed = Observed()
    label: bool
    """Whether the criteria truly were met; for the score only."""

    @model_validator(mode="before")
    @classmethod
    def _one_text_is_one_criterion(cls, data: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(data, dict) and isinstance(data.get("criteria"), str):
            text = data["criteria"]
            return {**data, "criteria": [{"id": "C1", "text": text, "proof": "judgement"}]}
        return data

    def brief(self, limits: Limits) -> Brief:
        """What the reviewer is shown: everything but id, source and label."""
        checks = [(one.command, one.exit_code, one.output) for one in self.evidence.checks]
        return Brief(
            task=self.id,
            attempt=1,
            title=one_line(self.title) or "as the criteria say",
            criteria=self.criteria,
            exhibits=collect_exhibits(
                (), checks, self.evidence.patch, self.final_response, limits=limits
            ),
        )


def case_of(text: str) -> Case:
    """The case in one line of JSON; ValueError, one line, for anything else."""
    try:
        return Case.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else str(first["msg"])) from error


def decided(review: Review) -> Decided:
    """What the supervisor would do if the evidence were complete."""
    if review.abstained is not None:
        return "abstain"
    said = {one.verdict for one in review.criteria}
    if "unmet" in said:
        return "retry"
    return "accept" if said == {"met"} else "abstain"


class Score(Noun):
    """The counts of one source, or of all."""

    source: str
    cases: int = 0
    accepts: int = 0
    false_accepts: int = 0
    retries: int = 0
    false_retries: int = 0
    abstentions: int = 0
    reasons: dict[str, int] = {}
    """Codes of the abstentions; `cannot-tell` where the reviewer itself was in doubt."""
    usage: Usage = Usage()


def scores(results: Iterable[tuple[Case, Review]]) -> tuple[Score, ...]:
    """One score for each source, by name, and one for all, called `all`."""
    listed = list(results)
    sources = sorted({case.source for case, _ in listed})
    parts = [_score(name, [one for one in listed if one[0].source == name]) for name in sources]
    return (*parts, _score("all", listed))


def _score(source: str, results: Sequence[tuple[Case, Review]]) -> Score:
    pairs = [(case.label, decided(review), review) for case, review in results]
    reasons: dict[str, int] = {}
    usage = Usage()
    for _, action, review in pairs:
        usage = usage.plus(review.usage or Usage())
        if action == "abstain":
            code = review.code or "cannot-tell"
            reasons[code] = reasons.get(code, 0) + 1
    said = [(label, action) for label, action, _ in pairs]
    return Score(
        source=source,
        cases=len(pairs),
        accepts=sum(action == "accept" for _, action in said),
        false_accepts=said.count((False, "accept")),
        retries=sum(action == "retry" for _, action in said),
        false_retries=said.count((True, "retry")),
        abstentions=sum(action == "abstain" for _, action in said),
        reasons=dict(sorted(reasons.items())),
        usage=usage,
    )


def cost(usage: Usage, price_in: float, price_out: float) -> float:
    """US dollars, by prices for a million tokens; cached input counts in full, so it is a bound."""
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return (read * price_in + usage.output_tokens * price_out) / 1_000_000
