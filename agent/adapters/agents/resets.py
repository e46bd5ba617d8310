"""When a provider's limit ends, out of the words in which programs say it.

Epochs and seconds are read here. For all else, dates, times of day and spans in the mixtures that
each program makes up anew, dateparser is worth its 10 MB: it is kept up, and a pattern for each
form would be wrong at every new one. It is loaded only when such words were found.
"""

import itertools
import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

LONGEST: Final = timedelta(days=8)
"""Limits are of hours or a week. What lies further away is no reset time."""
_JUST_PASSED: Final = timedelta(minutes=15)
"""A time of day that has passed so recently is today's and not tomorrow's."""
_TO_THE_MINUTE: Final = timedelta(minutes=1)
"""Programs cut a time of day to the minute: whoever comes at its beginning may be too early."""
_LONG_AGO: Final = timedelta(days=1)

_EPOCH: Final = re.compile(
    r"(?:resets?_?at|reset_time|limit reached)\W{1,6}(?P<epoch>\d{10}(?:\d{3})?)(?!\d)",
    re.IGNORECASE,
)
_SECONDS: Final = re.compile(
    r"(?:resets?_in_seconds|retry[-_ ]?after|retry_?delay)(?P<ms>[-_]ms)?\W{1,6}"
    r"(?P<number>\d{1,9}(?:\.\d{1,9})?)(?P<unit>ms|s)?(?![\w:])",
    re.IGNORECASE,
)
_SPAN: Final = (
    r"\d{1,4}(?:\.\d+)? ?(?:ms|days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s|weeks?|w)"
)
_WORD: Final = (
    rf"{_SPAN}(?![a-z])"
    r"|\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\d{1,2}(?::\d\d){0,2} ?[ap]\.?m\b\.?|\d{1,2}(?::\d\d){1,2}|\d{1,4}(?:st|nd|rd|th)?\b"
    r"|(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\b"
    r"|(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\b|(?:at|in|on|and|tomorrow|today|utc|gmt)\b"
)
_WORDS: Final = re.compile(
    r"\b(?:try(?: it)? again|retry|resets?|available(?: again)?|regain access|back)"
    r"(?: (?:time|after|until))?:? +"
    rf"(?P<when>(?:{_WORD})(?:[ ,]{{0,3}}(?:{_WORD})){{0,9}})"
    r"(?: ?\((?P<zone>[A-Za-z_]+(?:/[A-Za-z_+-]+)*)\))?",
    re.IGNORECASE,
)
_SEARCHED: Final = 20_000
"""Characters of a text that are searched."""
_TRIES: Final = 5
"""Phrases of it that are tried; each costs a millisecond."""
_IS_A_SPAN: Final = re.compile(rf"\s*(?:in )?(?:{_SPAN})", re.IGNORECASE)


def find(text: str, now: datetime, zone: tzinfo | None = None) -> datetime | None:
    """The reset time that `text`, written at `now`, names; None: it names none that can be true.

    `zone`: the one in which a time without a zone is meant; None: this host's.
    """
    text = text[:_SEARCHED]
    if found := _EPOCH.search(text):
        return of_epoch(int(found["epoch"]), now)
    if found := _SECONDS.search(text):
        seconds = float(found["number"]) / (1000 if found["ms"] or found["unit"] == "ms" else 1)
        return _bounded(now, timedelta(seconds=seconds))
    for found in itertools.islice(_WORDS.finditer(text), _TRIES):
        if (at := _parsed(found["when"], found["zone"], now, zone)) is not None:
            return at
    return None


def of_epoch(number: float, now: datetime) -> datetime | None:
    """The time so many seconds, or milliseconds, after 1970; None: it can be no reset time."""
    seconds = number / 1000 if number >= 10**12 else number
    return _bounded(datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=seconds), now)


def _bounded(start: datetime, wait: timedelta, now: datetime | None = None) -> datetime | None:
    try:
        at = start + wait
    except OverflowError:
        return None
    return _plausible(at, now or start)


def _plausible(at: datetime, now: datetime) -> datetime | None:
    return at.astimezone(UTC) if now - _LONG_AGO <= at <= now + LONGEST else None


def _parsed(when: str, named: str | None, now: datetime, zone: tzinfo | None) -> datetime | None:
    import dateparser  # noqa: PLC0415 - it takes a tenth of a second, and is seldom needed

    here = _zone(named, zone)
    is_span = _IS_A_SPAN.match(when) is not None
    base = now if is_span else now - _JUST_PASSED
    try:
        at = dateparser.parse(
            when,
            languages=["en"],
            settings={
                "RELATIVE_BASE": base.astimezone(here).replace(tzinfo=None),
                "PREFER_DATES_FROM": "future",
            },
        )
        if at is None:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=here) if here is not None else at.astimezone()
        return _plausible(at if is_span or at.second else at + _TO_THE_MINUTE, now)
    except (ValueError, OverflowError):  # the library's own, for a time that no calendar has
        return None


def _zone(named: str | None, otherwise: tzinfo | None) -> tzinfo | None:
    if named is None:
        return otherwise
    try:
        return UTC if named.upper() in ("UTC", "GMT") else ZoneInfo(named)
    except (KeyError, ValueError, OSError):  # no such zone, or no name of one
        return otherwise
