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
import hashlib
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import ctranslate2
import numpy as np
import pandas as pd
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio
from faster_whisper.vad import VadOptions, get_speech_timestamps
from tqdm import tqdm
from whisperx.asr import FasterWhisperPipeline, load_model
from whisperx.audio import log_mel_spectrogram

from abhinaya import audio, tables
from abhinaya.config import Transcripts
from abhinaya.errors import UserError
from abhinaya.models import locate
from abhinaya.transcripts import SHARD

WHISPER_SECONDS = 30
MARGIN = 0.5  # seconds of real silence behind a clip
SPEECH = 0.2  # Silero's default of 0.5 misses shouted and whispered speech; noise and tones stay below this
PART_BATCHES = 8  # batches between two writes


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


def transcribe_shard(
    manifest: pd.DataFrame, settings: Transcripts, shard: int, seed: int, output: Path, device: str, threads: int
) -> None:
    """Transcribe shard number `shard` of `manifest` into `output` (columns `SHARD`).

    A killed run left its parts in a folder beside `output`; a later one with the same task asks only for the rest.

    Raises:
        UserError: the model cannot be loaded, or a clip of the manifest cannot be read any more.
    """
    rows = used(manifest, settings.utterances).iloc[shard :: settings.shards]
    unknown = rows[rows["duration"].isna()]
    if len(unknown):
        raise UserError(f"manifest: no duration for {unknown[tables.KEY].iloc[0]}; prepare the corpus again")
    parts = Parts(output.with_name(f"{output.stem}.parts"), rows, settings, seed)
    _decoded(rows, settings, parts, device, threads)
    table = rows[[tables.KEY]].merge(parts.read(), on=tables.KEY, how="left", validate="one_to_one")
    doubtful = _doubtful(table, settings).to_numpy()
    if doubtful.any():
        better = _redecoded(rows[doubtful], settings, seed, device, threads)
        table = table.set_index(tables.KEY)
        table.loc[better.index] = better[table.columns]
        table = table.reset_index()
    table.loc[_silent(table, settings), "text"] = ""
    tables.write_parquet(table, SHARD, output, describe(settings, seed))
    parts.remove()


def used(manifest: pd.DataFrame, utterances: str) -> pd.DataFrame:
    """The rows to transcribe: `all`, or those `used` in a split."""
    return manifest if utterances == "all" else manifest[manifest["split"].notna()]


def describe(settings: Transcripts, seed: int) -> dict:
    """What travels with the transcripts: engine, model, options."""
    engine = {package: version(package) for package in ("whisperx", "faster-whisper", "ctranslate2")}
    options = settings.model_dump(mode="json", exclude={"model", "resources", "source", "path"})
    return {"engine": engine, "model": settings.model, "options": options, "seed": seed}


def window(duration: float, kind: str) -> int:
    """Whole seconds that the encoder sees of a clip of `duration` seconds; above 30: to be cut into segments."""
    seconds = math.ceil(duration + MARGIN)
    return WHISPER_SECONDS if duration <= WHISPER_SECONDS and (kind == "full" or seconds > WHISPER_SECONDS) else seconds


class Parts:
    """The finished part of a shard on disk, for a run that may be killed."""

    def __init__(self, folder: Path, rows: pd.DataFrame, settings: Transcripts, seed: int) -> None:
        self.folder = folder
        content = rows[[tables.KEY, "path", "duration"]].to_csv(index=False)
        described = describe(settings, seed)
        del described["options"]["batch_size"]  # after a lack of memory one lowers it and goes on
        task = {**described, "rows": hashlib.sha256(content.encode()).hexdigest()}
        record = folder / "task.json"
        if record.is_file() and tables.read_json(record) == task:
            return
        self.remove()
        tables.write_json(task, record)

    def done(self) -> set[str]:
        return set(self.read()[tables.KEY])

    def read(self) -> pd.DataFrame:
        found = [pd.read_parquet(path) for path in sorted(self.folder.glob("part-*.parquet"))]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=SHARD.names)

    def write(self, rows: list[dict]) -> None:
        if rows:
            number = len(list(self.folder.glob("part-*.parquet")))
            tables.write_parquet(pd.DataFrame(rows), SHARD, self.folder / f"part-{number:06}.parquet")

    def remove(self) -> None:
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()


