"""`[queue]` in `wavekeeper.toml` when it names a Code Queue."""

import re

import pytest

from agent.adapters.code_queue.words import COMMANDS, PATHS
from agent.adapters.files.config import read_settings
from agent.core.model.queueing import QueueSpec
from agent.errors import ConfigurationError

CONTRACT = """\
[queue]
kind = "code-queue"
command = ["bun", "scripts/cli.ts"]
folder = "."
timeout = "30s"

[queue.commands]
queues    = ["codex", "queues", "--json"]
task      = ["codex", "task", "{task}", "--json"]
trace     = ["codex", "task", "{task}", "--trace", "--limit", "{limit}", "--json"]
output    = ["codex", "output", "{task}", "--json"]
submit    = ["codex", "submit", "--queue", "{queue}", "--idempotency-key", "{key}", "--prompt-file", "-", "--json"]
retry     = ["codex", "retry", "{task}", "--idempotency-key", "{key}", "--prompt-file", "-", "--json"]
interrupt = ["codex", "interrupt", "{task}", "--idempotency-key", "{key}", "--json"]
cancel    = ["codex", "cancel", "{task}", "--idempotency-key", "{key}", "--json"]
move      = ["codex", "move", "{task}", "--queue", "{queue}", "--idempotency-key", "{key}", "--json"]
read      = ["codex", "read", "{task}", "--json"]
"""  # noqa: E501 - as it stands in the contract
FULL = """\
[queue]
kind = "code-queue"
command = ["bun", "scripts/cli.ts"]
folder = "unidesk"
timeout = "10s"
keys = false
spacing = "1s"
fresh = "2s"
lock = "submit.lock"

[queue.commands]
read = ["codex", "ack", "{task}"]

[queue.fields]
"task.lastError" = "error.text"

[queue.http]
url = "https://proxy.example.org/code-queue"
timeout = "5s"
token_variable = "CQ_TOKEN"
ca = "ca.pem"

[queue.http.paths]
queues = "/v2/queues"

[[queue.queues]]
id = "svc-a"

[[queue.queues]]
id = "infra"
kind = "infrastructure"
"""


def read(folder, text):
    path = folder / "wavekeeper.toml"
    path.write_text(text, encoding="utf-8")
    return read_settings(path)


def test_the_contract_as_it_stands_is_the_default(tmp_path):
    own = read(tmp_path, CONTRACT).queue.settings
    assert own.command == ("bun", "scripts/cli.ts")
    assert own.commands == COMMANDS
    assert (own.folder, own.timeout, own.keys, own.http) == (tmp_path, 30.0, True, None)
    assert read(tmp_path, CONTRACT).queues == ()
    short = CONTRACT[: CONTRACT.index("[queue.commands]")]
    assert read(tmp_path, short).queue.settings == own


def test_everything_that_can_be_set(tmp_path):
    settings = read(tmp_path, FULL)
    own = settings.queue.settings
    assert (own.folder, own.lock) == (tmp_path / "unidesk", tmp_path / "submit.lock")
    assert (own.timeout, own.keys, own.spacing, own.fresh) == (10.0, False, 1.0, 2.0)
    assert own.commands == COMMANDS | {"read": ("codex", "ack", "{task}")}
    assert own.fields == {"task.lastError": "error.text"}
    assert own.http.paths == PATHS | {"queues": "/v2/queues"}
    assert (own.http.token_variable, own.http.ca) == ("CQ_TOKEN", tmp_path / "ca.pem")
    assert settings.queues == (QueueSpec(id="svc-a"), QueueSpec(id="infra", kind="infrastructure"))


def test_without_it_the_queue_is_embedded(tmp_path):
    assert read(tmp_path, "").queue.kind == "embedded"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param('"code-queue"', '"codequeue"', "did you mean 'code-queue'?", id="kind"),
        pytest.param(
            'command = ["bun", "scripts/cli.ts"]', 'command = "bun x"', "a list", id="line"
        ),
        pytest.param("keys = false", 'keys = "no"', "must be true or false", id="keys"),
        pytest.param('timeout = "10s"', "timeout = 10", "is not a duration", id="timeout"),
        pytest.param("spacing", "spaceing", "did you mean 'spacing'?", id="unknown key"),
        pytest.param(
            "read = ", "raed = ", "there is no command 'raed'; did you mean", id="command"
        ),
        pytest.param("{task}", "{tsak}", "{tsak} is never filled in", id="placeholder"),
        pytest.param(
            '"task.lastError"', '"task.lastEror"', "did you mean 'task.lastError'", id="field"
        ),
        pytest.param('"error.text"', '"error..text"', "is no path", id="path of a field"),
        pytest.param("/v2/queues", "v2/queues", "must begin with one slash", id="path"),
        pytest.param("/v2/queues", "//evil/queues", "must begin with one slash", id="two slashes"),
        pytest.param("https://proxy.example.org/code-queue", "ftp://x", "https://", id="scheme"),
        pytest.param("https://proxy.example.org/code-queue", "https://u:p@x", "no user", id="user"),
        pytest.param("https://proxy.example.org/code-queue", "https://x?a=b", "query", id="query"),
        pytest.param(
            "https://proxy", "http://proxy", "a token is never sent over plain", id="plain"
        ),
        pytest.param('"CQ_TOKEN"', '"CQ TOKEN"', "no name of an environment variable", id="token"),
        pytest.param('id = "infra"', 'id = "svc-a"', "'svc-a' is there twice", id="queue twice"),
        pytest.param('id = "infra"', 'id = "-a"', "'id'", id="an option as a queue"),
    ],
)
def test_refused(tmp_path, old, new, says):
    assert old in FULL
    with pytest.raises(ConfigurationError) as refusal:
        read(tmp_path, FULL.replace(old, new, 1))
    message = str(refusal.value)
    assert says in message
    assert "\n" not in message
    line = FULL[: FULL.index(old)].count("\n") + 1
    found = re.search(r"toml:(\d+): ", message)
    assert found
    assert int(found[1]) == line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param('[queue]\nkind = "code-queue"\n', "names neither `command`", id="no way"),
        pytest.param(
            '[queue]\nkind = "code-queue"\nhttp = {url = "http://proxy:8080"}\n',
            "plain HTTP can be read and changed on its way",
            id="plain HTTP elsewhere",
        ),
        pytest.param(CONTRACT + '[worker]\nqueues = ["a"]\n', "there is no queue 'a'", id="worker"),
    ],
)
def test_refused_as_a_whole(tmp_path, text, says):
    with pytest.raises(ConfigurationError, match=says):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost/api", "http://[::1]:80", "https://x/y"]
)
def test_plain_http_is_fine_on_this_machine(tmp_path, url):
    own = read(tmp_path, f'[queue]\nkind = "code-queue"\nhttp = {{url = "{url}"}}\n').queue.settings
    assert own.http.url == url
