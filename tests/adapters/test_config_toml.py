import re
from pathlib import Path

import pytest

from agent.adapters.files.config import SAMPLE, Settings, find_settings, read_settings
from agent.core.model.queueing import QueueSpec
from agent.errors import ConfigurationError

FULL = """\
repository = "code"
remote = "git@example.org:a/b.git"
state = "/var/lib/wavekeeper"
policies = "ops/policies"

[supervisor]
interval = "90s"
mode = "auto"
host = "worker"

[[queue]]
id = "main"

[[queue]]
id = "docs"
kind = "documentation"
risk = "low"
max_running = 1

[model]
reviewer = "anthropic"
base_url = "https://gateway.example.org/anthropic"
key_variable = "REVIEW_KEY"
tokens_per_wave = 1000

[worker]
command = ["my-agent", "--flag", ""]
prompt = "file"
output = "jsonl"
workspace = "../trees"
slots = 4
lease = "3m"
heartbeat = "60s"
grace = "1.5s"
time_limit = "1h"
path = ["tools", "/opt/bin"]
queues = ["docs"]
variables = ["SSH_AUTH_SOCK"]
isolation = "bubblewrap"
readable = ["seen"]
writable = ["/srv/cache"]

[worker.environment]
TERM = "dumb"

[judge]
heavy = false
slots = 3
lease = "4m"
heartbeat = "30s"
pause = "20s"
lfs = true
submodules = true
network = true

[approvals]
scripted = true
"""

REFUSED = [
    pytest.param(
        'reviewer = "anthropic"',
        'reviewer = "claude"',
        "not one of none, anthropic",
        id="unknown reviewer",
    ),
    pytest.param('"https://gateway', '"http://gateway', "starts with https://", id="no TLS"),
    pytest.param('"https://gateway', '"https://me:key@gateway', "names no user", id="a key in it"),
    pytest.param('"REVIEW_KEY"', '"sk-ant-123"', "no name of an environment", id="the key itself"),
    pytest.param('"SSH_AUTH_SOCK"', '"REVIEW_KEY"', "a key of the supervisor", id="its own key"),
    pytest.param('"bubblewrap"', '"user"', "so name users of this machine", id="another user"),
    pytest.param(
        '"bubblewrap"', '"docker"', "not one of bubblewrap, user, none", id="no isolation"
    ),
    pytest.param('["/srv/cache"]', '["/"]', "is not for agents", id="the whole machine"),
    pytest.param('["seen"]', '["/var/lib/wavekeeper/x"]', "is not for agents", id="state"),
    pytest.param('remote = "git', 'remtoe = "git', "did you mean 'remote'?", id="unknown key"),
    pytest.param('interval = "', 'intervall = "', "did you mean 'interval'?", id="in a table"),
    pytest.param('id = "docs"', 'ID = "docs"', "did you mean 'id'?", id="in a list of tables"),
    pytest.param('"90s"', "90", '90 is not a duration; write text like "90s"', id="a bare number"),
    pytest.param('"90s"', '"90 sec"', "'90 sec' is not a duration", id="an unknown unit"),
    pytest.param('"90s"', '"0s"', "above zero", id="no time at all"),
    pytest.param('"90s"', '"-1s"', "is not a duration", id="less than no time"),
    pytest.param('mode = "auto"', 'mode = "automatic"', "did you mean 'auto'?", id="unknown mode"),
    pytest.param('host = "worker"', 'host = "w"', "not one of master, worker", id="unknown host"),
    pytest.param('prompt = "file"', 'prompt = "arg"', "not one of stdin, file", id="prompt"),
    pytest.param('output = "jsonl"', 'output = "json"', "did you mean 'jsonl'?", id="output"),
    pytest.param('kind = "documentation"', 'kind = "docs"', "not one of", id="queue kind"),
    pytest.param('risk = "low"', "risk = 1", "not one of low", id="queue risk"),
    pytest.param("max_running = 1", "max_running = 0", "at least 1", id="no lane"),
    pytest.param('id = "docs"', 'id = "main"', "'main' is there twice", id="duplicate queue"),
    pytest.param('id = "docs"', 'id = ""', "must not be empty", id="a queue without a name"),
    pytest.param(
        'command = ["my-agent", "--flag", ""]',
        'command = "my-agent --flag x"',
        'must be a list of arguments; write ["my-agent", "--flag", "x"]',
        id="command as a line",
    ),
    pytest.param(
        'command = ["my-agent", "--flag", ""]',
        'command = "it\'s"',
        'write ["my-agent", "--flag"]',
        id="command with an open quote",
    ),
    pytest.param(
        'command = ["my-agent", "--flag", ""]', "command = []", "not be empty", id="no command"
    ),
    pytest.param('"--flag", ""', "3", "must be text", id="a number as argument"),
    pytest.param('"--flag", ""', '"\\u0000"', "NUL", id="NUL in an argument"),
    pytest.param("slots = 4", "slots = 0", "at least 1", id="no slot"),
    pytest.param("slots = 4", 'slots = "4"', "a whole number, not '4'", id="text for a number"),
    pytest.param('"3m"', '"2m"', "at least 3 heartbeats (60s each)", id="a lease too short"),
    pytest.param('"4m"', '"1m"', "at least 3 heartbeats (30s each)", id="a judge's lease"),
    pytest.param('"20s"', '"soon"', "'soon'", id="no pause"),
    pytest.param('["docs"]', '["doc"]', "no queue 'doc'; did you mean 'docs'?", id="queues"),
    pytest.param('["docs"]', '["zzzz"]', "there are main, docs", id="queues, nothing like it"),
    pytest.param('TERM = "dumb"', "TERM = 1", "must be text", id="a number in the environment"),
    pytest.param('TERM = "dumb"', '"A=B" = "x"', "'A=B' is no name", id="a bad variable"),
    pytest.param('"/opt/bin"]', '"~/bin"]', "write the full path", id="a home folder"),
    pytest.param('"/opt/bin"]', '""]', "must name a folder", id="an empty path"),
    pytest.param('"code"', "1", "'repository'", id="a number as path"),
    pytest.param('"git@example.org:a/b.git"', '"--upload-pack=x"', "option", id="an option"),
    pytest.param('remote = "git', "remote = git", "not valid TOML", id="no TOML"),
    pytest.param('host = "worker"', 'host = "worker"\nhost = "worker"', "already", id="twice"),
]


