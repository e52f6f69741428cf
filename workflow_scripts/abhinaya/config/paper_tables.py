"""The section `tables`: which of the paper's tables are made, and from which systems."""

from typing import Annotated

from pydantic import Field, model_validator

from abhinaya.config.base import Section
from abhinaya.config.ensemble import Ensemble
from abhinaya.config.external import ExternalSystem
from abhinaya.config.messages import WrongKey, check_unique
from abhinaya.config.system import AnyLoss, SalmonnSystem, SpeechSystem, TextSystem, Vs, Wce, Wfl
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem

System = Annotated[
    SpeechSystem | TextSystem | SalmonnSystem | ZeroShotSystem | SalmonnZeroShot | ExternalSystem,
    Field(discriminator="family"),
]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
NAMES_ONLY = {"additionalProperties": False}  # else the schema would accept any name


class Losses(Section):
    """Systems trained with each of several losses (the paper's Table 2)."""

    systems: list[str] = Field(min_length=1, description="trained systems; each is trained with every loss")
    losses: list[AnyLoss] = Field(
        [Wce(name="wce"), Wfl(name="wfl"), Vs(name="vs")], min_length=1, description="the losses, as in `loss`"
    )

    @model_validator(mode="after")
    def _each_once(self) -> "Losses":
        check_unique("systems", self.systems)
        check_unique("losses", [loss.name for loss in self.losses])
        return self


class ZeroShotFigure(Section):
    """Zero-shot systems (the paper's Figure 2)."""

    models: list[str] = Field(min_length=1, description="zero-shot systems, one bar each")
    line: str | None = Field(None, description="a system drawn as a line, such as the baseline")

    @model_validator(mode="after")
    def _each_once(self) -> "ZeroShotFigure":
        check_unique("models", [*self.models, *filter(None, [self.line])])
        return self


class Tables(Section):
    """The paper's tables: `snakemake tables`. Tables that are not configured are not made."""

    systems: dict[Name, System] = Field(
        {}, description="additional systems, used only by the tables", json_schema_extra=NAMES_ONLY
    )
    components: list[str] = Field([], description="systems and ensembles of Tables 1 and 3, in order; empty: all")
    losses: Losses | None = Field(None, description="Table 2")
    combinations: dict[Name, Ensemble] = Field(
        {}, description="Table 4: additional ensembles", json_schema_extra=NAMES_ONLY
    )
    submitted: dict[Name, Ensemble] = Field(
        {}, description="Table 1: additional ensembles, as submitted before the deadline", json_schema_extra=NAMES_ONLY
    )
    zero_shot: ZeroShotFigure | None = Field(None, description="Figure 2")
    modalities: list[str] = Field(
        [],
        description="§ 4.6: two systems with the same speech LLM, the first with speech only, the second also with "
        "the transcript",
    )
    speech_zero_shot: str | None = Field(None, description="§ 4.5: the zero-shot speech LLM")

    @property
    def ensembles(self) -> dict[str, Ensemble]:
        """All additional ensembles."""
        return self.combinations | self.submitted

    @model_validator(mode="after")
    def _keys_agree(self) -> "Tables":
        if len(self.modalities) not in (0, 2):
            raise WrongKey("modalities", f"{len(self.modalities)} systems; list two, or none")
        check_unique("components", self.components)
        check_unique("modalities", self.modalities)
        return self
