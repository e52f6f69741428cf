"""Putting transcripts together: the shards of a transcription, or a table that the user or the corpus brings."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from abhinaya.config.system import TrainedSystem
from abhinaya.data import schemas
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError

SHARD = schemas.TRANSCRIPTS.append(pa.field("temperature", pa.float64()))  # above 0: decoded again


def merge(manifest: pd.DataFrame, sources: list[Path], utterances: str) -> tuple[pd.DataFrame, dict]:
    """The transcripts of `sources` in manifest order, and their metadata with counts.

    Args:
        utterances: `all` rows of the manifest must have a transcript, or only those `used` in a split.

    Raises:
        UserError: a source is absent or malformed, an utterance has two transcripts or none.
    """
    table = pd.concat([schemas.read_parquet(path, SHARD, (schemas.KEY, "text")) for path in sources], ignore_index=True)
    schemas.check_unique(table, " + ".join(map(str, sources)))
    merged = manifest[[schemas.KEY, "split"]].merge(table, on=schemas.KEY, how="left")
    missing = merged[merged["text"].isna() & (True if utterances == "all" else merged["split"].notna())]
    if len(missing):
        raise UserError(
            f"{sources[0]}: no transcript for {len(missing)} of {len(merged)} utterances, "
            f"{missing[schemas.KEY].iloc[0]} for one; add them, or transcribe with `transcripts.source: whisperx`"
        )
    merged = merged[merged["text"].notna()]
    metadata = files.read_metadata(sources[0]) or {"model": str(sources[0].name)}
    metadata["counts"] = {
        "utterances": len(merged),
        "empty": int((merged["text"].str.strip() == "").sum()),
        "redecoded": int((merged["temperature"] > 0).sum()),
    }
    return merged.drop(columns=["split", "temperature"]), metadata


def joined(manifest: pd.DataFrame, path: Path) -> pd.DataFrame:
    """`manifest` with the column `text` of the transcripts at `path`; null where no split uses the utterance.

    Raises:
        UserError: the table is absent or malformed, or lacks an utterance of a split.
    """
    table = schemas.read_transcripts(path)
    merged = manifest.merge(table[[schemas.KEY, "text"]], on=schemas.KEY, how="left", validate="one_to_one")
    missing = merged[merged["split"].notna() & merged["text"].isna()]
    if len(missing):
        raise UserError(
            f"{path}: no transcript for {len(missing)} utterances, {missing[schemas.KEY].iloc[0]} for one; make the "
            "transcripts again"
        )
    return merged


def check_text(settings: TrainedSystem, rows: pd.DataFrame) -> None:
    """Raise a `UserError` when a system that reads transcripts got none."""
    if settings.reads_transcripts and "text" not in rows:
        raise UserError(f"a {settings.family} system reads transcripts; give --transcripts")


def short_enough(settings: TrainedSystem, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The training `rows` without transcripts of more than `max_words` words, and a remark on their number.

    Such transcripts are mostly Whisper's hallucinations; the authors leave them out of ST1 (docs/fidelity.md, 27).
    """
    most = getattr(settings.encoder, "max_words", None) if settings.reads_transcripts else None
    if most is None:
        return rows, []
    long = rows["text"].str.split().str.len() > most
    remark = f"{int(long.sum())} of {len(rows)} transcripts have more than {most} words and were not trained on."
    return rows[~long].reset_index(drop=True), [remark] if long.any() else []
