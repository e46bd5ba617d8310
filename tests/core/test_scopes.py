import re
from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.assess.write_scopes import covers, distinct, fault, overlap

COVERED = [
    pytest.param("src/a.py", "src/a.py", True, id="a plain path covers itself"),
    pytest.param("src/a.py", "src/b.py", False, id="and no other"),
    pytest.param("src/a.py", "SRC/A.PY", False, id="case counts"),
    pytest.param("src/*.py", "src/a.py", True, id="a star within a segment"),
    pytest.param("src/*.py", "src/.py", True, id="a star may be nothing"),
    pytest.param("src/*.py", "src/b/a.py", False, id="a star does not cross folders"),
    pytest.param("src/*", "src/.hidden", True, id="a star covers a leading dot"),
    pytest.param("src/?.py", "src/a.py", True, id="a question mark is one character"),
    pytest.param("src/?.py", "src/ab.py", False, id="a question mark is not two"),
    pytest.param("src?a.py", "src/a.py", False, id="a question mark is no slash"),
    pytest.param("src/**", "src/a/b/c.py", True, id="two stars cross folders"),
    pytest.param("src/**", "src/a", True, id="two stars cover what is directly below"),
    pytest.param("src/**", "src", False, id="two stars do not cover the folder itself"),
    pytest.param("src/**", "srcs/a", False, id="two stars stay below the folder"),
    pytest.param("**", "a/b", True, id="two stars alone cover everything"),
    pytest.param("**/a.py", "a.py", True, id="leading two stars may be no folder"),
    pytest.param("**/a.py", "x/y/a.py", True, id="leading two stars may be folders"),
    pytest.param("**/a.py", "x/ba.py", False, id="leading two stars end at a slash"),
    pytest.param("a/**/b", "a/b", True, id="middle two stars may be nothing"),
    pytest.param("a/**/b/**/c", "a/x/b/b/y/c", True, id="two stars twice"),
    pytest.param("a/**/b/**/c", "a/x/c", False, id="two stars twice need the middle"),
    pytest.param("src/**.py", "src/a.py", True, id="two stars beside others are one"),
    pytest.param("src/**.py", "src/a/b.py", False, id="two stars beside others cross nothing"),
    pytest.param("src/[ab].py", "src/a.py", False, id="brackets are plain characters"),
    pytest.param("src/[ab].py", "src/[ab].py", True, id="brackets cover themselves"),
    pytest.param("src", "src/a.py", False, id="a folder's name does not cover its content"),
    pytest.param("src/", "src/a.py", False, id="nor does it with a slash"),
    pytest.param("**", "/etc/passwd", False, id="never an absolute path"),
    pytest.param("**", "a/../../etc", False, id="never a path that climbs"),
    pytest.param("**", "./a", False, id="never a path with a dot segment"),
    pytest.param("**", "a//b", False, id="never an empty segment"),
    pytest.param("**", "a/", False, id="never a folder"),
    pytest.param("**", "", False, id="never an empty path"),
    pytest.param("../**", "../a", False, id="a climbing pattern covers nothing"),
    pytest.param("/**", "a", False, id="an absolute pattern covers nothing"),
    pytest.param("", "a", False, id="an empty pattern covers nothing"),
    pytest.param("a*b*c", "a-b-b-c", True, id="a star gives back what it took"),
    pytest.param("a*b*c", "a-c-b", False, id="stars keep their order"),
]

MEETING = [
    pytest.param("src/a/**", "src/*/x.py", True, id="a folder and a file in every folder"),
    pytest.param("src/a/**", "src/b/**", False, id="two folders"),
    pytest.param("src/a/**", "src/a", False, id="a folder's content and the folder"),
    pytest.param("**/x.py", "src/**", True, id="a name anywhere and a folder"),
    pytest.param("**/x.py", "**/y.py", False, id="two names anywhere"),
    pytest.param("*.py", "a*", True, id="an ending and a beginning"),
    pytest.param("*.py", "*.md", False, id="two endings"),
    pytest.param("a?", "?b", True, id="two that share one name"),
    pytest.param("a?", "b?", False, id="two beginnings"),
    pytest.param("**/a/**", "**/b/**", True, id="two folders anywhere"),
    pytest.param("a/**/c", "a/b", False, id="another last segment"),
    pytest.param(".?", "?.", False, id="they share only two dots, which is no name"),
    pytest.param(".*", "?", False, id="they share only one dot, which is no name"),
    pytest.param(".*", "*.", True, id="three dots are a name"),
    pytest.param("a/../b", "**", False, id="a pattern that covers nothing meets nothing"),
    pytest.param("**", "**", True, id="everything meets everything"),
]

FAULTY = [
    pytest.param("src/", "'src/**'", id="a trailing slash"),
    pytest.param("/src/**", "relative", id="absolute"),
    pytest.param("a/../b", "segment", id="climbing"),
    pytest.param("./a", "segment", id="a dot"),
    pytest.param("a//b", "segment", id="an empty segment"),
    pytest.param(" ", "empty", id="white space"),
]

