"""Check corpus, models, disk and SLURM before a long run. Prints one line per check; exits with 1 on errors."""

import argparse
import os
import sys
from pathlib import Path

from abhinaya import config, preflight
from abhinaya.preflight import plan, printing
from abhinaya.runtime import errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="configuration file")
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="working directory, like Snakemake's --directory"
    )
    parser.add_argument(
        "--profile", help="Snakemake profile, such as profiles/slurm; also checks that SLURM accepts the jobs"
    )
    parser.add_argument("--fetch", action="store_true", help="download missing models, for offline nodes")
    parser.add_argument("--jobs", type=Path, help="file with Snakemake's planned jobs; default: run a dry run")
    parser.add_argument("targets", nargs="*", help="Snakemake targets; default: everything")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    settings = config.load(args.config)
    if args.jobs:
        planned = plan.read(args.jobs)
    else:
        planned = plan.dry_run(args.config.resolve(), args.directory, args.profile, args.targets)
    os.chdir(args.directory)
    findings = printing.show(preflight.check(settings, planned, args.fetch))
    failed = sum(finding.failed for finding in findings)
    if failed:
        sys.exit(f"preflight: {failed} {'error' if failed == 1 else 'errors'}; fix them before the run")
    print("preflight: no errors")


if __name__ == "__main__":
    errors.run(main)
