"""The report: one HTML file that needs nothing else, and its tables as CSV and Markdown."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import jiwer
import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from markupsafe import Markup
from pydantic import ValidationError

from abhinaya import __version__
from abhinaya.errors import UserError
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.report import figures, tables
from abhinaya.scoring import Scores
from abhinaya.tables import (
    KEY,
    read_json,
    read_metadata,
    read_parquet,
    read_predictions,
    read_transcripts,
    write_csv,
    write_text,
)
from abhinaya.voting import VOTE, count_ties, voters

REFERENCES = pa.schema([pa.field(KEY, pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])
REJECTED = "results/corpus/rejected.csv"  # where the workflow lists unusable audio
NORMALISE = jiwer.Compose(
    [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()]
)  # digits are not spelled out


@dataclass
class Inputs:
    """What the report is made of; all but the scores may be empty.

    Args:
        scores: the `scores.json` of each system and ensemble, by name, in the order to show.
        configs, metrics: `config.json` and `metrics.json` of trained systems, by name.
        labellings: `labelling.json` of zero-shot systems, by name.
        votes: tables of `voting.vote`, by the ensemble's name.
        summary: the corpus's summary.
        transcripts, transcripts_metadata: the table and what its file says about itself.
        references: known texts (`FileName`, `text`).
        about: what the user says of each system, by name.
    """

    title: str
    scores: dict[str, dict]
    configs: dict[str, dict] = field(default_factory=dict)
    metrics: dict[str, dict] = field(default_factory=dict)
    labellings: dict[str, dict] = field(default_factory=dict)
    votes: dict[str, pd.DataFrame] = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    transcripts: pd.DataFrame | None = None
    transcripts_metadata: dict = field(default_factory=dict)
    references: pd.DataFrame | None = None
    about: dict[str, str] = field(default_factory=dict)

    @property
    def made(self) -> dict[str, dict]:
        """What each system, trained or asked, says of itself: `settings`, `notes`, `versions`."""
        found = self.configs | self.labellings
        return {name: found[name] for name in [*self.scores, *found] if name in found}


def read(
    title: str,
    scores: dict[str, Path],
    models: list[Path],
    labellings: list[Path],
    votes: list[Path],
    summary: Path | None = None,
    transcripts: Path | None = None,
    references: Path | None = None,
    about: dict[str, str] | None = None,
) -> Inputs:
    """Read the files behind the report. An ensemble's name in `votes` is its folder's.

    Raises:
        UserError: a file that is absent or not what it should be.
    """
    configs = {folder: read_json(folder / "config.json") for folder in models}
    names = {folder: str(config.get("name", folder.parent.name)) for folder, config in configs.items()}
    ensembles = {path: path.resolve().parent.name for path in votes}
    asked = {path: read_json(path) for path in labellings}
    names |= {path: str(found.get("name", path.resolve().parent.name)) for path, found in asked.items()}
    _check_distinct("models and --labellings", names)
    _check_distinct("votes", ensembles)
    return Inputs(
        title=title,
        scores={name: _read_scores(path) for name, path in scores.items()},
        configs={names[folder]: config for folder, config in configs.items()},
        metrics={names[folder]: read_json(folder / "metrics.json") for folder in models},
        labellings={names[path]: found for path, found in asked.items()},
        votes={ensembles[path]: _read_votes(path) for path in votes},
        summary=read_json(summary) if summary else {},
        transcripts=read_transcripts(transcripts) if transcripts else None,
        transcripts_metadata=read_metadata(transcripts) if transcripts else {},
        references=read_parquet(references, REFERENCES, (KEY, "text")) if references else None,
        about=about or {},
    )


def write(inputs: Inputs, folder: Path) -> None:
    """Write `report.html`, `scores.csv`, `scores.md`, `per_class.csv` and `per_class.md` into `folder`."""
    write_csv(tables.scores_csv(inputs.scores), folder / "scores.csv")
    write_text(score_table(inputs).markdown(), folder / "scores.md")
    write_csv(tables.per_class_csv(inputs.scores), folder / "per_class.csv")
    sections = [
        f"## F1 (%) on {split}\n\n{tables.per_class_table(inputs.scores, split).markdown()}"
        for split in tables.scored_splits(inputs.scores)
    ]
    write_text("\n".join(sections), folder / "per_class.md")
    write_text(render(inputs), folder / "report.html")


def render(inputs: Inputs) -> str:
    """The page. The same inputs give the same text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        title=inputs.title,
        version=__version__,
        scores=score_table(inputs),
        bootstrap=next((system["bootstrap"] for system in inputs.scores.values() if "bootstrap" in system), None),
        unlabelled=_left_out(inputs.scores),
        notes=_notes(inputs),
        per_class=[
            (split, _class_figures(inputs.scores, split), tables.per_class_table(inputs.scores, split))
            for split in tables.scored_splits(inputs.scores)
        ],
        confusions=_confusion_figures(inputs.scores),
        votes={name: tables.vote_table(count_ties(voted), agreement(voted)) for name, voted in inputs.votes.items()},
        training=_training_figures(inputs.metrics),
        labelling=tables.labelling_table(inputs.labellings) if inputs.labellings else None,
        corpus=tables.corpus_tables(inputs.summary) if inputs.summary else None,
        summary=inputs.summary,
        rejected=REJECTED,
        transcription=_transcription(inputs) if inputs.transcripts is not None else None,
        settings={
            name: yaml.safe_dump(config["settings"], sort_keys=False, allow_unicode=True)
            for name, config in inputs.made.items()
            if "settings" in config
        },
        versions=tables.versions_table(inputs.made) if inputs.made else None,
        number=tables.number,
    )


