"""An attempt as flat texts and numbers, for a queue that keeps its tasks in a table."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from agent.core.model.nouns import JudgeRecord, Status
from agent.core.model.queueing import Order
from agent.core.queue.rules import Attempt, written

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def stamp(at: datetime) -> int:
    """Microseconds since 1970; whole ones, so that `time_of` gives back exactly what was stored."""
    return (at - _EPOCH) // _MICROSECOND


def time_of(microseconds: int) -> datetime:
    """The time that was stored as `stamp`."""
    return _EPOCH + microseconds * _MICROSECOND


COLUMNS: Final = tuple(field.name for field in fields(Attempt))
TASK_COLUMNS: Final = frozenset({"order", "created_at"})
"""Those that are the same for all attempts of a task."""

_READ: Final[Mapping[str, Callable[[Any], object]]] = {
    "state": Status,
    "order": Order.model_validate_json,
    "judge": JudgeRecord.model_validate_json,
    "final_response_truncated": bool,
    "created_at": time_of,
    "lease_until": time_of,
    "heartbeat_at": time_of,
    "started_at": time_of,
    "finished_at": time_of,
    "traced_at": time_of,
}


def row_of(attempt: Attempt) -> dict[str, str | int | None]:
    """The attempt by column: times as stamps, models as JSON, yes and no as 1 and 0."""
    return {name: _flat(getattr(attempt, name)) for name in COLUMNS}


def _flat(value: Any) -> str | int | None:  # noqa: ANN401 - any field of an attempt
    match value:
        case datetime():
            return stamp(value)
        case Order() | JudgeRecord():
            return written(value)
        case bool():
            return int(value)
        case Status():
            return value.value
        case None | str() | int():
            return value
        case _:
            raise TypeError(f"no column can hold {value!r}")


def attempt_of(row: Mapping[str, Any]) -> Attempt:
    """The attempt that was stored as `row_of`; other columns of the row are left out."""
    values: dict[str, Any] = {name: row[name] for name in COLUMNS}
    for name, read in _READ.items():
        if values[name] is not None:
            values[name] = read(values[name])
    return Attempt(**values)
