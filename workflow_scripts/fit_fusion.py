"""Fit a fusion of the members' probabilities: writes its rule, predictions, submission and what each step brings."""

import argparse
import sys
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.ensemble import Fusion
from abhinaya.data.schemas import read_manifest, write_predictions
from abhinaya.evaluation import submission, voting
from abhinaya.evaluation.analysis.bootstrap import Bootstrap
from abhinaya.evaluation.arguments import files_by_name
from abhinaya.evaluation.fusion import inputs, steps
from abhinaya.evaluation.fusion.rule import FittedFusion, Method
from abhinaya.runtime.errors import run
from abhinaya.runtime.files import check_targets, write_csv, write_json


def main() -> None:
    args = parse_args()
    settings = parse(Fusion, args.settings, where="--settings")
    preds = files_by_name(settings.members, args.preds, ("--settings: members", "--preds"))
    check_targets([args.output, args.submission, args.description], [*args.preds, args.manifest])
    bootstrap = Bootstrap(args.bootstrap, args.seed)
    try:
        members = voting.read_members(preds)
    except voting.MissingPredictions as error:
        for member, name in error.missing:  # may be too many for one line
            print(f"missing: {member} {name}", file=sys.stderr)
        raise
    manifest = read_manifest(args.manifest)
    labelled = inputs.labelled(manifest, members, settings.fit_on, args.seed)
    chosen = Method(settings.rule, settings.calibration, settings.prior_correction)
    fitted, predictions = steps.predictions(labelled, chosen)
    tables = steps.evaluate(manifest, predictions, chosen, list(labelled.counts), bootstrap)
    fused = predictions[steps.step_of(chosen)].reset_index()
    submitted = fused.loc[fused["Split"] == "test", list(submission.COLUMNS)]
    submission.check(submitted, args.manifest, args.rejected)
    for name, table in tables.items():
        write_csv(table, args.tables / f"{name}.csv")
    write_predictions(fused, args.output)
    write_csv(submitted, args.submission)
    description = FittedFusion(
        rule=settings.rule,
        members=settings.members,
        classes=labelled.classes,
        fitted_on=labelled.counts if chosen.is_fitted else {},
        absent=labelled.absent if chosen.is_fitted else [],
        folds_by=labelled.folds_by if chosen.is_fitted else None,
        fitted=fitted,
    )
    write_json(description.model_dump(mode="json", exclude_none=True), args.description)
    print(inputs.describe(labelled))
    print(tables["steps"].round(4).to_string(index=False))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--settings", required=True, help="the section of the fusion: JSON, or a JSON or YAML file")
    add("--preds", nargs="+", type=Path, required=True, help="the members' preds.csv, in the order of `members`")
    add("--manifest", type=Path, required=True, help="manifest.parquet, with labels")
    add("--rejected", type=Path, help="rejected.csv of the corpus, to report its test files as missing")
    add("--seed", type=int, default=1234, help="seed of the folds and of the bootstrap (default: %(default)s)")
    add("--bootstrap", type=int, default=1000, help="minimum number of resamples (default: %(default)s)")
    add("--output", type=Path, required=True, help="preds.csv to write; cross-fitted where the rule is fitted")
    add("--submission", type=Path, required=True, help="submission.csv to write: FileName, EmoClass of the test split")
    add("--description", type=Path, required=True, help="ensemble.json to write, for predict_ensemble.py")
    add("--tables", type=Path, required=True, help="folder for the tables of what each step brings")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
