"""The class of a provider's fault, by what the agent's program says of it in its own name.

A status decides where there is one. Words decide only where the program gives nothing better, and
only words of the program itself: the caller sees to that.
"""

import re
from typing import Final

from agent.core.model.nouns import FailureClass

_BY_STATUS: Final[dict[int, FailureClass]] = {
    401: "auth",
    402: "quota",
    403: "auth",
    407: "network",
    408: "network",
    413: "context-overflow",
    429: "rate-limit",
    529: "overloaded",
}
_SERVER: Final = range(500, 600)
_QUOTA: Final = re.compile(
    r"(?:usage|session|weekly|hour|spend|spending) limit|you[\u2019']ve hit your limit"
    r"|quota exceeded|insufficient_quota|current quota|credit balance is too low|out of credits",
    re.IGNORECASE,
)
_CONTEXT: Final = re.compile(
    r"prompt is too long|context window|context[ _]length|maximum context", re.IGNORECASE
)
# In this order: a line that tells of a broken stream often ends with why it broke.
_BY_WORDS: Final[tuple[tuple[FailureClass, re.Pattern[str]], ...]] = (
    ("overloaded", re.compile(r"high demand|overloaded|at capacity", re.IGNORECASE)),
    ("rate-limit", re.compile(r"rate limit|too many requests", re.IGNORECASE)),
    (
        "auth",
        re.compile(
            r"(?:incorrect|invalid) (?:x-)?(?:api[ -]key|bearer token)|not logged in"
            r"|(?:log|sign) in again|run /login"
            r"|authentication[ _](?:error|failed)",
            re.IGNORECASE,
        ),
    ),
    (
        "network",
        re.compile(
            r"waiting for network|error sending request|connection (?:error|failed|refused|reset)"
            r"|unable to connect|failed to connect|dns error|request timed out|network error",
            re.IGNORECASE,
        ),
    ),
    (
        "malformed",
        re.compile(
            r"stream disconnected before completion|malformed response|utf-?8 error"
            r"|error decoding response",
            re.IGNORECASE,
        ),
    ),
    ("server", re.compile(r"server error|upstream connect error", re.IGNORECASE)),
)


def classify(status: int | None, words: str) -> FailureClass:
    """The class of a fault with this status, which may be None, in these words of the program."""
    # A used-up account is said in words alone: its status is that of a short throttling, or of a
    # bad request.
    if status in (None, 400, 402, 403, 429) and _QUOTA.search(words):
        return "quota"
    if status in (None, 400, 413) and _CONTEXT.search(words):
        return "context-overflow"
    if status is not None:
        return _BY_STATUS.get(status, "server" if status in _SERVER else "unknown")
    return next((name for name, pattern in _BY_WORDS if pattern.search(words)), "unknown")
