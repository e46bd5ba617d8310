"""What was done and why, from the record alone: log, explain, verify, replay."""

import json
import re
import sqlite3
import subprocess
from datetime import UTC, datetime
from typing import get_args

import pytest

from agent import wiring
from agent.adapters.state.db import State
from agent.cli.record import SENTENCES
from agent.core.journal.records import Record, RecordKind
from tests.acceptance.program import SCRIPTED, SETTINGS, Project, here
from tests.acceptance.terminals import program

HEAD = re.compile(r"^head (\d+:[0-9a-f]{64})$", re.MULTILINE)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Two runs: T-1 was asked about, approved and submitted."""
    project = Project.whole(tmp_path_factory.mktemp("journal"))
    project.write("wavekeeper.toml", SETTINGS + SCRIPTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        assert here("submit", "w.toml").returncode == 0
        assert here("run", "--mode", "approve", "--once").returncode == 0
        with State(project.state / "state.db") as state:
            digest = state.approvals.request("A-1").digest
        assert here("approve", "A-1", "--digest", digest).returncode == 0
        assert here("run", "--mode", "approve", "--once").returncode == 0
    return project


@pytest.fixture
def project(template, monkeypatch):
    """Only to be read."""
    monkeypatch.chdir(template.folder)
    return template


@pytest.fixture
def own(template, tmp_path, monkeypatch):
    """A copy, to be spoilt."""
    copied = template.copy(tmp_path)
    monkeypatch.chdir(copied.folder)
    return copied


@pytest.mark.usefixtures("project")
def test_the_log_tells_each_thing_once_as_text():
    lines = here("log").stdout.splitlines()
    kinds = [line.split()[4].rstrip(":") for line in lines]
    assert kinds == [
        "start", "tick", "decision", "stop", "answered", "start", "decision", "intent", "outcome",
        "stop",
    ]  # fmt: skip
    assert re.search(r"submit \(needs-approval: submit_planned_work, asked as A-1\)", lines[2])
    assert re.search(r"answered T-1: submit approved by \S+ \(A-1\)$", lines[4])
    assert lines[7].endswith("submit by submit_planned_work, approval A-1")
    assert lines[8].endswith("outcome T-1: submit done: submitted to main")
    # Record 7 is the tick; its sentence is that of the tick before and is not said again.
    assert [line.split()[0] for line in lines] == [*"1234568", "9", "10", "11"]


def test_the_log_has_a_sentence_for_every_kind_of_record():
    assert set(get_args(RecordKind)) == set(SENTENCES)


def test_the_log_says_which_defect_was_fixed_by_hand(own):
    body = {"defect": "D-1", "issue": "0001", "why": "its issue was closed"}
    with State(own.state / "state.db") as state:
        state.journal.append([Record(kind="fixed", at=datetime.now(UTC), tick=9, body=body)])
    assert here("log").stdout.endswith("tick 9 fixed: D-1: its issue was closed\n")


@pytest.mark.usefixtures("project")
def test_the_log_as_json_is_every_record_and_can_be_chained_again():
    entries = [json.loads(line) for line in here("log", "--json").stdout.splitlines()]
    assert [one["sequence"] for one in entries] == list(range(1, len(entries) + 1))
    assert [one["previous"] for one in entries[1:]] == [one["digest"] for one in entries[:-1]]
    ours = [json.loads(line) for line in here("log", "--json", "--task", "T-1").stdout.splitlines()]
    assert ours == [one for one in entries if one["record"].get("task") == "T-1"]
    assert here("log", "--task", "T-9").stdout == ""


@pytest.mark.long
def test_following_goes_on_until_ctrl_c(own):
    child = program(own, "log", "-f")
    child.expect("outcome T-1: submit done")
    assert here("run", "--mode", "observe", "--once").returncode == 0
    child.expect("start: wavekeeper run on .*, mode observe")
    child.sendintr()
    child.wait()
    assert child.exitstatus == 130


@pytest.mark.long
def test_a_log_whose_reader_went_away_ends_quietly(own):
    child = own.start("log", "-f", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"start" in child.stdout.readline()
    child.stdout.close()
    assert here("run", "--mode", "observe", "--once").returncode == 0  # there is more to write
    with child:
        assert (child.wait(timeout=30), child.stderr.read()) == (141, b"")


@pytest.mark.usefixtures("project")
def test_explain_says_who_decided_on_what():
    said = here("explain", "T-1").stdout
    assert said.startswith("T-1 of wave w1: Name the address in the mailer's error\n")
    assert "  because  planned, and nothing blocks it" in said or "LEFT ALONE" in said
    asked = next(line for line in here("log").stdout.splitlines() if "asked as A-1" in line)
    record = asked.split()[0]
    said = here("explain", f"#{record}").stdout
    assert f"record   {record} of tick 1, sha256 " in said
    assert "guard    submit needs-approval, asked as A-1" in said
    assert re.search(r"rule   submit_planned_work \(guard\.toml:\d+\): A planned task goes", said)
    assert 'policy "Keep queue concurrency bounded by real execution capacity."' in said
    assert re.search(r"\d\d:\d\d:\d\d submit done, approval A-1: submitted to main", said)
    assert re.search(r"person   submit approved by \S+ at \d\d:\d\d:\d\dZ, A-1", said)
    assert "chain ok" in said


@pytest.mark.usefixtures("project")
def test_explain_as_json_has_the_same():
    told = json.loads(here("explain", "T-1", "--json").stdout)
    assert (told["schema"], told["task"], told["chain"]) == ("wavekeeper.explain/1", "T-1", "ok")
    assert told["persons"][0]["verdict"] == "approved"
    assert told["steps"][0]["by"] == "A-1"


UNKNOWN = [
    (["explain", "T-9"], "'T-9' is no task and no record here"),
    (["explain", "#1"], "record 1 is no decision"),
    (["explain", "9999999"], "record 9999999 is no decision"),
    (["replay", "S-9"], "there is no session 'S-9'; there are S-1 to S-"),
    (["verify", "--head", "7"], "write NUMBER:DIGEST"),
    (["replay", "last", "--policies", "nowhere"], "no such folder"),
]


@pytest.mark.usefixtures("project")
def test_what_is_not_there_is_said_in_one_line():
    for command, said in UNKNOWN:
        ended = here(*command)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert said in ended.stderr


def test_before_anything_was_recorded_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(Project.whole(tmp_path).folder)
    for command in (["log"], ["verify"], ["replay", "last"], ["explain", "T-1"]):
        ended = here(*command)
        assert ended.returncode == 2
        assert "state.db is not there; `wavekeeper run` writes it" in ended.stderr


def test_verify_gives_a_head_that_notices_even_a_rewritten_end(own):
    said = here("verify").stdout
    head = HEAD.search(said)[1]
    assert said.startswith("the journal is whole: 11 records of 2 sessions, the last one of ")
    assert here("verify", "--head", head).returncode == 0
    with sqlite3.connect(own.state / "state.db") as db:  # as somebody would who knows it well
        for name in ("entry_stays", "entry_keeps"):
            db.execute(f"DROP TRIGGER {name}")
        db.execute("DELETE FROM entry WHERE sequence = 11")
    db.close()
    cut = here("verify")
    assert cut.returncode == 2
    assert "record 11 is missing: 11 were written and the end is cut off" in cut.stderr
    with sqlite3.connect(own.state / "state.db") as db:
        db.execute("UPDATE head SET count = 10, digest = (SELECT digest FROM entry "
                   "ORDER BY sequence DESC LIMIT 1)")  # fmt: skip
    db.close()
    older = here("verify")
    assert older.returncode == 2
    assert "state.db: it is older than state.seal, which knows 11 records; restore" in older.stderr
    (own.state / "state.seal").unlink()
    assert here("verify").returncode == 0  # now only the head that was kept elsewhere knows
    ended = here("verify", "--head", head)
    assert ended.returncode == 1
    assert "record 11 is missing: the end was cut off" in ended.stderr


def test_an_edited_record_stops_verify_and_replay_and_shows_in_explain(own):
    with sqlite3.connect(own.state / "state.db") as db:
        db.execute("DROP TRIGGER entry_keeps")
        db.execute("UPDATE entry SET body = replace(body, 'nothing blocks', 'all blocks') "
                   "WHERE sequence = 3")  # fmt: skip
    db.close()
    for command in (["verify"], ["replay", "all", "--check"]):
        ended = here(*command)
        assert ended.returncode == 1
        assert "record 3 was edited after it was written" in ended.stderr
    assert "the journal is broken: record 3" in here("explain", "T-1").stdout


def test_replay_is_the_same_under_the_same_policy_and_lists_what_differs_under_another(own):
    same = here("replay", "all", "--check")
    assert same.returncode == 0
    assert re.fullmatch(r"S-1 to S-\d: \d same, 0 differ\n", same.stdout)
    whole = here("replay", "S-1").stdout
    assert whole.startswith(
        "replay S-1 under the policy it was decided under: 1 ticks, 1 decisions"
    )
    guard = (wiring.shipped("policies") / "guard.toml").read_text(encoding="utf-8")
    renamed = guard.replace('id = "submit_planned_work"', 'id = "submit_what_is_planned"')
    own.write("ours/guard.toml", renamed)
    again = here("replay", "S-1", "--policies", "ours", "--check")
    assert again.returncode == 5
    assert again.stdout == (
        "record 3 tick 1 T-1: submit (needs-approval: submit_planned_work) -> "
        "submit (needs-approval: submit_what_is_planned), in rules\n"
        "S-1: 0 same, 1 differ\n"
    )


@pytest.mark.usefixtures("project")
def test_status_in_one_line():
    assert here("status", "--line").stdout == "wavekeeper w1 1/5\n"
