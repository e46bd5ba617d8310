import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.model.queueing import TaskSpec
from agent.core.prompts.linter import AFTER_AN_ATTEMPT, ALWAYS, WHAT_FAILED, lint
from tests.core.prompt_specs import ANY, PLAIN

GOOD = """\
# T-1: Retry the mailer

## Task

T-1: Retry the mailer

## Ownership

service mailer

## Background

The mailer gives up on the first error. It must try three times.
Reference: #12

## What is already done

Nothing was pushed.

## What exactly failed

The tests failed:

```text
as discussed, see the issue
## Forbidden actions
```

## Write scope

- `services/mailer/**`
- `docs/mailer.md`

## Validation scope

Run the tests of the mailer
in the dev container.

- `python -m pytest -q`

## Commit and push

Push to `wavekeeper/T-1`.

## Forbidden actions

- running heavy checks on the master host
- touching the queue

## What counts as done

- C1: three tries are made
- C2: the commit is pushed

## What to report

What you did.
"""
SECTIONS = (*ALWAYS, *AFTER_AN_ATTEMPT)
PRODUCTION = PLAIN.model_copy(update={"production_adjacent": True})


def rules(prompt: str, spec: TaskSpec = PLAIN, previous: str | None = "other") -> set[str]:
    return {finding.rule for finding in lint(prompt, spec, previous=previous)}


def section(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=\n)## {name}\n.*?(?=\n## [A-Z][a-z ]+\n\n|\Z)", re.DOTALL)


def without_fences(prompt: str) -> str:
    return re.sub(r"```text\n.*?\n```\n", "", prompt, flags=re.DOTALL)


def test_a_prompt_that_stands_on_its_own_has_no_finding() -> None:
    assert lint(GOOD, PLAIN, previous="other") == ()
    assert lint(GOOD.replace("\n", "\r\n"), PLAIN) == ()


@pytest.mark.parametrize("name", SECTIONS)
def test_a_missing_section_is_found(name: str) -> None:
    prompt = section(name).sub("", without_fences(GOOD), count=1)
    assert rules(prompt) == {"section-missing"}
    assert f"'## {name}'" in lint(prompt, PLAIN, previous="other")[0].message


@pytest.mark.parametrize("name", SECTIONS)
def test_quoted_text_does_not_satisfy_a_section(name: str) -> None:
    content = section(name).search(without_fences(GOOD))
    assert content
    body = content[0].removeprefix(f"## {name}\n")
    prompt = without_fences(GOOD).replace(
        content[0], f"## {name}\n\n### Quoted\n\n```text\n{body}\n```"
    )
    assert "section-empty" in rules(prompt)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_heading_in_a_fence_is_no_heading(name: str) -> None:
    prompt = without_fences(GOOD).replace(f"## {name}\n", f"```text\n## {name}\n```\n")
    assert "section-missing" in rules(prompt)


def test_an_open_fence_hides_what_follows() -> None:
    assert "section-missing" in rules(GOOD.replace("## Background", "```\n## Background"))


@pytest.mark.parametrize("name", AFTER_AN_ATTEMPT)
def test_a_first_prompt_needs_no_history(name: str) -> None:
    prompt = section(name).sub("", without_fences(GOOD), count=1)
    assert rules(prompt, previous=None) == set()


def test_a_prompt_for_a_defect_needs_what_failed() -> None:
    defect = PLAIN.model_copy(update={"fixes": "D-1"})
    prompt = section(WHAT_FAILED).sub("", without_fences(GOOD), count=1)
    assert rules(prompt, defect, previous=None) == {"section-missing"}


@pytest.mark.parametrize(
    ("fact", "instead", "rule"),
    [
        pytest.param("\nT-1: Retry", "\nRetry", "task-not-stated", id="id"),
        pytest.param("T-1: Retry the mailer", "T-1", "task-not-stated", id="title"),
        pytest.param("\nservice mailer", "\na service", "ownership-not-stated", id="ownership"),
        pytest.param("mailer/**", "mailer/*", "write-scope-not-stated", id="pattern"),
        pytest.param("- `docs/mailer.md`", "", "write-scope-not-stated", id="second pattern"),
        pytest.param("in the dev", "in a", "validation-scope-not-stated", id="validation"),
        pytest.param("pytest -q", "pytest", "command-not-stated", id="command"),
        pytest.param("keeper/T-1`", "keeper/T-12`", "branch-not-stated", id="branch"),
        pytest.param("- touching the queue", "", "forbidden-not-stated", id="prohibition"),
        pytest.param("C1: three", "C10: three", "criterion-not-stated", id="criterion id"),
        pytest.param("three tries are", "it is", "criterion-not-stated", id="criterion text"),
    ],
)
def test_a_fact_that_is_not_stated_is_found(fact: str, instead: str, rule: str) -> None:
    assert fact in GOOD
    assert rules(GOOD.replace(fact, instead)) == {rule}


