"""Reviews in the running loop: asked once, paid once, parked by an outage, bounded by a budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from agent.core.model.actions import Action
from agent.core.model.nouns import Criterion, CriterionVerdict, Review, Usage
from agent.core.prompts.linter import Slots, Step
from agent.core.review.brief import Brief
from agent.core.review.review import AbstainError, abstention
from agent.runtime.context import ReviewLimits, Supervision
from agent.runtime.status import StatusReader
from agent.runtime.tick import Ticker
from tests.simulation.small_world import POLICY, SmallWorld, Turn, spec

TO_READ = (Criterion(id="C1", text="it is good", proof="judgement"),)
COST = Usage(requests=1, input_tokens=900, output_tokens=100)


def says(verdict: str) -> Callable[[Brief], Review]:
    def answer(brief: Brief) -> Review:
        told = tuple(CriterionVerdict(id=one.id, verdict=verdict) for one in brief.criteria)
        return Review(criteria=told)

    return answer


def abstains(code: str) -> Callable[[Brief], Review]:
    return lambda brief: abstention(brief, AbstainError(code))


@dataclass
class ScriptedReviewer:
    """Port `Reviewer` that says what it was told to say, in turn; the last word for ever."""

    script: list[Callable[[Brief], Review]]
    name: str = "scripted"
    asked: list[list[str]] = field(default_factory=list)
    """The tasks of each call."""

    def review(self, briefs: Sequence[Brief]) -> Sequence[Review]:
        self.asked.append([one.task for one in briefs])
        answer = self.script[0] if len(self.script) == 1 else self.script.pop(0)
        return [
            answer(one).model_copy(
                update={
                    "attempt": one.attempt, "digest": one.digest(), "seen": one.seen,
                    "by": self.name, "usage": COST,
                }
            )
            for one in briefs
        ]  # fmt: skip


class Stage:
    """Tasks that need to be read, and a reviewer with a script."""

    def __init__(self, folder, *script, tasks=("T-1",), **review_limits):
        self.reviewer = ScriptedReviewer(list(script))
        self.small = SmallWorld(
            folder, {}, wrap=lambda world: replace(world, reviewer=self.reviewer)
        )
        self.small.submit(*(spec(one, criteria=TO_READ) for one in tasks))
        self.review_limits = ReviewLimits(**review_limits)
        self.ticker = self.start()

    def start(self):
        how = Supervision(
            policy=POLICY, mode="auto", interval=300.0, review_limits=self.review_limits
        )
        return Ticker(self.small.wrap(self.small.world), how)

    def run(self, ticks=12):
        return self.small.run(self.ticker, ticks=ticks)

    def task_record(self, task="T-1"):
        return self.small.world.store.task_record(task)

    def asked(self):
        return [task for call in self.reviewer.asked for task in call]


@pytest.mark.parametrize(
    ("verdict", "status"), [("met", "accepted"), ("cannot-tell", "handed-over")]
)
def test_what_was_read_is_accepted_or_handed_over(tmp_path, verdict, status):
    stage = Stage(tmp_path, says(verdict))
    stage.run()
    assert stage.task_record().status == status
    assert stage.asked() == ["T-1"]


def test_an_unmet_criterion_sends_the_task_back_and_the_next_attempt_is_read_anew(tmp_path):
    stage = Stage(tmp_path, says("unmet"), says("met"))
    stage.run()
    assert stage.small.outcome() == {"T-1": ("accepted", 2)}
    assert stage.asked() == ["T-1", "T-1"]
    assert stage.task_record().spent == 2 * COST.total


def test_what_was_found_unmet_is_told_to_the_next_attempt_with_its_proof(tmp_path):
    def unmet(_):
        told = CriterionVerdict(
            id="C1", verdict="unmet", quote="the third try is missing", evidence="final-response"
        )
        return Review(criteria=(told,))

    stage = Stage(tmp_path, unmet, says("met"))
    stage.run()
    prompt = stage.small.queue.get("T-1").prompt
    assert "C1 is not met; final-response says: the third try is missing" in prompt
    assert "- C1: it is good" in prompt


def test_the_live_map_shows_what_was_spent(tmp_path):
    stage = Stage(tmp_path, says("met"))
    stage.run()
    how = Supervision(policy=POLICY, mode="auto", interval=300.0)
    here = StatusReader(stage.small.world, how).look(None)
    assert here.tasks[0].tokens == COST.total
    assert here.waves[0].tokens == COST.total


@dataclass
class ScriptedDiffs:
    """Port `DiffSource`, away for some calls."""

    away: int = 0
    asked: list[str] = field(default_factory=list)

    def diff(self, base, commit):
        self.asked.append(commit)
        if len(self.asked) <= self.away:
            return None
        return f"+++ {base}..{commit}"


def test_the_diff_is_of_the_commit_that_was_proven_and_waited_for(tmp_path):
    diffs, shown = ScriptedDiffs(away=2), []

    def reads(brief):
        shown.extend(one.text for one in brief.exhibits if one.id == "diff")
        return says("met")(brief)

    stage = Stage(tmp_path, reads)
    stage.small.wrap = lambda world: replace(world, reviewer=stage.reviewer, diffs=diffs)
    stage.ticker = stage.start()
    stage.run(ticks=20)
    assert stage.task_record().status == "accepted"
    assert shown == [f"+++ None..{'c' * 40}"]
    assert diffs.asked == ["c" * 40] * 3


def test_the_reviews_of_one_tick_are_asked_together_and_within_the_limit(tmp_path):
    tasks = ("T-1", "T-2", "T-3")
    stage = Stage(tmp_path, says("met"), tasks=tasks, at_once=2)
    stage.run()
    assert {one.status for one in stage.small.world.store.task_records()} == {"accepted"}
    assert stage.reviewer.asked == [["T-1", "T-2"], ["T-3"]]


def test_an_outage_parks_the_review_and_fails_no_task(tmp_path):
    stage = Stage(tmp_path, *[abstains("unavailable")] * 5, says("met"))
    results = stage.run(ticks=60)
    assert stage.small.outcome() == {"T-1": ("accepted", 1)}
    assert len(stage.asked()) == 6
    waits = [
        one.proposal.reason
        for result in results
        for one in result.decisions
        if "the review waits" in one.proposal.reason
    ]
    # It is asked after 1, 2, 4, 8 and 16 minutes, and the ticks are about a minute apart.
    assert 20 <= len(waits) <= 35
    assert "the model's API did not answer; next try after 2026-11-22" in waits[0]


def test_answers_that_cannot_be_used_end_with_a_person(tmp_path):
    stage = Stage(tmp_path, abstains("not-json"))
    stage.run()
    assert stage.task_record().status == "handed-over"
    assert "the answer is not one JSON object" in stage.task_record().why
    assert stage.asked() == ["T-1", "T-1"]


@pytest.mark.parametrize("code", ["unread-response", "injection-suspected"])
def test_what_would_be_found_again_is_not_asked_again(tmp_path, code):
    stage = Stage(tmp_path, abstains(code))
    stage.run()
    assert stage.task_record().status == "handed-over"
    assert stage.asked() == ["T-1"]


def test_a_second_try_that_works_is_accepted(tmp_path):
    stage = Stage(tmp_path, abstains("truncated"), says("met"))
    stage.run()
    assert stage.task_record().status == "accepted"


def test_the_same_content_is_never_paid_for_twice(tmp_path):
    stage = Stage(tmp_path, says("met"))
    for _ in range(12):
        result = stage.ticker.tick()
        stage.small.clock.move(61)
        stage.small.host()
        if any(one.proposal.action is Action.REVIEW for one in result.done):
            break
    lost = stage.task_record().model_copy(update={"review": None})
    stage.small.world.store.save(lost)
    stage.ticker = stage.start()
    stage.run()
    assert stage.task_record().status == "accepted"
    assert stage.asked() == ["T-1"]
    said = [
        (entry.record.body["said"], entry.record.body["reused"])
        for entry in stage.small.world.journal.entries(task="T-1", kinds=("outcome",))
        if "review" in entry.record.body
    ]
    assert said == [
        ("reviewed: C1 met", False), ("read before: the same review counts", True),
    ]  # fmt: skip


def test_another_reviewer_reads_for_itself(tmp_path):
    stage = Stage(tmp_path, says("met"))
    while not stage.reviewer.asked:
        stage.ticker.tick()
        stage.small.clock.move(61)
        stage.small.host()
    stage.small.world.store.save(stage.task_record().model_copy(update={"review": None}))
    stage.reviewer.name = "another"
    stage.run()
    assert stage.asked() == ["T-1", "T-1"]


def test_what_a_review_took_is_in_the_journal(tmp_path):
    stage = Stage(tmp_path, says("met"))
    stage.run()
    (told,) = [
        entry.record.body["review"]["usage"]
        for entry in stage.small.world.journal.entries(task="T-1", kinds=("outcome",))
        if "review" in entry.record.body
    ]
    assert Usage.model_validate(told) == COST
    assert stage.small.world.store.notes()["spent/w1"] == "1000"


@pytest.mark.parametrize(
    ("budget", "asked", "status"),
    [
        pytest.param({"task_tokens": 999, "worst_case": 1000}, [], "handed-over", id="too dear"),
        pytest.param({"task_tokens": 2001, "worst_case": 1000}, ["T-1", "T-1"], "handed-over",
                     id="two of three"),
        pytest.param({"wave_tokens": 1001, "worst_case": 1000, "at_once": 1}, ["T-1"],
                     "handed-over", id="of the wave"),
    ],
)  # fmt: skip
def test_never_spend_past_the_budget(tmp_path, budget, asked, status):
    stage = Stage(tmp_path, says("unmet"), **budget)
    stage.run(ticks=20)
    assert stage.asked() == asked
    assert stage.task_record().status == status
    assert "budget" in stage.task_record().why
    assert stage.task_record().spent == len(asked) * COST.total


def test_several_at_once_do_not_overspend_together(tmp_path):
    tasks = tuple(f"T-{number}" for number in range(1, 6))
    stage = Stage(tmp_path, says("met"), tasks=tasks, at_once=2, wave_tokens=4001, worst_case=1000)
    stage.run(ticks=30)
    spent = int(stage.small.world.store.notes()["spent/w1"])
    assert spent <= 4001
    assert len(stage.asked()) >= 3


@dataclass
class ScriptedWriter:
    """Port `Writer` with one answer for everything."""

    asked: int = 0

    def slots(self, request, findings=()):
        assert not findings
        self.asked += 1
        step = Step(criterion=request.spec.criteria[0].id, step="Mend the one thing.")
        return Slots(remaining=(step,)), COST


class Drafting(Stage):
    """A task that fails its checks once, and somebody who words what follows."""

    def __init__(self, folder, mode="auto", **review_limits):
        self.writer = ScriptedWriter()
        self.small = SmallWorld(
            folder,
            {("T-1", 1): Turn(commit="d" * 40, checks="AssertionError")},
            wrap=lambda world: replace(world, writer=self.writer),
        )
        self.small.submit(spec())
        how = Supervision(
            policy=POLICY, mode=mode, interval=300.0, review_limits=ReviewLimits(**review_limits)
        )
        self.ticker = Ticker(self.small.wrap(self.small.world), how)


def test_a_follow_up_is_worded_by_a_model_and_its_tokens_are_counted(tmp_path):
    stage = Drafting(tmp_path)
    stage.run()
    assert stage.small.outcome() == {"T-1": ("accepted", 2)}
    assert "1. C1: Mend the one thing." in stage.small.queue.get("T-1").prompt
    assert (stage.writer.asked, stage.task_record().spent) == (1, COST.total)


def test_without_tokens_left_the_facts_must_do(tmp_path):
    stage = Drafting(tmp_path, task_tokens=10, worst_case=1000)
    stage.run()
    assert stage.small.outcome() == {"T-1": ("accepted", 2)}
    assert (stage.writer.asked, stage.task_record().spent) == (0, 0)


def test_words_that_are_refused_anyway_are_not_paid_for(tmp_path):
    stage = Drafting(tmp_path)
    for _ in range(3):  # it is submitted, read, and its judgement is made
        stage.ticker.tick()
        stage.small.host()
        stage.small.clock.move(61)
    observing = Supervision(policy=POLICY, mode="observe", interval=300.0)
    result = Ticker(stage.small.wrap(stage.small.world), observing).tick()
    assert [one.proposal.action for one in result.decisions] == [Action.RETRY]
    assert stage.writer.asked == 0
