"""Extract the features of a shard of the corpus with Whisper and BEATs, once for all epochs and systems."""

import argparse
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.system import AudioEncoder
from abhinaya.data import schemas
from abhinaya.runtime import errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--settings", required=True, help="the section `audio_encoder`: JSON, or a JSON or YAML file")
    parser.add_argument("--shard", type=int, default=0, help="index of the shard, from 0")
    parser.add_argument("--shards", type=int, default=1, help="number of shards")
    parser.add_argument(
        "--output", type=Path, required=True, help="index to write; the features are written to the same folder"
    )
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use")
    parser.add_argument("--gpus", type=int, default=0, help="1 uses a GPU, 0 the CPU")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    settings = parse(AudioEncoder, args.settings, where="audio_encoder")
    if not 0 <= args.shard < args.shards:
        raise errors.UserError(f"--shard {args.shard}: must be less than --shards ({args.shards}); change one of them")
    manifest = schemas.read_manifest(args.manifest)
    from abhinaya.modeling.encoders.salmonn.feature_cache import extract_features
    from abhinaya.runtime.devices import claim  # slow to import; not needed for --help or invalid settings

    device, workers = claim(args.cpus, min(args.gpus, 1))
    rows = manifest[manifest["split"].notna()].iloc[args.shard :: args.shards]
    extract_features(rows, settings, args.output, device, workers)


if __name__ == "__main__":
    errors.run(main)
