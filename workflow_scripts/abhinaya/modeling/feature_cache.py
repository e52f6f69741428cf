"""The features of a corpus from a frozen encoder, extracted once and read by every epoch, seed, loss and system.

A shard of the cache is an index (Parquet) beside a file of bare numbers (`.bin`), which is memory-mapped. An utterance
has one sequence of vectors for each stream of its encoder: `vectors`, or SALMONN's `speech` and `audio`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
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

BATCH = 8  # utterances that are encoded together
AGAIN = "make it again with extract_features.py"


def index_schema(streams: Sequence[str]) -> pa.Schema:
    """The columns of an index: `start` counts numbers of the file, `count` vectors."""
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
    """Encode all `rows` of a manifest, cropped in the middle; write the numbers, then the `index`.

    Args:
        rows: with `text` for an encoder that reads transcripts.
        loader, encoder: as `encoders.frozen` builds them for `settings`.
        workers: processes that load audio.
        bf16: compute under autocast.

    Raises:
        UserError: a clip cannot be read any more.
    """
    rows = rows.reset_index(drop=True)
    device = next(encoder.parameters()).device
    utterances = Utterances(rows, loader)
    batches = by_size(utterances.sizes, BATCH)
    loaded = DataLoader(utterances, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    schema = index_schema(settings.streams)
    found: list[dict[str, Any]] = []
    widths: dict[str, int] = {}
    end = 0
    with files.atomic(_numbers(index)) as temporary, temporary.open("wb") as numbers, torch.inference_mode():
        for indices, batch in zip(batches, tqdm(loaded, desc="encoding", unit="batch", mininterval=5), strict=True):
            batch.pop("labels")
            inputs = {name: value.to(device) for name, value in batch.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):  # not around the loading: it stays exact
                encoded = _by_stream(encoder(**inputs), settings.streams)
            for place, row in enumerate(indices):
                entry = {schemas.KEY: rows[schemas.KEY][row]}
                entry["text"] = _text_digest(rows["text"][row]) if settings.reads_transcripts else None
                for stream, (vectors, lengths) in encoded.items():
                    count, widths[stream] = int(lengths[place]), vectors.shape[-1]
                    own = vectors[place, :count].to(getattr(torch, settings.dtype)).cpu().numpy()
                    numbers.write(own.tobytes())
                    entry |= {f"{stream}_start": end, f"{stream}_count": count}
                    end += own.size
                found.append(entry)
        index.unlink(missing_ok=True)  # an older one must not stand over the new numbers
    revision = encoder.revisions.get("revision")
    files.write_parquet(
        pd.DataFrame(found, columns=schema.names),
        schema,
        index,
        _origin(settings) | {"revision": revision, "widths": widths},
    )


@dataclass
class FeatureCache:
    """Cached features, by the indices of their shards; small and picklable.

    Raises:
        UserError: a shard is missing or corrupt, or was extracted with other `settings`, or by models that
            have changed since.
    """

    shards: list[Path]
    settings: FeatureSettings
    widths: dict[str, int] = field(init=False)  # of the vectors, by stream
    revision: str | None = field(init=False)  # the commit of a published encoder

    def __post_init__(self) -> None:
        parts, expected, schema = [], _origin(self.settings), index_schema(self.settings.streams)
        self.widths = {}
        for path in self.shards:
            described = files.read_metadata(path)
            if reason := _otherwise(described, expected, self.settings):
                raise UserError(f"{path}: {reason}; {AGAIN}")
            if parts and described["revision"] != self.revision:
                raise UserError(
                    f"{path}: extracted with commit {described['revision']} of {self.settings.encoder.sources[0]}, but "
                    f"{self.shards[0]} with {self.revision}; make them again with extract_features.py"
                )
            self.widths |= described["widths"]  # an empty shard has none
            self.revision = described["revision"]
            parts.append(schemas.read_parquet(path, schema, tuple(schema.names[:-1])).assign(shard=path))
        table = pd.concat(parts, ignore_index=True)
        schemas.check_unique(table, " + ".join(map(str, self.shards)))
        self._rows: dict[str, dict[str, Any]] = table.set_index(schemas.KEY).to_dict("index")
        self._maps: dict[Path, np.memmap] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # each process maps the files for itself

    def load(self, row: dict[str, Any], generator: np.random.Generator | None = None) -> dict[str, Tensor]:
        """The vectors (T, W) of each stream, for a row of the manifest; the `generator` is not used.

        Raises:
            UserError: the features of this utterance are missing, cut off, or those of another transcript.
        """
        name = row[schemas.KEY]
        entry = self._rows.get(name)
        if entry is None:
            raise UserError(f"{self.shards[0]}: no features of {name}; make the cache again")
        if self.settings.reads_transcripts and entry["text"] != _text_digest(row["text"]):
            raise UserError(f"{entry['shard']}: the transcript of {name} has changed since; {AGAIN}")
        found = {}
        for stream in self.settings.streams:
            start, count, width = entry[f"{stream}_start"], entry[f"{stream}_count"], self.widths[stream]
            path = _numbers(entry["shard"])
            numbers = self._mapped(path)[start : start + count * width]
            if len(numbers) < count * width:
                raise UserError(f"{path}: cut off; remove the shard's files and make the cache again")
            found[stream] = torch.from_numpy(np.array(numbers)).reshape(count, width)
        return found

    def _mapped(self, path: Path) -> np.memmap:
        if path not in self._maps:
            if not path.is_file() or not path.stat().st_size:
                raise UserError(f"{path}: no such file, or empty; make the cache again")
            self._maps[path] = np.memmap(path, self.settings.dtype, "r")
        return self._maps[path]


class CachedLoader:
    """Loads cached features in place of what their encoder would read."""

    def __init__(self, loader: Loader, cache: FeatureCache) -> None:
        """
        Args:
            loader: of the encoder; it prepares the rows and foretells their cost, so that batches are the same.
        """
        self.cache = cache
        self.prepare, self.size, self.load = loader.prepare, loader.size, cache.load


class CachedEncoder(nn.Module):
    """Hands on the features that a frozen encoder made before; without weights."""

    random_parts = ()

    def __init__(self, cache: FeatureCache) -> None:
        super().__init__()
        self.width = cache.widths["vectors"]
        self.revisions = {"revision": cache.revision} if cache.revision else {}

    def forward(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (B, T, H) and their lengths (B,), as they are."""
        return vectors, lengths


