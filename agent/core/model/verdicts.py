"""What a reviewer said of one result, and what asking it took."""

from typing import Literal

from pydantic import AwareDatetime

from agent.core.model.noun import Noun


class CriterionVerdict(Noun):
    """What a reviewer said of one criterion."""

    id: str
    verdict: Literal["met", "unmet", "cannot-tell"]
    quote: str | None = None
    evidence: str | None = None
    """An evidence id, or `final-response`."""


class Usage(Noun):
    """Tokens that calls of a model used, as its provider counted them."""

    requests: int = 0
    input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0

    @property
    def total(self) -> int:
        """All tokens, the cached ones counted in full."""
        return (
            self.input_tokens
            + self.cache_write_tokens
            + self.cache_read_tokens
            + self.output_tokens
        )

    def plus(self, other: "Usage") -> "Usage":
        """Both together."""
        mine, others = self.model_dump(by_alias=False), other.model_dump(by_alias=False)
        return Usage(**{name: count + others[name] for name, count in mine.items()})


class Review(Noun):
    """A witness, not a judge: it can only lower what the evidence allows."""

    criteria: tuple[CriterionVerdict, ...] = ()
    attempt: int | None = None
    digest: str | None = None
    """Of everything the reviewer was shown: one review per (task, attempt, content)."""
    seen: str | None = None
    """Of the result and the evidence it rests on; the review is void once they have changed."""
    by: str | None = None
    """The reviewer: its model and the digest of its instructions."""
    model: str | None = None
    """The model that answered, as its provider names it."""
    abstained: str | None = None
    """Why there is no verdict, if there is none, in one sentence."""
    code: str | None = None
    """The same in one word."""
    pending: bool = False
    """It abstained and is asked again, not before `retry_at` if that is given."""
    retry_at: AwareDatetime | None = None
    tries: int = 0
    """Answers that could not be used, of this attempt; an outage is not one of them."""
    outages: int = 0
    """Calls in a row that the provider did not answer."""
    notes: tuple[str, ...] = ()
    """Why code lowered a verdict of the reviewer, one sentence each."""
    usage: Usage | None = None
