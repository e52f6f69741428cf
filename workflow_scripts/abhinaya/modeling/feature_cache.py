"""Cached features of a frozen encoder: extracted once, read by every epoch, seed, loss and system.

A shard of the cache is an index (Parquet) and a file of raw numbers (`.bin`) with the same name. An utterance has one
sequence of vectors for each stream of its encoder: `vectors`, or SALMONN's `speech` and `audio`.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from abhinaya.config.features import FeatureSettings
from abhinaya.data import schemas
from abhinaya.data.dataset import Loader, Utterances, by_size, collate
from abhinaya.pretrained.hub import source_digests
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.random_access import RandomAccessFile

BATCH = 8  # utterances that are encoded together
FIX = "extract the features again with extract_features.py"


def index_schema(streams: Sequence[str]) -> pa.Schema:
    """The columns of an index. A stream has a `start`, counted in numbers of the file, and a `count` of vectors."""
    columns = [pa.field(f"{stream}_{part}", pa.int64(), False) for stream in streams for part in ("start", "count")]
    text = pa.field("text", pa.string())  # digest of the transcript, for an encoder that reads it
    return pa.schema([pa.field(schemas.KEY, pa.string(), nullable=False), *columns, text])


def extract_features(
    rows: pd.DataFrame,
    settings: FeatureSettings,
    loader: Loader,
    encoder: nn.Module,
    index: Path,
    workers: int,
    bf16: bool = False,
) -> None:
    """Encode all `rows` of a manifest, cropped to the middle; write the numbers, then the `index`.

    Args:
        rows: with the column `text` for an encoder that reads transcripts.
        loader, encoder: from `encoders.frozen` with the same `settings`.
        workers: processes that load audio.
        bf16: compute under autocast.

    Raises:
        UserError: a clip cannot be read.
    """
    rows = rows.reset_index(drop=True)
    device = next(encoder.parameters()).device
    utterances = Utterances(rows, loader)
    batches = by_size(utterances.sizes, BATCH)
    loaded = DataLoader(utterances, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    schema = index_schema(settings.streams)
    entries: list[dict[str, Any]] = []
    widths: dict[str, int] = {}
    end = 0
    with files.atomic(_numbers_of(index)) as temporary, temporary.open("wb") as numbers, torch.inference_mode():
        for indices, batch in zip(batches, tqdm(loaded, desc="encoding", unit="batch", mininterval=5), strict=True):
            batch.pop("labels")
            inputs = {name: value.to(device) for name, value in batch.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):  # not around the loading, which is exact
                encoded = _by_stream(encoder(**inputs), settings.streams)
            for place, row in enumerate(indices):
                entry = {schemas.KEY: rows[schemas.KEY][row]}
                entry["text"] = _text_digest(rows["text"][row]) if settings.reads_transcripts else None
                for stream, (vectors, lengths) in encoded.items():
                    count, widths[stream] = int(lengths[place]), vectors.shape[-1]
                    values = vectors[place, :count].to(getattr(torch, settings.dtype)).cpu().numpy()
                    numbers.write(values.tobytes())
                    entry |= {f"{stream}_start": end, f"{stream}_count": count}
                    end += values.size
                entries.append(entry)
        index.unlink(missing_ok=True)  # an old index must not refer to the new numbers
    metadata = _origin(settings) | {"revision": encoder.revisions.get("revision"), "widths": widths}
    files.write_parquet(pd.DataFrame(entries, columns=schema.names), schema, index, metadata)


class FeatureCache:
    """Cached features, read from the disk for each utterance; small and picklable.

    Attributes:
        widths: of the vectors, by stream.
        revision: commit of a published encoder.
    """

    def __init__(self, shards: Sequence[Path], settings: FeatureSettings) -> None:
        """
        Args:
            shards: their indices.

        Raises:
            UserError: a shard is missing or invalid, or was extracted with other `settings`, or with models that have
                changed since.
        """
        self.shards, self.settings = list(shards), settings
        self.widths: dict[str, int] = {}
        self.revision: str | None = None
        parts, expected, schema = [], _origin(settings), index_schema(settings.streams)
        for path in self.shards:
            metadata = files.read_metadata(path)
            if reason := _difference(metadata, expected, settings):
                raise UserError(f"{path}: {reason}; {FIX}")
            if parts and metadata["revision"] != self.revision:
                raise UserError(
                    f"{path}: extracted with commit {metadata['revision']} of {settings.encoder.sources[0]}, but "
                    f"{self.shards[0]} with {self.revision}; {FIX}"
                )
            self.widths |= metadata["widths"]  # an empty shard has none
            self.revision = metadata["revision"]
            parts.append(schemas.read_parquet(path, schema, tuple(schema.names[:-1])).assign(shard=len(parts)))
        table = pd.concat(parts, ignore_index=True)
        schemas.check_unique(table, " + ".join(map(str, self.shards)))
        # Arrays, since worker processes share them; every process would copy a dictionary of 100,000 entries.
        self._row = pd.Index(table[schemas.KEY])
        self._shard, self._text = table["shard"].to_numpy(), table["text"].to_numpy()
        self._starts = table[[f"{stream}_start" for stream in settings.streams]].to_numpy()
        self._counts = table[[f"{stream}_count" for stream in settings.streams]].to_numpy()
        self._numbers = [RandomAccessFile(_numbers_of(path)) for path in self.shards]

    def load(self, row: dict[str, Any], generator: np.random.Generator | None = None) -> dict[str, Tensor]:
        """The vectors (T, W) of each stream for a row of the manifest; the `generator` is not used.

        Raises:
            UserError: the features are missing, truncated, or those of another transcript.
        """
        name = row[schemas.KEY]
        if name not in self._row:
            raise UserError(f"{self.shards[0]}: no features of {name}; {FIX}")
        place = self._row.get_loc(name)
        shard = self._shard[place]
        if self.settings.reads_transcripts and self._text[place] != _text_digest(row["text"]):
            raise UserError(f"{self.shards[shard]}: the transcript of {name} has changed since; {FIX}")
        widths = [self.widths[stream] for stream in self.settings.streams]
        starts, counts = self._starts[place], self._counts[place]
        ends = starts + counts * widths
        first = starts.min()
        numbers = torch.from_numpy(self._read(shard, first, ends.max()))  # an utterance's streams are side by side
        return {
            stream: numbers[start - first : end - first].reshape(-1, width)
            for stream, start, end, width in zip(self.settings.streams, starts, ends, widths, strict=True)
        }

    def _read(self, shard: int, start: int, end: int) -> np.ndarray:
        """The numbers `start` to `end` of shard number `shard`."""
        numbers, file = np.empty(end - start, self.settings.dtype), self._numbers[shard]
        try:
            complete = file.read(start * numbers.itemsize, numbers)
        except FileNotFoundError:
            raise UserError(f"{file.path}: file not found; {FIX}") from None
        if not complete:
            raise UserError(f"{file.path}: truncated; {FIX}")
        return numbers


class CachedLoader:
    """Loads cached features; rows and sizes are those of the encoder's `loader`, so that batches are the same."""

    def __init__(self, loader: Loader, cache: FeatureCache) -> None:
        self.prepare, self.size, self.load = loader.prepare, loader.size, cache.load


