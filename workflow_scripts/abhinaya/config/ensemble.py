"""The section of an ensemble."""

from typing import Literal

from pydantic import Field

from abhinaya.config.base import Section


class Ensemble(Section):
    """A majority vote of systems (as in the paper)."""

    members: list[str] = Field(min_length=1, description="the systems that vote")
    tie_break: str = Field(description="the member that decides ties")
    tie_rule: Literal["label", "probabilities"] = Field(
        "label",
        description="on a tie: `label` takes the tie-breaker's label, `probabilities` the tied class to which it "
        "gives the highest probability",
    )
