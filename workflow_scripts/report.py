"""Write the report: one self-contained HTML file, and its tables as CSV and Markdown."""

import argparse
import json
from pathlib import Path

from abhinaya.evaluation.arguments import files_by_name
from abhinaya.reporting import report
from abhinaya.reporting.report.console import show
from abhinaya.runtime.errors import UserError, run


def main() -> None:
    args = parse_args()
    inputs = report.read(
        args.title,
        files_by_name(args.names, args.scores, ("--names", "--scores")),
        args.models,
        args.labellings,
        args.votes,
        args.summary,
        args.transcripts,
        args.references,
        args.descriptions,
        manifest=args.manifest,
        analysis=args.analysis,
        paper=args.tables,
        rejected=args.rejected,
        fusions=args.fusions,
    )
    report.write(inputs, args.output_dir)
    show(report.score_table(inputs))
    print(args.output_dir / "report.html")


def texts_by_name(value: str) -> dict[str, str]:
    """Parse a JSON object of strings; raise a `UserError` for anything else."""
    try:
        texts = json.loads(value)
    except ValueError:
        texts = None
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise UserError(
            f"--descriptions: {value!r} is not a JSON object of strings; write it like " + '\'{"s1": "description"}\''
        )
    return texts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", nargs="+", required=True, help="names of systems and ensembles, in display order")
    parser.add_argument("--scores", nargs="+", type=Path, required=True, help="their scores.json, in the same order")
    parser.add_argument("--models", nargs="*", type=Path, default=[], help="model folders of trained systems")
    parser.add_argument("--labellings", nargs="*", type=Path, default=[], help="labelling.json of zero-shot systems")
    parser.add_argument("--votes", nargs="*", type=Path, default=[], help="results/{ensemble}/preds.csv of ensembles")
    fusions_help = "results/{ensemble}/ensemble.json of fusions; the tables of fit_fusion.py are beside it, in fusion/"
    parser.add_argument("--fusions", nargs="*", type=Path, default=[], help=fusions_help)
    parser.add_argument("--analysis", type=Path, help="folder with the tables of analyse.py")
    parser.add_argument(
        "--tables", nargs="*", type=Path, default=[], help="JSON files of make_paper_table.py, in display order"
    )
    parser.add_argument("--summary", type=Path, help="the corpus's summary.json")
    parser.add_argument("--manifest", type=Path, help="manifest.parquet, for the annotators' votes on the worst errors")
    parser.add_argument("--rejected", type=Path, help="rejected.csv of the corpus")
    parser.add_argument("--transcripts", type=Path, help="transcripts.parquet")
    parser.add_argument("--references", type=Path, help="Parquet file with reference transcripts: FileName, text")
    parser.add_argument(
        "--descriptions", type=texts_by_name, default={}, help="JSON object with a description of each system"
    )
    parser.add_argument("--title", default="Speech emotion recognition by vote", help="heading of the report")
    parser.add_argument("--output-dir", type=Path, default=Path("results/report"), help="output folder")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
