"""Is a prompt self-contained? The linter, and what a draft is made from.

Policy: "Code Queue workers should receive self-contained prompts with enough context to execute
without relying on GitHub issue visibility or chat history." A prompt is Markdown with fixed
second-level headings. Text in a fence is quoted data: it satisfies no rule and
breaks none.
"""

import difflib
import re
import shlex
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from agent.core.model.nouns import Evidence, Noun
from agent.core.model.queueing import TaskSpec
from agent.core.model.secrets import SHAPES
from agent.core.model.text import code, lines_with_quoting, nested, one_line, visible

DraftKind = Literal[
    "initial", "continuation", "defect", "release", "narrower", "reference", "side_work"
]


class Step(Noun):
    """One step that remains, and the criterion it serves."""

    criterion: str
    step: str


class Slots(Noun):
    """What a model derived from the facts; each text is one line of unknown origin."""

    done: tuple[str, ...] = ()
    failed: str = ""
    remaining: tuple[Step, ...] = ()
    """First things first."""


class DraftRequest(Noun):
    """The facts a prompt is rendered from."""

    kind: DraftKind
    spec: TaskSpec
    goal: str
    """The wave's goal, in one sentence."""
    attempt: int
    """The attempt the prompt is for."""
    evidence: tuple[Evidence, ...] = ()
    missing: tuple[str, ...] = ()
    """What is not proven yet, one sentence each."""
    unmet: tuple[str, ...] = ()
    """Ids of criteria that are not met."""
    failed: str | None = None
    """What exactly failed, in one sentence."""
    output: str | None = None
    """The failing output: untrusted text, fenced in the prompt."""
    last_error: str | None = None
    commit: str | None = None
    """The last commit that was seen on the remote branch."""
    previous: str | None = None
    """The prompt of the last attempt."""
    beside: str | None = None
    """What the task's own worktree did on the remote beside its branch, in one sentence."""
    fixed: str | None = None
    """For `release` and `reference`: which defect was fixed, and how that was proven."""
    replaces: str | None = None
    """For `narrower`: the id of the wider task that it replaces."""
    slots: Slots | None = None
    """None: the prompt is rendered from facts alone."""


class Finding(Noun):
    """One reason why a prompt is not self-contained."""

    rule: str
    message: str
    line: int | None = None


TASK: Final = "Task"
OWNERSHIP: Final = "Ownership"
BACKGROUND: Final = "Background"
ALREADY_DONE: Final = "What is already done"
WHAT_FAILED: Final = "What exactly failed"
WRITE_SCOPE: Final = "Write scope"
VALIDATION_SCOPE: Final = "Validation scope"
COMMIT_AND_PUSH: Final = "Commit and push"
FORBIDDEN: Final = "Forbidden actions"
COUNTS_AS_DONE: Final = "What counts as done"
REPORT: Final = "What to report"

ALWAYS: Final = (
    TASK,
    OWNERSHIP,
    BACKGROUND,
    WRITE_SCOPE,
    VALIDATION_SCOPE,
    COMMIT_AND_PUSH,
    FORBIDDEN,
    COUNTS_AS_DONE,
    REPORT,
)
"""The second-level headings of every prompt, word for word."""
AFTER_AN_ATTEMPT: Final = (ALREADY_DONE, WHAT_FAILED)
"""Further headings of every prompt that follows another one of the same task."""

NEAR_DUPLICATE: Final = 0.97
"""Above this share of common words two prompts count as the same."""

