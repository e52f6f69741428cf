"""The trained classifiers under `systems`: encoder, head, loss and training."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from abhinaya.config.base import Description, Resources, Section
from abhinaya.config.head import FramesHead, Head, with_defaults_of_frozen
from abhinaya.config.messages import WrongKey
from abhinaya.config.training import Training, TrainingResources

RANDOM = "random:"
CONVOLUTIONAL = ("wavlm", "hubert", "wav2vec2")  # raw waveform -> convolutions -> transformer
ARCHITECTURES = (*CONVOLUTIONAL, "whisper")  # of speech encoders


class Encoder(Section):
    """Base class of the encoders of all families."""

    sources: ClassVar[tuple[str, ...]] = ()  # models and files from which it is loaded
    frozen: ClassVar[bool] = False  # whether none of its weights is trained
    has_adapters: ClassVar[bool] = False  # whether adapters are trained and the language model is frozen

    @property
    def random_parts(self) -> list[str]:
        """Descriptions of its parts that start from random weights."""
        return ["encoder"] if any(source.startswith(RANDOM) for source in self.sources) else []


class SingleModelEncoder(Encoder):
    """An encoder with one pretrained model, which can be frozen as a whole."""

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.model,)

    @property
    def frozen(self) -> bool:
        return self.freeze == "all"

    @model_validator(mode="after")
    def _shards_for_frozen(self) -> "SingleModelEncoder":
        if self.feature_shards > 1 and not self.frozen:
            raise WrongKey("feature_shards", f"not used with `freeze: {self.freeze}`; remove it")
        return self


class SpeechEncoder(SingleModelEncoder):
    """A transformers speech encoder: WavLM, HuBERT, wav2vec 2.0 or Whisper's encoder."""

    model: str = Field(
        min_length=1,
        description="a published name, a local folder, `package:…` (a folder inside an installed Python package) or "
        f"`random:ARCHITECTURE` (random weights from the seed, for tests; {', '.join(ARCHITECTURES)})",
    )
    revision: str | None = Field(None, description="commit of a published model; null: the latest, which is recorded")
    config: dict[str, Any] = Field(
        {}, description="architecture of a `random:` model, in transformers' configuration keys"
    )
    freeze: Literal["convolutions", "all"] = Field(
        "convolutions",
        description="the frozen part; `all`: the features are extracted once, in separate jobs, for all systems, "
        "losses and seeds with the same encoder",
    )
    feature_shards: int = Field(
        1,
        ge=1,
        exclude=True,
        description="`freeze: all`: number of jobs that extract the features, with the system's `resources`; does not "
        "affect results, but a change reruns extraction and the training of the systems that use them",
    )
    layer: int | None = Field(
        None,
        ge=1,
        description="use only the transformer layers up to this one (1 is the first) and the final layer norm; "
        "null: use all",
    )
    window: Literal["clip", "full"] = Field(
        "clip", description="Whisper only: `clip` encodes the clip's length, `full` 30 s including padding"
    )
    max_seconds: float = Field(
        10.0, gt=0, description="longer clips are cropped: randomly in training, to the middle otherwise"
    )
    min_seconds: float = Field(1.0, gt=0, description="shorter clips are padded with silence to this length")
    levels: bool = Field(
        False,
        description="append the level of each frame to its vector, in dB below the clip's loudest; set by "
        "`head.pooling: mean_std_speech`",
    )

    @model_validator(mode="after")
    def _config_for_random(self) -> "SpeechEncoder":
        kind = self.model.removeprefix(RANDOM)
        if self.model.startswith(RANDOM) and kind not in ARCHITECTURES:
            *first, last = (RANDOM + known for known in ARCHITECTURES)
            raise WrongKey("model", f"unknown architecture {kind!r}; use {', '.join(first)} or {last}")
        if self.config and not self.model.startswith(RANDOM):
            raise WrongKey("config", "only used with a `random:` model; remove it or set `model: random:wavlm`")
        if self.min_seconds > self.max_seconds:
            raise WrongKey("min_seconds", f"{self.min_seconds} is above `max_seconds` {self.max_seconds}; lower it")
        return self


class Lora(Section):
    """Low-rank adapters of a frozen language model (Hu et al. 2022; the paper's rank, scaling factor and dropout)."""

    r: int = Field(8, ge=1, description="rank")
    alpha: int = Field(32, ge=1, description="scaling factor; divided by the rank")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before the adapters")
    targets: list[str] | None = Field(
        None,
        min_length=1,
        description="names of the layers with adapters; null: peft's default for the architecture (query and value "
        "projections, as in the authors' code)",
    )


