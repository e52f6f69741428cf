"""What each later stage reads of the manifest, as a digest: a stage runs again only when its own part has changed."""

import hashlib
from pathlib import Path

import pandas as pd

from abhinaya.data.schemas import KEY
from abhinaya.runtime.files import write_text

AUDIO = [KEY, "path", "duration"]


def digests(manifest: pd.DataFrame, references: pd.DataFrame) -> dict[str, str]:
    """SHA-256 of the parts of a manifest, by name, and of the corpus's own transcripts.

    `all_audio`, `used_audio`: names, paths and durations of all utterances, and of those in a split.
    `training`: train and validation with their labels. `evaluation`: validation and test, whatever their labels.
    `manifest`: everything.
    """
    split = manifest["split"]
    parts = {
        "all_audio": manifest[AUDIO],
        "used_audio": manifest.loc[split.notna(), AUDIO],
        "training": manifest.loc[split.isin(("train", "validation")), [*AUDIO, "split", "EmoClass"]],
        "evaluation": manifest.loc[split.isin(("validation", "test")), [*AUDIO, "split"]],
        "manifest": manifest,
        "references": references,
    }
    return {name: digest(part) for name, part in parts.items()}


def digest(table: pd.DataFrame) -> str:
    """SHA-256 of a table's content, whatever file holds it."""
    text = table.to_csv(index=False, na_rep="<null>")
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def write(found: dict[str, str], folder: Path) -> None:
    """Write each digest to a file of its name."""
    for name, value in found.items():
        write_text(f"{value}\n", folder / f"{name}.sha256")