segments = st.one_of(st.just("**"), st.text(alphabet="ab.*?", min_size=1, max_size=4))
globs = st.lists(segments, min_size=1, max_size=4).map("/".join)
names = st.text(alphabet="ab.", min_size=1, max_size=4)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


def by_regex(pattern: str, path: str) -> bool:
    """The same meaning, told by another mechanism: one regular expression."""
    parts = pattern.split("/")
    if any(part in ("", ".", "..") for part in [*parts, *path.split("/")]):
        return False
    expression = ""
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            expression += "[^/]+(?:/[^/]+)*" if last else "(?:[^/]+/)*"
            continue
        for character in part:
            expression += {"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character))
        expression += "" if last else "/"
    return re.fullmatch(expression, path) is not None


def paths_of(pattern: str) -> st.SearchStrategy[str]:
    """Paths that `pattern` is likely to cover."""
    filled = [
        st.lists(names, max_size=2).map("/".join)
        if part == "**"
        else st.tuples(
            *[
                {"*": st.text("ab.", max_size=2), "?": st.sampled_from("ab.")}.get(c, st.just(c))
                for c in part
            ],
        ).map("".join)
        for part in pattern.split("/")
    ]
    return st.tuples(*filled).map(lambda parts: "/".join(part for part in parts if part))


@pytest.mark.parametrize(("pattern", "path", "expected"), COVERED)
def test_what_a_pattern_covers(pattern: str, path: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    assert covers([pattern], path) is expected
    assert covers(["nothing/at/all", pattern], path) is expected


def test_no_pattern_covers_nothing() -> None:
    assert not covers([], "a")


@pytest.mark.parametrize(("one", "other", "expected"), MEETING)
def test_which_scopes_meet(one: str, other: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    assert overlap([one], [other]) is expected
    assert overlap(["", other], [one, ""]) is expected


@pytest.mark.parametrize(("pattern", "says"), FAULTY)
def test_a_faulty_pattern_is_explained_and_covers_nothing(pattern: str, says: str) -> None:
    assert says in str(fault(pattern))
    assert not covers([pattern], "src/a")
    assert not overlap([pattern], ["**"])


def test_a_good_pattern_has_no_fault() -> None:
    assert fault("src/**/*.py") is None


@given(st.data(), globs)
@settings(max_examples=100, deadline=None)
def test_covers_means_what_the_regular_expression_means(data: st.DataObject, pattern: str) -> None:
    path = data.draw(st.one_of(paths, paths_of(pattern)))
    assert covers([pattern], path) is by_regex(pattern, path)


@given(st.data(), globs, globs)
@settings(max_examples=100, deadline=None)
def test_a_path_covered_by_both_means_overlap(data: st.DataObject, one: str, other: str) -> None:
    path = data.draw(st.one_of(paths, paths_of(one), paths_of(other)))
    if covers([one], path) and covers([other], path):
        assert overlap([one], [other])


@given(st.lists(st.lists(globs, max_size=3), max_size=6))
@settings(max_examples=150)
def test_many_scopes_are_distinct_exactly_when_each_pair_is(scopes: list[list[str]]) -> None:
    pairs = combinations(scopes, 2)
    assert distinct(scopes) is not any(overlap(one, other) for one, other in pairs)


@given(globs, globs)
@settings(max_examples=60, deadline=None)
def test_overlap_is_symmetric(one: str, other: str) -> None:
    assert overlap([one], [other]) is overlap([other], [one])


def all_of(alphabet: Sequence[str], longest: int, between: str) -> list[str]:
    return [
        between.join(parts)
        for length in range(1, longest + 1)
        for parts in product(alphabet, repeat=length)
    ]


@pytest.mark.parametrize(
    ("patterns", "candidates"),
    [
        pytest.param(all_of("a.*?", 3, ""), all_of("a.", 7, ""), id="within a segment"),
        pytest.param(
            all_of(["a", "b", "*", "**"], 3, "/"), all_of("abc", 6, "/"), id="across segments"
        ),
    ],
)
def test_overlap_is_exact(patterns: list[str], candidates: list[str]) -> None:
    """Exhaustive over small patterns: they overlap if, and only if, some path shows it."""
    covered = {
        pattern: {path for path in candidates if covers([pattern], path)} for pattern in patterns
    }
    wrong = [
        (one, other)
        for one, other in combinations_with_replacement(patterns, 2)
        if overlap([one], [other]) == covered[one].isdisjoint(covered[other])
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        pytest.param("a*" * 40 + "b", "a" * 1000, id="stars in a segment"),
        pytest.param("**/a/" * 40 + "b", "a/" * 1000 + "c", id="stars across segments"),
        pytest.param("x/" * 3000 + "y", "x/" * 3000 + "z", id="a very deep path"),
    ],
)
def test_hostile_patterns_end(pattern: str, path: str) -> None:
    assert not covers([pattern], path)
    assert not overlap([pattern], [path])
