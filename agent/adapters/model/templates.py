"""Renders a prompt from facts alone, with the Jinja2 templates of `prompts/`.

A template sees plain strings that are ready to be placed: what a person wrote in the wave file is
made visible and kept inside its section, and what was observed (output, errors, findings,
evidence) arrives inside a fence it cannot leave. Nothing of it is ever template code.
"""

import shlex
from pathlib import Path
from typing import Any, Final, get_args

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agent.core.model.nouns import Command, Criterion, Evidence
from agent.core.model.queueing import TaskSpec
from agent.core.model.text import code, fenced, lines_with_quoting, nested, one_line, tail, visible
from agent.core.prompts.linter import DraftKind, DraftRequest, Slots
from agent.errors import PolicyError

OUTPUT_LIMIT: Final = 6000
"""Characters of output or of an error that a prompt carries; the end is kept."""
FACT_LIMIT: Final = 2000
"""Characters of one fact: a finding, an observed failure, a contract."""
LINE_LIMIT: Final = 600
"""Characters of one line in a list of facts."""

_FAULTS: Final = (
    jinja2.TemplateError,
    ArithmeticError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a broken template can raise while it is compiled or rendered."""
_HOLDS: Final = {True: "holds", False: "does not hold", None: "unknown"}


def sandbox(folder: Path) -> ImmutableSandboxedEnvironment:
    """The templates of `folder`. They write no HTML, so nothing is escaped as HTML is."""
    return ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class TemplateDrafter:
    """The `Drafter` port without a model. PolicyError, one line, for a missing or broken template.

    `folder` holds one `KIND.md.j2` for each kind of draft; templates can import from that folder
    and from nowhere else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # It writes Markdown for an agent; what is untrusted is fenced below.
        self._environment = sandbox(folder)
        shipped = [f"{kind}.md.j2" for kind in get_args(DraftKind)]
        for name in (*shipped, *self._environment.list_templates(extensions=["j2"])):
            self._template(name)

    def draft(self, request: DraftRequest) -> str:
        """The prompt. `request.previous` is not quoted in it: a prompt states everything anew."""
        name = f"{request.kind}.md.j2"
        try:
            return _tidied(self._template(name).render(_facts(request)))
        except _FAULTS as error:
            raise self._broken(name, error) from error

    def _template(self, name: str) -> jinja2.Template:
        try:
            return self._environment.get_template(name)
        except _FAULTS as error:
            raise self._broken(name, error) from error

    def _broken(self, name: str, error: Exception) -> PolicyError:
        if isinstance(error, jinja2.TemplateNotFound):
            wanted = self._folder / one_line(str(error.name or name))
            return PolicyError(f"{wanted}: no such template; put the shipped one back")
        where = self._place(error) or self._folder / name
        return PolicyError(f"{where}: broken template: {one_line(str(error))}; fix the template")

    def _place(self, error: Exception) -> str | None:
        """FILE:LINE of the template at fault: in a syntax error, or in the traceback."""
        if isinstance(error, jinja2.TemplateSyntaxError) and error.filename:
            return f"{error.filename}:{error.lineno}"
        place, step = None, error.__traceback__
        while step is not None:
            if Path(step.tb_frame.f_code.co_filename).parent == self._folder:
                place = f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}"
            step = step.tb_next
        return place


def _tidied(text: str) -> str:
    """At most one empty line in a row outside fences, and one newline at the end."""
    lines: list[str] = []
    for line, quoted in lines_with_quoting(text.strip()):
        if quoted or line.strip() or lines[-1].strip():
            lines.append(line)
    return "\n".join(lines) + "\n"


