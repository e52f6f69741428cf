"""The transcripts of a corpus: merged from shards or from another table, and joined to the manifest."""

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
        UserError: a source is missing or invalid; an utterance has two transcripts or none.
    """
    table = pd.concat([schemas.read_parquet(path, SHARD, (schemas.KEY, "text")) for path in sources], ignore_index=True)
    schemas.check_unique(table, " + ".join(map(str, sources)))
    merged = manifest[[schemas.KEY, "split"]].merge(table, on=schemas.KEY, how="left")
    _check_complete(merged if utterances == "all" else merged[merged["split"].notna()], sources[0])
    merged = merged[merged["text"].notna()]
    metadata = files.read_metadata(sources[0]) or {"model": sources[0].name}
    metadata["counts"] = {
        "utterances": len(merged),
        "empty": int((merged["text"].str.strip() == "").sum()),
        "redecoded": int((merged["temperature"] > 0).sum()),
    }
    return merged.drop(columns=["split", "temperature"]), metadata


def joined(manifest: pd.DataFrame, path: Path) -> pd.DataFrame:
    """`manifest` with the column `text` of the transcripts at `path`; null where no split uses the utterance.

    Raises:
        UserError: the table is missing or invalid, or has no transcript for an utterance of a split.
    """
    table = schemas.read_transcripts(path)
    merged = manifest.merge(table[[schemas.KEY, "text"]], on=schemas.KEY, how="left", validate="one_to_one")
    _check_complete(merged[merged["split"].notna()], path)
    return merged


def _check_complete(table: pd.DataFrame, source: Path) -> None:
    missing = table[table["text"].isna()]
    if len(missing):
        raise UserError(
            f"{source}: no transcript for {len(missing)} of {len(table)} utterances, e.g. "
            f"{missing[schemas.KEY].iloc[0]}; add them, or transcribe with `transcripts.source: whisperx`"
        )


def check_text(settings: TrainedSystem, rows: pd.DataFrame) -> None:
    """Raise a `UserError` if `rows` have no transcripts, but the system reads them."""
    if settings.reads_transcripts and "text" not in rows:
        raise UserError(f"a {settings.family} system reads transcripts; give --transcripts")


def short_enough(settings: TrainedSystem, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The training `rows` whose transcripts have at most `max_words` words, and a remark on the number of the others.

    Longer transcripts are mostly hallucinations of Whisper; the authors exclude them from ST1 (docs/fidelity.md, 27).
    """
    max_words = getattr(settings.encoder, "max_words", None) if settings.reads_transcripts else None
    if max_words is None:
        return rows, []
    long = rows["text"].str.split().str.len() > max_words
    remark = f"{int(long.sum())} of {len(rows)} transcripts have more than {max_words} words and were not trained on."
    return rows[~long].reset_index(drop=True), [remark] if long.any() else []
