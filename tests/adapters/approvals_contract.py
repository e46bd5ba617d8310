"""What every queue of questions must keep. A subclass gives `approvals`, an empty one."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.approval.requests import (
    Answer,
    ApprovalRequest,
    StandingRule,
    close,
    defer,
    digest_of,
    edit_prompt,
    record_answer,
)
from agent.core.model.actions import Action, Proposal
from agent.errors import ChangedMeanwhileError, UserError

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def request(task="T-1", action=Action.RETRY, prompt="do it", **over):
    proposal = Proposal(action=action, task=task, attempt=1, reason="red", prompt=prompt)
    facts, grounds = {"mode": "approve"}, {"status": "failed"}
    return ApprovalRequest(
        **{
            "tier": "medium", "proposal": proposal, "facts": facts, "rules": ("r",),
            "grounds": grounds, "digest": digest_of(proposal, facts, grounds), "asked_at": NOW,
            "expires_at": NOW + timedelta(hours=1), "tick": 1, "snapshot": "0" * 64, **over,
        }
    )  # fmt: skip


def answer(verdict="approved", who="ana", at=NOW, **over):
    return Answer(verdict=verdict, who=who, at=at, via="panel", **over)


def says(verdict="approved", who="ana", at=NOW):
    return lambda one: record_answer(one, answer(verdict, who, at))


ENDED = [
    pytest.param(says("approved", "ben"), "was approved by ana", id="approve"),
    pytest.param(says("rejected", "ben"), "was approved by ana", id="reject"),
    pytest.param(lambda one: defer(one, "ben", None), "was approved by ana", id="defer"),
    pytest.param(lambda one: edit_prompt(one, "else", {}), "was approved by ana", id="edit"),
]


class ApprovalsContract:
    def test_a_question_is_kept_under_an_id_of_its_own(self, approvals):
        first, second = approvals.ask(request()), approvals.ask(request("T-2"))
        assert (first.id, second.id) == ("A-1", "A-2")
        assert approvals.request("A-1") == first
        assert [one.id for one in approvals.requests(live=True)] == ["A-1", "A-2"]
        assert approvals.request("A-3") is None
        assert approvals.request("what?") is None

    def test_the_same_question_is_asked_once_while_it_lives(self, approvals):
        first = approvals.ask(request())
        assert approvals.ask(request(asked_at=NOW + timedelta(minutes=5))) == first
        approvals.change("A-1", first.digest, lambda one: close(one, "stale", "it changed"))
        assert approvals.ask(request()).id == "A-2"

    def test_the_latest_about_one_action_is_found(self, approvals):
        approvals.ask(request())
        approvals.ask(request(prompt="other words"))
        approvals.ask(request(None, Action.WIDEN_WINDOW))
        assert approvals.last("T-1", Action.RETRY).id == "A-2"
        assert approvals.last(None, Action.WIDEN_WINDOW).id == "A-3"
        assert approvals.last("T-1", Action.ACCEPT) is None

    def test_an_answer_is_kept_and_the_first_one_stands(self, approvals):
        asked = approvals.ask(request())
        said = approvals.change("A-1", asked.digest, says())
        assert (said.state, said.answer.who) == ("approved", "ana")
        assert approvals.request("A-1") == said
        assert approvals.unseen() == [said]

    @pytest.mark.parametrize(("how", "said"), ENDED)
    def test_after_an_answer_nothing_else_is_taken(self, approvals, how, said):
        asked = approvals.ask(request())
        before = approvals.change("A-1", asked.digest, says())
        with pytest.raises(ChangedMeanwhileError, match=said):
            approvals.change("A-1", asked.digest, how)
        assert approvals.request("A-1") == before

    def test_another_digest_is_another_question(self, approvals):
        asked = approvals.ask(request())
        for digest in ("f" * 64, asked.digest[:7], ""):
            with pytest.raises(ChangedMeanwhileError, match="nothing was done"):
                approvals.change("A-1", digest, says())
        assert approvals.request("A-1") == asked
        assert approvals.change("A-1", asked.digest[:8], says()).state == "approved"

    def test_words_of_a_person_make_another_question_of_the_same_card(self, approvals):
        asked = approvals.ask(request())
        new = approvals.change("A-1", asked.digest, lambda one: edit_prompt(one, "mine", one.facts))
        assert (new.id, new.proposal.prompt, new.drafted) == ("A-1", "mine", "do it")
        with pytest.raises(ChangedMeanwhileError):
            approvals.change("A-1", asked.digest, says())

    def test_too_late_is_no_answer(self, approvals):
        asked = approvals.ask(request())
        with pytest.raises(ChangedMeanwhileError, match="A-1 expired at 2026-11-22 11:00:00Z"):
            approvals.change("A-1", asked.digest, says(at=asked.expires_at))
        assert approvals.request("A-1").state == "pending"

    def test_what_was_declined_is_the_latest_of_its_kind_only(self, approvals):
        first = approvals.ask(request())
        approvals.change("A-1", first.digest, says("rejected"))
        second = approvals.ask(request("T-2"))
        approvals.change("A-2", second.digest, lambda one: defer(one, "ana", None))
        approvals.ask(request("T-3"))
        assert [one.id for one in approvals.declined()] == ["A-1", "A-2"]
        approvals.ask(request(prompt="on other grounds"))
        assert [one.id for one in approvals.declined()] == ["A-2"]

    def test_no_request_and_no_rule_of_that_name(self, approvals):
        with pytest.raises(UserError, match="no request 'A-9'"):
            approvals.change("A-9", "0" * 64, says())
        with pytest.raises(UserError, match="no rule 'R-9'"):
            approvals.change_rule("R-9", lambda one: one)

    def test_rules_count_their_uses_and_a_refused_change_changes_nothing(self, approvals):
        rule = StandingRule(action=Action.RETRY, until=NOW, most_uses=2, made_by="ana", made_at=NOW)
        assert approvals.add_rule(rule).id == "R-1"
        approvals.change_rule("R-1", lambda one: one.model_copy(update={"used": 1}))

        def refuse(_):
            raise UserError("used up")

        with pytest.raises(UserError, match="used up"):
            approvals.change_rule("R-1", refuse)
        assert [one.used for one in approvals.rules()] == [1]

    def test_of_many_answers_at_once_exactly_one_is_first(self, approvals):
        asked = approvals.ask(request())
        together, won, lost = threading.Barrier(8), [], []

        def press(number):
            together.wait()
            try:
                won.append(approvals.change("A-1", asked.digest, says(who=f"p{number}")))
            except ChangedMeanwhileError as error:
                lost.append(str(error))

        threads = [threading.Thread(target=press, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert (
            lost == [f"A-1 was approved by {won[0].answer.who} at 10:00:00Z; nothing was done"] * 7
        )
