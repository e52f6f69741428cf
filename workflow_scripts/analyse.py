"""Analyse predictions: significance, calibration, agreement, subgroups and worst errors, each as a CSV file."""

import argparse
from pathlib import Path
from typing import get_args

from abhinaya.evaluation.analysis import (
    agreement,
    calibration,
    leave_one_out,
    oracle,
    predictions,
    significance,
    speakers,
    subgroups,
    worst_errors,
)
from abhinaya.evaluation.analysis.bootstrap import Bootstrap
from abhinaya.evaluation.arguments import files_by_name
from abhinaya.evaluation.voting import TieRule
from abhinaya.runtime.errors import UserError, run
from abhinaya.runtime.files import write_csv


def main() -> None:
    args = parse_args()
    preds = files_by_name(args.names, args.preds, ("--names", "--preds"))
    bootstrap = Bootstrap(args.bootstrap, args.seed)
    evaluation = predictions.read(args.manifest, args.transcripts, preds, ties(args), args.labels_may_differ)
    summary, reliability = calibration.calibration(evaluation)
    tables = {
        "significance": significance.compare(evaluation, bootstrap),
        "speakers": speakers.speakers(evaluation, bootstrap),
        "calibration": summary,
        "reliability": reliability,
        "agreement": agreement.agreement(evaluation),
        "leave_one_out": leave_one_out.leave_one_out(evaluation, bootstrap),
        "oracle": oracle.oracle(evaluation),
        "subgroups": subgroups.subgroups(evaluation, bootstrap),
        "worst_errors": worst_errors.worst_errors(evaluation),
    }
    for name, table in tables.items():
        write_csv(table, args.output_dir / f"{name}.csv")
        print(f"{args.output_dir / name}.csv: {len(table)} rows")


def ties(args: argparse.Namespace) -> dict[str, tuple[str, TieRule]]:
    """The tie-breaker and tie rule of each ensemble."""
    breakers, rules = by_ensemble("--tie-breaks", args), by_ensemble("--tie-rules", args)
    for name in args.votes:
        if name not in args.names:
            raise UserError(f"--votes: {name} is not in --names; add it with its preds.csv, or remove it")
        if name not in breakers:
            raise UserError(f"--tie-breaks: missing for {name}; add {name}=MEMBER")
        if rules.setdefault(name, "label") not in get_args(TieRule):
            raise UserError(f"--tie-rules: {name}={rules[name]} is invalid; choose from {', '.join(get_args(TieRule))}")
    return {name: (breakers[name], rules[name]) for name in args.votes}


def by_ensemble(option: str, args: argparse.Namespace) -> dict[str, str]:
    """The values NAME=VALUE of an option by name; each name must be an ensemble."""
    pairs = [text.partition("=") for text in getattr(args, option.strip("-").replace("-", "_"))]
    for name, _, value in pairs:
        if name not in args.votes or not value:
            raise UserError(f"{option}: {name!r} is not NAME=VALUE for a name of --votes; write it like vote=s2")
    return {name: value for name, _, value in pairs}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet, with labels")
    parser.add_argument("--transcripts", type=Path, help="transcripts.parquet (optional)")
    parser.add_argument("--names", nargs="+", required=True, help="names of systems and ensembles, in display order")
    parser.add_argument("--preds", nargs="+", type=Path, required=True, help="their preds.csv, in the same order")
    parser.add_argument("--votes", nargs="*", default=[], help="the ensembles among --names")
    parser.add_argument("--tie-breaks", nargs="*", default=[], help="NAME=MEMBER for each ensemble")
    parser.add_argument("--tie-rules", nargs="*", default=[], help="NAME=label or NAME=probabilities (default: label)")
    parser.add_argument(
        "--bootstrap", type=int, default=1000, help="minimum number of resamples (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1234, help="seed of the bootstrap (default: %(default)s)")
    parser.add_argument(
        "--labels-may-differ",
        action="store_true",
        help="accept predictions whose label is not the most probable class",
    )
    parser.add_argument("--output-dir", type=Path, default=Path("results/analysis"), help="output folder")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
