"""The slots that a model may fill in a prompt: strictly typed, bounded, and about known criteria.

Everything else of a prompt is rendered from facts. Policy: "create self-contained follow-up tasks".
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.core.model.queueing import TaskSpec
from agent.core.model.text import one_line
from agent.core.prompts.linter import Slots, Step
from agent.core.review.review import AbstainError, Reply, parse_json, text_of

_Sentence = Annotated[str, Field(min_length=1, max_length=600)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Step(_Strict):
    criterion: _Sentence
    step: _Sentence


class _Answer(_Strict):
    done: Annotated[list[_Sentence], Field(max_length=8)]
    failed: Annotated[str, Field(max_length=1500)]
    remaining: Annotated[list[_Step], Field(min_length=1, max_length=12)]


def slots_of(reply: Reply, spec: TaskSpec) -> Slots:
    """What a model's reply fills in; AbstainError for anything that is not the agreed form."""
    try:
        answer = _Answer.model_validate(parse_json(text_of(reply)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AbstainError("schema", f"{where}: {first['msg']}") from error
    known = {one.id for one in spec.criteria}
    if any(one.criterion not in known for one in answer.remaining):
        raise AbstainError("wrong-ids")
    return Slots(
        done=tuple(one_line(one) for one in answer.done),
        failed=one_line(answer.failed),
        remaining=tuple(
            Step(criterion=one.criterion, step=one_line(one.step)) for one in answer.remaining
        ),
    )
