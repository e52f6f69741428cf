"""The section `transcripts`: where the words come from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from abhinaya.config.base import Resources, Section
from abhinaya.config.messages import WrongKey


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
