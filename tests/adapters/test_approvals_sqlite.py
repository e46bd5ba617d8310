import sqlite3

import pytest

from agent.adapters.state.db import State
from agent.errors import ChangedMeanwhileError, UnusableStoreError
from agent.ports import Approvals
from tests.adapters.approvals_contract import ApprovalsContract, request, says


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


class TestSqliteApprovals(ApprovalsContract):
    @pytest.fixture
    def approvals(self, state):
        checked: Approvals = state.approvals
        return checked


def test_questions_and_answers_survive_a_restart(path):
    with State(path) as before:
        asked = before.approvals.ask(request())
        before.approvals.change("A-1", asked.digest, says())
        before.approvals.ask(request("T-2"))
    with State(path) as after:
        assert after.approvals.request("A-1").state == "approved"
        assert [one.id for one in after.approvals.requests(live=True)] == ["A-1", "A-2"]
        assert [one.id for one in after.approvals.unseen()] == ["A-1"]


def test_two_terminals_on_one_file_and_one_first_answer(path):
    with State(path) as one, State(path) as other:
        asked = one.approvals.ask(request())
        other.approvals.change("A-1", asked.digest, says("rejected", "ben"))
        with pytest.raises(ChangedMeanwhileError, match="A-1 was rejected by ben"):
            one.approvals.change("A-1", asked.digest, says())


def test_an_edited_card_is_refused_in_one_line(path):
    with State(path) as state:
        state.approvals.ask(request())
    with sqlite3.connect(path) as db:
        db.execute("UPDATE request SET body = '{}'")
    db.close()
    with (
        State(path) as state,
        pytest.raises(UnusableStoreError, match="a stored card cannot be read"),
    ):
        state.approvals.requests(live=True)
