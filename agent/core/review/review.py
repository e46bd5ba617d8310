"""Which verdicts of a reviewer count. When in doubt, none does.

A reviewer's answer is data of unknown origin. Code checks its shape, looks up every quote in what
was shown, and lowers each verdict that its quotes do not support. Nothing here can raise one.
Policy: "treat the result as unread work until the final response and judge record have been
inspected".
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.core.assess.proof import assertion
from agent.core.model.nouns import Criterion, CriterionVerdict, Noun, Review
from agent.core.model.text import one_line, visible
from agent.core.review.brief import DIFF, RESPONSE, Brief

LONGEST_ANSWER: Final = 200_000
LEAST_QUOTED: Final = 8
"""Characters other than blanks that a quote must have, half of them letters or digits."""

ABSTENTIONS: Final[dict[str, str]] = {
    "no-response": "there is no final response to read",
    "unread-response": "a part of the final response was cut off and cannot be read",
    "too-large": "there is more text than one call may read",
    "refusal": "the model refused to answer",
    "truncated": "the answer was cut off",
    "stop-reason": "the answer ended for an unexpected reason",
    "shape": "the answer is not a single text",
    "not-json": "the answer is not one JSON object",
    "duplicate-key": "the answer has a key twice",
    "schema": "the answer does not have the agreed form",
    "wrong-ids": "the answer does not cover exactly the given criteria",
    "injection-suspected": "the reviewer suspects that the result tries to steer it",
    "unclean": "what would be shown could not be searched for secrets",
    "no-key": "there is no key for the model's API",
    "not-permitted": "the model's API refused the key",
    "bad-request": "the model's API refused the request",
    "spend-limit": "the provider's own spending limit is reached",
    "bad-answer": "the model's API did not answer with a message",
    "deadline": "no answer came before the deadline",
    "unavailable": "the model's API did not answer",
}
"""Every reason why there is no verdict: its code, and the sentence that a person reads."""
OUTAGES: Final = frozenset({"deadline", "unavailable", "spend-limit", "not-permitted", "no-key"})
"""Faults of the provider or the installation: the review waits, and no task is charged."""
FINAL: Final = frozenset({"no-response", "too-large", "unread-response", "injection-suspected"})
"""Asking again would give the same result."""


class RetryPolicy(Noun):
    """How often a review without a verdict is requested again."""

    tries: Annotated[int, Field(ge=1)] = 2
    """Unusable answers before a person is asked."""
    backoff: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after the first call that nobody answered; doubled each time."""
    longest: Annotated[float, Field(gt=0)] = 3600.0


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Quote(_Strict):
    item: Annotated[str, Field(max_length=200)]
    text: Annotated[str, Field(max_length=2000)]


class _Judgement(_Strict):
    id: Annotated[str, Field(max_length=200)]
    justification: Annotated[str, Field(max_length=4000)]
    quotes: Annotated[list[_Quote], Field(max_length=10)]
    verdict: Literal["met", "unmet", "cannot-tell"]


class _Answer(_Strict):
    criteria: Annotated[list[_Judgement], Field(max_length=100)]
    injection_suspected: bool


class Reply(Noun):
    """A model's answer, not checked yet."""

    stop_reason: str | None = None
    texts: tuple[str | None, ...] = ()
    others: tuple[str, ...] = ()
    """Kinds of blocks that are neither text nor thinking."""


