"""The section of an ensemble: a vote, or a fusion of the members' probabilities."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from abhinaya.config.base import Section
from abhinaya.config.messages import WrongKey


class Ensemble(Section):
    """A majority vote of systems (as in the paper)."""

    rule: Literal["vote"] = Field("vote", exclude=True, description="the members' most frequent label")
    members: list[str] = Field(min_length=1, description="the systems that vote")
    tie_break: str = Field(description="the member that decides ties")
    tie_rule: Literal["label", "probabilities"] = Field(
        "label",
        description="on a tie: `label` takes the tie-breaker's label, `probabilities` the tied class to which it "
        "gives the highest probability",
    )


class Fusion(Section):
    """A fusion of the members' probabilities (docs/fusion.md)."""

    rule: Literal["mean", "log_mean", "weighted", "stacking"] = Field(
        description="mean of the probabilities or of their logarithms; `weighted`: fitted weights and a bias per "
        "class; `stacking`: logistic regression on all members' log-probabilities",
    )
    members: list[str] = Field(min_length=1, description="at least two systems, whose probabilities are combined")
    calibration: Literal["none", "temperature", "vector"] = Field(
        "temperature",
        description="of each member: a temperature, or vector scaling (a scale and a bias per class)",
    )
    prior_correction: bool = Field(
        False, description="divide each member's probabilities by a power of the prior that they carry"
    )
    fit_on: Literal["validation", "development"] = Field(
        "validation",
        description="labelled utterances to fit on: the validation set, or all development utterances, which are "
        "then predicted, too",
    )

    @model_validator(mode="after")
    def _several_members(self) -> "Fusion":
        if len(self.members) < 2:
            raise WrongKey("members", "a fusion needs at least two systems; add one")
        return self

    @property
    def is_fitted(self) -> bool:
        """Whether it has parameters that are fitted."""
        return self.rule in ("weighted", "stacking") or self.calibration != "none" or self.prior_correction


def _with_rule(section: Any) -> Any:
    """A vote needs no `rule`."""
    return {"rule": "vote", **section} if isinstance(section, dict) else section


AnyEnsemble = Annotated[Ensemble | Fusion, Field(discriminator="rule"), BeforeValidator(_with_rule)]
