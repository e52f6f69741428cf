"""The configuration: every key, its type, its default, its meaning.

These models are the one source: they validate a configuration before anything runs, `config/schema/config.schema.json`
and the tables of `config/README.md` are made from them (`make schema`).
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from abhinaya.config_mistakes import WrongKey, lines
from abhinaya.errors import UserError
from abhinaya.labels import CLASSES

PLANNED_FAMILIES = ("text", "salmonn", "zero_shot")
RANDOM = "random:"
CONVOLUTIONAL = ("wavlm", "hubert", "wav2vec2")  # raw waveform -> convolutions -> transformer
ARCHITECTURES = (*CONVOLUTIONAL, "whisper")  # of speech encoders
RESERVED = ("corpus", "report")  # folders under results/
INFRASTRUCTURE = frozenset({"resources", "about"})  # how fast and in which words; no result depends on them


class Section(BaseModel):
    """A mapping of the configuration: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Resources(Section):
    """What one job asks of the machine or the cluster. Never part of what decides a rerun."""

    gpu: int = Field(0, ge=0, description="GPUs; 0 computes on the CPU")
    cpus: int = Field(2, ge=1, description="CPU cores")
    mem_mb: int = Field(4000, ge=100, description="memory in MB; multiplied by the attempt")
    runtime: int = Field(60, ge=1, description="minutes; multiplied by the attempt")
    predict_runtime: int = Field(60, ge=1, description="minutes for predicting; multiplied by the attempt")


class Validation(Section):
    """How the validation set is drawn from the corpus's development utterances."""

    per_class: Literal["smallest", "all"] | Annotated[int, Field(ge=1)] = Field(
        "smallest",
        description="utterances per class, drawn by the seed: a number (326 in the challenge), "
        "`smallest` (as many as the rarest class has) or `all` (no balancing)",
    )
    files: str | None = Field(
        None, description="a text file with one FileName a line: exactly these form the validation set"
    )


class Corpus(Section):
    """Keys that every corpus has."""

    classes: list[Literal[CLASSES]] = Field(
        list(CLASSES),
        min_length=1,
        description="the emotions that this corpus has; each must occur in its training split",
    )
    validation: Validation = Validation()
    min_seconds: float = Field(0.1, gt=0, description="shorter audio is rejected")
    max_rejected: float = Field(
        0.01, ge=0, le=1, description="share of utterances that may be rejected before the run stops"
    )
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _classes_once(self) -> "Corpus":
        for letter in self.classes:
            if self.classes.count(letter) > 1:
                raise WrongKey("classes", f"{letter!r} stands twice; name each class once")
        return self


class Synthetic(Corpus):
    """Emotional speech made by eSpeak NG; for trying the system, not for science."""

    kind: Literal["synthetic"]
    train: dict[Literal[CLASSES], Annotated[int, Field(ge=1)]] = Field(
        {"A": 60, "C": 32, "D": 26, "F": 24, "H": 90, "N": 120, "S": 60, "U": 36},
        description="training utterances of each class; each of `classes` needs a count, others are not spoken",
    )
    validation_per_class: int = Field(12, ge=1, description="validation utterances of each class")
    test_per_class: int = Field(12, ge=1, description="test utterances of each class")
    speakers: int = Field(24, ge=16, description="voices; disjoint over the splits")
    text_carries: float = Field(
        0.7,
        ge=0,
        le=1,
        description="share of utterances whose words fit their emotion; the others say something neutral",
    )
    prosody_carries: float = Field(
        0.8, ge=0, le=1, description="share whose pitch, rate and loudness fit; the others are spoken at random"
    )

    @model_validator(mode="after")
    def _classes_counted(self) -> "Synthetic":
        for letter in self.classes:
            if letter not in self.train:
                raise WrongKey("train", f"no count for {letter}; add one, or take {letter} out of `classes`")
        return self


class MspPodcast(Corpus):
    """MSP-Podcast as distributed: the challenge release or release 2.0."""

    kind: Literal["msp_podcast"]
    root: str = Field(description="folder that holds Audios/ (or Audio/) and Labels/")
    partitions: dict[str, Literal["train", "development", "test"]] = Field(
        {"Train": "train", "Development": "development", "Test3": "test"},
        description="what each Split_Set of the corpus is used for; sets not named stay unused",
    )

    @model_validator(mode="after")
    def _roles_filled(self) -> "MspPodcast":
        for role in ("train", "development", "test"):
            if role not in self.partitions.values():
                raise WrongKey("partitions", f"no Split_Set is used for `{role}`; name one")
        return self


