"""Label the validation and test utterances with a zero-shot system: a text LLM on transcripts, or a speech LLM."""

import argparse
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from abhinaya.config import parse
from abhinaya.config.base import result_settings
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem
from abhinaya.data import schemas
from abhinaya.labels import CLASSES
from abhinaya.runtime import errors, files, gpu_locks
from abhinaya.transcription import transcripts

AnyZeroShot = Annotated[ZeroShotSystem | SalmonnZeroShot, Field(discriminator="family")]
Labelled = tuple[pd.DataFrame, pd.DataFrame, dict]  # predictions, responses, summary


def main() -> None:
    args = parse_args()
    settings = parse(AnyZeroShot, args.settings, where=f"systems.{args.name}")
    manifest = schemas.read_manifest(args.manifest)
    if isinstance(settings, ZeroShotSystem):
        require(args, "transcripts", "server_log")
        manifest = transcripts.joined(manifest, args.transcripts)
    rows = manifest[manifest["split"].isin(schemas.PREDICTED)].reset_index(drop=True)
    if rows.empty:
        raise errors.UserError(f"{args.manifest}: no validation or test utterances; check the corpus's splits")
    gpu_locks.take(args.gpus)
    label = label_speech if isinstance(settings, SalmonnZeroShot) else label_text
    predictions, responses, results = label(rows, settings, args)
    from abhinaya.zero_shot.predictions import AUDIT

    summary = {"name": args.name, "settings": result_settings(settings), "classes": list(args.classes), **results}
    files.write_parquet(responses, AUDIT, args.responses, {"name": args.name, "settings": summary["settings"]})
    files.write_json(summary, args.summary)
    schemas.write_predictions(predictions, args.output)


def require(args: argparse.Namespace, *options: str) -> None:
    """Raise a `UserError` that names the first missing option of a text LLM."""
    for option in options:
        if getattr(args, option) is None:
            raise errors.UserError(f"--{option.replace('_', '-')}: required for `family: zero_shot`; add it")


def label_text(rows: pd.DataFrame, settings: ZeroShotSystem, args: argparse.Namespace) -> Labelled:
    from abhinaya.runtime.versions import versions
    from abhinaya.zero_shot import server, text  # slow to import; not needed for --help

    connect = partial(server.connect, settings, args.server_log, args.cpus, args.gpus, args.start_minutes)
    predictions, responses, summary = text.label(
        rows, settings, args.classes, args.response_dir, connect, args.concurrency, args.request_seconds
    )
    head = {"versions": versions(("openai", "pandas")), "notes": text.notes(summary, settings)}
    return predictions, responses, head | summary


def label_speech(rows: pd.DataFrame, settings: SalmonnZeroShot, args: argparse.Namespace) -> Labelled:
    from abhinaya.runtime.devices import claim
    from abhinaya.runtime.versions import versions
    from abhinaya.zero_shot import speech  # slow to import; not needed for --help

    device, workers = claim(args.cpus, min(args.gpus, 1))
    predictions, responses, summary = speech.label(
        rows, settings, args.classes, args.seed, args.response_dir, device, workers, args.features
    )
    head = {
        "seed": args.seed,
        "versions": versions(("torch", "transformers", "peft", "pandas")),
        "notes": speech.notes(summary, settings),
    }
    return predictions, responses, head | summary


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--name", required=True, help="name of the system")
    add("--settings", required=True, help="its section of the configuration: JSON, or a JSON or YAML file")
    add("--classes", nargs="+", choices=CLASSES, default=CLASSES, metavar="LETTER", help="the corpus's (default: all)")
    add("--manifest", type=Path, required=True, help="manifest.parquet")
    add("--output", type=Path, required=True, help="preds.csv to write, after all other files")
    add("--responses", type=Path, required=True, help="Parquet file to write: the raw response for each utterance")
    add("--summary", type=Path, required=True, help="JSON file to write: settings, counts, cost, speed")
    add("--response-dir", type=Path, required=True, help="folder of stored responses, which are not requested again")
    add("--cpus", type=int, default=2, help="CPU cores to use (default: %(default)s)")
    add("--gpus", type=int, default=0, help="GPUs to use, 0 for the CPU (default: %(default)s)")
    add = parser.add_argument_group("text LLMs").add_argument
    add("--transcripts", type=Path, help="transcripts.parquet")
    add("--server-log", type=Path, help="file for the output of the vLLM server")
    add("--concurrency", type=int, default=64, help="concurrent requests (default: %(default)s)")
    add("--request-seconds", type=int, default=120, help="timeout of a request, then repeated (default: %(default)s)")
    add("--start-minutes", type=int, default=60, help="timeout for the server to start (default: %(default)s)")
    add = parser.add_argument_group("speech LLMs").add_argument
    add("--features", nargs="*", type=Path, default=[], help="cached features from extract_features.py (optional)")
    add("--seed", type=int, default=1234, help="seed of random weights (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    errors.run(main)
