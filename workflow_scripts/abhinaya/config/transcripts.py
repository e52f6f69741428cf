"""The section `transcripts`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from abhinaya.config.base import Place, Resources, Section
from abhinaya.config.messages import WrongKey


class Transcripts(Section):
    """Source of the transcripts and settings of WhisperX."""

    source: Literal["whisperx", "corpus", "parquet"] = Field(
        "whisperx",
        description="`whisperx`: transcribe; `corpus`: use the corpus's own transcripts; `parquet`: read `path`",
    )
    path: Place | None = Field(None, description="Parquet file with FileName and text, for `source: parquet`")
    utterances: Literal["all", "used"] = Field("all", description="transcribe all utterances, or only those in a split")
    model: str = Field("large-v3", description="Whisper model: a published name, a CTranslate2 folder or `package:…`")
    language: str | None = Field("en", description="language code; null: detect it for each utterance")
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
        "default", description="CTranslate2's compute type; `default`: as stored, `auto`: the fastest supported type"
    )
    window: Literal["full", "clip"] = Field(
        "full",
        description="`full`: pad each clip to Whisper's 30 s; `clip`: pad only slightly beyond the clip's length, "
        "which is much faster for short clips",
    )
    shards: int = Field(1, ge=1, le=10_000, description="number of independent jobs")
    batch_size: int = Field(16, ge=1, description="utterances per batch")
    beam_size: int = Field(5, ge=1, description="beam size; 1 is greedy decoding")
    speech_detection: bool = Field(
        True, description="run voice activity detection first; without speech the text is empty"
    )
    min_avg_logprob: float = Field(-1.0, description="below this, decode again at a higher temperature")
    max_compression_ratio: float = Field(2.4, gt=0, description="above this (repetitive text), decode again")
    max_no_speech_prob: float = Field(
        0.6, ge=0, le=1, description="above this, with a low avg_logprob, the text is empty (no speech)"
    )
    temperatures: list[Annotated[float, Field(ge=0)]] = Field(
        [0.2, 0.4, 0.6, 0.8, 1.0], description="temperatures tried in order when decoding again"
    )
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _path_for_parquet(self) -> "Transcripts":
        if self.source == "parquet" and self.path is None:
            raise WrongKey("path", "missing; give the file for `source: parquet`")
        if self.path is not None and {*"{}"} & {*self.path}:
            raise WrongKey("path", "has braces, which Snakemake takes for wildcards; rename the file or its folder")
        if self.source != "parquet" and self.path is not None:
            raise WrongKey("path", f"not used with `source: {self.source}`; remove it or set `source: parquet`")
        return self
