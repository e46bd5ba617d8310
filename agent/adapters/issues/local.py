"""Defects written down as Markdown files in one folder, one file per fingerprint.

What the program must find again is in hidden lines at the very beginning of a file: the
fingerprint's digest, and the digest of each comment's key. Whatever comes from elsewhere is below
them, inside fences. The rest of a file is people's: what they write there is kept.

Policy: "first record the infrastructure defect in an issue".
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.adapters.common.lock import locked
from agent.adapters.issues.settings import IssueSettings
from agent.backends import IssuesBackend
from agent.core.model.text import fenced, one_line
from agent.errors import UnusableStoreError
from agent.ports import Issue

_NAME: Final = re.compile(r"(\d{4,})-.*\.md")
_STATUS: Final = re.compile(r"^Status: .*$", re.MULTILINE)
_MARKDOWN: Final = re.compile(r"([\\`*_~|\[\]<>&])")
_TITLE: Final = 200
"""Characters of a title that are kept."""
_SLUG: Final = 40
_PATIENCE: Final = 30.0
"""Seconds to wait for another process that is writing an issue."""


class LocalIssues:
    """The issues in `folder`, which is made with the first one. Safe for several processes.

    Raises:
        UnusableStoreError: the folder cannot be read or written, or an issue is not there.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, fingerprint: str) -> Issue | None:
        """Open or closed."""
        marker = _marker("issue", fingerprint).encode()
        with self._reported():
            for number, path in self._files():
                with path.open("rb") as file:
                    if file.readline().rstrip(b"\r\n") == marker:
                        return Issue(id=number, where=str(path))
        return None

    def open(self, fingerprint: str, title: str, body: str) -> Issue:
        """The issue with this fingerprint, opened again if it was closed; else a new one."""
        with self._locked():
            if found := self.find(fingerprint):
                path = self._path(found.id)
                text = _read(path)
                if (opened := _with_status(text, "open")) != text:
                    _write(path, opened)
                return found
            number = 1 + max((int(name) for name, _ in self._files()), default=0)
            shown = one_line(title)[:_TITLE] or "A defect without a title"
            path = self._folder / f"{number:04d}-{_slug(shown)}.md"
            heading = _MARKDOWN.sub(r"\\\1", shown)
            marker = _marker("issue", fingerprint)
            _write(path, f"{marker}\n\n# {heading}\n\nStatus: open\n\n{fenced(body)}\n")
            return Issue(id=f"{number:04d}", where=str(path))

    def is_open(self, issue: str) -> bool | None:
        """By its line `Status:`, which people may change; None for any other word."""
        try:
            top = _split(_read(self._path(issue)))[1].partition("\n```")[0]
        except (OSError, UnusableStoreError):
            return None
        status = _STATUS.search(top)
        word = status.group().removeprefix("Status:").strip().lower() if status else ""
        return {"open": True, "closed": False}.get(word)

    def comment(self, issue: str, body: str, *, key: str) -> None:
        """Put it at the end, unless a comment with this key is there already."""
        with self._locked():
            path = self._path(issue)
            _write(path, _commented(_read(path), body, key))

    def close(self, issue: str, body: str, *, key: str) -> None:
        """Comment, as `comment` does, and set the status."""
        with self._locked():
            path = self._path(issue)
            _write(path, _with_status(_commented(_read(path), body, key), "closed"))

    def _files(self) -> list[tuple[str, Path]]:
        """Number and path of each issue, by number."""
        if not self._folder.is_dir():
            return []
        names = ((_NAME.fullmatch(path.name), path) for path in self._folder.iterdir())
        found = [(match[1], path) for match, path in names if match]
        return sorted(found, key=lambda one: (int(one[0]), one[1].name))

    def _path(self, issue: str) -> Path:
        for number, path in self._files():
            if number == issue:
                return path
        raise UnusableStoreError(
            f"{self._folder}: there is no issue {issue!r}: put its file back, or record it again",
        )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UnusableStoreError(
                f"{self._folder}: issues cannot be kept there ({error.strerror}): "
                "check the rights of the folder and the disk",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._reported():
            busy = UnusableStoreError(
                f"{self._folder}: another process kept it locked for {_PATIENCE:.0f} s: "
                "end that process",
            )
            with locked(self._folder / ".lock", _PATIENCE, busy):
                yield


def _marker(kind: str, name: str) -> str:
    """A hidden line; the digest keeps text of unknown origin out of it."""
    return (
        f"<!-- wavekeeper-{kind} {sha256(name.encode(errors='backslashreplace')).hexdigest()} -->"
    )


def _slug(title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower())[:_SLUG].strip("-")
    return words or "issue"


def _commented(text: str, body: str, key: str) -> str:
    marker = _marker("comment", key)
    head, rest = _split(text)
    if marker in head.splitlines():
        return text
    return f"{head}{marker}\n{rest.rstrip()}\n\n---\n\n{fenced(body)}\n"


def _with_status(text: str, status: str) -> str:
    head, rest = _split(text)
    top, fence, below = rest.partition("\n```")
    top, count = _STATUS.subn(f"Status: {status}", top, count=1)
    missing = "" if count else f"\nStatus: {status}\n"
    return f"{head}{missing}{top}{fence}{below}"


def _split(text: str) -> tuple[str, str]:
    """The hidden lines at the beginning, and the rest."""
    lines = text.splitlines(keepends=True)
    end = 0
    while end < len(lines) and lines[end].startswith("<!-- wavekeeper-"):
        end += 1
    return "".join(lines[:end]), "".join(lines[end:])


def _read(path: Path) -> str:
    # People may have edited it with any encoding: their bytes are kept.
    return path.read_bytes().decode(errors="surrogateescape")


def _write(path: Path, text: str) -> None:
    """All or nothing, and on the disk when it returns."""
    new = path.with_name(".new")
    with new.open("wb") as file:
        file.write(text.encode(errors="surrogateescape"))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


BACKEND: Final = IssuesBackend(
    settings=IssueSettings, open=lambda _own, context: LocalIssues(context.state / "issues")
)