def score_table(inputs: Inputs) -> tables.Table:
    """The scores of all systems and ensembles, each with a line that says what it is."""
    about = {name: describe(config, inputs.about.get(name, "")) for name, config in inputs.made.items()}
    about |= {name: f"vote of {' '.join(voters(voted))}" for name, voted in inputs.votes.items()}
    return tables.score_table(inputs.scores, about)


def describe(config: dict, about: str = "") -> str:
    """A system in a line: the user's words for it or else its encoder or model, and the loss it was trained with."""
    settings = config.get("settings", {})
    loss = settings.get("loss", {})
    parameters = [f"{sign} {loss[key]:g}" for key, sign in (("gamma", "γ"), ("tau", "τ")) if key in loss]
    parts = [
        about or settings.get("encoder", settings).get("model", ""),
        " ".join([str(loss.get("name", "")).upper(), *parameters]).strip(),
    ]
    return ", ".join(part for part in parts if part)


def agreement(voted: pd.DataFrame) -> dict[str, float]:
    """The share of utterances (0 to 1) on which each member's label is the vote."""
    return {name: float((voted[f"{VOTE}{name}"] == voted["EmoClass"]).mean()) for name in voters(voted)}


def word_errors(transcripts: pd.DataFrame, references: pd.DataFrame) -> dict[str, float | int]:
    """Word error rate of transcripts against known texts, over all words together.

    Both are lower-cased and freed of punctuation; digits are not spelled out. A known text without words is left
    out, for it has no rate.

    Returns:
        `wer` (errors per known word), `utterances`, `words`, `substitutions`, `deletions`, `insertions`; empty if no
        utterance is in both tables.
    """
    both = references.merge(transcripts, on=KEY, suffixes=("_known", "_heard"))
    known, heard = ([NORMALISE(text) for text in both[column]] for column in ("text_known", "text_heard"))
    pairs = [(truth, guess) for truth, guess in zip(known, heard, strict=True) if truth]
    if not pairs:
        return {}
    output = jiwer.process_words(*map(list, zip(*pairs, strict=True)))
    return {
        "wer": output.wer,
        "utterances": len(pairs),
        "words": output.hits + output.substitutions + output.deletions,
        "substitutions": output.substitutions,
        "deletions": output.deletions,
        "insertions": output.insertions,
    }


