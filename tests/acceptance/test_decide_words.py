"""Every word that the contract of `wavekeeper decide` lists is understood, and every example."""

import json
import re
from typing import Any

import pytest

from agent.core.model.actions import WINDOW_ACTIONS, Action
from agent.core.plan import contract
from tests.acceptance.test_decide import NOW, SNAPSHOT, world
from tests.core import worlds as w

CONTRACT = w.ROOT.parent / "shared" / "contracts" / "decide.md"

ACTIONS = [
    "leave-alone", "inspect", "review", "judge", "accept", "retry", "replace", "split-defect",
    "open-issue", "park", "release", "guide", "interrupt", "cancel", "move", "submit",
    "widen-window", "narrow-window", "live-remedy", "deploy", "write-reference", "hand-over",
    "take-over", "patch-database", "run-heavy-check", "revert-changes",
]  # fmt: skip
STATUSES = [
    "planned", "queued", "running", "judging", "succeeded", "failed", "cancelled", "lost",
    "parked", "accepted",
]  # fmt: skip
KINDS = ["artifact-delivery", "infrastructure", "code-change", "documentation"]
PROOFS = [
    "commit-pushed", "scope-respected", "checks-passed", "artifact-built", "digest-recorded",
    "dev-digest", "prod-digest", "no-source-rebuild", "live-health", "live-version",
    "blocked-workflow-proceeds", "remaining-step-named",
]  # fmt: skip


def said(snapshot: dict[str, Any], *asks: str) -> dict[str, Any]:
    known = contract.read(json.dumps(snapshot).encode())
    asked = [contract.ask_of(one, known) for one in asks]
    answer = contract.answer(known, w.policy(), asked)
    assert json.loads(json.dumps(answer)) == answer
    return answer


def over(**changed: Any) -> dict[str, Any]:
    return SNAPSHOT | changed


WORLDS = [
    *(pytest.param(world(status=one), id=f"status {one}") for one in STATUSES),
    *(pytest.param(world(kind=one), id=f"kind {one}") for one in KINDS),
    *(pytest.param(world(probe=one), id=f"probe {one}") for one in ("ok", "failed", "timeout")),
    *(pytest.param(world(waitingFor=one), id=f"waiting for {one}")
      for one in (None, "permission", "provider-reset")),
    *(pytest.param(world(heartbeat={"at": NOW, "origin": one}), id=f"heartbeat of a {one}")
      for one in ("worker", "recovery")),
    *(pytest.param(world(**{plane: {"status": "whatever it calls it"}}), id=plane)
      for plane in ("controlPlane", "scheduler")),
    *(pytest.param(world(judge={"verdict": one, "at": NOW}, status="judging"), id=f"judge {one}")
      for one in ("pass", "fail")),
    *(pytest.param(world(evidence=[{"id": "E", "kind": one, "origin": "claimed", "holds": None}],
                         criteria=[{"id": "C1", "text": "it holds", "proof": one}]), id=one)
      for one in PROOFS),
    pytest.param(world(criteria=[{"id": "C1", "text": "it reads well", "proof": "judgement"}]),
                 id="proof by reading"),
    *(pytest.param(world(review={"criteria": [{"id": "C1", "verdict": one, "quote": "q",
                                               "evidence": "final-response"}]}), id=f"review {one}")
      for one in ("met", "unmet", "cannot-tell")),
    *(pytest.param(over(mode=one), id=f"mode {one}") for one in ("observe", "approve", "auto")),
    *(pytest.param(over(supervisor={"host": one}), id=f"on a {one}")
      for one in ("master", "worker")),
    *(pytest.param(over(controlPlane={"submitLock": one}), id=f"submit lock {one}")
      for one in ("free", "held", "unknown")),
    *(pytest.param(over(queues=[{"id": "q", "kind": one}]), id=f"queue of {one}")
      for one in ("delivery", "infrastructure", "documentation")),
    *(pytest.param(over(defects=[{"id": "D", "fingerprint": "f", "status": one}]),
                   id=f"defect {one}") for one in ("observed", "recorded", "fixed")),
    *(pytest.param(over(window={"outcomes": [{"task": "T-0", "result": one, "at": NOW}]}),
                   id=f"outcome {one}") for one in ("accepted", "failed", "replaced")),
    pytest.param({"schema": "wavekeeper.snapshot/1", "now": NOW}, id="nothing but the time"),
    pytest.param({"schema": "wavekeeper.snapshot/1", "now": NOW, "tasks": [{"id": "T-1"}]},
                 id="a task of which nothing is known"),
]  # fmt: skip


@pytest.mark.parametrize("snapshot", WORLDS)
def test_every_word_of_the_contract_is_understood(snapshot):
    answer = said(snapshot)
    assert len(answer["decisions"]) == len(snapshot.get("tasks", []))
    assert answer["window"]["action"] in ("hold", "widen", "narrow")
    for one in answer["decisions"]:
        assert one["liveness"]["effectiveLiveness"] in ("live", "at-risk", "not-running")
        assert one["clearance"] in ("cleared", "needs-approval", "refused")
        assert one["rules"] == sorted(one["rules"])
        assert one["rules"], one
        assert all(one["questions"].values())


def test_the_actions_are_those_of_the_contract():
    assert sorted(ACTIONS) == sorted(Action)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_can_be_asked_for(action):
    ask = action if Action(action) in WINDOW_ACTIONS else f"{action}:T-1"
    (answer,) = said(SNAPSHOT, ask)["asked"]
    assert answer["action"] == action
    assert answer["clearance"] in ("cleared", "needs-approval", "refused")
    assert answer["rules"]


def test_a_failure_says_where_it_feeds_into():
    failed = world(
        status="failed", finishedAt=NOW, inspected=True, lastError="bash: jq: command not found"
    )
    (decision,) = said(failed)["decisions"]
    assert decision["lesson"]["into"] == "issue"
    assert decision["lesson"]["rule"].endswith(".")


def examples() -> list[dict[str, Any]]:
    """The JSON blocks of the contract; what it leaves out with dots gets a value that fits."""
    if not CONTRACT.exists():
        pytest.skip("the contract is not beside this repository")
    text = CONTRACT.read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    expires = '"expiresAt": "2026-11-22T10:01:00Z"'
    later = [one.replace('"expiresAt": "…"', expires) for one in blocks]
    return [json.loads(re.sub(r'("\w*[aA]t": )"…"', rf'\1"{NOW}"', one)) for one in later]


def test_the_examples_of_the_contract_are_true():
    given, expected = examples()
    answer = said(given, *(f"{one['action']}:{one['task']}" for one in expected["asked"]))
    assert set(expected) <= set(answer)
    assert (answer["schema"], answer["sentence"]) == (expected["schema"], expected["sentence"])
    assert set(expected["window"]) <= set(answer["window"])
    for theirs, ours in zip(expected["decisions"], answer["decisions"], strict=True):
        assert set(theirs) <= set(ours)
        assert (ours["action"], ours["clearance"]) == (theirs["action"], theirs["clearance"])
        known = {key: ours["liveness"][key] for key in theirs["liveness"] if key != "reason"}
        assert known == {k: v for k, v in theirs["liveness"].items() if k != "reason"}
        assert set(theirs["questions"]) == set(ours["questions"])
    assert answer["asked"] == expected["asked"]
