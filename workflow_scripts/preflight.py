"""Look before a long run at what it needs: corpus, models, disk, SLURM. A line each; status 1 if something is wrong."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from abhinaya import config, preflight
from abhinaya.preflight import plan
from abhinaya.runtime import errors


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="the configuration")
    parser.add_argument("--directory", type=Path, default=Path(), help="working directory, as Snakemake's --directory")
    parser.add_argument(
        "--profile", help="Snakemake profile, as profiles/slurm; SLURM is asked whether it takes the jobs"
    )
    parser.add_argument("--fetch", action="store_true", help="download models that are not here yet, for offline nodes")
    parser.add_argument("--jobs", type=Path, help="what Snakemake has planned; by itself it is asked")
    parser.add_argument("targets", nargs="*", help="what Snakemake is to make; everything by default")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    settings = config.load(options.config)
    if options.jobs:
        planned = plan.read(options.jobs)
    else:
        planned = plan.dry_run(options.config.resolve(), options.directory, options.profile, options.targets)
    os.chdir(options.directory)
    console = Console(soft_wrap=True, highlight=False)
    wrong = 0
    for finding in preflight.check(settings, planned, options.fetch):
        wrong += finding.wrong
        mark = Text("wrong", "bold red") if finding.wrong else Text("ok   ", "green")
        console.print(Text.assemble(mark, "  ", (f"{finding.what}: ", "bold"), finding.told))
    if wrong:
        sys.exit(f"preflight: {wrong} wrong; nothing expensive should start")
    console.print("preflight: all is well")


if __name__ == "__main__":
    errors.run(main)
