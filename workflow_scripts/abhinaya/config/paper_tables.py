"""The section that says which of the paper's tables are made, and of what."""

from typing import Annotated

from pydantic import Field, model_validator

from abhinaya.config.base import Section
from abhinaya.config.ensemble import Ensemble
from abhinaya.config.messages import WrongKey
from abhinaya.config.system import AnyLoss, SalmonnSystem, SpeechSystem, TextSystem, Vs, Wce, Wfl
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem

System = Annotated[
    SpeechSystem | TextSystem | SalmonnSystem | ZeroShotSystem | SalmonnZeroShot, Field(discriminator="family")
]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
NAMES_ONLY = {"additionalProperties": False}  # else the schema would let any other name pass


def _refuse_repeated(key: str, names: list[str]) -> None:
    if repeated := [name for name in names if names.count(name) > 1]:
        raise WrongKey(key, f"{repeated[0]!r} stands twice; name each once")


class Losses(Section):
    """Systems trained with each of several losses (the paper's Table 2)."""

    systems: list[str] = Field(min_length=1, description="trained systems; each is trained anew with every other loss")
    losses: list[AnyLoss] = Field(
        [Wce(name="wce"), Wfl(name="wfl"), Vs(name="vs")], min_length=1, description="the losses, as in `loss`"
    )

    @model_validator(mode="after")
    def _each_once(self) -> "Losses":
        _refuse_repeated("systems", self.systems)
        _refuse_repeated("losses", [loss.name for loss in self.losses])
        return self


class ZeroShotFigure(Section):
    """Language models that label without training (the paper's Figure 2)."""

    models: list[str] = Field(min_length=1, description="zero-shot systems, a bar each")
    line: str | None = Field(None, description="the system that is drawn as a line, as the baseline in the paper")

    @model_validator(mode="after")
    def _each_once(self) -> "ZeroShotFigure":
        _refuse_repeated("models", [*self.models, *filter(None, [self.line])])
        return self


class Tables(Section):
    """The paper's tables: `snakemake tables`. What a table lacks here is not made."""

    systems: dict[Name, System] = Field(
        {}, description="further systems, which only the tables need", json_schema_extra=NAMES_ONLY
    )
    components: list[str] = Field(
        [], description="systems and ensembles in Tables 1 and 3, in order; empty: all of `systems` and `ensembles`"
    )
    losses: Losses | None = Field(None, description="Table 2")
    combinations: dict[Name, Ensemble] = Field(
        {}, description="Table 4: further votes, beside the `ensembles`", json_schema_extra=NAMES_ONLY
    )
    zero_shot: ZeroShotFigure | None = Field(None, description="Figure 2")
    modalities: list[str] = Field(
        [], description="§ 4.6: two systems over the same speech LLM, the first hears, the second also reads"
    )
    speech_zero_shot: str | None = Field(None, description="§ 4.5: the speech LLM that is asked without training")

    @model_validator(mode="after")
    def _keys_agree(self) -> "Tables":
        if len(self.modalities) not in (0, 2):
            raise WrongKey("modalities", f"{len(self.modalities)} systems; name two, or none")
        _refuse_repeated("components", self.components)
        _refuse_repeated("modalities", self.modalities)
        return self
