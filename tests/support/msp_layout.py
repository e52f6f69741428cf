"""A small corpus in MSP-Podcast's own layout, odd rows included; its audio is noise, its labels are made up."""

import csv
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import soundfile

TRAIN = {"A": 5, "C": 3, "D": 2, "F": 2, "H": 8, "N": 12, "S": 5, "U": 3, "O": 2, "X": 6}
DEVELOPMENT = {"A": 4, "C": 3, "D": 3, "F": 2, "H": 5, "N": 6, "S": 4, "U": 3, "O": 1, "X": 2}
TEST1 = {"A": 2, "N": 3, "X": 1}
HIDDEN_TESTS = 6
WORDS = {
    "A": "Angry",
    "C": "Contempt",
    "D": "Disgust",
    "F": "Fear",
    "H": "Happy",
    "N": "Neutral",
    "S": "Sad",
    "U": "Surprise",
}
COLUMNS = ["FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set"]


def write(
    root: Path,
    *,
    audio: str = "Audios",
    labels: Literal["csv", "json"] = "csv",
    votes: Literal["detail", "columns", "json", "none"] = "detail",
    partitions: bool = True,
    speaker_style: Literal["number", "Spkr"] = "number",
    test1: bool = False,
    seconds: float = 0.12,
) -> pd.DataFrame:
    """Write a corpus under `root` and return its labelled rows as the consensus label file has them.

    Every tenth speaker is `Unknown`; every fifth utterance has no transcript; the hidden `Test3` stands only in
    `Partitions.txt` (without `partitions`: only among the audio files).

    Args:
        audio: name of the audio folder.
        labels: the format of the consensus labels.
        votes: the format of the individual annotations (`detail`: one field as in the challenge release).
        speaker_style: `30` or `Spkr_30`.
        test1: add a labelled Test1, as release 2.0 has.
        seconds: length of each clip.
    """
    rows = _rows({"Train": TRAIN, "Development": DEVELOPMENT} | ({"Test1": TEST1} if test1 else {}), speaker_style)
    hidden = [f"MSP-PODCAST_test3_{number:04}.wav" for number in range(1, HIDDEN_TESTS + 1)]
    (root / "Labels").mkdir(parents=True)
    if labels == "csv":
        rows.to_csv(root / "Labels/labels_consensus.csv", index=False)
    else:
        _dump(rows.set_index("FileName").to_dict(orient="index"), root / "Labels/labels_consensus.json")
    _write_annotations({row.FileName: _annotations(row.EmoClass) for row in rows.itertuples()}, root, votes)
    if partitions:
        lines = [f"{row.Split_Set}; {row.FileName}" for row in rows.itertuples()] + [
            f"Test3; {name}" for name in hidden
        ]
        (root / "Partitions.txt").write_text("\n".join(lines) + "\n\n")
    _write_speakers(rows, root)
    (root / "Transcripts").mkdir()
    for number, name in enumerate(rows["FileName"]):
        if number % 5:
            (root / "Transcripts" / name.replace(".wav", ".txt")).write_text(
                f"So that’s\r\n number {number}. \n", encoding="utf-8"
            )
    generator = np.random.default_rng(0)
    (root / audio).mkdir(parents=True)
    for name in [*rows["FileName"], *hidden]:
        soundfile.write(root / audio / name, generator.normal(0, 0.1, int(seconds * 16_000)), 16_000)
    return rows


def _rows(sets: dict[str, dict[str, int]], speaker_style: str) -> pd.DataFrame:
    classes = [(name, letter) for name, counts in sets.items() for letter, n in counts.items() for _ in range(n)]
    rows = []
    for number, (set_name, letter) in enumerate(classes):
        speaker = number % 7 + 100 * list(sets).index(set_name)  # disjoint over the sets
        unknown = number % 10 == 9
        rows.append(
            {
                "FileName": f"MSP-PODCAST_{speaker:04}_{number:04}.wav",
                "EmoClass": letter,
                "EmoAct": "2.2",
                "EmoVal": "4.0",
                "EmoDom": f"{1 + number % 6}.833333",
                "SpkrID": "Unknown" if unknown else f"Spkr_{speaker}" if speaker_style == "Spkr" else str(speaker),
                "Gender": "Unknown" if unknown else ("Male", "Female")[speaker % 2],
                "Split_Set": set_name,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _annotations(letter: str) -> list[str]:
    """Primary emotions of five annotators: three agree, one says another thing, one is off the list."""
    agreed = {"O": ["Other-confused"] * 3, "X": ["Sad", "Sad", "Happy"]}.get(letter, [WORDS.get(letter)] * 3)
    return [*agreed, "Happy" if letter != "H" else "Neutral", "Other-Tired, really"]


def _write_annotations(annotations: dict[str, list[str]], root: Path, style: str) -> None:
    pairs = [
        (name, f"WORKER{worker:08}", word) for name, words in annotations.items() for worker, word in enumerate(words)
    ]
    if style == "json":
        content: dict[str, dict] = {name: {} for name in annotations}
        for name, worker, word in pairs:
            content[name][worker] = {"EmoClass_Major": word, "EmoClass_Second": "Neutral,Tired", "EmoAct": "3"}
        _dump(content, root / "Labels/labels_detailed.json")
    elif style != "none":
        with (root / "Labels/labels_detailed.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            if style == "columns":
                writer.writerow(["FileName", "Workers", "EmoClass_Major", "EmoClass_Second", "EmoAct"])
                writer.writerows([name, worker, word, "Neutral,Tired", "3.0"] for name, worker, word in pairs)
            else:
                writer.writerow(["FileName", "EmoDetail"])
                writer.writerows(
                    [name, f"{worker}; {word}; Neutral,Tired; A:3.000000; V:3.000000; D:4.000000;"]
                    for name, worker, word in pairs
                )


def _write_speakers(rows: pd.DataFrame, root: Path) -> None:
    known = rows[rows["SpkrID"] != "Unknown"]
    numbers = known["SpkrID"].str.removeprefix("Spkr_")
    genders = dict(zip(numbers, known["Gender"], strict=True))
    lines = ["Speaker information", ""]
    lines += [f"Speaker_{number}; {gender}" for number, gender in genders.items()]
    lines += ["", *(f"{name}; {number}" for name, number in zip(known["FileName"], numbers, strict=True))]
    lines += [f"{name}; Unknown" for name in rows["FileName"][rows["SpkrID"] == "Unknown"]]
    (root / "Speaker_ids.txt").write_text("\n".join(lines) + "\n")


def _dump(value: dict, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1))
