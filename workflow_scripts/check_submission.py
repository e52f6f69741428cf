"""Validate a submission: every test file exactly once, with one of the eight letters."""

import argparse
import sys
from pathlib import Path

from abhinaya.data.schemas import read_manifest
from abhinaya.evaluation import submission
from abhinaya.runtime.errors import print_line, run


def main() -> None:
    args = parse_args()
    table = submission.read(args.submission)
    rejected = submission.read_rejected(args.rejected) if args.rejected else []
    problems = submission.problems(table, read_manifest(args.manifest), rejected)
    for problem in problems:
        print_line(f"error: {args.submission}: {problem}")
    if problems:
        sys.exit(1)
    for warning in submission.warnings(table, rejected):
        print_line(f"warning: {args.submission}: {warning}")
    print(f"{args.submission}: valid, {len(table)} test files")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submission", type=Path, required=True, help="submission.csv from vote.py")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet, with the test files")
    parser.add_argument("--rejected", type=Path, help="rejected.csv of the corpus: test files without valid audio")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
