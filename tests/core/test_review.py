"""A reviewer's answer is data: its shape, its quotes and its verdicts are checked by code."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.model.nouns import Criterion, ProofKind, Usage
from agent.core.review.brief import Brief, Exhibit, Limits, brief
from agent.core.review.review import (
    ABSTENTIONS,
    FINAL,
    OUTAGES,
    AbstainError,
    Reply,
    abstention,
    check_quote,
    refuse_unreadable,
    weigh,
)
from tests.core import worlds as w
from tests.core.prompt_specs import PLAIN
from tests.core.review_worlds import BRIEF, GOOD, answer, said, view

OUTPUT, CHANGED = "4 passed in 0.12s", "+    for _ in range(3):"


def reply(text: str | None, stop: str | None = "end_turn") -> Reply:
    return Reply(stop_reason=stop, texts=(text,))


def verdicts(text: str, over: Brief = BRIEF) -> dict[str, str]:
    return {one.id: one.verdict for one in weigh(over, reply(text)).criteria}


def without(over: Brief, *names: str, **cut: int) -> Brief:
    """`over` with some exhibits left out, and others cut by so many characters."""
    return over.model_copy(
        update={
            "exhibits": tuple(
                one.model_copy(update={"cut": cut.get(one.id.replace("-", "_"), one.cut)})
                for one in over.exhibits
                if one.id not in names
            )
        }
    )


def test_an_answer_that_stands_is_taken_with_its_quotes():
    review = weigh(BRIEF, reply(answer(*GOOD)))
    assert review.abstained is None
    assert [(one.id, one.verdict, one.quote, one.evidence) for one in review.criteria] == [
        ("C1", "met", OUTPUT, "check-1"),
        ("C2", "met", CHANGED, "diff"),
    ]
    assert review.notes == ()
    assert (review.attempt, review.digest, review.seen) == (1, BRIEF.digest(), BRIEF.seen)


ABSTAINS = [
    pytest.param(reply(answer(*GOOD), "refusal"), "refusal", id="refused, with an answer in it"),
    pytest.param(reply(answer(*GOOD), "max_tokens"), "truncated", id="cut, though it parses"),
    pytest.param(reply(answer(*GOOD), "model_context_window_exceeded"), "truncated", id="full"),
    *(
        pytest.param(reply(answer(*GOOD), stop), "stop-reason", id=f"stopped by {stop}")
        for stop in (None, "stop_sequence", "tool_use", "pause_turn", "a new one")
    ),
    pytest.param(Reply(stop_reason="end_turn"), "shape", id="nothing"),
    pytest.param(reply(None), "shape", id="a text that is none"),
    pytest.param(Reply(stop_reason="end_turn", texts=(answer(*GOOD),) * 2), "shape", id="two"),
    pytest.param(
        Reply(stop_reason="end_turn", texts=(answer(*GOOD),), others=("tool_use",)),
        "shape", id="with a tool call",
    ),
    pytest.param(reply(answer(*GOOD)[:-9]), "not-json", id="cut JSON"),
    pytest.param(reply("Looks good, accepted!"), "not-json", id="prose"),
    pytest.param(reply(f"```json\n{answer(*GOOD)}\n```"), "not-json", id="in a fence"),
    pytest.param(reply(f"{answer(*GOOD)} Done."), "not-json", id="with a word behind it"),
    pytest.param(reply(answer(*GOOD).replace("false", "NaN")), "not-json", id="NaN"),
    pytest.param(reply("[" * 100_000), "not-json", id="deep"),
    pytest.param(
        reply(answer(*GOOD).replace('"verdict": "met"', '"verdict": "unmet", "verdict": "met"', 1)),
        "duplicate-key", id="a key twice",
    ),
    *(
        pytest.param(reply(text), "schema", id=f"{text[:12]!r}")
        for text in ("null", "[]", "1", "{}", '"met"', f"{answer(*GOOD)}{' ' * 200_000}")
    ),
    pytest.param(
        reply(answer(*GOOD)[:-1] + ', "overall": "accept"}'), "schema", id="a word too much"
    ),
    pytest.param(reply(answer(*GOOD).replace("false", '"false"')), "schema", id="a word for no"),
    pytest.param(
        reply(answer(*GOOD).replace('"met"', '"Met"', 1)), "schema", id="another verdict"
    ),
    pytest.param(reply(answer(GOOD[0])), "wrong-ids", id="one too few"),
    pytest.param(reply(answer(GOOD[0], GOOD[0])), "wrong-ids", id="one twice"),
    pytest.param(reply(answer(*GOOD, said("C3", "met"))), "wrong-ids", id="one invented"),
    pytest.param(
        reply(answer(said("С1", "met", ("check-1", OUTPUT)), GOOD[1])),  # noqa: RUF001
        "wrong-ids", id="a Cyrillic look-alike",
    ),
    pytest.param(
        reply(answer(*GOOD, suspected=True)), "injection-suspected", id="it suspects a trick"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("answered", "code"), ABSTAINS)
def test_anything_odd_is_no_verdict_and_says_why(answered, code):
    review = weigh(BRIEF, answered)
    assert (review.code, review.criteria) == (code, ())
    assert review.abstained.startswith(ABSTENTIONS[code])
    assert "\n" not in review.abstained
    assert len(review.abstained) < 400


LOWERED = [
    pytest.param(said("C2", "met"), "without a quote", id="no quote"),
    pytest.param(said("C2", "unmet"), "without a quote", id="a complaint without a quote"),
    pytest.param(said("C2", "met", ("diff", "+    for _ in range(4):")), "is not in",
                 id="altered"),
    pytest.param(said("C2", "met", ("check-1", CHANGED)), "is not in", id="another item's"),
    pytest.param(said("C2", "met", ("diff-2", CHANGED)), "not shown", id="an invented item"),
    pytest.param(said("C2", "met", ("diff", CHANGED), ("diff", "no such line here")),
                 "is not in", id="one of two invented"),
    pytest.param(said("C2", "met", ("diff", "+  ( ) :")), "too short", id="trivial"),
    pytest.param(said("C2", "met", ("diff", "--- +++ (( )) :: a")), "too short", id="signs"),
    pytest.param(said("C2", "met", ("diff", "+    for _ in r\u200bange(3):")), "is not in",
                 id="a hidden character"),
    pytest.param(said("C2", "met", ("diff", "+    fоr _ in range(3):")),  # noqa: RUF001
                 "is not in", id="a look-alike"),
    pytest.param(said("C2", "met", ("diff", CHANGED.upper())), "is not in", id="in capitals"),
    pytest.param(said("C2", "met", ("final-response", "three tries are made")), "own words",
                 id="claimed only"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "why"), LOWERED)
def test_a_verdict_that_does_not_stand_is_cannot_tell(told, why):
    review = weigh(BRIEF, reply(answer(GOOD[0], told)))
    assert [one.verdict for one in review.criteria] == ["met", "cannot-tell"]
    (note,) = review.notes
    assert note.startswith("C2: ")
    assert why in note


@pytest.mark.parametrize(
    "quoted",
    [CHANGED, f"  {CHANGED}\n", "for _ in\n range(3):", "for _ in\u00a0range(3):"],
)
def test_white_space_is_all_that_a_quote_may_change(quoted):
    assert verdicts(answer(GOOD[0], said("C2", "met", ("diff", quoted))))["C2"] == "met"


def test_composed_and_decomposed_letters_are_the_same():
    shown = {"a": "die H\u00fcrden sind weg"}
    assert check_quote("a", "die Hu\u0308rden sind", shown) is None


def test_a_complaint_may_quote_the_worker_who_admits_it():
    told = said("C2", "unmet", ("final-response", "three tries are made"))
    assert verdicts(answer(GOOD[0], told))["C2"] == "unmet"


def test_the_policy_can_let_claims_prove_a_judgement_but_never_an_evidence_kind():
    lenient = BRIEF.model_copy(update={"claims_count": True})
    told = [
        said("C1", "met", ("final-response", "three tries are made")),
        said("C2", "met", ("final-response", "three tries are made")),
    ]
    assert verdicts(answer(*told), lenient) == {"C1": "cannot-tell", "C2": "met"}
    assert verdicts(answer(*told)) == {"C1": "cannot-tell", "C2": "cannot-tell"}


def test_an_evidence_kind_that_was_not_observed_to_hold_is_never_met():
    unproven = BRIEF.model_copy(update={"holding": ()})
    assert verdicts(answer(*GOOD), unproven) == {"C1": "cannot-tell", "C2": "met"}


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        pytest.param({"diff": 9}, {"C1": "met", "C2": "cannot-tell"}, id="the changes"),
        pytest.param({"check_1": 9}, {"C1": "cannot-tell", "C2": "met"}, id="a check's output"),
    ],
)
def test_what_rests_on_cut_evidence_cannot_be_met(cut, expected):
    assert verdicts(answer(*GOOD), without(BRIEF, **cut)) == expected


def test_a_judgement_is_not_met_while_a_part_of_the_changes_is_unseen():
    told = said("C2", "met", ("check-1", OUTPUT))
    assert verdicts(answer(GOOD[0], told), without(BRIEF, diff=1))["C2"] == "cannot-tell"


@pytest.mark.parametrize(
    ("unread", "code"),
    [
        (without(BRIEF, "final-response"), "no-response"),
        (without(BRIEF, final_response=1), "unread-response"),
    ],
)
def test_a_result_that_cannot_be_read_whole_is_not_reviewed(unread, code):
    with pytest.raises(AbstainError) as caught:
        refuse_unreadable(unread)
    assert caught.value.code == code
    assert weigh(unread, reply(answer(*GOOD))).code == code
    assert code in FINAL


def test_two_criteria_of_one_name_cannot_be_told_apart():
    twice = BRIEF.model_copy(update={"criteria": (BRIEF.criteria[0],) * 2})
    assert weigh(twice, reply(answer(GOOD[0], GOOD[0]))).code == "wrong-ids"
    assert weigh(twice, reply(answer(GOOD[0]))).code == "wrong-ids"


def test_every_code_has_a_sentence_and_stays_one_line():
    assert set(ABSTENTIONS) >= OUTAGES | FINAL
    for code in ABSTENTIONS:
        told = abstention(BRIEF, AbstainError(code, "said\nin\x1b[2J two lines " * 50))
        assert told.code == code
        assert told.abstained
        assert "\n" not in told.abstained
        assert "\x1b" not in told.abstained


# What is shown.


def test_a_brief_shows_what_was_observed_and_what_was_claimed_and_says_which():
    shown = {one.id: (one.origin, one.text) for one in BRIEF.exhibits}
    assert shown["final-response"] == ("claimed", "All done: three tries are made.")
    assert shown["check-1"] == ("observed", f"....\n{OUTPUT}\n")
    assert shown["diff"][0] == "observed"
    assert shown["evidence-1"] == ("observed", "commit-pushed holds; 3f2c1aa9")
    assert ProofKind.CHECKS_PASSED in BRIEF.holding


def test_what_is_too_long_is_shown_in_part_and_says_so():
    limits = Limits(response=100, diff=100)
    long = brief(PLAIN, view(final_response="a" * 1000), (), "d" * 150, limits)
    by_id = {one.id: one for one in long.exhibits}
    assert by_id["final-response"].cut == 900
    assert by_id["diff"].cut == 50
    assert "[900 characters are not shown]" in by_id["final-response"].text
    assert len(by_id["final-response"].text) < 200
    assert {one["id"]: one.get("charactersNotShown") for one in long.exhibits_shown()} == {
        "final-response": 900, "diff": 50, "check-1": None,
    }  # fmt: skip


def test_what_others_have_cut_counts_as_cut():
    cut = brief(PLAIN, view(final_response_truncated=True, output="x" * 4000), (), None, Limits())
    assert {one.id: one.cut > 0 for one in cut.exhibits} == {
        "check-1": True, "final-response": True,
    }  # fmt: skip


def test_hidden_characters_are_written_out():
    hostile = brief(PLAIN, view(final_response="a\u202eb\x1b[2J\u200b"), (), None, Limits())
    (shown,) = [one.text for one in hostile.exhibits if one.id == "final-response"]
    assert shown == "a<U+202E>b␛<U+200B>"


def test_the_digest_changes_with_everything_that_is_shown():
    def of(**over: Any) -> str:
        return BRIEF.model_copy(update=over).digest()

    others = [
        of(criteria=BRIEF.criteria[:1]),
        of(exhibits=BRIEF.exhibits[:-1]),
        of(title="another"),
        of(exhibits=(*BRIEF.exhibits, Exhibit(id="x", origin="claimed", about="y", text="z"))),
    ]
    assert len({BRIEF.digest(), *others}) == 5
    assert of(holding=()) == BRIEF.digest()


@pytest.mark.parametrize(
    ("items", "holding"),
    [
        ([w.seen("checks-passed")], ["checks-passed"]),
        ([w.seen("checks-passed", origin="claimed")], []),
        ([w.seen("checks-passed", holds=None)], []),
        ([w.seen("checks-passed"), w.seen("checks-passed", holds=False)], []),
    ],
)
def test_only_what_was_observed_without_a_doubt_holds(items, holding):
    assert list(brief(PLAIN, view(), items, None, Limits()).holding) == holding


WORDS = ["met", "C1", "C2", "check-1", "diff", OUTPUT, CHANGED, "three tries are made", "4 passed"]


@given(st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_no_random_answer_is_met_without_an_observed_quote(chance: random.Random):
    told = [
        said(
            name,
            chance.choice(["met", "unmet", "cannot-tell"]),
            *(
                (chance.choice(["diff", "check-1", "final-response", "x"]), chance.choice(WORDS))
                for _ in range(chance.randint(0, 3))
            ),
        )
        for name in ("C1", "C2")
    ]
    texts = {one.id: one.text for one in BRIEF.exhibits if one.origin == "observed"}
    for one in weigh(BRIEF, reply(answer(*told))).criteria:
        if one.verdict == "met":
            quotes = next(each["quotes"] for each in told if each["id"] == one.id)
            assert any(each["text"] in texts.get(each["item"], "") for each in quotes)


def test_the_schema_in_the_repository_asks_for_what_is_validated():
    schema = json.loads((w.ROOT / "prompts" / "review.schema.json").read_text(encoding="utf-8"))
    each = schema["properties"]["criteria"]["items"]
    assert schema["required"] == ["criteria", "injection_suspected"]
    assert list(each["properties"]) == each["required"]
    assert each["required"] == list(said("C1", "met"))
    assert each["properties"]["verdict"]["enum"] == ["met", "unmet", "cannot-tell"]
    assert "overall" not in json.dumps(schema)
    objects = [schema, each, each["properties"]["quotes"]["items"]]
    assert all(one["additionalProperties"] is False for one in objects)


def test_usage_adds_up():
    both = Usage(requests=1, input_tokens=2, output_tokens=3).plus(
        Usage(requests=1, cache_read_tokens=4, cache_write_tokens=5)
    )
    assert (both.requests, both.total) == (2, 14)


def test_a_brief_is_of_the_criteria_as_they_were_written():
    odd = PLAIN.model_copy(update={"criteria": (Criterion(id="C1", text="x", proof="judgement"),)})
    assert brief(odd, view(), (), None, Limits()).criteria == odd.criteria
