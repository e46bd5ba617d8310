"""How the map looks: nothing is lost on the page, and the picture fits the terminal."""

import io
from datetime import UTC, datetime, timedelta

import pytest

from agent.cli.console import Console
from agent.cli.views import page, picture
from agent.core.model.nouns import Queue
from agent.runtime.status import (
    Blocker,
    Counts,
    LaneUse,
    LiveMap,
    MappedTask,
    MappedWave,
    Next,
    Supervised,
)

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def task(name, group="waiting", **more):
    return MappedTask(
        id=name, title="x", wave="w1", queue="main", kind="code-change", group=group, **more
    )


def coming(action, reason, clearance="cleared", rules=("a_rule",)):
    return Next(action=action, clearance=clearance, rules=rules, reason=reason)


def a_map(*tasks, **more):
    groups = [one.group for one in tasks]
    counts = {name: groups.count(name.replace("_", "-")) for name in Counts.model_fields}
    return LiveMap(
        **{
            "now": NOW,
            "mode": "auto",
            "waves": (MappedWave(id="w1", goal="the goal", tasks=9, accepted=2, open=7),),
            "sentence": "Nothing to do.",
            "lanes": LaneUse(limit=5, busy=2, free=3, advice="hold", reason="at rest"),
            "counts": Counts(**counts),
            "tasks": tasks,
            **more,
        },
    )


def drawn(parts, **environ):
    """Lines of the output; without COLUMNS there is no limit to them."""
    out = io.StringIO()
    console = Console(out, io.StringIO(), environ)
    for part in parts(console):
        console.show(part)
    return out.getvalue().splitlines()


FULL = a_map(
    task("T-4", "needs-you", status="handed-over", attempt=3, why="no attempts are left"),
    task("T-1", "working", status="running", attempt=1, age=754, silent_for=61,
         effective_liveness="live", next=coming("leave-alone", "heartbeat fresh")),
    task("T-2", "working", status="running", attempt=2, age=5000, silent_for=900,
         effective_liveness="at-risk", next=coming("leave-alone", "no output for 900 s")),
    task("T-3", status="succeeded", attempt=1, unread=True,
         next=coming("inspect", "its result is unread")),
    task("T-5", status="failed", attempt=1, evidence_gaps=("no push", "no check"),
         next=coming("retry", "no push", "refused", ("never_submit_in_a_",))),
    task("T-6", "done", status="accepted", attempt=1, why="proven"),
    supervisor=Supervised(by="host (process 7)", last_tick_at=NOW - timedelta(seconds=90)),
    queues=(Queue(id="main", counts={"queued": 0, "running": 2}), Queue(id="infra", counts={})),
    unread=("T-3",),
    blockers=(
        Blocker(id="D-1", status="recorded", reason="missing-tool", subject="lint", issue="0001",
                fixed_by="fix-d-1", waiting=("T-7", "T-8")),
        Blocker(id="D-2", status="observed"),
    ),
)  # fmt: skip


def test_the_page_shows_everything_in_its_group():
    assert drawn(lambda console: page(console, FULL)) == [
        "wave w1: the goal (2 of 9 accepted)",
        "lanes: 2 of 5 busy; hold: at rest",
        "queues: main 2 running; infra empty",
        "supervisor: host (process 7), mode auto, last tick 1m ago",
        "unread results: T-3",
        "now: Nothing to do.",
        "",
        "NEEDS YOU (1)",
        "  TASK STATUS            TRY AGE   QUIET NEXT / WHY",
        "? T-4  handed-over       3               no attempts are left",
        "",
        "WORKING (2)",
        "* T-1  running           1   12m   1m    heartbeat fresh",
        "! T-2  running           2   1h23m 15m   no output for 900 s",
        "",
        "WAITING (2)",
        "  T-3  succeeded, unread 1               inspect (cleared): its result is unread",
        "  T-5  failed            1               retry (refused: never_submit_in_a_): no push",
        "                                         gap: no push",
        "                                         gap: no check",
        "",
        "DONE (1)",
        "+ T-6  accepted          1               proven",
        "",
        "BLOCKERS (2)",
        "  D-1 recorded; missing-tool: lint; issue 0001; fixed by fix-d-1; T-7, T-8 wait",
        "  D-2 observed; no issue yet; nobody waits",
    ]


@pytest.mark.parametrize("columns", [20, 33, 40, 60, 80, 132])
def test_no_table_is_wider_than_the_terminal(columns):
    lines = drawn(lambda console: [picture(console, FULL, "the foot")], COLUMNS=str(columns))
    assert max(map(len, lines)) <= columns
    assert len(lines) == 3 + len(FULL.tasks) + 1
    assert lines[3].startswith("? T-4")
    assert lines[-1] == "the foot"


def test_on_a_narrow_page_the_reason_goes_on_below():
    lines = drawn(lambda console: page(console, FULL), COLUMNS="60")
    start = next(index for index, line in enumerate(lines) if line.startswith("? T-4"))
    words = " ".join(lines[start : start + 2]).split()
    assert words == ["?", "T-4", "handed-over", "no", "attempts", "are", "left"]


def test_the_picture_has_room_for_what_matters_most(monkeypatch):
    monkeypatch.setenv("LINES", "24")
    many = a_map(task("T-0", "needs-you"), *(task(f"T-{number}") for number in range(1, 100)))
    lines = drawn(lambda console: [picture(console, many, "the foot")], COLUMNS="80")
    assert len(lines) == 23
    assert lines[1] == "lanes 2 of 5 busy, 1 needs you, 0 working, 99 waiting, 0 done, mode auto"
    assert lines[3].startswith("? T-0")
    assert lines[-2:] == ["  and 82 more", "the foot"]


def test_the_page_leaves_old_successes_out_and_says_so():
    many = a_map(*(task(f"T-{number}", "done", status="accepted") for number in range(30)))
    lines = drawn(lambda console: page(console, many))
    assert lines.count("  and 20 more; --json shows all") == 1
    assert sum(line.startswith("+ T-") for line in lines) == 10


def test_long_names_and_hostile_texts_stay_in_their_column():
    odd = task("T" * 64, status="planned", why="\x1b[2J[red]x[/red]\nnext line")
    lines = drawn(lambda console: page(console, a_map(odd)), COLUMNS="80")
    assert max(map(len, lines)) <= 80
    assert "T" * 27 + "…" in lines[-1]
    assert "␛[red]x[/red] next line" in lines[-1]
