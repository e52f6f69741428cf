"""Reading and validating the inputs of the report."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa

from abhinaya.data.corpora.summary import read_summary
from abhinaya.data.schemas import KEY, read_manifest, read_parquet, read_predictions, read_transcripts
from abhinaya.evaluation.metrics import read_scores
from abhinaya.evaluation.voting import VOTE, voters
from abhinaya.reporting.report import fusion_inputs
from abhinaya.reporting.report.fusion_inputs import FusionResult
from abhinaya.reporting.report.paper_tables import PaperTable, read_paper_tables
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import existing, read_json, read_metadata

REFERENCES = pa.schema([pa.field(KEY, pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])
REJECTED = "results/corpus/rejected.csv"  # default path in the workflow
# The files of analyse.py: text columns, number columns.
ANALYSIS: dict[str, tuple[str, str]] = {
    "significance": (
        "split a b",
        "n difference low high p_bootstrap p_bootstrap_holm speakers_low speakers_high p_speakers p_speakers_holm "
        "only_a_right only_b_right p_mcnemar p_mcnemar_holm",
    ),
    "speakers": ("split system", "n speakers macro_f1 low high"),
    "calibration": ("system split", "n ece confidence accuracy"),
    "reliability": ("system split", "low high n confidence accuracy"),
    "agreement": ("split a b", "kappa agree"),
    "leave_one_out": ("ensemble member split", "n macro_f1 agrees changed without effect low high"),
    "oracle": ("ensemble split", "n vote oracle unanimous all_wrong"),
    "subgroups": ("system split variable group", "n macro_f1 low high uar accuracy"),
    "worst_errors": (f"system split {KEY} truth predicted votes text path", "confidence p_truth duration"),
}


@dataclass
class Inputs:
    """The inputs of the report; all except the scores may be empty.

    Args:
        scores: the `scores.json` of each system and ensemble, by name, in display order.
        configs, metrics: `config.json` and `metrics.json` of trained systems, by name.
        labellings: `labelling.json` of zero-shot systems, by name.
        votes: tables of `voting.vote`, by the ensemble's name.
        fusions: by the ensemble's name.
        summary: the corpus's summary.
        manifest: the corpus's table, for the annotators' votes.
        transcripts, transcripts_metadata: the table and its file's metadata.
        references: reference transcripts (`FileName`, `text`).
        descriptions: of each system, by name, from the configuration.
        analysis: the tables of analyse.py by their file's stem (columns: `ANALYSIS`), or empty.
        paper: tables of the paper, in display order.
        rejected: rejected utterances: `FileName`, `path`, `reason`.
        rejected_file: path of that list.
    """

    title: str
    scores: dict[str, dict]
    configs: dict[str, dict] = field(default_factory=dict)
    metrics: dict[str, dict] = field(default_factory=dict)
    labellings: dict[str, dict] = field(default_factory=dict)
    votes: dict[str, pd.DataFrame] = field(default_factory=dict)
    fusions: dict[str, FusionResult] = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    manifest: pd.DataFrame | None = None
    transcripts: pd.DataFrame | None = None
    transcripts_metadata: dict = field(default_factory=dict)
    references: pd.DataFrame | None = None
    descriptions: dict[str, str] = field(default_factory=dict)
    analysis: dict[str, pd.DataFrame] = field(default_factory=dict)
    paper: list[PaperTable] = field(default_factory=list)
    rejected: pd.DataFrame | None = None
    rejected_file: str = REJECTED

    @property
    def made(self) -> dict[str, dict]:
        """The metadata of each system: `settings`, `notes`, `versions`."""
        metadata = self.configs | self.labellings
        return {name: metadata[name] for name in [*self.scores, *metadata] if name in metadata}

    def analysed(self, table: str, **where: str) -> pd.DataFrame:
        """The rows of a table of the analysis with the given column values; empty without an analysis."""
        if table not in self.analysis:
            return pd.DataFrame(columns=" ".join(ANALYSIS[table]).split())
        rows = self.analysis[table]
        for column, value in where.items():
            rows = rows[rows[column] == value]
        return rows

    def members(self) -> dict[str, list[str]]:
        """The members of each ensemble, from the votes or the analysis."""
        members = {
            name: list(rows["member"].unique()) for name, rows in self.analysed("leave_one_out").groupby("ensemble")
        }
        return {name: members[name] for name in self.scores if name in members} | {
            name: voters(voted) for name, voted in self.votes.items()
        }


def read(
    title: str,
    scores: dict[str, Path],
    models: list[Path],
    labellings: list[Path],
    votes: list[Path],
    summary: Path | None = None,
    transcripts: Path | None = None,
    references: Path | None = None,
    descriptions: dict[str, str] | None = None,
    *,
    manifest: Path | None = None,
    analysis: Path | None = None,
    paper: list[Path] | None = None,
    rejected: Path | None = None,
    fusions: list[Path] | None = None,
) -> Inputs:
    """Read the files of the report. An ensemble in `votes` or `fusions` is named after its folder.

    Raises:
        UserError: a file is missing or invalid.
    """
    configs = {folder: read_json(folder / "config.json") for folder in models}
    names = {folder: str(config.get("name", folder.parent.name)) for folder, config in configs.items()}
    ensembles = {path: _folder(path) for path in [*votes, *(fusions or [])]}
    zero_shot = {path: _read_labelling(path) for path in labellings}
    names |= {path: str(labelling.get("name", _folder(path))) for path, labelling in zero_shot.items()}
    _check_distinct("models and --labellings", names)
    _check_distinct("votes and --fusions", ensembles)
    for source, name in (names | ensembles).items():
        if name not in scores:
            raise UserError(f"{source}: {name!r} is not in --names; add it, or remove the file")
    if unknown := [name for name in descriptions or () if name not in scores]:
        raise UserError(f"--descriptions: {unknown[0]!r} is not in --names; correct the name, or remove it")
    return Inputs(
        title=title,
        scores={name: read_scores(path) for name, path in scores.items()},
        configs={names[folder]: config for folder, config in configs.items()},
        metrics={names[folder]: read_json(folder / "metrics.json") for folder in models},
        labellings={names[path]: labelling for path, labelling in zero_shot.items()},
        votes={ensembles[path]: _read_votes(path) for path in votes},
        fusions={ensembles[path]: fusion_inputs.read(path, _read_csv) for path in fusions or []},
        summary=read_summary(summary) if summary else {},
        manifest=read_manifest(manifest) if manifest else None,
        transcripts=read_transcripts(transcripts) if transcripts else None,
        transcripts_metadata=read_metadata(transcripts) if transcripts else {},
        references=read_parquet(references, REFERENCES, (KEY, "text")) if references else None,
        descriptions=descriptions or {},
        analysis=read_analysis(analysis) if analysis else {},
        paper=read_paper_tables(paper or []),
        rejected=_read_csv(rejected, (KEY, "path", "reason")) if rejected else None,
        rejected_file=str(rejected) if rejected else REJECTED,
    )


def read_analysis(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of analyse.py in `folder`, by file stem; empty numbers are NaN.

    Raises:
        UserError: a file is missing or not a CSV, a column is missing, or a number is invalid.
    """
    return {
        name: _read_csv(folder / f"{name}.csv", texts.split(), numbers.split())
        for name, (texts, numbers) in ANALYSIS.items()
    }


