"""The sections under `systems`: encoder, head, loss, training of a classifier that is trained."""

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from abhinaya.config.base import Resources, Section
from abhinaya.config.messages import WrongKey

RANDOM = "random:"
CONVOLUTIONAL = ("wavlm", "hubert", "wav2vec2")  # raw waveform -> convolutions -> transformer
ARCHITECTURES = (*CONVOLUTIONAL, "whisper")  # of speech encoders


class Encoder(ABC):
    """What the encoders of all families tell of themselves."""

    @property
    @abstractmethod
    def sources(self) -> tuple[str, ...]:
        """The models and files that it is made from."""

    @property
    def random_parts(self) -> list[str]:
        """Its parts that start from random weights, in words."""
        return ["encoder"] if any(source.startswith(RANDOM) for source in self.sources) else []

    @property
    def frozen(self) -> bool:
        """Whether nothing of it is trained."""
        return False

    @property
    def frozen_beside(self) -> bool:
        """Whether a language model stays frozen while something beside it is trained."""
        return False


class SpeechEncoder(Encoder, Section):
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
        "convolutions",
        description="what stays as pretrained; `all`: the features are extracted once, by jobs of their own, for all "
        "systems with the same encoder, losses and seeds",
    )
    feature_shards: int = Field(
        1,
        ge=1,
        exclude=True,
        description="`freeze: all`: jobs that extract the features, with the system's `resources`; changes no result, "
        "but a change extracts them again, and trains again what uses them",
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

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.model,)

    @property
    def frozen(self) -> bool:
        return self.freeze == "all"

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
        _check_shards(self)
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


class TextEncoder(Encoder, Section):
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
        description="`base`: the model stays, LoRA is trained beside it; `all`: no LoRA, the features are extracted "
        "once, by jobs of their own, for all systems with the same encoder, losses and seeds; `none`: every weight is "
        "trained",
    )
    feature_shards: int = Field(1, ge=1, exclude=True, description="as for `family: speech`")
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

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.model,)

    @property
    def frozen(self) -> bool:
        return self.freeze == "all"

    @property
    def frozen_beside(self) -> bool:
        return self.freeze == "base"

    @model_validator(mode="after")
    def _keys_agree(self) -> "TextEncoder":
        if self.model.startswith(RANDOM):
            raise WrongKey("model", "a text model cannot be random: it needs a tokenizer; name one or a folder")
        if self.freeze != "base" and self.lora != Lora():
            raise WrongKey("lora", f"not used with `freeze: {self.freeze}`; remove one of them")
        if self.quantization and self.freeze == "none":
            raise WrongKey("quantization", "4-bit weights cannot be trained; remove it or set `freeze: base`")
        _check_shards(self)
        return self


def _check_shards(encoder: SpeechEncoder | TextEncoder) -> None:
    if encoder.feature_shards > 1 and not encoder.frozen:
        raise WrongKey("feature_shards", f"not used with `freeze: {encoder.freeze}`; remove it")


class AudioEncoder(Section):
    """The frozen half of SALMONN: Whisper hears speech, BEATs hears all sounds."""

    whisper: str = Field(
        min_length=1,
        description="Whisper (the paper: openai/whisper-large-v2): a published name, a folder, `package:…`",
    )
    revision: str | None = Field(None, description="commit of a published Whisper; null: the newest, which is recorded")
    layer: int | None = Field(None, ge=1, description="cut Whisper off after this layer, for trials; null: use all")
    beats: str = Field(
        min_length=1,
        description="the BEATs checkpoint file (the paper: BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt), or "
        "`random:beats` (random weights, always the same, for trials)",
    )
    beats_config: dict[str, Any] = Field({}, description="architecture of `random:beats`, in the keys of BEATs' `cfg`")
    window: Literal["full", "clip"] = Field(
        "full", description="what Whisper hears: the clip padded to 30 s, or little more than the clip, a deviation"
    )
    speech_window: Literal["full", "clip"] = Field(
        "full",
        description="`full`: 88 speech tokens for Whisper's 30 s, silence included; `clip`: only those that the clip "
        "reaches into, a deviation that is many times cheaper",
    )
    max_seconds: float = Field(
        10.0, gt=0, le=30, description="longer clips are cropped: at random in training, the middle elsewhere"
    )
    min_seconds: float = Field(1.0, ge=0.2, description="shorter clips are padded with silence to this length")
    precision: Literal["fp32", "fp16"] = Field(
        "fp32",
        description="of the cached features (computed in bf16 on a GPU, in fp32 on a CPU); fp16 halves the disk space",
    )
    cache: bool = Field(
        False,
        description="extract the features of every clip once, in jobs of their own, and keep them on disk for all "
        "systems with the same settings; training then crops in the middle, too",
    )
    shards: int = Field(
        4,
        ge=1,
        exclude=True,
        description="jobs that extract the features; changes no result, but a change extracts them again, and trains "
        "again what uses them",
    )
    resources: Resources = Field(Resources(), exclude=True, description="of a job that makes the cache")

    @property
    def sources(self) -> tuple[str, ...]:
        """The models and files that the features come from."""
        return self.whisper, self.beats

    @property
    def has_random_beats(self) -> bool:
        """Whether BEATs starts from random weights."""
        return self.beats.startswith(RANDOM)

    @model_validator(mode="after")
    def _keys_agree(self) -> "AudioEncoder":
        if self.whisper.startswith(RANDOM):
            raise WrongKey("whisper", "cannot be random; name a published Whisper or a folder")
        if self.beats_config and self.beats != RANDOM + "beats":
            raise WrongKey("beats_config", "describes only `beats: random:beats`; remove it")
        if self.has_random_beats and self.beats != RANDOM + "beats":
            raise WrongKey("beats", "write random:beats, or name the checkpoint file")
        if self.window == "clip" and self.speech_window == "full":
            raise WrongKey("window", "`clip` leaves nothing for `speech_window: full` to keep; set that to clip, too")
        if self.min_seconds > self.max_seconds:
            raise WrongKey("min_seconds", f"{self.min_seconds} is above `max_seconds` {self.max_seconds}; lower it")
        return self


