"""Every variable that the settings name is known by its value, wherever a backend names it."""

import pytest

from agent.adapters.files.config import read_settings
from agent.adapters.files.secret_values import secret_values

SETTINGS = """
[worker]
command = ["true"]
[worker.environment]
DB_PASSWORD = "of-the-agent"
LANG = "C.UTF-8"

[[agents]]
name = "other"
kind = "command"
command = ["true"]
[agents.environment]
OTHER_API_KEY = "of-another-agent"

[model]
key_variable = "MODEL_KEY"

[issues]
home = "github"
repository = "team/defects"
token = "ISSUES_TOKEN"

[services.shop.image]
registry = "https://registry.example"
repository = "team/shop"
user = "REGISTRY_USER"
token = "REGISTRY_TOKEN"

[services.shop.ci]
repository = "team/shop"
checks = ["build"]
token = "ACTIONS_TOKEN"

[[services.shop.command]]
proof = "live-health"
argv = ["true"]
environment = ["PROBE_TOKEN", "PATH"]

[remedies.restart]
reasons = ["disk-full"]
environment = "dev"
target = "shop-dev"
dry_run = ["restart", "-n"]
command = ["restart"]
verify = ["restarted"]
variables = ["DEPLOY_KEY", "HOME"]
"""
GIVEN = ("MODEL_KEY", "ISSUES_TOKEN", "REGISTRY_USER", "REGISTRY_TOKEN", "ACTIONS_TOKEN",
         "PROBE_TOKEN", "DEPLOY_KEY")  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "wavekeeper.toml").write_text(SETTINGS)
    return read_settings(tmp_path / "wavekeeper.toml")


def test_the_values_of_all_that_is_configured(settings):
    environ = {name: f"value of {name}" for name in GIVEN} | {"PATH": "/bin", "HOME": "/home/ann"}
    assert secret_values(settings, environ | {"UNRELATED_TOKEN": "x"}) == {
        **{name: f"value of {name}" for name in GIVEN},
        "DB_PASSWORD": "of-the-agent",
        "OTHER_API_KEY": "of-another-agent",
    }


def test_what_is_not_set_is_left_out(settings):
    assert secret_values(settings, {"MODEL_KEY": " "}).keys() == {"DB_PASSWORD", "OTHER_API_KEY"}


def test_the_token_of_a_code_queue(tmp_path):
    path = tmp_path / "wavekeeper.toml"
    path.write_text(
        '[queue]\nkind = "code-queue"\n'
        '[queue.http]\nurl = "https://queue.example"\ntoken_variable = "QUEUE_TOKEN"\n'
    )
    found = secret_values(read_settings(path), {"QUEUE_TOKEN": "of-the-queue"})
    assert found == {"QUEUE_TOKEN": "of-the-queue"}