class Ravdess(Corpus):
    """RAVDESS speech, the folder as downloaded."""

    kind: Literal["ravdess"]
    classes: list[Literal[CLASSES]] = Field(
        ["A", "D", "F", "H", "N", "S", "U"], min_length=1, description="as for every corpus"
    )
    root: str = Field(description="folder that holds Actor_01/ and so on")
    train_actors: list[int] = Field(min_length=1, description="actors to train on")
    validation_actors: list[int] = Field(min_length=1, description="actors to select the checkpoint on")
    test_actors: list[int] = Field(min_length=1, description="actors to test on")
    calm: Literal["drop", "neutral"] = Field("drop", description="drop the calm recordings or count them as neutral")

    @model_validator(mode="after")
    def _actors_apart(self) -> "Ravdess":
        list_of: dict[int, str] = {}
        for key in ("train_actors", "validation_actors", "test_actors"):
            for actor in getattr(self, key):
                if list_of.setdefault(actor, key) != key:
                    raise WrongKey(key, f"actor {actor} is in `{list_of[actor]}` too; keep it in one list")
        return self


class Csv(Corpus):
    """Any corpus, from a table with `path`, `EmoClass`, `split` and perhaps further manifest columns."""

    kind: Literal["csv"]
    validation: Validation = Validation(per_class="all")
    table: str = Field(description="the CSV file")
    root: str | None = Field(None, description="folder that relative paths start from; default: the table's own")


AnyCorpus = Annotated[Synthetic | MspPodcast | Ravdess | Csv, Field(discriminator="kind")]


class Transcripts(Section):
    """Where the transcripts come from and how they are made."""

    source: Literal["whisperx", "corpus", "parquet"] = Field(
        "whisperx",
        description="transcribe with WhisperX, take the corpus's own transcripts, or read those in `path`",
    )
    path: str | None = Field(None, description="a Parquet with FileName and text, for `source: parquet`")
    utterances: Literal["all", "used"] = Field(
        "all", description="transcribe every utterance, or only those in a split (train, validation, test)"
    )
    model: str = Field("large-v3", description="Whisper: a published name, a CTranslate2 folder or `package:…`")
    language: str | None = Field("en", description="language code; null lets Whisper detect it for each utterance")
    compute_type: Literal[
        "default",
        "auto",
        "int8",
        "int8_float32",
        "int8_float16",
        "int8_bfloat16",
        "int16",
        "float16",
        "bfloat16",
        "float32",
    ] = Field(
        "default", description="CTranslate2's arithmetic; `default`: as the model is stored, `auto`: the fastest here"
    )
    window: Literal["full", "clip"] = Field(
        "full",
        description="`full`: encode each clip padded to Whisper's 30 s; `clip`: only a little more than its own "
        "length, many times cheaper for short clips",
    )
    shards: int = Field(1, ge=1, description="independent jobs that the corpus is split into")
    batch_size: int = Field(16, ge=1, description="utterances decoded together")
    beam_size: int = Field(5, ge=1, description="beams; 1 is greedy")
    speech_detection: bool = Field(True, description="look for speech first; without any the text is empty")
    min_avg_logprob: float = Field(-1.0, description="below: decode again at a higher temperature")
    max_compression_ratio: float = Field(2.4, gt=0, description="above (runaway repetition): decode again")
    max_no_speech_prob: float = Field(
        0.6, ge=0, le=1, description="above, with a low avg_logprob: no speech, the text is empty"
    )
    temperatures: list[Annotated[float, Field(ge=0)]] = Field(
        [0.2, 0.4, 0.6, 0.8, 1.0], description="tried in turn when decoding again"
    )
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _path_for_parquet(self) -> "Transcripts":
        if self.source == "parquet" and self.path is None:
            raise WrongKey("path", "missing; name the file that `source: parquet` reads")
        if self.source != "parquet" and self.path is not None:
            raise WrongKey("path", f"not read with `source: {self.source}`; remove it or set `source: parquet`")
        return self


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


class SpeechSystem(Section):
    """A classifier that hears (the paper's baseline and S1)."""

    family: Literal["speech"]
    about: str = Field("", description="a line for the report")
    encoder: SpeechEncoder
    head: Head = Head()
    loss: AnyLoss = Field(description="what training minimises; `name` says which")
    training: Training = Training()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _batches_divide(self) -> "SpeechSystem":
        per_step = self.training.batch_size * max(1, self.resources.gpu)
        if self.training.effective_batch % per_step:
            raise WrongKey(
                "training.effective_batch",
                f"{self.training.effective_batch} is not a multiple of batch_size x GPUs = {per_step}; "
                "change one of them",
            )
        return self


def _built(values: Any) -> Any:
    """Stop at a family that is yet to come, before every other key of it is called unknown."""
    family = values.get("family") if isinstance(values, dict) else None
    if family in PLANNED_FAMILIES:
        raise WrongKey("family", f"{family!r} is planned but not built yet; use 'speech' or remove this system")
    return values


