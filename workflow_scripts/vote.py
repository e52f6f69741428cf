"""Majority vote of an ensemble: writes preds.csv and, for the challenge, a validated submission.csv."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from abhinaya.data.schemas import write_predictions
from abhinaya.evaluation import submission, voting
from abhinaya.evaluation.arguments import files_by_name
from abhinaya.runtime.errors import run
from abhinaya.runtime.files import check_csv_name, check_targets, write_csv, write_json


def main() -> None:
    args = parse_args()
    preds = files_by_name(args.members, args.preds, ("--members", "--preds"))
    outputs, inputs = (args.output, args.submission, args.description), (*args.preds, args.manifest, args.rejected)
    for target in filter(None, (args.output, args.submission)):
        check_csv_name(target)
    check_targets(filter(None, outputs), filter(None, inputs))
    try:
        members = voting.read_members(preds, args.labels_may_differ)
    except voting.MissingPredictions as error:
        for member, name in error.missing:  # may be too many for one line
            print(f"missing: {member} {name}", file=sys.stderr)
        raise
    voted = voting.vote(members, args.tie_break, args.tie_rule)
    submitted = voted.loc[voted["Split"] == "test", list(submission.COLUMNS)]
    if args.manifest:
        submission.check(submitted, args.manifest, args.rejected)
    write_predictions(voted, args.output)
    counts = voting.count_ties(voted)
    print(f"utterances: {counts['utterances']}")
    print(f"ties: {counts['ties']}, decided by {args.tie_break}")
    print(f"ties decided outside the tied labels: {counts['outside']}")
    if args.submission:
        write_csv(submitted, args.submission)
        print(f"test utterances in the submission: {len(submitted)}")
    if args.description:
        description = {"members": args.members, "tie_break": args.tie_break, "tie_rule": args.tie_rule}
        write_json(description, args.description)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preds", nargs="+", type=Path, required=True, help="the members' preds.csv")
    parser.add_argument("--members", nargs="+", required=True, help="the members' names, in the order of --preds")
    parser.add_argument("--tie-break", required=True, help="the member that decides ties")
    parser.add_argument(
        "--tie-rule",
        choices=get_args(voting.TieRule),
        default="label",
        help="on a tie: the tie-breaker's label, or the tied label with its highest probability (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, required=True, help="preds.csv to write")
    parser.add_argument(
        "--labels-may-differ",
        action="store_true",
        help="accept predictions whose label is not the most probable class",
    )
    parser.add_argument("--submission", type=Path, help="submission.csv to write: FileName, EmoClass of the test split")
    parser.add_argument("--manifest", type=Path, help="manifest.parquet; the submission must match its test split")
    parser.add_argument("--rejected", type=Path, help="rejected.csv of the corpus, to report its test files as missing")
    parser.add_argument("--description", type=Path, help="ensemble.json to write, for predict_ensemble.py")
    args = parser.parse_args()
    if args.rejected and not args.manifest:
        parser.error("argument --rejected: needs --manifest")
    return args


if __name__ == "__main__":
    run(main)
