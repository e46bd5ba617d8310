"""What holds of every decision, over random snapshots near the interesting ones."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from agent.core.assess.assessment import assess
from agent.core.model.actions import READING, SENDS_PROMPT, WINDOW_ACTIONS, Action, Cleared
from agent.core.model.nouns import Snapshot
from agent.core.plan.planner import Decisions, ask, decide
from tests.core import worlds as w
from tests.core.random_worlds import random_world

Step = str | int

SAYS_NO = {
    "lastError": "the attempt left no error",
    "judge": "there was no judge step",
    "commands": "nothing was run",
    "output": "nothing was printed",
    "review": "nobody has read it yet",
    "lateReports": "no superseded attempt spoke up",
    "blockedBy": "it waits for no defect",
    "waitingFor": "it waits for nobody",
    "lastInterruptAt": "it was never interrupted",
    "heartbeat": "none was ever heard",
    "trace": "it never said anything",
    "changedAt": "the window was never changed",
    "supervisor": "this is its first tick",
    "lastTickAt": "this is its first tick",
    "interval": "the policy's cadence",
    "lowMemory": "nothing has warned of it",
    "remedies": "none is configured",
    "remedied": "no remedy is in place",
    "tokensLeft": "no model uses any",
    "seenIn": "it has stopped no task",
    "reference": "it is not written down",
    "finalResponseTruncated": "the queue has not cut it off",
    "fixedBy": "no task is there to fix it",
}
"""Fields in which null does not mean unknown: it is a report of its own, and what it says."""


def told(decisions: Decisions) -> list[tuple[Any, ...]]:
    everything = (*decisions.tasks, *([decisions.window] if decisions.window else []))
    return [(one.proposal, one.clearance, one.facts, one.questions) for one in everything]


@pytest.mark.parametrize(
    "block",
    [pytest.param(one, marks=pytest.mark.long if one else ()) for one in range(5)],
)
def test_none_of_ten_thousand_worlds_crashes_the_planner(block):
    for seed in range(block * 2000, (block + 1) * 2000):
        snapshot = random_world(seed)
        said = decide(snapshot, w.policy())
        assert said.sentence.strip()
        assert "\n" not in said.sentence
        assert sorted(one.proposal.task or "" for one in said.tasks) == sorted(
            w.ids(snapshot.tasks)
        )
        assert {id(one) for one in said.tasks} == {id(one) for one in said.in_order}
        assert all(one.proposal.reason for one in said.tasks)


def test_the_order_of_the_tasks_changes_no_decision():
    chance = random.Random(7)
    for seed in range(150):
        snapshot = random_world(seed)
        tasks = list(snapshot.tasks)
        chance.shuffle(tasks)
        other = snapshot.model_copy(update={"tasks": tuple(tasks)})
        assert told(decide(other, w.policy())) == told(decide(snapshot, w.policy())), seed


def test_the_same_world_gets_the_same_answer_and_is_left_as_it_was():
    for seed in range(50):
        snapshot = random_world(seed)
        before = snapshot.model_dump_json()
        first = decide(snapshot, w.policy())
        again = decide(Snapshot.model_validate_json(before), w.policy())
        assert (told(first), first.sentence) == (told(again), again.sentence)
        assert snapshot.model_dump_json() == before


def test_lanes_and_sends_are_never_overdrawn():
    for seed in range(400):
        said = decide(random_world(seed), w.policy())
        sent = [
            one
            for one in said.tasks
            if one.proposal.action in SENDS_PROMPT and isinstance(one.clearance, Cleared)
        ]
        assert len(sent) <= min(said.assessment.lanes.free or 0, w.policy().submit.per_tick), seed


def test_an_unread_result_is_only_ever_read():
    for seed in range(400):
        said = decide(random_world(seed), w.policy())
        for one in said.tasks:
            task = said.assessment.tasks[one.proposal.task or ""].task
            if task.status in ("succeeded", "failed", "lost", "cancelled") and not task.inspected:
                assert one.proposal.action is Action.INSPECT


def cleared(snapshot: Snapshot) -> set[tuple[str, str | None]]:
    """Every action but reading that the guard would clear, whoever asked for it."""
    assessment = assess(snapshot, w.policy())
    return {
        (action, task)
        for action in set(Action) - READING
        for task in ([None] if action in WINDOW_ACTIONS else w.ids(snapshot.tasks))
        if isinstance(ask(assessment, action, task)[1], Cleared)
    }


def fields(value: Any, *before: Step) -> Iterator[tuple[Step, ...]]:
    """The way to every named field below a value of plain JSON."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*before, name)
            yield from fields(inner, *before, name)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from fields(inner, *before, place)


