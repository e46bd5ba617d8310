"""What a queue shows of what it keeps: leases, tasks, queues and cursors."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from agent.core.model.nouns import Heartbeat, LateReport, Reported, Status, Trace
from agent.core.model.queueing import Cursor, Lease, QueueSpec, QueueView, TaskView
from agent.core.queue.rules import Attempt
from agent.core.queue.states import QUEUE_STATES

_UNCONFIGURED: Final = QueueSpec(id="unconfigured")


def has_room(spec: QueueSpec | None, leased: int) -> bool:
    """Whether a queue with `leased` attempts may start another; None: it is not configured."""
    return leased < (spec or _UNCONFIGURED).max_running


def lease_of(current: Attempt) -> Lease:
    """The lease of an attempt that has just been claimed."""
    return Lease.model_validate(
        {
            "task": current.task,
            "attempt": current.number,
            "token": current.token,
            "queue": current.queue,
            "prompt": current.prompt,
            "order": current.order,
            "session": current.session,
            "expires_at": current.lease_until,
        },
    )


def view(current: Attempt, *, updated_at: datetime, late: Sequence[LateReport]) -> TaskView:
    """The task as the queue shows it; `late` in the order of arrival."""
    heartbeat = current.heartbeat_at and Heartbeat(
        at=current.heartbeat_at,
        expires_at=current.lease_until,
        attempt=current.number,
        origin="worker",
    )
    trace = current.traced_at and Trace(
        last_event_at=current.traced_at,
        attempt=current.number,
        last_sequence=current.last_sequence,
    )
    return TaskView(
        id=current.task,
        queue=current.queue,
        state=current.state,
        attempt=current.number,
        prompt=current.prompt,
        order=current.order,
        created_at=current.created_at,
        updated_at=updated_at,
        started_at=current.started_at,
        finished_at=current.finished_at,
        worker=current.worker,
        stop_requested=current.stop,
        control_plane=Reported(status=current.state),
        scheduler=Reported(status=current.state),
        heartbeat=heartbeat,
        trace=trace,
        last_message=current.last_message,
        last_error=current.last_error,
        final_response=current.final_response,
        final_response_truncated=current.final_response_truncated,
        judge=current.judge,
        session=current.session,
        late_reports=tuple(late),
    )


def queue_views(
    specs: Mapping[str, QueueSpec], tally: Mapping[tuple[str, Status], int]
) -> list[QueueView]:
    """Every queue that is configured or holds a task, by id; `tally` counts (queue, state)."""
    holding = {queue for (queue, _), count in tally.items() if count}
    return [
        QueueView(
            **(specs.get(name) or QueueSpec(id=name)).model_dump(by_alias=False),
            counts={state.value: tally.get((name, state), 0) for state in QUEUE_STATES},
        )
        for name in sorted({*specs, *holding})
    ]


def cursor_at(store: str, revision: int) -> Cursor:
    """The cursor of a reader who has read `store` up to `revision`."""
    return Cursor(position=f"{store}:{revision}")


def revision_of(cursor: Cursor | None, store: str, newest: int) -> int:
    """The revision a reader has read up to. ValueError for a cursor `store` cannot have made."""
    if cursor is None:
        return 0
    name, _, revision = cursor.position.partition(":")
    if name != store or not (revision.isdecimal() and int(revision) <= newest):
        raise ValueError(
            f"cursor {cursor.position!r} is not of this queue; read everything once, with None",
        )
    return int(revision)