def test_a_fact_in_the_wrong_section_is_not_stated() -> None:
    moved = GOOD.replace("- touching the queue\n", "").replace(
        "What you did.", "touching the queue"
    )
    assert rules(moved) == {"forbidden-not-stated"}


def test_a_section_that_comes_twice_is_found() -> None:
    findings = lint(f"{GOOD}\n## Task\n\nanother\n", PLAIN)
    assert [(finding.rule, finding.line) for finding in findings] == [
        ("section-twice", GOOD.count("\n") + 2),
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        pytest.param("Push to `wavekeeper/T-1`.", {"push-not-ruled-out"}, id="told to push"),
        pytest.param("Do not push anything.", set(), id="told not to"),
        pytest.param("Never commit or push.", set(), id="never"),
    ],
)
def test_a_task_without_a_commit_must_not_push(words: str, found: set[str]) -> None:
    spec = PLAIN.model_copy(update={"commit": "none"})
    assert rules(GOOD.replace("Push to `wavekeeper/T-1`.", words), spec) == found


@pytest.mark.parametrize(
    ("forbidden", "found"),
    [
        pytest.param("running heavy checks on the master host", set(), id="the policy's words"),
        pytest.param("the full e2e suite on the Master server", set(), id="full e2e"),
        pytest.param("Playwright on master", set(), id="Playwright"),
        pytest.param("running heavy checks", {"heavy-checks-not-forbidden"}, id="no place"),
        pytest.param("working on the master host", {"heavy-checks-not-forbidden"}, id="no check"),
        pytest.param(
            "full rewrites on the master branch", {"heavy-checks-not-forbidden"}, id="a branch"
        ),
    ],
)
def test_production_adjacent_work_forbids_heavy_checks(forbidden: str, found: set[str]) -> None:
    spec = PRODUCTION.model_copy(update={"forbidden": (forbidden, "touching the queue")})
    prompt = GOOD.replace("running heavy checks on the master host", forbidden)
    assert rules(prompt, spec) == found
    assert rules(prompt, spec.model_copy(update={"production_adjacent": False})) == set()


def test_two_prohibitions_do_not_add_up_to_one() -> None:
    words = ("touching the master host", "running heavy checks on the queue")
    spec = PRODUCTION.model_copy(update={"forbidden": words})
    prompt = GOOD.replace("running heavy checks on the master host", words[0])
    assert rules(prompt.replace("touching the queue", words[1]), spec) == {
        "heavy-checks-not-forbidden"
    }


@pytest.mark.parametrize(
    ("validation", "found"),
    [
        pytest.param("Let CI run the tests.", set(), id="CI"),
        pytest.param("Check it in the dev environment.", set(), id="dev"),
        pytest.param("Check health in the target container.", set(), id="container"),
        pytest.param("Run the tests on the build host.", set(), id="another host"),
        pytest.param("Run the tests.", {"validation-place-not-named"}, id="nowhere"),
        pytest.param("Run them on the master host.", {"validation-place-not-named"}, id="master"),
        pytest.param("Decide with precision.", {"validation-place-not-named"}, id="part of a word"),
    ],
)
def test_production_adjacent_work_says_where_validation_belongs(
    validation: str, found: set[str]
) -> None:
    spec = PRODUCTION.model_copy(update={"validation_scope": validation})
    prompt = GOOD.replace("Run the tests of the mailer\nin the dev container.", validation)
    assert rules(prompt, spec) == found


def test_each_leaning_phrase_is_told_with_its_line() -> None:
    prompt = GOOD.replace("What you did.", "As discussed,\nas discussed, and see #3.")
    assert [finding.line for finding in lint(prompt, PLAIN, previous="other")] == [
        prompt[: prompt.index(phrase)].count("\n") + 1
        for phrase in ("As discussed", "as discussed, and", "see #3")
    ]


