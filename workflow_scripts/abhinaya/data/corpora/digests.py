"""Digests of the parts of the manifest that later stages read; a stage reruns only if its part has changed."""

import hashlib

import pandas as pd

from abhinaya.data.schemas import KEY, PREDICTED

AUDIO = [KEY, "path", "duration"]


def digests(manifest: pd.DataFrame, references: pd.DataFrame) -> dict[str, str]:
    """SHA-256 of the parts of a manifest and of the corpus's own transcripts (`references`), by name.

    `all_audio`, `used_audio`: names, paths and durations of all utterances, and of those in a split.
    `training`: train and validation with their labels. `evaluation`: what is predicted, without labels.
    `manifest`: the whole manifest.
    """
    split = manifest["split"]
    parts = {
        "all_audio": manifest[AUDIO],
        "used_audio": manifest.loc[split.notna(), AUDIO],
        "training": manifest.loc[split.isin(("train", "validation")), [*AUDIO, "split", "EmoClass"]],
        "evaluation": manifest.loc[split.isin(PREDICTED), [*AUDIO, "split"]],
        "manifest": manifest,
        "references": references,
    }
    return {name: digest(part) for name, part in parts.items()}


def digest(table: pd.DataFrame) -> str:
    """SHA-256 of a table's content, independent of the file format."""
    text = table.to_csv(index=False, na_rep="<null>")
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
