"""The report: one self-contained HTML file, and its tables as CSV and Markdown."""

from pathlib import Path

import jinja2
import yaml
from markupsafe import Markup

from abhinaya import __version__
from abhinaya.data.schemas import KEY
from abhinaya.evaluation.analysis.predictions import MIN_SPEAKERS
from abhinaya.evaluation.metrics import LEVEL
from abhinaya.evaluation.voting import voters
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.reporting import table
from abhinaya.reporting.report import figures, findings, summary
from abhinaya.reporting.report.ensembles import agreement, alike, ensembles
from abhinaya.reporting.report.inputs import REFERENCES, Inputs, read
from abhinaya.reporting.report.transcription import transcription, word_errors
from abhinaya.reporting.report.wording import count
from abhinaya.reporting.report.worst_errors import links, worst_errors
from abhinaya.runtime.files import write_csv, write_text

__all__ = [
    "REFERENCES",
    "Inputs",
    "agreement",
    "describe",
    "links",
    "read",
    "render",
    "score_table",
    "word_errors",
    "write",
]
MAX_LISTED = 10  # rejected utterances in the report
# The sections in order: key (template variable and anchor) and heading.
SECTIONS = {
    "summary": "Summary",
    "scores": "Scores",
    "paper": "The paper's tables",
    "significance": "Significance",
    "vote": "Vote",
    "classes": "Emotions",
    "confusions": "Confusions",
    "calibration": "Calibration",
    "subgroups": "Subgroups",
    "worst_errors": "Worst errors",
    "training": "Training",
    "labelling": "Labelling",
    "corpus": "Corpus",
    "rejected": "Rejected utterances",
    "transcripts": "Transcripts",
    "configuration": "Configuration",
}


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
    sections = {
        "summary": summary.results(inputs),
        "scores": score_table(inputs),
        "paper": inputs.paper,
        "significance": findings.significance(inputs),
        "vote": ensembles(inputs),
        "classes": _classes(inputs.scores),
        "confusions": _confusions(inputs.scores, inputs.members()),
        "calibration": findings.calibration(inputs),
        "subgroups": findings.subgroups(inputs),
        "worst_errors": worst_errors(inputs, audio or {}),
        "training": _training(inputs.metrics),
        "labelling": table.labelling_table(inputs.labellings) if inputs.labellings else None,
        "corpus": table.corpus_tables(inputs.summary) if inputs.summary else None,
        "rejected": _rejected(inputs),
        "transcripts": transcription(inputs),
        "configuration": settings,
    }
    return _page(
        "report.html.j2",
        title=inputs.title,
        contents=[(key, heading) for key, heading in SECTIONS.items() if sections[key]],
        **sections,
        circumstances=summary.circumstances(inputs),
        overview=summary.figure(inputs),
        alike=alike(inputs),
        bootstrap=next((system["bootstrap"] for system in inputs.scores.values() if "bootstrap" in system), None),
        unlabelled=summary.left_out(inputs.scores),
        notes=summary.notes(inputs),
        playable=bool(audio),
        members_vote=bool(inputs.members()),
        corpus_summary=inputs.summary,
        rejected_file=inputs.rejected_file,
        versions=table.versions_table(inputs.made) if inputs.made else None,
        alpha=f"{summary.ALPHA:.2g}",
        level=LEVEL,
        min_speakers=MIN_SPEAKERS,
        number=table.number,
    )


def score_table(inputs: Inputs) -> table.Table:
    """The scores of all systems and ensembles, with a description of each."""
    descriptions = {name: describe(config, inputs.descriptions.get(name, "")) for name, config in inputs.made.items()}
    descriptions |= {name: f"vote of {' '.join(voters(voted))}" for name, voted in inputs.votes.items()}
    return table.score_table(inputs.scores, descriptions)


def describe(config: dict, description: str = "") -> str:
    """A one-line description: the configured one, else the encoder or model, and the loss."""
    settings = config.get("settings", {})
    loss = settings.get("loss", {})
    parameters = [f"{sign} {loss[key]:g}" for key, sign in (("gamma", "γ"), ("tau", "τ")) if key in loss]
    parts = [
        description or settings.get("encoder", settings).get("model", ""),
        " ".join([str(loss.get("name", "")).upper(), *parameters]).strip(),
    ]
    return ", ".join(part for part in parts if part)


def _page(template: str, **values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=__version__, **values)


def _classes(scores: dict[str, dict]) -> list[tuple[str, findings.Figures, table.Table]]:
    """For each split with scores, the test split first: bars of each emotion, and the table."""
    return [
        (split, _class_figures(scores, split), table.per_class_table(scores, split))
        for split in reversed(table.scored_splits(scores))
    ]


def _class_figures(scores: dict[str, dict], split: str) -> findings.Figures:
    f1_of = {name: system[split]["per_class_f1"] for name, system in scores.items() if system.get(split)}
    return [
        (
            f"{EMOTIONS[letter]} ({letter})",
            figures.class_bars({name: f1[letter] for name, f1 in f1_of.items()}, f"F1 on {split}: {EMOTIONS[letter]}"),
        )
        for letter in CLASSES
    ]


def _confusions(scores: dict[str, dict], members: dict[str, list[str]]) -> dict[str, findings.Figures]:
    """`first`: the best system and the ensembles on the main split; `others`: the rest. Empty without scores."""
    main_split = summary.headline(scores)
    if main_split is None:
        return {}
    chosen = {summary.best(scores, main_split), *members}
    drawn: dict[str, findings.Figures] = {"first": [], "others": []}
    for name, split, values in table.scored(scores):
        picture: Markup = figures.confusion(values["confusion"], f"confusion matrix of {name} on {split}")
        drawn["first" if split == main_split and name in chosen else "others"].append((f"{name}, {split}", picture))
    return drawn


def _training(metrics: dict[str, dict]) -> findings.Figures:
    return [
        (name, figures.training_curves(found["epochs"], found.get("best_epoch"), f"training of {name}"))
        for name, found in metrics.items()
        if found.get("epochs")
    ]


def _rejected(inputs: Inputs) -> dict | None:
    """The rejected utterances: a sentence with the number and the list's path, and the first rows."""
    rows = inputs.rejected
    if rows is None:
        return None
    if rows.empty:
        return {
            "sentence": "No utterance was rejected: all audio files could be read and are long enough.",
            "table": None,
        }
    first = rows.head(MAX_LISTED)
    shown = "" if len(rows) == len(first) else f" Here are the first {MAX_LISTED}."
    sentence = f"{count(len(rows), 'utterance')} rejected, listed in {inputs.rejected_file}.{shown}"
    cells = [[table.Cell(row[KEY], row["path"]), table.Cell(row["reason"])] for _, row in first.iterrows()]
    return {"sentence": sentence, "table": table.Table(["utterance", "reason"], cells)}
