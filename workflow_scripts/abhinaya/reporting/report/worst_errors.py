"""The worst errors, with audio players for the files on this machine."""

import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY, VOTES
from abhinaya.labels import CLASSES
from abhinaya.reporting.report.inputs import Inputs


def worst_errors(inputs: Inputs, audio: dict[str, str]) -> dict[str, list[dict]]:
    """The worst errors of each system, the most confident first.

    Args:
        audio: addresses from `links`.

    Returns:
        By system, rows with the columns of worst_errors.csv; `votes` are (member, label, whether it is correct).
        Further keys: `audio` (address, or None without an audio file), `seconds`, `annotators` (as ``N 3, H 1``).
    """
    rows = inputs.analysed("worst_errors")
    annotators = _annotators(inputs.manifest, rows[KEY])
    errors: dict[str, list[dict]] = {}
    for row in rows.to_dict("records"):
        votes = [vote.rpartition(":") for vote in row["votes"].split()]
        formatted = {
            "audio": audio.get(row["path"]),
            "seconds": "" if np.isnan(row["duration"]) else f"{row['duration']:.1f} s",
            "annotators": annotators.get(row[KEY], ""),
            "votes": [(member, letter, letter == row["truth"]) for member, _, letter in votes],
        }
        errors.setdefault(row["system"], []).append(row | formatted)
    return errors


def links(inputs: Inputs, folder: Path) -> dict[str, str]:
    """Quoted addresses of the existing audio files of the errors, by path, relative to a page in `folder`.

    Symbolic links are not resolved, as in a browser.
    """
    paths = dict.fromkeys(inputs.analysed("worst_errors")["path"])
    return {path: quote(os.path.relpath(path, folder)) for path in paths if path and Path(path).is_file()}


def _annotators(manifest: pd.DataFrame | None, names: pd.Series) -> dict[str, str]:
    """The annotators' votes on each of the utterances `names`, the most frequent first, as ``N 3, H 1``."""
    if manifest is None:
        return {}
    rows = manifest[manifest[KEY].isin(names)].set_index(KEY)[list(VOTES)].fillna(0).astype(int)
    rows.columns = list(CLASSES)
    ordered = {name: counts[counts > 0].sort_values(ascending=False, kind="stable") for name, counts in rows.iterrows()}
    return {name: ", ".join(f"{letter} {n}" for letter, n in counts.items()) for name, counts in ordered.items()}
