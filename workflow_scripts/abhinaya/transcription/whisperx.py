"""Transcription with WhisperX, batched across files.

WhisperX batches the segments of one recording, so a corpus of short clips would be decoded one clip at a time. Here,
clips of similar length form the batches. The window of a clip depends only on its duration, so neither the other clips
of its batch nor a restart change its text.

With `window: clip`, Whisper's encoder, which takes most of the time, processes a window slightly longer than the clip.
Whisper was trained on inputs padded with silence to 30 s and repeats itself without it, so the rest of the 30 s is
filled with the encoding of silence, which is computed once.

Poor transcripts (repetitive, or of low probability) are decoded again at the end, at rising temperatures (shards.py).
"""

import dataclasses
from itertools import zip_longest

import ctranslate2
import numpy as np
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio
from whisperx.asr import FasterWhisperPipeline, load_model
from whisperx.audio import N_FRAMES

from abhinaya.config.transcripts import Transcripts
from abhinaya.pretrained.hub import locate
from abhinaya.runtime.errors import UserError
from abhinaya.transcription import cublas
from abhinaya.transcription.inputs import WHISPER_SECONDS, Batch, write_log_mel
from abhinaya.transcription.transcripts import SHARD


class Transcriber:
    """One loaded WhisperX pipeline."""

    def __init__(self, settings: Transcripts, device: str, threads: int) -> None:
        """
        Raises:
            UserError: the model cannot be loaded, or does not support the language; on a GPU, cuBLAS is missing.
        """
        self.settings = settings
        if device == "cuda":
            cublas.load()
        try:
            self.pipeline: FasterWhisperPipeline = load_model(
                locate(settings.model),
                device,
                compute_type=settings.compute_type,
                language=settings.language,
                asr_options={"beam_size": settings.beam_size},
                vad_method="pyannote",
                threads=threads,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"transcripts.model {settings.model!r}: cannot be loaded ({str(error).splitlines()[0]}); check the "
                "name or folder, the network, and `compute_type`"
            ) from None
        self.model = self.pipeline.model
        if not self.model.model.is_multilingual and settings.language not in (None, "en"):
            raise UserError(
                f"transcripts.language {settings.language!r}: {settings.model!r} supports only English; set en or "
                "another transcripts.model"
            )
        self.language = settings.language if self.model.model.is_multilingual else "en"
        self.bands = self.model.feat_kwargs.get("feature_size", 80)
        self.tokenizers: dict[str, Tokenizer] = {}
        self.silence: ctranslate2.StorageView | None = None
        if settings.window == "clip":
            mels = np.empty((1, self.bands, N_FRAMES), np.float32)
            write_log_mel(np.zeros(0, np.float32), mels[0])
            self.silence = self._encode(mels)

    def transcribe(self, batch: Batch) -> list[dict]:
        """Rows of a shard (columns `SHARD`) for the clips of a complete `batch`."""
        if batch.seconds > WHISPER_SECONDS:
            return [self._long(name, clip) for name, clip in zip(batch.names, batch.recordings, strict=True)]
        rows = [_row(name) for name in batch.names]
        spoken, mels = batch.spoken()
        if spoken:
            names = [batch.names[number] for number in spoken]
            for number, row in zip(spoken, self._decode(names, self._encode(mels)), strict=True):
                rows[number] = row
        return rows

    def decode_again(self, batch: Batch) -> dict:
        """The row of the one clip of `batch` by faster-whisper's temperature fallback; see `shards._decode_again`.

        The clip must have speech.
        """
        (name,) = batch.names
        settings = self.settings
        options = dataclasses.replace(
            self.pipeline.options,
            temperatures=[0.0, *settings.temperatures],
            log_prob_threshold=settings.min_avg_logprob,
            compression_ratio_threshold=settings.max_compression_ratio,
            no_speech_threshold=settings.max_no_speech_prob,
        )
        encoded = self._encode(batch.mels)
        (language,) = self._languages(encoded, 1)
        result, logprob, temperature, _ = self.model.generate_with_fallback(
            encoded, self._prompt(language), self._tokenizer(language), options
        )
        return self._row_of_tokens(name, language, result.sequences_ids[0], logprob, result.no_speech_prob, temperature)

    def _encode(self, mels: np.ndarray) -> ctranslate2.StorageView:
        """The output of Whisper's encoder for 30 s, (B, 1500, width), from `mels`: (B, bands, frames)."""
        encoded = self.model.model.encode(ctranslate2.StorageView.from_array(mels))
        if mels.shape[2] == N_FRAMES:
            return encoded
        encoded = _array(encoded)
        rest = np.repeat(_array(self.silence)[:, encoded.shape[1] :], len(encoded), axis=0)
        return ctranslate2.StorageView.from_array(np.concatenate([encoded, rest], axis=1))

    def _decode(self, names: list[str], encoded: ctranslate2.StorageView) -> list[dict]:
        languages = self._languages(encoded, len(names))
        options = self.pipeline.options
        results = self.model.model.generate(
            encoded,
            [self._prompt(language) for language in languages],
            beam_size=options.beam_size,
            patience=options.patience,
            length_penalty=options.length_penalty,
            max_length=self.model.max_length,
            suppress_blank=options.suppress_blank,
            suppress_tokens=options.suppress_tokens,
            return_scores=True,
            return_no_speech_prob=True,
        )
        rows = []
        for name, language, result in zip(names, languages, results, strict=True):
            tokens = result.sequences_ids[0]
            logprob = result.scores[0] * len(tokens) ** options.length_penalty / (len(tokens) + 1)
            rows.append(self._row_of_tokens(name, language, tokens, logprob, result.no_speech_prob, temperature=0.0))
        return rows

    def _long(self, name: str, clip: np.ndarray) -> dict:
        """The row of a recording above 30 s, which WhisperX itself cuts at pauses."""
        result = self.pipeline.transcribe(clip, batch_size=self.settings.batch_size, language=self.language)
        segments = result["segments"]
        if not segments:
            return _row(name)
        text = " ".join(segment["text"].strip() for segment in segments)
        logprob = float(np.mean([segment["avg_logprob"] for segment in segments]))
        return _row(name, text, result["language"], logprob, None, get_compression_ratio(text), 0.0)

    def _row_of_tokens(
        self, name: str, language: str, tokens: list[int], logprob: float, no_speech: float, temperature: float
    ) -> dict:
        text = self._tokenizer(language).decode(tokens).strip()
        return _row(name, text, language, logprob, no_speech, get_compression_ratio(text) if text else 0.0, temperature)

    def _languages(self, encoded: ctranslate2.StorageView, count: int) -> list[str]:
        if self.language is not None:
            return [self.language] * count
        # The most probable language of each clip is first, as in [("<|en|>", 0.9), …].
        return [languages[0][0][2:-2] for languages in self.model.model.detect_language(encoded)]

    def _prompt(self, language: str) -> list[int]:
        return self.model.get_prompt(self._tokenizer(language), [], without_timestamps=True)

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self.tokenizers:
            self.tokenizers[language] = Tokenizer(
                self.model.hf_tokenizer, self.model.model.is_multilingual, task="transcribe", language=language
            )
        return self.tokenizers[language]


def _array(encoded: ctranslate2.StorageView) -> np.ndarray:
    """`encoded` as float32 in numpy, which has no bfloat16."""
    return np.array(encoded.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32))


def _row(name: str, text: str = "", *measures: str | float | None) -> dict:
    """A row of a shard. `measures` are its further columns, in the order of `SHARD`; without speech there are none."""
    return dict(zip_longest(SHARD.names, (name, text, *measures)))