def _by_stream(encoded: Any, streams: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Vectors (B, T, W) and lengths (B,) of each stream."""
    if isinstance(encoded, tuple):
        return {streams[0]: encoded}
    return {stream: (encoded[stream], encoded[f"{stream}_lengths"]) for stream in streams}


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _origin(settings: FeatureSettings) -> dict[str, Any]:
    """What decides the features; `requested` may be a branch, beside the commit found."""
    return {
        "settings": settings.decisive,
        "requested": settings.encoder.revision,
        "files": source_digests(settings.encoder.sources),
    }


def _otherwise(described: dict[str, Any], expected: dict[str, Any], settings: FeatureSettings) -> str | None:
    """How what a shard's index tells differs from the `expected` origin, if it does."""
    if not described.keys() >= expected.keys():
        return "not written by this version of extract_features.py"
    for key, now in expected["settings"].items():
        if (then := described["settings"].get(key)) != now:
            return f"extracted with {key} {then}, now it is {now}"
    for source, now in expected["files"].items():
        if described["files"].get(source) != now:
            return f"{source} has changed since"
    wanted = expected["requested"]
    if wanted not in (None, described["requested"], described["revision"]):
        return f"extracted with commit {described['revision']} of {settings.encoder.sources[0]}, not {wanted}"
    return None


def _numbers(index: Path) -> Path:
    return index.with_suffix(".bin")
