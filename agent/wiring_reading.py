"""The part of the wiring that says who reads results, and what reading may use up.

The SDK takes seconds to import, so `agent.wiring_model` is imported by those who ask a model only.
"""

# ruff: noqa: PLC0415 - see above

from pathlib import Path

from agent.adapters.files.config import ModelSettings
from agent.adapters.model.reviewer import EvidenceReviewer
from agent.core.review.brief import Limits
from agent.ports import Reviewer, Writer
from agent.runtime.context import ReviewLimits


def reviewer_of(own: ModelSettings, prompts: Path, key: str | None = None) -> Reviewer:
    """The configured reviewer; `key`: instead of the environment's."""
    if own.reviewer == "none":
        return EvidenceReviewer()
    from agent.wiring_model import reviewer

    return reviewer(own, prompts, key)


def writer_of(own: ModelSettings, prompts: Path, key: str | None = None) -> Writer | None:
    """Who fills the slots of follow-up prompts; None: they are worded from facts alone."""
    if own.drafter == "none":
        return None
    from agent.wiring_model import writer

    return writer(own, prompts, key)


def review_limits(own: ModelSettings) -> ReviewLimits:
    """What the configuration says of reviews, and of what models may use up."""
    return ReviewLimits(
        limits=Limits(response=own.response_limit, diff=own.diff_limit),
        at_once=own.at_once,
        task_tokens=own.tokens_per_task,
        wave_tokens=own.tokens_per_wave,
        worst_case=0 if own.reviewer == own.drafter == "none" else own.tokens_per_call,
    )
