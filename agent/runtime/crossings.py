"""Where text crosses: each port, with the secrets taken out of what goes through it.

What comes in is cleaned before anybody sees it (the queue, the probes, the diff, a remedy's words),
so that nothing later can forget it, and digests are computed over what is left. What goes out is
cleaned once more, as the last line (issues, documents, journal, approvals, prompts, the model).
Whatever fails while it is cleaned does not cross: nothing is sent, stored or believed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar, cast

from agent.core.approval.requests import ApprovalRequest
from agent.core.journal.records import Record
from agent.core.model.nouns import Evidence, JudgeRecord, Review, Snapshot, Usage
from agent.core.model.queueing import (
    Beat,
    Changes,
    Cursor,
    JudgeLease,
    Judgement,
    Lease,
    NewEvent,
    Order,
    Receipt,
    Report,
    TaskSpec,
    TaskView,
    TraceEvent,
)
from agent.core.model.secrets import Redactor
from agent.core.prompts.linter import DraftRequest, Slots
from agent.core.review.brief import Brief
from agent.core.review.review import AbstainError, abstention
from agent.errors import NothingDoneError, UnreadableAnswerError
from agent.ports import (
    Approvals,
    DiffSource,
    Drafter,
    EvidenceProbe,
    Heads,
    Issue,
    Issues,
    Journal,
    Judgements,
    JudgeSource,
    Proposed,
    References,
    Remedied,
    Remedies,
    Remote,
    Reviewer,
    TaskQueue,
    WorkSource,
    Writer,
)
from agent.runtime.context import Ports

Port = TypeVar("Port")


def clean_ports(ports: Ports, secrets: Redactor) -> Ports:
    """The same ports; no secret goes through any of them."""

    def through(crossing: type[_Crossing], port: Port) -> Port:
        # A crossing passes on what it does not change, so it is as much of a port as its inner one.
        return port if port is None else cast("Port", crossing(port, secrets))

    return replace(
        ports,
        secrets=secrets,
        queue=through(_Queue, ports.queue),
        journal=through(_Journal, ports.journal),
        issues=through(_Issues, ports.issues),
        reviewer=through(_Reviewer, ports.reviewer),
        drafter=through(_Drafter, ports.drafter),
        probes=tuple(through(_Probe, one) for one in ports.probes),
        approvals=through(_Approvals, ports.approvals),
        writer=through(_Writer, ports.writer),
        remedies=through(_Remedies, ports.remedies),
        references=through(_References, ports.references),
        diffs=through(_Diffs, ports.diffs),
        judgements=through(_Judgements, ports.judgements),
        remote=through(_Remote, ports.remote),
    )


def clean_source(source: WorkSource, secrets: Redactor) -> WorkSource:
    """The worker's side of a queue: an attempt's words are cleaned before the queue keeps them."""
    return cast("WorkSource", _Source(source, secrets))


def clean_judge_source(source: JudgeSource, secrets: Redactor) -> JudgeSource:
    """The judge host's side: what commands print is cleaned before it is kept."""
    return cast("JudgeSource", _JudgeSource(source, secrets))


def clean_drafter(drafter: Drafter, secrets: Redactor) -> Drafter:
    """A drafter whose prompts hold no secret."""
    return cast("Drafter", _Drafter(drafter, secrets))


def _unread(error: Exception) -> str:
    return (
        "its text could not be searched for secrets, so nothing of it is used "
        f"({type(error).__name__}); report this as a bug"
    )


class _Crossing:
    def __init__(self, inner: Any, secrets: Redactor) -> None:  # noqa: ANN401 - any port
        self._inner = inner
        self._secrets = secrets

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the port has
        return getattr(self._inner, name)

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """What could not be cleaned does not go out."""
        try:
            yield
        except Exception as error:
            raise NothingDoneError(
                "nothing was sent, because the text could not be searched for secrets "
                f"({type(error).__name__}); report this as a bug",
            ) from error