System = Annotated[SpeechSystem, BeforeValidator(_built)]


class Ensemble(Section):
    """A majority vote (as in the paper)."""

    members: list[str] = Field(min_length=1, description="systems that vote")
    tie_break: str = Field(description="the member that decides when no class has most votes")
    tie_rule: Literal["label", "probabilities"] = Field(
        "label",
        description="on a tie take the tie-breaker's label, or the likeliest of the tied classes by its probabilities",
    )


class Report(Section):
    """The report."""

    title: str = Field("Speech emotion recognition by vote", description="its heading")
    bootstrap: int = Field(1000, ge=100, description="resamples behind each 95 % interval")


Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
NAMES_ONLY = {"additionalProperties": False}  # else the schema would let any other name pass


class Config(Section):
    """A whole configuration."""

    seed: int = Field(1234, ge=0, description="of every draw: corpus, validation set, weights, crops, bootstrap")
    environment: Literal["cpu", "gpu"] = Field("cpu", description="locked environment that `--sdm conda` builds")
    corpus: AnyCorpus = Field(description="the speech and its labels; `kind` says which corpus")
    transcripts: Transcripts = Transcripts()
    systems: dict[Name, System] = Field(
        min_length=1, description="the classifiers, by name", json_schema_extra=NAMES_ONLY
    )
    ensembles: dict[Name, Ensemble] = Field({}, description="the votes, by name", json_schema_extra=NAMES_ONLY)
    report: Report = Report()

    @model_validator(mode="after")
    def _names_agree(self) -> "Config":
        for name in self.systems:
            if name in RESERVED:
                raise WrongKey(f"systems.{name}", "the name is taken by a folder of results; rename the system")
        for name, ensemble in self.ensembles.items():
            key = f"ensembles.{name}"
            if name in RESERVED:
                raise WrongKey(key, "the name is taken by a folder of results; rename the ensemble")
            if name in self.systems:
                raise WrongKey(key, "the name is taken by a system; rename the ensemble")
            if len(set(ensemble.members)) < len(ensemble.members):
                raise WrongKey(f"{key}.members", "a member stands twice; name each once")
            for member in ensemble.members:
                if member not in self.systems:
                    raise WrongKey(f"{key}.members", f"no system {member!r}; choose from {', '.join(self.systems)}")
            if ensemble.tie_break not in ensemble.members:
                choice = ", ".join(ensemble.members)
                raise WrongKey(f"{key}.tie_break", f"{ensemble.tie_break!r} is no member; choose from {choice}")
        return self


def load(path: str | Path) -> Config:
    """Read and validate a YAML configuration.

    Raises:
        UserError: absent, not YAML, or as `validate`.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path}: no such configuration; correct the path") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    return _checked(Config, values, str(path))


def validate(values: dict) -> Config:
    """The configuration in `values`, checked.

    Raises:
        UserError: unknown keys, wrong types, impossible combinations: a line each, naming the key and the fix.
    """
    return _checked(Config, values, "configuration")


def parse(model: Any, settings: dict | str, where: str = "configuration") -> Any:
    """Validate `settings` (a mapping, JSON text, or the name of a JSON or YAML file) as `model`."""
    return _checked(model, _read(settings, where) if isinstance(settings, str) else settings, where)


def schema() -> dict:
    """The JSON Schema (2020-12) of a configuration, for editors. Rules between keys are beyond it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _read(settings: str, where: str) -> dict:
    try:
        if settings.lstrip().startswith("{"):
            return json.loads(settings)
        if not Path(settings).is_file():
            raise UserError(f"{where}: {settings!r} is neither JSON nor a file; give one of them")
        text = Path(settings).read_text(encoding="utf-8")
        return json.loads(text) if settings.endswith(".json") else yaml.safe_load(text)  # YAML reads 1e-08 as text
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{where}: not JSON or YAML ({' '.join(str(error).split())})") from None


def _checked(model: Any, values: Any, where: str) -> Any:
    try:
        return TypeAdapter(model).validate_python(values)
    except ValidationError as error:
        raise UserError(f"{where}: " + f"\nerror: {where}: ".join(lines(error, model, values))) from None


def deciding(section: Section) -> dict[str, Any]:
    """What of `section` decides a result, as JSON's own types."""
    return section.model_dump(mode="json", exclude=set(INFRASTRUCTURE))


def settings_json(section: Section) -> str:
    """`deciding` as compact JSON, its keys sorted: what a rule passes to its script, and what triggers a rerun."""
    return json.dumps(deciding(section), separators=(",", ":"), sort_keys=True)