def without(plain: Any, way: tuple[Step, ...]) -> Any:
    """A copy of plain JSON without the field at the end of this way."""
    here, *further = way
    if not further:
        return {name: inner for name, inner in plain.items() if name != here}
    copied = dict(plain) if isinstance(plain, dict) else list(plain)
    copied[here] = without(plain[here], tuple(further))
    return copied


def gained(before: set[tuple[str, str | None]], plain: Any, way: tuple[Step, ...]) -> set[Any]:
    """What is cleared only because one field was forgotten."""
    try:
        forgetful = Snapshot.model_validate(without(plain, way))
    except ValidationError:
        return set()
    return cleared(forgetful) - before


def forgettable(plain: Any) -> list[tuple[Step, ...]]:
    return [way for way in fields(plain) if way[-1] not in SAYS_NO]


TASKS = [
    pytest.param(w.running(at_risk_polls=1, heartbeat=w.beat(1300, 60), trace=w.trace(1300)),
                 id="one signal says it lives"),
    pytest.param(w.silent(1100), id="not silent for long enough"),
    pytest.param(w.proven(), id="proven"),
    pytest.param(w.proven(criteria=w.proved_by("judgement"), review=w.reviewed(C1="unmet")),
                 id="read, and a criterion is unmet"),
    pytest.param(w.ended(evidence=w.climbed(observed_at=w.ago(7000))), id="proof is old"),
    pytest.param(w.ended(evidence=(*w.climbed(), w.seen("checks-passed", holds=False))),
                 id="proof is denied"),
    pytest.param(w.ended(attempts_left=0), id="no attempts left"),
    pytest.param(w.planned(prompt="As discussed."), id="its prompt leans on a chat"),
    pytest.param(w.planned(blocked_by="D-1"), id="waits for a defect"),
    pytest.param(w.without_jq(), id="stopped on a defect"),
    pytest.param(w.parked(), id="parked"),
]  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_forgetting_any_field_of_a_world_never_helps(task):
    snapshot = w.world(
        task,
        defects=(w.defect(),),
        window={"limit": 5, "outcomes": w.outcomes(1, 1)},
        wave={"grants": {"production_repair": False, "established_deploy_path": False}},
    )
    plain, before = snapshot.model_dump(mode="json", exclude_none=True), cleared(snapshot)
    for way in forgettable(plain):
        assert not gained(before, plain, way), way


def test_forgetting_a_field_of_a_random_world_never_helps():
    chance = random.Random(11)
    for seed in range(60):
        snapshot = random_world(seed)
        plain, before = snapshot.model_dump(mode="json", exclude_none=True), cleared(snapshot)
        for way in chance.sample(forgettable(plain), 2):
            assert not gained(before, plain, way), (seed, way)


def test_asking_changes_no_decision():
    snapshot = w.world(w.running(), w.proven(id="T-2"), w.without_jq(id="T-3"), w.planned(id="T-4"))
    assessment = assess(snapshot, w.policy())
    before = told(decide(snapshot, w.policy()))
    for action in Action:
        for task in assessment.tasks:
            ask(assessment, action, task)
    assert told(decide(snapshot, w.policy())) == before
