"""The states of a task in a queue, as one table. All that changes a state goes through `step`."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

from agent.core.model.nouns import Status

Stop = Literal["interrupt", "cancel"]

QUEUE_STATES: Final = (
    Status.QUEUED,
    Status.RUNNING,
    Status.JUDGING,
    Status.SUCCEEDED,
    Status.FAILED,
    Status.CANCELLED,
    Status.LOST,
)
LEASED: Final = frozenset({Status.RUNNING, Status.JUDGING})
"""A worker host holds a lease for it, and it fills one place of its queue's `max_running`."""


class Event(StrEnum):
    """What can happen to a task in a queue."""

    CLAIM = "claim"
    MOVE = "move"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    """It ended without a result: it was never started, or its process tree is gone."""
    EXPIRE = "expire"
    RETRY = "retry"


TRANSITIONS: Final[Mapping[tuple[Status, Event], Status]] = {
    (Status.QUEUED, Event.CLAIM): Status.RUNNING,
    (Status.QUEUED, Event.MOVE): Status.QUEUED,
    (Status.QUEUED, Event.CANCEL): Status.CANCELLED,
    (Status.RUNNING, Event.SUCCEED): Status.SUCCEEDED,
    (Status.RUNNING, Event.FAIL): Status.FAILED,
    (Status.RUNNING, Event.CANCEL): Status.CANCELLED,
    (Status.RUNNING, Event.EXPIRE): Status.LOST,
    (Status.SUCCEEDED, Event.RETRY): Status.QUEUED,
    (Status.FAILED, Event.RETRY): Status.QUEUED,
    (Status.CANCELLED, Event.RETRY): Status.QUEUED,
    (Status.LOST, Event.RETRY): Status.QUEUED,
}

STOPS: Final[Mapping[tuple[Stop | None, Stop], Stop]] = {
    (None, "interrupt"): "interrupt",
    (None, "cancel"): "cancel",
    ("interrupt", "cancel"): "cancel",
}
"""The result of a stop request after an earlier one; a missing pair changes nothing."""

ENDINGS: Final[Mapping[tuple[str, Stop | None], Event]] = {
    ("succeeded", None): Event.SUCCEED,
    ("succeeded", "interrupt"): Event.SUCCEED,
    ("succeeded", "cancel"): Event.CANCEL,
    ("failed", None): Event.FAIL,
    ("failed", "interrupt"): Event.FAIL,
    ("failed", "cancel"): Event.CANCEL,
    ("stopped", None): Event.FAIL,
    ("stopped", "interrupt"): Event.FAIL,
    ("stopped", "cancel"): Event.CANCEL,
}
"""What a report means, given the stop that was requested: work that was finished before an
interrupt arrived counts; after a cancel it never does."""


def allows(state: Status, event: Event) -> bool:
    """Whether `event` can happen to a task in `state`."""
    return (state, event) in TRANSITIONS


def step(state: Status, event: Event) -> Status:
    """The state after `event`. ValueError for a pair the table does not have."""
    if not allows(state, event):
        raise ValueError(f"a task that is {state.value!r} cannot take the event {event.value!r}")
    return TRANSITIONS[state, event]