def _facts(request: DraftRequest) -> dict[str, Any]:
    """Everything a template may name, each value a string ready to be placed."""
    known = {criterion.id for criterion in request.spec.criteria}
    unknown = tuple(one for one in request.unmet if one not in known)
    return {
        **_identity(request.spec),
        "goal": one_line(request.goal),
        "attempt": request.attempt,
        "fixes": request.spec.fixes is not None,
        "context": _context(request.spec),
        "commit": code(request.commit) if request.commit else None,
        "unmet": [_criterion(one) for one in request.spec.criteria if one.id in request.unmet],
        "missing": _listed((*unknown, *request.missing)),
        "evidence": _listed([_evidence(one) for one in request.evidence]),
        "failed": _quoted(request.failed),
        "beside": _quoted(request.beside),
        "fixed": _quoted(request.fixed),
        "replaces": one_line(request.replaces) if request.replaces else None,
        "read": _read(request.slots),
        "last_error": _end_of(request.last_error),
        "output": _end_of(request.output),
    }


def _read(slots: Slots | None) -> dict[str, Any] | None:
    """What a model read out of the facts; its report of the past is quoted, as all findings are."""
    if slots is None:
        return None
    past = [f"done: {one}" for one in slots.done]
    return {
        "past": _listed([*past, *([f"failed: {slots.failed}"] if slots.failed else [])]),
        "remaining": [
            {"id": one_line(one.criterion), "step": one_line(one.step)} for one in slots.remaining
        ],
    }


def _identity(spec: TaskSpec) -> dict[str, Any]:
    """What stays the same from attempt to attempt."""
    return {
        "id": spec.id,
        "kind": str(spec.kind),
        "title": one_line(spec.title),
        "ownership": one_line(spec.ownership),
        "background": nested(spec.background),
        "write_scope": [code(pattern) for pattern in spec.write_scope],
        "validation_scope": nested(spec.validation_scope),
        "commands": [_command(command) for command in spec.acceptance_commands],
        "pushes": spec.commit == "required",
        "branch": code(spec.branch),
        "push": code(f"git push origin HEAD:refs/heads/{spec.branch}"),
        "forbidden": [one_line(action) for action in spec.forbidden],
        "criteria": [_criterion(criterion) for criterion in spec.criteria],
    }


def _command(command: Command) -> str:
    note = " (it must get past the known failure)" if command.expect == "proceeds" else ""
    return code(shlex.join(command.argv)) + note


def _criterion(criterion: Criterion) -> dict[str, str]:
    return {
        "id": one_line(criterion.id),
        "text": one_line(criterion.text),
        "proof": str(criterion.proof),
    }


def _context(spec: TaskSpec) -> dict[str, Any]:
    """The facts of `spec.context`; for a defect the first three have a meaning each."""
    facts = [_quoted(fact) for fact in spec.context]
    named: list[str | None] = [None, None, None] if spec.fixes is None else []
    observed, contract, recovery, *further = (*named, *facts, None, None, None)
    return {
        "observed": observed,
        "contract": contract,
        "recovery": recovery,
        "further": [fact for fact in further if fact is not None],
    }


def _evidence(item: Evidence) -> str:
    parts = [f"{item.origin} {item.kind}: {_HOLDS[item.holds]}", item.value, item.detail]
    return "; ".join(part for part in parts if part)


def _quoted(text: str | None) -> str | None:
    """One fact in a fence, cut to the length of a few sentences."""
    if not text or not text.strip():
        return None
    return fenced(_shortened(text.strip(), FACT_LIMIT))


def _listed(facts: list[str] | tuple[str, ...]) -> str | None:
    """Several facts in one fence, one a line."""
    lines = [f"- {_shortened(one_line(fact), LINE_LIMIT)}" for fact in facts if fact.strip()]
    return fenced("\n".join(lines)) if lines else None


def _shortened(text: str, limit: int) -> str:
    end, cut = tail(visible(text), limit)
    return f"(the first {cut} characters are cut) {end}" if cut else end


def _end_of(text: str | None) -> dict[str, str] | None:
    """The end of a long text in a fence, and a note on how much was cut before it."""
    if not text or not text.strip():
        return None
    end, cut = tail(visible(text), OUTPUT_LIMIT)
    return {"text": fenced(end), "cut": f" (the first {cut} characters are cut)" if cut else ""}
