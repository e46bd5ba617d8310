"""The part of the wiring that needs a model's SDK, which is slow to import."""

from pathlib import Path

from agent.adapters.files.config import ModelSettings
from agent.adapters.model.anthropic_api import Asking, Endpoint
from agent.adapters.model.drafter import AnthropicWriter
from agent.adapters.model.reviewer import AnthropicReviewer
from agent.ports import Reviewer, Writer


def reviewer(own: ModelSettings, prompts: Path, key: str | None) -> Reviewer:
    """The reviewer that asks the configured model; `key`: instead of the environment's."""
    return AnthropicReviewer(prompts, _endpoint(own, key), _asking(own, own.review_model))


def writer(own: ModelSettings, prompts: Path, key: str | None) -> Writer:
    """The same for the slots of follow-up prompts."""
    return AnthropicWriter(prompts, _endpoint(own, key), _asking(own, own.draft_model))


def _asking(own: ModelSettings, model: str) -> Asking:
    return Asking(
        model=model,
        effort=own.effort,
        max_tokens=own.max_tokens,
        channel=own.evidence_channel,
        most_tokens=own.tokens_per_call,
    )


def _endpoint(own: ModelSettings, key: str | None) -> Endpoint:
    return Endpoint(
        key=key or own.key(),
        base_url=own.base_url,
        at_once=own.at_once,
        deadline=own.deadline,
        use_proxy=own.use_proxy,
    )
