"""What the probes share: how a finding becomes evidence. This module implements no port."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

from agent.adapters.common.http import Answer, HttpError, InstallationError
from agent.backends import Check
from agent.core.model.nouns import Evidence, ProofKind
from agent.core.model.queueing import TaskView
from agent.core.model.text import one_line

COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,40}|[0-9a-fA-F]{64}")
"""A commit's name, or the beginning of one that is long enough to mean something."""
FRESH: Final = {"cache-control": "no-cache", "pragma": "no-cache"}
"""Asks every cache on the way to ask the server itself; some do not do so, and then say so."""
_SHOWN: Final = 400
_LEAST: Final = 7
_SHORT: Final = 12
_MARKER: Final = re.compile(r"cf-cache-status|cache-status|x-(?:[a-z]+-)*cache(?:-[a-z]+)*")
"""The headers in which caches say what they did: RFC 9211's, and those of before."""
_FROM_CACHE: Final = frozenset({"hit", "refreshhit", "hit=?1", "stale", "updating", "prerender"})
_STALE_WARNING: Final = re.compile(r"(?:^|,)\s*11[0-3]\b")
_MOST_AGE: Final = 2**31
"""RFC 9111 counts no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look at one place showed."""

    kind: ProofKind
    holds: bool | None
    detail: str
    value: str | None = None
    base: str | None = None
    """For `commit-pushed`: the commit that the change is compared with."""
    source: str | None = None
    """Where it was fetched."""
    answer: str | None = None
    """The sha256 of the raw answer."""
    at: datetime | None = None
    """When it was true, if that was before it was looked at."""
    fault: bool = False
    """It is unknown because the installation is not in order, which no attempt can repair."""


def unanswered(kind: ProofKind, error: HttpError, source: str, *, late: bool = False) -> Finding:
    """What is known where nothing could be read: nothing.

    `late`: whoever cannot be reached by now is away for long, or the address is wrong.
    """
    fault = isinstance(error, InstallationError) or (late and not error.answered)
    return Finding(kind=kind, holds=None, detail=str(error), source=source, fault=fault)


def evidence(
    probe: str,
    findings: Iterable[Finding],
    view: TaskView,
    now: datetime,
    ask_after: float | None = None,
) -> Sequence[Evidence]:
    """One item per finding, all of this attempt and none newer than `now`.

    What was true only before the attempt ended, is unknown now. `probe` is part of the ids.
    `ask_after`: as in `ServiceSettings`.
    """
    times: Counter[ProofKind] = Counter()
    items = []
    for one in (_since_the_end(one, view) for one in findings):
        times[one.kind] += 1
        number = f"-{times[one.kind]}" if times[one.kind] > 1 else ""
        name = f".{probe}" if probe else ""
        items.append(
            Evidence(
                id=f"{one.kind}@{view.attempt}{name}{number}",
                kind=one.kind,
                origin="observed",
                holds=one.holds,
                value=one_line(one.value)[:_SHOWN] if one.value is not None else None,
                # That something is unknown is seen now, however old the answer.
                observed_at=min(now, one.at or now) if one.holds is not None else now,
                detail=one_line(one.detail)[:_SHOWN],
                attempt=view.attempt,
                base=one.base or None,
                source=one_line(one.source)[:_SHOWN] if one.source else None,
                answer=one.answer,
                ask_after=ask_after if one.holds is None else None,
                fault=one.fault or None,
            ),
        )
    return items


def _since_the_end(found: Finding, view: TaskView) -> Finding:
    """Neither a yes nor a no counts that may have changed with the attempt's last step."""
    ended = view.finished_at
    if found.at is None or found.holds is None or ended is None or found.at >= ended:
        return found
    detail = f"that is of {found.at:%Y-%m-%d %H:%M:%SZ}, before the attempt ended: {found.detail}"
    return replace(found, holds=None, value=None, detail=detail)


def dated(found: Finding, answer: Answer, now: datetime) -> Finding:
    """The finding with the time when what `answer` says was true; unknown if a cache hides it."""
    at = _true_at(answer, now)
    if at is None:
        detail = f"a cache answered and does not say how old that is: {found.detail}"
        return replace(found, holds=None, value=None, detail=detail)
    return replace(found, at=min(at, found.at or at))


