"""Doubt, old evidence, ties, impossible worlds: what is decided where it is least obvious."""

import shutil

import pytest

from agent.adapters.files.policy import read_policy
from agent.core.assess import failures, proof
from agent.core.assess.assessment import assess
from agent.core.model.actions import Action, Cleared
from agent.core.model.nouns import JudgeRecord
from agent.core.plan.planner import ask, decide
from agent.errors import PolicyError
from tests.core import worlds as w


def cleared(snapshot, action, task):
    return isinstance(ask(assess(snapshot, w.policy()), action, task)[1], Cleared)


def test_kind_none_crash():
    assert decide(w.world(w.ended("succeeded", kind=None)), w.policy()).sentence


def test_criterion_of_an_alternative_rung():
    t = w.ended(
        "succeeded",
        kind="infrastructure",
        criteria=w.proved_by("blocked-workflow-proceeds"),
        evidence=(w.seen("blocked-workflow-proceeds", holds=False), w.seen("remaining-step-named")),
    )
    assert proof.assess(t, w.policy().completion).criteria == "unmet"


def test_undated_denial():
    t = w.proven(evidence=(*w.climbed(), w.seen("checks-passed", holds=False, observed_at=None)))
    assert proof.assess(t, w.policy().completion).state == "contradicted"


def test_unknown_start_makes_old_evidence_good():
    t = w.proven(evidence=w.climbed(observed_at=w.ago(70000)), started_at=None)
    assert proof.assess(t, w.policy().completion).state != "proven"


def test_evidence_of_an_earlier_attempt():
    t = w.proven(attempt=2, evidence=w.climbed(attempt=1))
    assert proof.assess(t, w.policy().completion).state == "stale"


def test_review_of_an_earlier_attempt():
    r = w.reviewed(C1="met").model_copy(update={"attempt": 1})
    t = w.proven(attempt=2, criteria=w.proved_by("judgement"), review=r)
    assert proof.assess(t, w.policy().completion).criteria != "met"


@pytest.mark.parametrize(
    "over",
    [
        {"attempt": None},
        {"heartbeat": w.beat(attempt=None)},
        {"heartbeat": w.beat(origin=None)},
        {"trace": w.trace(5, attempt=None), "heartbeat": w.beat(1300, -1)},
        {"heartbeat": None, "trace": None, "started_at": None},
    ],
    ids=["attempt", "beat-attempt", "beat-origin", "trace-attempt", "nothing known"],
)
def test_interrupt_by_ignorance(over):
    known = {"at_risk_polls": 1, "heartbeat": w.beat(5, 60), "trace": w.trace(1300)}
    t = w.running(**known | over)
    assert not cleared(w.world(t), Action.INTERRUPT, "T-1")


def test_forgotten_heartbeat_or_trace():
    t = w.running(at_risk_polls=1, heartbeat=None, trace=w.trace(1300))
    assert not cleared(w.world(t), Action.INTERRUPT, "T-1")


def test_forgotten_trace():
    t = w.running(at_risk_polls=1, heartbeat=w.beat(1300, -1), trace=None)
    assert not cleared(w.world(t), Action.INTERRUPT, "T-1")


def test_unknown_status_holds_a_lane():
    assert not cleared(
        w.world(
            w.running().model_copy(update={"status": None}),
            w.planned(id="T-2"),
            window={"limit": 1},
        ),
        Action.SUBMIT,
        "T-2",
    )


def test_unknown_status_scopes():
    tasks = (w.running(), w.running(id="T-2").model_copy(update={"status": None}))
    assert not cleared(
        w.world(*tasks, window={"limit": 2, "outcomes": w.outcomes(10, 0)}),
        Action.WIDEN_WINDOW,
        None,
    )


def test_unknown_limit():
    assert not cleared(w.world(w.running(), w.planned(id="T-2"), window={}), Action.SUBMIT, "T-2")


@pytest.mark.parametrize("mode", ["observe", "approve"])
def test_same_decisions_in_every_mode(mode):
    tasks = [w.planned(id=f"T-{n}") for n in range(8)]

    def said(m):
        return [
            (o.proposal.action, o.proposal.reason)
            for o in decide(w.world(*tasks, mode=m), w.policy()).tasks
        ]

    assert said(mode) == said("auto")


def test_settled_task_blocks_release():
    done = w.task("handed-over", id="T-1", blocked_by="D-1")
    assert (
        w.actions(w.world(done, w.parked(id="T-2"), defects=(w.defect("fixed"),)))["T-2"]
        == "release"
    )


def test_cancelled_canary_blocks_release():
    gone = w.ended("cancelled", id="T-1", blocked_by="D-1", canary=True)
    assert (
        w.actions(w.world(gone, w.parked(id="T-2"), defects=(w.defect("fixed"),)))["T-2"]
        == "release"
    )


def test_cancelled_task_first():
    gone = w.ended("cancelled", id="T-1", blocked_by="D-1")
    assert (
        w.actions(w.world(gone, w.parked(id="T-2"), defects=(w.defect("fixed"),)))["T-2"]
        == "release"
    )


def test_parked_fingerprint_changed():
    d = w.defect("fixed", fingerprint="missing-tool:something-older")
    assert w.actions(w.world(w.parked(), defects=(d,)))["T-1"] == "release"


def test_natural_ties():
    a, b = w.without_jq(id="T-1"), w.without_jq(id="T-01")
    assert w.actions(w.world(a, b)) == w.actions(w.world(b, a))


def test_tool_fingerprints_with_digits():
    assert failures.fingerprint_of("missing-tool", "sha256sum") != failures.fingerprint_of(
        "missing-tool", "sha512sum"
    )