def _decoded(rows: pd.DataFrame, settings: Transcripts, parts: Parts, device: str, threads: int) -> None:
    """Decode what `parts` lacks of `rows`, and write it there."""
    left = rows[~rows[tables.KEY].isin(parts.done())]
    if left.empty:
        return
    if len(left) < len(rows):
        print(f"resuming: {len(rows) - len(left)} of {len(rows)} utterances are transcribed", file=sys.stderr)
    transcriber = Transcriber(settings, device, threads)
    with tqdm(total=len(rows), initial=len(rows) - len(left), unit="clip", mininterval=5) as progress:
        found: list[dict] = []
        batches = _batches(left, settings)
        for number, (names, clips, seconds) in enumerate(_prefetched(batches, threads), start=1):
            found += transcriber.transcribe(names, clips, seconds)
            progress.update(len(names))
            if number % PART_BATCHES == 0:
                parts.write(found)
                found = []
        parts.write(found)


def _redecoded(rows: pd.DataFrame, settings: Transcripts, seed: int, device: str, threads: int) -> pd.DataFrame:
    """Other transcripts of the doubtful `rows`, by `FileName`."""
    ctranslate2.set_random_seed(seed)
    # CTranslate2 seeds a thread when it first draws and never again; a new model brings a new thread.
    transcriber = Transcriber(settings, device, threads)
    found = [
        transcriber.again(row[tables.KEY], audio.read(row["path"]), window(row["duration"], settings.window))
        for row in tqdm(rows.to_dict("records"), desc="decoding again", unit="clip", mininterval=5)
    ]
    table = pd.DataFrame(found).set_index(tables.KEY)
    return table.assign(temperature=table["temperature"].clip(lower=1e-9))  # above 0 though 0 may do the second time


def _silent(table: pd.DataFrame, settings: Transcripts) -> pd.Series:
    """Whisper's own sign of silence: it doubts both that there is speech and what it heard."""
    return (table["no_speech_prob"] > settings.max_no_speech_prob) & (table["avg_logprob"] < settings.min_avg_logprob)


def _doubtful(table: pd.DataFrame, settings: Transcripts) -> pd.Series:
    """What to decode again; a recording beyond 30 s, which has no `no_speech_prob` of its own, is left as it is."""
    if not settings.temperatures:
        return pd.Series(False, table.index)
    poor = (table["avg_logprob"] < settings.min_avg_logprob) | (
        table["compression_ratio"] > settings.max_compression_ratio
    )
    return poor & table["no_speech_prob"].notna() & ~_silent(table, settings)


def _batches(rows: pd.DataFrame, settings: Transcripts) -> Iterator[tuple[pd.DataFrame, int]]:
    """Batches of clips that share a window, longest first."""
    windows = rows["duration"].map(lambda duration: window(duration, settings.window))
    for seconds, group in sorted(rows.groupby(windows), key=lambda item: -item[0]):
        for start in range(0, len(group), settings.batch_size):
            yield group.iloc[start : start + settings.batch_size], int(seconds)


def _prefetched(
    batches: Iterator[tuple[pd.DataFrame, int]], threads: int
) -> Iterator[tuple[list[str], list[np.ndarray], int]]:
    """Read the next batch's audio while this one is decoded."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting: list[tuple[list[str], list, int]] = []
        for rows, seconds in batches:
            waiting.append((rows[tables.KEY].tolist(), [pool.submit(audio.read, p) for p in rows["path"]], seconds))
            if len(waiting) > 1:
                yield _arrived(waiting.pop(0))
        yield from map(_arrived, waiting)


def _arrived(batch: tuple[list[str], list, int]) -> tuple[list[str], list[np.ndarray], int]:
    names, futures, seconds = batch
    return names, [future.result() for future in futures], seconds


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
        tables.KEY: name,
        "text": text,
        "language": language,
        "avg_logprob": avg_logprob,
        "no_speech_prob": no_speech_prob,
        "compression_ratio": compression_ratio,
        "temperature": temperature,
    }
