"""A task that delivers the service `shop`, and the settings that a person would write for it."""

from datetime import timedelta
from pathlib import Path

from agent.adapters.evidence.settings import ServiceSettings
from agent.adapters.files.config import read_settings
from agent.core.model.nouns import TaskKind
from agent.core.model.queueing import Order, TaskView
from tests.adapters.waves_contract import NOW, spec

COMMIT = "c0ffee" + "0" * 34
OTHER = "0ddba11" + "0" * 33
DIGEST = "sha256:" + "d" * 64
LATE = NOW + timedelta(hours=1)
"""When all patience has run out."""

TASK = spec().model_copy(
    update={"service": "shop", "kind": TaskKind.ARTIFACT_DELIVERY, "branch": "wave/a"}
)


def view(*, state="succeeded", finished=NOW, attempt=2) -> TaskView:
    return TaskView(
        id=TASK.id, queue="main", state=state, attempt=attempt, prompt="do", created_at=NOW,
        updated_at=NOW, started_at=NOW - timedelta(minutes=5), finished_at=finished,
        order=Order(kind=TASK.kind, branch=TASK.branch),
    )  # fmt: skip


def services(folder: Path, text: str) -> dict[str, ServiceSettings]:
    """`text` goes through the real reader, as a person's file does."""
    path = folder / "wavekeeper.toml"
    path.write_text(f'[services.shop]\ntimeout = "2s"\n{text}', encoding="utf-8")
    return read_settings(path).services


def knows(value):
    """Another probe that knows this of every task."""
    return lambda _spec, _view, _now: value


def told(items):
    """What a table of expectations compares: kind, verdict, value."""
    return [(str(one.kind), one.holds, one.value) for one in items]
