"""Statistics of the corpus (the paper's § 4.1)."""

from abhinaya.data.schemas import SPLITS
from abhinaya.labels import CLASSES, NO_AGREEMENT, OTHER
from abhinaya.reporting.paper import published
from abhinaya.reporting.paper.compare import MSP_PODCAST, ComparisonTable, records_frame
from abhinaya.reporting.paper.inputs import Inputs, require
from abhinaya.reporting.table import Cell, Table, emotion, number, percent

FILES = {"train": "Train", "test": "Test3"}  # splits that are a whole partition of the paper's corpus
NAMES = {"labelled": "of the eight emotions", "imbalance": "largest class / smallest"}  # of measures
OTHERS = {OTHER: "another emotion", NO_AGREEMENT: "no agreement"}
LABELLED = ("labelled", None)


def section_4_1(inputs: Inputs) -> ComparisonTable:
    """Utterances by split and class, imbalance, speakers and hours, beside the published counts."""
    require(inputs.summary, "--summary", "the corpus's summary.json")
    ours = {split: _values(inputs.summary["splits"].get(split) or {}) for split in SPLITS}
    paper = {split: _values(_published(split)) for split in SPLITS}
    keys = list(dict.fromkeys(key for values in ours.values() for key in values))
    rows = [
        [Cell(_name(*key)), *[_cell(key, values[split]) for split in SPLITS for values in (ours, paper)]]
        for key in keys
    ]
    records = [[split, *key, values.get(key), paper[split].get(key)] for split, values in ours.items() for key in keys]
    kind = inputs.summary.get("kind")
    corpus = "the paper's corpus" if kind == MSP_PODCAST else "MSP-Podcast, not of the corpus here"
    return ComparisonTable(
        "The paper's § 4.1: the corpus",
        f"Utterances by split and emotion, with their share {NAMES['labelled']}; speakers, hours and imbalance.",
        Table(["", *["ours", "paper"] * len(SPLITS)], rows, [("", 1), *[(split, 2) for split in SPLITS]]),
        records_frame(records, ["split", "measure", "class", "value", "paper"]),
        [
            f"The published counts are of {corpus}: {_files()}. The counts of train by emotion are from the authors' "
            "code; those of test are unpublished.",
            "The paper's validation set is the authors' own draw from Development. `corpus.validation.per_class` draws "
            "another one; `corpus.validation.files` can list theirs.",
            "Imbalance is over the emotions that occur in the split.",
        ],
    )


def _values(part: dict) -> dict[tuple[str, str | None], float | int | None]:
    """The numbers of a split by (measure, class), None if missing; `part` is its part of the corpus's summary."""
    classes = part.get("classes") or {}
    eight = {letter: classes.get(letter, 0) for letter in CLASSES} if classes else {}
    totals = {(measure, None): part.get(measure) for measure in ("utterances", "hours", "speakers")}
    totals |= {LABELLED: sum(eight.values()) if eight else None, ("imbalance", None): _imbalance(eight)}
    counts = {letter: eight.get(letter) for letter in CLASSES}
    counts |= {letter: classes[letter] for letter in OTHERS if letter in classes}
    return totals | {("utterances", letter): count for letter, count in counts.items()}


def _published(split: str) -> dict:
    """The paper's numbers of a split, in the format of a corpus's summary."""
    classes = published.counts(split) or {}
    utterances = sum(classes.values()) if split == "validation" else published.FILES[FILES[split]]
    return {"utterances": utterances, "classes": classes}


def _files() -> str:
    """The files of each partition, with any label."""
    return ", ".join(f"{number(files)} files in {partition}" for partition, files in published.FILES.items())


def _name(measure: str, letter: str | None) -> str:
    if letter in OTHERS:
        return f"{OTHERS[letter]} ({letter})"
    return emotion(letter) if letter else NAMES.get(measure, measure)


def _cell(key: tuple[str, str | None], values: dict) -> Cell:
    """A number; for one of the eight emotions with its share of all eight."""
    has_share = key[1] in CLASSES and values.get(LABELLED)
    return Cell(number(values.get(key)), f"({percent(values[key] / values[LABELLED])} %)" if has_share else "")


def _imbalance(counts: dict[str, int]) -> float | None:
    known = [count for count in counts.values() if count]
    return max(known) / min(known) if known else None
