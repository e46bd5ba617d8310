from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.assess import proof
from agent.core.assess.proof import Proof, denial, substance
from agent.core.model.nouns import JudgeRecord, ProofKind, Review, Task, TaskKind
from tests.core import worlds as w


def assess(task: Task) -> Proof:
    return proof.assess(task, w.policy().completion)


def proof_of(*items: Any, **over: Any) -> Proof:
    return assess(w.ended("succeeded", **{"evidence": items, "criteria": None} | over))


STATES = [
    pytest.param((), "missing", id="nothing"),
    pytest.param(w.climbed(), "proven", id="every rung"),
    pytest.param(w.climbed(origin="claimed"), "claimed", id="every rung, claimed"),
    pytest.param(w.climbed(origin="claimed", holds=None), "missing", id="claims of nothing"),
    pytest.param(w.climbed(holds=None), "unknown", id="every rung unknown"),
    pytest.param(w.climbed(holds=False), "contradicted", id="every rung denied"),
    pytest.param(w.climbed()[1:], "missing", id="no commit"),
    pytest.param(w.climbed()[:-1], "missing", id="no checks"),
    pytest.param((*w.climbed()[:-1], w.seen("checks-passed", origin="claimed")), "claimed",
                 id="the checks are only claimed"),
    pytest.param((*w.climbed(origin="claimed"), *w.climbed()), "proven", id="claimed and observed"),
    pytest.param((*w.climbed(), w.seen("checks-passed", origin="claimed", holds=False)), "proven",
                 id="a worker cannot talk its proof away"),
    pytest.param(w.climbed(observed_at=None), "stale", id="undated"),
    pytest.param(w.climbed(observed_at=w.ago(601)), "stale", id="seen 1 s before the attempt"),
    pytest.param(w.climbed(observed_at=w.ago(31)), "stale", id="seen 1 s before the attempt ended"),
    pytest.param(w.climbed(observed_at=w.ago(30)), "proven", id="seen as the attempt ended"),
    pytest.param((*w.climbed()[:-1], w.seen("checks-passed", observed_at=w.ago(40))), "proven",
                 id="the judge's checks run before the attempt ends"),
    pytest.param((*w.climbed(), w.seen("commit-pushed", holds=False, observed_at=w.ago(9))),
                 "contradicted", id="a newer denial"),
    pytest.param((*w.climbed(), w.seen("commit-pushed", holds=False, observed_at=w.ago(11))),
                 "proven", id="an older denial"),
    pytest.param((*w.climbed(), w.seen("commit-pushed", holds=False)), "contradicted",
                 id="a denial of the same moment"),
    pytest.param((*w.climbed(), w.seen("commit-pushed", holds=None, observed_at=w.ago(9))),
                 "unknown", id="a newer look that saw nothing"),
    pytest.param((w.seen("commit-pushed", value=None), *w.climbed()[1:]), "unknown",
                 id="a commit without a name"),
]  # fmt: skip


@pytest.mark.parametrize(("items", "state"), STATES)
def test_only_what_was_observed_of_this_attempt_proves(items, state):
    assert proof_of(*items).state == state


@pytest.mark.parametrize("kind", list(TaskKind))
def test_each_kind_has_a_ladder_and_every_rung_counts(kind):
    whole = w.climbed(kind)
    assert proof_of(*whole, kind=kind).state == "proven"
    for missing in range(len(whole)):
        short = proof_of(*whole[:missing], *whole[missing + 1 :], kind=kind)
        assert short.state == "missing"
        assert short.next_rung is not None
        assert short.next_rung.kinds[0] == whole[missing].kind


def test_an_unknown_kind_proves_nothing():
    proof = proof_of(*w.climbed(), kind=None)
    assert (proof.state, proof.criteria) == ("unknown", "cannot-tell")


def test_gaps_are_told_in_the_order_of_the_ladder():
    proof = proof_of(w.seen("checks-passed", holds=False, detail="3 failed"))
    assert proof.gaps == (
        "nothing shows yet that a commit was pushed",
        "nothing shows yet that only files in the write scope changed",
        "the checks did not pass: 3 failed",
    )
    assert proof_of(*w.climbed()).gaps == ()
    assert proof_of(*w.climbed()).next_rung is None


