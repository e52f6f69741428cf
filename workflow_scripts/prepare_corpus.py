"""Prepare a corpus: read its labels, check its audio, assign the splits and write the manifest."""

import argparse
import os
from pathlib import Path

import pandas as pd
from rich.console import Console

from abhinaya import config
from abhinaya.config.corpora import AnyCorpus
from abhinaya.data import schemas
from abhinaya.data.corpora import TooManyRejected, digests, leaks, overlaps, prepare, summary
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError, print_line, run


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return int(text)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add, results = parser.add_argument, Path("results/corpus")
    add("--settings", required=True, help="the configuration's section `corpus`: JSON, or a JSON or YAML file")
    add("--seed", type=int, default=1234, help="seed of the validation set and of a synthetic corpus")
    add("--audio", type=Path, default=results / "audio", help="folder for the audio of a synthetic corpus")
    add("--workers", type=positive, default=os.cpu_count(), help="threads that decode audio")
    add("--manifest", type=Path, default=results / "manifest.parquet", help="file to write: a row per utterance")
    add("--references", type=Path, default=results / "references.parquet", help="file to write: reference transcripts")
    add("--rejected", type=Path, default=results / "rejected.csv", help="file to write: rejected files with reasons")
    add("--digests", type=Path, default=results / "digests", help="folder to write: digests of parts of the manifest")
    add("--folds", type=Path, default=results, help="folder to write: a folder for each other fold of corpus.split")
    add("--summary", type=Path, default=results / "summary.json", help="file to write: counts per split and class")
    development_help = "also use the labelled development utterances outside the validation set, for a fusion"
    add("--development", action="store_true", help=development_help)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    corpus = config.parse(AnyCorpus, args.settings, "corpus")
    try:
        prepared = prepare(corpus, args.seed, args.audio, args.workers, args.development)
    except TooManyRejected as error:
        files.write_csv(error.rejected, args.rejected)
        raise UserError(f"{error}; see {args.rejected} for all") from None
    metadata = {
        "seed": args.seed,
        "corpus": corpus.model_dump(mode="json", exclude={"resources"}),
        "classes": prepared.summary["splits"]["train"]["classes"],
    }
    files.write_csv(prepared.rejected, args.rejected)
    schemas.write_manifest(prepared.manifest, args.manifest, metadata)
    files.write_parquet(prepared.references, schemas.TRANSCRIPTS, args.references)
    files.write_json(prepared.summary, args.summary)
    _write_digests(prepared.manifest, prepared.references, args.digests)
    for fold, manifest in prepared.other_folds.items():
        schemas.write_manifest(manifest, args.folds / f"fold{fold}" / "manifest.parquet", metadata | {"fold": fold})
        _write_digests(manifest, prepared.references, args.folds / f"fold{fold}" / "digests")
    Console().print(summary.as_table(prepared.summary))
    for line in [*leaks.sentences(prepared.summary["leaks"]), *overlaps.sentences(prepared.summary["overlaps"])]:
        print_line(f"warning: corpus: {line}")


def _write_digests(manifest: pd.DataFrame, references: pd.DataFrame, folder: Path) -> None:
    for name, digest in digests.digests(manifest, references).items():
        files.write_text(f"{digest}\n", folder / f"{name}.sha256")


if __name__ == "__main__":
    run(main)
