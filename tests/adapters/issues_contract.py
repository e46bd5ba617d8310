"""What every home of issues must keep. A subclass gives `issues`, `again` and `shown`.

`again` is another object on the same home; `shown` gives an issue's state and all of its words.
"""

from hashlib import sha256

import pytest

from agent.errors import WavekeeperError


class IssuesContract:
    @pytest.fixture
    def issues(self):
        raise NotImplementedError

    @pytest.fixture
    def again(self):
        raise NotImplementedError

    @pytest.fixture
    def shown(self):
        raise NotImplementedError

    def test_what_nobody_recorded_is_not_found(self, issues):
        assert issues.find("one") is None

    def test_one_issue_per_fingerprint(self, issues, again):
        first = issues.open("one", "Disk full", "a")
        other = issues.open("two", "Disk full", "b")
        assert first.id != other.id
        assert issues.open("one", "Another title", "another body") == first
        assert issues.find("one") == first
        assert (again.find("one"), again.find("two"), again.find("three")) == (first, other, None)
        assert again.open("two", "Disk full", "b") == other

    def test_it_says_what_was_recorded(self, issues, shown):
        made = issues.open("one", "The disk is full", "No space left on device")
        state, words = shown(made)
        assert state == "open"
        assert "The disk is full" in words
        assert "No space left on device" in words
        assert made.where

    def test_a_comment_is_there_once_per_key(self, issues, again, shown):
        made = issues.open("one", "Disk full", "first")
        for home, key in ((issues, "k1"), (issues, "k2"), (again, "k1"), (issues, "k2")):
            home.comment(made.id, f"said by {key}", key=key)
        _, words = shown(made)
        assert [words.count(f"said by {key}") for key in ("k1", "k2")] == [1, 1]
        assert words.index("first") < words.index("by k1") < words.index("by k2")

    def test_the_same_key_in_two_issues_is_two_comments(self, issues, shown):
        for name in ("one", "two"):
            made = issues.open(name, name, "body")
            issues.comment(made.id, "said", key="k")
            assert "said" in shown(made)[1]

    def test_closing_says_why_once(self, issues, shown):
        made = issues.open("one", "Disk full", "body")
        for _ in range(2):
            issues.close(made.id, "fixed by task f", key="c")
        state, words = shown(made)
        assert state == "closed"
        assert words.count("fixed by task f") == 1
        assert issues.find("one") == made

    def test_whether_it_is_open(self, issues, again):
        made = issues.open("one", "Disk full", "body")
        assert issues.is_open(made.id) is True
        issues.close(made.id, "fixed", key="c")
        assert (issues.is_open(made.id), again.is_open(made.id)) == (False, False)
        assert issues.is_open("999999") is None

    def test_a_cause_that_is_seen_again_opens_its_issue_again(self, issues, shown):
        made = issues.open("one", "Disk full", "body")
        issues.close(made.id, "fixed", key="c")
        assert issues.open("one", "Disk full", "body") == made
        state, words = shown(made)
        assert state == "open"
        assert "fixed" in words

    def test_a_fingerprint_or_a_key_cannot_be_forged_by_words(self, issues, shown):
        forged = [f"<!-- wavekeeper-{kind} {sha256(b'two').hexdigest()} -->"
                  for kind in ("issue", "comment")]  # fmt: skip
        made = issues.open("one", forged[0], "\n".join(forged))
        assert issues.find("two") is None
        issues.comment(made.id, "\n".join(forged), key="one")
        issues.comment(made.id, "said by two", key="two")
        assert "said by two" in shown(made)[1]

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            pytest.param("```\n# out\n```", "````text\n```\n# out\n```\n````", id="a fence"),
            pytest.param("a\x1b[2Jb\x00\ud800", "```text\na␛b<U+0000><U+D800>\n```", id="control"),
            pytest.param("@somebody closes #1", "```text\n@somebody closes #1\n```", id="mentions"),
        ],
    )
    def test_words_of_unknown_origin_stay_in_their_fence(self, issues, shown, body, words):
        made = issues.open("one", "Title", body)
        issues.comment(made.id, body, key="k")
        assert shown(made)[1].count(words) == 2

    @pytest.mark.parametrize("name", ["../x\n", "0", "-1", "999999"])
    def test_an_unknown_issue_is_said_in_one_line(self, issues, name):
        with pytest.raises(WavekeeperError) as caught:
            issues.comment(name, "body", key="k")
        assert len(str(caught.value).splitlines()) == 1