class _Queue(_Crossing):
    _inner: TaskQueue

    def submit(self, task: str, *, queue: str, prompt: str, order: Order, key: str) -> Receipt:
        with self._or_nothing():
            prompt = self._secrets.text(prompt)
        return self._inner.submit(task, queue=queue, prompt=prompt, order=order, key=key)

    def retry(
        self, task: str, *, attempt: int, prompt: str, fresh_session: bool, key: str
    ) -> Receipt:
        with self._or_nothing():
            prompt = self._secrets.text(prompt)
        return self._inner.retry(
            task, attempt=attempt, prompt=prompt, fresh_session=fresh_session, key=key
        )

    def interrupt(self, task: str, *, attempt: int, reason: str, key: str) -> Receipt:
        with self._or_nothing():
            reason = self._secrets.text(reason)
        return self._inner.interrupt(task, attempt=attempt, reason=reason, key=key)

    def cancel(self, task: str, *, attempt: int, reason: str, key: str) -> Receipt:
        with self._or_nothing():
            reason = self._secrets.text(reason)
        return self._inner.cancel(task, attempt=attempt, reason=reason, key=key)

    def get(self, task: str) -> TaskView | None:
        view = self._inner.get(task)
        return None if view is None else self._view(view)

    def changed_since(self, cursor: Cursor | None) -> Changes:
        changes = self._inner.changed_since(cursor)
        tasks, unreadable = [], {
            task: self._line(why) for task, why in changes.unreadable.items()
        }  # fmt: skip
        for view in changes.tasks:
            try:
                tasks.append(self._view(view))
            except UnreadableAnswerError as error:
                unreadable[view.id] = str(error)
        return changes.model_copy(update={"tasks": tuple(tasks), "unreadable": unreadable})

    def trace(self, task: str, *, attempt: int, after: int, limit: int) -> Sequence[TraceEvent]:
        events = self._inner.trace(task, attempt=attempt, after=after, limit=limit)
        return [self._secrets.all(one) for one in events]

    def _view(self, view: TaskView) -> TaskView:
        try:
            return self._secrets.all(view)
        except Exception as error:
            raise UnreadableAnswerError(_unread(error)) from error

    def _line(self, why: str) -> str:
        try:
            return self._secrets.text(why)
        except Exception as error:  # noqa: BLE001 - only this text is lost by it
            return _unread(error)


class _Source(_Crossing):
    _inner: WorkSource

    def beat(self, lease: Lease, events: Sequence[NewEvent], *, extend: float) -> Beat:
        try:
            cleaned = [self._secrets.all(one) for one in events]
        except Exception as error:  # noqa: BLE001 - the lease counts, the words of this moment do not
            cleaned = [NewEvent(at=events[-1].at, kind="text", text=_unread(error))]
        return self._inner.beat(lease, cleaned, extend=extend)

    def finish(self, lease: Lease, report: Report) -> Any:  # noqa: ANN401 - as the port's
        try:
            cleaned = self._secrets.all(report)
        except Exception as error:  # noqa: BLE001 - the attempt ended, whatever it printed
            cleaned = Report(state="failed", last_error=_unread(error), session=report.session)
        return self._inner.finish(lease, cleaned)


class _JudgeSource(_Crossing):
    _inner: JudgeSource

    def finish(self, lease: JudgeLease, record: JudgeRecord) -> bool:
        try:
            record = self._secrets.all(record)
        except Exception as error:  # noqa: BLE001 - it was judged, and nothing of it can be shown
            update = {"verdict": "unknown", "commands": (), "base_commands": ()}
            record = record.model_copy(update={**update, "reason": _unread(error)})
        return self._inner.finish(lease, record)


class _Judgements(_Crossing):
    _inner: Judgements

    def latest(self, task: str, attempt: int) -> Judgement | None:
        found = self._inner.latest(task, attempt)
        try:
            return None if found is None else self._secrets.all(found)
        except Exception as error:
            raise UnreadableAnswerError(_unread(error)) from error


class _Probe(_Crossing):
    _inner: EvidenceProbe

    def probe(self, spec: TaskSpec, view: TaskView, now: datetime) -> Sequence[Evidence]:
        return tuple(self._secrets.all(one) for one in self._inner.probe(spec, view, now))


