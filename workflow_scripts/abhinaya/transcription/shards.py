"""A shard of the corpus, transcribed and resumable; what the first decoding leaves in doubt is decoded again.

Decoding again is random: one seeded stream over a shard's doubtful clips in the manifest's order.
"""

import hashlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import ctranslate2
import numpy as np
import pandas as pd
from tqdm import tqdm

from abhinaya.config.transcripts import Transcripts
from abhinaya.data import audio, schemas
from abhinaya.data.part_store import PartStore
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.transcription.transcripts import SHARD
from abhinaya.transcription.whisperx import Transcriber, window

PART_BATCHES = 8  # batches between two writes


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
        raise UserError(f"manifest: no duration for {unknown[schemas.KEY].iloc[0]}; prepare the corpus again")
    parts = _kept(output.with_name(f"{output.stem}.parts"), rows, settings, seed)
    _decoded(rows, settings, parts, device, threads)
    table = rows[[schemas.KEY]].merge(parts.read(), on=schemas.KEY, how="left", validate="one_to_one")
    doubtful = _doubtful(table, settings).to_numpy()
    if doubtful.any():
        better = _redecoded(rows[doubtful], settings, seed, device, threads)
        table = table.set_index(schemas.KEY)
        table.loc[better.index] = better[table.columns]
        table = table.reset_index()
    table.loc[_silent(table, settings), "text"] = ""
    files.write_parquet(table, SHARD, output, describe(settings, seed))
    parts.remove()


def used(manifest: pd.DataFrame, utterances: str) -> pd.DataFrame:
    """The rows to transcribe: `all`, or those `used` in a split."""
    return manifest if utterances == "all" else manifest[manifest["split"].notna()]


def describe(settings: Transcripts, seed: int) -> dict:
    """What travels with the transcripts: engine, model, options."""
    engine = {package: version(package) for package in ("whisperx", "faster-whisper", "ctranslate2")}
    options = settings.model_dump(mode="json", exclude={"model", "resources", "source", "path"})
    return {"engine": engine, "model": settings.model, "options": options, "seed": seed}


def _kept(folder: Path, rows: pd.DataFrame, settings: Transcripts, seed: int) -> PartStore:
    """The finished part of a shard, for a run that may be killed."""
    content = rows[[schemas.KEY, "path", "duration"]].to_csv(index=False)
    task = describe(settings, seed) | {"rows": hashlib.sha256(content.encode()).hexdigest()}
    del task["options"]["batch_size"]  # after a lack of memory one lowers it and goes on
    return PartStore(folder, SHARD, "transcripts", task=task)


def _decoded(rows: pd.DataFrame, settings: Transcripts, parts: PartStore, device: str, threads: int) -> None:
    """Decode what `parts` lacks of `rows`, and write it there."""
    left = rows[~rows[schemas.KEY].isin(parts.read((schemas.KEY,))[schemas.KEY])]
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
        transcriber.again(row[schemas.KEY], audio.read(row["path"]), window(row["duration"], settings.window))
        for row in tqdm(rows.to_dict("records"), desc="decoding again", unit="clip", mininterval=5)
    ]
    table = pd.DataFrame(found).set_index(schemas.KEY)
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
            waiting.append((rows[schemas.KEY].tolist(), [pool.submit(audio.read, p) for p in rows["path"]], seconds))
            if len(waiting) > 1:
                yield _arrived(waiting.pop(0))
        yield from map(_arrived, waiting)


def _arrived(batch: tuple[list[str], list, int]) -> tuple[list[str], list[np.ndarray], int]:
    names, futures, seconds = batch
    return names, [future.result() for future in futures], seconds