def settings_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "wavekeeper.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


USERS = """\
state = "state"
[judge]
slots = 1
[worker]
command = ["my-agent"]
slots = 1
workspace = "../trees"
isolation = "user"
agent_users = ["agent1", 61001]
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param('"user"', '"none"', "only for isolation", id="users and no isolation"),
        pytest.param('["agent1", 61001]', "[]", "so name users of this machine", id="no users"),
        pytest.param('["agent1", 61001]', '["agent1"]', "names 1, and 1 agents", id="too few"),
        pytest.param('["agent1", 61001]', "[1.5]", "is no user: write a name", id="half a user"),
        pytest.param('"../trees"', '"state/trees"', "may reach the state", id="in the state"),
        pytest.param("slots = 1\nw", 'readable = ["/x"]\nw', "only for bubblewrap", id="readable"),
        pytest.param("slots = 1\nw", 'writable = ["/x"]\nw', "only for bubblewrap", id="writable"),
    ],
)
def test_other_users_are_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    own = read_settings(settings_file(tmp_path, USERS)).worker
    assert (own.isolation, own.agent_users) == ("user", ("agent1", 61001))
    assert USERS.count(old) == 1
    message = refusal(settings_file(tmp_path, USERS.replace(old, new)))
    assert re.match(r":\d+: ", message), message
    assert says in message


@pytest.mark.parametrize(("old", "new", "says"), REFUSED)
def test_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert FULL.count(old) == 1
    message = refusal(settings_file(tmp_path, FULL.replace(old, new)))
    found = re.match(r":(\d+): ", message)
    assert found, message
    assert says in message
    assert int(found[1]) == FULL[: FULL.index(old)].count("\n") + 1 + new.count("\n"), message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "[queue]\nid = 'a'\n", ":1: 'queue' is a list of tables; write [[queue]]", id="[queue]"
        ),
        pytest.param("queue = []\n", ":1: 'queue' must not be empty", id="no queue"),
        pytest.param("worker = 3\n", ":1: 'worker' must be a table, not 3", id="no table"),
        pytest.param(
            "[worker]\nheartbeat = '1m'\n",
            ":1: lease (90s) must be",
            id="a beat too slow for the default",
        ),
        pytest.param(
            "[issues]\nhome = 'github'\nrepository = 'a/b'\n"
            "[[agents]]\nname = 'a'\nkind = 'command'\ncommand = ['a']\n"
            "variables = ['HOME', 'GITHUB_TOKEN']\n",
            ":8: GITHUB_TOKEN holds a key of the supervisor",
            id="the tracker's token for an agent",
        ),
        pytest.param(b"# \xe4\n", ":1: not UTF-8", id="latin-1"),
    ],
)
def test_refused_as_a_whole(tmp_path: Path, text: str | bytes, says: str) -> None:
    assert refusal(settings_file(tmp_path, text)).startswith(says)


def test_a_missing_file_and_a_folder_take_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.toml").endswith("no such file; run `wavekeeper init`")
    assert "directory; give the path" in refusal(tmp_path).lower()


def test_everything_that_can_be_set(tmp_path: Path) -> None:
    read = read_settings(settings_file(tmp_path, FULL))
    assert read.repository == tmp_path / "code"
    assert read.remote == "git@example.org:a/b.git"
    assert read.state == Path("/var/lib/wavekeeper")
    assert read.policies == tmp_path / "ops/policies"
    assert (read.supervisor.interval, read.supervisor.mode, read.supervisor.host) == (
        90.0,
        "auto",
        "worker",
    )
    assert read.queues == (
        QueueSpec(id="main"),
        QueueSpec(id="docs", kind="documentation", risk="low", max_running=1),
    )
    worker = read.worker
    assert worker.command == ("my-agent", "--flag", "")
    assert (worker.prompt, worker.output, worker.slots) == ("file", "jsonl", 4)
    assert worker.workspace == tmp_path / ".." / "trees"
    assert (worker.lease, worker.heartbeat, worker.grace, worker.time_limit) == (180, 60, 1.5, 3600)
    assert worker.environment == {"TERM": "dumb"}
    assert worker.path == (tmp_path / "tools", Path("/opt/bin"))
    assert worker.queues == ("docs",)
    judge = read.judge
    assert (judge.slots, judge.lease, judge.heartbeat, judge.pause) == (3, 240, 30, 20)
    assert (judge.lfs, judge.submodules, read.judges_heavy) == (True, True, False)
    assert (worker.isolation, worker.variables) == ("bubblewrap", ("SSH_AUTH_SOCK",))
    assert (worker.readable, worker.writable) == ((tmp_path / "seen",), (Path("/srv/cache"),))
    assert (read.judge.network, read.approvals.scripted) == (True, True)


@pytest.mark.parametrize(
    ("text", "heavy"),
    [
        pytest.param("", False, id="the-master"),
        pytest.param("[supervisor]\nhost = 'worker'\n", True, id="not-the-master"),
        pytest.param("[judge]\nheavy = true\n", True, id="a-persons-word"),
    ],
)
def test_heavy_commands_stay_off_the_master(tmp_path: Path, text: str, *, heavy: bool) -> None:
    assert read_settings(settings_file(tmp_path, text)).judges_heavy == heavy


def test_a_link_to_the_state_is_not_for_agents_either(tmp_path: Path) -> None:
    (tmp_path / ".wavekeeper").mkdir()
    (tmp_path / "seen").symlink_to(".wavekeeper")
    text = 'state = ".wavekeeper"\n\n[worker]\nreadable = ["seen"]\n'
    assert "seen is not for agents" in refusal(settings_file(tmp_path, text))


def test_the_sample_is_short_and_means_the_defaults(tmp_path: Path) -> None:
    """It sets nothing to another value than the one it would have anyway."""
    empty = read_settings(settings_file(tmp_path, ""))
    assert len(SAMPLE.splitlines()) < 40
    assert read_settings(settings_file(tmp_path, SAMPLE)) == empty
    assert empty.queues == (
        QueueSpec(id="main"),
        QueueSpec(id="infra", kind="infrastructure", risk="low"),
    )
    assert (empty.repository, empty.state) == (tmp_path, tmp_path / ".wavekeeper")
    assert empty.worker.workspace == tmp_path / ".wavekeeper/worktrees"
    assert empty.worker.command is None
    assert (empty.supervisor.interval, empty.supervisor.mode) == (300.0, "observe")


def test_each_line_of_the_sample_that_is_commented_out_works(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", SAMPLE, flags=re.MULTILINE)
    assert text != SAMPLE
    read = read_settings(settings_file(tmp_path, text))
    assert read.worker.command == ("my-agent", "--non-interactive")


def test_a_relative_path_to_the_settings_gives_absolute_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_file(tmp_path, SAMPLE)
    monkeypatch.chdir(tmp_path)
    assert read_settings(Path("wavekeeper.toml")).state == tmp_path / ".wavekeeper"


def test_settings_are_found_from_below_and_the_closest_wins(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_settings(deep) is None
    above = settings_file(tmp_path, SAMPLE)
    assert find_settings(deep) == above
    (deep / "wavekeeper.toml").mkdir()
    assert find_settings(deep) == above
    near = settings_file(tmp_path / "a", SAMPLE)
    assert find_settings(deep) == near
    assert find_settings(tmp_path) == above


def test_settings_are_frozen(tmp_path: Path) -> None:
    read = read_settings(settings_file(tmp_path, SAMPLE))
    with pytest.raises(ValueError, match="frozen"):
        read.remote = "other"
    assert isinstance(read, Settings)