@pytest.mark.parametrize("kind", list(ProofKind))
def test_every_kind_has_a_plain_sentence_for_every_state(kind):
    looks = {
        "missing": (),
        "claimed": (w.seen(kind, origin="claimed"),),
        "unknown": (w.seen(kind, holds=None, detail="no answer"),),
        "contradicted": (w.seen(kind, holds=False, detail="seen so"),),
        "stale": (w.seen(kind, observed_at=None),),
    }
    criterion = w.proved_by(kind)
    gaps = {}
    for state, items in looks.items():
        rungs = proof_of(*items, criteria=criterion).rungs
        (rung,) = [one for one in rungs if one.kinds == (kind,)]
        assert rung.state == state
        gaps[state] = rung.detail
    assert len(set(gaps.values())) == len(looks)
    assert gaps["contradicted"].endswith(": seen so")
    assert not any(kind in gap for gap in gaps.values())


def test_a_detail_that_says_the_same_is_not_repeated():
    why = "the blocked workflow does not proceed: `make` exited with 1"
    assert denial(ProofKind.BLOCKED_WORKFLOW_PROCEEDS, why) == why


@pytest.mark.parametrize(
    ("odd", "where"),
    [
        ("artifact-built", "built"),
        ("live-version", "live"),
        ("dev-digest", "in dev"),
        ("prod-digest", "in production"),
    ],
)
def test_one_commit_and_one_digest_go_all_the_way(odd, where):
    delivered = {one.kind: one for one in w.climbed(TaskKind.ARTIFACT_DELIVERY)}
    delivered[ProofKind(odd)] = w.seen(odd, value="another")
    proof = proof_of(*delivered.values(), kind="artifact-delivery")
    assert proof.state == "contradicted"
    assert any(f"another {where}" in gap for gap in proof.gaps)


def test_an_older_value_is_no_contradiction():
    older = w.seen("dev-digest", value="another", observed_at=w.ago(300))
    newer = w.climbed(TaskKind.ARTIFACT_DELIVERY)
    assert proof_of(older, *newer, kind="artifact-delivery").state == "proven"


DELIVERY = TaskKind.ARTIFACT_DELIVERY
HOUR = 3600
AGES = [
    # What is unknown, and when a person is asked, in seconds from now; None: never. The attempt
    # ended 30 s ago.
    pytest.param({}, 4 * HOUR - 30, id="since the end, at the longest"),
    pytest.param({"unknown_since": w.ago(10)}, 4 * HOUR - 10, id="since it was seen last"),
    pytest.param({"unknown_since": w.ago(9 * HOUR)}, -5 * HOUR, id="for hours"),
    pytest.param({"ask_after": 60.0}, 30, id="of a source with its own patience"),
    pytest.param({"ask_after": 20.0}, -10, id="and that has run out"),
    pytest.param({"fault": True}, 4 * HOUR - 30, id="by a fault of the installation"),
    pytest.param({"holds": True}, None, id="known"),
    pytest.param({"holds": False}, None, id="denied"),
    pytest.param({"origin": "claimed"}, None, id="only claimed"),
]


@pytest.mark.parametrize(("over", "asked"), AGES)
def test_what_stays_unknown_is_asked_about_in_the_end(over, asked):
    proof = proof_of(*w.climbed()[:-1], w.seen("checks-passed", **{"holds": None} | over))
    assert (proof.doubt is None) is (asked is None)
    if proof.doubt is not None:
        assert proof.doubt.ask_at == w.ago(-asked)
        assert proof.doubt.rung.kinds == (ProofKind.CHECKS_PASSED,)
    assert len(proof.faults) == (over.get("fault") is True)


def test_of_several_unknowns_the_first_to_be_asked_about_counts():
    late, soon = w.seen("artifact-built", holds=None), w.seen("live-health", holds=None)
    soon = soon.model_copy(update={"ask_after": 60.0})
    proof = proof_of(late, soon, kind="artifact-delivery")
    assert proof.doubt is not None
    assert proof.doubt.rung.kinds == (ProofKind.LIVE_HEALTH,)


PENDING = {"artifact-built": {"holds": None}}
OLD = {"live-version": {"value": "another"}, "digest-recorded": {"holds": False}}
BEHIND = [
    pytest.param(PENDING | OLD, "unknown", id="a build is on its way, and nothing follows it yet"),
    pytest.param(OLD, "contradicted", id="it was built, and another thing is there"),
    pytest.param({"artifact-built": {"holds": False}} | OLD, "contradicted", id="the build failed"),
    pytest.param(PENDING | {"commit-pushed": {"holds": False}}, "contradicted",
                 id="what comes before the build counts"),
]  # fmt: skip


@pytest.mark.parametrize(("over", "state"), BEHIND)
def test_a_slow_ci_is_not_held_against_the_task(over, state):
    items = [one.model_copy(update=over.get(one.kind, {})) for one in w.climbed(DELIVERY)]
    assert proof_of(*items, kind=DELIVERY).state == state


