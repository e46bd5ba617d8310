import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.agents import resets

NOW = datetime(2026, 11, 28, 14, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")  # an hour ahead of UTC on that day

TIMES = [
    ("or try again at 11:04 PM.", "28 22:05", "a time of day, in the host's zone"),
    ("resets 3am", "29 02:01", "a time of day that is tomorrow"),
    ("resets 2:50pm", "28 13:51", "a time of day that has just passed"),
    ("session limit · resets 3pm (UTC)", "28 15:01", "with a zone"),
    ("limit will reset at 3pm (America/Santiago).", "28 18:01", "with a named zone"),
    ("resets 4pm (Nowhere/Such)", "28 15:01", "with a zone that is none"),
    ("resets tomorrow at 5am", "29 04:01", "tomorrow"),
    ("resets Monday at 9:00 AM", "30 08:01", "a weekday"),
    ("try again at Dec 4th, 2026 9:00 AM", "04 08:01", "a date"),
    ("resets Nov 29, 3am (Europe/Berlin)", "29 02:01", "a date with a zone"),
    ("You will regain access on 2026-12-01 at 00:00 UTC.", "01 00:01", "a first of a month"),
    ("reset at 2026-11-28T15:00:30Z", "28 15:00", "ISO 8601"),
    ("try again in 2 days 17 hours", "01 07:00", "a span"),
    ("Try again in 3 days, 2 hours and 5 minutes.", "01 16:05", "a longer span"),
    ("resets in 4h5m", "28 18:05", "a short span"),
    ("Please try again in 20.5s.", "28 14:00", "seconds in words"),
    ('"resets_in_seconds": 7200', "28 16:00", "seconds as a field"),
    ("Retry-After: 120", "28 14:02", "the header"),
    ("retry-after-ms: 60000", "28 14:01", "the header in milliseconds"),
    ('"retryDelay": "60s"', "28 14:01", "Google's field"),
    ('"resets_at":1795900000,', "28 21:06", "an epoch"),
    ("usage limit reached|1795900000", "28 21:06", "an older Claude's epoch"),
    ('"resetsAt": 1795900000000', "28 21:06", "an epoch in milliseconds"),
]
NONSENSE = [
    "Try again in a moment. If it persists, ask.",
    "try again later",
    "it resets",
    "resets at 99:99 PM",
    "resets_at: 1999999999",
    "resets_at: 9999999999999",
    "try again in 9999 days",
    "retry-after: 999999999",
    "resets Jan 1, 1970",
    "retry 3 times in 20",
    "11:04 PM",
]


@pytest.mark.parametrize(
    ("text", "at"), [pytest.param(text, at, id=name) for text, at, name in TIMES]
)
def test_the_time_is_found(text: str, at: str) -> None:
    found = resets.find(f"You have hit a limit. {text}", NOW, BERLIN)
    assert found is not None
    assert found.utcoffset() == timedelta()
    assert f"{found:%d %H:%M}" == at


@pytest.mark.parametrize("text", NONSENSE)
def test_what_can_be_no_reset_time_is_none(text: str) -> None:
    assert resets.find(text, NOW, BERLIN) is None


def test_without_a_zone_the_host_s_own_applies() -> None:
    here = NOW.astimezone().replace(hour=23, minute=4)
    found = resets.find(f"try again at {here:%I:%M %p}", NOW)
    assert found is not None
    assert f"{found.astimezone():%H:%M}" == "23:05"


@settings(deadline=None)
@given(st.text() | st.from_regex(r"(try again|resets) (at|in) [0-9a-z :,]{0,12}"))
def test_any_text_gives_a_time_within_bounds_or_none(text: str) -> None:
    found = resets.find(text, NOW, BERLIN)
    assert found is None or timedelta(days=-1) <= found - NOW <= resets.LONGEST


@pytest.mark.parametrize(
    "part",
    [
        "1 ",
        "1h",
        "at ",
        "resets ",
        "resets at 1:00:00:00",
        "9",
        " ",
        ",",
        "1 , ",
        "try again in 1 ",
    ],
)
def test_no_text_makes_the_search_slow(part: str) -> None:
    began = time.monotonic()
    resets.find("resets " + part * 100_000, NOW, BERLIN)
    assert time.monotonic() - began < 2


def test_a_time_of_day_is_over_when_its_minute_is() -> None:
    found = resets.find("try again at 3:00 PM", NOW, UTC)
    assert found == NOW.replace(hour=15, minute=1)
    assert resets.find("try again in 60 minutes", NOW, UTC) == NOW.replace(hour=15)
