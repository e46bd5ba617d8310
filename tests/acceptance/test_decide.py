"""The contract of `wavekeeper decide`, seen from outside."""

import copy
import json

import pytest

from tests.acceptance.program import Project, here

NOW = "2026-11-22T10:00:00Z"
SNAPSHOT = {
    "schema": "wavekeeper.snapshot/1",
    "now": NOW,
    "mode": "auto",
    "supervisor": {"lastTickAt": "2026-11-22T09:55:00Z", "host": "master"},
    "wave": {
        "goal": "the goal",
        "grants": {
            "productionRepair": False,
            "establishedDeployPath": False,
            "manualTakeover": [],
        },
    },
    "window": {
        "limit": 5,
        "outcomes": [
            {
                "task": "T-0",
                "result": "accepted",
                "attributable": True,
                "at": "2026-11-22T09:00:00Z",
            }
        ],
        "changedAt": "2026-11-22T08:00:00Z",
    },
    "controlPlane": {"reachable": True, "submitLock": "free"},
    "queues": [{"id": "svc", "kind": "delivery", "risk": "normal"}],
    "defects": [
        {"id": "D-1", "fingerprint": "f", "status": "recorded", "issue": "#12", "fixedBy": None}
    ],
    "tasks": [
        {
            "id": "T-1",
            "queue": "svc",
            "kind": "artifact-delivery",
            "status": "running",
            "attempt": 1,
            "attemptsLeft": 2,
            "sessionContinuable": True,
            "startedAt": "2026-11-22T09:00:00Z",
            "finishedAt": None,
            "controlPlane": {"status": "running"},
            "scheduler": {"status": "running"},
            "heartbeat": {
                "at": "2026-11-22T09:59:40Z",
                "expiresAt": "2026-11-22T10:01:00Z",
                "attempt": 1,
                "origin": "worker",
            },
            "trace": {"lastEventAt": "2026-11-22T09:59:00Z", "attempt": 1},
            "probe": "ok",
            "waitingFor": None,
            "atRiskPolls": 0,
            "lastInterruptAt": None,
            "cancelRequested": False,
            "lastError": None,
            "finalResponse": None,
            "judge": None,
            "inspected": False,
            "writeScope": ["services/a/**"],
            "prompt": "Deliver service a. All that is needed is written here.",
            "criteria": [{"id": "C1", "text": "it is pushed", "proof": "commit-pushed"}],
            "evidence": [
                {
                    "id": "E1",
                    "kind": "commit-pushed",
                    "origin": "observed",
                    "holds": True,
                    "value": "3f2c1aa",
                    "observedAt": "2026-11-22T09:59:00Z",
                }
            ],
            "review": None,
            "blockedBy": None,
        }
    ],
}


@pytest.fixture
def decide(tmp_path):
    def run(snapshot, *more):
        path = tmp_path / "snapshot.json"
        text = snapshot if isinstance(snapshot, str) else json.dumps(snapshot)
        path.write_text(text, encoding="utf-8")
        return here("decide", str(path), *more)

    return run


def world(**task):
    changed = copy.deepcopy(SNAPSHOT)
    changed["tasks"][0] |= task
    return changed


def test_the_answer_has_the_names_of_the_contract(decide):
    said = json.loads(decide(SNAPSHOT).stdout)
    assert said["schema"] == "wavekeeper.decisions/1"
    assert said["sentence"] == "1 task live, nothing to do."
    assert said["suspended"] is False
    assert {"limit", "action", "reason"} <= set(said["window"])
    (decision,) = said["decisions"]
    assert set(decision) == {
        "task", "liveness", "questions", "action", "reason", "clearance", "rules",
    }  # fmt: skip
    assert decision["liveness"]["effectiveLiveness"] == "live"
    assert decision["liveness"]["recommendedAction"] == "continue-supervision"
    assert (decision["action"], decision["clearance"]) == ("leave-alone", "cleared")
    assert "asked" not in said


ASKED = [
    pytest.param("interrupt:T-1", {}, "refused", ["never_interrupt_a_live_task"], id="live"),
    pytest.param("patch-database:T-1", {}, "refused", ["never_patch_the_database"], id="database"),
    pytest.param(
        "take-over:T-1", {}, "refused", ["never_take_over_a_workers_task"], id="take over"
    ),
    pytest.param(
        "run-heavy-check:T-1", {}, "refused", ["never_run_heavy_checks_on_the_master"], id="heavy"
    ),
    pytest.param(
        "retry:T-1",
        {"status": "failed", "finishedAt": NOW},
        "refused",
        ["never_act_on_an_unread_result"],
        id="unread",
    ),
    pytest.param(
        "retry:T-1",
        {"status": "failed", "finishedAt": NOW, "inspected": True},
        "cleared",
        ["retry_the_same_task"],
        id="read",
    ),
    pytest.param(
        "retry:T-1",
        {
            "status": "failed",
            "finishedAt": NOW,
            "inspected": True,
            "prompt": "As discussed, go on.",
        },
        "refused",
        ["never_send_a_prompt_that_leans_on_context"],
        id="leans on context",
    ),
    pytest.param("widen-window", {}, "refused", ["never_widen_a_slipping_window"], id="window"),
]


