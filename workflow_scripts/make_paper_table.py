"""Write a table or figure of the paper, with our and the published values, as CSV, Markdown, LaTeX and JSON."""

import argparse
from pathlib import Path

from abhinaya import config
from abhinaya.reporting import paper
from abhinaya.runtime.errors import run


def main() -> None:
    args = parse_args()
    settings = config.parse(paper.Settings, args.settings, "tables")
    inputs = paper.read(settings, args.names, args.scores, args.votes, args.summary)
    table = paper.make(args.table, inputs)
    for path in paper.write(args.table, table, args.output_dir):
        print(path)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, help=f"the table: {', '.join(paper.TABLES)}")
    parser.add_argument(
        "--settings",
        default="{}",
        help="the resolved section `tables` of the configuration: JSON, or a JSON or YAML file",
    )
    parser.add_argument("--names", nargs="*", default=[], help="names of systems, ensembles and runs")
    parser.add_argument("--scores", nargs="*", type=Path, default=[], help="their scores.json, in the same order")
    parser.add_argument("--votes", nargs="*", default=[], metavar="NAME=MEMBER,…", help="members of each ensemble")
    parser.add_argument("--summary", type=Path, help="the corpus's summary.json")
    parser.add_argument("--output-dir", type=Path, default=Path("results/tables"), help="output folder")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
