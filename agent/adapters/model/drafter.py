"""Fills the slots of a follow-up prompt by asking a model, through the Messages API.

What was printed and found travels as JSON inside a tool result; the model answers with slots, never
with a prompt. The same question is asked once for as long as the process runs.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agent.adapters.model.anthropic_api import Asking, Endpoint, Words, ask
from agent.core.model.actions import digest
from agent.core.model.nouns import Usage
from agent.core.model.text import one_line, tail, visible
from agent.core.prompts.draft_parsing import slots_of
from agent.core.prompts.linter import DraftRequest, Slots
from agent.core.review.review import AbstainError

_REMEMBERED: Final = 256
_SHOWN: Final = 12_000
"""Characters of an output or an error; the end is kept."""


class AnthropicWriter:
    """Port `Writer`. PolicyError for a missing or broken template or schema in `prompts`."""

    def __init__(self, prompts: Path, endpoint: Endpoint, asking: Asking) -> None:
        self._endpoint = endpoint
        self._words = Words(prompts, "draft", asking)
        self._known: dict[str, Slots | None] = {}

    def slots(
        self, request: DraftRequest, findings: Sequence[str] = ()
    ) -> tuple[Slots | None, Usage]:
        try:
            body = self._body(request, findings)
        except AbstainError:
            return None, Usage()
        key = digest(body)
        if key in self._known:
            return self._known[key], Usage()
        (answer,) = ask(self._endpoint, [body])
        try:
            if answer.reply is None:
                return None, answer.usage
            slots: Slots | None = slots_of(answer.reply, request.spec)
        except AbstainError:
            slots = None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = slots
        return slots, answer.usage

    def _body(self, request: DraftRequest, findings: Sequence[str]) -> dict[str, Any]:
        spec, parts = request.spec, self._words.parts
        listed = json.dumps(
            [one.model_dump(mode="json") for one in spec.criteria], ensure_ascii=False, indent=1
        )
        first = str(parts.task(one_line(spec.title), one_line(request.goal), listed))
        last = str(parts.ask([one_line(one)[:300] for one in findings]))
        return self._words.body(first, json.dumps(_facts(request), ensure_ascii=False), last)


def _facts(request: DraftRequest) -> dict[str, Any]:
    """All that is known, made visible; without times, so that the same facts ask only once."""
    facts = {
        "kind": request.kind,
        "unmetCriteria": list(request.unmet),
        "notProven": [visible(one) for one in request.missing],
        "finding": request.failed and visible(request.failed),
        "commitOnTheRemote": request.commit,
        "fixed": request.fixed and visible(request.fixed),
        "evidence": [
            visible(f"{one.origin} {one.kind}: {one.holds}; {one.detail or ''}")
            for one in request.evidence
        ],
        "lastError": request.last_error and tail(visible(request.last_error), _SHOWN)[0],
        "output": request.output and tail(visible(request.output), _SHOWN)[0],
    }
    return {name: value for name, value in facts.items() if value}
