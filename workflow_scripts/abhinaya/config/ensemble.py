"""The section that describes a vote."""

from typing import Literal

from pydantic import Field

from abhinaya.config.base import Section


class Ensemble(Section):
    """A majority vote (as in the paper)."""

    members: list[str] = Field(min_length=1, description="systems that vote")
    tie_break: str = Field(description="the member that decides when no class has most votes")
    tie_rule: Literal["label", "probabilities"] = Field(
        "label",
        description="on a tie take the tie-breaker's label, or the likeliest of the tied classes by its probabilities",
    )