class TextEncoder(SingleModelEncoder):
    """A transformers language model without output layer: a decoder (LLaMA) or an encoder (RoBERTa)."""

    model: str = Field(
        min_length=1,
        description="a published name, a local folder or `package:…` (a folder inside an installed Python package); a "
        "folder may contain a single GGUF file",
    )
    revision: str | None = Field(None, description="commit of a published model; null: the latest, which is recorded")
    freeze: Literal["base", "all", "none"] = Field(
        "base",
        description="`base`: the model is frozen, LoRA is trained; `all`: all is frozen, without LoRA, and the "
        "features are extracted once, in separate jobs, for all systems, losses and seeds with the same encoder; "
        "`none`: all weights are trained",
    )
    feature_shards: int = Field(1, ge=1, exclude=True, description="as for `family: speech`")
    lora: Lora = Lora()
    layer: int | None = Field(
        None, ge=1, description="use only the transformer layers up to this one (1 is the first); null: use all"
    )
    max_tokens: int = Field(128, ge=2, description="longer transcripts are truncated and counted")
    special_tokens: Literal["end", "tokenizer", "literal"] = Field(
        "end",
        description="`end`: only an end token after the text; `tokenizer`: the tokenizer's default (for BERT-like "
        "models); `literal`: the characters `</s>` after the text, as in the authors' T2 (docs/fidelity.md, 17)",
    )
    quantization: Literal["4bit"] | None = Field(
        None, description="`4bit`: load the frozen weights as 4-bit NormalFloat (bitsandbytes); null: no quantization"
    )

    @property
    def has_adapters(self) -> bool:
        return self.freeze == "base"

    @model_validator(mode="after")
    def _keys_agree(self) -> "TextEncoder":
        if self.model.startswith(RANDOM):
            raise WrongKey("model", "cannot be random, since it needs a tokenizer; use a published model or a folder")
        if self.freeze != "base" and self.lora != Lora():
            raise WrongKey("lora", f"not used with `freeze: {self.freeze}`; remove one of them")
        if self.quantization and self.freeze == "none":
            raise WrongKey("quantization", "4-bit weights cannot be trained; remove it or set `freeze: base`")
        return self


class AudioEncoder(Section):
    """The frozen audio encoders of SALMONN: Whisper for speech, BEATs for general audio."""

    whisper: str = Field(
        min_length=1,
        description="Whisper (paper: openai/whisper-large-v2): a published name, a folder or `package:…`",
    )
    revision: str | None = Field(None, description="commit of a published Whisper; null: the latest, which is recorded")
    layer: int | None = Field(
        None, ge=1, description="use only Whisper's layers up to this one, for tests; null: use all"
    )
    beats: str = Field(
        min_length=1,
        description="BEATs checkpoint file (SALMONN's: BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt), or "
        "`random:beats` (fixed random weights, for tests)",
    )
    beats_config: dict[str, Any] = Field({}, description="architecture of `random:beats`, in the keys of BEATs' `cfg`")
    window: Literal["full", "clip"] = Field(
        "full",
        description="Whisper's input: `full` pads the clip to 30 s, `clip` only slightly beyond its length (differs "
        "from SALMONN)",
    )
    speech_window: Literal["full", "clip"] = Field(
        "full",
        description="`full`: 88 speech tokens for Whisper's 30 s, including silence; `clip`: only the tokens of the "
        "clip (much cheaper, differs from SALMONN)",
    )
    max_seconds: float = Field(
        10.0, gt=0, le=30, description="longer clips are cropped: randomly in training, to the middle otherwise"
    )
    min_seconds: float = Field(1.0, ge=0.2, description="shorter clips are padded with silence to this length")
    precision: Literal["fp32", "fp16"] = Field(
        "fp32",
        description="precision of the cached features (computed in bf16 on a GPU, fp32 on a CPU); fp16 halves the "
        "disk space",
    )
    cache: bool = Field(
        False,
        description="extract the features of all clips once, in separate jobs, and cache them on disk for all systems "
        "with the same settings; training then also crops to the middle",
    )
    shards: int = Field(
        4,
        ge=1,
        exclude=True,
        description="number of jobs that extract the features; does not affect results, but a change reruns extraction "
        "and the training of the systems that use them",
    )
    resources: Resources = Field(Resources(), exclude=True, description="resources of an extraction job")

    @property
    def sources(self) -> tuple[str, ...]:
        """The models and files that compute the features."""
        return self.whisper, self.beats

    @property
    def has_random_beats(self) -> bool:
        """Whether BEATs starts from random weights."""
        return self.beats.startswith(RANDOM)

    @property
    def speech_encoder(self) -> SpeechEncoder:
        """Whisper as a frozen speech encoder."""
        shared = self.model_dump(include={"revision", "layer", "window", "max_seconds", "min_seconds"})
        return SpeechEncoder(model=self.whisper, freeze="all", **shared)

    @model_validator(mode="after")
    def _keys_agree(self) -> "AudioEncoder":
        if self.whisper.startswith(RANDOM):
            raise WrongKey("whisper", "cannot be random; use a published Whisper or a folder")
        if self.beats_config and self.beats != RANDOM + "beats":
            raise WrongKey("beats_config", "only used with `beats: random:beats`; remove it")
        if self.has_random_beats and self.beats != RANDOM + "beats":
            raise WrongKey("beats", "invalid; use random:beats or a checkpoint file")
        if self.window == "clip" and self.speech_window == "full":
            raise WrongKey("window", "`clip` requires `speech_window: clip`; change one of them")
        if self.min_seconds > self.max_seconds:
            raise WrongKey("min_seconds", f"{self.min_seconds} is above `max_seconds` {self.max_seconds}; lower it")
        return self


