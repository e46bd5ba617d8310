"""Defects written down as issues of a GitHub repository, one issue per fingerprint.

What the program must find again is in the first line of an issue or a comment: a hidden marker
with the digest of the fingerprint or the key, as in the local files. An issue is looked for in the
list, which is up to date, and not by the search, which lags behind; the oldest one counts. Whatever
comes from elsewhere is inside a fence.

Policy: "a GitHub issue or issue comment that records the blocking condition and recovery
dependency".
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from agent.adapters.common.http import Answer, Http, HttpError, bearer
from agent.adapters.issues.settings import GitHubIssueSettings
from agent.backends import Check, Context, IssuesBackend, tried
from agent.core.model.text import code, fenced, one_line, visible
from agent.errors import IssuesUnavailableError
from agent.ports import Issue

_VERSION: Final = "2022-11-28"
_PAGE: Final = 100
_PAGES: Final = 50
_TITLE: Final = 200
_BODY: Final = 30_000
"""Characters of foreign text; GitHub takes 65,536 in all."""
_BETWEEN: Final = 1.0
"""Seconds between two writes, as GitHub's guide for its secondary limits asks for."""
_WAITED: Final = 3.0
"""Seconds of a limit that are sat out; a longer one ends the call."""
_NO_HINT: Final = 60.0
_LIMITED: Final = frozenset({403, 429})
_STATES: Final = {"open": {"state": "open"},
                  "closed": {"state": "closed", "state_reason": "completed"}}  # fmt: skip


