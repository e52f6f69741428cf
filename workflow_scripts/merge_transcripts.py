"""Merge transcribed shards, or a Parquet of transcripts from elsewhere, in the manifest's order."""

import argparse
from pathlib import Path

from abhinaya.data import schemas
from abhinaya.data.corpora import digests
from abhinaya.runtime import errors, files
from abhinaya.transcription import transcripts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--sources", type=Path, nargs="+", required=True, help="Parquet files with FileName and text")
    parser.add_argument(
        "--utterances",
        choices=("all", "used"),
        default="all",
        help="which utterances must have a transcript: all, or those in a split",
    )
    parser.add_argument("--output", type=Path, required=True, help="transcripts.parquet to write")
    parser.add_argument("--digest", type=Path, help="written: the digest of names and texts")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    manifest = schemas.read_manifest(options.manifest)
    merged, metadata = transcripts.merge(manifest, options.sources, options.utterances)
    files.write_parquet(merged, schemas.TRANSCRIPTS, options.output, metadata)
    if options.digest:
        content = merged[[schemas.KEY, "text"]]
        files.write_text(f"{digests.digest(content)}\n", options.digest)
    counts = metadata["counts"]
    print(f"{counts['utterances']} transcripts, {counts['empty']} empty, {counts['redecoded']} decoded again")


if __name__ == "__main__":
    errors.run(main)
