"""How one question looks: what will be done, the guard, what was observed, the worker's claim.

Every line is cut to the terminal's width and long parts are folded, so that the whole question can
be seen at once on 80x24; `whole` shows everything. Text of others never begins a line: each of its
lines has a mark of ours in front, so it cannot pass for a part of the panel.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.console import Group
from rich.text import Text

from agent.cli.console import Console
from agent.cli.views import duration
from agent.core.approval.requests import ApprovalRequest
from agent.core.model.actions import Action, Proposal
from agent.core.model.durations import seconds
from agent.core.prompts.linter import WHAT_FAILED
from agent.errors import UserError

_PROMPT_SHOWN: Final = 6
_EVIDENCE_SHOWN: Final = 3
_CLAIM_SHOWN: Final = 2
_WARNINGS_SHOWN: Final = 2
_CHANGES_SHOWN: Final = 2
_OTHERS_SHOWN: Final = 2
_RISK: Final = {"low": "green", "medium": "bold yellow", "high": "bold red"}
_DIGEST: Final = 12
_FRAME: Final = 3
"""Lines around it: the blank one, the question, and what is typed."""


class Panel:
    """One request and the others that are the same question."""

    def __init__(
        self,
        console: Console,
        request: ApprovalRequest,
        mates: Sequence[ApprovalRequest],
        places: Mapping[str, str],
    ) -> None:
        self._console = console
        self._request = request
        self._others = [one for one in mates if one.id != request.id]
        self._places = places

    def show(self, number: int, of: int, now: datetime) -> None:
        """Print it, with the question in at most as many lines as the terminal has."""
        for prompt in range(_PROMPT_SHOWN, 0, -1):
            parts = [self._head(number, of, now), *self._will(prompt), *self._guard()]
            parts += [*self._seen(_EVIDENCE_SHOWN), *self._changes(), *self._claim(_CLAIM_SHOWN)]
            if len(parts) <= self._console.height - _FRAME:
                break
        for part in parts:
            part.no_wrap, part.overflow = True, "ellipsis"
        self._console.show(Group(Text(""), *parts))

    def whole(self) -> None:
        """Print everything there is to know, nothing folded and nothing cut off."""
        for part in (*self._will(None), *self._rest_of_bundle(), *self._guard()):
            self._console.show(part)
        for part in (*self._seen(None), *self._claim(None), *self._instead()):
            self._console.show(part)
        request = self._request
        self._console.line(f"  digest {request.digest}, asked in tick {request.tick}")
        self._console.line(f"  snapshot {request.snapshot}")

    def _head(self, number: int, of: int, now: datetime) -> Text:
        request = self._request
        about = f"{request.proposal.action} {_target(request.proposal)}"
        if self._others:
            about += f" and {len(self._others)} more of one cause"
        waits = duration((now - request.asked_at).total_seconds())
        left = duration((request.expires_at - now).total_seconds())
        state = "put off" if request.state == "deferred" else f"waits {waits}"
        parts = (
            self._console.text(request.id, "bold"),
            self._console.text(about, "bold"),
            self._console.text(f"risk {request.tier}", _RISK[request.tier]),
            self._console.text(f"{number} of {of}"),
            self._console.text(f"{state}, expires in {left}"),
            self._console.text(request.title),
        )
        return Text("  ").join(parts)

    def _will(self, most: int | None) -> Iterable[Text]:
        request = self._request
        yield self._line(f"  WILL    {what(request.proposal)}")
        yield self._line(f"          because {request.proposal.reason}")
        if request.proposal.prompt:
            yield from self._quoted(request.proposal.prompt, "    | ", most, "of the prompt")
        if request.proposal.cause is not None and request.proposal.cause.summary:
            yield from self._quoted(request.proposal.cause.summary, "    | ", most, "of the issue")
        if request.diff:
            yield from self._quoted(request.diff, "    | ", most, "of the change")
        if most is not None:
            for one in self._others[:_OTHERS_SHOWN]:
                yield self._line(f"    and {one.id}: {what(one.proposal)}")
            if len(self._others) > _OTHERS_SHOWN:
                yield self._line(f"    and {len(self._others) - _OTHERS_SHOWN} more; `o` shows all")

    def _rest_of_bundle(self) -> Iterable[Text]:
        for one in self._others:
            yield self._line(f"  AND     {one.id}: {what(one.proposal)}")
            if one.proposal.prompt:
                yield from self._quoted(one.proposal.prompt, "    | ", None, "")

    def _guard(self) -> Iterable[Text]:
        rules = ", ".join(f"{rule} ({self._place(rule)})" for rule in self._request.rules)
        yield self._line(f"  GUARD   permits it with your approval: {rules}")
        for warned in self._request.warnings[:_WARNINGS_SHOWN]:
            yield self._line(f"    WARN  {warned.rule}: {warned.said}", "yellow")

    def _seen(self, most: int | None) -> Iterable[Text]:
        evidence = self._request.evidence
        if not evidence:
            yield self._line("  SEEN    nothing was observed of it yet")
        for place, item in enumerate(evidence[:most]):
            front = "  SEEN    " if place == 0 else " " * 10
            holds = {True: "ok", False: "NO", None: "??"}[item.holds]
            value = f" {item.value:.12}" if item.value else ""
            yield self._line(f"{front}{holds} {item.kind}{value} {item.detail or ''}")
        if most is not None and len(evidence) > most:
            yield self._line(f"          and {len(evidence) - most} more; `o` shows all")

    def _changes(self) -> Iterable[Text]:
        request = self._request
        if request.follows is not None and request.changes:
            said = "; ".join(request.changes[:_CHANGES_SHOWN])
            more = len(request.changes) - _CHANGES_SHOWN
            said += f"; {more} more" if more > 0 else ""
            yield self._line(f"  SINCE   {request.follows}: {said}", "cyan")

    def _claim(self, most: int | None) -> Iterable[Text]:
        if self._request.claim:
            yield self._line("  CLAIM   the worker says this; it is no evidence:", "dim")
            yield from self._quoted(
                self._request.claim.strip(), "    > ", most, "of the claim", "dim"
            )

    def _instead(self) -> Iterable[Text]:
        if self._request.instead:
            yield self._line(f"  INSTEAD {', '.join(self._request.instead)}")

    def _quoted(
        self, text: str, mark: str, most: int | None, of_what: str, style: str = ""
    ) -> Iterable[Text]:
        lines = self._console.lines(text)
        start = _opening(lines) if most is not None else 0
        for line in lines[start:][:most]:
            yield Text(f"{mark}{line}", style)
        left = 0 if most is None else len(lines) - len(lines[start:][:most])
        if left:
            before = f", {start} of them before these" if start else ""
            yield self._line(f"    … {left} more lines {of_what}{before}; `o` shows all", "dim")

    def _line(self, text: str, style: str = "") -> Text:
        """One line of ours; its indent stays."""
        indent = len(text) - len(text.lstrip(" "))
        head, _, rest = text[indent:].partition("  ")
        shown = Text(" " * indent)
        if not rest:
            return shown.append_text(self._console.text(head, style))
        gap = " " * (2 + len(rest) - len(rest.lstrip(" ")))
        shown.append_text(self._console.text(head, style or "bold")).append(gap)
        return shown.append_text(self._console.text(rest, style))

    def _place(self, rule: str) -> str:
        return self._places.get(rule, "no file")


def what(proposal: Proposal) -> str:
    """What will be done, in words that name the target."""
    task, to = proposal.task or "the window", proposal.queue or "its queue"
    again = f"as attempt {(proposal.attempt or 0) + 1} of {task}, under the same identity"
    said = {
        Action.SUBMIT: f"send {task} to {to}",
        Action.RETRY: f"send to {to} {again}" + (", fresh session" * proposal.fresh_session),
        Action.RELEASE: f"send to {to} {again}; {proposal.defect} is fixed",
        Action.REPLACE: f"send a narrower task to {to} in the place of {task}",
        Action.SPLIT_DEFECT: f"send a task of its own to {to} for {proposal.defect}",
        Action.INTERRUPT: f"stop attempt {proposal.attempt} of {task}",
        Action.CANCEL: f"end {task} for good",
        Action.ACCEPT: f"accept attempt {proposal.attempt} of {task} as done",
        Action.OPEN_ISSUE: "write an issue about the shared cause",
        Action.MOVE: f"move {task} to {to}",
        Action.LIVE_REMEDY: f"run the remedy {proposal.remedy} for {proposal.defect} in dev",
        Action.DEPLOY: f"run the deploy {proposal.remedy} for {proposal.defect} in production",
        Action.WRITE_REFERENCE: f"write down the lesson of {proposal.defect}",
    }
    return said.get(proposal.action, f"{proposal.action} {task}")


def asks(request: ApprovalRequest, mates: int) -> str:
    """The question itself."""
    prompt = " with this prompt" if request.proposal.prompt else ""
    about = f"{request.proposal.action} {_target(request.proposal)}"
    if mates > 1:
        about, prompt = f"{request.proposal.action} these {mates}", ""
    keys = "y,n,e,d,j,k,a,o,R,?,q" if request.proposal.prompt else "y,n,d,j,k,a,o,R,?,q"
    keys = keys.replace("a,", "a,s,") if mates > 1 else keys
    return f"{about}{prompt}? [{keys}]  digest {request.digest[:_DIGEST]}"


def _opening(lines: Sequence[str]) -> int:
    """The line at which a folded prompt is opened: what is to be fixed comes first."""
    heading = f"## {WHAT_FAILED}"
    return lines.index(heading) if heading in lines else 0


def _target(proposal: Proposal) -> str:
    return proposal.task or f"to {proposal.limit} lanes"


def parse_deferral(how_long: str | None) -> datetime | None:
    """When a time from now is over; None: until something changes. UserError: it is no duration."""
    if not how_long:
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=seconds(how_long))
    except (ValueError, OverflowError) as error:
        raise UserError(f"{how_long!r:.40}: {error}") from error


def describe_deferral(request: ApprovalRequest) -> str:
    """Until when."""
    if request.deferred_until is None:
        return "is put off until something changes"
    return f"is put off until {request.deferred_until:%Y-%m-%d %H:%M:%SZ}"


def what_follows(*, supervised: bool) -> str:
    """What follows an approval."""
    if supervised:
        return "the supervisor looks again and then does it"
    return "nobody supervises now: `wavekeeper run` looks again and then does it"
