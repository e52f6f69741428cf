"""The report: one self-contained HTML file, and its tables as CSV and Markdown."""

from pathlib import Path

import jinja2
import yaml

from abhinaya import __version__
from abhinaya.evaluation.analysis.predictions import MIN_SPEAKERS
from abhinaya.evaluation.metrics import LEVEL
from abhinaya.evaluation.voting import voters
from abhinaya.labels import EMOTIONS
from abhinaya.reporting import table
from abhinaya.reporting.report import figures, findings, summary
from abhinaya.reporting.report.ensembles import agreement_maps, ensembles
from abhinaya.reporting.report.fusions import fusions
from abhinaya.reporting.report.inputs import Inputs, read
from abhinaya.reporting.report.probes import without_probe
from abhinaya.reporting.report.transcription import transcription
from abhinaya.reporting.report.wording import count, percentage
from abhinaya.reporting.report.worst_errors import links, worst_errors
from abhinaya.runtime.files import write_csv, write_text

__all__ = ["Inputs", "describe", "read", "render", "score_table", "write"]
MAX_LISTED = 10  # rejected utterances in the report


def write(inputs: Inputs, folder: Path) -> None:
    """Write `report.html`, `scores.csv`, `scores.md`, `per_class.csv` and `per_class.md` into `folder`."""
    write_csv(table.scores_csv(inputs.scores), folder / "scores.csv")
    write_text(score_table(inputs).markdown(), folder / "scores.md")
    write_csv(table.per_class_csv(inputs.scores), folder / "per_class.csv")
    sections = [
        f"## F1 (%) on {split}\n\n{table.per_class_table(inputs.scores, split).markdown()}"
        for split in table.scored_splits(inputs.scores)
    ]
    write_text("\n".join(sections), folder / "per_class.md")
    write_text(render(inputs, links(inputs, folder)), folder / "report.html")


def render(inputs: Inputs, audio: dict[str, str] | None = None) -> str:
    """The HTML of the report; deterministic.

    Args:
        audio: addresses of the errors' audio files by path, from `links`; without them there are no players.
    """
    settings = {
        name: yaml.safe_dump(config["settings"], sort_keys=False, allow_unicode=True)
        for name, config in inputs.made.items()
        if "settings" in config
    }
    sections = {  # key (template variable and anchor): heading, content
        "summary": ("Summary", summary.results(inputs)),
        "scores": ("Scores", score_table(inputs)),
        "paper": ("The paper's tables", inputs.paper),
        "significance": ("Significance", findings.significance(inputs)),
        "vote": ("Vote", ensembles(inputs)),
        "fusion": ("Fusion", fusions(inputs.fusions)),
        "classes": ("Emotions", _classes(inputs.scores)),
        "confusions": ("Confusions", _confusions(inputs.scores, inputs.members())),
        "calibration": ("Calibration", findings.calibration(inputs)),
        "subgroups": ("Subgroups", findings.subgroups(inputs)),
        "worst_errors": ("Worst errors", worst_errors(inputs, audio or {})),
        "training": ("Training", _training(inputs.metrics)),
        "labelling": ("Labelling", table.labelling_table(inputs.labellings) if inputs.labellings else None),
        "corpus": ("Corpus", table.corpus_tables(inputs.summary) if inputs.summary else None),
        "rejected": ("Rejected utterances", _rejected(inputs)),
        "transcripts": ("Transcripts", transcription(inputs)),
        "configuration": ("Configuration", settings),
    }
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("report.html.j2").render(
        {key: content for key, (_, content) in sections.items()},
        version=__version__,
        title=inputs.title,
        contents=[(key, heading) for key, (heading, content) in sections.items() if content],
        context=summary.context(inputs),
        overview=summary.figure(inputs),
        agreement=agreement_maps(inputs),
        bootstrap=next((system["bootstrap"] for system in inputs.scores.values() if "bootstrap" in system), None),
        unlabelled=summary.unlabelled(inputs.scores),
        limitations=summary.limitations(inputs),
        without_probe=without_probe(inputs),
        playable=bool(audio),
        members_vote=bool(inputs.members()),
        corpus_summary=inputs.summary,
        rejected_file=inputs.rejected_file,
        versions=table.versions_table(inputs.made) if inputs.made else None,
        alpha=f"{summary.ALPHA:.2g}",
        level=LEVEL,
        min_speakers=MIN_SPEAKERS,
        emotion=table.emotion,
        number=table.number,
        percentage=percentage,
    )