def _true_at(answer: Answer, now: datetime) -> datetime | None:
    """As RFC 9111 dates an answer: by `Age` and by `Date`, whichever makes it older.

    None: a cache gave it, and nothing says when it had asked. No header makes it newer than `now`.
    """
    at, headers = now, answer.headers
    if (age := headers.get("age")) is not None:
        # Of several the first counts; what is no number is an age that nobody knows.
        first = age.split(",")[0].strip()
        if not (first.isascii() and first.isdigit()):
            return None
        at = _earlier(now, min(int(first.lstrip("0")[:11] or "0"), _MOST_AGE))
    elif any(map(_says_cached, headers, headers.values())):
        return None
    made = _http_date(headers.get("date"))
    expired, lifetime = _http_date(headers.get("expires")), _lifetime(headers)
    if expired is not None and expired < now and lifetime:
        # Past its own end, so it waited somewhere; it was made a lifetime before that.
        at = min(at, _earlier(expired, lifetime))
    return at if made is None else min(at, made)


def _says_cached(name: str, value: str) -> bool:
    name, value = name.lower(), value.lower()
    if name == "warning":
        return _STALE_WARNING.search(value) is not None
    # A lookup that hit is not yet an answer from there: asked for `no-cache`, Squid goes on.
    if not _MARKER.fullmatch(name) or name.endswith("-lookup"):
        return False
    if name.endswith("-hits"):
        return re.search("[1-9]", value) is not None
    words = re.split(r"[^a-z0-9=?-]+", value.replace("_", " "))
    return not _FROM_CACHE.isdisjoint(words)


def _lifetime(headers: Mapping[str, str]) -> int:
    """Seconds for which a cache may keep the answer, beside its `Expires`; 0: it may not."""
    control = headers.get("cache-control", "").lower()
    found = re.search(r"(?:^|[,\s])max-age=\"?([0-9]{1,10})", control)
    if found is None or re.search(r"no-(?:cache|store)", control):
        return 0
    return min(int(found[1]), _MOST_AGE)


def _http_date(value: str | None) -> datetime | None:
    """In any of the three forms of RFC 9110; None for anything else."""
    try:
        found = parsedate_to_datetime(value or "")
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _earlier(at: datetime, seconds: int) -> datetime:
    try:
        return at - timedelta(seconds=seconds)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def absent(view: TaskView, now: datetime, patience: float) -> bool | None:
    """What the absence of a thing means: None, not known, while it may be on its way."""
    if view.finished_at is None or now < view.finished_at + timedelta(seconds=patience):
        return None
    return False


def whole(value: str, commit: str | None) -> str:
    """The whole name of `commit` where `value` is its beginning, as programs often print it."""
    value = value.lower()
    if commit is not None and len(value) >= _LEAST and commit.startswith(value):
        return commit
    return value


def named(
    kind: ProofKind,
    value: str,
    wanted: str | None,
    late: bool | None,  # noqa: FBT001 - from `absent`
    *,
    place: str,
    source: str,
    answer: str,
) -> Finding:
    """A commit or digest found at `place`. Whether it is the right one, the core compares.

    One that is not `wanted` proves nothing as long as the right one may still be on its way.
    """
    seen = partial(Finding, kind=kind, source=source, answer=answer)
    if wanted is not None and value != wanted and late is None:
        detail = f"{place} still says {short(value)}, not {short(wanted)}; it may be on its way"
        return seen(holds=None, detail=detail)
    return seen(holds=True, value=value, detail=f"{place} says {short(value)}")


def short(name: str) -> str:
    """A commit or a digest, as a person compares it."""
    head, colon, tail = name.rpartition(":")
    return f"{head}{colon}{tail[:_SHORT]}"


def asked(name: str, look: Callable[[], str]) -> Check:
    """For `doctor`: whether the place that `look` asks answers."""
    try:
        return Check(name=name, state="ok", said=look())
    except HttpError as error:
        fix = (
            "until it answers, what it knows is unknown and nothing is accepted; "
            "see wavekeeper.toml"
        )
        return Check(name=name, state="fail", said=str(error), fix=fix)
