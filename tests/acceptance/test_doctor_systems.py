"""`wavekeeper doctor` asks every configured system and says how to mend what does not answer."""

import json
import sys

import pytest

from agent.adapters.files.config import read_settings
from agent.cli.doctor import systems
from tests.adapters.loopback import Reply, nobody, served

VARIABLE = "DOCTOR_TOKEN"
READ = ("dev-digest", "prod-digest", "live-version")


@pytest.fixture
def server():
    with served() as one:
        yield one


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv(VARIABLE, "hunter2-hunter2")


def checks(folder, text):
    path = folder / "wavekeeper.toml"
    path.write_text(text, encoding="utf-8")
    return {one.name: one for one in systems(read_settings(path))}


def whole(url, program=sys.executable):
    argv = json.dumps([program, "-c", "pass"])
    return f"""
[services.shop]
timeout = "2s"
[services.shop.image]
registry = "{url}"
repository = "team/shop"
[services.shop.ci]
api = "{url}"
repository = "team/shop"
workflow = "image.yml"
token = "{VARIABLE}"
{"".join(LOOK.format(proof=proof, url=url) for proof in READ)}
[[services.shop.look]]
proof = "live-health"
url = "{url}/live"
[[services.shop.command]]
proof = "no-source-rebuild"
argv = {argv}
environment = ["{VARIABLE}"]
[remedies.mend]
target = "queue-dev"
environment = "dev"
reasons = ["missing-tool"]
dry_run = {argv.replace("pass", "1")}
command = {argv}
verify = {argv.replace("pass", "2")}
[issues]
home = "github"
repository = "team/defects"
api = "{url}"
token = "{VARIABLE}"
"""


LOOK = """[[services.shop.look]]
proof = "{proof}"
url = "{url}/{proof}"
pointer = "/at"
"""


def answering(server):
    for proof in READ:
        server.replies[f"/{proof}"] = Reply({"at": "x"})
    server.replies["/live"] = Reply({"ok": True})
    server.replies["/v2/team/shop/tags/list"] = Reply({"tags": ["a"]})
    server.replies["/repos/team/shop"] = Reply({"id": 1})
    server.replies["/repos/team/defects"] = Reply({"id": 2, "permissions": {"pull": True}})


def test_what_answers_is_fine_and_nothing_is_written(server, tmp_path):
    answering(server)
    found = checks(tmp_path, whole(server.url))
    assert {one.state for one in found.values()} == {"ok"}, found
    assert list(found) == [
        "service shop", "service shop: registry", "service shop: CI", "service shop: dev-digest",
        "service shop: prod-digest", "service shop: live-version", "service shop: live-health",
        "service shop: no-source-rebuild", "remedy mend", "issues",
    ]  # fmt: skip
    assert "a live remedy in dev, at queue-dev" in found["remedy mend"].said
    assert {one.method for one in server.asked} == {"GET"}
    assert "hunter2" not in str(found)


def test_what_does_not_answer_is_named_with_a_remedy(tmp_path):
    found = checks(tmp_path, whole(nobody(), "no-such-program-here"))
    assert found.pop("service shop").state == "ok"
    assert {one.state for one in found.values()} == {"fail"}
    for one in found.values():
        assert one.fix or one.name == "issues"
        assert len(one.said.splitlines()) == 1
    assert found["service shop: no-source-rebuild"].said == "no-such-program-here is not on PATH"


def test_a_variable_that_is_not_set_is_named(server, tmp_path, monkeypatch):
    answering(server)
    monkeypatch.delenv(VARIABLE)
    found = checks(tmp_path, whole(server.url))
    for name in ("service shop: CI", "service shop: no-source-rebuild", "issues"):
        assert found[name].state == "fail"
        assert f"{VARIABLE} is not set" in found[name].said


def test_a_value_that_is_not_where_it_is_looked_for(server, tmp_path):
    answering(server)
    server.replies["/dev-digest"] = Reply({"other": 1})
    found = checks(tmp_path, whole(server.url))
    assert found["service shop: dev-digest"].said == f"{server.url}/dev-digest has nothing at /at"


def test_a_ladder_that_nobody_can_climb_is_told(tmp_path):
    found = checks(tmp_path, "[services.shop]\n")
    assert found["service shop"].state == "warn"
    assert found["service shop"].said == (
        "nothing tells artifact-built, digest-recorded, dev-digest, prod-digest, "
        "no-source-rebuild, live-health, live-version, so no delivery can be accepted"
    )


def test_a_remedy_that_is_for_nothing_is_told(server, tmp_path):
    answering(server)
    found = checks(tmp_path, whole(server.url).replace('"missing-tool"', '"mising-tool"'))
    assert found["remedy mend"].state == "warn"
    assert "did you mean 'missing-tool'" in found["remedy mend"].said


@pytest.mark.parametrize(
    ("settings", "key", "state", "says"),
    [
        pytest.param('reviewer = "anthropic"', "k", "ok", "reviews by", id="a key is there"),
        pytest.param('drafter = "anthropic"', "k", "ok", "drafts by", id="for drafts"),
        pytest.param('reviewer = "anthropic"', None, "fail", "holds no key; set it", id="no key"),
    ],
)
def test_a_model_needs_a_key_and_is_not_asked(tmp_path, monkeypatch, settings, key, state, says):
    monkeypatch.delenv("OWN_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OWN_KEY", key)
    found = checks(tmp_path, f'[model]\n{settings}\nkey_variable = "OWN_KEY"\n')["model"]
    assert found.state == state
    assert says in found.said


def test_without_a_model_there_is_nothing_to_say_of_one(tmp_path):
    assert "model" not in checks(tmp_path, "")
