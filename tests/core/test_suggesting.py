import pytest

from agent.core.suggesting import tally


def said(verdict="approved", *, looked=5.0, edited=False, tier="low", action="submit"):
    return {"action": action, "tier": tier, "verdict": verdict, "looked": looked, "edited": edited}


ADVICE = [
    pytest.param([said()] * 9, "too few answers", id="nine times yes"),
    pytest.param([said()] * 10, "make a rule", id="ten times yes"),
    pytest.param([said("rejected"), *[said()] * 10], "make a rule", id="a no long ago"),
    pytest.param([*[said()] * 10, said("rejected")], "keep asking", id="a no just now"),
    pytest.param([*[said()] * 10, said(edited=True)], "keep asking", id="other words just now"),
    pytest.param([said(tier="high")] * 20, "keep asking", id="a high risk is always asked"),
    pytest.param([said(tier="high", looked=1.0)] * 3, "look longer", id="a high risk in a second"),
    pytest.param([said(looked=1.0)] * 3, "too few answers", id="a low risk in a second"),
    pytest.param([said(tier="high", looked=None)] * 3, "too few answers", id="by command"),
]


@pytest.mark.parametrize(("answers", "advice"), ADVICE)
def test_what_the_answers_say(answers, advice):
    (found,) = tally(answers)
    assert found.advice == advice
    assert found.asked == len(answers) == found.unchanged + found.edited + found.rejected


def test_each_kind_is_counted_by_itself_and_what_is_to_be_done_comes_first():
    few, hasty = [said(action="retry")] * 2, [said(action="cancel", tier="high", looked=0.5)] * 3
    found = tally([*few, *[said()] * 12, *hasty])
    assert [(one.action, one.asked) for one in found] == [
        ("cancel", 3),
        ("submit", 12),
        ("retry", 2),
    ]
    assert found[1].median == 5.0