_NOT_A_RECORD: Final = (
    r"(?! (?:below|pool|dump|service|server|client|module|class|handler|model|table|schema|template"
    r"|component|page|api|code)\b)"
)
_RECORD: Final = (
    r"(?:issue|ticket|thread|chat|conversation|discussion|pull request|pr)" + _NOT_A_RECORD
)
_NUMBERED: Final = r"(?:#\d+|(?:issue|ticket|pr|pull request) #?\d+)"
_TALK: Final = r"(?:conversation|chat|discussion|thread|message)" + _NOT_A_RECORD
_LEANING: Final = (
    r"as (?:we )?(?:already )?(?:discussed|talked about)",
    r"(?:we|you and i) (?:have )?(?:already )?(?:discussed|talked about|spoke about)",
    r"as (?:we |i |already )?(?:mentioned|said|noted|explained) (?:earlier|before|previously)",
    r"as you (?:already |may )?(?:know|remember|recall)",
    r"as usual",
    r"see above",
    rf"see (?:the |our |my )?(?:above|earlier|previous|prior|last) {_TALK}",
    rf"(?:the|our) above {_TALK}",
    rf"our (?:earlier|previous|prior|last) {_TALK}",
    rf"see (?:the |this |that |our |my |linked )+{_RECORD}",
    rf"(?:see|refer (?:back )?to|per|(?:described|explained|discussed|specified) in) {_NUMBERED}",
    r"see https?://\S{1,300}/(?:issues|pull|merge_requests|discussions)/\d+",
    rf"(?:refer (?:back )?to|per|according to) (?:the |our |my |this |linked )+{_RECORD}",
    rf"(?:described|explained|discussed|specified|listed) in (?:the |our |linked )+{_RECORD}",
    rf"the linked {_RECORD}",
    r"(?:continue|carry on|go on|resume|pick up) (?:from )?where (?:you|we) (?:left|stopped)",
    r"same as (?:the )?last (?:time|task|prompt)",
    r"like (?:the )?last time",
    r"you (?:already )?know (?:what to do|the drill|the rest)",
    r"you (?:already )?have (?:all )?the context",
    r"your (?:previous|earlier|last) (?:prompt|instructions)",
    r"the (?:previous|earlier|last) prompt",
)
_LEANS: Final = re.compile(
    r"(?<![\w-])(?:" + "|".join(_LEANING).replace(" ", r"\s+") + r")(?![\w-]|\.\w)",
    re.IGNORECASE,
)
_LINK: Final = re.compile(
    r"https?://\S+|(?<![\w./-])(?:[\w.-]+/[\w.-]+)?#\d+|\b[A-Z][A-Z0-9]{1,9}-\d+\b",
)
_LINKING_WORD: Final = re.compile(
    r"a|all|an|and|are|at|background|can|context|describe[sd]|details|everything|for|found|from|fixes"
    r"|full|git(?:hub|lab)|here|in|info(?:rmation)?|is|issue|it|link|more|of|on|please|pr|pull|read"
    r"|ref(?:erence)?s?|request|see|task|the|there|this|ticket|to|url",
)
_CONTENT_WORDS: Final = 3
_HEADING: Final = "## "
_NO_PUSH: Final = re.compile(r"\b(?:not|never|no|nothing|without)\b[^.]{0,80}\bpush", re.IGNORECASE)
_ITEM: Final = re.compile(r"\n[ \t]*(?:[-*]|\d+\.)[ \t]|\n[ \t]*\n")
_MASTER_HOST: Final = re.compile(r"\bmaster\b(?!\s+branch)", re.IGNORECASE)
_HEAVY: Final = re.compile(
    r"\b(?:heavy|full|whole|complete|e2e|end-to-end|playwright|load|stress)\b", re.IGNORECASE
)
_PLACE: Final = re.compile(
    r"\b(?:CI|pipeline|dev|development|staging|containers?|runner|cluster|environment|sandbox"
    r"|(?<!master )(?<!local )(?:host|server|machine))\b",
    re.IGNORECASE,
)


class _Section(NamedTuple):
    line: int
    text: str
    """The text outside fences; each quoted line is one NUL."""


def leans_on_context(text: str) -> tuple[str, ...]:
    """The phrases, in order and each once, that refer to an issue, a chat or an earlier prompt.

    Policy: "Include the relevant background in the prompt itself; issue links are supporting
    references, not required context." A link beside its content is fine.
    """
    found = (one_line(match[0]) for match in _LEANS.finditer(_unquoted(text)))
    return tuple(dict.fromkeys(found))


