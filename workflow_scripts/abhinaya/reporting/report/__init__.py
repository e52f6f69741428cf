"""The report: one HTML file that needs nothing else, and its tables as CSV and Markdown."""

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
from abhinaya.reporting.report.paper_tables import read_paper_tables
from abhinaya.reporting.report.transcription import transcription, word_errors
from abhinaya.reporting.report.wording import count
from abhinaya.reporting.report.worst_errors import links, mistakes
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
    "write_tables_page",
]
LISTED = 10  # rejected utterances that the page lists; their file has all
# The page's sections in their order: the key that is their anchor and what they are made of, and their heading.
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
    "mistakes": "Worst mistakes",
    "training": "Training",
    "labelling": "Labelling",
    "corpus": "Corpus",
    "rejected": "Left out",
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


def write_tables_page(paths: list[Path], folder: Path, title: str) -> None:
    """Write `tables.html` into `folder`: the paper's tables from the JSON files of make_paper_table.py, in their order.

    Raises:
        UserError: as `paper.read_paper_tables`.
    """
    paper = read_paper_tables(paths)
    contents = [(f"paper-{item.name}", item.title) for item in paper]
    write_text(_page("tables_page.html.j2", title=title, contents=contents, paper=paper), folder / "tables.html")


def render(inputs: Inputs, audio: dict[str, str] | None = None) -> str:
    """The page. The same inputs give the same text.

    Args:
        audio: addresses of the mistakes' audio by path, as of `links`; without them there are no players.
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
        "mistakes": mistakes(inputs, audio or {}),
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
        fewest_speakers=MIN_SPEAKERS,
        number=table.number,
    )


def score_table(inputs: Inputs) -> table.Table:
    """The scores of all systems and ensembles, each with a line that says what it is."""
    descriptions = {name: describe(config, inputs.descriptions.get(name, "")) for name, config in inputs.made.items()}
    descriptions |= {name: f"vote of {' '.join(voters(voted))}" for name, voted in inputs.votes.items()}
    return table.score_table(inputs.scores, descriptions)


def describe(config: dict, description: str = "") -> str:
    """A system in a line: the user's words for it or else its encoder or model, and the loss it was trained with."""
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
    """For each split that has scores, the one that counts first: bars of each emotion, and the table."""
    return [
        (split, _class_figures(scores, split), table.per_class_table(scores, split))
        for split in reversed(table.scored_splits(scores))
    ]


def _class_figures(scores: dict[str, dict], split: str) -> findings.Figures:
    found = {name: system[split]["per_class_f1"] for name, system in scores.items() if system.get(split)}
    return [
        (
            f"{EMOTIONS[letter]} ({letter})",
            figures.class_bars({name: f1[letter] for name, f1 in found.items()}, f"F1 on {split}: {EMOTIONS[letter]}"),
        )
        for letter in CLASSES
    ]


def _confusions(scores: dict[str, dict], members: dict[str, list[str]]) -> dict[str, findings.Figures]:
    """`first`: the best and the ensembles on the split that counts; `others`: the rest. Empty without scores."""
    counts = summary.headline(scores)
    if counts is None:
        return {}
    chosen = {summary.best(scores, counts), *members}
    drawn: dict[str, findings.Figures] = {"first": [], "others": []}
    for name, split, found in table.scored(scores):
        picture: Markup = figures.confusion(found["confusion"], f"confusion matrix of {name} on {split}")
        drawn["first" if split == counts and name in chosen else "others"].append((f"{name}, {split}", picture))
    return drawn


def _training(metrics: dict[str, dict]) -> findings.Figures:
    return [
        (name, figures.training_curves(found["epochs"], found.get("best_epoch"), f"training of {name}"))
        for name, found in metrics.items()
        if found.get("epochs")
    ]


def _rejected(inputs: Inputs) -> dict | None:
    """What preparing the corpus left out: how many, where the list stands, and its first rows."""
    rows = inputs.rejected
    if rows is None:
        return None
    if rows.empty:
        return {
            "sentence": "No utterance was rejected: every audio file could be read and is long enough.",
            "table": None,
        }
    first = rows.head(LISTED)
    shown = "" if len(rows) == len(first) else f" Here are the first {LISTED}."
    sentence = f"{count(len(rows), 'utterance')} rejected, listed in {inputs.rejected_file}.{shown}"
    cells = [[table.Cell(row[KEY], row["path"]), table.Cell(row["reason"])] for _, row in first.iterrows()]
    return {"sentence": sentence, "table": table.Table(["utterance", "reason"], cells)}