class CachedEncoder(nn.Module):
    """Returns cached features; has no weights."""

    random_parts = ()

    def __init__(self, cache: FeatureCache) -> None:
        super().__init__()
        self.width = cache.widths["vectors"]
        self.revisions = {"revision": cache.revision} if cache.revision else {}

    def forward(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (B, T, H) and their lengths (B,), unchanged."""
        return vectors, lengths


def _by_stream(encoded: Any, streams: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Vectors (B, T, W) and lengths (B,) of each stream."""
    if isinstance(encoded, tuple):
        return {streams[0]: encoded}
    return {stream: (encoded[stream], encoded[f"{stream}_lengths"]) for stream in streams}


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _origin(settings: FeatureSettings) -> dict[str, Any]:
    """What determines the features. `requested` may be a branch; the commit is stored separately."""
    return {
        "settings": settings.decisive,
        "requested": settings.encoder.revision,
        "files": source_digests(settings.encoder.sources),
    }


def _difference(metadata: dict[str, Any], expected: dict[str, Any], settings: FeatureSettings) -> str | None:
    """The first difference between the `metadata` of an index and the `expected` origin; None if there is none."""
    if not metadata.keys() >= expected.keys():
        return "not written by this version of extract_features.py"
    for key in metadata["settings"] | expected["settings"]:
        stored, wanted = metadata["settings"].get(key), expected["settings"].get(key)
        if stored != wanted:
            return f"extracted with {key} {stored}, but the settings have {wanted}"
    for source, digest in expected["files"].items():
        if metadata["files"].get(source) != digest:
            return f"{source} has changed since the extraction"
    wanted = expected["requested"]
    if wanted not in (None, metadata["requested"], metadata["revision"]):
        return f"extracted with commit {metadata['revision']} of {settings.encoder.sources[0]}, not {wanted}"
    return None


def _numbers_of(index: Path) -> Path:
    """The file of numbers of an index."""
    return index.with_suffix(".bin")