def test_an_attempt_of_unknown_times_gives_unknown_no_age():
    proof = proof_of(*w.climbed(holds=None), started_at=None, finished_at=None)
    assert (proof.state, proof.doubt) == ("unknown", None)


HERE, THERE = {"source": "https://ci.example"}, {"source": "https://registry.example"}
TWO_SOURCES = [
    pytest.param((HERE, THERE), "proven", id="both say so"),
    pytest.param((HERE, THERE | {"value": "another"}), "contradicted", id="another value"),
    pytest.param((HERE, THERE | {"holds": False}), "contradicted", id="one denies"),
    pytest.param((HERE, THERE | {"holds": False, "observed_at": w.ago(11)}), "contradicted",
                 id="one denied a little earlier"),
    pytest.param((HERE, THERE | {"holds": False, "observed_at": w.ago(31)}), "proven",
                 id="one denied before the last change"),
    pytest.param((HERE, HERE | {"holds": False, "observed_at": w.ago(11)}), "proven",
                 id="the same one denied a little earlier"),
    pytest.param((HERE, THERE | {"holds": None}), "unknown", id="one could not be asked"),
]  # fmt: skip


@pytest.mark.parametrize(("looks", "state"), TWO_SOURCES)
def test_two_sources_that_disagree_are_a_contradiction(looks, state):
    whole = w.climbed(TaskKind.ARTIFACT_DELIVERY)
    rest = [one for one in whole if one.kind is not ProofKind.DEV_DIGEST]
    first = next(one for one in whole if one.kind is ProofKind.DEV_DIGEST)
    seen = [w.seen("dev-digest", **{"value": first.value} | look) for look in looks]
    assert proof_of(*rest, *seen, kind="artifact-delivery").state == state


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        pytest.param({"blocked-workflow-proceeds": True}, "proven", id="it proceeds"),
        pytest.param({"remaining-step-named": True}, "proven", id="the remaining step is named"),
        pytest.param({"blocked-workflow-proceeds": False}, "contradicted", id="it does not"),
        pytest.param({"blocked-workflow-proceeds": False, "remaining-step-named": True}, "proven",
                     id="it does not yet, and the step is named"),
        pytest.param({"blocked-workflow-proceeds": None}, "unknown", id="nobody knows"),
    ],
)  # fmt: skip
def test_a_rung_with_alternatives_is_climbed_by_any(kinds, state):
    items = [w.seen(kind, holds=holds) for kind, holds in kinds.items()]
    assert proof_of(*items, kind="infrastructure").state == state


def checks_on(commit: str | None) -> JudgeRecord:
    return w.judged("pass", commit=commit)


@pytest.mark.parametrize(
    ("judge", "state"),
    [
        pytest.param(checks_on(w.COMMIT), "proven", id="the pushed commit"),
        pytest.param(checks_on("0000000"), "stale", id="another commit"),
        pytest.param(checks_on(None), "proven", id="a judge that names no commit"),
        pytest.param(None, "proven", id="no judge record"),
    ],
)
def test_checks_belong_to_the_commit_that_was_pushed(judge, state):
    assert proof_of(*w.climbed(), judge=judge).state == state


CRITERIA = [
    pytest.param(None, None, "none", id="criteria unknown"),
    pytest.param((), None, "none", id="no criteria"),
    pytest.param(("checks-passed",), None, "met", id="proven by evidence"),
    pytest.param(("live-health",), None, "unmet", id="its evidence is missing"),
    pytest.param(("judgement",), None, "needs-review", id="to be read"),
    pytest.param(("judgement",), {"C1": "met"}, "met", id="read and met"),
    pytest.param(("judgement",), {"C1": "unmet"}, "unmet", id="read and unmet"),
    pytest.param(("judgement",), {"C1": "cannot-tell"}, "cannot-tell", id="read, and no verdict"),
    pytest.param(("judgement",), {}, "cannot-tell", id="the review left it out"),
    pytest.param(("judgement",), {"C2": "met"}, "cannot-tell", id="the review is of another one"),
    pytest.param(("checks-passed",), {"C1": "met"}, "met", id="evidence and review agree"),
    pytest.param(("checks-passed",), {"C1": "unmet"}, "unmet", id="a review lowers evidence"),
    pytest.param(("live-health",), {"C1": "met"}, "unmet", id="a review cannot raise it"),
    pytest.param(("checks-passed", "judgement"), None, "needs-review", id="one proven, one open"),
    pytest.param(("live-health", "judgement"), {"C2": "met"}, "unmet", id="one unmet is enough"),
    pytest.param(("judgement", "judgement"), {"C1": "met", "C2": "cannot-tell"}, "cannot-tell",
                 id="one doubt is enough"),
]  # fmt: skip


