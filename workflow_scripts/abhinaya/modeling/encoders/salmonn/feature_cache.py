"""Whisper's and BEATs' features of a corpus, kept on disk for every epoch, seed and system.

A shard of the cache is an index (Parquet) beside two files of bare numbers, Whisper's vectors and BEATs', one clip
behind the other, which are mapped rather than read.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from abhinaya.config.system import AudioEncoder
from abhinaya.data import schemas
from abhinaya.data.dataset import Utterances, by_size, collate
from abhinaya.modeling.encoders.salmonn import audio_encoders
from abhinaya.pretrained.hub import source_digests
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError

INDEX = pa.schema(
    [
        pa.field(schemas.KEY, pa.string(), nullable=False),
        pa.field("speech_start", pa.int64(), nullable=False),  # rows of Whisper's file
        pa.field("speech_count", pa.int64(), nullable=False),
        pa.field("audio_start", pa.int64(), nullable=False),  # rows of BEATs' file
        pa.field("audio_count", pa.int64(), nullable=False),
    ]
)
STREAMS = ("speech", "audio")  # Whisper's vectors, BEATs'
BATCH = 8  # clips features together when a shard is made
DTYPES = {"fp32": np.float32, "fp16": np.float16}


def extract_features(
    rows: pd.DataFrame, settings: AudioEncoder, index: Path, device: torch.device, workers: int
) -> None:
    """Hear all `rows` of a manifest, cropped in the middle; write the numbers, then the `index`.

    Raises:
        UserError: the models cannot be loaded, or a clip cannot be read any more.
    """
    rows = rows.reset_index(drop=True)
    loader, audio_encoder, revision = audio_encoders.build(settings)
    audio_encoder.to(device)
    utterances = Utterances(rows, loader)
    batches = by_size(utterances.sizes, BATCH)
    loaded = DataLoader(utterances, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    found: list[dict[str, Any]] = []
    ends = dict.fromkeys(STREAMS, 0)
    with (
        files.atomic(_numbers(index, "speech")) as heard_path,
        files.atomic(_numbers(index, "audio")) as sounds_path,
        heard_path.open("wb") as features,
        sounds_path.open("wb") as sounds,
    ):
        outputs = {"speech": features, "audio": sounds}
        for indices, batch in zip(
            batches, tqdm(loaded, desc="audio_encoder", unit="batch", mininterval=5), strict=True
        ):
            batch.pop("labels")
            vectors = audio_encoder(**{name: value.to(device) for name, value in batch.items()})
            for place, row in enumerate(indices):
                entry = {schemas.KEY: rows[schemas.KEY][row]}
                for kind in STREAMS:
                    count = int(vectors[f"{kind}_lengths"][place])
                    outputs[kind].write(vectors[kind][place, :count].cpu().numpy().tobytes())
                    entry |= {f"{kind}_start": ends[kind], f"{kind}_count": count}
                    ends[kind] += count
                found.append(entry)
        index.unlink(missing_ok=True)  # an older one must not stand over the new numbers
    described = _origin(settings) | {"revision": revision, "widths": audio_encoder.widths}
    files.write_parquet(pd.DataFrame(found, columns=INDEX.names), INDEX, index, described)


@dataclass
class CachedFeatures:
    """The cached features of a corpus: shards, by their index; small and picklable.

    Raises:
        UserError: a shard is missing or corrupt, or was extracted with other `settings`, or by models that
            have changed since.
    """

    shards: list[Path]
    settings: AudioEncoder
    widths: dict[str, int] = field(init=False)
    revision: str | None = field(init=False)

    def __post_init__(self) -> None:
        parts, expected = [], _origin(self.settings)
        for path in self.shards:
            described = files.read_metadata(path)
            if reason := _otherwise(described, expected):
                raise UserError(f"{path}: {reason}; make it again with extract_features.py")
            if parts and described["revision"] != self.revision:
                raise UserError(
                    f"{path}: extracted with Whisper's commit {described['revision']}, but {self.shards[0]} with "
                    f"{self.revision}; make them again with extract_features.py"
                )
            self.widths, self.revision = described["widths"], described["revision"]
            parts.append(schemas.read_parquet(path, INDEX, tuple(INDEX.names)).assign(shard=path))
        table = pd.concat(parts, ignore_index=True)
        schemas.check_unique(table, " + ".join(map(str, self.shards)))
        self._rows: dict[str, dict[str, Any]] = table.set_index(schemas.KEY).to_dict("index")
        self._maps: dict[Path, np.memmap] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # each process maps the files for itself

    def load(self, name: str) -> dict[str, Tensor]:
        """`features` (S, W) and `sounds` (T, V) of one clip.

        Raises:
            UserError: it was not features.
        """
        row = self._rows.get(name)
        if row is None:
            raise UserError(f"{self.shards[0]}: {name} was not features; make the cache again")
        found = {}
        for kind in STREAMS:
            start, count, path = row[f"{kind}_start"], row[f"{kind}_count"], _numbers(row["shard"], kind)
            vectors = self._mapped(path, self.widths[kind])[start : start + count]
            if len(vectors) < count:
                raise UserError(f"{path}: cut off; remove the shard's files and make the cache again")
            found[kind] = torch.from_numpy(np.array(vectors))
        return found

    def _mapped(self, path: Path, width: int) -> np.memmap:
        if path not in self._maps:
            if not path.is_file() or not path.stat().st_size:
                raise UserError(f"{path}: no such file, or empty; make the cache again")
            numbers = np.memmap(path, DTYPES[self.settings.precision], "r")
            self._maps[path] = numbers[: len(numbers) // width * width].reshape(-1, width)
        return self._maps[path]


def _origin(settings: AudioEncoder) -> dict[str, Any]:
    """What decides a clip's features; `requested` may be a branch, beside the commit found."""
    return {
        "settings": settings.model_dump(mode="json", exclude={"cache", "revision"}),
        "requested": settings.revision,
        "files": source_digests(settings.sources),
    }


def _otherwise(described: dict[str, Any], expected: dict[str, Any]) -> str | None:
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
        return f"extracted with Whisper's commit {described['revision']}, not {wanted}"
    return None


def _numbers(index: Path, kind: str) -> Path:
    return index.with_suffix(f".{kind}.bin")
