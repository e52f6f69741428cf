"""The section `head` of a trained system, and its defaults for a frozen encoder."""

from typing import Any, Literal

from pydantic import Field, model_validator

from abhinaya.config.base import Section
from abhinaya.config.messages import WrongKey

FROZEN = {  # defaults with a frozen encoder, unless `pooling: attentive` is set (docs/real-speech.md)
    "head": {"pooling": "mean_std", "standardise": True, "input_dropout": 0.5},
    "training": {"weight_decay": 1.0, "label_smoothing": 0.1},
}

PROBE = {"pooling": "mean_std", "standardise": True}  # defaults of `kind: logistic` and `kind: svm`
LAYERS = ("input_dropout", "hidden", "dropout", "norm", "attention_init")  # keys of the trained layers


class Head(Section):
    """Pooling and classification layers."""

    kind: Literal["mlp", "logistic", "svm"] = Field(
        "mlp",
        description="`mlp`: layers trained with `loss` and `training`. With a frozen encoder also a classifier of "
        "scikit-learn on the standardised vectors, fitted in seconds: `logistic`, logistic regression, or `svm`, "
        "support vector machines with a radial basis function. Their regularisation is chosen by cross-validation "
        "within the training split, over its speakers if they are known",
    )
    pooling: Literal["attentive", "mean_std", "mean_std_speech", "mean"] = Field(
        "attentive",
        description="how the vectors of a clip become one: `attentive`, their attention-weighted mean and standard "
        "deviation (paper); `mean_std`, plain mean and standard deviation (default with a frozen encoder); "
        "`mean_std_speech`, the same of all frames and of those within 35 dB of the loudest (`family: speech`); `mean`",
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

    @property
    def is_probe(self) -> bool:
        """Whether it is a classifier of scikit-learn."""
        return self.kind != "mlp"

    @model_validator(mode="after")
    def _keys_of_a_probe(self) -> "Head":
        if not self.is_probe:
            return self
        for key in LAYERS:
            if getattr(self, key) != type(self).model_fields[key].default:
                raise WrongKey(key, f"not used with `kind: {self.kind}`; remove it")
        if self.pooling == "attentive" or not self.standardise:
            key = "standardise" if self.pooling != "attentive" else "pooling"
            text = f"`kind: {self.kind}` needs standardised vectors without attention; remove the key"
            raise WrongKey(key, text)
        return self

    @property
    def plain_pooling(self) -> str:
        """The pooling of its probe: its own, or `mean_std` instead of attention."""
        return "mean_std" if self.pooling == "attentive" else self.pooling

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

    @model_validator(mode="after")
    def _no_speech(self) -> "FramesHead":
        if self.pooling == "mean_std_speech":
            raise WrongKey("pooling", "`mean_std_speech` is for `family: speech`; use `mean_std`")
        return self


def with_defaults_of_frozen(values: Any) -> Any:
    """The keys of a system before they are checked; with a frozen encoder the defaults of `FROZEN` are added.

    `pooling: attentive` keeps the paper's recipe; with `pooling: mean_std_speech` the encoder gets `levels`. Only
    missing keys are added, so a stored configuration, which has all keys, stays as it is.
    """
    if not (isinstance(values, dict) and isinstance(values.get("encoder"), dict)):
        return values
    head = values.get("head", {})
    if isinstance(head, dict) and head.get("pooling") == "mean_std_speech" and values.get("family") == "speech":
        values = values | {"encoder": {"levels": True} | values["encoder"]}
    if values["encoder"].get("freeze") != "all" or not isinstance(head, dict) or head.get("pooling") == "attentive":
        return values
    if head.get("kind", "mlp") != "mlp":
        return values | {"head": PROBE | head}
    training = values.get("training", {})
    trained = {"training": FROZEN["training"] | training} if isinstance(training, dict) else {}
    return values | {"head": FROZEN["head"] | head} | trained
