"""Predict the emotions of a corpus's validation and test utterances, or of new audio, with a trained system."""

import argparse
from pathlib import Path

from abhinaya.data import schemas
from abhinaya.prediction import new_audio, systems
from abhinaya.runtime import errors, files, gpu_locks
from abhinaya.transcription import transcripts

ONLY_WITH = {
    "manifest": ("transcripts", "features"),
    "audio": ("segment_seconds", "transcripts_settings", "transcribe_like"),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="model folder from train.py")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifest", type=Path, help="manifest.parquet of a corpus")
    source.add_argument("--audio", type=Path, nargs="+", metavar="PATH", help=new_audio.AUDIO)
    parser.add_argument(
        "--output", type=Path, required=True, help=f"preds.csv to write; with --audio {new_audio.OUTPUT}"
    )
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=0, help="1 uses a GPU, 0 the CPU (default: %(default)s)")
    corpus = parser.add_argument_group("with --manifest")
    corpus.add_argument("--transcripts", type=Path, help="transcripts.parquet, for a system that reads them")
    features_help = "indices by extract_features.py, for a frozen encoder"
    corpus.add_argument("--features", type=Path, nargs="*", default=[], help=features_help)
    new_audio.add_options(parser.add_argument_group("with --audio"))
    args = parser.parse_args()
    required = "audio" if args.manifest else "manifest"
    for name in ONLY_WITH[required]:
        if getattr(args, name):
            parser.error(f"argument --{name.replace('_', '-')}: needs --{required}")
    return args


def main() -> None:
    args = parse_args()
    gpu_locks.take(args.gpus)
    model_files = [args.model / name for name in ("config.json", "model.safetensors", "metrics.json")]
    if args.audio:
        job = new_audio.Job(args)
        files.check_targets([args.output], model_files)
        results = args.model.absolute().parent.parent  # results/{system}/model
        job.label({"the model": systems.read_model(args.model)}, results, lambda predictions: predictions["the model"])
        return
    files.check_csv_name(args.output)
    read = [args.manifest, args.transcripts, *args.features, *model_files]
    files.check_targets([args.output], filter(None, read))
    manifest = schemas.read_manifest(args.manifest)
    if args.transcripts:
        manifest = transcripts.joined(manifest, args.transcripts)
    from abhinaya.prediction.predict import predict  # slow to import; not needed for --help

    schemas.write_predictions(predict(args.model, manifest, args.cpus, args.gpus, args.features), args.output)


if __name__ == "__main__":
    errors.run(main)
