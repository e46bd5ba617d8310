"""What the desk and the commands beside it say alike."""

from datetime import UTC, datetime, timedelta

from agent.core.approval.requests import ApprovalRequest
from agent.core.model.durations import seconds
from agent.errors import UserError


def until(how_long: str | None) -> datetime | None:
    """When a time from now is over; None: until something changes. UserError: it is no duration."""
    if not how_long:
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=seconds(how_long))
    except (ValueError, OverflowError) as error:
        raise UserError(f"{how_long!r:.40}: {error}") from error


def put_off(request: ApprovalRequest) -> str:
    """Until when."""
    if request.deferred_until is None:
        return "is put off until something changes"
    return f"is put off until {request.deferred_until:%Y-%m-%d %H:%M:%SZ}"


def coming(*, supervised: bool) -> str:
    """What follows a yes."""
    if supervised:
        return "the supervisor looks again and then does it"
    return "nobody supervises now: `wavekeeper run` looks again and then does it"
