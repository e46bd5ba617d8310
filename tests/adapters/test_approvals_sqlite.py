import pytest

from agent.adapters.state.db import State
from agent.core.approval.requests import StandingRule
from agent.core.model.actions import Action
from agent.errors import ChangedMeanwhileError, UserError
from agent.ports import Approvals
from tests.adapters.approvals_contract import NOW, ApprovalsContract, request, says


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


@pytest.mark.parametrize("body", ["'{}'", "CAST(x'ff' AS TEXT)"], ids=["edited", "no text"])
def test_a_request_that_cannot_be_read_is_named_and_cannot_be_answered(path, body):
    with State(path) as state:
        asked = [state.approvals.ask(request(task)) for task in ("T-1", "T-2")]
        state._db.execute(f"UPDATE request SET body = {body} WHERE task = 'T-1'")  # noqa: S608
        assert [one.id for one in state.approvals.requests(live=True)] == ["A-2"]
        assert [one.id for one in state.approvals.unseen()] == []
        assert state.approvals.last("T-1", Action.RETRY) is None
        assert state.approvals.request("A-1") is None
        with pytest.raises(ChangedMeanwhileError, match=r"A-1 cannot be read: .*nothing was"):
            state.approvals.change("A-1", asked[0].digest, says())
        (damaged,) = state.damaged(0)
        assert (damaged.kind, damaged.id, damaged.task) == ("request", "A-1", "T-1")
        assert damaged.why.startswith("its row in ")


def test_a_declined_request_that_cannot_be_read_holds_its_task_until_another_is_asked(path):
    with State(path) as state:
        asked = state.approvals.ask(request())
        state.approvals.change("A-1", asked.digest, says("rejected"))
        state._db.execute("UPDATE request SET body = '{}', seen = 1, recorded = 1")
        assert list(state.approvals.declined()) == []
        assert [one.task for one in state.damaged(0)] == ["T-1"]
        state.approvals.ask(request(prompt="another"))
        assert list(state.damaged(0)) == []


def test_a_rule_that_cannot_be_read_covers_nothing(path):
    rule = StandingRule(action=Action.RETRY, until=NOW, most_uses=2, made_by="ana", made_at=NOW)
    with State(path) as state:
        state.approvals.add_rule(rule)
        state.approvals.add_rule(rule)
        state._db.execute("UPDATE rule SET body = '{}' WHERE place = 1")
        assert [one.id for one in state.approvals.rules()] == ["R-2"]
        with pytest.raises(UserError, match="R-1 covers nothing, because it cannot be read"):
            state.approvals.change_rule("R-1", lambda one: one)
        assert [(one.kind, one.id) for one in state.damaged(0)] == [("rule", "R-1")]