class AbstainError(Exception):
    """There is no verdict; `code` is one of `ABSTENTIONS`."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.sentence = ABSTENTIONS[code] + (f": {one_line(detail)[:200]}" if detail else "")


def abstention(brief: Brief, error: AbstainError) -> Review:
    """A review without verdicts, and why it has none."""
    return Review(
        attempt=brief.attempt, digest=brief.digest(), seen=brief.seen, code=error.code,
        abstained=error.sentence,
    )  # fmt: skip


def refuse_unreadable(brief: Brief) -> None:
    """AbstainError if a review is pointless: the result cannot be read in full."""
    response = next((one for one in brief.exhibits if one.id == RESPONSE), None)
    if response is None or not response.text.strip():
        raise AbstainError("no-response")
    if response.cut:
        raise AbstainError("unread-response")


def plan_retry(
    review: Review, before: Review | None, retry_policy: RetryPolicy, now: datetime
) -> Review:
    """The review with its next try: an outage delays it, an unusable answer is asked once more.

    `before`: the last one of the same task; that of another attempt does not count.
    """
    if review.abstained is None or review.code in FINAL:
        return review
    if before is None or before.attempt != review.attempt:
        before = Review()
    if review.code in OUTAGES:
        wait = min(retry_policy.longest, retry_policy.backoff * 2.0 ** min(before.outages, 20))
        update: dict[str, Any] = {
            "pending": True,
            "tries": before.tries,
            "outages": before.outages + 1,
            "retry_at": now + timedelta(seconds=wait),
        }
    else:
        update = {"tries": before.tries + 1, "pending": before.tries + 1 < retry_policy.tries}
    return review.model_copy(update=update)


def text_of(reply: Reply) -> str:
    """The one text of a reply that the model itself ended; AbstainError for anything else."""
    if reply.stop_reason == "refusal":
        raise AbstainError("refusal")
    if reply.stop_reason in ("max_tokens", "model_context_window_exceeded"):
        raise AbstainError("truncated", reply.stop_reason)
    if reply.stop_reason != "end_turn":
        raise AbstainError("stop-reason", repr(reply.stop_reason))
    if reply.others or len(reply.texts) != 1 or reply.texts[0] is None:
        raise AbstainError("shape", f"{len(reply.texts)} texts, {len(reply.others)} other blocks")
    if len(reply.texts[0]) > LONGEST_ANSWER:
        raise AbstainError("schema", f"{len(reply.texts[0])} characters")
    return reply.texts[0]


def parse_json(text: str) -> Any:  # noqa: ANN401 - whatever JSON says
    """The JSON value that `text` is, whole; AbstainError for a repeated key or invalid JSON."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise AbstainError("not-json", str(error)) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise AbstainError("duplicate-key", key)
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def weigh(brief: Brief, reply: Reply) -> Review:
    """The review that `reply` amounts to: checked verdicts, or an abstention with its reason."""
    try:
        refuse_unreadable(brief)
        answer = _answer(text_of(reply))
        asked = {one.id for one in brief.criteria}
        if len(asked) != len(brief.criteria) or sorted(asked) != sorted(
            one.id for one in answer.criteria
        ):
            raise AbstainError("wrong-ids")  # noqa: TRY301 - all abstentions end below
        if answer.injection_suspected:
            raise AbstainError("injection-suspected")  # noqa: TRY301
    except AbstainError as error:
        return abstention(brief, error)
    given = {one.id: one for one in answer.criteria}
    shown = {one.id: _squeezed(one.text) for one in brief.exhibits}
    weighed = [_verdict(one, given[one.id], brief, shown) for one in brief.criteria]
    return Review(
        criteria=tuple(verdict for verdict, _ in weighed),
        attempt=brief.attempt,
        digest=brief.digest(),
        seen=brief.seen,
        notes=tuple(f"{verdict.id}: {note}" for verdict, note in weighed if note),
    )


def _answer(text: str) -> _Answer:
    try:
        return _Answer.model_validate(parse_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AbstainError("schema", f"{where}: {first['msg']}") from error


def _verdict(
    criterion: Criterion, given: _Judgement, brief: Brief, shown: Mapping[str, str]
) -> tuple[CriterionVerdict, str | None]:
    """The verdict that counts, and why it is not the one that was given; None: it is."""
    if given.verdict == "cannot-tell":
        return CriterionVerdict(id=criterion.id, verdict="cannot-tell"), None
    if (why := _unsound(criterion, given, brief, shown)) is not None:
        return CriterionVerdict(id=criterion.id, verdict="cannot-tell"), why
    first = given.quotes[0]
    quoted = CriterionVerdict(
        id=criterion.id, verdict=given.verdict, quote=visible(first.text), evidence=first.item
    )
    return quoted, None


def _unsound(
    criterion: Criterion, given: _Judgement, brief: Brief, shown: Mapping[str, str]
) -> str | None:
    """Why a `met` or `unmet` does not count; None: every quote is real and proves enough."""
    if not given.quotes:
        return f"{given.verdict} without a quote"
    for quote in given.quotes:
        if (why := check_quote(quote.item, quote.text, shown)) is not None:
            return why
    if given.verdict == "unmet":
        return None
    quoted = {quote.item for quote in given.quotes}
    exhibits = {one.id: one for one in brief.exhibits}
    if any(exhibits[one].cut for one in quoted):
        return "met by something that is not shown in full"
    observed = any(exhibits[one].origin == "observed" for one in quoted)
    if not observed and (criterion.proof != "judgement" or not brief.claims_count):
        return "met by the worker's own words alone"
    if criterion.proof == "judgement":
        cut = DIFF in exhibits and exhibits[DIFF].cut
        return "a part of the changes is not shown" if cut else None
    if criterion.proof in brief.holding:
        return None
    return f"the evidence does not show that {assertion(criterion.proof)}"


def check_quote(item: str, text: str, shown: Mapping[str, str]) -> str | None:
    """Why `text` is not a quote from the exhibit `item`; None: it is, word for word.

    White space and Unicode composition aside, nothing is fuzzy. `shown`: squeezed texts by id.
    """
    if item not in shown:
        return "the quoted item was not shown"
    wanted = _squeezed(text)
    if (
        len(wanted.replace(" ", "")) < LEAST_QUOTED
        or len(re.findall(r"\w", wanted)) * 2 < LEAST_QUOTED
    ):
        return "the quote is too short to show anything"
    return None if wanted in shown[item] else "the quote is not in the item it names"


def _squeezed(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
