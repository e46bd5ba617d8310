"""Which branch a task may have: a branch belongs to one task of one wave, ever.

What is on a branch proves the work of its task, so a branch that was there before, or that another
task pushes to as well, would prove work that nobody did. Git keeps branches as paths: where there
is a branch `a`, no branch `a/b` can be pushed, and the other way round.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.core.model.queueing import TaskSpec
from agent.core.model.text import one_line


@dataclass(frozen=True, slots=True)
class OnRemote:
    """What is on the remote already."""

    default: str
    """The name of the default branch."""
    branches: frozenset[str]


def refusals(
    specs: Iterable[TaskSpec], owners: Mapping[str, str], remote: OnRemote | None
) -> Iterator[tuple[str, str]]:
    """The tasks whose branch they cannot have: id, and one sentence that says what to do.

    `owners`: of each branch that a task has or had, who that is, in words. `remote`: None, if it
    could not be seen.
    """
    taken = dict(owners)
    for spec in specs:
        if spec.commit != "required":
            continue
        why = _why_not(spec, taken, remote)
        if why is not None:
            yield spec.id, why
        taken.setdefault(spec.branch, f"task {spec.id}")


def _why_not(spec: TaskSpec, taken: Mapping[str, str], remote: OnRemote | None) -> str | None:
    branch = spec.branch
    if branch in taken:
        return f"the branch {branch!r:.80} belongs to {taken[branch]}; give it a branch of its own"
    if remote is not None:
        if branch == remote.default:
            return f"{branch!r:.80} is origin's default branch; give the task a branch of its own"
        if branch in remote.branches and spec.continues != branch:
            return (
                f"origin has a branch {branch!r:.80} already, and what was there before is no work "
                "of this task; choose another, or say which one it goes on from with `continues`"
            )
        if spec.continues is not None and spec.continues not in remote.branches:
            return f"origin has no branch {spec.continues!r:.80} to continue; push it first"
    everywhere = {**dict.fromkeys(remote.branches if remote else (), "on origin"), **taken}
    for other, where in everywhere.items():
        if other.startswith(f"{branch}/") or branch.startswith(f"{other}/"):
            return (
                f"the branch {branch!r:.80} cannot be pushed beside {one_line(other)!r:.80} "
                f"({where}): git keeps branches as paths; rename one of them"
            )
    return None
