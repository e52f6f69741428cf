"""The configuration: every key, its type, its default, its meaning.

These models are the one source: they validate a configuration before anything runs, `config/schema/config.schema.json`
is exported from them, and a test holds `config/README.md` against them.
"""

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from abhinaya.errors import UserError
from abhinaya.labels import CLASSES

PLANNED_FAMILIES = ("text", "salmonn", "zero_shot")
NAME = r"^[a-z][a-z0-9_]*$"


class Section(BaseModel):
    """A mapping of the configuration: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Resources(Section):
    """What one job asks of the machine or the cluster. Never part of what decides a rerun."""

    gpu: int = Field(0, ge=0, description="GPUs; 0 computes on the CPU")
    cpus: int = Field(2, ge=1, description="CPU cores")
    mem_mb: int = Field(4000, ge=100, description="memory in MB; multiplied by the attempt")
    runtime: int = Field(60, ge=1, description="minutes; multiplied by the attempt")
    predict_runtime: int = Field(60, ge=1, description="minutes for predicting; multiplied by the attempt")


class Validation(Section):
    """How the validation set is drawn from the corpus's development utterances."""

    per_class: Literal["smallest", "all"] | int = Field(
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
        list(CLASSES), description="the emotions that this corpus has; each must occur in its training split"
    )
    validation: Validation = Validation()
    min_seconds: float = Field(0.1, gt=0, description="shorter audio is rejected")
    max_rejected: float = Field(
        0.01, ge=0, le=1, description="share of utterances that may be rejected before the run stops"
    )
    resources: Resources = Resources()