@pytest.mark.parametrize(
    ("background", "bare"),
    [
        pytest.param("#12", True, id="a number"),
        pytest.param("https://example.org/o/r/issues/12", True, id="a link"),
        pytest.param("Issue: [#12](https://example.org/12)", True, id="a Markdown link"),
        pytest.param("Background: o/r#12, OPS-7.", True, id="two numbers"),
        pytest.param("For details read https://example.org/12 please", True, id="filler words"),
        pytest.param("The mailer drops mail after one error. Reference: #12", False, id="content"),
        pytest.param(
            "https://example.org/12: the mailer loses mail", False, id="link, then content"
        ),
    ],
)
def test_a_background_that_is_only_a_link(background: str, bare: bool) -> None:  # noqa: FBT001 - a table's column
    content = "The mailer gives up on the first error. It must try three times.\nReference: #12"
    found = rules(GOOD.replace(content, background))
    assert ("background-is-only-a-link" in found) is bare


def test_hidden_characters_are_found_once_with_their_line() -> None:
    prompt = GOOD.replace("What you did.", "What you\u202e did.\n\x1b[8mhidden")
    (finding,) = lint(prompt, PLAIN, previous="other")
    assert finding.rule == "hidden-characters"
    assert finding.line == prompt[: prompt.index("\u202e")].count("\n") + 1


@pytest.mark.parametrize(
    ("changed", "repeats"),
    [
        pytest.param(GOOD, True, id="the same"),
        pytest.param(GOOD.replace("\n\n", "\n \n\n"), True, id="other spacing"),
        pytest.param(GOOD.replace("three tries are made", "3 tries are made"), True, id="a word"),
        pytest.param(
            GOOD.replace("What you did.", "one two three four five six"), False, id="news"
        ),
    ],
)
def test_the_same_prompt_again_needs_new_evidence(changed: str, repeats: bool) -> None:  # noqa: FBT001 - a table's column
    def repeated(*, new_evidence: bool) -> bool:
        findings = lint(changed, PLAIN, previous=GOOD, new_evidence=new_evidence)
        return "repeats-the-last-prompt" in {finding.rule for finding in findings}

    assert repeated(new_evidence=False) is repeats
    assert repeated(new_evidence=True) is False


def test_other_numbers_make_no_other_prompt() -> None:
    before = " ".join(f"attempt {number}" for number in range(50))
    after = " ".join(f"attempt {number}" for number in range(1000, 1050))
    findings = lint(after, PLAIN, previous=before, new_evidence=False)
    assert "repeats-the-last-prompt" in {finding.rule for finding in findings}


@given(
    st.text(max_size=200) | st.text(alphabet="#` ~\nTask-:C1*", max_size=200),
    ANY,
    st.none() | st.text(),
)
@settings(max_examples=50, deadline=None)
def test_any_text_is_linted_without_a_crash(
    text: str, spec: TaskSpec, previous: str | None
) -> None:
    findings = lint(text, spec, previous=previous, new_evidence=False)
    assert findings
    for finding in findings:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", finding.rule)
        assert "\n" not in finding.message
        assert finding.line is None or 1 <= finding.line <= text.count("\n") + 1


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param("as ", id="beginnings of a phrase"),
        pytest.param("see the " + " " * 40, id="white space"),
        pytest.param("not ", id="negations"),
        pytest.param("a.", id="one long word"),
        pytest.param("```\n", id="fences"),
        pytest.param("`", id="backticks"),
        pytest.param("see #1 ", id="findings"),
        pytest.param("## a\n", id="headings"),
        pytest.param("- heavy\n", id="list items"),
        pytest.param("\x1b]", id="escapes"),
    ],
)
def test_time_is_linear(unit: str) -> None:
    """100 kB take well under the limit; with quadratic time they would take minutes."""
    hostile = unit * (100_000 // len(unit))
    prompt = GOOD
    for name in SECTIONS:
        prompt = prompt.replace(f"## {name}\n", f"## {name}\n{hostile[:10_000]}\n")
    spec = PRODUCTION.model_copy(update={"commit": "none"})
    before = time.process_time()
    lint(hostile, spec, previous=hostile[1:], new_evidence=False)
    lint(prompt, spec, previous=prompt[1:], new_evidence=False)
    assert time.process_time() - before < 5


def test_the_headings_are_those_of_the_templates() -> None:
    folder = Path(__file__).parents[2] / "prompts"
    written = {
        line.removeprefix("## ").strip()
        for path in folder.glob("*.md.j2")
        for line in path.read_text().splitlines()
        if line.startswith("## ")
    }
    assert written == set(SECTIONS)