class SalmonnEncoder(Encoder, Section):
    """SALMONN (Tang et al. 2024): a Q-Former turns Whisper's and BEATs' features into tokens, which a LLaMA reads."""

    audio_encoder: AudioEncoder
    language_model: str = Field(
        min_length=1,
        description="the LLaMA (the paper: Vicuna 7B v1.5 or 13B v1.1): a published name, a folder or `package:…`",
    )
    revision: str | None = Field(None, description="commit of a published LLaMA; null: the newest, which is recorded")
    layer: int | None = Field(None, ge=1, description="cut the LLaMA off after this layer, for trials; null: use all")
    checkpoint: str | None = Field(
        None,
        description="SALMONN's weights (salmonn_7b_v0.pth, salmonn_v1.pth) to start from, or those of the authors' "
        "fine-tuned system; null: Q-Former and LoRA are drawn from the seed",
    )
    qformer: dict[str, Any] = Field(
        {},
        description="how a Q-Former that is drawn differs from SALMONN's, for trials, in the keys of transformers' "
        "`Blip2QFormerConfig`",
    )
    lora: Lora = Lora()
    transcript: bool = Field(False, description="append the transcript to the prompt (ST1)")
    max_words: int | None = Field(
        50, ge=1, description="ST1: longer transcripts are left out of training, and counted; null: none are"
    )
    max_text_tokens: int = Field(300, ge=1, description="of answer and transcript; longer ones are cut, and counted")
    quantization: Literal["4bit"] | None = Field(None, description="as for `family: text`, of the LLaMA")

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(filter(None, (*self.audio_encoder.sources, self.language_model, self.checkpoint)))

    @model_validator(mode="after")
    def _drawn_alone(self) -> "SalmonnEncoder":
        if self.qformer and self.checkpoint:
            raise WrongKey("qformer", "describes only one that is drawn; remove it, or the `checkpoint`")
        return self

    @property
    def random_parts(self) -> list[str]:
        parts = {"BEATs": self.audio_encoder.has_random_beats, "Q-Former and LoRA": self.checkpoint is None}
        return [part for part, is_random in parts.items() if is_random]

    @property
    def frozen_beside(self) -> bool:
        return True


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
    effective_batch: int = Field(32, ge=1, description="utterances per optimiser step, over all GPUs and nodes")
    batch_size: int = Field(8, ge=1, description="utterances per GPU and forward pass; gradients are accumulated")
    eval_batch_size: int = Field(16, ge=1, description="utterances per forward pass without gradients")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, more time")
    fsdp: bool = Field(
        False,
        description="several GPUs: each keeps a share of the frozen weights (FSDP) instead of all of them; less "
        "memory, more traffic",
    )
    save_steps: int | None = Field(
        None,
        ge=1,
        description="save a checkpoint every so many optimiser steps, too; null: at the end of an epoch and at SIGTERM",
    )


class TrainingResources(Resources):
    """What a training asks of each machine, and of how many."""

    nodes: int = Field(1, ge=1, description="machines, each with so many `gpu`, `cpus` and `mem_mb`; SLURM only")

    @property
    def processes(self) -> int:
        """How many train together: one a GPU, or one a machine without."""
        return max(1, self.gpu) * self.nodes


class TrainedSystem(Section):
    """What all trained systems have: the loss, the training, the resources."""

    description: str = Field("", description="a line for the report")
    loss: AnyLoss = Field(description="what training minimises; `name` says which")
    training: Training = Training()
    resources: TrainingResources = TrainingResources()

    @model_validator(mode="after")
    def _batches_divide(self) -> "TrainedSystem":
        per_step = self.training.batch_size * self.resources.processes
        if self.training.effective_batch % per_step:
            raise WrongKey(
                "training.effective_batch",
                f"{self.training.effective_batch} is not a multiple of batch_size x gpu x nodes = {per_step}; "
                "change one of them",
            )
        return self

    @model_validator(mode="after")
    def _shares_are_possible(self) -> "TrainedSystem":
        if self.training.fsdp and not self.encoder.frozen_beside:
            raise WrongKey("training.fsdp", "only a frozen language model with LoRA beside it is shared; remove it")
        if self.training.fsdp and self.encoder.quantization:
            raise WrongKey("training.fsdp", "4-bit weights cannot be shared; remove it or `encoder.quantization`")
        return self

    @property
    def reads_transcripts(self) -> bool:
        return False


class SpeechSystem(TrainedSystem):
    """A classifier that hears (the paper's baseline and S1)."""

    family: Literal["speech"]
    encoder: SpeechEncoder
    head: Head = Head()


class TextSystem(TrainedSystem):
    """A classifier that reads the transcript (the paper's T2)."""

    family: Literal["text"]
    encoder: TextEncoder
    head: FramesHead = FramesHead()

    @property
    def reads_transcripts(self) -> bool:
        return True


class SalmonnSystem(TrainedSystem):
    """A classifier over a speech LLM that hears, and may read the transcript too (the paper's S2 and ST1)."""

    family: Literal["salmonn"]
    encoder: SalmonnEncoder
    head: FramesHead = FramesHead()

    @property
    def reads_transcripts(self) -> bool:
        return self.encoder.transcript


Trained = Annotated[SpeechSystem | TextSystem | SalmonnSystem, Field(discriminator="family")]
