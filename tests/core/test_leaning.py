import pytest

from agent.core.prompts.linter import leans_on_context, lint
from tests.core.prompt_specs import PLAIN

LEANING = [
    "as discussed",
    "As we discussed",
    "as already discussed",
    "what we talked about",
    "see above",
    "see the above conversation",
    "see earlier chat",
    "see the previous message",
    "see our previous thread",
    "the above conversation",
    "our last discussion",
    "see the issue",
    "see the linked ticket",
    "see this PR",
    "see issue #12",
    "see issue 12",
    "see #12",
    "see https://example.org/o/r/issues/12",
    "per the issue",
    "as per the ticket",
    "per #12",
    "according to the thread",
    "described in the issue",
    "as explained in #12",
    "as mentioned earlier",
    "as I said before",
    "as noted previously",
    "as you know",
    "as you may recall",
    "continue where you left off",
    "pick up from where we left off",
    "carry on where you stopped",
    "same as last time",
    "the same as the last task",
    "like last time",
    "you know what to do",
    "you already have the context",
    "refer to the chat",
    "refer back to the issue",
    "refer to #12",
    "as usual",
    "your previous prompt",
    "AS\n  DISCUSSED",
]


@pytest.mark.parametrize("phrase", LEANING, ids=repr)
def test_a_phrase_that_leans_on_context_is_found(phrase: str) -> None:
    text = f"Fix the retry, {phrase}, and push it."
    assert len(leans_on_context(text)) == 1
    assert leans_on_context(f"(**{phrase}**).")
    assert leans_on_context(f"```text\n{text}\n```\nAll said.") == ()
    findings = lint(f"## Background\n\n{text}\n", PLAIN)
    assert [one.line for one in findings if one.rule == "leans-on-context"] == [3]


@pytest.mark.parametrize(
    "phrase",
    [
        "see the file src/a.py",
        "see the output below",
        "see the discussion below",
        "see the thread pool in src/pool.py",
        "see the issue.md file in docs/",
        "Reference: #12",
        "users see issues with retries",
        "fixes #12",
        "the parser has discussed edge cases",
        "behaves the same as before",
        "the chat service stores each message",
        "the last message of the queue is lost",
        "a worker resumes where it left off after a crash",
        "the issue is a race between two workers",
        "as mentioned in README.md",
        "see https://example.org/spec for the format",
        "overseen #12",
        "100 requests per issue",
        "the usual suspects",
        "an as-usual-named flag",
        "issue #12 asks for three tries instead of one",
    ],
    ids=repr,
)
def test_a_phrase_that_only_looks_like_it_is_left_alone(phrase: str) -> None:
    assert leans_on_context(f"Note: {phrase}, and go on.") == ()


def test_no_phrase_spans_a_fence() -> None:
    assert leans_on_context("as\n```\nx\n```\ndiscussed") == ()


def test_a_phrase_that_comes_again_is_told_once() -> None:
    assert leans_on_context("as usual, as usual, As usual") == ("as usual", "As usual")