def lint(
    prompt: str,
    spec: TaskSpec,
    *,
    previous: str | None = None,
    new_evidence: bool = True,
) -> tuple[Finding, ...]:
    """Every reason why `prompt` is not self-contained for `spec`; empty: it is.

    `previous` is the prompt of the attempt before, if there was one; `new_evidence` says whether
    there is new evidence since. Never raises, and takes time linear in the prompt.
    Policy: "State the write scope, validation scope, commit/push requirement, and forbidden
    actions directly in the prompt."
    """
    prompt = prompt.replace("\r\n", "\n")
    sections, twice = _sections(prompt)
    return (
        *twice,
        *_missing(sections, spec, follows=previous is not None),
        *_unstated(sections, spec),
        *_push_not_ruled_out(sections, spec),
        *_production_gaps(sections, spec),
        *_bare_background(sections),
        *_leaning(prompt),
        *_hidden(prompt),
        *_repetition(prompt, previous, new_evidence=new_evidence),
    )


def _unquoted(text: str) -> str:
    """`text` with one NUL for each quoted line, so that no phrase spans a fence."""
    return "\n".join("\0" if quoted else line for line, quoted in lines_with_quoting(text))


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _sections(prompt: str) -> tuple[dict[str, _Section], list[Finding]]:
    """The prompt's sections by heading, and a finding for each heading that comes again."""
    known = frozenset((*ALWAYS, *AFTER_AN_ATTEMPT))
    started: dict[str, tuple[int, list[str]]] = {}
    twice: list[Finding] = []
    content: list[str] = []
    for number, (line, quoted) in enumerate(lines_with_quoting(prompt), start=1):
        if quoted or not line.startswith(_HEADING):
            content.append("\0" if quoted else line)
            continue
        content = []
        name = line.removeprefix(_HEADING).strip()
        if name in started and name in known:
            message = f"the section {name!r} appears twice; keep one of them"
            twice.append(Finding(rule="section-twice", message=message, line=number))
        else:
            started[name] = (number, content)
    return {name: _Section(line, "\n".join(text)) for name, (line, text) in started.items()}, twice


def _missing(sections: dict[str, _Section], spec: TaskSpec, *, follows: bool) -> Iterator[Finding]:
    """Sections that are not there, or hold nothing but headings and quoted data."""
    needed = [*ALWAYS, *(AFTER_AN_ATTEMPT if follows else ())]
    if spec.fixes is not None and WHAT_FAILED not in needed:
        needed.append(WHAT_FAILED)
    for name in needed:
        section = sections.get(name)
        if section is None:
            message = f"there is no section '## {name}'; add it"
            yield Finding(rule="section-missing", message=message)
        elif not re.search(r"\w", _without_headings(section.text)):
            message = f"the section {name!r} has no text outside quotes; write it out"
            yield Finding(rule="section-empty", message=message, line=section.line)


def _without_headings(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not re.match(r"#{1,6}(\s|$)", line))


def _facts(spec: TaskSpec) -> Iterator[tuple[str, str, str]]:
    """Section, rule and the fact it must state, as the templates write it."""
    yield TASK, "task-not-stated", one_line(spec.id)
    yield TASK, "task-not-stated", one_line(spec.title)
    yield OWNERSHIP, "ownership-not-stated", one_line(spec.ownership)
    for pattern in spec.write_scope:
        yield WRITE_SCOPE, "write-scope-not-stated", code(pattern)
    yield VALIDATION_SCOPE, "validation-scope-not-stated", _unquoted(nested(spec.validation_scope))
    for command in spec.acceptance_commands:
        yield VALIDATION_SCOPE, "command-not-stated", code(shlex.join(command.argv))
    if spec.commit == "required":
        yield COMMIT_AND_PUSH, "branch-not-stated", code(spec.branch)
    for action in spec.forbidden:
        yield FORBIDDEN, "forbidden-not-stated", one_line(action)
    for criterion in spec.criteria:
        yield COUNTS_AS_DONE, "criterion-not-stated", one_line(criterion.id)
        yield COUNTS_AS_DONE, "criterion-not-stated", one_line(criterion.text)


