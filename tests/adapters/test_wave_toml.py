import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.adapters.files.wave import WaveFile, read_wave
from agent.adapters.model.templates import TemplateDrafter
from agent.core.model.nouns import Command, ProofKind, TaskKind
from agent.core.prompts.linter import DraftRequest, lint
from agent.errors import WaveFileError

ROOT = Path(__file__).parents[2]
WAVES = ROOT / "tests" / "acceptance" / "waves"

GOOD = """\
[wave]
id = "w1"
goal = "All is well."

[[task]]
id = "T-1"
queue = "main"
kind = "code-change"
title = "Do it"
ownership = "service a"
background = "It is not done yet, and it must be."
write_scope = ["a/**"]
validation_scope = "Run the tests of a."
forbidden = ["touching b"]
acceptance_commands = ["make check"]
depends_on = []

[[task.criteria]]
id = "C1"
text = "the checks pass"
proof = "checks-passed"

[[task]]
id = "T-2"
queue = "main"
kind = "code-change"
title = "Do the other"
ownership = "service b"
background = "It is not done yet, and it must be."
write_scope = ["b/**"]
validation_scope = "Run the tests of b."
forbidden = ["touching a"]
depends_on = ["T-1"]

[[task.criteria]]
id = "C1"
text = "the commit is pushed"
proof = "commit-pushed"
"""


def line_of(text: str) -> int:
    """The line in which `text` stands first in GOOD."""
    return GOOD[: GOOD.index(text)].count("\n") + 1


REFUSED = [
    pytest.param(
        'background = "It is',
        'backgroud = "It is',
        "unknown key 'backgroud'; did you mean 'background'?",
        id="unknown key",
    ),
    pytest.param(
        'write_scope = ["a/**"]',
        'writeScope = ["a/**"]',
        "unknown key 'writeScope'; did you mean 'write_scope'?",
        id="camelCase key",
    ),
    pytest.param('title = "Do it"', "title = 3", "'title' must be text", id="number for text"),
    pytest.param('title = "Do it"', 'title = "  "', "must not be empty", id="blank text"),
    pytest.param('title = "Do it"', 'title = "a\\u0007"', "U+0007", id="control character"),
    pytest.param(
        'write_scope = ["a/**"]', 'write_scope = "a/**"', "must be a list", id="text for list"
    ),
    pytest.param(
        'write_scope = ["a/**"]', "write_scope = []", "must not be empty", id="empty scope"
    ),
    pytest.param(
        'write_scope = ["a/**"]', 'write_scope = ["a/"]', "write 'a/**'", id="a folder as scope"
    ),
    pytest.param(
        'write_scope = ["a/**"]', 'write_scope = ["/a/**"]', "relative", id="absolute scope"
    ),
    pytest.param('id = "T-1"', 'id = "-rf"', "is no id", id="an id like an option"),
    pytest.param('id = "T-1"', 'id = "T..1"', "is no id", id="an id no branch can bear"),
    pytest.param('id = "T-1"', 'id = "T-1.lock"', "is no id", id="an id like a lock"),
    pytest.param(
        'kind = "code-change"',
        'kind = "code-chnge"',
        "did you mean 'code-change'?",
        id="unknown kind",
    ),
    pytest.param(
        'proof = "checks-passed"',
        'proof = "check-passed"',
        "did you mean 'checks-passed'?",
        id="unknown proof",
    ),
    pytest.param(
        "depends_on = []", 'commit = "maybe"', "not one of required, none", id="unknown commit"
    ),
    pytest.param("depends_on = []", "attempts = 0", "at least 1", id="no attempt"),
    pytest.param("depends_on = []", "attempts = 99", "at most 10", id="too many attempts"),
    pytest.param(
        "depends_on = []", "attempts = true", "a whole number, not true", id="a flag for a number"
    ),
    pytest.param(
        "depends_on = []", "production_adjacent = 1", "true or false", id="a number for a flag"
    ),
    pytest.param("depends_on = []", 'branch = "a..b"', "no branch name", id="a bad branch"),
    pytest.param("depends_on = []", 'branch = "a/.b"', "no branch name", id="a hidden branch"),
    pytest.param(
        "depends_on = []", 'depends_on = ["T-3"]', "no task 'T-3'", id="unknown dependency"
    ),
    pytest.param("depends_on = []", 'depends_on = ["T-1"]', "circle", id="depends on itself"),
    pytest.param("depends_on = []", 'depends_on = ["T-2"]', "T-1 -> T-2", id="circle"),
    pytest.param(
        'acceptance_commands = ["make check"]', "", "add acceptance_commands", id="no command"
    ),
    pytest.param('["make check"]', '["make && rm"]', "needs a shell for '&&'", id="shell word"),
    pytest.param('["make check"]', '["A=1 make"]', "needs a shell for 'A=1'", id="assignment"),
    pytest.param('["make check"]', '["make \'x"]', "close the quote", id="open quote"),
    pytest.param('["make check"]', '[""]', "an empty command", id="empty command"),
    pytest.param('["make check"]', "[[]]", "must not be empty", id="no arguments"),
    pytest.param('["make check"]', '[["", "x"]]', "names no program", id="blank program"),
    pytest.param('["make check"]', '[["a\\u0000"]]', "NUL", id="NUL in an argument"),
    pytest.param('["make check"]', "[3]", "must be a table", id="a number as command"),
    pytest.param('["make check"]', "[[1]]", "must be text", id="a number as argument"),
    pytest.param(
        '["make check"]',
        '[{argv = ["make"], timeout = 5}]',
        '5 is not a duration; write text like "90s", "10m" or "2h"',
        id="timeout without a unit",
    ),
    pytest.param(
        '["make check"]',
        '[{argv = ["make"], timeuot = "5s"}]',
        "did you mean 'timeout'?",
        id="unknown key of a command",
    ),
    pytest.param(
        'goal = "All', 'gaol = "All', "did you mean 'goal'?", id="unknown key of the wave"
    ),
    pytest.param('id = "T-2"', 'id = "T-1"', "'T-1' is there twice", id="duplicate task"),
    pytest.param(
        'id = "T-2"',
        'id = "T-2"\nbranch = "wavekeeper/T-1"',
        "belongs to task T-1; give it a branch of its own",
        id="two tasks on one branch",
    ),
    pytest.param('id = "w1"', 'id = "w1"\nid = "w2"', "a value already", id="duplicate key"),
    pytest.param('id = "w1"', "id = w1", "not valid TOML", id="no TOML"),
]


