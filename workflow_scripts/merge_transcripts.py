"""Merge transcript shards, or read a Parquet file of transcripts, in the manifest's order."""

import argparse
from pathlib import Path

from abhinaya.data import schemas
from abhinaya.data.corpora import digests
from abhinaya.runtime import errors, files
from abhinaya.transcription import transcripts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--sources", type=Path, nargs="+", required=True, help="Parquet files with FileName and text")
    parser.add_argument(
        "--utterances",
        choices=("all", "used"),
        default="all",
        help="utterances that need a transcript: all, or those in a split",
    )
    parser.add_argument("--output", type=Path, required=True, help="transcripts.parquet to write")
    parser.add_argument("--digest", type=Path, help="file to write: digest of names and texts")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    manifest = schemas.read_manifest(args.manifest)
    merged, metadata = transcripts.merge(manifest, args.sources, args.utterances)
    files.write_parquet(merged, schemas.TRANSCRIPTS, args.output, metadata)
    if args.digest:
        content = merged[[schemas.KEY, "text"]]
        files.write_text(f"{digests.digest(content)}\n", args.digest)
    counts = metadata["counts"]
    print(f"{counts['utterances']} transcripts, {counts['empty']} empty, {counts['redecoded']} decoded again")


if __name__ == "__main__":
    errors.run(main)