def _unstated(sections: dict[str, _Section], spec: TaskSpec) -> Iterator[Finding]:
    squeezed = {name: _squeezed(section.text) for name, section in sections.items()}
    for name, rule, fact in _facts(spec):
        wanted = _squeezed(SHAPES.text(fact))  # as the prompt has it
        if name in sections and not _states(squeezed[name], wanted):
            message = f"the section {name!r} does not state {wanted!r:.200}"
            yield Finding(rule=rule, message=message, line=sections[name].line)


def _states(text: str, fact: str) -> bool:
    """Whether `text` states `fact` as a whole word: `C10` does not state `C1`."""
    return re.search(rf"(?<![\w/*-]){re.escape(fact)}(?![\w/*-])", text) is not None


def _push_not_ruled_out(sections: dict[str, _Section], spec: TaskSpec) -> Iterator[Finding]:
    section = sections.get(COMMIT_AND_PUSH)
    if spec.commit == "none" and section and not _NO_PUSH.search(_squeezed(section.text)):
        message = "the task pushes nothing; say in 'Commit and push': do not push anything"
        yield Finding(rule="push-not-ruled-out", message=message, line=section.line)


def _production_gaps(sections: dict[str, _Section], spec: TaskSpec) -> Iterator[Finding]:
    """What a production-adjacent prompt lacks.

    Policy: it "must explicitly forbid heavy local checks on the master server" and "must tell the
    worker which validation belongs in" CI, the dev environment or a target service container.
    """
    if not spec.production_adjacent:
        return
    forbidden, validation = sections.get(FORBIDDEN), sections.get(VALIDATION_SCOPE)
    if forbidden and not any(
        _MASTER_HOST.search(item) and _HEAVY.search(item) for item in _ITEM.split(forbidden.text)
    ):
        message = (
            "production-adjacent work must forbid heavy local checks on the master host;"
            " add it to `forbidden`"
        )
        yield Finding(rule="heavy-checks-not-forbidden", message=message, line=forbidden.line)
    if validation and not _PLACE.search(_squeezed(nested(spec.validation_scope))):
        message = (
            "production-adjacent work must say where validation belongs (CI, the dev environment,"
            " a target container); add it to `validation_scope`"
        )
        yield Finding(rule="validation-place-not-named", message=message, line=validation.line)


def _bare_background(sections: dict[str, _Section]) -> Iterator[Finding]:
    section = sections.get(BACKGROUND)
    if section is None:
        return
    text, links = _LINK.subn(" ", _without_headings(section.text))
    words = {word.lower() for word in re.findall(r"[^\W\d_]+", text)}
    telling = [word for word in words if not _LINKING_WORD.fullmatch(word)]
    if links and len(telling) < _CONTENT_WORDS:
        message = "the background is only a link; write out what the link says"
        yield Finding(rule="background-is-only-a-link", message=message, line=section.line)


def _leaning(prompt: str) -> Iterator[Finding]:
    text = _unquoted(prompt)
    line, counted = 1, 0
    for match in _LEANS.finditer(text):
        line, counted = line + text.count("\n", counted, match.start()), match.start()
        message = f"{one_line(match[0])!r} refers to something the worker cannot see; write it out"
        yield Finding(rule="leans-on-context", message=message, line=line)


def _hidden(prompt: str) -> Iterator[Finding]:
    pairs = zip(prompt.split("\n"), visible(prompt).split("\n"), strict=True)
    for number, (line, shown) in enumerate(pairs, start=1):
        if line != shown:
            message = f"hidden characters: {one_line(shown)!r:.120}; write them out or remove them"
            yield Finding(rule="hidden-characters", message=message, line=number)
            return


def _repetition(prompt: str, previous: str | None, *, new_evidence: bool) -> Iterator[Finding]:
    """Compares without numbers, spacing and the order of words: none of them makes a prompt new."""
    if previous is None or new_evidence:
        return
    before, now = (re.sub(r"\d+", "0", text).split() for text in (previous, prompt))
    if difflib.SequenceMatcher(None, before, now, autojunk=False).quick_ratio() > NEAR_DUPLICATE:
        message = "this repeats the last prompt without new evidence; add evidence, or do not retry"
        yield Finding(rule="repeats-the-last-prompt", message=message)