class Synthetic(Corpus):
    """Emotional speech made by eSpeak NG; for trying the system, not for science."""

    kind: Literal["synthetic"]
    train: dict[Literal[CLASSES], int] = Field(
        {"A": 60, "C": 32, "D": 26, "F": 24, "H": 90, "N": 120, "S": 60, "U": 36},
        description="training utterances of each class",
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


class MspPodcast(Corpus):
    """MSP-Podcast as distributed: the challenge release or release 2.0."""

    kind: Literal["msp_podcast"]
    root: str = Field(description="folder that holds Audios/ (or Audio/) and Labels/")
    partitions: dict[str, Literal["train", "development", "test"]] = Field(
        {"Train": "train", "Development": "development", "Test3": "test"},
        description="what each Split_Set of the corpus is used for; sets not named stay unused",
    )


class Ravdess(Corpus):
    """RAVDESS speech, the folder as downloaded."""

    kind: Literal["ravdess"]
    classes: list[Literal[CLASSES]] = Field(["A", "D", "F", "H", "N", "S", "U"], description="as for every corpus")
    root: str = Field(description="folder that holds Actor_01/ and so on")
    train_actors: list[int] = Field(description="actors to train on")
    validation_actors: list[int] = Field(description="actors to select the checkpoint on")
    test_actors: list[int] = Field(description="actors to test on")
    calm: Literal["drop", "neutral"] = Field("drop", description="drop the calm recordings or count them as neutral")


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
    compute_type: str = Field("default", description="CTranslate2's arithmetic: int8, float16, float32, default")
    window: Literal["full", "clip"] = Field(
        "full",
        description="`full`: each clip padded to Whisper's 30 s; `clip`: to the longest of its batch, many times "
        "cheaper for short clips",
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
    temperatures: list[float] = Field([0.2, 0.4, 0.6, 0.8, 1.0], description="tried in turn when decoding again")
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _path_for_parquet(self) -> "Transcripts":
        if (self.source == "parquet") != (self.path is not None):
            raise ValueError("`path` and `source: parquet` belong together; give both or neither")
        return self


class SpeechEncoder(Section):
    """A speech encoder of transformers: WavLM, HuBERT, wav2vec 2.0 or the encoder of Whisper."""

    model: str = Field(
        description="a published name, a local folder, `package:…` (a folder inside an installed Python package) or "
        "`random:ARCHITECTURE` (weights drawn from the seed, for trials)"
    )
    config: dict[str, Any] = Field({}, description="architecture of a `random:` model, in transformers' own keys")
    freeze: Literal["convolutions", "all"] = Field(
        "convolutions", description="what stays as pretrained; `all` computes the features once for all epochs"
    )
    layer: int | None = Field(
        None, ge=1, description="take the output of this transformer layer (1 is the first); null: the last"
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
        if self.config and not self.model.startswith("random:"):
            raise ValueError("`config` describes a `random:` model; remove it or set `model: random:wavlm`")
        if self.min_seconds > self.max_seconds:
            raise ValueError("`min_seconds` is above `max_seconds`; lower it")
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
    """Optimisation (paper, section 3.3: AdamW, lr 1e-5 constant, 20 epochs, effective batch 32)."""

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
    loss: AnyLoss
    training: Training = Training()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _batches_divide(self) -> "SpeechSystem":
        per_step = self.training.batch_size * max(1, self.resources.gpu)
        if self.training.effective_batch % per_step:
            raise ValueError(
                f"`training.effective_batch` {self.training.effective_batch} is not a multiple of batch_size x GPUs = "
                f"{per_step}; change one of them"
            )
        return self


System = SpeechSystem


class Ensemble(Section):
    """A majority vote (paper, section 3.4)."""

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


class Config(Section):
    """A whole configuration."""

    seed: int = Field(1234, ge=0, description="of every draw: corpus, validation set, weights, crops, bootstrap")
    environment: Literal["cpu", "gpu"] = Field("cpu", description="locked environment that `--sdm conda` builds")
    corpus: AnyCorpus
    transcripts: Transcripts = Transcripts()
    systems: dict[Annotated[str, Field(pattern=NAME)], System] = Field(description="the classifiers, by name")
    ensembles: dict[Annotated[str, Field(pattern=NAME)], Ensemble] = Field({}, description="the votes, by name")
    report: Report = Report()

    @model_validator(mode="after")
    def _names_agree(self) -> "Config":
        for name, ensemble in self.ensembles.items():
            if name in self.systems or name in RESERVED:
                raise ValueError(f"`ensembles.{name}`: the name is taken; rename the ensemble")
            if len(set(ensemble.members)) < len(ensemble.members):
                raise ValueError(f"`ensembles.{name}.members`: a member stands twice; name each once")
            for member in ensemble.members:
                if member not in self.systems:
                    raise ValueError(
                        f"`ensembles.{name}.members`: no system {member!r}; choose from {', '.join(self.systems)}"
                    )
            if ensemble.tie_break not in ensemble.members:
                raise ValueError(
                    f"`ensembles.{name}.tie_break`: {ensemble.tie_break!r} is no member; choose from "
                    f"{', '.join(ensemble.members)}"
                )
        for name in self.systems:
            if name in RESERVED:
                raise ValueError(f"`systems.{name}`: the name is taken by a folder of results; rename the system")
        return self


RESERVED = ("corpus", "report")  # folders under results/


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
    return validate(values)


def validate(values: dict) -> Config:
    """The configuration in `values`, checked.

    Raises:
        UserError: unknown keys, wrong types, impossible combinations: a line each, naming the key and the fix.
    """
    return parse(Config, values)


def parse(model: Any, settings: dict | str, where: str = "configuration") -> Any:
    """Validate `settings` (a mapping, JSON text, or the name of a JSON or YAML file) as `model`."""
    if isinstance(settings, str):
        settings = _read(settings, where)
    try:
        return TypeAdapter(model).validate_python(settings)
    except ValidationError as error:
        lines = [_line(item, settings) for item in error.errors(include_url=False)]
        raise UserError(f"{where}: " + f"\nerror: {where}: ".join(dict.fromkeys(lines))) from None


def schema() -> dict:
    """The JSON Schema of a configuration, for editors."""
    return Config.model_json_schema()


def _read(settings: str, where: str) -> dict:
    try:
        if settings.lstrip().startswith("{"):
            return json.loads(settings)
        if not Path(settings).is_file():
            raise UserError(f"{where}: {settings!r} is neither JSON nor a file; give one of them")
        return yaml.safe_load(Path(settings).read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{where}: not JSON or YAML ({' '.join(str(error).split())})") from None


def _line(error: dict, values: Any) -> str:
    """One validation error as a line that names the key and the fix."""
    path, siblings = _locate(error["loc"], values)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"`{path}`: unknown key; {_closest(error['loc'][-1], siblings)}"
    if kind == "missing":
        return f"`{path}`: missing; add it"
    if kind == "union_tag_invalid":
        discriminator, given = context["discriminator"].strip("'"), context["tag"]
        key = f"{path}.{discriminator}".lstrip(".")
        if discriminator == "family" and given in PLANNED_FAMILIES:
            return f"`{key}`: {given!r} is planned but not built yet; use 'speech' or remove this system"
        return f"`{key}`: unknown {given!r}; choose from {context['expected_tags']}"
    if kind == "union_tag_not_found":
        key = f"{path}.{context['discriminator'].strip(chr(39))}".lstrip(".")
        return f"`{key}`: missing; add it"
    if kind == "value_error":
        message = str(context["error"])
        return message if message.startswith("`") and not path else f"`{path}`: {message}" if path else message
    if (
        kind == "float_type"
        and isinstance(error["input"], str)
        and re.fullmatch(r"[-+\d.]+[eE][-+]?\d+", error["input"])
    ):
        return f"`{path}`: YAML reads {error['input']} as text; write it with a point, as in 1.0e-5"
    return f"`{path}`: {error['msg'][0].lower()}{error['msg'][1:]}, not {error['input']!r}"


def _locate(location: tuple, values: Any) -> tuple[str, list[str]]:
    """The dotted path of `location` without the union tags that pydantic puts in, and the keys beside its last part."""
    parts: list[str] = []
    model_keys: list[str] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        present = (isinstance(values, dict) and part in values) or (isinstance(values, list) and isinstance(part, int))
        if present or last:
            parts.append(str(part))
            model_keys = sorted(map(str, values)) if isinstance(values, dict) else []
            values = values[part] if present else None
    return ".".join(parts), model_keys


def _closest(key: Any, siblings: list[str]) -> str:
    known = {name for section in _sections(Section) for name in section.model_fields}
    match = difflib.get_close_matches(str(key), known, n=1)
    return f"did you mean `{match[0]}`?" if match else "remove it (config/README.md lists every key)"


def _sections(base: type) -> list[type]:
    return [found for child in base.__subclasses__() for found in (child, *_sections(child))]


def settings_json(section: Section, exclude: set[str]) -> str:
    """`section` as compact JSON, without the keys that don't change a result: what a rule passes to its script."""
    return json.dumps(section.model_dump(mode="json", exclude=exclude), separators=(",", ":"))
