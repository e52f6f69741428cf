"""The sections under `systems`: encoder, head, loss, training of a classifier that is trained."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from abhinaya.config.mistakes import WrongKey
from abhinaya.config.section import Resources, Section

RANDOM = "random:"
CONVOLUTIONAL = ("wavlm", "hubert", "wav2vec2")  # raw waveform -> convolutions -> transformer
ARCHITECTURES = (*CONVOLUTIONAL, "whisper")  # of speech encoders


class SpeechEncoder(Section):
    """A speech encoder of transformers: WavLM, HuBERT, wav2vec 2.0 or the encoder of Whisper."""

    model: str = Field(
        min_length=1,
        description="a published name, a local folder, `package:…` (a folder inside an installed Python package) or "
        f"`random:ARCHITECTURE` (weights drawn from the seed, for trials; {', '.join(ARCHITECTURES)})",
    )
    revision: str | None = Field(
        None, description="commit of a published model, for the very same weights; null: the newest, which is recorded"
    )
    config: dict[str, Any] = Field({}, description="architecture of a `random:` model, in transformers' own keys")
    freeze: Literal["convolutions", "all"] = Field(
        "convolutions", description="what stays as pretrained; `all` computes the features once for all epochs"
    )
    layer: int | None = Field(
        None,
        ge=1,
        description="cut the encoder off after this transformer layer (1 is the first), keeping its final layer norm; "
        "null: use all",
    )
    window: Literal["clip", "full"] = Field(
        "clip", description="Whisper only: encode the clip's own length, or 30 s with its padding"
    )
    max_seconds: float = Field(
        10.0, gt=0, description="longer clips are cropped: at random in training, the middle elsewhere"
    )
    min_seconds: float = Field(1.0, gt=0, description="shorter clips are padded with silence to this length")

    @model_validator(mode="after")
    def _config_for_random(self) -> "SpeechEncoder":
        kind = self.model.removeprefix(RANDOM)
        if self.model.startswith(RANDOM) and kind not in ARCHITECTURES:
            *first, last = (RANDOM + known for known in ARCHITECTURES)
            raise WrongKey("model", f"unknown architecture {kind!r}; write {', '.join(first)} or {last}")
        if self.config and not self.model.startswith(RANDOM):
            raise WrongKey("config", "describes only a `random:` model; remove it or set `model: random:wavlm`")
        if self.min_seconds > self.max_seconds:
            raise WrongKey("min_seconds", f"{self.min_seconds} is above `max_seconds` {self.max_seconds}; lower it")
        return self


class Lora(Section):
    """Low-rank adapters, the only part of a language model that is trained (Hu et al. 2022; the paper's values)."""

    r: int = Field(8, ge=1, description="rank")
    alpha: int = Field(32, ge=1, description="scale, over the rank")
    dropout: float = Field(0.1, ge=0, lt=1, description="before the adapters")
    targets: list[str] | None = Field(
        None,
        min_length=1,
        description="names of the layers that get adapters; null: peft's choice for the architecture, query and value "
        "projections as in the paper",
    )


class TextEncoder(Section):
    """A language model of transformers, a decoder as LLaMA or an encoder as RoBERTa, without its output layer."""

    model: str = Field(
        min_length=1,
        description="a published name, a local folder or `package:…` (a folder inside an installed Python package); a "
        "folder may hold one GGUF file instead",
    )
    revision: str | None = Field(
        None, description="commit of a published model, for the very same weights; null: the newest, which is recorded"
    )
    freeze: Literal["base", "all", "none"] = Field(
        "base",
        description="`base`: the model stays, LoRA is trained beside it; `all`: no LoRA, the features are computed "
        "once for all epochs; `none`: every weight is trained",
    )
    lora: Lora = Lora()
    layer: int | None = Field(
        None, ge=1, description="cut the model off after this transformer layer (1 is the first); null: use all"
    )
    max_tokens: int = Field(128, ge=2, description="longer transcripts are cut, and counted")
    special_tokens: Literal["end", "tokenizer"] = Field(
        "end",
        description="`end`: an end token behind the text and none before it, as the authors' T2; `tokenizer`: those "
        "that the tokenizer adds by itself (BERT and its kin)",
    )
    quantization: Literal["4bit"] | None = Field(
        None, description="`4bit`: load the frozen weights as 4-bit NormalFloat (bitsandbytes); null: as they are"
    )

    @model_validator(mode="after")
    def _keys_agree(self) -> "TextEncoder":
        if self.model.startswith(RANDOM):
            raise WrongKey("model", "a text model cannot be random: it needs a tokenizer; name one or a folder")
        if self.freeze != "base" and self.lora != Lora():
            raise WrongKey("lora", f"not used with `freeze: {self.freeze}`; remove one of them")
        if self.quantization and self.freeze == "none":
            raise WrongKey("quantization", "4-bit weights cannot be trained; remove it or set `freeze: base`")
        return self


class Head(Section):
    """Attentive statistics pooling and the layers after it."""

    hidden: int = Field(1024, ge=1, description="width of the hidden layer")
    dropout: float = Field(0.5, ge=0, lt=1, description="before the last layer")
    norm: Literal["hidden", "frames"] = Field(
        "hidden", description="layer norm after the hidden layer (S1) or on the encoder's vectors (S2, T2, ST1)"
    )
    attention_init: float = Field(
        1.0, gt=0, description="standard deviation of the initial attention vector; 1 as in the reference"
    )


class FramesHead(Head):
    """The head over a language model: its layer norm comes first."""

    norm: Literal["hidden", "frames"] = Field(
        "frames", description="layer norm after the hidden layer (S1) or on the encoder's vectors (S2, T2, ST1)"
    )


class Wce(Section):
    """Weighted cross-entropy (paper, equation 1)."""

    name: Literal["wce"]
    reduction: Literal["mean", "weighted_mean"] = Field(
        "mean", description="divide by the batch's size (the paper) or by its sum of weights (the authors' code)"
    )


class Wfl(Section):
    """Weighted focal loss (paper, equation 2)."""

    name: Literal["wfl"]
    gamma: float = Field(2.0, ge=0, description="focusing exponent")
    reduction: Literal["mean", "batch_weight"] = Field(
        "mean", description="weight each sample (the paper) or all by the batch's mean weight (the authors' code)"
    )


class Vs(Section):
    """Vector-scaling loss (paper, equations 3 and 4)."""

    name: Literal["vs"]
    gamma: float = Field(0.3, ge=0, description="exponent of the multiplicative logit adjustment")
    tau: float = Field(1.0, ge=0, description="factor of the additive logit adjustment")
    reduction: Literal["mean", "weighted_mean"] = Field("mean", description="as for wce")


AnyLoss = Annotated[Wce | Wfl | Vs, Field(discriminator="name")]


class Training(Section):
    """Optimisation (the paper: AdamW, lr 1e-5 constant, 20 epochs, effective batch 32)."""

    epochs: int = Field(20, ge=1, description="passes over the training split")
    learning_rate: float = Field(1e-5, gt=0, description="constant")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="AdamW's second beta (the authors' T2: 0.99)")
    adam_epsilon: float = Field(1e-8, gt=0, description="AdamW's epsilon (the authors' T2: 1e-6)")
    effective_batch: int = Field(32, ge=1, description="utterances per optimiser step, over all GPUs")
    batch_size: int = Field(8, ge=1, description="utterances per GPU and forward pass; gradients are accumulated")
    eval_batch_size: int = Field(16, ge=1, description="utterances per forward pass without gradients")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, more time")


class TrainedSystem(Section):
    """What all trained systems have: the loss, the training, the resources."""

    reads_transcripts: ClassVar[bool] = False

    about: str = Field("", description="a line for the report")
    loss: AnyLoss = Field(description="what training minimises; `name` says which")
    training: Training = Training()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _batches_divide(self) -> "TrainedSystem":
        per_step = self.training.batch_size * max(1, self.resources.gpu)
        if self.training.effective_batch % per_step:
            raise WrongKey(
                "training.effective_batch",
                f"{self.training.effective_batch} is not a multiple of batch_size x GPUs = {per_step}; "
                "change one of them",
            )
        return self


class SpeechSystem(TrainedSystem):
    """A classifier that hears (the paper's baseline and S1)."""

    family: Literal["speech"]
    encoder: SpeechEncoder
    head: Head = Head()


class TextSystem(TrainedSystem):
    """A classifier that reads the transcript (the paper's T2)."""

    reads_transcripts: ClassVar[bool] = True

    family: Literal["text"]
    encoder: TextEncoder
    head: FramesHead = FramesHead()


Trained = Annotated[SpeechSystem | TextSystem, Field(discriminator="family")]
