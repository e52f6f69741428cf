"""The worst errors, with audio players for files on this machine."""

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
class WorstError:
    """An error in the report; `audio` is the player's address, or None without an audio file."""

    name: str
    split: str
    audio: str | None
    seconds: str
    truth: str
    annotators: str
    predicted: str
    confidence: str
    of_truth: str
    votes: list[tuple[str, str, bool]]  # member, its label, whether it is correct
    text: str


def worst_errors(inputs: Inputs, audio: dict[str, str]) -> dict[str, list[WorstError]]:
    """The worst errors of each system, most confident first; `audio` from `links`."""
    annotated = _annotators(inputs.manifest, inputs.analysed("worst_errors")[KEY])
    errors: dict[str, list[WorstError]] = {}
    for _, row in inputs.analysed("worst_errors").iterrows():
        errors.setdefault(row["system"], []).append(_error(row, audio.get(row["path"]), annotated))
    return errors


def links(inputs: Inputs, folder: Path) -> dict[str, str]:
    """Quoted addresses of the existing audio files of the errors, by path, relative to a page in `folder`.

    Symbolic links are not resolved, as in a browser.
    """
    paths = dict.fromkeys(inputs.analysed("worst_errors")["path"])
    return {path: quote(os.path.relpath(path, folder)) for path in paths if path and Path(path).is_file()}


def _error(row: pd.Series, audio: str | None, annotated: dict[str, str]) -> WorstError:
    votes = [token.rpartition(":") for token in row["votes"].split()]
    return WorstError(
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
    """The annotators' votes on each of `names`, most frequent first, such as ``N 3, H 1``."""
    if manifest is None:
        return {}
    rows = manifest[manifest[KEY].isin(names)].set_index(KEY)[list(VOTES)].fillna(0).astype(int)
    rows.columns = list(CLASSES)
    return {name: _format_votes(counts) for name, counts in rows.iterrows()}


def _format_votes(counts: pd.Series) -> str:
    ordered = counts[counts > 0].sort_values(ascending=False, kind="stable")
    return ", ".join(f"{letter} {n}" for letter, n in ordered.items())