@pytest.mark.parametrize(("proofs", "verdicts", "state"), CRITERIA)
def test_a_review_can_only_lower_what_evidence_allows(proofs, verdicts, state):
    criteria = None if proofs is None else w.proved_by(*proofs)
    review = None if verdicts is None else w.reviewed(**verdicts)
    assert proof_of(*w.climbed(), criteria=criteria, review=review).criteria == state


def test_an_abstention_is_no_verdict():
    said = Review(abstained="the answer was cut off", criteria=w.reviewed(C1="met").criteria)
    proof = proof_of(*w.climbed(), criteria=w.proved_by("judgement"), review=said)
    assert proof.criteria == "cannot-tell"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        pytest.param({"pending": True}, "needs-review", id="asked again"),
        pytest.param({"seen": "of another result"}, "needs-review", id="of another result"),
        pytest.param({"attempt": 2}, "needs-review", id="of another attempt"),
    ],
)
def test_a_review_that_is_not_in_force_is_asked_for(said, state):
    said = Review(**{"abstained": "no answer", **said})
    proof = proof_of(*w.climbed(), criteria=w.proved_by("judgement"), review=said)
    assert proof.criteria == state


def test_a_review_stays_in_force_while_what_it_rests_on_is_the_same():
    items = w.climbed()
    again = w.climbed(observed_at=w.ago(1), detail="looked at again")
    assert substance("done", None, items) == substance("done", None, reversed(again))
    pushed = [one.model_copy(update={"value": "another"}) for one in items]
    assert substance("done", None, items) != substance("done", None, pushed)
    assert substance("done", None, items) != substance("gone", None, items)
    assert substance("done", w.judged("pass"), items) != substance("done", None, items)


def test_unmet_criteria_are_named_in_the_order_of_the_task():
    criteria = w.proved_by("live-health", "checks-passed", "dev-digest")
    assert proof_of(*w.climbed(), criteria=criteria).unmet == ("C1", "C3")


def test_a_criterion_asks_for_more_than_the_ladder():
    criteria = w.proved_by("checks-passed", "live-health")
    assert proof_of(*w.climbed(), criteria=criteria).state == "missing"
    assert proof_of(*w.climbed(), w.seen("live-health"), criteria=criteria).state == "proven"


kinds = st.sampled_from(list(ProofKind))
verdicts = st.sampled_from(["met", "unmet", "cannot-tell"])
items = st.builds(
    w.seen,
    kinds,
    origin=st.sampled_from(["claimed", "observed"]),
    holds=st.sampled_from([True, False, None]),
    observed_at=st.sampled_from([None, w.ago(5), w.ago(10), w.ago(900)]),
    value=st.sampled_from([None, w.COMMIT, w.DIGEST]),
)


@settings(max_examples=60)
@given(st.lists(items, max_size=6), st.lists(items, max_size=6), st.sampled_from(list(TaskKind)))
def test_claims_never_prove_and_never_disprove(seen, said, kind):
    claims = [one.model_copy(update={"origin": "claimed"}) for one in said]
    facts = [one for one in seen if one.origin == "observed"]
    before, after = proof_of(*facts, kind=kind), proof_of(*facts, *claims, kind=kind)
    assert (before.state == "proven") is (after.state == "proven")
    assert before.criteria == after.criteria


RANK = ["none", "unmet", "cannot-tell", "needs-review", "met"]


@settings(max_examples=60)
@given(
    st.lists(items, max_size=5),
    st.lists(kinds.map(str) | st.just("judgement"), max_size=4),
    st.dictionaries(st.sampled_from(["C1", "C2", "C3", "C4"]), verdicts),
)
def test_a_review_opens_nothing_but_what_only_reading_can_tell(seen, proofs, said):
    """It never turns unmet or doubtful evidence into a criterion that is met."""
    known = {"criteria": w.proved_by(*proofs)}
    before = proof_of(*w.climbed(), *seen, **known)
    after = proof_of(*w.climbed(), *seen, review=w.reviewed(**said), **known)
    assert after.state == before.state
    if after.criteria == "met":
        assert before.criteria in ("met", "needs-review")
    elif before.criteria != "needs-review":
        assert RANK.index(after.criteria) <= RANK.index(before.criteria)
