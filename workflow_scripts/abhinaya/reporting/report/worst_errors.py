"""The worst mistakes, with the audio where it lies on this machine."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from abhinaya.data.schemas import KEY, VOTES
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.reporting.report.inputs import Inputs
from abhinaya.reporting.report.wording import percent


@dataclass(frozen=True)
class Mistake:
    """A wrong label as the page shows it; `audio` is the player's address, None where there is nothing to play."""

    name: str
    split: str
    audio: str | None
    seconds: str
    truth: str
    annotators: str
    predicted: str
    confidence: str
    of_truth: str
    votes: list[tuple[str, str, bool]]  # member, its label, whether it is right
    text: str


def mistakes(inputs: Inputs, audio: dict[str, str]) -> dict[str, list[Mistake]]:
    """The mistakes of each system in the analysis, the most confident first; `audio` as of `links`."""
    annotated = _annotators(inputs.manifest, inputs.found("mistakes")[KEY])
    found: dict[str, list[Mistake]] = {}
    for _, row in inputs.found("mistakes").iterrows():
        found.setdefault(row["system"], []).append(_mistake(row, audio.get(row["path"]), annotated))
    return found


def links(inputs: Inputs, folder: Path) -> dict[str, str]:
    """Addresses of the mistakes' audio files that exist now, by path: relative to a page in `folder`, quoted.

    The way is taken by the names as written, as a browser takes it, which does not look behind symbolic links.
    """
    paths = dict.fromkeys(inputs.found("mistakes")["path"])
    return {path: quote(os.path.relpath(path, folder)) for path in paths if path and Path(path).is_file()}


def _mistake(row: pd.Series, audio: str | None, annotated: dict[str, str]) -> Mistake:
    votes = [token.rpartition(":") for token in row["votes"].split()]
    return Mistake(
        name=row[KEY],
        split=row["split"],
        audio=audio,
        seconds=f"{row['duration']:.1f} s" if row["duration"] == row["duration"] else "",
        truth=_emotion(row["truth"]),
        annotators=annotated.get(row[KEY], ""),
        predicted=_emotion(row["predicted"]),
        confidence=percent(row["confidence"]),
        of_truth=percent(row["p_truth"]),
        votes=[(member, letter, letter == row["truth"]) for member, _, letter in votes],
        text=row["text"].strip(),
    )


def _emotion(letter: str) -> str:
    return f"{EMOTIONS[letter]} ({letter})" if letter in EMOTIONS else letter


def _annotators(manifest: pd.DataFrame | None, names: pd.Series) -> dict[str, str]:
    """How the annotators voted on each of `names`, the most frequent label first, such as ``N 3, H 1``."""
    if manifest is None:
        return {}
    rows = manifest[manifest[KEY].isin(names)].set_index(KEY)[list(VOTES)].fillna(0).astype(int)
    rows.columns = list(CLASSES)
    return {name: _cast(counts) for name, counts in rows.iterrows()}


def _cast(counts: pd.Series) -> str:
    ordered = counts[counts > 0].sort_values(ascending=False, kind="stable")
    return ", ".join(f"{letter} {n}" for letter, n in ordered.items())
