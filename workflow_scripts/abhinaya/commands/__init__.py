"""The command `abhinaya`, which the package installs."""

import argparse
from pathlib import Path

from abhinaya.commands import start
from abhinaya.runtime.errors import run


def main() -> None:
    """`abhinaya init FOLDER_OR_TABLE`."""
    parser = argparse.ArgumentParser(prog="abhinaya", description="Speech emotion recognition.")
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="write a configuration for a folder of recordings or a table")
    init.add_argument("source", type=Path, help="a known corpus, a folder of recordings, or a table")
    init.add_argument("--output", type=Path, default=Path(), help="folder for mine.yaml and corpus.csv")
    args = parser.parse_args()
    run(lambda: start.init(args.source, args.output))