def score_table(inputs: Inputs) -> table.Table:
    """The scores of all systems and ensembles, with a description of each."""
    descriptions = {name: describe(config, inputs.descriptions.get(name, "")) for name, config in inputs.made.items()}
    descriptions |= {name: f"vote of {' '.join(voters(voted))}" for name, voted in inputs.votes.items()}
    descriptions |= {name: result.describe() for name, result in inputs.fusions.items()}
    return table.score_table(inputs.scores, inputs.descriptions | descriptions)


def describe(config: dict, description: str = "") -> str:
    """A one-line description: the configured one, else the encoder or model, and the loss."""
    settings = config.get("settings", {})
    loss = settings.get("loss") or {}  # a probe has none
    parameters = [f"{sign} {loss[key]:g}" for key, sign in (("gamma", "γ"), ("tau", "τ")) if key in loss]
    parts = [
        description or settings.get("encoder", settings).get("model", ""),
        " ".join([str(loss.get("name", "")).upper(), *parameters]).strip(),
    ]
    return ", ".join(part for part in parts if part)


def _classes(scores: dict[str, dict]) -> list[tuple[str, findings.Figures, table.Table]]:
    """For each split with scores, the test split first: bars of each emotion, and the table."""
    classes = []
    for split in reversed(table.scored_splits(scores)):
        f1_of = {name: values["per_class_f1"] for name, values in table.scores_on(scores, split).items()}
        bars = [
            (
                table.emotion(letter),
                figures.class_bars({name: f1[letter] for name, f1 in f1_of.items()}, f"F1 on {split}: {emotion}"),
            )
            for letter, emotion in EMOTIONS.items()
        ]
        classes.append((split, bars, table.per_class_table(scores, split)))
    return classes


def _confusions(scores: dict[str, dict], members: dict[str, list[str]]) -> dict[str, findings.Figures]:
    """`first`: the best system and the ensembles on the main split; `others`: the rest. Empty without scores."""
    main_split = summary.headline(scores)
    if main_split is None:
        return {}
    shown_first = {summary.best(scores, main_split), *members}
    matrices: dict[str, findings.Figures] = {"first": [], "others": []}
    for name, split, values in table.scored(scores):
        place = "first" if split == main_split and name in shown_first else "others"
        figure = figures.confusion(values["confusion"], f"confusion matrix of {name} on {split}")
        matrices[place].append((f"{name}, {split}", figure))
    return matrices


def _training(metrics: dict[str, dict]) -> findings.Figures:
    return [
        (name, figures.training_curves(training["epochs"], training.get("best_epoch"), f"training of {name}"))
        for name, training in metrics.items()
        if training.get("epochs")
    ]


def _rejected(inputs: Inputs) -> dict | None:
    """The rejected utterances: a sentence with the number and the list's path, and the first rows."""
    rows = inputs.rejected
    if rows is None:
        return None
    if rows.empty:
        sentence = "No utterance was rejected: all audio files could be read and are long enough."
        return {"sentence": sentence, "table": None}
    shown = f" Here are the first {MAX_LISTED}." if len(rows) > MAX_LISTED else ""
    sentence = f"{count(len(rows), 'utterance')} rejected, listed in {inputs.rejected_file}.{shown}"
    first = rows.head(MAX_LISTED).itertuples()
    cells = [[table.Cell(row.FileName, row.path), table.Cell(row.reason)] for row in first]
    return {"sentence": sentence, "table": table.Table(["utterance", "reason"], cells)}