class GitHubIssues:
    """The issues of `repository` at `api`. Safe to be called again after any failure.

    `token` names the environment variable; it is read at each call and kept nowhere.

    Raises:
        IssuesUnavailableError: GitHub did not do it; the message has the reason and the remedy.

    """

    def __init__(
        self,
        repository: str,
        *,
        token: str,
        api: str = "https://api.github.com",
        labels: Sequence[str] = (),
        authority: Path | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base = f"{api}/repos/{repository}"
        self._token = token
        self._labels = tuple(labels)
        self._http = Http((api,), timeout=20, most=16 * 1024 * 1024, authority=authority)
        self._wait = wait
        self._lock = threading.RLock()
        self._not_before = 0.0
        self._next_write = 0.0
        self._numbers: dict[str, int] = {}

    def find(self, fingerprint: str) -> Issue | None:
        """Open or closed."""
        with self._reported():
            found = self._find(fingerprint)
            return None if found is None else self._issue(found)

    def open(self, fingerprint: str, title: str, body: str) -> Issue:
        """The issue with this fingerprint, opened again if it was closed; else a new one."""
        with self._reported():
            found = self._find(fingerprint)
            if found is None:
                return self._issue(self._create(fingerprint, title, body))
            if found.get("state") == "closed":
                self._write("PATCH", f"issues/{_number(found)}", _STATES["open"])
            return self._issue(found)

    def is_open(self, issue: str) -> bool | None:
        try:
            with self._reported():
                state = self._read(f"issues/{_checked(issue)}").get("state")
        except IssuesUnavailableError:
            return None
        return {"open": True, "closed": False}.get(str(state))

    def comment(self, issue: str, body: str, *, key: str) -> None:
        """Put it at the end, unless a comment with this key is there already."""
        with self._reported():
            self._comment(issue, body, key)

    def close(self, issue: str, body: str, *, key: str) -> None:
        """Comment, as `comment` does, and close it as completed."""
        with self._reported():
            self._comment(issue, body, key)
            self._write("PATCH", f"issues/{_checked(issue)}", _STATES["closed"])

    def check(self) -> str:
        """One line: the repository is there, keeps issues, and may be written to."""
        with self._reported():
            found = self._read("")
            permissions = found.get("permissions")
            if found.get("has_issues") is False:
                raise HttpError(f"{self._base} keeps no issues; turn them on in its settings")
            if not isinstance(permissions, dict) or not permissions.get("pull"):
                raise HttpError(f"{self._base}: the token in {self._token} may not read issues")
            return f"answers, and the token in {self._token} is known there"

    def _find(self, fingerprint: str) -> Mapping[str, Any] | None:
        marker = _marker("issue", fingerprint)
        if (known := self._numbers.get(fingerprint)) is not None:
            found = self._read(f"issues/{known}")
            if _first_line(found) == marker:
                return found
        for one in self._pages("issues?state=all&sort=created&direction=asc"):
            if "pull_request" not in one and _first_line(one) == marker:
                self._numbers[fingerprint] = _number(one)
                return one
        return None

    def _create(self, fingerprint: str, title: str, body: str) -> Mapping[str, Any]:
        """Whether a request that broke off was taken, only looking again can tell."""
        shown = _quiet(one_line(title)[:_TITLE]) or "A defect without a title"
        sent: dict[str, Any] = {
            "title": shown,
            "body": f"{_marker('issue', fingerprint)}\n\n{fenced(_cut(body))}",
        }
        if self._labels:
            sent["labels"] = list(self._labels)
        try:
            made = self._write("POST", "issues", sent)
        except HttpError:
            made = self._find(fingerprint) or {}
            if not made:
                raise
        self._numbers[fingerprint] = _number(made)
        return made

    def _comment(self, issue: str, body: str, key: str) -> None:
        where = f"issues/{_checked(issue)}/comments"
        marker = _marker("comment", key)
        if any(_first_line(one) == marker for one in self._pages(where)):
            return
        self._write("POST", where, {"body": f"{marker}\n\n{fenced(_cut(body))}"})

    def _issue(self, found: Mapping[str, Any]) -> Issue:
        where = found.get("html_url")
        number = _number(found)
        fine = isinstance(where, str) and re.fullmatch(r"https?://[!-~]{1,200}", where)
        return Issue(id=str(number), where=str(where) if fine else f"{self._base}/issues/{number}")

    def _pages(self, what: str) -> Iterator[Mapping[str, Any]]:
        mark = "&" if "?" in what else "?"
        for page in range(1, _PAGES + 1):
            answer = self._ask("GET", f"{what}{mark}per_page={_PAGE}&page={page}")
            batch = answer.json()
            if not isinstance(batch, list) or not all(isinstance(one, dict) for one in batch):
                raise HttpError(f"{answer.url} is no list")
            yield from batch
            if len(batch) < _PAGE:
                return
        raise HttpError(
            f"{self._base} has more than {_PAGE * _PAGES} issues or comments; name a repository "
            "for the defects alone",
        )

    def _read(self, what: str) -> Mapping[str, Any]:
        return self._ask("GET", what).object()

    def _write(self, method: str, what: str, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        if (pause := self._next_write - time.monotonic()) > 0:
            self._wait(pause)
        self._next_write = time.monotonic() + _BETWEEN
        return self._ask(method, what, json.dumps(sent).encode()).object()

    def _ask(self, method: str, what: str, body: bytes | None = None) -> Answer:
        """A limit that ends soon is sat out, once: what was refused for it was not done."""
        headers = {
            "accept": "application/vnd.github+json",
            "x-github-api-version": _VERSION,
            **bearer(self._token),
        }
        url = f"{self._base}/{what}".rstrip("/")
        for last in (False, True):
            left = self._not_before - time.monotonic()
            if left > _WAITED:
                raise HttpError(f"GitHub asks us to wait {left:.0f} s longer; it is tried later")
            if left > 0:
                self._wait(left)
            answer = self._http.ask(method, url, headers=headers, body=body)
            pause = _pause(answer)
            if pause is None:
                break
            self._not_before = time.monotonic() + pause
            if last:
                raise HttpError(f"GitHub asks us to wait {pause:.0f} s; it is tried later")
        if answer.status in (200, 201):
            return answer
        raise HttpError(f"{answer.url} answered {answer.status}: {self._remedy(answer.status)}")

    def _remedy(self, status: int) -> str:
        match status:
            case 401:
                return f"the token in {self._token} is not valid; put a new one there"
            case 403 | 404:
                return f"see whether it is there, and the token in {self._token} may write issues"
            case 410:
                return "issues are turned off there, or the issue was deleted"
            case _:
                return "it is tried again"

    @contextmanager
    def _reported(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except HttpError as error:
                raise IssuesUnavailableError(f"issues on GitHub: {error}") from error


def _pause(answer: Answer) -> float | None:
    """Seconds that GitHub asks us to wait; None: it does not refuse us for a limit."""
    if answer.status not in _LIMITED:
        return None
    after = answer.headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,6}", after):
        return float(after)
    if answer.headers.get("x-ratelimit-remaining") == "0":
        return _until_reset(answer)
    limited = answer.status == 429 or b"secondary rate limit" in answer.body.lower()  # noqa: PLR2004
    return _NO_HINT if limited else None


def _until_reset(answer: Answer) -> float:
    """By the server's own clock, which both numbers come from."""
    try:
        sent = parsedate_to_datetime(answer.headers.get("date", ""))
        reset = datetime.fromtimestamp(int(answer.headers["x-ratelimit-reset"]), tz=sent.tzinfo)
        return max(1.0, (reset - sent).total_seconds())
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        return _NO_HINT


def _marker(kind: str, name: str) -> str:
    """A hidden line; the digest keeps text of unknown origin out of it."""
    raw = name.encode(errors="backslashreplace")
    return f"<!-- wavekeeper-{kind} {sha256(raw).hexdigest()} -->"


def _first_line(found: Mapping[str, Any]) -> str:
    body = found.get("body")
    return body.partition("\n")[0].rstrip("\r") if isinstance(body, str) else ""


def _quiet(title: str) -> str:
    """A title that mentions nobody and refers to nothing."""
    return re.sub(r"([@#]|\bGH-)(?=\w)", "\\1\u200b", title, flags=re.IGNORECASE)


def _cut(body: str) -> str:
    shown = visible(body)
    return shown if len(shown) <= _BODY else f"{shown[:_BODY]}\n[cut after {_BODY} characters]"


def _checked(issue: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,9}", issue):
        raise HttpError(f"there is no issue {code(issue[:40])}: record it again")
    return issue


def _number(found: Mapping[str, Any]) -> int:
    number = found.get("number")
    if not isinstance(number, int) or number < 1:
        raise HttpError("GitHub sent an issue without a number")
    return number


def _open(own: GitHubIssueSettings, _context: Context) -> GitHubIssues:
    return GitHubIssues(
        own.repository or "",
        token=own.token,
        api=own.api,
        labels=own.labels,
        authority=own.authority,
    )


def _check(own: GitHubIssueSettings, context: Context) -> Iterable[Check]:
    github = _open(own, context)
    yield tried("issues", lambda: f"{own.repository}: {github.check()}")


BACKEND: Final = IssuesBackend(settings=GitHubIssueSettings, open=_open, check=_check)
