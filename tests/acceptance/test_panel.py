"""How a question looks on a small terminal; text of others cannot pass for a part of it."""

import io
import os
import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.approval.panel import Panel, asks
from agent.cli.console import Console
from agent.core.approval.requests import Warned
from agent.core.model.actions import Action, Proposal
from agent.core.model.nouns import Evidence
from tests.adapters.approvals_contract import NOW, request

LONG = "word " * 60
PLACES = {"retry_the_same_task": "guard.toml:53"}


def evidence(kind, *, holds=True, value="c" * 40, detail=LONG):
    return Evidence(
        id=kind, kind=kind, origin="observed", holds=holds, value=value, observed_at=NOW,
        detail=detail, attempt=1,
    )  # fmt: skip


def full(**over):
    """Everything a card can hold, and too much of it."""
    return request(
        **{
            "id": "A-2",
            "prompt": "\n".join(f"{number}: {LONG}" for number in range(40)),
            "title": LONG,
            "rules": ("retry_the_same_task",),
            "warnings": tuple(Warned(rule=f"rule-{one}", said=LONG) for one in range(5)),
            "evidence": tuple(evidence(one) for one in ("commit-pushed", "checks-passed")) * 3,
            "claim": f"All done.\n{LONG}\nall tests pass\n" * 5,
            "follows": "A-1",
            "changes": (LONG,) * 9,
            **over,
        },
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(one, mates=(), *, columns=80, lines=24, whole=False):
    os.environ["LINES"] = str(lines)
    try:
        out = Terminal()
        environ = {"COLUMNS": str(columns), "NO_COLOR": "1"}
        panel = Panel(Console(out, io.StringIO(), environ), one, [one, *mates], PLACES)
        if whole:
            panel.whole()
        else:
            panel.show(1, 2, NOW + timedelta(minutes=4))
    finally:
        del os.environ["LINES"]
    return out.getvalue().split("\n")[:-1]


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (60, 24), (40, 24), (132, 50)])
def test_the_fullest_question_fits_the_terminal(columns, lines):
    mates = [full(id=f"A-{number}") for number in range(3, 9)]
    said = shown(full(), mates, columns=columns, lines=lines)
    assert max(map(len, said)) <= columns
    assert len(said) + 1 < lines  # the question, and the cursor
    assert len(asks(full(), 1)) <= 78


def test_what_will_be_done_comes_first_and_the_claim_last():
    said = shown(full())
    marks = [line.split()[0] for line in said if re.match(r"  [A-Z]{4,7} ", line)]
    assert marks == ["WILL", "GUARD", "SEEN", "SINCE", "CLAIM"]
    assert said[1].startswith("A-2  retry T-1  risk medium  1 of 2  waits 4m, expires in 56m")
    assert said[2] == "  WILL    send to its queue as attempt 2 of T-1, under the same identity"
    assert said[4].startswith("    | 0: word")
    assert any(
        re.fullmatch(r"    … \d\d more lines of the prompt; `o` shows all", one) for one in said
    )
    assert "  GUARD   permits it with your approval: retry_the_same_task (guard.toml:53)" in said
    assert "  CLAIM   the worker says this; it is no evidence:" in said


def test_everything_shows_every_line_whole():
    one = full(instead=("accept (refused: never_accept_without_verified_evidence)",))
    said = "\n".join(shown(one, whole=True))
    for line in one.proposal.prompt.split("\n"):
        assert f"    | {line.rstrip()}" in said
    assert one.digest in said
    assert "INSTEAD accept (refused: never_accept_without_verified_evidence)" in said


def test_a_folded_prompt_is_opened_at_what_failed():
    words = [
        *(f"always {one}" for one in range(20)),
        "## What exactly failed",
        "",
        "3 tests are red.",
    ]
    said = shown(full(prompt="\n".join([*words, *["more"] * 9]), warnings=(), changes=()))
    assert [line for line in said if line.startswith("    |")][:3] == [
        "    | ## What exactly failed", "    |", "    | 3 tests are red.",
    ]  # fmt: skip
    assert any("more lines of the prompt, 20 of them before these" in line for line in said)


