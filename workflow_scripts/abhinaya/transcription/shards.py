"""Transcription of one shard of the corpus; a killed job resumes. Poor transcripts are decoded again.

Decoding again samples at a temperature, with one random stream for all poor transcripts of a shard, in manifest order.
"""

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import ctranslate2
import pandas as pd
from tqdm import tqdm

from abhinaya.config.transcripts import Transcripts
from abhinaya.data import schemas
from abhinaya.data.corpora.digests import AUDIO, digest
from abhinaya.data.part_store import PartStore
from abhinaya.runtime import files, locks
from abhinaya.runtime.errors import UserError
from abhinaya.transcription.inputs import prefetched, window
from abhinaya.transcription.transcripts import SHARD
from abhinaya.transcription.whisperx import Transcriber

PART_BATCHES = 8  # batches between two writes to the disk


def transcribe_shard(
    manifest: pd.DataFrame, settings: Transcripts, shard: int, seed: int, output: Path, device: str, threads: int
) -> None:
    """Transcribe shard number `shard` of `manifest` into `output` (columns `SHARD`).

    Finished parts are stored in a folder beside `output`; a later job with the same task transcribes only the rest.

    Raises:
        UserError: the model cannot be loaded, the manifest no longer matches the audio files, or another job makes the
            same shard.
    """
    rows = manifest if settings.utterances == "all" else manifest[manifest["split"].notna()]
    rows = rows.iloc[shard :: settings.shards]
    unknown = rows[rows["duration"].isna()]
    if len(unknown):
        raise UserError(f"manifest: no duration for {unknown[schemas.KEY].iloc[0]}; prepare the corpus again")
    task = describe(settings, seed) | {"rows": digest(rows[AUDIO])}
    del task["options"]["batch_size"]  # a job that ran out of memory may resume with a smaller batch size
    # A job of a killed Snakemake may still run: each of the two jobs would remove the other's parts. The lock is beside
    # the parts, which are removed at the end.
    lock = locks.alone(output.with_name(f".{output.stem}.lock"), f"another job is transcribing {output.name}")
    with lock:
        parts = PartStore(output.with_name(f"{output.stem}.parts"), SHARD, "transcripts", task=task)
        table = _transcribed(rows, settings, seed, parts, device, threads)
        files.write_parquet(table, SHARD, output, describe(settings, seed))
        parts.remove()


def _transcribed(
    rows: pd.DataFrame, settings: Transcripts, seed: int, parts: PartStore, device: str, threads: int
) -> pd.DataFrame:
    """The transcripts of `rows` (columns `SHARD`), completed in `parts`; poor ones are decoded again."""
    _decode(rows, settings, parts, device, threads)
    table = rows[[schemas.KEY]].merge(parts.read(), on=schemas.KEY, how="left", validate="one_to_one")
    poor = _poor(table, settings).to_numpy()
    if poor.any():
        better = _decode_again(rows[poor], settings, seed, device, threads)
        table = table.set_index(schemas.KEY)
        table.loc[better.index] = better[table.columns]
        table = table.reset_index()
    table.loc[_silent(table, settings), "text"] = ""
    return table


def describe(settings: Transcripts, seed: int) -> dict:
    """The metadata of transcripts: engine, model, options and seed."""
    engine = {package: version(package) for package in ("whisperx", "faster-whisper", "ctranslate2")}
    options = settings.model_dump(mode="json", exclude={"model", "resources", "source", "path"})
    return {"engine": engine, "model": settings.model, "options": options, "seed": seed}


def _decode(rows: pd.DataFrame, settings: Transcripts, parts: PartStore, device: str, threads: int) -> None:
    """Decode the `rows` that are not in `parts`, and add them to it."""
    left = rows[~rows[schemas.KEY].isin(parts.read((schemas.KEY,))[schemas.KEY])]
    if left.empty:
        return
    if len(left) < len(rows):
        print(f"resuming: {len(rows) - len(left)} of {len(rows)} utterances are transcribed", file=sys.stderr)
    transcriber = Transcriber(settings, device, threads)
    with (
        prefetched(_batches(left, settings), settings, transcriber.bands, threads) as batches,
        tqdm(total=len(rows), initial=len(rows) - len(left), unit="clip", mininterval=5) as progress,
    ):
        transcripts: list[dict] = []
        for number, batch in enumerate(batches, start=1):
            transcripts += transcriber.transcribe(batch)
            progress.update(len(batch.names))
            if number % PART_BATCHES == 0:
                parts.write(transcripts)
                transcripts = []
        parts.write(transcripts)


def _decode_again(rows: pd.DataFrame, settings: Transcripts, seed: int, device: str, threads: int) -> pd.DataFrame:
    """New transcripts of `rows`, decoded at rising temperatures, indexed by `FileName`."""
    ctranslate2.set_random_seed(seed)
    # A thread of CTranslate2 reads the seed once, at its first random number; a new model has a new thread.
    transcriber = Transcriber(settings, device, threads)
    spoken = settings.model_copy(update={"speech_detection": False})  # speech was detected in all of them
    single = ((rows.iloc[[place]], window(seconds, settings.window)) for place, seconds in enumerate(rows["duration"]))
    with prefetched(single, spoken, transcriber.bands, threads) as batches:
        progress = tqdm(batches, total=len(rows), desc="decoding again", unit="clip", mininterval=5)
        transcripts = [transcriber.decode_again(batch) for batch in progress]
    table = pd.DataFrame(transcripts).set_index(schemas.KEY)
    # A temperature above 0 marks a transcript as decoded again, even if 0 was sufficient this time.
    return table.assign(temperature=table["temperature"].clip(lower=1e-9))


def _silent(table: pd.DataFrame, settings: Transcripts) -> pd.Series:
    """Whisper's criterion for silence: probably no speech, and a transcript of low probability."""
    return (table["no_speech_prob"] > settings.max_no_speech_prob) & (table["avg_logprob"] < settings.min_avg_logprob)


def _poor(table: pd.DataFrame, settings: Transcripts) -> pd.Series:
    """Transcripts to decode again. Those of recordings above 30 s, which have no `no_speech_prob`, are kept."""
    if not settings.temperatures:
        return pd.Series(False, table.index)
    poor = (table["avg_logprob"] < settings.min_avg_logprob) | (
        table["compression_ratio"] > settings.max_compression_ratio
    )
    return poor & table["no_speech_prob"].notna() & ~_silent(table, settings)


def _batches(rows: pd.DataFrame, settings: Transcripts) -> Iterator[tuple[pd.DataFrame, int]]:
    """Batches of clips with the same window, and this window in seconds; the longest first."""
    windows = rows["duration"].map(lambda duration: window(duration, settings.window))
    for seconds, group in sorted(rows.groupby(windows), key=lambda item: -item[0]):
        for start in range(0, len(group), settings.batch_size):
            yield group.iloc[start : start + settings.batch_size], int(seconds)
