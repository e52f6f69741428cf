"""The section `head` of a trained system, and its defaults for a frozen encoder."""

from typing import Any, Literal

from pydantic import Field, model_validator

from abhinaya.config.base import Section
from abhinaya.config.messages import WrongKey

FROZEN = {  # defaults with a frozen encoder, unless `pooling: attentive` is set (docs/real-speech.md)
    "head": {"pooling": "mean_std", "standardise": True, "input_dropout": 0.5},
    "training": {"weight_decay": 1.0, "label_smoothing": 0.1},
}


class Head(Section):
    """Pooling and classification layers."""

    pooling: Literal["attentive", "mean_std", "mean"] = Field(
        "attentive",
        description="how the vectors of a clip become one: `attentive`, their attention-weighted mean and standard "
        "deviation (paper); `mean_std`, plain mean and standard deviation (default with a frozen encoder); `mean`",
    )
    standardise: bool = Field(
        False,
        description="subtract the mean of the training split's pooled vectors and divide by their standard deviation; "
        "default with a frozen encoder and plain pooling: true",
    )
    input_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="dropout of the pooled vectors; default with a frozen encoder and plain pooling: 0.5",
    )
    hidden: int = Field(1024, ge=1, description="width of the hidden layer")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout before the last layer")
    norm: Literal["hidden", "frames"] = Field(
        "hidden", description="layer norm after the hidden layer (S1) or on the encoder's output (S2, T2, ST1)"
    )
    attention_init: float = Field(
        1.0, gt=0, description="standard deviation of the initial attention vector; 1 as in the authors' code"
    )

    @model_validator(mode="after")
    def _attention_is_used(self) -> "Head":
        if self.pooling != "attentive" and self.attention_init != 1.0:
            text = f"not used with `pooling: {self.pooling}`; remove it or set `pooling: attentive`"
            raise WrongKey("attention_init", text)
        return self


class FramesHead(Head):
    """The head of a language model; its layer norm comes first."""

    norm: Literal["hidden", "frames"] = Field(
        "frames", description="layer norm after the hidden layer (S1) or on the encoder's output (S2, T2, ST1)"
    )


def with_defaults_of_frozen(values: Any) -> Any:
    """The keys of a system before they are checked; with a frozen encoder the defaults of `FROZEN` are added.

    `pooling: attentive` keeps the paper's recipe. Only missing keys are added, so a stored configuration, which has
    all keys, stays as it is.
    """
    if not (isinstance(values, dict) and isinstance(values.get("encoder"), dict)):
        return values
    head = values.get("head", {})
    attentive = isinstance(head, dict) and head.get("pooling") == "attentive"
    if values["encoder"].get("freeze") != "all" or attentive:
        return values
    sections = {key: values.get(key, {}) for key in FROZEN}
    return values | {
        key: FROZEN[key] | section if isinstance(section, dict) else section for key, section in sections.items()
    }
