"""A model that follows a script, behind the Responses API of OpenAI that Codex speaks."""

import json
import re
from collections.abc import Sequence

from tests.adapters.loopback import Asked, Reply

_NO_PROMPT = re.compile(r"\s*(<|# AGENTS)")
"""What Codex puts before a prompt in the name of the user."""


def _texts(item: dict) -> str:
    content = item.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    return "\n".join(str(part.get("text", "")) for part in parts)


def prompts(asked: Asked) -> list[str]:
    """All that the user has said in this session."""
    items = json.loads(asked.body)["input"]
    said = [_texts(item) for item in items if item.get("role") == "user"]
    return [text for text in said if not _NO_PROMPT.match(text)]


def _events(*events: dict) -> Reply:
    lines = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events]
    return Reply("".join(lines).encode(), headers={"Content-Type": "text/event-stream"})


def say(text: str, command: str | None = None) -> Reply:
    """A message and, with `command`, a call of the shell."""
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
               "content": [{"type": "output_text", "text": text, "annotations": []}]}  # fmt: skip
    items = [message]
    if command is not None:
        arguments = json.dumps({"cmd": command})
        items.append({"type": "function_call", "id": "f", "call_id": "c", "status": "completed",
                      "name": "exec_command", "arguments": arguments})  # fmt: skip
    usage = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 20},
             "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0},
             "total_tokens": 105}  # fmt: skip
    made = {"id": "r", "object": "response", "created_at": 0, "model": "m", "output": []}
    return _events(
        {"type": "response.created", "response": {**made, "status": "in_progress"}},
        *(
            {"type": "response.output_item.done", "output_index": place, "item": item}
            for place, item in enumerate(items)
        ),
        {"type": "response.completed",
         "response": {**made, "status": "completed", "output": items, "usage": usage}},
    )  # fmt: skip


def follow(script: Sequence[Reply], asked: Asked) -> Reply:
    """The reply of the step that the session is at: one for each result since the last prompt."""
    items = json.loads(asked.body)["input"]
    users = [place for place, item in enumerate(items) if item.get("role") == "user"]
    since = items[users[-1] :] if users else items
    step = sum(str(item.get("type", "")).endswith("_output") for item in since)
    return script[min(step, len(script) - 1)]


def refuse(status: int, code: str, message: str, **more: object) -> Reply:
    """An error as the API words it."""
    error = {"type": code, "code": code, "message": message, **more}
    return Reply({"error": error}, status)
