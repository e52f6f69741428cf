"""Import the predictions of another program: checks them and writes them as preds.csv."""

import argparse
from pathlib import Path

from abhinaya.data.schemas import read_manifest, write_predictions
from abhinaya.prediction import external
from abhinaya.runtime.errors import run
from abhinaya.runtime.files import check_targets, write_json


def main() -> None:
    args = parse_args()
    check_targets([args.output, args.source], [args.preds, args.manifest])
    predictions = external.read(args.preds, read_manifest(args.manifest))
    write_predictions(predictions, args.output)
    write_json({"preds": str(args.preds)}, args.source)
    print(f"{len(predictions)} predictions from {args.preds}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preds", type=Path, required=True, help="CSV with FileName, p_A … p_U and maybe EmoClass")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet, for the splits")
    parser.add_argument("--output", type=Path, required=True, help="preds.csv to write")
    parser.add_argument(
        "--source", type=Path, required=True, help="source.json to write: where the predictions are from"
    )
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
