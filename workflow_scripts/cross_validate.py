"""Score a cross-validation: UA, WA, micro- and macro-F1 of each fold, their mean and spread, and all folds pooled."""

import argparse
from pathlib import Path

from rich.console import Console

from abhinaya.data.schemas import read_manifest, read_predictions
from abhinaya.evaluation import cross_validation
from abhinaya.runtime.errors import UserError, run
from abhinaya.runtime.files import write_csv, write_text


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--manifests", nargs="+", type=Path, required=True, help="manifest.parquet of each fold, from fold 1")
    add("--preds", nargs="+", action="append", required=True, help="a system's name and its preds.csv of each fold")
    add(
        "--output-dir",
        type=Path,
        required=True,
        help="folder to write: scores, folds, predictions",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    manifests = dict(enumerate(map(read_manifest, args.manifests), 1))
    predictions = {}
    for name, *paths in args.preds:
        if len(paths) != len(manifests):
            raise UserError(
                f"--preds: {name} has {len(paths)} files, but there are {len(manifests)} folds; give one each"
            )
        predictions |= {(name, fold): read_predictions(path) for fold, path in enumerate(paths, 1)}
    pairs = cross_validation.pooled(manifests, predictions)
    folds = cross_validation.by_fold(pairs)
    summary = cross_validation.summarise(pairs, folds)
    write_csv(pairs, args.output_dir / "predictions.csv")
    write_csv(folds, args.output_dir / "folds.csv")
    write_text(cross_validation.as_markdown(summary), args.output_dir / "scores.md")
    write_csv(summary, args.output_dir / "scores.csv")
    Console().print(cross_validation.as_table(summary))


if __name__ == "__main__":
    run(main)
