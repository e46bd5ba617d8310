import os
import re
import resource
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from filelock import FileLock

from agent.adapters.issues import local
from agent.adapters.issues.local import LocalIssues
from agent.errors import UnusableStoreError
from agent.ports import Issue, Issues
from tests.adapters.issues_contract import IssuesContract

OPENER = """
import sys
from pathlib import Path
from agent.adapters.issues.local import LocalIssues

issues = LocalIssues(Path(sys.argv[1]))
print("up", flush=True)
sys.stdin.readline()
for n in range(4):
    print(issues.open(f"defect {n}", f"Defect {n}", "seen").id)
    issues.comment(f"{n + 1:04d}", "again", key="same")
    issues.comment(f"{n + 1:04d}", "mine", key=sys.argv[2])
"""

COMMENTER = """
import sys
from pathlib import Path
from agent.adapters.issues.local import LocalIssues

issues = LocalIssues(Path(sys.argv[1]))
for n in range(100_000):
    issues.comment("0001", "x" * 5_000, key=str(n))
    print(n, flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "issues"


@pytest.fixture
def issues(folder):
    checked: Issues = LocalIssues(folder)
    return checked


def text(issue):
    return Path(issue.where).read_text(encoding="utf-8")


def test_an_issue_is_a_readable_file(issues, folder):
    made = issues.open("missing tool: gh", "The tool `gh` is missing", "gh: command not found\n")
    assert made == Issue(id="0001", where=str(folder / "0001-the-tool-gh-is-missing.md"))
    assert text(made) == (
        f"<!-- wavekeeper-issue {sha256(b'missing tool: gh').hexdigest()} -->\n"
        "\n"
        "# The tool \\`gh\\` is missing\n"
        "\n"
        "Status: open\n"
        "\n"
        "```text\n"
        "gh: command not found\n"
        "```\n"
    )
    assert list(folder.glob("[!.]*")) == [Path(made.where)]


class TestContract(IssuesContract):
    @pytest.fixture
    def issues(self, issues):
        return issues

    @pytest.fixture
    def again(self, folder):
        return LocalIssues(folder)

    @pytest.fixture
    def shown(self):
        def look(issue):
            words = text(issue)
            return re.search("^Status: (.*)$", words, re.MULTILINE)[1], words

        return look


def test_what_was_recorded_first_is_kept(issues):
    first = issues.open("one", "Disk full", "a")
    other = issues.open("two", "Disk full", "b")
    assert other.id == "0002"
    assert issues.open("one", "Another title", "another body") == first
    assert "another body" not in text(first)


def test_looking_makes_no_folder(issues, folder):
    assert issues.find("one") is None
    assert not folder.exists()


def test_a_comment_is_there_once_per_key(issues):
    made = issues.open("one", "Disk full", "first")
    for key in ("k1", "k2", "k1", "k2"):
        issues.comment(made.id, f"said by {key}", key=key)
    shown = text(made)
    assert [shown.count(f"said by {key}") for key in ("k1", "k2")] == [1, 1]
    assert shown.index("first") < shown.index("k1") < shown.index("k2")
    assert shown.count("\n\n---\n\n```text\n") == 2
    assert issues.find("one") == made


def test_closing_sets_the_status_and_says_why_once(issues):
    made = issues.open("one", "Disk full", "Status: open")
    for _ in range(2):
        issues.close(made.id, "fixed by task f", key="c")
    shown = text(made)
    assert "\nStatus: closed\n\n```text\nStatus: open\n```\n" in shown
    assert shown.count("fixed by task f") == 1
    assert issues.find("one") == made
    assert issues.open("one", "Disk full", "again") == made


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda old: old + b"\nA note by hand: caf\xe9\n", id="a note in Latin-1"),
        pytest.param(lambda old: old.replace(b"\n", b"\r\n"), id="Windows newlines"),
        pytest.param(lambda old: old.replace(b"Status: open\n", b""), id="no status"),
    ],
)
def test_what_people_write_is_kept(issues, edit):
    made = issues.open("one", "Disk full", "Status: of the disk")
    issues.comment(made.id, "before", key="k")
    path = Path(made.where)
    edited = edit(path.read_bytes())
    path.write_bytes(edited)
    assert issues.find("one") == made
    issues.comment(made.id, "before", key="k")
    assert path.read_bytes() == edited
    issues.close(made.id, "fixed", key="c")
    after = path.read_bytes()
    kept = [line for line in edited.split(b"\n") if not line.startswith(b"Status: open")]
    assert [line for line in kept if line not in after.split(b"\n")] == []
    assert after.count(b"Status: closed") == 1
    assert b"Status: of the disk" in after
    assert issues.find("one") == made


def test_a_renamed_file_is_still_the_issue(issues, folder):
    made = issues.open("one", "Disk full", "body")
    moved = Path(made.where).rename(folder / "0001-renamed.md")
    assert issues.find("one") == Issue(id="0001", where=str(moved))
    (folder / "notes.md").write_text("not an issue")
    (folder / "0017-mine.md").write_text("written by hand, without a hidden line")
    assert issues.open("two", "Other", "body").id == "0018"


@pytest.mark.parametrize(
    ("line", "is_open"),
    [
        pytest.param("Status: open", True, id="open"),
        pytest.param("Status: closed", False, id="closed"),
        pytest.param("Status: Closed ", False, id="as people write it"),
        pytest.param("Status: half done", None, id="another word"),
        pytest.param("Done: yes", None, id="no status"),
    ],
)
def test_what_its_status_line_says(issues, line, is_open):
    issue = issues.open("f", "title", "Status: closed")
    path = Path(issue.where)
    path.write_text(path.read_text().replace("Status: open", line), encoding="utf-8")
    assert issues.is_open(issue.id) is is_open


def test_an_issue_that_cannot_be_seen_is_neither_open_nor_closed(issues, folder):
    assert issues.is_open("0001") is None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0001-a.md").mkdir()
    assert issues.is_open("0001") is None


@pytest.mark.parametrize(
    ("title", "name", "heading"),
    [
        pytest.param("", "issue", "A defect without a title", id="empty"),
        pytest.param("../../etc/passwd", "etc-passwd", "../../etc/passwd", id="a path"),
        pytest.param("a\nStatus: closed", "a-status-closed", "a Status: closed", id="two lines"),
        pytest.param("<!-- x --> <b>", "x-b", "\\<!-- x --\\> \\<b\\>", id="markup"),
        pytest.param("\x1b]0;own\x07it\u202e", "it-u-202e", "␛it\\<U+202E\\>", id="escapes"),
        pytest.param("ÄÖ", "issue", "ÄÖ", id="no letter for a file name"),
        pytest.param("x" * 900, "x" * 40, "x" * 200, id="long"),
    ],
)
def test_a_title_of_unknown_origin(issues, folder, title, name, heading):
    made = issues.open("one", title, "body")
    expected = "a-defect-without-a-title" if not title else name
    assert made.where == str(folder / f"0001-{expected}.md")
    assert text(made).splitlines()[2] == f"# {heading}"
    assert text(made).count("Status: open") == 1


FORGED = f"<!-- wavekeeper-comment {sha256(b'k').hexdigest()} -->"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        pytest.param("```\n# out\n```", "````text\n```\n# out\n```\n````", id="a fence"),
        pytest.param("a\x1b[2Jb\x00\ud800", "```text\na␛b<U+0000><U+D800>\n```", id="control"),
        pytest.param(FORGED, f"```text\n{FORGED}\n```", id="a hidden line of ours"),
    ],
)
def test_a_body_of_unknown_origin_stays_in_its_fence(issues, body, shown):
    made = issues.open("one", "Title", body)
    assert text(made).endswith(f"\n\n{shown}\n")
    issues.comment(made.id, body, key="k")
    assert text(made).endswith(f"\n\n---\n\n{shown}\n")
    assert text(made).count(shown) == 2


def test_an_unknown_issue(issues, folder):
    with pytest.raises(UnusableStoreError) as caught:
        issues.comment("../x\n", "body", key="k")
    assert str(caught.value) == (
        f"{folder}: there is no issue '../x\\n': put its file back, or record it again"
    )


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "issues").write_text("a file")
    with pytest.raises(UnusableStoreError, match="check the rights") as caught:
        LocalIssues(tmp_path / "issues").open("one", "Title", "body")
    assert len(str(caught.value).splitlines()) == 1


def test_a_comment_that_cannot_be_written_leaves_the_issue_as_it_was(issues):
    made = issues.open("one", "Disk full", "body")
    before = text(made)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))
    try:
        with pytest.raises(UnusableStoreError, match="check the rights of the folder and the disk"):
            issues.comment(made.id, "x" * 9_000, key="k")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert text(made) == before
    issues.comment(made.id, "said", key="k")
    assert "said" in text(made)


def test_processes_agree_on_one_issue(folder):
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(folder), f"k{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "up\n"
    ids = "".join(f"{number:04d}\n" for number in range(1, 5))
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
        opener.stdin.flush()
    for opener in openers:
        assert opener.communicate(timeout=60)[0] == ids
    files = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert files == sorted(f"{number + 1:04d}-defect-{number}.md" for number in range(4))
    for name in files:
        shown = (folder / name).read_text()
        assert (shown.count("again"), shown.count("mine")) == (1, 3)


def test_a_killed_writer_leaves_a_whole_issue(issues, folder):
    made = issues.open("one", "Disk full", "body")
    with subprocess.Popen(
        [sys.executable, "-c", COMMENTER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    ) as commenter:
        assert commenter.stdout is not None
        for _ in range(10):
            commenter.stdout.readline()
        os.kill(commenter.pid, signal.SIGKILL)
    shown = text(made)
    count = shown.count("<!-- wavekeeper-comment ")
    assert count >= 10
    assert shown.count("x" * 5_000) == count
    assert shown.endswith("\n```\n")
    issues.close(made.id, "fixed", key="c")
    assert "Status: closed" in text(made)


def test_who_keeps_the_folder_locked_is_waited_for_and_not_for_ever(issues, folder, monkeypatch):
    monkeypatch.setattr(local, "_PATIENCE", 0.1)
    with (
        FileLock(folder / ".lock"),
        pytest.raises(UnusableStoreError, match="another process kept it locked"),
    ):
        issues.open("a", "A", "seen")
    assert issues.open("a", "A", "seen").id == "0001"
