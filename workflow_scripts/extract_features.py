"""Extract a shard of the corpus's features with a frozen encoder, once for all epochs, seeds, losses and systems."""

import argparse
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.features import AnyFeatures
from abhinaya.data import schemas
from abhinaya.runtime import errors, gpu_locks
from abhinaya.transcription import transcripts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--transcripts", type=Path, help="transcripts.parquet, for an encoder that reads them")
    parser.add_argument(
        "--settings",
        required=True,
        help="JSON, or a JSON/YAML file: `family` (speech, text or salmonn); `encoder`, that section of the "
        "configuration with `freeze: all`, or for salmonn its section `audio_encoder`; `precision` as under "
        "`training`; `seed` for a random speech encoder",
    )
    parser.add_argument("--shard", type=int, default=0, help="number of the shard, from 0")
    parser.add_argument("--shards", type=int, default=1, help="number of shards")
    parser.add_argument("--output", type=Path, required=True, help="index to write; the numbers go to the same folder")
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use")
    parser.add_argument("--gpus", type=int, default=0, help="1 computes on a GPU, 0 on the CPU")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    settings = parse(AnyFeatures, args.settings, where="--settings")
    if not 0 <= args.shard < args.shards:
        raise errors.UserError(f"--shard: {args.shard}, but --shards is {args.shards}; give 0 to {args.shards - 1}")
    if settings.reads_transcripts and not args.transcripts:
        raise errors.UserError("--transcripts: missing, but a text encoder reads transcripts; give transcripts.parquet")
    manifest = schemas.read_manifest(args.manifest)
    if settings.reads_transcripts:
        manifest = transcripts.joined(manifest, args.transcripts)
    gpu_locks.take(args.gpus)
    from abhinaya.modeling import encoders, feature_cache
    from abhinaya.runtime.devices import claim  # imports torch; not needed for --help or invalid settings

    device, workers = claim(args.cpus, min(args.gpus, 1))
    rows = manifest[manifest["split"].notna()].iloc[args.shard :: args.shards]
    loader, encoder, bf16 = encoders.frozen(settings, device)
    feature_cache.extract_features(rows, settings, loader, encoder, args.output, workers, bf16)


if __name__ == "__main__":
    errors.run(main)