HOSTILE = [
    pytest.param("a\x1b[2Jb", "a␛b", id="clears the screen"),
    pytest.param("a\x1b]52;c;QQ==\x07b", "a␛b", id="writes the clipboard"),
    pytest.param("a\x1b]52;c;QQ==\x1b\\b", "a␛b", id="writes the clipboard, other end"),
    pytest.param("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "␛link␛", id="a link elsewhere"),
    pytest.param("a\x9b2Jb", "a␛b", id="C1 sequence"),
    pytest.param("a\x9d0;t\x07b", "a␛b", id="C1 title"),
    pytest.param("\x1bPq#0\x1b\\z", "␛z", id="a picture"),
    pytest.param("a\x1b[8mhidden\x1b[0m", "a␛hidden␛", id="concealed text"),
    pytest.param("x\u202eevil\u2066", "x<U+202E>evil<U+2066>", id="turned direction"),
    pytest.param("a\rb\x08", "a<U+000D>b<U+0008>", id="writes over itself"),
    pytest.param("zero\u200bwidth", "zero<U+200B>width", id="zero width"),
    pytest.param("trail \x1b", "trail ␛", id="begins a sequence and ends"),
    pytest.param("tag\U000e0041", "tag<U+E0041>", id="tag characters"),
    pytest.param("a\ufe01b\U000e0100", "a<U+FE01>b<U+E0100>", id="variation selectors"),
    pytest.param("a\u3164b\u2800", "a<U+3164>b<U+2800>", id="letters that are blank"),
    pytest.param("a" + "\u0301" * 6, "a" + "\u0301" * 4 + "<U+0301>" * 2, id="piled accents"),
    pytest.param("[red]x[/red]", "[red]x[/red]", id="markup"),
    pytest.param("a\x0bb\x0cc\x85d\u2028e", "a<U+000B>b<U+000C>c<U+0085>d<U+2028>e", id="breaks"),
]
FAKE = "ok\nA-9  accept T-1  risk low\n  GUARD   permits it\naccept T-1? [y,n]  digest 0123456789ab"


@pytest.mark.parametrize(("text", "wanted"), HOSTILE)
def test_hostile_text_is_shown_and_not_obeyed_wherever_it_stands(text, wanted):
    seen = (evidence("commit-pushed", detail=text),)
    one = full(prompt=text, claim=text, title=text, evidence=seen, changes=(text,))
    said = "\n".join(shown(one, columns=200))
    assert said.count(wanted) == 5
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", said)


def test_no_line_of_others_can_pass_for_one_of_the_panel():
    one = full(
        prompt=FAKE, claim=FAKE, title=FAKE, changes=(FAKE,),
        evidence=(evidence("commit-pushed", value=FAKE, detail=FAKE),),
        warnings=(Warned(rule="x", said=FAKE),),
    ).model_copy(update={"proposal": Proposal(action=Action.RETRY, task="T-1", attempt=1,
                                              reason=FAKE, prompt=FAKE, queue=FAKE)})  # fmt: skip
    for whole in (False, True):
        for line in shown(one, whole=whole):
            stripped = line.strip()
            assert not stripped.startswith("A-9")
            assert not stripped.startswith("accept T-1?")
            if stripped.startswith("GUARD"):
                assert "retry_the_same_task" in line


@given(text=st.text(max_size=60))
def test_no_text_at_all_makes_a_line_that_begins_as_it_likes(text):
    said = shown(full(prompt=text, claim=text, title=text, changes=(text,)))
    ours = ("A-2 ", "  WILL ", "          ", "    | ", "    > ", "  GUARD ", "    WARN ", "  SEEN ",
            "  SINCE ", "  CLAIM ", "    … ", "    and ")  # fmt: skip
    assert all(line == "" or f"{line} ".startswith(ours) for line in said), said
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "\n".join(said))
