import sqlite3

import pytest

from agent.adapters.state.approvals import SqliteApprovals
from agent.errors import ChangedMeanwhileError, UnusableStoreError
from tests.adapters.approvals_contract import ApprovalsContract, card, says


@pytest.fixture
def path(tmp_path):
    return tmp_path / "approvals.db"


class TestSqliteApprovals(ApprovalsContract):
    @pytest.fixture
    def approvals(self, path):
        with SqliteApprovals(path) as approvals:
            yield approvals


def test_questions_and_answers_survive_a_restart(path):
    with SqliteApprovals(path) as before:
        asked = before.ask(card())
        before.change("A-1", asked.digest, says())
        before.ask(card("T-2"))
    with SqliteApprovals(path) as after:
        assert after.card("A-1").state == "approved"
        assert [one.id for one in after.cards(live=True)] == ["A-1", "A-2"]
        assert [one.id for one in after.unseen()] == ["A-1"]


def test_two_terminals_on_one_file_and_one_first_answer(path):
    with SqliteApprovals(path) as one, SqliteApprovals(path) as other:
        asked = one.ask(card())
        other.change("A-1", asked.digest, says("rejected", "ben"))
        with pytest.raises(ChangedMeanwhileError, match="A-1 was rejected by ben"):
            one.change("A-1", asked.digest, says())


def test_an_edited_card_is_refused_in_one_line(path):
    with SqliteApprovals(path) as approvals:
        approvals.ask(card())
    with sqlite3.connect(path) as db:
        db.execute("UPDATE card SET body = '{}'")
    db.close()
    with (
        SqliteApprovals(path) as approvals,
        pytest.raises(UnusableStoreError, match="a stored card cannot be read"),
    ):
        approvals.cards(live=True)
