"""Stands in for Codex and Claude Code: speaks as they do, and behaves as a test asks.

    python coding_agent.py codex|claude BEHAVIOUR [ARGUMENTS of the real program...]

A behaviour is one of `tests/adapters/runner_contract.py`, or the path of a recorded stream, which
is printed before it ends as that run did. With CALLED in its environment it writes its arguments
and environment into that file.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

program, behaviour, *arguments = sys.argv[1:]


def say(*lines: dict) -> None:
    for line in lines:
        print(json.dumps(line), flush=True)


def message(text: str) -> dict:
    if program == "codex":
        return {"type": "item.completed", "item": {"type": "agent_message", "text": text}}
    return {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}


def begin() -> None:
    if program == "codex":
        say({"type": "thread.started", "thread_id": "s-1"}, {"type": "turn.started"})
    else:
        say({"type": "system", "subtype": "init", "session_id": "s-1", "model": "m"})


def finish(text: str) -> None:
    say(message(text))
    if program == "codex":
        say({"type": "turn.completed", "usage": {"input_tokens": 5, "output_tokens": 2}})
    else:
        say({"type": "result", "subtype": "success", "is_error": False, "result": text})


def leave_a_child(*, deaf: bool) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    argv = [sys.executable, "-c", code] if deaf else ["sleep", "60"]
    child = subprocess.Popen(argv, start_new_session=True)
    with Path("pids").open("a") as file:
        file.write(f"{child.pid}\n")


if called := os.environ.get("CALLED"):
    Path(called).write_text(json.dumps({"arguments": arguments, "environment": dict(os.environ)}))
if behaviour.endswith(".jsonl"):
    sys.stdout.buffer.write(Path(behaviour).read_bytes())
    sys.exit(0 if Path(behaviour).name.startswith(("deny", "happy")) else 1)
begin()
if behaviour == "answers":
    say(message("working"))
    finish("all done")
elif behaviour == "fails":
    say(message("429 Too Many Requests"))
    print("no luck", file=sys.stderr)
    sys.exit(3)
elif behaviour == "repeats":
    finish(sys.stdin.buffer.read().decode())
elif behaviour == "leaves":
    leave_a_child(deaf=False)
    finish("all done")
elif behaviour in ("waits", "deaf"):
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        leave_a_child(deaf=True)
    with Path("pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    say(message("ready"))
    while not Path("go").exists():
        time.sleep(0.02)
    finish("gone on")
