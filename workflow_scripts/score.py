"""Score predictions against the manifest's labels: macro-F1, UAR and accuracy, with bootstrap intervals."""

import argparse
from pathlib import Path

from abhinaya.data.schemas import read_manifest, read_predictions
from abhinaya.evaluation import metrics
from abhinaya.runtime.errors import run
from abhinaya.runtime.files import check_targets, write_json


def main() -> None:
    args = parse_args()
    check_targets([args.output], [args.manifest, args.preds])
    predictions = read_predictions(args.preds, args.labels_may_differ)
    scores = metrics.score(read_manifest(args.manifest), predictions, args.bootstrap, args.seed, source=args.preds)
    write_json(scores, args.output)
    for split in metrics.SCORED:
        print(f"{split}: {describe(scores[split])}; {scores['unlabelled'][split]} unlabelled")


def describe(scores: dict | None) -> str:
    """One split's scores in a line."""
    if scores is None:
        return "no labels"
    low, high = scores["macro_f1_interval"]
    return (
        f"macro-F1 {scores['macro_f1']:.4f} [{low:.4f}, {high:.4f}], UAR {scores['uar']:.4f}, "
        f"accuracy {scores['accuracy']:.4f}, n {scores['n']}"
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet, with labels")
    parser.add_argument("--preds", type=Path, required=True, help="preds.csv of a system or an ensemble")
    parser.add_argument("--output", type=Path, required=True, help="scores.json to write")
    parser.add_argument(
        "--labels-may-differ",
        action="store_true",
        help="accept predictions whose label is not the most probable class",
    )
    parser.add_argument("--bootstrap", type=int, default=1000, help="bootstrap resamples (default: 1000)")
    parser.add_argument("--seed", type=int, default=1234, help="seed of the bootstrap (default: 1234)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
