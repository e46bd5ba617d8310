"""What a reviewer is shown: criteria by the user, and exhibits of unknown origin.

Each exhibit says whether it was observed or only claimed, and how much of it is not shown.
"""

import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from agent.core.assess.proof import substance
from agent.core.model.actions import digest
from agent.core.model.nouns import CommandResult, Criterion, Evidence, JudgeRecord, Noun, ProofKind
from agent.core.model.queueing import TaskSpec, TaskView
from agent.core.model.text import one_line, visible

RESPONSE: Final = "final-response"
DIFF: Final = "diff"
JUDGED_OUTPUT: Final = 4000
"""Characters of a command's output that a judge keeps; as many or more may have been cut."""

_HOLDS: Final = {True: "holds", False: "does not hold", None: "is unknown"}


class Exhibit(Noun):
    """One thing the reviewer is shown."""

    id: str
    origin: Literal["claimed", "observed"]
    about: str
    """What it is, in a few words of our own."""
    text: str
    cut: int = 0
    """How many characters of it are not shown; at least so many."""


class Limits(Noun):
    """How much a reviewer is shown, in characters; beyond that the review says how much is cut."""

    response: Annotated[int, Field(gt=0)] = 60_000
    diff: Annotated[int, Field(gt=0)] = 120_000


class Brief(Noun):
    """Everything one review rests on: criteria by the user, exhibits of unknown origin."""

    task: str
    attempt: int
    title: str
    criteria: tuple[Criterion, ...]
    exhibits: tuple[Exhibit, ...]
    holding: tuple[ProofKind, ...] = ()
    """Kinds of evidence that were observed to hold, nothing observed speaking against them."""
    denied: tuple[ProofKind, ...] = ()
    """Kinds of evidence that were observed not to hold."""
    seen: str | None = None
    """`Review.seen`; not shown."""
    claims_count: bool = False
    """Whether the policy lets a worker's own words prove a criterion of judgement; not shown."""

    def digest(self) -> str:
        """Of everything that is shown."""
        return digest([self.title, *self.criteria_shown(), *self.exhibits_shown()])

    def criteria_shown(self) -> list[dict[str, Any]]:
        """The criteria as plain JSON."""
        return [one.model_dump(mode="json") for one in self.criteria]

    def exhibits_shown(self) -> list[dict[str, Any]]:
        """The exhibits as plain JSON, each with what is not shown of it."""
        return [
            {
                "id": one.id,
                "origin": one.origin,
                "about": one.about,
                **({"charactersNotShown": one.cut} if one.cut else {}),
                "text": one.text,
            }
            for one in self.exhibits
        ]


def brief(
    spec: TaskSpec,
    view: TaskView,
    evidence: Sequence[Evidence],
    diff: str | None,
    limits: Limits,
    *,
    claims_count: bool = False,
) -> Brief:
    """What a reviewer of this result is shown.

    `view.judge` is what a judge host found of it. `diff`: what the branch changed, as the remote
    shows it; None: it cannot be read.
    """
    return Brief(
        task=spec.id,
        attempt=view.attempt,
        title=one_line(spec.title),
        criteria=spec.criteria,
        exhibits=collect_exhibits(
            evidence,
            [(shlex.join(one.argv), one.exit_code, one.output) for one in _commands(view)],
            diff,
            view.final_response,
            truncated=view.final_response_truncated,
            limits=limits,
            judged=view.judge,
        ),
        holding=_kinds(evidence, all, holds=True),
        denied=_kinds(evidence, any, holds=False),
        seen=substance(view.final_response, view.judge, evidence),
        claims_count=claims_count,
    )


def collect_exhibits(
    evidence: Sequence[Evidence],
    checks: Iterable[tuple[str, int | None, str]],
    diff: str | None,
    response: str | None,
    *,
    limits: Limits,
    truncated: bool = False,
    judged: JudgeRecord | None = None,
) -> tuple[Exhibit, ...]:
    """The exhibits, what was observed first.

    `checks`: command, exit code (None: it did not end) and output; `truncated`: others have cut the
    final response already.
    """
    found = [*_evidence_items(evidence), *_check_outputs(checks)]
    if judged is not None and judged.changed_judges:
        text = "\n".join(judged.changed_judges)
        about = "files that the acceptance commands run or read, and that this change alters"
        found.append(_exhibit("changed-judges", "observed", about, text, JUDGED_OUTPUT))
    if diff is not None:
        found.append(_exhibit(DIFF, "observed", "the branch's changes", diff, limits.diff))
    if response is not None:
        about = "the worker's final response: claims, and nothing else"
        one = _exhibit(RESPONSE, "claimed", about, response, limits.response)
        found.append(one.model_copy(update={"cut": one.cut or int(truncated)}))
    return tuple(found)


def _commands(view: TaskView) -> Sequence[CommandResult]:
    return view.judge.commands if view.judge else ()


def _evidence_items(evidence: Sequence[Evidence]) -> list[Exhibit]:
    found = []
    for place, item in enumerate(evidence, start=1):
        parts = [f"{item.kind} {_HOLDS[item.holds]}", item.value, item.detail]
        text = visible("; ".join(part for part in parts if part))
        found.append(
            Exhibit(id=f"evidence-{place}", origin=item.origin, about=item.kind, text=text)
        )
    return found


def _check_outputs(checks: Iterable[tuple[str, int | None, str]]) -> list[Exhibit]:
    found = []
    for place, (command, code, output) in enumerate(checks, start=1):
        ended = "did not end" if code is None else f"exit code {code}"
        about = f"output of `{one_line(command)}`, {ended}"
        one = _exhibit(f"check-{place}", "observed", about, output, JUDGED_OUTPUT)
        cut = one.cut or int(len(output) >= JUDGED_OUTPUT)
        found.append(one.model_copy(update={"cut": cut}))
    return found


def _exhibit(
    name: str, origin: Literal["claimed", "observed"], about: str, text: str, limit: int
) -> Exhibit:
    """`text` made visible; of a longer one, the first and the last part."""
    shown, cut = visible(text), max(0, len(visible(text)) - limit)
    if cut:
        half = limit // 2
        shown = f"{shown[:half]}\n[{cut} characters are not shown]\n{shown[len(shown) - half :]}"
    return Exhibit(id=name, origin=origin, about=about, text=shown, cut=cut)


def _kinds(
    evidence: Sequence[Evidence], of: Callable[[Iterable[bool]], bool], *, holds: bool
) -> tuple[ProofKind, ...]:
    """The kinds of which all, or any, observed items say the same."""
    observed = [one for one in evidence if one.origin == "observed"]
    kinds = sorted({one.kind for one in observed})
    return tuple(
        kind for kind in kinds if of(one.holds is holds for one in observed if one.kind is kind)
    )