def test_versions_are_part_of_a_tools_name():
    assert failures.fingerprint_of("missing-tool", "python3.11") != failures.fingerprint_of(
        "missing-tool", "python3.12"
    )


def test_numbers_of_any_length():
    assert failures.fingerprint_of("x", "pid 999999") == failures.fingerprint_of("x", "pid 1000000")


def test_word_of_hex_letters():
    assert failures.fingerprint_of("missing-tool", "defaced") == "missing-tool:defaced"


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("liveness", "cooldown = 1800"),
        ("window", "settle = 900"),
        ("failures", "default_wait = 900"),
        ("submit", "clearance_seconds = 30"),
    ],
)
def test_infinite_numbers(tmp_path, name, old):
    shutil.copytree(w.ROOT / "policies", tmp_path / "p")
    p = tmp_path / "p" / f"{name}.toml"
    p.write_text(p.read_text().replace(old, old.split("=")[0] + "= inf"))
    with pytest.raises(PolicyError):
        read_policy(tmp_path / "p")


@pytest.mark.parametrize("value", ['"2"', "true", "2.0"])
def test_lax_types(tmp_path, value):
    shutil.copytree(w.ROOT / "policies", tmp_path / "p")
    p = tmp_path / "p" / "liveness.toml"
    p.write_text(p.read_text().replace("polls = 2", f"polls = {value}"))
    with pytest.raises(PolicyError):
        read_policy(tmp_path / "p")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('match = [{ mode = "unknown" }]', 'match = [{ mdoe = "unknown" }]'),
        ('match = [{ mode = "unknown" }]', 'match = [{ mode = "unknwn" }]'),
    ],
)
def test_typos_in_examples(tmp_path, old, new):
    shutil.copytree(w.ROOT / "policies", tmp_path / "p")
    p = tmp_path / "p" / "guard.toml"
    p.write_text(p.read_text().replace(old, new, 1))
    with pytest.raises(PolicyError):
        read_policy(tmp_path / "p")


@pytest.mark.parametrize("new", ['reslt = ["read"]', 'result = ["raed"]', 'lanes = ["free"]'])
def test_line_of_a_lint_error(tmp_path, new):
    shutil.copytree(w.ROOT / "policies", tmp_path / "p")
    p = tmp_path / "p" / "guard.toml"
    t = p.read_text()
    line = t[: t.index('result = ["read"]')].count("\n") + 1
    p.write_text(t.replace('result = ["read"]', new, 1))
    with pytest.raises(PolicyError) as refused:
        read_policy(tmp_path / "p")
    assert str(refused.value).startswith(f"{p}:{line}: ")


def test_misspelt_key_is_named(tmp_path):
    shutil.copytree(w.ROOT / "policies", tmp_path / "p")
    p = tmp_path / "p" / "liveness.toml"
    t = p.read_text()
    p.write_text(t.replace("cooldown =", "cooldwn ="))
    with pytest.raises(PolicyError) as refused:
        read_policy(tmp_path / "p")
    assert "cooldwn" in str(refused.value)


def test_heavy_check_in_observe():
    s = w.world(w.running(), mode="observe", supervisor={"host": "worker"})
    assert not cleared(s, Action.RUN_HEAVY_CHECK, "T-1")


def test_wait_without_end():
    t = w.ended(last_error="rate_limit_error", finished_at=None)
    assert w.actions(w.world(t))["T-1"] == "leave-alone"


def test_judges_reason_is_searched():
    t = w.ended(
        judge=JudgeRecord(
            verdict="fail", at=w.ago(20), reason="fatal: Could not resolve host: github.com"
        )
    )
    assert failures.assess(t, w.policy().failures).infrastructure


def test_two_commits_of_one_moment_order():
    a, b = w.seen("commit-pushed", id="a"), w.seen("commit-pushed", id="b", value="0000000")
    rest = w.climbed(w.TaskKind.ARTIFACT_DELIVERY)[1:]
    x = proof.assess(
        w.ended("succeeded", kind="artifact-delivery", criteria=None, evidence=(a, b, *rest)),
        w.policy().completion,
    )
    y = proof.assess(
        w.ended("succeeded", kind="artifact-delivery", criteria=None, evidence=(b, a, *rest)),
        w.policy().completion,
    )
    assert x.state == y.state


def test_future_evidence():
    with pytest.raises(ValueError, match="future"):
        w.world(w.proven(evidence=w.climbed(observed_at=w.ago(-3600))))


def test_future_outcome():
    with pytest.raises(ValueError, match="future"):
        w.world(window={"outcomes": w.outcomes(1, 0, -3600)})


def test_future_last_tick():
    with pytest.raises(ValueError, match="future"):
        w.world(supervisor={"last_tick_at": w.ago(-3600)})


def test_future_interrupt():
    with pytest.raises(ValueError, match="future"):
        w.world(w.silent(1300, last_interrupt_at=w.ago(-3600)))


def test_two_defects_with_one_fingerprint_order():
    d1, d2 = w.defect("fixed"), w.defect("recorded", id="D-2")
    assert w.actions(w.world(w.without_jq(), defects=(d1, d2))) == w.actions(
        w.world(w.without_jq(), defects=(d2, d1))
    )


def test_a_task_of_which_nobody_knows_whether_it_can_go_on_is_handed_over():
    t = w.ended(attempt=1, attempts_left=2, session_continuable=None)
    d = w.of(decide(w.world(t), w.policy()))
    assert isinstance(d.clearance, Cleared) or d.proposal.action == "hand-over", d.proposal