class SalmonnEncoder(Encoder):
    """SALMONN (Tang et al. 2024): a Q-Former maps Whisper's and BEATs' features to input tokens of a LLaMA."""

    audio_encoder: AudioEncoder
    language_model: str = Field(
        min_length=1,
        description="the LLaMA (paper: Vicuna 7B v1.5 or 13B v1.1): a published name, a folder or `package:…`",
    )
    revision: str | None = Field(None, description="commit of a published LLaMA; null: the latest, which is recorded")
    layer: int | None = Field(
        None, ge=1, description="use only the LLaMA's layers up to this one, for tests; null: use all"
    )
    checkpoint: str | None = Field(
        None,
        description="initial weights: SALMONN's (salmonn_7b_v0.pth, salmonn_v1.pth) or those of the authors' "
        "fine-tuned system; null: Q-Former and LoRA are random, from the seed",
    )
    qformer: dict[str, Any] = Field(
        {},
        description="architecture of a random Q-Former where it differs from SALMONN's, for tests, in the keys of "
        "transformers' `Blip2QFormerConfig`",
    )
    lora: Lora = Lora()
    transcript: bool = Field(False, description="append the transcript to the prompt (ST1)")
    max_words: int | None = Field(
        50, ge=1, description="ST1: utterances with more words are excluded from training and counted; null: no limit"
    )
    max_text_tokens: int = Field(
        300, ge=1, description="maximum tokens of response and transcript; longer ones are truncated and counted"
    )
    quantization: Literal["4bit"] | None = Field(None, description="as for `family: text`, for the LLaMA")

    has_adapters: ClassVar[bool] = True

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(filter(None, (*self.audio_encoder.sources, self.language_model, self.checkpoint)))

    @model_validator(mode="after")
    def _qformer_without_checkpoint(self) -> "SalmonnEncoder":
        if self.qformer and self.checkpoint:
            raise WrongKey("qformer", "only used without `checkpoint`; remove one of them")
        return self

    @property
    def random_parts(self) -> list[str]:
        parts = {"BEATs": self.audio_encoder.has_random_beats, "Q-Former and LoRA": self.checkpoint is None}
        return [part for part, is_random in parts.items() if is_random]


class Wce(Section):
    """Weighted cross-entropy (paper, equation 1)."""

    name: Literal["wce"]
    reduction: Literal["mean", "weighted_mean"] = Field(
        "mean", description="divide by the batch size (paper) or the batch's sum of weights (authors' code)"
    )


class Wfl(Section):
    """Weighted focal loss (paper, equation 2)."""

    name: Literal["wfl"]
    gamma: float = Field(2.0, ge=0, description="focusing exponent")
    reduction: Literal["mean", "batch_weight"] = Field(
        "mean", description="weight each sample (paper), or all samples by the batch's mean weight (authors' code)"
    )


