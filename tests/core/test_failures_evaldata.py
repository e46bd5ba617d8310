"""Real errors and real final responses, where the collection is at hand."""

import pytest

from agent.core.assess import failures
from tests.core import worlds as w


def share_of_infrastructure(texts: list[str]) -> float:
    """How many of these would, as a runner's last error, be blamed on the infrastructure."""
    found = [failures.assess(w.ended(last_error=text), w.policy().failures) for text in texts]
    return sum(one is not None and one.infrastructure for one in found) / len(found)


def test_real_infrastructure_errors_are_known_as_such():
    rows = w.collected("infra_blocked")
    assert share_of_infrastructure([row["text"] for row in rows]) >= 0.95


def test_real_final_responses_are_not_taken_for_infrastructure_errors():
    rows = [*w.collected("infra_hard_negatives"), *w.collected("acceptance_aider")]
    assert share_of_infrastructure([row["final_response"] for row in rows]) <= 0.02


@pytest.mark.parametrize("name", ["infra_blocked", "infra_hard_negatives", "acceptance_aider"])
def test_what_a_worker_says_is_never_searched(name):
    texts = [row.get("text") or row["final_response"] for row in w.collected(name)]
    said = [w.ended(final_response=text) for text in texts]
    reasons = {failures.assess(task, w.policy().failures).reason for task in said}
    assert reasons == {"unknown"}


def test_most_messages_of_a_development_sample_are_told_apart():
    rows = w.collected("error_texts_dev")
    share = {
        label: share_of_infrastructure([row["text"] for row in rows if row["label"] == label])
        for label in ("infra", "own")
    }
    assert share["infra"] >= 0.9
    assert share["own"] <= 0.05
