"""`wavekeeper eval` over labelled cases, answered from a recording."""

import json
import shutil

import pytest

from agent.cli.evaluate import case_of, cost, decided, scores
from agent.core.model.nouns import CriterionVerdict, Review, Usage
from agent.core.review.brief import Limits
from tests.acceptance.program import Project, here
from tests.acceptance.test_readme import ROOT

CASES = ROOT / "tests" / "model" / "cases.jsonl"
RECORDED = ("--recorded", str(ROOT / "cassettes" / "eval.json"))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A whole project with the cases, and this process in its folder."""
    project = Project.whole(tmp_path)
    shutil.copy(CASES, project.folder / "cases.jsonl")
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    return project


def test_it_counts_what_is_false_by_source(project):
    ended = project.run("eval", "cases.jsonl", *RECORDED, COLUMNS="120")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [line.split()[:7] for line in ended.stdout.splitlines()]
    assert lines[0][:3] == ["reviewer:", "anthropic", "claude-opus-5-5"]
    assert lines[2:5] == [
        ["arithmetic", "3", "2", "1", "1", "0", "0"],
        ["documents", "3", "1", "0", "1", "1", "1"],
        ["all", "6", "3", "1", "2", "1", "1"],
    ]
    assert ended.stdout.splitlines()[5] == "abstentions: 1 cannot-tell"


@pytest.mark.usefixtures("project")
def test_as_json_it_says_the_same_with_tokens_and_cost():
    ended = here("eval", "cases.jsonl", *RECORDED, "--json")
    told = json.loads(ended.stdout)
    assert told["schema"] == "wavekeeper.eval/1"
    total = told["scores"][-1]
    assert (total["cases"], total["falseAccepts"], total["falseRetries"]) == (6, 1, 1)
    assert total["usage"]["requests"] == 6
    assert total["dollars"] > 0


@pytest.mark.usefixtures("project")
def test_without_a_model_everything_is_left_to_a_person():
    ended = here("eval", "cases.jsonl")
    assert ended.stdout.splitlines()[0] == "reviewer: evidence"
    assert ended.stdout.splitlines()[-1] == "abstentions: 6 cannot-tell"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "there is no case in it", id="empty"),
        pytest.param("{}", "cases.jsonl:1: id: Field required; fix this case", id="no case"),
        pytest.param("\n[", "cases.jsonl:2: Invalid JSON", id="no JSON"),
    ],
)
def test_bad_cases_take_one_line(project, text, says):
    project.write("cases.jsonl", text)
    ended = here("eval", "cases.jsonl", *RECORDED)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_model_without_a_key_takes_one_line(project):
    with (project.folder / "wavekeeper.toml").open("a") as file:
        file.write('\n[model]\nreviewer = "anthropic"\n')
    ended = here("eval", "cases.jsonl")
    assert ended.returncode == 2
    assert "ANTHROPIC_API_KEY holds no key; set it, or write" in ended.stderr


def test_a_label_never_reaches_the_reviewer():
    line = json.dumps(
        {
            "id": "id-LEAK", "source": "source-LEAK", "criteria": "it works",
            "final_response": "done", "label": False, "expected": "LEAK",
            "hidden_oracle": {"gold": "LEAK"}, "evidence": {"patch": "+x", "gold_patch": "LEAK"},
        }
    )  # fmt: skip
    shown = case_of(line).brief(Limits())
    assert "LEAK" not in json.dumps([shown.criteria_shown(), shown.exhibits_shown(), shown.title])


def test_a_doubt_is_no_verdict_and_one_unmet_criterion_sends_back():
    def review(*verdicts):
        told = tuple(CriterionVerdict(id=str(n), verdict=v) for n, v in enumerate(verdicts))
        return Review(criteria=told)

    assert decided(review("met", "cannot-tell")) == "abstain"
    assert decided(review("cannot-tell", "unmet")) == "retry"
    assert decided(review("met", "met")) == "accept"
    assert decided(review()) == "abstain"
    assert decided(Review(abstained="x", code="refusal")) == "abstain"


def test_what_was_spent_adds_up_and_has_a_price():
    case = case_of(CASES.read_text(encoding="utf-8").splitlines()[0])
    used = Review(abstained="x", code="refusal", usage=Usage(input_tokens=500_000, output_tokens=1))
    *_, total = scores([(case, used), (case, used)])
    assert total.usage.input_tokens == 1_000_000
    assert total.reasons == {"refusal": 2}
    assert cost(total.usage, 4.0, 20.0) == pytest.approx(4.00004)
