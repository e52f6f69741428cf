"""Label the validation and test utterances of a corpus, or new audio, with a trained system."""

import argparse
from pathlib import Path

from abhinaya.data import schemas
from abhinaya.prediction import new_audio, systems
from abhinaya.runtime import errors, files
from abhinaya.transcription import transcripts

ONLY_WITH = {
    "manifest": ("transcripts", "features"),
    "audio": ("segment_seconds", "transcripts_settings", "transcribe_like"),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="model folder that train.py wrote")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifest", type=Path, help="manifest.parquet of a corpus")
    source.add_argument("--audio", type=Path, nargs="+", metavar="PATH", help=new_audio.AUDIO)
    parser.add_argument(
        "--output", type=Path, required=True, help=f"preds.csv to write; with --audio {new_audio.OUTPUT}"
    )
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=0, help="1 predicts on a GPU, 0 on the CPU (default: %(default)s)")
    corpus = parser.add_argument_group("with --manifest")
    corpus.add_argument("--transcripts", type=Path, help="transcripts.parquet, for a system that reads them")
    corpus.add_argument(
        "--features",
        nargs="*",
        type=Path,
        default=[],
        help="indices by extract_features.py, for a frozen encoder",
    )
    new_audio.add_options(parser.add_argument_group("with --audio"))
    options = parser.parse_args()
    absent = "audio" if options.manifest else "manifest"
    for name in ONLY_WITH[absent]:
        if getattr(options, name):
            parser.error(f"argument --{name.replace('_', '-')}: goes with --{absent}")
    return options


def main() -> None:
    options = arguments()
    if options.audio:
        label_new_audio(options)
        return
    read = [options.manifest, options.transcripts, *options.features, *of_model(options.model)]
    files.check_targets([options.output], filter(None, read))
    manifest = schemas.read_manifest(options.manifest)
    if options.transcripts:
        manifest = transcripts.joined(manifest, options.transcripts)
    from abhinaya.prediction.predict import predict  # torch; not for --help

    schemas.write_predictions(
        predict(options.model, manifest, options.cpus, options.gpus, options.features), options.output
    )


def of_model(folder: Path) -> list[Path]:
    """The files of a model that are read."""
    return [folder / name for name in ("config.json", "model.safetensors", "metrics.json")]


def label_new_audio(options: argparse.Namespace) -> None:
    job = new_audio.Job.of(options)
    files.check_targets([options.output], of_model(options.model))
    model = systems.read_model(options.model)
    results = options.model.absolute().parent.parent  # results/{system}/model
    job.label({"the model": model}, results, combine=lambda found: found["the model"])


if __name__ == "__main__":
    errors.run(main)
