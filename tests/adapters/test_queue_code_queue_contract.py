"""The Code Queue adapter keeps the queue contract, as far as a Code Queue can."""

import pytest

from tests.adapters.queue_contract import QueueContract
from tests.adapters.queue_contract_work import WorkContract

NOT_PROMISED = {
    "test_a_retry_hands_the_session_on": "a retry cannot ask for a fresh session",
    "test_every_kind_of_change_is_told": "what a superseded attempt reports is not shown",
    "test_a_queue_is_shown_as_configured": "it has its own queues, and nobody configures them",
    "test_a_queue_that_was_never_configured_is_shown_with_defaults": "as above",
}


@pytest.fixture
def world(code_queue):
    return code_queue().world()


class TestCodeQueue(QueueContract):
    locals().update(dict.fromkeys(name for name in vars(WorkContract) if name.startswith("test_")))
    locals().update(dict.fromkeys(NOT_PROMISED))


def test_what_is_not_promised_is_named_with_its_reason():
    assert all(hasattr(QueueContract, name) and reason for name, reason in NOT_PROMISED.items())
