"""Transcribe one shard of the corpus with WhisperX; a killed run resumes from its last part."""

import argparse
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.transcripts import Transcripts
from abhinaya.data import schemas
from abhinaya.runtime import errors, gpu_locks, library_logging


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--settings", default="{}", help="the section `transcripts`: JSON, or a JSON or YAML file")
    parser.add_argument("--shard", type=int, default=0, help="index of the shard, from 0")
    parser.add_argument("--seed", type=int, default=1234, help="seed of decoding at a temperature")
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use")
    parser.add_argument("--gpus", type=int, default=0, help="1 uses a GPU, 0 the CPU")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file of the shard to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    settings = parse(Transcripts, args.settings, where="transcripts")
    if not 0 <= args.shard < settings.shards:
        raise errors.UserError(
            f"--shard {args.shard}: must be less than `shards` ({settings.shards}); change one of them"
        )
    manifest = schemas.read_manifest(args.manifest)
    gpu_locks.take(args.gpus)
    library_logging.whisperx()
    from abhinaya.transcription.shards import transcribe_shard  # slow to import; not needed for --help

    device = "cuda" if args.gpus else "cpu"
    transcribe_shard(manifest, settings, args.shard, args.seed, args.output, device, args.cpus)


if __name__ == "__main__":
    errors.run(main)
