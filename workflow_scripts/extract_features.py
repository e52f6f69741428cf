"""Extract a shard of the corpus's features with a frozen encoder, once for all epochs, seeds, losses and systems."""

import argparse
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.features import AnyFeatures
from abhinaya.data import schemas
from abhinaya.runtime import errors
from abhinaya.transcription import transcripts


def arguments() -> argparse.Namespace:
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
    parser.add_argument("--shard", type=int, default=0, help="which of the shards, from 0")
    parser.add_argument("--shards", type=int, default=1, help="how many there are")
    parser.add_argument("--output", type=Path, required=True, help="index to write; the numbers go beside it")
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use")
    parser.add_argument("--gpus", type=int, default=0, help="1 computes on a GPU, 0 on the CPU")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    settings = parse(AnyFeatures, options.settings, where="--settings")
    if not 0 <= options.shard < options.shards:
        raise errors.UserError(f"--shard: {options.shard}, but there are {options.shards}, counted from 0")
    if settings.reads_transcripts and not options.transcripts:
        raise errors.UserError("a text encoder reads transcripts; give --transcripts")
    manifest = schemas.read_manifest(options.manifest)
    if settings.reads_transcripts:
        manifest = transcripts.joined(manifest, options.transcripts)
    from abhinaya.modeling import encoders, feature_cache
    from abhinaya.runtime.devices import claim  # torch; not for --help and not before the settings are checked

    device, workers = claim(options.cpus, min(options.gpus, 1))
    rows = manifest[manifest["split"].notna()].iloc[options.shard :: options.shards]
    loader, encoder, bf16 = encoders.frozen(settings, device)
    feature_cache.extract_features(rows, settings, loader, encoder, options.output, workers, bf16)


if __name__ == "__main__":
    errors.run(main)
