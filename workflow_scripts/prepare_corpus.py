"""Make the manifest of a corpus: its labels read, its audio checked, train, validation and test assigned."""

import argparse
import os
from pathlib import Path

from rich.console import Console

from abhinaya import config
from abhinaya.config.corpus import AnyCorpus
from abhinaya.data import schemas
from abhinaya.data.corpora import TooManyRejected, digests, prepare, summary
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError, run


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return int(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    option = parser.add_argument
    option("--settings", required=True, help="the configuration's section `corpus`: JSON, or a JSON or YAML file")
    option("--seed", type=int, default=1234, help="of the validation draw and of a synthetic corpus")
    option("--audio", type=Path, default="results/corpus/audio", help="folder for a synthetic corpus's audio")
    option("--workers", type=positive, default=os.cpu_count(), help="threads that decode audio")
    option("--manifest", type=Path, default="results/corpus/manifest.parquet", help="written: a row per utterance")
    option("--references", type=Path, default="results/corpus/references.parquet", help="written: its own texts")
    option("--rejected", type=Path, default="results/corpus/rejected.csv", help="written: unusable audio, and why")
    option("--digests", type=Path, default="results/corpus/digests", help="written: digests of what each stage reads")
    option("--summary", type=Path, default="results/corpus/summary.json", help="written: counts per split and class")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    corpus = config.parse(AnyCorpus, args.settings, "corpus")
    try:
        prepared = prepare(corpus, args.seed, args.audio, args.workers)
    except TooManyRejected as error:
        files.write_csv(error.rejected, args.rejected)
        raise UserError(f"{error}; all are listed in {args.rejected}") from None
    metadata = {
        "seed": args.seed,
        "corpus": corpus.model_dump(mode="json", exclude={"resources"}),
        "classes": prepared.summary["splits"]["train"]["classes"],
    }
    files.write_csv(prepared.rejected, args.rejected)
    schemas.write_manifest(prepared.manifest, args.manifest, metadata)
    files.write_parquet(prepared.references, schemas.TRANSCRIPTS, args.references)
    files.write_json(prepared.summary, args.summary)
    digests.write(digests.digests(prepared.manifest, prepared.references), args.digests)
    Console().print(summary.as_table(prepared.summary))


if __name__ == "__main__":
    run(main)