class _Remote(_Crossing):
    _inner: Remote

    def foreign(self, since: str, heads: Heads, accepted: Sequence[str]) -> Sequence[str] | None:
        lines = self._inner.foreign(since, heads, accepted)
        return None if lines is None else [self._secrets.text(one) for one in lines]


class _Diffs(_Crossing):
    _inner: DiffSource

    def diff(self, base: str | None, commit: str) -> str | None:
        found = self._inner.diff(base, commit)
        return None if found is None else self._secrets.text(found)


class _Issues(_Crossing):
    _inner: Issues

    def open(self, fingerprint: str, title: str, body: str) -> Issue:
        with self._or_nothing():
            title, body = self._secrets.text(title), self._secrets.text(body)
        return self._inner.open(fingerprint, title, body)

    def comment(self, issue: str, body: str, *, key: str) -> None:
        with self._or_nothing():
            body = self._secrets.text(body)
        self._inner.comment(issue, body, key=key)

    def close(self, issue: str, body: str, *, key: str) -> None:
        with self._or_nothing():
            body = self._secrets.text(body)
        self._inner.close(issue, body, key=key)


class _References(_Crossing):
    _inner: References

    def propose(self, path: str, text: str, *, title: str, key: str) -> Proposed:
        with self._or_nothing():
            text, title = self._secrets.text(text), self._secrets.text(title)
        return self._inner.propose(path, text, title=title, key=key)


class _Remedies(_Crossing):
    _inner: Remedies

    def rehearse(self, remedy: str, names: Mapping[str, str]) -> str:
        return self._secrets.text(self._inner.rehearse(remedy, names))

    def carry_out(self, remedy: str, names: Mapping[str, str], *, key: str) -> Remedied:
        return self._secrets.all(self._inner.carry_out(remedy, names, key=key))

    def done(self, key: str) -> Remedied | None:
        return self._secrets.all(self._inner.done(key))


class _Drafter(_Crossing):
    _inner: Drafter

    def draft(self, request: DraftRequest) -> str:
        # Before, because what is quoted is cut and indented; after, for what a person wrote.
        with self._or_nothing():
            request = self._secrets.all(request)
        prompt = self._inner.draft(request)
        with self._or_nothing():
            return self._secrets.text(prompt)


class _Writer(_Crossing):
    _inner: Writer

    def slots(
        self, request: DraftRequest, findings: Sequence[str] = ()
    ) -> tuple[Slots | None, Usage]:
        try:
            request, findings = self._secrets.all(request), self._secrets.all(tuple(findings))
        except Exception:  # noqa: BLE001 - the facts must do
            return None, Usage()
        slots, usage = self._inner.slots(request, findings)
        return self._secrets.all(slots), usage


class _Reviewer(_Crossing):
    _inner: Reviewer

    def review(self, briefs: Sequence[Brief]) -> Sequence[Review]:
        try:
            cleaned = [self._secrets.all(one) for one in briefs]
        except Exception as error:  # noqa: BLE001 - a reviewer never raises
            why = AbstainError("unclean", type(error).__name__)
            return [abstention(one, why) for one in briefs]
        return [self._secrets.all(one) for one in self._inner.review(cleaned)]


class _Journal(_Crossing):
    _inner: Journal

    def append(self, records: Sequence[Record], snapshot: Snapshot | None = None) -> None:
        # The snapshot is made of what was cleaned already; records name it by its digest.
        self._inner.append([self._secrets.all(one) for one in records], snapshot)


class _Approvals(_Crossing):
    _inner: Approvals

    def ask(self, request: ApprovalRequest) -> ApprovalRequest:
        return self._inner.ask(self._secrets.all(request))

    def change(
        self, request: str, digest: str, how: Callable[[ApprovalRequest], ApprovalRequest]
    ) -> ApprovalRequest:
        return self._inner.change(request, digest, lambda one: self._secrets.all(how(one)))