def wave(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "wave.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(WaveFileError) as caught:
        read_wave(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize(("old", "new", "says"), REFUSED)
def test_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    message = refusal(wave(tmp_path, GOOD.replace(old, new, 1)))
    found = re.match(r":(\d+): ", message)
    assert found, message
    assert says in message
    wanted = line_of(old) + new.count("\n")
    if says == "add acceptance_commands":
        wanted = line_of("proof =")
    if says.endswith("is there twice"):
        wanted = line_of('id = "T-2"')
    assert int(found[1]) == wanted, message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", ":1: 'wave' is missing", id="empty file"),
        pytest.param('[wave]\nid="w"\ngoal="g"\n', ":1: the wave is empty", id="no task"),
        pytest.param(
            '[wave]\nid="w"\ngoal="g"\n[[tasks]]\n', "did you mean 'task'?", id="[[tasks]]"
        ),
        pytest.param('[wave]\nid="w"\ngoal="g"\n[task]\n', ":4: 'task' is a list", id="[task]"),
        pytest.param(
            GOOD.replace('title = "Do it"\n', ""), ":5: 'title' is missing", id="no title"
        ),
        pytest.param(
            GOOD.replace('forbidden = ["touching b"]\n', ""), ":5: 'forbidden'", id="no prohibition"
        ),
        pytest.param(GOOD + 'x = """', "not valid TOML", id="an open string"),
        pytest.param("a = " + "[" * 5000, ":1: nested too deeply", id="a deep list"),
        pytest.param("a = " + "9" * 5000, ":1: not valid TOML", id="a huge number"),
        pytest.param(
            GOOD + '\n[[task.criteria]]\nid = "C1"\ntext = "x"\nproof = "judgement"\n',
            "the criterion 'C1' is there twice",
            id="duplicate criterion",
        ),
        pytest.param(
            GOOD.replace('depends_on = ["T-1"]', 'commit = "none"'),
            "commit-pushed can not be proven with commit = 'none'",
            id="no push and a proof of one",
        ),
        pytest.param(b"[wave]\n# \xff\n", ":2: not UTF-8", id="not UTF-8"),
        pytest.param("[wave]\n".encode("utf-16"), ":1: not UTF-8", id="UTF-16"),
    ],
)
def test_refused_as_a_whole(tmp_path: Path, text: str | bytes, says: str) -> None:
    assert says in refusal(wave(tmp_path, text))


