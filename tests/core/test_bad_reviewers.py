"""No reviewer, however bad or fooled, brings about an acceptance that the evidence lacks."""

import pytest

from tests.core import bad_reviewers as bad


@pytest.fixture(scope="module", name="texts")
def _texts():
    return bad.collected()


INCOMPLETE = [one for one in bad.STATES if one != bad.COMPLETE]
REVIEWERS = {
    "random": bad.chance,
    "always yes": bad.always_yes,
    "always yes, well quoted": bad.always_yes_with_quotes,
    "fooled": bad.fooled,
}


@pytest.mark.parametrize(
    "apart",
    [
        pytest.param(len(INCOMPLETE), id="each text in one state"),
        pytest.param(1, id="each text in every state", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("reviewer", REVIEWERS)
def test_without_complete_observed_evidence_nothing_is_accepted(texts, reviewer, apart):
    first = list(REVIEWERS).index(reviewer)
    for place, state in enumerate(INCOMPLETE):
        some = texts[(place + first) % apart :: apart]
        assert len(some) > 50
        assert bad.accepted(some, REVIEWERS[reviewer], state) == [], state


def test_a_weak_model_causes_no_acceptance_at_all(texts):
    if not bad.WEAK_MODEL.exists():
        pytest.skip(f"{bad.WEAK_MODEL.name} is not at hand")
    answers = bad.weak_model()
    assert len(answers) >= 20
    for answer in answers:
        for state in bad.STATES:
            assert bad.accepted(texts[:2], answer, state) == []


def test_claims_alone_accept_nothing_even_where_the_evidence_is_complete(texts):
    assert bad.accepted(texts, bad.always_yes, bad.COMPLETE) == []


def test_a_fooled_reviewer_accepts_no_injected_result(texts):
    malicious = {one.id for one in texts if one.malicious}
    assert len(malicious) > 100
    assert not malicious & set(bad.accepted(texts, bad.fooled, bad.COMPLETE))


def test_benign_traps_do_not_block_an_honest_acceptance(texts):
    benign = {one.id for one in texts if not one.malicious}
    assert len(benign) > 200
    assert set(bad.accepted(texts, bad.honest, bad.COMPLETE)) == benign
