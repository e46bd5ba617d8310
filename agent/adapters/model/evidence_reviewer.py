"""The reviewer that asks nobody. It has its own file because a model's SDK is slow to import."""

from collections.abc import Sequence

from agent.core.model.nouns import Criterion, CriterionVerdict, Review
from agent.core.review.brief import Brief


class EvidenceReviewer:
    """Port `Reviewer`, from observed evidence alone."""

    name = "evidence"

    def review(self, briefs: Sequence[Brief]) -> Sequence[Review]:
        return [
            Review(
                criteria=tuple(_verdict(one, brief) for one in brief.criteria),
                attempt=brief.attempt,
                digest=brief.digest(),
                seen=brief.seen,
                by=self.name,
            )
            for brief in briefs
        ]


def _verdict(criterion: Criterion, brief: Brief) -> CriterionVerdict:
    if criterion.proof in brief.holding:
        verdict: CriterionVerdict = CriterionVerdict(id=criterion.id, verdict="met")
    elif criterion.proof in brief.denied:
        verdict = CriterionVerdict(id=criterion.id, verdict="unmet")
    else:
        return CriterionVerdict(id=criterion.id, verdict="cannot-tell")
    shown = [
        one for one in brief.exhibits if one.origin == "observed" and one.about == criterion.proof
    ]
    return verdict.model_copy(update={"quote": shown[-1].text, "evidence": shown[-1].id})
