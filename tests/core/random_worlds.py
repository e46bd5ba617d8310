"""Random snapshots near the interesting ones: a world in order with a few things wrong or unknown.

Uniformly random ones are refused for ten reasons at once and would hide what one reason does.
"""

import random
from collections.abc import Callable
from typing import Any, Final, get_args

from agent.core.model.nouns import Command, FailureClass, Review, Snapshot, Status, Task
from tests.core import worlds as w

_BASES: Final[tuple[Callable[..., Task], ...]] = (
    w.running, w.running, w.ended, w.proven, w.without_jq, w.parked, w.planned,
    lambda **over: w.silent(1300, **over),
    lambda **over: w.ended(**{"status": "lost"} | over),
)  # fmt: skip
_AGES: Final = (0, 1, 300, 360, 400, 1199, 1200, 1300, 9000)
_BEATS: Final = tuple(
    w.beat(age, lasts - age)
    for age, lasts in ((5, 60), (1, 1), (400, 60), (1300, 60), (1300, 9000))
)
_DOUBTS: Final = tuple(
    w.seen(kind, id="E-doubt", **over)
    for kind in ("commit-pushed", "checks-passed", "live-health")
    for over in (
        {"origin": "claimed"}, {"holds": False}, {"holds": None}, {"value": "0000000"},
        {"observed_at": None}, {"holds": False, "observed_at": w.ago(5)},
    )
)  # fmt: skip
_TASK: Final[dict[str, tuple[Any, ...]]] = {
    "status": (*Status, None),
    "kind": ("infrastructure", "documentation"),
    "attempt": (2, 10, None),
    "attempts_left": (1, 0, None),
    "tokens_left": (1, 0, None),
    "session_continuable": (False, None),
    "finished_at": (w.NOW, w.ago(100), None),
    "started_at": (w.ago(900), w.ago(9000), None),
    "scheduler": ({"status": "running"}, {"status": "expired"}),
    "heartbeat": (
        None, *_BEATS, w.beat(attempt=2), w.beat(attempt=None), w.beat(origin="recovery"),
        w.beat(origin=None), w.beat(expires_at=None),
    ),
    "trace": (None, w.trace(attempt=2), w.trace(attempt=None), *map(w.trace, _AGES)),
    "probe": ("failed", "timeout", None),
    "waiting_for": ("permission", "provider-reset"),
    "at_risk_polls": (None, 1, 3),
    "last_interrupt_at": (w.ago(1700), w.ago(1800)),
    "cancel_requested": (None, True),
    "last_error": (
        "bash: line 1: jq: command not found", "sh: 1: gh: not found", "exit code 1", "",
        "ERROR: You've hit your usage limit.", "rate_limit_error", "interrupted: silent",
        "the worker host was stopped", "prompt is too long", "fatal: No space left on device",
    ),
    "failure": tuple(
        w.typed(name, at)
        for name in get_args(FailureClass)
        for at in (None, w.ago(-900), w.ago(-1e9))
    ),
    "judge": (
        None, w.judged("pass"), w.judged("fail", "1 failed"), w.judged("fail", w.JQ_MISSING),
        w.judged("unknown"), w.judged("pass", shown=False), w.judged("pass", commit="0000000"),
        w.judged("pass", commit=w.COMMIT), w.judged("pass", at=w.ago(500)),
    ),
    "judging": ("ordered", "running"),
    "queue_judge": (w.judged("pass"), w.judged("fail", "1 failed")),
    "tree_gone": (None, False, True),
    "shown_by": ("check", "push"),
    "acceptance_commands": (
        (), (Command(argv=("./check",)),), (Command(argv=("./check",), heavy=True),),
    ),
    "inspected": (False, None),
    "late_reports": ((w.late(),), (w.late(inspected=True),)),
    "write_scope": (("services/b/**",), (), None),
    "prompt": ("Continue where you left off.", " ", None),
    "criteria": (None, (), w.proved_by("judgement"), w.proved_by("live-health", "judgement")),
    "evidence": ((), w.climbed(), *((*w.climbed(), one) for one in _DOUBTS)),
    "review": tuple(w.reviewed(C1=said) for said in ("met", "unmet", "cannot-tell"))
    + tuple(Review(abstained="no answer", pending=pending) for pending in (True, False)),
    "blocked_by": ("D-1", "D-2"),
    "canary": (True,),
    "depends_on": (("T-0",), ("T-1", "T-9")),
    "fixes": ("D-1",),
    "final_response_truncated": (True,),
}  # fmt: skip
_WORLD: Final[dict[str, tuple[Any, ...]]] = {
    "mode": ("approve", "observe", None),
    "supervisor": (
        {}, {"last_tick_at": w.ago(5000)}, {"last_tick_at": w.ago(300), "interval": 30},
        {"last_tick_at": w.ago(300), "low_memory": True},
    ),
    "remedies": (w.remedies("dev"), w.remedies("production"), w.remedies("dev", "production")),
    "wave": (
        {"grants": {"production_repair": True, "established_deploy_path": True}},
        {"grants": {"manual_takeover": ("T-0",)}},
    ),
    "control_plane": (
        {"reachable": False, "submit_lock": "free"}, {"reachable": True, "submit_lock": "held"},
        {"reachable": True}, {"submit_lock": "free"},
    ),
    "window": tuple(
        {"limit": limit, "outcomes": w.outcomes(good, bad), "changed_at": changed}
        for limit in (None, 1, 2, 5, 10)
        for good, bad in ((0, 0), (12, 0), (6, 6))
        for changed in (None, w.ago(50), w.ago(1000))
    ),
    "defects": tuple(
        (w.defect(status, **over),)
        for status in ("observed", "recorded", "fixed")
        for over in (
            {}, {"fixed_by": "T-0"}, {"proven_by": "T-4"}, {"id": "D-2"}, {"remedied": True},
            {"fixed_by": "T-0", "proven_by": "T-1", "seen_in": ("T-1", "T-2")},
        )
    ),
}  # fmt: skip


def random_world(seed: int) -> Snapshot:
    """The world of this number: up to four tasks, each with at most three things changed."""
    chance = random.Random(seed)
    tasks = []
    for number in range(chance.choice((1, 2, 4))):
        own = {"id": f"T-{number}", "write_scope": (f"services/{number}/**",)}
        changed = own | _some(chance, _TASK, 3)
        if changed.get("status") in ("planned", "queued", "running"):
            changed["final_response"] = None
        task = chance.choice(_BASES)(**changed)
        if task.status in ("planned", "queued", "running"):
            task = task.model_copy(update={"failure": None})
        tasks.append(task)
    return w.world(*tasks, **_some(chance, _WORLD, 2))


def _some(chance: random.Random, pool: dict[str, tuple[Any, ...]], most: int) -> dict[str, Any]:
    names = chance.sample(sorted(pool), chance.randint(0, most))
    return {name: chance.choice(pool[name]) for name in names}
