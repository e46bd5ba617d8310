"""What happened on the remote beside the tasks' own work, as sentences for a person.

The supervisor decides nothing by it: commits of others on the default branch are often right, and
an accepted branch may be deleted on purpose. But somebody should know.
"""

from agent.core.model.nouns import BranchMoved, Snapshot, Task
from agent.core.model.text import code, one_line

_NAMED = 3
"""Commits that are named."""
_FATES = {
    "moved-on": "more was pushed on top of what was accepted, and nobody has judged that",
    "rewritten": "it was rewritten: what was accepted is no longer on it",
    "deleted": "it was deleted, and no other branch is known to have what was accepted",
}


def reports(snapshot: Snapshot) -> list[tuple[str | None, str]]:
    """What a person should know of the remote: the task it is about, if one, and a sentence."""
    seen = snapshot.remote
    if seen is None:
        return []
    found: list[tuple[str | None, str]] = [
        (task.id, said) for task in snapshot.tasks if (said := pushed_to_default(task, snapshot))
    ]
    if seen.foreign:
        known = {commit for task in snapshot.tasks for commit in task.pushed_to_default}
        others = [line for line in seen.foreign if line.partition(" ")[0] not in known]
        if others:
            found.append((None, _moved(seen.default_name, others)))
    found += [(one.task, _fate(one)) for one in seen.moved]
    return found


def pushed_to_default(task: Task, snapshot: Snapshot) -> str | None:
    """That the task's own worktree made commits of the default branch; None: it did not."""
    if not task.pushed_to_default or snapshot.remote is None:
        return None
    commits = ", ".join(task.pushed_to_default[:_NAMED])
    name = one_line(snapshot.remote.default_name)
    return (
        f"the default branch {name} holds commits that were made in the worktree of {task.id} "
        f"({commits}); what is pushed there is no work of this task"
    )


def _moved(name: str, lines: list[str]) -> str:
    more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    named = ", ".join(code(line) for line in lines[:_NAMED])
    return (
        f"the default branch {one_line(name)} moved by commits that no accepted task explains: "
        f"{named}{more}"
    )


def _fate(one: BranchMoved) -> str:
    return f"the branch {one.branch} of {one.task} ({one.commit[:12]}): {_FATES[one.fate]}"
