"""The strictness every part of a recipe shares."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

ChatTemplate = Literal["plain", "chatml", "alpaca", "tulu", "llama3"]


class Strict(BaseModel):
    """A frozen mapping that refuses keys it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )
