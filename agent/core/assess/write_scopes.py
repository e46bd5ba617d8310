"""Write scopes: which paths a glob covers, and whether two scopes can meet.

A path is POSIX and relative to the repository's root: no empty, `.` or `..` segment, no leading
or trailing slash; anything else is covered by nothing. Case counts. In a pattern

* `?` is one character and `*` any number of them, both within one segment;
* `**` as a whole segment is any number of segments, none included, but at the end at least one:
  `dir/**` covers everything below `dir` and not `dir` itself;
* beside other characters `**` means the same as `*`;
* everything else, brackets and braces included, stands for itself.

A pattern that names a folder (`dir`) or ends in a slash (`dir/`) does not cover what is in it:
who means a folder's content writes `dir/**`. A pattern that `fault` objects to covers nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Final, TypeVar

_ANY_DEPTH: Final = "**"
_WILD: Final = frozenset("*?")
_CACHE: Final = 4096
_A_NAME: Final = 3
"""Three dots, or any other character: from here on it is a name whatever follows."""

State = TypeVar("State")


def covers(patterns: Sequence[str], path: str) -> bool:
    """Whether any of `patterns` covers `path`."""
    segments = tuple(path.split("/"))
    if not _is_plain(segments):
        return False
    return any(_covers(_segments(pattern), segments) for pattern in patterns)


def overlap(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether there is a path that both scopes cover: exact, not a guess."""
    return not distinct((a, b))


def distinct(scopes: Iterable[Sequence[str]]) -> bool:
    """Whether no path is covered by two of the scopes: exact, not a guess.

    Policy: the supervisor widens "when the active tasks have distinct write scopes".
    """
    known = sorted(
        (tuple(takewhile(_WILD.isdisjoint, segments)), owner, pattern)
        for owner, scope in enumerate(scopes)
        for pattern in scope
        if (segments := _segments(pattern)) is not None
    )
    # Two patterns can meet only if the plain beginning of one is a beginning of the other's; in
    # this order those lie above each other, so a thousand scopes need no million comparisons.
    above: list[tuple[tuple[str, ...], int, str]] = []
    for plain, owner, pattern in known:
        while above and plain[: len(above[-1][0])] != above[-1][0]:
            above.pop()
        if any(other != owner and _can_meet(pattern, one) for _, other, one in above):
            return False
        above.append((plain, owner, pattern))
    return True


def fault(pattern: str) -> str | None:
    """What is wrong with a pattern, and what to write instead; None: nothing."""
    if not pattern.strip():
        return "an empty pattern covers nothing"
    if pattern.startswith("!"):
        return (
            f"{pattern!r} would be an exclusion, and a scope has none; name what may change, "
            "and list paths that must stay as they are under `protected`"
        )
    if pattern.startswith("/"):
        return f"{pattern!r} is absolute; write it relative to the repository's root"
    if pattern.endswith("/"):
        return (
            f"{pattern!r} names a folder; write {pattern.rstrip('/') + '/**'!r} for what is in it"
        )
    if not _is_plain(tuple(pattern.split("/"))):
        return f"{pattern!r} has an empty, '.' or '..' segment; write the plain path"
    return None


def _is_plain(segments: tuple[str, ...]) -> bool:
    return not any(segment in ("", ".", "..") for segment in segments)


@lru_cache(maxsize=_CACHE)
def _segments(pattern: str) -> tuple[str, ...] | None:
    """The pattern's segments, a final `**` spelt as "one segment, and any number more"."""
    if fault(pattern):
        return None
    segments = tuple(pattern.split("/"))
    return (*segments[:-1], "*", _ANY_DEPTH) if segments[-1] == _ANY_DEPTH else segments


def _covers(pattern: tuple[str, ...] | None, path: tuple[str, ...]) -> bool:
    return pattern is not None and _matches(pattern, path, _ANY_DEPTH, _segment_matches)


def _segment_matches(pattern: str, segment: str) -> bool:
    if _WILD.isdisjoint(pattern):
        return pattern == segment
    return _matches(pattern, segment, "*", lambda one, other: one in ("?", other))


def _matches(
    pattern: Sequence[str],
    subject: Sequence[str],
    star: str,
    fits: Callable[[str, str], bool],
) -> bool:
    """Glob matching of any sequence, in at most len(pattern) * len(subject) steps.

    `star` stands for any number of elements. Going back to the last star is enough: whatever an
    earlier one could still take, the last one can take, too.
    """
    here = there = 0
    resume: tuple[int, int] | None = None
    while there < len(subject):
        if here < len(pattern) and pattern[here] == star:
            here += 1
            resume = (here, there)
        elif here < len(pattern) and fits(pattern[here], subject[there]):
            here, there = here + 1, there + 1
        elif resume is not None:
            resume = (resume[0], resume[1] + 1)
            here, there = resume
        else:
            return False
    return all(element == star for element in pattern[here:])


@lru_cache(maxsize=_CACHE)
def _can_meet(one: str, other: str) -> bool:
    """Do two patterns share a path? Walks both at once, segment by segment."""
    a, b = _segments(one), _segments(other)
    if a is None or b is None:
        return False

    def steps(state: tuple[int, int]) -> Iterator[tuple[int, int]]:
        i, j = state
        x, y = _at(a, i), _at(b, j)
        if x == _ANY_DEPTH:
            yield i + 1, j
            if y is not None:
                yield i, j + 1
        if y == _ANY_DEPTH:
            yield i, j + 1
            if x is not None:
                yield i + 1, j
        if x is None or y is None or _ANY_DEPTH in (x, y):
            return
        if _segments_can_meet(x, y):
            yield i + 1, j + 1

    return _reachable((0, 0), (len(a), len(b)), steps)


def _segments_can_meet(a: str, b: str) -> bool:
    """Do two patterns of one segment share a name? `.` and `..` are no names, so dots count."""
    if _WILD.isdisjoint(a) and _WILD.isdisjoint(b):
        return a == b

    def steps(state: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
        i, j, dots = state
        x, y = _at(a, i), _at(b, j)
        if x == "*":
            yield i + 1, j, dots
        if y == "*":
            yield i, j + 1, dots
        if x is not None and y is not None and (x == y or x in _WILD or y in _WILD):
            character = next((one for one in (x, y) if one not in _WILD), "x")
            counted = dots + 1 if character == "." and dots < _A_NAME else _A_NAME
            yield i + (x != "*"), j + (y != "*"), counted

    return _reachable((0, 0, 0), (len(a), len(b), _A_NAME), steps)


def _at(sequence: Sequence[str], index: int) -> str | None:
    return sequence[index] if index < len(sequence) else None


def _reachable(start: State, end: State, steps: Callable[[State], Iterator[State]]) -> bool:
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        if state == end:
            return True
        fresh = set(steps(state)) - seen
        seen |= fresh
        todo.extend(fresh)
    return False
