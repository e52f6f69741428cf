"""Hear a shard of the corpus with Whisper and BEATs, the frozen half of SALMONN, once for all epochs and systems."""

import argparse
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.system import AudioEncoder
from abhinaya.data import schemas
from abhinaya.runtime import errors


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--settings", required=True, help="the section `audio_encoder`: JSON, or a JSON/YAML file")
    parser.add_argument("--shard", type=int, default=0, help="which of the shards, from 0")
    parser.add_argument("--shards", type=int, default=1, help="how many there are")
    parser.add_argument("--output", type=Path, required=True, help="index to write; the numbers go beside it")
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use")
    parser.add_argument("--gpus", type=int, default=0, help="1 hears on a GPU, 0 on the CPU")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    settings = parse(AudioEncoder, options.settings, where="audio_encoder")
    if not 0 <= options.shard < options.shards:
        raise errors.UserError(f"--shard: {options.shard}, but there are {options.shards}, counted from 0")
    manifest = schemas.read_manifest(options.manifest)
    from abhinaya.modeling.encoders.salmonn.feature_cache import extract_features
    from abhinaya.runtime.devices import claim  # torch; not for --help and not before the settings are checked

    device, workers = claim(options.cpus, min(options.gpus, 1))
    rows = manifest[manifest["split"].notna()].iloc[options.shard :: options.shards]
    extract_features(rows, settings, options.output, device, workers)


if __name__ == "__main__":
    errors.run(main)
