"""The part of the wiring that needs a model's SDK, which is slow to import."""

import os
from pathlib import Path

from agent.adapters.base_anthropic import Endpoint
from agent.adapters.config_toml import ModelSettings
from agent.adapters.reviewer_anthropic import AnthropicReviewer, Asking
from agent.errors import ConfigurationError
from agent.ports import Reviewer


def reviewer(own: ModelSettings, prompts: Path, key: str | None) -> Reviewer:
    """The reviewer that asks the configured model; `key`: instead of the environment's."""
    asking = Asking(
        model=own.review_model,
        effort=own.effort,
        max_tokens=own.max_tokens,
        channel=own.evidence_channel,
        most_tokens=own.tokens_per_call,
    )
    return AnthropicReviewer(prompts, _endpoint(own, key), asking)


def _endpoint(own: ModelSettings, key: str | None) -> Endpoint:
    key = key or os.environ.get(own.key_variable)
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigurationError(
            f"[model] asks a model, but {own.key_variable} holds no key; set it, or write "
            'reviewer = "none" and drafter = "none"',
        )
    return Endpoint(
        key=key,
        base_url=own.base_url,
        at_once=own.at_once,
        deadline=own.deadline,
        use_proxy=own.use_proxy,
    )
