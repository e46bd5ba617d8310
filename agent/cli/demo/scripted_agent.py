"""Stands in for a coding agent in the demonstration: it really edits, commits and pushes.

What it does is written down here, task by task, because a demonstration needs its troubles at the
right moment. What it knows of its task it takes from the prompt, as an agent would.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

SILENCE: Final = 9.0
"""Seconds without output in the silent task."""
PATIENCE: Final = 40.0
"""Seconds for which the fix of the shared fault waits for the tasks that it is for."""

CONTENT: Final = {
    "T-1": (
        "shop/discount.py",
        "def discounted(price, percent):\n    return price - price * percent / 100\n",
    ),
    "T-2": (
        "docs/prices.md",
        "# Prices\n\nThe list price less the discount, plus tax, is what the customer pays.\n",
    ),
    "T-3": (
        "shop/rounding.py",
        (
            "from decimal import ROUND_HALF_UP, Decimal\n\n\ndef to_cents(price):\n"
            "    exact = Decimal(str(price))\n"
            '    return float(exact.quantize(Decimal("0.01"), ROUND_HALF_UP))\n'
        ),
    ),
    "T-4": ("shop/tax.py", "def reduced(price):\n    return price * 1.07\n"),
    "T-5": ("shop/shipping.py", "def cost(kg):\n    return 5 if kg <= 10 else 9\n"),
    "T-6": ("shop/table.py", "def prices():\n    return list(range(1, 1001))\n"),
    "T-7": ("shop/gift.py", "def wrapped(price):\n    return price + 3\n"),
}
HASTY: Final = "def to_cents(price):\n    return round(price, 2)\n"
LINTER: Final = (
    "#!/usr/bin/env python3\n"
    '"""The shop\'s linter: no tabs, no line over 100 characters."""\n'
    "import pathlib\nimport sys\n\n"
    "lines = pathlib.Path(sys.argv[1]).read_text(encoding='utf-8').splitlines()\n"
    "bad = [n for n, line in enumerate(lines, 1) if len(line) > 100 or '\\t' in line]\n"
    "print(f'{sys.argv[1]}: {len(bad)} lines to fix')\n"
    "sys.exit(bool(bad))\n"
)


def say(kind: str, text: str) -> None:
    """One event of the trace."""
    print(json.dumps({"type": kind, "text": text}), flush=True)


def git(*argv: str) -> None:
    """Run git in the worktree; its output belongs to the errors, not to the trace."""
    subprocess.run(["git", *argv], check=True, stdout=sys.stderr)


def write(path: str, content: str) -> None:
    """Write one file of the worktree."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content, encoding="utf-8")
    say("file_change", f"wrote {path}")


def deliver(path: str, branch: str) -> None:
    """Commit one file and push it; a second attempt may find nothing left to commit."""
    git("add", "--", path)
    if subprocess.run(["git", "diff", "--cached", "--quiet"], check=False).returncode:
        git("commit", "--quiet", "-m", f"Add {path}")
    git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    say("tool_call", f"pushed {path} to {branch}")


def straight(task: str, branch: str) -> None:
    """Do what was asked."""
    path, content = CONTENT[task]
    write(path, content)
    deliver(path, branch)


def forgets_to_push(task: str, attempt: int, prompt: str, branch: str) -> None:
    """Claim more than was done, until the prompt says what is missing."""
    path, content = CONTENT[task]
    write(path, content)
    if attempt > 1 and "has no branch" in prompt:
        deliver(path, branch)


def hasty(task: str, attempt: int, prompt: str, branch: str) -> None:
    """Get it wrong first; fix it once the failing check is in the prompt."""
    path, content = CONTENT[task]
    write(path, content if attempt > 1 and "2.675" in prompt else HASTY)
    deliver(path, branch)


def needs_linter(task: str, branch: str) -> None:
    """Run the linter before committing, and stop where it is missing."""
    path, content = CONTENT[task]
    write(path, content)
    if shutil.which("demo-lint") is None:
        print("demo-lint: command not found", file=sys.stderr)
        sys.exit(127)
    subprocess.run(["demo-lint", path], check=True, stdout=sys.stderr)
    deliver(path, branch)


def silent(task: str, branch: str) -> None:
    """Work without output for a while."""
    say("message", "computing; this takes a while")
    time.sleep(SILENCE)
    straight(task, branch)


def dies(task: str, attempt: int, branch: str) -> None:
    """Leave half-edited work behind: the accident takes the host and this process with it."""
    if attempt == 1:
        write(CONTENT[task][0], "def wrapped(price):\n")
        scene = Path(os.environ["DEMO_SCENE"])
        (scene / "accident.new").write_text(str(os.getpid()), encoding="utf-8")
        (scene / "accident.new").rename(scene / "accident")
        time.sleep(600)
    straight(task, branch)


def install(prompt: str, branch: str) -> None:
    """Install the missing tool on the worker hosts, and persist it in the repository.

    It begins once both tasks wait for it, so that a slow machine has the same story to show.
    """
    scene = Path(os.environ["DEMO_SCENE"])
    end = time.monotonic() + PATIENCE
    while not (scene / "blocked").exists() and time.monotonic() < end:
        time.sleep(0.05)
    named = re.search(r"([\w.-]+): (?:command )?not found", prompt)
    tool = named[1] if named else "demo-lint"
    write(f"infra/{tool}", LINTER)
    target = scene / "toolbox" / tool
    target.write_text(LINTER, encoding="utf-8")
    target.chmod(0o755)
    say("tool_call", f"installed {tool}")
    deliver(f"infra/{tool}", branch)


def main() -> None:
    """Read the prompt, do the task's part, report."""
    prompt = sys.stdin.read()
    task, attempt = os.environ["WAVEKEEPER_TASK"], int(os.environ["WAVEKEEPER_ATTEMPT"])
    named = re.search(r"wavekeeper/[\w.-]*\w", prompt)
    branch = named[0] if named else f"wavekeeper/{task}"
    say("message", f"attempt {attempt} of {task}")
    parts: dict[str, Callable[[], None]] = {
        "T-2": lambda: forgets_to_push(task, attempt, prompt, branch),
        "T-3": lambda: hasty(task, attempt, prompt, branch),
        "T-5": lambda: needs_linter(task, branch),
        "T-6": lambda: silent(task, branch),
        "T-7": lambda: dies(task, attempt, branch),
    }
    if task.startswith("fix-"):
        install(prompt, branch)
    else:
        parts.get(task, lambda: straight(task, branch))()
    say("final", "All done, committed and pushed; all tests pass.")


if __name__ == "__main__":
    main()
