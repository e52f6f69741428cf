"""Transcribe one shard of the corpus with WhisperX; a killed run goes on where it was."""

import argparse
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.transcripts import Transcripts
from abhinaya.data import schemas
from abhinaya.runtime import errors, library_logging


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--settings", default="{}", help="the `transcripts` section: JSON, or a JSON/YAML file")
    parser.add_argument("--shard", type=int, default=0, help="which shard, from 0")
    parser.add_argument("--seed", type=int, default=1234, help="of decoding again at a temperature")
    parser.add_argument("--cpus", type=int, default=2, help="CPU threads")
    parser.add_argument("--gpus", type=int, default=0, help="1 transcribes on a GPU, 0 on the CPU")
    parser.add_argument("--output", type=Path, required=True, help="Parquet of this shard to write")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    settings = parse(Transcripts, options.settings, where="transcripts")
    if not 0 <= options.shard < settings.shards:
        raise errors.UserError(f"--shard {options.shard}: there are {settings.shards}, from 0; change one of them")
    manifest = schemas.read_manifest(options.manifest)
    library_logging.whisperx()
    from abhinaya.transcription.shards import transcribe_shard  # WhisperX takes seconds to import; not for --help

    device = "cuda" if options.gpus else "cpu"
    transcribe_shard(manifest, settings, options.shard, options.seed, options.output, device, options.cpus)


if __name__ == "__main__":
    errors.run(main)
