"""Label the validation and test utterances with a speech LLM that was not trained for it."""

import argparse
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.base import result_settings
from abhinaya.config.zero_shot import SalmonnZeroShot
from abhinaya.data import schemas
from abhinaya.labels import CLASSES
from abhinaya.runtime import errors, files


def main() -> None:
    options = arguments()
    settings = parse(SalmonnZeroShot, options.settings, where=f"systems.{options.name}")
    manifest = schemas.read_manifest(options.manifest)
    rows = manifest[manifest["split"].isin(("validation", "test"))].reset_index(drop=True)
    if rows.empty:
        raise errors.UserError(f"{options.manifest}: no validation or test utterance; check the corpus's partitions")
    from abhinaya.runtime.devices import claim
    from abhinaya.runtime.versions import versions
    from abhinaya.zero_shot import speech  # torch; not for --help and not before the settings are checked
    from abhinaya.zero_shot.predictions import AUDIT

    device, workers = claim(options.cpus, min(options.gpus, 1))
    predictions, audit, found = speech.label(
        rows, settings, options.classes, options.seed, options.response_dir, device, workers, options.features
    )
    summary = {
        "name": options.name,
        "settings": result_settings(settings),
        "classes": list(options.classes),
        "seed": options.seed,
        "versions": versions(("torch", "transformers", "peft", "pandas")),
        "notes": speech.notes(found, settings),
        **found,
    }
    files.write_parquet(audit, AUDIT, options.responses, {"name": options.name, "settings": summary["settings"]})
    files.write_json(summary, options.summary)
    schemas.write_predictions(predictions, options.output)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--name", required=True, help="the system's name")
    add("--settings", required=True, help="its section of the configuration: JSON, or a JSON/YAML file")
    add("--classes", nargs="+", choices=CLASSES, default=CLASSES, metavar="LETTER", help="the corpus's (default: all)")
    add("--manifest", type=Path, required=True, help="manifest.parquet")
    add(
        "--features",
        nargs="*",
        type=Path,
        default=[],
        help="what extract_features.py wrote; without it the features are extracted here",
    )
    add("--output", type=Path, required=True, help="preds.csv to write, after all else")
    add("--responses", type=Path, required=True, help="Parquet to write: each utterance's raw answer, for an audit")
    add("--summary", type=Path, required=True, help="JSON to write: settings, counts, cost, speed")
    add(
        "--response-dir",
        type=Path,
        required=True,
        help="folder that keeps raw answers: what is there is not asked again",
    )
    add("--seed", type=int, default=1234, help="of random weights (default: %(default)s)")
    add("--cpus", type=int, default=2, help="CPU cores to use (default: %(default)s)")
    add("--gpus", type=int, default=0, help="1 asks on a GPU, 0 on the CPU (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    errors.run(main)
