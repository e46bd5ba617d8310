"""A model that follows a script, behind the Messages API of Anthropic that Claude Code speaks."""

import json
from collections.abc import Sequence

from tests.adapters.loopback import Asked, Reply


def prompts(asked: Asked) -> list[str]:
    """All that the user has said in this session, without what Claude Code adds."""
    said = []
    for message in json.loads(asked.body)["messages"]:
        content = message["content"]
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        if message["role"] == "user":
            texts = [one["text"] for one in blocks if one["type"] == "text"]
            said += [text for text in texts if not text.lstrip().startswith("<")]
    return said


def say(text: str, tool: str | None = None, **given: object) -> Reply:
    """A message and, with `tool`, a call of that tool."""
    blocks: list[dict] = [{"type": "text", "text": text}]
    if tool is not None:
        blocks.append({"type": "tool_use", "id": f"toolu_{text[:8]}", "name": tool, "input": given})
    usage = {"input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 20,
             "output_tokens": 5}  # fmt: skip
    made = {"id": f"msg_{text[:8]}", "type": "message", "role": "assistant", "model": "m",
            "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}  # fmt: skip
    events: list[dict] = [{"type": "message_start", "message": made}]
    for index, block in enumerate(blocks):
        empty = {"text": ""} if block["type"] == "text" else {"input": {}}
        delta = (
            {"type": "text_delta", "text": block["text"]}
            if block["type"] == "text"
            else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        )
        events += [
            {"type": "content_block_start", "index": index, "content_block": {**block, **empty}},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    stop = "end_turn" if tool is None else "tool_use"
    events += [
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None},
         "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]  # fmt: skip
    lines = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events]
    return Reply("".join(lines).encode(), headers={"Content-Type": "text/event-stream"})


def follow(script: Sequence[Reply], asked: Asked) -> Reply:
    """The reply of the step that the session is at: one for each answer since the last prompt."""
    if not asked.path.split("?")[0].endswith("/messages"):
        return Reply({}, 404)
    messages = json.loads(asked.body)["messages"]
    step = 0
    for message in messages:
        content = message["content"]
        is_result = isinstance(content, list) and any(
            one["type"] == "tool_result" for one in content
        )
        if message["role"] == "assistant":
            step += 1
        elif not is_result:
            step = 0
    return script[min(step, len(script) - 1)]


def refuse(status: int, kind: str, message: str) -> Reply:
    """An error as the API words it."""
    return Reply({"type": "error", "error": {"type": kind, "message": message}}, status)