def _check_distinct(what: str, names: dict[Path, str]) -> None:
    if repeated := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise UserError(f"--{what}: two are called {repeated[0]!r}; give each system or ensemble once")


def _read_scores(path: Path) -> dict:
    scores = read_json(path)
    try:
        Scores.model_validate(scores)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "all of it"
        raise UserError(
            f"{path}: {place}: {first['msg']}, so these are no scores; give a scores.json as score.py writes it"
        ) from None
    return scores


def _read_votes(path: Path) -> pd.DataFrame:
    voted = read_predictions(path)
    if not voters(voted):
        raise UserError(f"{path}: no {VOTE}… column, so it is no ensemble's; give the preds.csv of a vote")
    return voted


def _notes(inputs: Inputs) -> list[tuple[str, str]]:
    """What to keep in mind when reading the scores: (the system or the corpus, a sentence)."""
    notes = [(name, line) for name, config in inputs.made.items() for line in config.get("notes") or []]
    if rejected := inputs.summary.get("rejected"):
        count = f"{tables.number(rejected)} utterance{'s' if rejected > 1 else ''}"
        line = (
            f"{count} rejected as unreadable or too short: in no split, so neither trained on, predicted nor scored; "
            f"a submission lacks those of the test split. {REJECTED} lists them."
        )
        notes.append(("corpus", line))
    return notes


def _left_out(scores: dict[str, dict]) -> dict[str, int]:
    """Utterances without a label by split, where there are any."""
    counts: dict[str, int] = {}
    for system in scores.values():
        for split, count in system.get("unlabelled", {}).items():
            counts[split] = max(count, counts.get(split, 0))
    return {split: count for split, count in counts.items() if count}


def _class_figures(scores: dict[str, dict], split: str) -> list[tuple[str, Markup]]:
    found = {name: system[split]["per_class_f1"] for name, system in scores.items() if system.get(split)}
    return [
        (
            f"{EMOTIONS[letter]} ({letter})",
            figures.class_bars({name: f1[letter] for name, f1 in found.items()}, f"F1 on {split}: {EMOTIONS[letter]}"),
        )
        for letter in CLASSES
    ]


def _confusion_figures(scores: dict[str, dict]) -> list[tuple[str, Markup]]:
    return [
        (f"{name}, {split}", figures.confusion(found["confusion"], f"confusion matrix of {name} on {split}"))
        for name, split, found in tables.scored(scores)
    ]


def _training_figures(metrics: dict[str, dict]) -> list[tuple[str, Markup]]:
    return [
        (name, figures.training_curves(found["epochs"], found.get("best_epoch"), f"training of {name}"))
        for name, found in metrics.items()
        if found.get("epochs")
    ]


def _transcription(inputs: Inputs) -> dict:
    """The transcripts' table of facts and, where there are log-probabilities, their histogram."""
    transcripts, metadata = inputs.transcripts, inputs.transcripts_metadata
    assert transcripts is not None
    pairs: dict[str, object] = {
        "model": metadata.get("model", tables.NOTHING),
        "utterances": tables.number(len(transcripts)),
        "empty": tables.number(int((transcripts["text"].str.strip() == "").sum())),
        "decoded again": tables.number((metadata.get("counts") or {}).get("redecoded")),
    }
    errors = word_errors(transcripts, inputs.references) if inputs.references is not None else {}
    if errors:
        pairs["word error rate (%)"] = tables.percent(errors["wer"])
        pairs["with known text: utterances"] = tables.number(errors["utterances"])
        pairs["known words"] = tables.number(errors["words"])
        for kind in ("substitutions", "deletions", "insertions"):
            pairs[kind] = tables.number(errors[kind])
    values = transcripts["avg_logprob"].to_numpy(float)
    values = values[np.isfinite(values)]
    label, title = "mean log-probability of a token", "log-probabilities of the transcripts"
    return {
        "facts": tables.facts(pairs),
        "compared": bool(errors),
        "histogram": figures.histogram(values, label, title) if len(values) else None,
    }