def test_a_missing_file_and_a_folder_take_one_line(tmp_path: Path) -> None:
    assert "no such file; give the path" in refusal(tmp_path / "absent.toml")
    assert "directory; give the path" in refusal(tmp_path).lower()


def test_a_path_no_file_can_have_takes_one_line() -> None:
    with pytest.raises(WaveFileError, match="null byte"):
        read_wave(Path("a\0b"))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(GOOD.encode(), id="plain"),
        pytest.param(GOOD.replace("\n", "\r\n").encode(), id="Windows newlines"),
        pytest.param(b"\xef\xbb\xbf" + GOOD.encode(), id="byte order mark"),
    ],
)
def test_reads_what_editors_write(tmp_path: Path, raw: bytes) -> None:
    read = read_wave(wave(tmp_path, raw))
    assert read == read_wave(wave(tmp_path, GOOD))
    assert [task.id for task in read.tasks] == ["T-1", "T-2"]
    assert read.lines == {"T-1": 5, "T-2": 23}


def test_windows_newlines_keep_the_line_of_a_fault(tmp_path: Path) -> None:
    text = GOOD.replace("title", "tilte", 1).replace("\n", "\r\n")
    assert f":{line_of('title')}: unknown key 'tilte'" in refusal(wave(tmp_path, text))


def test_the_full_example() -> None:
    read = read_wave(WAVES / "checkout.toml")
    api, receipt, rollout, guide = read.tasks
    assert (read.id, read.grants.production_repair) == ("w7", False)
    assert read.grants.established_deploy_path is None
    assert api.branch == "wavekeeper/voucher-api"
    assert api.acceptance_commands == (
        Command(argv=("python", "-m", "pytest", "-q", "services/orders")),
        Command(argv=("make", "lint"), timeout=90),
    )
    assert [criterion.proof for criterion in api.criteria] == [
        ProofKind.COMMIT_PUSHED,
        ProofKind.SCOPE_RESPECTED,
        ProofKind.CHECKS_PASSED,
    ]
    assert api.background.startswith("POST /orders")
    assert api.background.endswith("#12")
    assert receipt.depends_on == ("voucher-api",)
    assert (rollout.kind, rollout.attempts) == (TaskKind.ARTIFACT_DELIVERY, 2)
    assert rollout.branch == "release/orders"
    assert (guide.queue, guide.commit) == ("docs", "none")


def test_prohibitions_of_the_wave_are_added_to_the_tasks_own() -> None:
    rollout = read_wave(WAVES / "checkout.toml").tasks[2]
    assert rollout.forbidden == (
        "building an image by hand",
        "running the full test suite or any heavy check on the master host",
        "changing another service",
    )


@pytest.mark.parametrize("name", ["minimal.toml", "checkout.toml"])
def test_prompts_of_the_examples_stand_on_their_own(name: str) -> None:
    read = read_wave(WAVES / name)
    drafter = TemplateDrafter(ROOT / "prompts")
    for spec in read.tasks:
        request = DraftRequest(kind="initial", spec=spec, goal=read.goal, attempt=1)
        assert lint(drafter.draft(request), spec) == ()


@given(st.data())
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path, data: st.DataObject) -> None:
    """Lines dropped, doubled and swapped: never a traceback, always a line of the file."""
    lines = GOOD.splitlines(keepends=True)
    changed: list[Any] = []
    for line in lines:
        changed += [line] * data.draw(st.sampled_from([1, 1, 1, 1, 1, 1, 1, 1, 0, 2]))
    path = wave(tmp_path, "".join(changed))
    try:
        assert isinstance(read_wave(path), WaveFile)
    except WaveFileError as error:
        found = re.fullmatch(rf"{re.escape(str(path))}:(\d+): [^\n]+", str(error))
        assert found, error  # noqa: PT017 - reading it is as good as refusing it
        assert 1 <= int(found[1]) <= max(1, len(changed))
