"""The prompt for approvals: one question at a time, with the keys of `git add -p`.

Only y approves, and only when it is pressed after the question was visible for a moment;
Enter, arrows, pasted text and keys typed ahead decide nothing.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from rich.text import Text

from agent.cli.approval.panel import (
    Panel,
    asks,
    describe_deferral,
    parse_deferral,
    what,
    what_follows,
)
from agent.cli.approval.terminal import Keys, edit_text
from agent.cli.console import Console
from agent.cli.policy import draft_rule, parse_rule
from agent.core.approval.requests import ApprovalRequest
from agent.core.model.policy import Policy
from agent.errors import WavekeeperError
from agent.runtime.approval_answers import Answering, bundle_of, similar_to

_HELP: Final = (
    "y  do it; a high risk asks for the task's id",
    "n  reject it, with a reason; it is asked again only if something changes",
    "e  edit the prompt in $EDITOR; linter and guard look at it again",
    "d  put it off: for a time (30m, 2h), or until something changes",
    "j  next question    k  the one before; both leave this one undecided",
    "a  approve all of the same action and risk, listed first",
    "s  take a bundle apart and ask one by one",
    "o  show everything: the whole prompt, all evidence, what was not chosen",
    "R  make a rule for this action, with an end date and a use count",
    "q  quit; what is undecided stays",
    "Enter decides nothing.",
)


class ApprovalPrompt:
    """Asks until nothing waits or the person quits."""

    def __init__(
        self,
        console: Console,
        keys: Keys,
        answering: Answering,
        policy: Policy,
        places: Mapping[str, str],
        *,
        supervised: bool,
    ) -> None:
        self._console = console
        self._keys = keys
        self._answering = answering
        self._policy = policy
        self._places = places
        self._supervised = supervised
        self._at = 0
        self._apart: set[str] = set()
        self._shown_at = 0.0
        self._done = False
        self._do: dict[str, Callable[[ApprovalRequest, list[ApprovalRequest]], bool]] = {
            "y": self._yes,
            "n": self._no,
            "e": self._edit,
            "d": self._later,
            "j": self._next,
            "k": self._before,
            "a": self._all,
            "s": self._split,
            "o": self._open,
            "R": self._rule,
            "?": self._help,
            "q": self._quit,
            "": self._quit,
        }

    def run(self) -> int:
        """Until nothing waits, `q`, or the terminal is gone; the exit code."""
        while not self._done:
            waiting = self._answering.waiting()
            questions = self._questions(waiting)
            if not questions:
                self._console.line("nothing waits for you")
                return 0
            self._at %= len(questions)
            request, mates = questions[self._at]
            panel = Panel(self._console, request, mates, self._places)
            with self._keys.taken():
                panel.show(self._at + 1, len(questions), datetime.now(UTC))
                self._shown_at = time.monotonic()
            self._ask(request, mates)
        left = len(self._questions(self._answering.waiting()))
        if left:
            verb = "question stays" if left == 1 else "questions stay"
            self._console.line(f"{left} {verb} undecided")
        return 0

    def _questions(
        self, waiting: list[ApprovalRequest]
    ) -> list[tuple[ApprovalRequest, list[ApprovalRequest]]]:
        """Each question with its requests; a bundle is at the place of its first request."""
        found: list[tuple[ApprovalRequest, list[ApprovalRequest]]] = []
        listed: set[str] = set()
        for request in waiting:
            if request.id in listed:
                continue
            mates = [request]
            if request.state == "pending" and request.bundle not in self._apart:
                mates = bundle_of(request, waiting)
            listed |= {one.id for one in mates}
            found.append((request, mates))
        return found

    def _ask(self, request: ApprovalRequest, mates: list[ApprovalRequest]) -> None:
        """Ask until a key leads on."""
        while True:
            with self._keys.taken():
                self._keys.drop()
                self._console.ask(asks(request, len(mates)))
                key = self._keys.key()
            self._console.line(key if key.isprintable() else "")
            do = self._do.get(key)
            if do is None:
                self._console.line("that decides nothing; ? lists the keys")
                continue
            try:
                if do(request, mates):
                    return
            except WavekeeperError as error:
                self._console.line(str(error), "bold red")
                return

    def _yes(self, request: ApprovalRequest, mates: list[ApprovalRequest]) -> bool:
        if request.tier == "high":
            name = request.proposal.task or "window"
            self._keys.forget()
            self._console.ask(f"high risk: type {name} to confirm:")
            if self._keys.line() != name:
                self._console.line("not confirmed; nothing was decided")
                return False
        return self._say_yes(mates)

    def _say_yes(self, requests: list[ApprovalRequest]) -> bool:
        looked = round(time.monotonic() - self._shown_at, 1)
        then = what_follows(supervised=self._supervised)
        for request in requests:
            try:
                self._answering.approve(request, via="panel", looked=looked)
            except WavekeeperError as error:
                self._console.line(str(error), "bold red")
            else:
                self._console.line(f"{request.id} approved; {then}")
        return True

    def _no(self, _request: ApprovalRequest, mates: list[ApprovalRequest]) -> bool:
        self._keys.forget()
        self._console.ask("reason, for the record (empty: go back):")
        if not (reason := self._keys.line()):
            return False
        looked = round(time.monotonic() - self._shown_at, 1)
        for one in mates:
            self._answering.reject(one, reason, via="panel", looked=looked)
            self._console.line(f"{one.id} rejected; it is asked again only if something changes")
        return True

    def _edit(self, request: ApprovalRequest, _mates: list[ApprovalRequest]) -> bool:
        if not request.proposal.prompt:
            self._console.line("there is no prompt to edit")
            return False
        new = edit_text(request.proposal.prompt, ".md")
        if new is None:
            self._console.line("not edited; nothing was decided")
            return False
        # Editors end a file with a newline, whether the text had one or not.
        ending = "\n" if request.proposal.prompt.endswith("\n") else ""
        result = self._answering.edit(request, new.rstrip("\n") + ending)
        for line in result.difference:
            self._console.show(Text(f"    {line[:1]} {' '.join(self._console.lines(line[1:]))}"))
        for finding in result.findings:
            where = f"line {finding.line}: " if finding.line else ""
            self._console.line(f"refused by the linter: {where}{finding.message}", "bold red")
        if result.findings:
            self._console.line("the prompt is as it was drafted; nothing was decided")
            return False
        self._console.line(f"edited; linter and guard agree; {request.id} is asked again")
        return True

    def _later(self, _request: ApprovalRequest, mates: list[ApprovalRequest]) -> bool:
        self._keys.forget()
        self._console.ask("for how long (30m, 2h; empty: until something changes):")
        later = parse_deferral(self._keys.line())
        for one in mates:
            said = self._answering.defer(one, later)
            self._console.line(f"{one.id} {describe_deferral(said)}")
        self._at += 1
        return True

    def _next(self, _request: ApprovalRequest, _mates: list[ApprovalRequest]) -> bool:
        self._at += 1
        return True

    def _before(self, _request: ApprovalRequest, _mates: list[ApprovalRequest]) -> bool:
        self._at -= 1
        return True

    def _all(self, request: ApprovalRequest, _mates: list[ApprovalRequest]) -> bool:
        alike = similar_to(request, self._answering.waiting())
        if not alike:
            self._console.line("high risks are answered one by one")
            return False
        for one in alike:
            self._console.line(f"  {one.id} {what(one.proposal)}")
        self._keys.forget()
        self._console.ask(f"type {len(alike)} to approve all of these:")
        if self._keys.line() != str(len(alike)):
            self._console.line("not confirmed; nothing was decided")
            return False
        return self._say_yes(alike)

    def _split(self, request: ApprovalRequest, mates: list[ApprovalRequest]) -> bool:
        if len(mates) == 1 or request.bundle is None:
            self._console.line("this is a single question")
            return False
        self._apart.add(request.bundle)
        return True

    def _open(self, request: ApprovalRequest, mates: list[ApprovalRequest]) -> bool:
        Panel(self._console, request, mates, self._places).whole()
        return False

    def _rule(self, request: ApprovalRequest, _mates: list[ApprovalRequest]) -> bool:
        new = edit_text(draft_rule(request, datetime.now(UTC)), ".toml")
        if new is None:
            self._console.line("no rule was made; nothing was decided")
            return False
        rule = self._answering.add_rule(parse_rule(new, request, self._answering.who, self._policy))
        self._console.line(
            f"{rule.id}: {rule.action} of {rule.tasks} needs no question until "
            f"{rule.until:%Y-%m-%d}, {rule.most_uses} times at most",
        )
        return True

    def _help(self, _request: ApprovalRequest, _mates: list[ApprovalRequest]) -> bool:
        for line in _HELP:
            key, gap, said = line.partition("  ")
            self._console.show(Text(f"  {key}{gap}{said}"))
        return False

    def _quit(self, _request: ApprovalRequest, _mates: list[ApprovalRequest]) -> bool:
        self._done = True
        return True
