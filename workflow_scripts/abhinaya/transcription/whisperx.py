"""Transcription with WhisperX, batched across files.

WhisperX batches the segments of one recording; a corpus of short clips would be decoded one by one. Here clips of like
length form the batches. A clip's window follows from its own duration alone, so that neither its batch mates nor a
restart change its text.

With `window: clip` Whisper's encoder, which dominates, runs on a window a little longer than the clip. Whisper was
trained to find silence up to 30 s, and without it repeats itself; so the rest of the 30 s is filled with the encoding
of silence, computed once.

What the first decoding leaves in doubt (runaway repetition, a low probability) is decoded again at the end, at rising
temperatures. That is random: one seeded stream over a shard's doubtful clips in the manifest's order.
"""

import dataclasses
import math

import ctranslate2
import numpy as np
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio
from faster_whisper.vad import VadOptions, get_speech_timestamps
from whisperx.asr import FasterWhisperPipeline, load_model
from whisperx.audio import log_mel_spectrogram

from abhinaya.config.transcripts import Transcripts
from abhinaya.data import audio, schemas
from abhinaya.pretrained.hub import locate
from abhinaya.runtime.errors import UserError

WHISPER_SECONDS = 30
MARGIN = 0.5  # seconds of real silence behind a clip
SPEECH = 0.2  # Silero's default of 0.5 misses shouted and whispered speech; noise and tones stay below this


class Transcriber:
    """One loaded WhisperX pipeline."""

    def __init__(self, settings: Transcripts, device: str, threads: int) -> None:
        """
        Raises:
            UserError: the model cannot be loaded, or does not know the language.
        """
        self.settings = settings
        place = locate(settings.model)
        try:
            self.pipeline: FasterWhisperPipeline = load_model(
                place,
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
                "name, the network or the folder, and `compute_type`"
            ) from None
        self.model = self.pipeline.model
        if not self.model.model.is_multilingual and settings.language not in (None, "en"):
            raise UserError(
                f"transcripts.language {settings.language!r}: {settings.model!r} knows English only; set en or take "
                "another model"
            )
        self.language = settings.language if self.model.model.is_multilingual else "en"
        self.mels = self.model.feat_kwargs.get("feature_size", 80)
        self.tokenizers: dict[str, Tokenizer] = {}
        self.silence = self._encode([np.zeros(0, np.float32)], WHISPER_SECONDS) if settings.window == "clip" else None

    def transcribe(self, names: list[str], clips: list[np.ndarray], seconds: int) -> list[dict]:
        """Rows of a shard for `clips` (16 kHz), which all have the window `seconds`.

        Raises:
            UserError: a clip is longer than its window: its file has changed since the manifest was made.
        """
        if seconds > WHISPER_SECONDS:
            return [self._long(name, clip) for name, clip in zip(names, clips, strict=True)]
        for name, clip in zip(names, clips, strict=True):
            if len(clip) > seconds * audio.RATE:
                raise UserError(f"{name}: longer than the manifest says; prepare the corpus again")
        speaking = [i for i, clip in enumerate(clips) if not self.settings.speech_detection or _has_speech(clip)]
        rows = [_row(name) for name in names]
        if speaking:
            encoded = self._encode([clips[i] for i in speaking], seconds)
            for i, row in zip(speaking, self._decode([names[i] for i in speaking], encoded), strict=True):
                rows[i] = row
        return rows

    def again(self, name: str, clip: np.ndarray, seconds: int) -> dict:
        """The row of one clip by faster-whisper's temperature fallback; random, see `_redecoded`."""
        settings = self.settings
        options = dataclasses.replace(
            self.pipeline.options,
            temperatures=[0.0, *settings.temperatures],
            log_prob_threshold=settings.min_avg_logprob,
            compression_ratio_threshold=settings.max_compression_ratio,
            no_speech_threshold=settings.max_no_speech_prob,
        )
        encoded = self._encode([clip], seconds)
        (language,) = self._languages(encoded, 1)
        result, logprob, temperature, _ = self.model.generate_with_fallback(
            encoded, self._prompt(language), self._tokenizer(language), options
        )
        return self._judged(name, language, result.sequences_ids[0], logprob, result.no_speech_prob, temperature)

    def _encode(self, clips: list[np.ndarray], seconds: int) -> ctranslate2.StorageView:
        """What Whisper's decoder reads: (B, 1500, width)."""
        samples = seconds * audio.RATE
        mels = np.stack([log_mel_spectrogram(clip, self.mels, padding=samples - len(clip)).numpy() for clip in clips])
        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mels))
        if self.settings.window == "full" or seconds == WHISPER_SECONDS:
            return self.model.model.encode(features)
        encoded = _array(self.model.model.encode(features))
        rest = np.repeat(_array(self.silence)[:, encoded.shape[1] :], len(encoded), axis=0)
        return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.concatenate([encoded, rest], axis=1)))

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
            rows.append(self._judged(name, language, tokens, logprob, result.no_speech_prob, temperature=0.0))
        return rows

    def _long(self, name: str, clip: np.ndarray) -> dict:
        """A recording beyond 30 s: WhisperX's own way, cut at pauses."""
        found = self.pipeline.transcribe(clip, batch_size=self.settings.batch_size, language=self.language)
        segments = found["segments"]
        if not segments:
            return _row(name)
        text = " ".join(segment["text"].strip() for segment in segments)
        logprob = float(np.mean([segment["avg_logprob"] for segment in segments]))
        return _row(name, text, found["language"], logprob, None, get_compression_ratio(text), 0.0)

    def _judged(
        self, name: str, language: str, tokens: list[int], logprob: float, no_speech: float, temperature: float
    ) -> dict:
        text = self._tokenizer(language).decode(tokens).strip()
        return _row(name, text, language, logprob, no_speech, get_compression_ratio(text) if text else 0.0, temperature)

    def _languages(self, encoded: ctranslate2.StorageView, count: int) -> list[str]:
        if self.language is not None:
            return [self.language] * count
        return [found[0][0][2:-2] for found in self.model.model.detect_language(encoded)]  # "<|en|>"

    def _prompt(self, language: str) -> list[int]:
        return self.model.get_prompt(self._tokenizer(language), [], without_timestamps=True)

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self.tokenizers:
            self.tokenizers[language] = Tokenizer(
                self.model.hf_tokenizer, self.model.model.is_multilingual, task="transcribe", language=language
            )
        return self.tokenizers[language]


def window(duration: float, kind: str) -> int:
    """Whole seconds that the encoder sees of a clip of `duration` seconds; above 30: to be cut into segments."""
    seconds = math.ceil(duration + MARGIN)
    return WHISPER_SECONDS if duration <= WHISPER_SECONDS and (kind == "full" or seconds > WHISPER_SECONDS) else seconds


def _array(encoded: ctranslate2.StorageView) -> np.ndarray:
    """As float32, whatever the model computes with: numpy has no bfloat16."""
    return np.array(encoded.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32))


def _has_speech(clip: np.ndarray) -> bool:
    return bool(get_speech_timestamps(clip, VadOptions(threshold=SPEECH), sampling_rate=audio.RATE))


def _row(
    name: str,
    text: str = "",
    language: str | None = None,
    avg_logprob: float | None = None,
    no_speech_prob: float | None = None,
    compression_ratio: float | None = None,
    temperature: float | None = None,
) -> dict:
    return {
        schemas.KEY: name,
        "text": text,
        "language": language,
        "avg_logprob": avg_logprob,
        "no_speech_prob": no_speech_prob,
        "compression_ratio": compression_ratio,
        "temperature": temperature,
    }
