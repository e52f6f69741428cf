"""Label the validation and test transcripts with a language model that was not trained for it."""

import argparse
from functools import partial
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.base import result_settings
from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.data import schemas
from abhinaya.labels import CLASSES
from abhinaya.runtime import errors, files
from abhinaya.transcription import transcripts


def main() -> None:
    options = arguments()
    settings = parse(ZeroShotSystem, options.settings, where=f"systems.{options.name}")
    manifest = transcripts.joined(schemas.read_manifest(options.manifest), options.transcripts)
    rows = manifest[manifest["split"].isin(("validation", "test"))].reset_index(drop=True)
    if rows.empty:
        raise errors.UserError(f"{options.manifest}: no validation or test utterance; check the corpus's partitions")
    from abhinaya.runtime.versions import versions
    from abhinaya.zero_shot import server, text  # the client of a server; not for --help
    from abhinaya.zero_shot.predictions import AUDIT

    machine = (options.cpus, options.gpus, options.start_minutes)
    connect = partial(server.connect, settings, options.server_log, *machine)
    predictions, audit, found = text.label(
        rows, settings, options.classes, options.response_dir, connect, options.concurrency, options.request_seconds
    )
    summary = {
        "name": options.name,
        "settings": result_settings(settings),
        "classes": list(options.classes),
        "versions": versions(("openai", "pandas")),
        "notes": text.notes(found, settings),
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
    add("--transcripts", type=Path, required=True, help="transcripts.parquet")
    add("--output", type=Path, required=True, help="preds.csv to write, after all else")
    add("--responses", type=Path, required=True, help="Parquet to write: each utterance's raw answer, for an audit")
    add("--summary", type=Path, required=True, help="JSON to write: settings, counts, cost, speed")
    add(
        "--response-dir",
        type=Path,
        required=True,
        help="folder that keeps raw answers: what is there is not asked again",
    )
    add("--server-log", type=Path, required=True, help="file for the output of our own server")
    add("--cpus", type=int, default=2, help="CPU cores of our own server (default: %(default)s)")
    add("--gpus", type=int, default=0, help="GPUs of our own server (default: %(default)s)")
    add("--concurrency", type=int, default=64, help="requests under way at once (default: %(default)s)")
    add("--request-seconds", type=int, default=120, help="a request is sent again after this (default: %(default)s)")
    add("--start-minutes", type=int, default=60, help="time for our own server to start (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    errors.run(main)