def _read_csv(
    path: Path, texts: list[str] | tuple[str, ...], numbers: list[str] | tuple[str, ...] = ()
) -> pd.DataFrame:
    try:
        table = pd.read_csv(existing(path), dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV ({str(error).splitlines()[0]}); recreate it") from None
    if missing := [column for column in (*texts, *numbers) if column not in table]:
        raise UserError(f"{path}: column {', '.join(missing)} is missing; recreate it with this version")
    for column in numbers:
        values = pd.to_numeric(table[column], errors="coerce")
        wrong = table.index[values.isna() & ~table[column].str.lower().isin(["", "nan"])]
        if len(wrong):
            raise UserError(
                f"{path}: row {wrong[0] + 2}: {column} {table[column][wrong[0]]!r} is not a number; recreate it"
            )
        table[column] = values
    return table


def _read_labelling(path: Path) -> dict:
    labelling = read_json(path)
    if "settings" not in labelling:
        raise UserError(f"{path}: not a labelling.json of a zero-shot system (`settings` is missing); give one")
    return labelling


def _check_distinct(what: str, names: dict[Path, str]) -> None:
    if repeated := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise UserError(f"--{what}: duplicate name {repeated[0]!r}; give each system or ensemble once")


def _folder(path: Path) -> str:
    """The name of the parent folder of `path`, without resolving symbolic links."""
    return Path(os.path.abspath(path)).parent.name


def _read_votes(path: Path) -> pd.DataFrame:
    voted = read_predictions(path)
    if not voters(voted):
        raise UserError(f"{path}: not an ensemble's preds.csv (no {VOTE}… column); give the preds.csv of a vote")
    return voted
