"""What the probes share: how a finding becomes evidence. This module implements no port."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from agent.adapters.common.http import HttpError
from agent.backends import Check
from agent.core.model.nouns import Evidence, ProofKind
from agent.core.model.queueing import TaskView
from agent.core.model.text import one_line

COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,40}|[0-9a-fA-F]{64}")
"""A commit's name, or the beginning of one that is long enough to mean something."""
_SHOWN: Final = 400
_LEAST: Final = 7
_SHORT: Final = 12


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


def evidence(
    probe: str, findings: Iterable[Finding], view: TaskView, now: datetime
) -> Sequence[Evidence]:
    """One item per finding, all seen at `now` and of this attempt. `probe` is part of their ids."""
    times: Counter[ProofKind] = Counter()
    items = []
    for one in findings:
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
                observed_at=now,
                detail=one_line(one.detail)[:_SHOWN],
                attempt=view.attempt,
                base=one.base or None,
                source=one_line(one.source)[:_SHOWN] if one.source else None,
                answer=one.answer,
            ),
        )
    return items


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
