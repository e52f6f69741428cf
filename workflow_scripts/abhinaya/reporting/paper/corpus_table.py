"""What the corpus holds (the paper's § 4.1)."""

from abhinaya.data.schemas import SPLITS
from abhinaya.labels import CLASSES, EMOTIONS, NO_AGREEMENT, OTHER
from abhinaya.reporting.paper import published
from abhinaya.reporting.paper.compare import MSP_PODCAST, Made, frame
from abhinaya.reporting.paper.inputs import Inputs, needs
from abhinaya.reporting.table import Cell, Table, number, percent

FILES = {"train": "Train", "test": "Test3"}  # splits that are a whole partition of the paper's corpus
EIGHT = "of the eight emotions"
IMBALANCE = "largest class / smallest"


def section_4_1(inputs: Inputs) -> Made:
    """Utterances by split and class, imbalance, speakers and hours, beside the published counts."""
    needs(inputs.summary, "--summary", "the corpus's summary.json")
    parts = {split: inputs.summary["splits"].get(split) or {} for split in SPLITS}
    ours = {split: _ours(part) for split, part in parts.items()}
    theirs = {split: _paper(split) for split in SPLITS}
    names = list(dict.fromkeys(name for found in ours.values() for name in found))
    rows = [
        [Cell(name), *[cell for split in SPLITS for cell in _cells(name, ours[split], theirs[split])]] for name in names
    ]
    records = [
        {"split": split, **_measure(name), "value": found.get(name), "paper": theirs[split].get(name)}
        for split, found in ours.items()
        for name in names
    ]
    kind = inputs.summary.get("kind")
    corpus = "the paper's corpus" if kind == MSP_PODCAST else "MSP-Podcast, whatever the corpus here is"
    return Made(
        "The paper's § 4.1: the corpus",
        f"Utterances by split and emotion, with their share {EIGHT}; speakers, hours and imbalance.",
        Table(["", *["ours", "paper"] * len(SPLITS)], rows, [("", 1), *[(split, 2) for split in SPLITS]]),
        frame(records, ["split", "measure", "class", "value", "paper"]),
        [
            f"The published counts are of {corpus}. Those of train by emotion are from the authors' code; those of "
            "test are unpublished.",
            "Imbalance is over the emotions that occur in the split.",
        ],
    )


def _ours(part: dict) -> dict[str, float | int | None]:
    """A split's numbers by their row's name; None where the summary has none."""
    classes = part.get("classes") or {}
    eight = {letter: classes.get(letter, 0) for letter in CLASSES} if classes else {}
    found = {"utterances": part.get("utterances"), "hours": part.get("hours"), "speakers": part.get("speakers")}
    found |= {EIGHT: sum(eight.values()) if eight else None, IMBALANCE: _imbalance(eight)}
    found |= {_emotion(letter): eight.get(letter) for letter in CLASSES}
    for letter, name in ((OTHER, "another emotion"), (NO_AGREEMENT, "no agreement")):
        if letter in classes:
            found[f"{name} ({letter})"] = classes[letter]
    return found


def _paper(split: str) -> dict[str, float | int | None]:
    found: dict[str, float | int | None] = {"utterances": published.FILES.get(FILES.get(split, ""))}
    if counts := published.counts(split):
        found |= {EIGHT: sum(counts.values()), IMBALANCE: _imbalance(counts)}
        found |= {_emotion(letter): counts[letter] for letter in CLASSES}
    return found


def _cells(name: str, ours: dict, theirs: dict) -> list[Cell]:
    return [Cell(number(found.get(name)), _share(name, found)) for found in (ours, theirs)]


def _share(name: str, found: dict) -> str:
    emotions = {_emotion(letter) for letter in CLASSES}
    if name not in emotions or not found.get(EIGHT):
        return ""
    return f"({percent(found[name] / found[EIGHT])} %)"


def _imbalance(counts: dict[str, int]) -> float | None:
    known = [count for count in counts.values() if count]
    return max(known) / min(known) if known else None


def _emotion(letter: str) -> str:
    return f"{EMOTIONS[letter]} ({letter})"


def _measure(name: str) -> dict[str, str | None]:
    """A row's name as the records have it."""
    plain = {EIGHT: "labelled", IMBALANCE: "imbalance"}.get(name, name)
    if plain.endswith(")"):
        return {"measure": "utterances", "class": plain[-2]}
    return {"measure": plain, "class": None}
