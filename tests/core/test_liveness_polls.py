"""Two looks close together are one poll, however many ticks follow a change."""

from datetime import timedelta

import pytest

from agent.core.assess.liveness import Liveness, polls_after, polls_before
from tests.core import worlds as w

AT_RISK = Liveness("at-risk", "silent")
LIVE = Liveness("live", "heartbeat fresh")
POLICY = w.policy().liveness


def poll(verdict, seconds, count=(0, None)):
    """One poll after `seconds`: what the core is told of earlier ones, and the count after it."""
    now = w.NOW + timedelta(seconds=seconds)
    return polls_before(*count, now, POLICY), polls_after(verdict, *count, now, POLICY)


def test_ticks_in_a_row_are_one_poll():
    _, count = poll(AT_RISK, 0)
    for seconds in (1, 2, 30, POLICY.poll_spacing - 1):
        before, count = poll(AT_RISK, seconds, count)
        assert before == 0
    assert count == (1, w.NOW)


@pytest.mark.parametrize("seconds", [POLICY.poll_spacing, 300])
def test_a_later_tick_is_another_poll(seconds):
    _, count = poll(AT_RISK, 0)
    before, count = poll(AT_RISK, seconds, count)
    assert before == 1
    assert count[0] == 2


def test_a_sign_of_life_begins_anew():
    _, count = poll(AT_RISK, 0)
    assert poll(LIVE, 1, count)[1] == (0, None)
