"""Label the validation and test utterances with a trained system."""

import argparse
from pathlib import Path

from abhinaya import errors, tables, transcripts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="model folder that train.py wrote")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--transcripts", type=Path, help="transcripts.parquet, for a system that reads them")
    parser.add_argument("--heard", nargs="*", type=Path, default=[], help="what hear.py wrote, for a speech LLM")
    parser.add_argument("--output", type=Path, required=True, help="preds.csv to write")
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use")
    parser.add_argument("--gpus", type=int, default=0, help="1 predicts on a GPU, 0 on the CPU")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    manifest = tables.read_manifest(options.manifest)
    if options.transcripts:
        manifest = transcripts.joined(manifest, options.transcripts)
    from abhinaya.prediction import predict  # torch; not for --help

    tables.write_predictions(
        predict(options.model, manifest, options.cpus, options.gpus, options.heard), options.output
    )


if __name__ == "__main__":
    errors.run(main)