def test_what_no_rule_forbids_by_name_is_explained_by_what_would_permit_it(decide):
    (answer,) = json.loads(decide(SNAPSHOT, "--ask", "move:T-1").stdout)["asked"]
    assert (answer["clearance"], answer["rules"]) == ("refused", ["default_deny"])
    assert answer["nearest"] == {"status": ["queued"]}
    (answer,) = json.loads(decide(SNAPSHOT, "--ask", "patch-database:T-1").stdout)["asked"]
    assert "nearest" not in answer


@pytest.mark.parametrize(("asked", "task", "clearance", "rules"), ASKED)
def test_asking_names_the_rules_and_changes_no_decision(decide, asked, task, clearance, rules):
    plain = json.loads(decide(world(**task)).stdout)
    said = json.loads(decide(world(**task), "--ask", asked).stdout)
    (answer,) = said.pop("asked")
    assert (answer["clearance"], answer["rules"]) == (clearance, rules)
    assert said == plain


def test_split_brain_with_a_fresh_heartbeat_is_live(decide):
    said = json.loads(decide(world(controlPlane={"status": "failed"})).stdout)
    liveness = said["decisions"][0]["liveness"]
    assert (liveness["effectiveLiveness"], liveness["splitBrainLive"]) == ("live", True)


ENDED = {
    "status": "failed", "finishedAt": "2026-11-22T09:50:00Z", "inspected": True, "treeGone": True,
    "evidence": [{"id": "E1", "kind": "commit-pushed", "origin": "observed", "holds": False,
                  "observedAt": "2026-11-22T09:55:00Z"}],
}  # fmt: skip
TYPED = [
    pytest.param(
        {"class": "quota", "status": 429, "retryAt": "2026-11-22T12:00:00Z"},
        "leave-alone", "waits until 2026-11-22 12:00:00Z", id="until the provider's reset",
    ),
    pytest.param(
        {"class": "quota", "status": 429, "retryAt": "2033-11-22T12:00:00Z"},
        "leave-alone", "waits until 2026-11-22 10:05:00Z", id="a reset in another decade",
    ),
    pytest.param({"class": "killed"}, "retry", "", id="killed"),
    pytest.param({"class": "auth", "status": 401}, "open-issue", "missing-credential", id="auth"),
]  # fmt: skip


@pytest.mark.parametrize(("failure", "action", "reason"), TYPED)
def test_a_typed_failure_decides_whatever_the_last_error_says(decide, failure, action, reason):
    task = {**ENDED, "failure": failure, "lastError": "jq: command not found"}
    (decision,) = json.loads(decide(world(**task)).stdout)["decisions"]
    assert decision["action"] == action
    assert reason in decision["reason"]


FAULTS = [
    pytest.param(world(heartbaet=None), "tasks[0].heartbaet: unknown field", id="unknown field"),
    pytest.param(
        world(heartbeat={"at": "2026-11-22T10:00:01Z"}), "T-1: heartbeat.at lies in the future",
        id="heartbeat in the future",
    ),
    pytest.param(world(finalResponse="done"), "has a final response", id="final while running"),
    pytest.param(world(failure={"class": "quota"}), "has a failure", id="failure while running"),
    pytest.param(
        world(status="failed", failure={"class": "bad luck"}), "tasks[0].failure.class",
        id="a class that is none",
    ),
    pytest.param(
        SNAPSHOT | {"tasks": SNAPSHOT["tasks"] * 2}, "the id 'T-1' is there twice", id="twice"
    ),
    pytest.param(world(status="asleep"), "tasks[0].status", id="unknown status"),
    pytest.param("{", "not JSON", id="not JSON"),
    pytest.param('{"now": 1, "now": 2}', "'now' is there twice", id="a key twice"),
    pytest.param("[]", "snapshot.json", id="a list"),
]  # fmt: skip


@pytest.mark.parametrize(("snapshot", "says"), FAULTS)
def test_what_is_no_snapshot_is_refused_with_its_path(decide, snapshot, says):
    ended = decide(snapshot)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("ask", ["fly:T-1", "retry", "retry:T-9"])
def test_an_ask_that_names_nothing_is_refused(decide, ask):
    ended = decide(SNAPSHOT, "--ask", ask)
    assert (ended.returncode, ended.stdout) == (2, "")


def test_the_same_file_gives_the_same_bytes(tmp_path):
    project = Project(tmp_path)
    project.folder.mkdir()
    project.write("snapshot.json", json.dumps(SNAPSHOT))
    first = project.run("decide", "snapshot.json")
    again = project.run("decide", "snapshot.json")
    assert first.returncode == 0
    assert first.stdout == again.stdout
