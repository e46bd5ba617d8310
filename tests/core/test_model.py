import json
import re
from datetime import timedelta
from itertools import product
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from agent.core.model import nouns as nouns_module
from agent.core.model.nouns import ACTIVE, TERMINAL, Held, Snapshot, Status, Task
from tests.core import worlds as w
from tests.core.random_worlds import random_world

SOON = w.NOW + timedelta(seconds=1)


def impossible(**over: Any) -> str:
    """Why a world is refused, on one line."""
    with pytest.raises(ValidationError) as caught:
        w.world(**over)
    return str(caught.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    ("task", "said"),
    [
        pytest.param(w.running(heartbeat=w.beat(-1)), "heartbeat.at lies in the future",
                     id="a heartbeat in the future"),
        pytest.param(w.running(trace=w.trace(-1)), "trace.lastEventAt lies in the future",
                     id="a trace event in the future"),
        pytest.param(w.running(started_at=SOON), "startedAt lies in the future",
                     id="a start in the future"),
        pytest.param(w.ended(finished_at=SOON), "finishedAt lies in the future",
                     id="an end in the future"),
        pytest.param(w.ended(evidence=w.climbed(unknown_since=SOON)), "unknownSince lies in the",
                     id="evidence that will be unknown"),
        pytest.param(w.ended(started_at=w.ago(5), finished_at=w.ago(6)),
                     "finishedAt lies before startedAt", id="an end before the start"),
        *(pytest.param(w.task(status, final_response="done"), "has a final response",
                       id=f"a final response while {status}")
          for status in ("planned", "queued", "running")),
    ],
)  # fmt: skip
def test_an_impossible_task_is_refused_by_name(task, said):
    message = impossible(tasks=(w.planned(id="T-0"), task))
    assert "T-1" in message
    assert said in message


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tasks", (w.planned(), w.running())),
        ("queues", ({"id": "svc"}, {"id": "svc"})),
        ("defects", (w.defect("recorded"), w.defect("fixed"))),
    ],
)
def test_two_things_with_one_id_are_refused(name, values):
    assert f"{name}: the id" in impossible(**{name: values})


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(w.running(heartbeat=w.beat(0), trace=w.trace(0), started_at=w.NOW), id="now"),
        pytest.param(w.ended(started_at=w.ago(5), finished_at=w.ago(5)), id="no time at all"),
        pytest.param(w.task("judging", final_response="done"), id="judging has its response"),
        pytest.param(w.task(None), id="a status nobody knows"),
    ],
)
def test_a_possible_world_is_taken(task):
    assert w.world(task).tasks == (task,)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        pytest.param((), {"tsaks": []}, id="snapshot"),
        pytest.param(("tasks", 0), {"heartBeat": None}, id="task"),
        pytest.param(("tasks", 0, "heartbeat"), {"expires": None}, id="heartbeat"),
        pytest.param(("tasks", 0, "evidence", 0), {"observed": True}, id="evidence"),
        pytest.param(("window",), {"limits": 3}, id="window"),
        pytest.param(("wave", "grants"), {"all": True}, id="grants"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path(where, value):
    plain = json.loads(w.world(w.running(evidence=w.climbed())).model_dump_json())
    table = plain
    for step in where:
        table = table[step]
    table.update(value)
    with pytest.raises(ValidationError) as caught:
        Snapshot.model_validate(plain)
    first = caught.value.errors()[0]
    assert first["type"] == "extra_forbidden"
    assert first["loc"] == (*where, *value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"mode": "yolo"}, id="a mode that is none"),
        pytest.param({"now": "2026-11-22T10:00:00"}, id="a time without a zone"),
        pytest.param({"schema": "wavekeeper.snapshot/2"}, id="another schema"),
        pytest.param({"window": {"limit": 0}}, id="a window of no lanes"),
        pytest.param({"supervisor": {"interval": 0}}, id="an interval of no time"),
        pytest.param({"tasks": [{"id": "--force"}]}, id="an id that looks like an option"),
        pytest.param({"tasks": [{"id": "a/../b"}]}, id="an id that looks like a path"),
        pytest.param({"tasks": [{"id": ""}]}, id="an empty id"),
        pytest.param({"tasks": [{"id": "x" * 65}]}, id="an endless id"),
        pytest.param({"tasks": [{"id": "T-1", "status": "done"}]}, id="a status that is none"),
        pytest.param({"tasks": [{"id": "T-1", "evidence": [{"id": "E", "kind": "vibes",
                      "origin": "observed"}]}]}, id="a kind of proof that is none"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused(change):
    with pytest.raises(ValidationError):
        Snapshot.model_validate({"schema": "wavekeeper.snapshot/1", "now": str(w.NOW)} | change)


def test_the_least_snapshot_is_a_moment():
    least = Snapshot.model_validate_json('{"now": "2026-11-22T10:00:00Z"}')
    assert (least.now, least.mode, least.tasks) == (w.NOW, None, ())


def test_a_snapshot_survives_json():
    for seed in range(100):
        snapshot = random_world(seed)
        assert Snapshot.model_validate_json(snapshot.model_dump_json()) == snapshot


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def test_json_is_camel_case_and_says_its_schema():
    full = w.running(
        evidence=w.climbed(), judge=w.judged("fail"), review=w.reviewed(C1="met"),
        late_reports=(w.late(),),
    )  # fmt: skip
    snapshot = w.world(full, window={"outcomes": w.outcomes(1, 1)}, defects=(w.defect(),))
    plain = json.loads(snapshot.model_dump_json())
    assert plain["schema"] == "wavekeeper.snapshot/1"
    assert {"lastTickAt", "submitLock", "attemptsLeft", "expiresAt", "lateReports"} <= keys(plain)
    assert not [key for key in keys(plain) if not re.fullmatch(r"[a-z][A-Za-z]*", key)]


def test_every_noun_is_frozen_and_refuses_strangers():
    nouns = [
        one
        for one in vars(nouns_module).values()
        if isinstance(one, type) and issubclass(one, BaseModel) and one is not BaseModel
    ]
    assert len(nouns) > 15
    for noun in nouns:
        assert noun.model_config["frozen"], noun
        assert noun.model_config["extra"] == "forbid", noun


def test_every_status_has_its_place():
    groups = (ACTIVE, TERMINAL, {Status.PLANNED})
    assert set().union(*groups) == set(Status)
    assert not [
        one & other for one, other in product(groups, groups) if one is not other and one & other
    ]


@pytest.mark.parametrize("word", get_args(Held))
def test_the_contracts_status_holds_the_supervisors_word_as_well(word):
    """`wavekeeper.snapshot/1` has one field for both; inside they stand beside each other."""
    task = Task.model_validate({"id": "T-1", "status": word})
    assert (task.status, task.held, task.word) == (None, word, word)
    both = Task.model_validate({"id": "T-1", "status": "failed", "held": word})
    assert (both.status, both.held, both.word) == (Status.FAILED, word, word)
