"""What every noun of the core is: a frozen value that knows its own JSON."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Noun(BaseModel):
    """A frozen value; unknown keys are refused, because a misspelt key is an unsaid fact."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