class Vs(Section):
    """Vector-scaling loss (paper, equations 3 and 4)."""

    name: Literal["vs"]
    gamma: float = Field(0.3, ge=0, description="exponent of the multiplicative logit adjustment")
    tau: float = Field(1.0, ge=0, description="factor of the additive logit adjustment")
    reduction: Literal["mean", "weighted_mean"] = Field("mean", description="as for wce")


AnyLoss = Annotated[Wce | Wfl | Vs, Field(discriminator="name")]


class TrainedSystem(Section):
    """Settings of all trained systems: loss, training, resources."""

    description: Description = ""
    loss: AnyLoss | None = Field(
        None, description="training loss, selected by `name`; required, except with `head.kind: logistic` or `svm`"
    )
    fine_tuned: str | None = Field(
        None,
        min_length=1,
        exclude=True,
        description="checkpoint file of the authors' fine-tuned system (docs/fidelity.md): it is converted, nothing is "
        "trained; null: train",
    )
    training: Training = Training()
    resources: TrainingResources = TrainingResources()

    reads_transcripts: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_frozen(cls, values: Any) -> Any:
        return with_defaults_of_frozen(values)

    @property
    def is_probe(self) -> bool:
        """Whether its head is a classifier of scikit-learn instead of trained layers."""
        return self.head.is_probe

    @model_validator(mode="after")
    def _probe_or_training(self) -> "TrainedSystem":
        if not self.is_probe:
            if self.loss is None:
                raise WrongKey("loss", "missing; add it")
            return self
        kind = f"`head.kind: {self.head.kind}`"
        if not self.encoder.frozen:
            raise WrongKey("head.kind", f"`{self.head.kind}` needs a frozen encoder; set `encoder.freeze: all`")
        if self.loss is not None:
            raise WrongKey("loss", f"not used with {kind}; remove it")
        used = self.training.model_dump(include={"precision", "eval_batch_size"})
        if self.training != Training(**used):
            raise WrongKey("training", f"only `precision` and `eval_batch_size` are used with {kind}; remove the rest")
        if self.resources.processes > 1:
            raise WrongKey("resources", f"{kind} is fitted by one process; set `gpu` and `nodes` to at most 1")
        return self

    @model_validator(mode="after")
    def _training_is_possible(self) -> "TrainedSystem":
        batch, per_step = self.training.effective_batch, self.training.batch_size * self.resources.processes
        if batch % per_step:
            text = f"{batch} is not a multiple of batch_size x gpu x nodes = {per_step}; change one of them"
            raise WrongKey("training.effective_batch", text)
        if self.fine_tuned and self.encoder.frozen:
            raise WrongKey("fine_tuned", "contains a trained encoder; remove it or `freeze: all`")
        if self.training.fsdp and not self.encoder.has_adapters:
            raise WrongKey("training.fsdp", "only a frozen language model with LoRA can be sharded; remove it")
        if self.training.fsdp and self.encoder.quantization:
            raise WrongKey("training.fsdp", "4-bit weights cannot be sharded; remove it or `encoder.quantization`")
        if self.training.fsdp and self.head.standardise:
            raise WrongKey("training.fsdp", "not with `head.standardise`; remove one of them")
        return self


class SpeechSystem(TrainedSystem):
    """A speech classifier (the paper's baseline and S1)."""

    family: Literal["speech"]
    encoder: SpeechEncoder
    head: Head = Head()

    @model_validator(mode="after")
    def _levels_are_pooled(self) -> "SpeechSystem":
        if self.encoder.levels != (self.head.pooling == "mean_std_speech"):
            raise WrongKey("encoder.levels", "used by `head.pooling: mean_std_speech` alone; remove the key")
        if self.encoder.levels and self.head.norm == "frames":
            raise WrongKey("head.norm", "not `frames` with `pooling: mean_std_speech`; remove it")
        return self


class TextSystem(TrainedSystem):
    """A text classifier on the transcript (the paper's T2)."""

    family: Literal["text"]
    encoder: TextEncoder
    head: FramesHead = FramesHead()

    reads_transcripts: ClassVar[bool] = True


class SalmonnSystem(TrainedSystem):
    """A classifier on a speech LLM, optionally with the transcript (the paper's S2 and ST1)."""

    family: Literal["salmonn"]
    encoder: SalmonnEncoder
    head: FramesHead = FramesHead()

    @property
    def reads_transcripts(self) -> bool:
        return self.encoder.transcript


Trained = Annotated[SpeechSystem | TextSystem | SalmonnSystem, Field(discriminator="family")]
