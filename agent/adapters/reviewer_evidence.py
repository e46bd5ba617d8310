"""The reviewer that asks nobody: a criterion is met exactly when its evidence was observed.

What only reading can tell, it cannot tell; such a task is handed over to a person.
"""

from collections.abc import Sequence

from agent.core.actions import digest
from agent.core.model import Criterion, CriterionVerdict, Evidence, Review
from agent.core.queueing import TaskSpec, TaskView


class EvidenceReviewer:
    """Port `Reviewer`, from observed evidence alone."""

    def review(self, spec: TaskSpec, view: TaskView, evidence: Sequence[Evidence]) -> Review:
        shown = {
            "criteria": [one.model_dump(mode="json") for one in spec.criteria],
            "evidence": [one.model_dump(mode="json") for one in evidence],
            "response": view.final_response,
        }
        return Review(
            criteria=tuple(_verdict(criterion, evidence) for criterion in spec.criteria),
            attempt=view.attempt,
            digest=digest(shown),
        )


def _verdict(criterion: Criterion, evidence: Sequence[Evidence]) -> CriterionVerdict:
    observed = [
        item for item in evidence if item.kind == criterion.proof and item.origin == "observed"
    ]
    if not observed or observed[-1].holds is None:
        return CriterionVerdict(id=criterion.id, verdict="cannot-tell")
    last = observed[-1]
    return CriterionVerdict(
        id=criterion.id,
        verdict="met" if last.holds else "unmet",
        quote=last.detail,
        evidence=last.id,
    )
