"""The reviewer that asks a model through the Messages API.

Untrusted text travels as JSON inside a tool result and nowhere else; the criteria
and the instructions stand outside it. The model has no tool it could call. What its answer is worth
is decided by `agent.core.review.review`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.adapters.model.anthropic_api import Answer, Asking, Endpoint, Words, ask
from agent.core.model.nouns import Review
from agent.core.review.brief import Brief
from agent.core.review.review import AbstainError, abstention, refuse_unreadable, weigh


class AnthropicReviewer:
    """Port `Reviewer`. PolicyError for a missing or broken template or schema in `prompts`."""

    def __init__(self, prompts: Path, endpoint: Endpoint, asking: Asking) -> None:
        self._endpoint = endpoint
        self._words = Words(prompts, "review", asking)
        self.name = f"anthropic {asking.model} {self._words.digest[:12]}"

    def review(self, briefs: Sequence[Brief]) -> Sequence[Review]:
        refused: dict[int, Review] = {}
        bodies: dict[int, dict[str, Any]] = {}
        for place, brief in enumerate(briefs):
            try:
                refuse_unreadable(brief)
                bodies[place] = self.body(brief)
            except AbstainError as error:
                refused[place] = abstention(brief, error)
        answers = dict(zip(bodies, ask(self._endpoint, list(bodies.values())), strict=True))
        found = [
            refused[place] if place in refused else _weighed(brief, answers[place])
            for place, brief in enumerate(briefs)
        ]
        return [review.model_copy(update={"by": self.name}) for review in found]

    def body(self, brief: Brief) -> dict[str, Any]:
        """The request, whole; AbstainError if it would be longer than a call may be."""
        listed = json.dumps(brief.criteria_shown(), ensure_ascii=False, indent=1)
        exhibits = json.dumps({"exhibits": brief.exhibits_shown()}, ensure_ascii=False)
        parts = self._words.parts
        return self._words.body(
            str(parts.criteria(brief.title, listed)), exhibits, str(parts.ask())
        )


def _weighed(brief: Brief, answer: Answer) -> Review:
    if answer.reply is None:
        review = abstention(brief, answer.error or AbstainError("bad-answer"))
    else:
        review = weigh(brief, answer.reply)
    return review.model_copy(update={"usage": answer.usage, "model": answer.model})
