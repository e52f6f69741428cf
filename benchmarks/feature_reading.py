"""Clips a second that are read from the cache of features, cold and warm, against other ways to read the same file.

Random numbers stand for features of the size that `--vectors` and `--widths` give. The clips are read in random order,
as in training, in alternating turns:

- `cache`: `FeatureCache`, which keeps the file open and reads a clip with one call;
- `fromfile`: `numpy.fromfile`, which opens the file for each stream of a clip;
- `memmap`: a copy from `numpy.memmap`, which reads a page when it is touched.

`cold`: before each turn the system is asked to drop the file from its cache (`posix_fadvise`). `warm`: it is in memory.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from abhinaya.config.features import SalmonnFeatures
from abhinaya.config.system import AudioEncoder
from abhinaya.data.schemas import KEY
from abhinaya.modeling.feature_cache import FeatureCache, _origin, index_schema
from abhinaya.runtime import errors, files

RESULTS = Path(__file__).parent / "results"
SETTINGS = SalmonnFeatures(
    family="salmonn", encoder=AudioEncoder(whisper="openai/whisper-large-v2", beats="random:beats")
)
DTYPE = np.dtype(SETTINGS.dtype)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--vectors", type=int, nargs=2, default=(1500, 496), help="of a clip, by stream")
    parser.add_argument("--widths", type=int, nargs=2, default=(1280, 768), help="of a vector, by stream")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each way")
    parser.add_argument("--folder", type=Path, help="where to write the features, on the disk to measure")
    parser.add_argument("--output", type=Path, default=RESULTS / "feature_reading.json", help="JSON to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        index = Path(folder) / "000.parquet"
        entries = write(index, args)
        megabytes = index.with_suffix(".bin").stat().st_size / args.clips / 1e6
        found = {state: measure(index, entries, args, state == "cold") for state in ("cold", "warm")}
    options = {name: str(value) for name, value in vars(args).items()}
    files.write_json({"options": options, "megabytes_per_clip": megabytes} | found, args.output)
    print(f"{args.clips} clips of {megabytes:.1f} MB, median of {args.repeats}")
    print(f"{'':14}{'clips/s':>9}{'ratio':>8}")
    for state, ways in found.items():
        for way, values in ways.items():
            print(f"{state:5}{way:9}{values['clips_per_second']:9.1f}{values['ratio']:8.2f}")


def write(index: Path, args: argparse.Namespace) -> list[dict]:
    """Write random features; return the entries of the index."""
    rng = np.random.default_rng(0)
    entries, end = [], 0
    with index.with_suffix(".bin").open("wb") as numbers:
        for clip in range(args.clips):
            entry = {KEY: f"{clip}.wav", "text": None}
            for stream, count, width in zip(SETTINGS.streams, args.vectors, args.widths, strict=True):
                numbers.write(rng.random(count * width, np.float32).astype(DTYPE).tobytes())
                entry |= {f"{stream}_start": end, f"{stream}_count": count}
                end += count * width
            entries.append(entry)
        os.fsync(numbers.fileno())  # only written pages can be dropped
    metadata = _origin(SETTINGS) | {"revision": None, "widths": dict(zip(SETTINGS.streams, args.widths, strict=True))}
    schema = index_schema(SETTINGS.streams)
    files.write_parquet(pd.DataFrame(entries, columns=schema.names), schema, index, metadata)
    return entries


def measure(index: Path, entries: list[dict], args: argparse.Namespace, cold: bool) -> dict:
    """Speed of each way."""
    ways = build(index, args)
    order = np.random.default_rng(1).permutation(len(entries))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(args.repeats):
        for way, load in ways.items():
            drop(index.with_suffix(".bin")) if cold else index.with_suffix(".bin").read_bytes()
            started = time.perf_counter()
            for place in order:
                load(entries[place])
            seconds[way].append(time.perf_counter() - started)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        way: {
            "seconds": seconds[way],
            "clips_per_second": len(entries) / medians[way],
            "ratio": medians["memmap"] / medians[way],
        }
        for way in ways
    }


def build(index: Path, args: argparse.Namespace) -> dict[str, Callable[[dict], object]]:
    """Each way as a function that reads the entry of a clip."""
    path = index.with_suffix(".bin")
    sizes = [count * width for count, width in zip(args.vectors, args.widths, strict=True)]

    def starts(entry: dict) -> list[int]:
        return [entry[f"{stream}_start"] for stream in SETTINGS.streams]

    def fromfile(entry: dict) -> list[np.ndarray]:
        places = zip(starts(entry), sizes, strict=True)
        return [np.fromfile(path, DTYPE, size, offset=start * DTYPE.itemsize) for start, size in places]

    def memmap(entry: dict) -> list[np.ndarray]:
        numbers = np.memmap(path, DTYPE, "r")
        return [numbers[start : start + size].copy() for start, size in zip(starts(entry), sizes, strict=True)]

    return {"cache": FeatureCache([index], SETTINGS).load, "fromfile": fromfile, "memmap": memmap}


def drop(path: Path) -> None:
    """Ask the system to forget the content of `path`."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    errors.run(main)
